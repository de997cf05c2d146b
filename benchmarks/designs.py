"""Simulated studies whose compute-optimal size is known in closed form: designs, truths and noise of several kinds.

Nothing here knows how runs are fitted, so that neither the coverage of intervals (`benchmarks.coverage`) nor the
tests of it can lean on the code that they judge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pandas as pd

PER_ROW = 6.0
"""C = 6 N D."""
BEYOND = 10.0
"""N* is asked for at so many times the largest C."""
CHINCHILLA = {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37}
ASYMMETRIC = {"E": 1.7, "A": 60.0, "B": 10_000.0, "alpha": 0.25, "beta": 0.45}
BENT = {"E": 1.4, "A": 2000.0, "B": 15_000.0, "alpha": 0.45, "beta": 0.5}

Runs = tuple[np.ndarray, np.ndarray, np.ndarray]
"""N, D and the seed of every run."""


@dataclass(frozen=True, kw_only=True)
class Design:
    """Runs to make and the truth that they follow: L = E + (A / N^alpha + B / D^beta)^k times exp(noise).

    Under C = 6 N D the optimum is N* = (alpha A / (beta B))^(1/(alpha+beta)) (C / 6)^a, a = beta / (alpha + beta),
    whatever k (Hoffmann et al. 2022, arXiv 2203.15556, eq. 4).
    """

    name: str
    runs: Runs
    noise: float
    """Standard deviation of log L."""
    truth: dict[str, float] = field(default_factory=lambda: CHINCHILLA)
    bend: float = 1.0
    """k; the law of Chinchilla has 1."""
    shared: str = ""
    """`size` or `seed`: runs of one share half of the variance."""
    heavy: bool = False
    """Whether the noise is Student's t with three degrees of freedom, scaled to the same variance."""

    @cached_property
    def loss(self) -> np.ndarray:
        """Loss without noise, [rows]."""
        (n, d, _), t = self.runs, self.truth
        return t["E"] + (t["A"] / n ** t["alpha"] + t["B"] / d ** t["beta"]) ** self.bend

    @cached_property
    def sizes(self) -> np.ndarray:
        """Number of the size of every run, [rows]."""
        return np.unique(self.runs[0], return_inverse=True)[1]

    @cached_property
    def budget(self) -> float:
        """C that is asked about."""
        return float(BEYOND * PER_ROW * (self.runs[0] * self.runs[1]).max())

    @property
    def answers(self) -> np.ndarray:
        """True a and log N*, [2]."""
        return closed_form(
            np.array([np.log(self.truth["A"]), np.log(self.truth["B"]), self.truth["alpha"], self.truth["beta"]]),
            self.budget,
        )

    def simulate(self, rng: np.random.Generator) -> np.ndarray:
        """Return the losses of one study, [rows]."""
        rows = len(self.loss)
        e = rng.standard_t(3, rows) / np.sqrt(3) if self.heavy else rng.standard_normal(rows)
        if self.shared:
            labels = self.sizes if self.shared == "size" else self.runs[2]
            e = np.sqrt(0.5) * e + np.sqrt(0.5) * rng.standard_normal(labels.max() + 1)[labels]
        return self.loss * np.exp(self.noise * e)

    def frame(self, loss: np.ndarray) -> pd.DataFrame:
        """Return a study as a table; seeds are named only where there are several."""
        n, d, seed = self.runs
        names = [str(i) for i in range(len(n))]
        frame = pd.DataFrame({"N": n, "D": d, "C": PER_ROW * n * d, "loss": loss, "row": names, "budget": np.nan})
        return frame.assign(seed=seed) if seed.any() else frame


def closed_form(coefficients: np.ndarray, budget: float) -> np.ndarray:
    """Return a and log N* of (log A, log B, alpha, beta) [..., 4] at a budget, [2, ...]."""
    log_a, log_b, alpha, beta = np.moveaxis(coefficients, -1, 0)
    with np.errstate(all="ignore"):
        log_n = (np.log(alpha / beta) + log_a - log_b + beta * np.log(budget / PER_ROW)) / (alpha + beta)
        return np.stack([beta / (alpha + beta), log_n])


def factorial(sizes: int = 8, data: int = 9) -> Runs:
    """Return all pairs of sizes, 10 M to 1 G, and data, 1 G to 100 G."""
    n, d = np.meshgrid(np.geomspace(1e7, 1e9, sizes), np.geomspace(1e9, 1e11, data), indexing="ij")
    return n.ravel(), d.ravel(), np.zeros(n.size, dtype=int)


def isoflop(budgets: int, sizes: int, truth: dict[str, float] = CHINCHILLA, *, seeds: int = 1) -> Runs:
    """Return sizes around the optimum, from 1/5.5 to 5.5 times it, at budgets from 1e17 to 1e19."""
    coefficients = np.array([np.log(truth["A"]), np.log(truth["B"]), truth["alpha"], truth["beta"]])
    rows = []
    for budget in np.geomspace(1e17, 1e19, budgets):
        for n in np.exp(closed_form(coefficients, budget)[1]) * np.geomspace(30**-0.5, 30**0.5, sizes):
            rows += [(n, budget / (PER_ROW * n), seed) for seed in range(seeds)]
    n, d, seed = np.array(rows).T
    return n, d, seed.astype(int)


def scattered(rows: int = 240) -> Runs:
    """Return runs anywhere between 10 M and 10 G parameters, 1 G and 1 T tokens."""
    rng = np.random.default_rng(7)
    n, d = (np.exp(rng.uniform(np.log(low), np.log(1e3 * low), rows)) for low in (1e7, 1e9))
    return n, d, np.zeros(rows, dtype=int)


WELL_SPECIFIED = [
    Design(name="factorial 8 x 9", runs=factorial(), noise=0.01),
    Design(name="factorial 8 x 9, noise shared by size", runs=factorial(), noise=0.01, shared="size"),
    Design(name="factorial 8 x 9, t3 noise", runs=factorial(), noise=0.01, heavy=True),
    Design(name="isoFLOP 3 x 5", runs=isoflop(3, 5), noise=0.002),
    Design(name="isoFLOP 5 x 7", runs=isoflop(5, 7), noise=0.005),
    Design(name="isoFLOP 5 x 7 x 3, noise shared by seed", runs=isoflop(5, 7, seeds=3), noise=0.01, shared="seed"),
    Design(name="scattered 240", runs=scattered(), noise=0.01),
]
ASIDE = [
    Design(name="factorial 8 x 9, truth bent (k = 0.6)", runs=factorial(), noise=0.01, truth=BENT, bend=0.6),
    Design(name="isoFLOP 5 x 7, alpha .25 beta .45", runs=isoflop(5, 7, ASYMMETRIC), noise=0.005, truth=ASYMMETRIC),
]
DESIGNS = {design.name: design for design in (*WELL_SPECIFIED, *ASIDE)}
