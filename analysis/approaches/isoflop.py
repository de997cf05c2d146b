"""Approach 2: a curve through loss over log N at every budget, its minimum, and a verdict on it.

A parabola (Hoffmann et al. 2022, arXiv 2203.15556, approach 2), or one whose arms differ: `analysis.approaches.curves`
has them, `analysis.approaches.curvechoice` chooses. Curves are approximations, so that every minimum has to pass tests
before it counts.

Intervals come from draws of the coefficients (`analysis.approaches.curvedraws`), with a variance pooled over the
budgets; N*, D*, L* and the exponents of their power laws are functions of the same draws. The straight line through
the minima has no weights: published minima scatter about it by more than their own noise, and weights by precision
hand the line to the few budgets with the sharpest curves.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from analysis.approaches.budgets import budget_groups, repeating
from analysis.approaches.curvechoice import fit_curves
from analysis.approaches.curvedraws import INTERVALS, draw_curves
from analysis.approaches.curves import MIN_SIZES, WINDOW, WINDOW_SIZES, BudgetRuns, Curves, basis, lowest, minimum
from analysis.data.costmodel import CostModel
from analysis.data.metrics import LOSS
from analysis.data.table import RunTable
from analysis.engine.tails import t_tail

FLAT_P = 0.025
"""A curvature that is not above zero at this one-sided level is flat: the 95 % interval of N* has no bound then."""
EDGE = 9e-4
"""Budgets whose logarithms differ by less are the same: less than that within which a budget's own minimum answers."""
SPREAD = 1.25
"""Ratio of C / (N D) over the sizes above which a straight line through the minima leads astray."""


@dataclass(frozen=True, kw_only=True)
class Parabola:
    """One budget's curve, a parabola whose arms may differ, and the verdict on its minimum."""

    budget: float
    """Target FLOPs where known, else the median C; NaN in a curve over N alone."""
    flops: float
    """Median C."""
    rows: np.ndarray
    """Numbers of its rows in the table."""
    center: float
    """Mean of log N."""
    coefficients: np.ndarray
    """c0, c1, c2 and the skew k, zero in a parabola."""
    status: str
    """`bracketed`: a minimum inside the sizes. `edge`: it lies at or beyond the end of the sizes. `flat`: the curvature
    is not distinguishable from zero, or negative. `untested`: no degree of freedom. `too-few`: fewer than three
    sizes."""
    reason: str
    low: float
    """log of the smallest size that the curve goes through."""
    high: float
    """log of the largest."""
    censored: bool = False
    """Whether the plan dropped smaller sizes."""
    unique: float = float("inf")
    """Unique data of its runs, where some of them repeat it."""
    log: bool = False
    """Whether the curve goes through the logarithm: of a metric, whose noise grows with its odds."""

    @property
    def log_n(self) -> float:
        """Log N* of the curve, whatever its verdict; NaN where it has no minimum."""
        return self.center + float(minimum(self.coefficients))

    @property
    def loss(self) -> float:
        """L* of the curve."""
        return float(self.turned(lowest(self.coefficients)))

    @property
    def curvature(self) -> float:
        """Half the second derivative at the minimum: L is about L* + curvature (log N - log N*)^2."""
        _, c1, c2, skew = self.coefficients
        return float(c2 - skew * c1 / 2) * (self.loss if self.log else 1.0)

    def predict(self, log_n: np.ndarray) -> np.ndarray:
        """Return the curve's loss."""
        return self.turned(basis(np.asarray(log_n) - self.center, self.coefficients[3]) @ self.coefficients[:3])

    def turned(self, values: np.ndarray) -> np.ndarray:
        """Return losses of what the curve goes through."""
        return np.exp(values) if self.log else values


@dataclass(frozen=True, kw_only=True)
class IsoFlop:
    """All budgets, and the draws that intervals are made of."""

    parabolas: list[Parabola]
    """Ascending by budget, and those of one budget descending by unique data."""
    degrees: int
    """Degrees of freedom of the pooled variance."""
    sigma: float
    """Pooled standard deviation of the residuals; NaN without degrees of freedom."""
    draws: np.ndarray
    """Coefficients, [draws, budgets, 4]; empty without degrees of freedom."""
    cost: CostModel | None
    method: str = ""
    """Which curves, in words."""
    intervals: str = ""
    """Where the draws come from, in words."""
    skipped: list[dict[str, str]] = field(default_factory=list)
    """{row, reason}: rows that belong to no budget."""

    @property
    def bracketed(self) -> list[int]:
        """Numbers of the curves whose minimum counts: for each budget that with the most unique data."""
        found: dict[float, int] = {}
        for i, p in enumerate(self.parabolas):
            if p.status == "bracketed":
                found.setdefault(p.budget, i)
        return list(found.values())

    def of_unique(self, unique: float | None) -> IsoFlop:
        """Return the curves that answer for so much unique data: those of runs that had it, or never repeated it."""
        if unique is None or all(np.isinf(p.unique) for p in self.parabolas):
            return self
        fits = [i for i, p in enumerate(self.parabolas) if np.isinf(p.unique) or abs(np.log(p.unique / unique)) < 0.01]
        draws = self.draws[:, fits] if len(self.draws) else self.draws
        return replace(self, parabolas=[self.parabolas[i] for i in fits], draws=draws)

    def spans(self, budget: float) -> bool:
        """Whether a budget is a bracketed one or lies between two; NaN stands for that of a curve over N alone."""
        budgets = [self.parabolas[i].budget for i in self.bracketed]
        if self.cost is None:
            return bool(budgets) and bool(np.isnan(budget))
        return bool(budgets) and min(budgets) * np.exp(-EDGE) <= budget <= max(budgets) * np.exp(EDGE)

    def no_line(self) -> str:
        """Return why the minima give no straight line to other budgets; empty where they do."""
        if self.cost is None:
            return "a curve over N alone has no budgets"
        if len(self.bracketed) < 2:
            return "fewer than two budgets are bracketed"
        if self.cost.spread > SPREAD:
            return f"C/(N D) varies {self.cost.spread:.2g}-fold over the sizes, so N*(C) is no straight line"
        return ""

    def log_n_draws(self, i: int) -> np.ndarray:
        """Return draws of log N* of a budget; NaN where a draw has no minimum."""
        return self.parabolas[i].center + minimum(self.draws[:, i])

    def loss_draws(self, i: int) -> np.ndarray:
        """Return draws of L* of a budget; NaN where a draw has no minimum."""
        return self.parabolas[i].turned(lowest(self.draws[:, i]))

    def exponents(self) -> dict[str, tuple[float, np.ndarray]] | None:
        """Return a and b of N* ~ C^a and D* ~ C^b with their draws: straight lines through the bracketed minima.

        None with fewer than two of them, or without a cost.
        """
        chosen = self.bracketed
        if len(chosen) < 2 or self.cost is None:
            return None
        budgets = [self.parabolas[i].budget for i in chosen]
        centered = np.log(budgets) - np.log(budgets).mean()
        weights = centered / (centered**2).sum()
        best = [np.array(self.parabolas[i].log_n) for i in chosen]
        draws = [self.log_n_draws(i) for i in chosen]
        data = [self.cost.log_data(x, c) for x, c in zip(best, budgets, strict=True)]
        data_draws = [self.cost.log_data(x, c) for x, c in zip(draws, budgets, strict=True)]
        return {
            "a": (float(weights @ np.array(best)), weights @ np.stack(draws)),
            "b": (float(weights @ np.array(data)), weights @ np.stack(data_draws)),
        }


def fit_isoflop(
    table: RunTable,
    cost: CostModel | None,
    *,
    draws: int,
    rng: np.random.Generator,
    curve: str = "auto",
    intervals: str = "normal",
) -> IsoFlop:
    """Fit every budget of a table.

    Args:
        table: The runs.
        cost: What a unit of data costs; None for a curve over N alone.
        draws: How many draws intervals are made of.
        rng: Their source.
        curve: `auto`, `quadratic`, `skewed` or `local` (`analysis.approaches.curvechoice.fit_curves`).
        intervals: `normal`, `residual` or `wild` (`analysis.approaches.curvedraws.draw_curves`).

    Raises:
        InputError: On any other curve or interval.

    Example:
        >>> from analysis import load
        >>> table, rng = load("runs.csv")[0], np.random.default_rng(0)
        >>> found = fit_isoflop(table, CostModel.of(table), draws=1000, rng=rng)
        >>> [p.status for p in found.parabolas], found.method
        (['bracketed', 'bracketed', 'bracketed'], 'one skew for all budgets, 0.03')
    """
    groups, skipped = budget_groups(table)
    curves = curves_of(table, curve)
    return IsoFlop(
        parabolas=[
            _judge(curves, i, budget, table.runs, rows, log=table.scale != LOSS)
            for i, (budget, rows) in enumerate(groups)
        ],
        degrees=curves.degrees,
        sigma=curves.sigma,
        draws=draw_curves(curves, intervals, draws, rng),
        cost=cost,
        method=_method(curves),
        intervals=INTERVALS[intervals] if curves.degrees > 0 and draws else "",
        skipped=skipped,
    )


def curves_of(table: RunTable, curve: str = "auto") -> Curves:
    """Return the curves of a table's budgets, without verdicts: through the loss, or the logarithm of a metric's q."""
    log_n, loss = np.log(table.runs["N"].to_numpy()), table.runs["loss"].to_numpy()
    loss = loss if table.scale == LOSS else np.log(loss)
    return fit_curves([BudgetRuns(log_n=log_n[rows], loss=loss[rows]) for _, rows in budget_groups(table)[0]], curve)


def _judge(
    curves: Curves, i: int, budget: float, runs: pd.DataFrame, rows: np.ndarray, *, log: bool = False
) -> Parabola:
    """Return a budget's curve with its verdict."""
    points, part = curves.points[i], runs.iloc[rows]
    log_n = points.log_n[curves.used[i]]
    p = Parabola(
        budget=budget,
        flops=float(part["C"].median()),
        rows=rows,
        center=float(log_n.mean()),
        coefficients=curves.coefficients[i],
        status="bracketed",
        reason="",
        low=float(log_n.min()),
        high=float(log_n.max()),
        censored=bool(part["censored"].eq("left").any()) if "censored" in part else False,
        unique=float(part["U"].iloc[0]) if repeating(part).any() else float("inf"),
        log=log,
    )
    if i not in curves.fitted:
        return replace(p, status="too-few", reason=f"{len(points.sizes)} sizes, and a parabola needs {MIN_SIZES}")
    best, last, flat = int(np.argmin(points.means)), len(points.sizes) - 1, _no_curvature(curves, i)
    if best in (0, last):
        side = "left" if best == 0 else "right"
        return _edge(p, side, f"the lowest loss is that of the {_end(side)} size" + (f", and {flat}" if flat else ""))
    if flat:
        return replace(p, status="flat", reason=flat)
    if not p.low < p.log_n < p.high:
        side = "left" if p.coefficients[1] > 0 else "right"  # the slope at the middle of the sizes
        return _edge(p, side, f"the curve's minimum lies beyond the {_end(side)} size")
    if curves.degrees <= 0:
        reason = "a parabola goes through any three points: add a size or a seed"
        return replace(p, status="untested", reason=reason)
    return p


def _no_curvature(curves: Curves, i: int) -> str:
    """Return why a curve is flat; empty where it is not.

    A curve is convex everywhere or nowhere, so that c2, its curvature at the mean of log N, tells for every size.
    """
    c2, skew = curves.coefficients[i, 2:]
    if curves.degrees <= 0 or not curves.sigma > 0:
        return "" if c2 > 0 else "the curvature is not above zero"
    design = basis(curves.data(i)[0], skew)
    error = curves.sigma * np.sqrt(np.linalg.inv(design.T @ design)[2, 2])
    p_value = t_tail(c2 / error, curves.degrees)
    return f"the curvature is not above zero (p = {p_value:.2g})" if p_value > FLAT_P else ""


def _edge(p: Parabola, side: str, reason: str) -> Parabola:
    """Return a curve whose minimum is at an end, with what would help."""
    reason += f": add {'smaller' if side == 'left' else 'larger'} sizes"
    if p.censored and side == "left":
        reason += " (the plan dropped them for max_epochs: more unique hours are needed)"
    return replace(p, status="edge", reason=reason)


def _end(side: str) -> str:
    return "smallest" if side == "left" else "largest"


def _method(curves: Curves) -> str:
    """Return which curves they are, in words."""
    if not curves.groups:
        return "parabolas"
    told = ""
    if np.isfinite(curves.p_value):
        relation = "contradict" if curves.kind == "local" else "do not contradict"
        told = f", which slopes near the minima {relation} (p = {curves.p_value:.2g})"
    if curves.kind == "skewed":
        return f"one skew for all budgets, {curves.coefficients[curves.groups[0][0], 3]:.2f}{told}"
    told = told.replace(", which", ": one for all is what")
    return (
        f"a skew for each budget, from the sizes within {WINDOW:g}x of the lowest loss, {WINDOW_SIZES} at least{told}"
    )
