"""The bias of each approach on this very grid: all three on losses simulated from the fitted law.

The law, as fitted, is taken for the truth; normal noise of the residuals' scale is added at the same N, D and C, and a
of N* ~ C^a is estimated by every approach. What their mean misses is the bias that the grid's span, its centring and
its noise bring about, for a truth of this shape (2603.22339 derives it for parabolas).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from analysis.approaches.envelope import fit_envelope
from analysis.approaches.isoflop import fit_isoflop
from analysis.approaches.optimum import Spending, local_exponents, optimal_log_n
from analysis.data.costmodel import CostModel
from analysis.data.table import RunTable
from analysis.engine.newton import minimise
from analysis.engine.resampling import Sample
from analysis.laws import Law

SIMULATIONS = 12
KNOTS = 40
"""Budgets at which the true N* is worked out, to interpolate between."""
MOST_ROWS = 2000
"""Rows above which nothing is simulated: the noise is not what such a study errs by."""


@dataclass(frozen=True, kw_only=True)
class Bias:
    """What an approach misses on this grid."""

    approach: str
    truth: float
    """a of the law, over the budgets that the approach used."""
    mean: float
    """Mean estimate of a less the truth."""
    spread: float
    """Standard deviation of the estimates."""
    found: float
    """Share of the simulations in which it gave an a."""

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return {"truth": self.truth, "bias": self.mean, "sd": self.spread, "found": self.found}


def simulate_bias(
    table: RunTable,
    sample: Sample,
    law: Law,
    spending: Spending,
    *,
    middle: float,
    rng: np.random.Generator,
    simulations: int = SIMULATIONS,
) -> list[Bias]:
    """Return the bias of a by every approach.

    Args:
        table: The runs.
        sample: The fitted law, taken for the truth.
        law: It.
        spending: What a budget buys.
        middle: FLOPs at which the law's a is taken.
        rng: Source of the noise.
        simulations: How many studies.
    """
    if table.used > MOST_ROWS:
        return []
    rows, parameters = len(sample.log_y), len(sample.theta)
    sigma = np.sqrt(((sample.residuals * sample.root) ** 2).sum() / max(1, rows - parameters)) / sample.root
    log_y = sample.predicted + sigma * rng.standard_normal((simulations, rows))
    start = np.repeat(sample.theta[None], simulations, axis=0)
    ends = minimise(sample.surface, log_y, start, sample.refitted, weights=sample.weights)
    theta = ends.theta[ends.converged]
    found = []
    true_a = float(local_exponents(law, sample.theta, spending, middle)[0][0])
    if len(theta):
        found.append(_bias("parametric", local_exponents(law, theta, spending, middle)[0], true_a, simulations))
    estimates: dict[str, list[tuple[float, float]]] = {"isoflop": [], "envelope": []}
    recorded = np.log(table.runs["C"].to_numpy())
    log_c = np.linspace(recorded.min(), recorded.max(), KNOTS)
    log_n = [float(optimal_log_n(law, sample.theta, spending, np.exp(c))[0]) for c in log_c]
    for y in log_y:
        study = replace(table, runs=table.runs.assign(loss=np.exp(y)))
        for name, (budgets, a) in _others(study, spending.cost, rng).items():
            true_n = np.interp(np.log(budgets), log_c, log_n)
            estimates[name].append((a, float(np.polyfit(np.log(budgets), true_n, 1)[0])))
    for name, pairs in estimates.items():
        if pairs:
            a, truth = np.array(pairs).T
            found.append(_bias(name, a - truth + truth.mean(), float(truth.mean()), simulations))
    return found


def _others(study: RunTable, cost: CostModel, rng: np.random.Generator) -> dict[str, tuple[list[float], float]]:
    """Return the budgets and a of the approaches that need no law."""
    found = {}
    isoflop = fit_isoflop(study, cost, draws=0, rng=rng)
    if len(isoflop.bracketed) >= 2 and (exponents := isoflop.exponents()) is not None:
        found["isoflop"] = ([isoflop.parabolas[i].budget for i in isoflop.bracketed], exponents["a"][0])
    envelope = fit_envelope(study, cost, draws=0, rng=rng)
    if (exponents := envelope.exponents()) is not None:
        found["envelope"] = ([envelope.points[i]["flops"] for i in envelope.bracketed], exponents["a"][0])
    return found


def _bias(name: str, values: np.ndarray, truth: float, simulations: int) -> Bias:
    values = values[np.isfinite(values)]
    return Bias(
        approach=name,
        truth=truth,
        mean=float(values.mean() - truth) if len(values) else float("nan"),
        spread=float(values.std(ddof=1)) if len(values) > 1 else float("nan"),
        found=len(values) / simulations,
    )
