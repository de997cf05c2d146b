"""The same runs under other definitions of N and C, side by side.

What counts as a parameter moves a of N* ~ C^a: the same runs give .37, .54 and .70 with three parameter counts in one
public study, and Kaplan's exponent differs from Chinchilla's largely by embeddings and head (arXiv 2406.12907,
2406.19146). Where the records carry several, each is fitted, and N* can be read off in all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.approaches.isoflop import fit_isoflop
from analysis.approaches.optimum import Spending, local_exponents
from analysis.approaches.parametric import fit_parametric
from analysis.data.costmodel import CostModel
from analysis.data.loading import SIZES
from analysis.data.table import FLOPS_PER_PARAM_TOKEN, RunTable
from analysis.engine.resampling import Sample
from analysis.laws import Law

RECORDED, SIX = "recorded", "6 N D"
"""Definitions of C. Runs share a budget by what they really cost; by 6 N D they share none, and there are no isoFLOP
minima. `flops_total` is none of them: it has a part that no run can spend on data, which `--compare` models."""
SAME = 1e-6


@dataclass(frozen=True, kw_only=True)
class Definition:
    """a under one definition of N and C; the law's is local, in the middle of the runs' C."""

    size: str
    cost: str
    isoflop: float | None
    parametric: float | None

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return {"size": self.size, "cost": self.cost, "isoflop": self.isoflop, "parametric": self.parametric}


def other_sizes(table: RunTable) -> dict[str, tuple[list[float], list[float]]]:
    """Return, for every other count of the size that the table has, knots of log N and of its logarithm.

    The median at every size, ascending; a count that does not grow with N is left out.
    """
    found = {}
    log_n = np.log(table.runs["N"].to_numpy())
    for name, column in SIZES.items():
        if (values := _positive(table, column)) is None:
            continue
        log_other = np.log(values)
        if np.allclose(log_other, log_n, rtol=0, atol=SAME):
            continue
        knots = np.unique(np.round(log_n, 6))
        others = [float(np.median(log_other[np.abs(log_n - knot) < 1e-5])) for knot in knots]
        if len(knots) >= 2 and np.all(np.diff(others) > 0):
            found[name] = (knots.tolist(), others)
    return found


def read_off(sizes: dict[str, tuple[list[float], list[float]]], log_n: float) -> dict[str, float]:
    """Return a size in all its counts, along straight lines in logarithms and beyond the ends with their slopes."""
    found = {}
    for name, (knots, values) in sizes.items():
        x, y = np.array(knots), np.array(values)
        i = int(np.clip(np.searchsorted(x, log_n) - 1, 0, len(x) - 2))
        found[name] = float(np.exp(y[i] + (y[i + 1] - y[i]) / (x[i + 1] - x[i]) * (log_n - x[i])))
    return found


def definitions(table: RunTable, law: Law, sample: Sample, spending: Spending) -> list[Definition]:
    """Return a under every definition of N and C that the table has columns for; empty with only one.

    Args:
        table: The runs.
        law: The law that was fitted.
        sample: Its fit, with the objective and the weights that hold for the others, too.
        spending: What a budget buys.
    """
    runs = table.runs
    sizes = {name: values for name, column in SIZES.items() if (values := _positive(table, column)) is not None}
    found: list[Definition] = []
    seen: list[np.ndarray] = []
    for size, n in (sizes or {"N": runs["N"].to_numpy()}).items():
        six = FLOPS_PER_PARAM_TOKEN * n * runs["D"].to_numpy()
        for cost, c in ((RECORDED, runs["C"].to_numpy()), (SIX, six)):
            if cost == SIX and size == "flops_per_frame":  # it is no count of parameters
                continue
            key = np.log(np.stack([n, c]))
            if any(np.allclose(key, other, rtol=0, atol=SAME) for other in seen):
                continue
            seen.append(key)
            other = replace(table, runs=runs.assign(N=n, C=c), cost="assumed" if cost == SIX else table.cost)
            found.append(_definition(other, law, sample, spending, size, cost))
    return found if len(found) > 1 else []


def _positive(table: RunTable, column: str) -> np.ndarray | None:
    """Return a column's numbers; None where the table lacks it, or one of them is not a positive number."""
    if column not in table.runs:
        return None
    values = pd.to_numeric(table.runs[column], errors="coerce").to_numpy(dtype=float)
    return values if bool((np.isfinite(values) & (values > 0)).all()) else None


def _definition(table: RunTable, law: Law, sample: Sample, spending: Spending, size: str, cost: str) -> Definition:
    own = replace(spending, cost=CostModel.of(replace(table, flops_per_param_token=FLOPS_PER_PARAM_TOKEN)))
    unique = None if spending.log_u is None else float(np.exp(spending.log_u))
    middle = float(np.exp(np.log(table.runs["C"]).mean()))
    isoflop = None
    if cost == RECORDED:
        isoflop = fit_isoflop(table, own.cost, draws=0, rng=np.random.default_rng(0)).of_unique(unique).exponents()
    fitted, found = fit_parametric(table, law, sample.objective, weights=sample.weights)
    a = float(local_exponents(law, fitted.theta, own, middle)[0][0]) if found else None
    return Definition(size=size, cost=cost, isoflop=isoflop["a"][0] if isoflop else None, parametric=a)
