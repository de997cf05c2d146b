"""Approach 2: a parabola through loss over log N at every budget, its minimum, and a verdict on it.

    L = c0 + c1 x + c2 x^2,    x = log N - mean(log N),    x* = -c1 / (2 c2),    L* = c0 - c1^2 / (4 c2)

Source: Hoffmann et al. 2022 (arXiv 2203.15556), approach 2. The parabola is a second-order approximation: wide,
off-centre windows bias it (arXiv 2603.22339), which is why every minimum has to pass tests before it counts.

Intervals come from draws of the coefficients under normal errors whose variance is pooled over the budgets
(nu = sum (n_i - 3) degrees of freedom):

    s_b^2 = nu s^2 / chi^2_nu,    c_b ~ Normal(c, s_b^2 (X'X)^-1)

so N*, D*, L* and the exponents of their power laws are functions of the same draws, and a three-point parabola has
no interval unless another budget tells the noise. The quantiles of x* are those of Fieller's exact interval for a
ratio of normal variables, and a little wider where the curvature is weak (the tests hold them to it).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import stats

from analysis.costmodel import CostModel
from analysis.table import RunTable

BUDGET_TOLERANCE = 0.1
"""Runs whose log C lies within this of its neighbours' are one budget, where the table names none."""
MIN_SIZES = 3
FLAT_P = 0.025
"""A curvature that is not above zero at this one-sided level is flat: the 95 % interval of N* has no bound then."""
SPREAD = 1.25
"""Ratio of C / (N D) over the sizes above which a straight line through the minima leads astray."""


@dataclass(frozen=True, kw_only=True)
class Parabola:
    """One budget's parabola and the verdict on its minimum."""

    budget: float
    """Target FLOPs where known, else the median C; NaN in a curve over N alone."""
    flops: float
    """Median C."""
    rows: np.ndarray
    """Numbers of its rows in the table."""
    center: float
    """Mean of log N."""
    coefficients: np.ndarray
    """c0, c1, c2."""
    inverse: np.ndarray
    """(X'X)^-1."""
    rss: float
    """Residual sum of squares."""
    status: str
    """`bracketed`: a minimum inside the sizes. `edge`: it lies at or beyond the end of the sizes. `flat`: the curvature
    is not distinguishable from zero, or negative. `too-few`: fewer than three sizes."""
    reason: str
    low: float
    """log of the smallest size."""
    high: float
    """log of the largest size."""
    censored: bool = False
    """Whether the plan dropped smaller sizes."""

    @property
    def log_n(self) -> float:
        """Log N* of the parabola, whatever its verdict."""
        _, c1, c2 = self.coefficients
        return self.center - c1 / (2 * c2) if c2 else float("nan")

    @property
    def loss(self) -> float:
        """L* of the parabola."""
        c0, c1, c2 = self.coefficients
        return c0 - c1 * c1 / (4 * c2) if c2 else float("nan")

    def predict(self, log_n: np.ndarray) -> np.ndarray:
        """Return the parabola's loss."""
        x = np.asarray(log_n) - self.center
        c0, c1, c2 = self.coefficients
        return c0 + c1 * x + c2 * x * x


@dataclass(frozen=True, kw_only=True)
class IsoFlop:
    """All budgets, and the draws that intervals are made of."""

    parabolas: list[Parabola]
    degrees: int
    """Degrees of freedom of the pooled variance."""
    sigma: float
    """Pooled standard deviation of the residuals; NaN without degrees of freedom."""
    draws: np.ndarray
    """Coefficients, [draws, budgets, 3]; empty without degrees of freedom."""
    cost: CostModel | None
    skipped: list[dict[str, str]] = field(default_factory=list)
    """{row, reason}: rows that belong to no budget."""

    @property
    def bracketed(self) -> list[int]:
        """Numbers of the budgets whose minimum counts."""
        return [i for i, p in enumerate(self.parabolas) if p.status == "bracketed"]

    def spans(self, budget: float) -> bool:
        """Whether a budget is a bracketed one or lies between two; NaN stands for that of a curve over N alone."""
        budgets = [self.parabolas[i].budget for i in self.bracketed]
        if self.cost is None:
            return bool(budgets) and bool(np.isnan(budget))
        return bool(budgets) and 0.999 * min(budgets) <= budget <= 1.001 * max(budgets)

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
        c1, c2 = self.draws[:, i, 1], self.draws[:, i, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(c2 > 0, self.parabolas[i].center - c1 / (2 * c2), np.nan)

    def loss_draws(self, i: int) -> np.ndarray:
        """Return draws of L* of a budget; NaN where a draw has no minimum."""
        c0, c1, c2 = self.draws[:, i].T
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(c2 > 0, c0 - c1 * c1 / (4 * c2), np.nan)

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


def fit_isoflop(table: RunTable, cost: CostModel | None, *, draws: int, rng: np.random.Generator) -> IsoFlop:
    """Fit every budget of a table.

    Args:
        table: The runs.
        cost: What a unit of data costs; None for a curve over N alone.
        draws: How many draws intervals are made of.
        rng: Their source.

    Example:
        >>> from analysis import load
        >>> table, rng = load("runs.csv")[0], np.random.default_rng(0)
        >>> [p.status for p in fit_isoflop(table, CostModel.of(table), draws=1000, rng=rng).parabolas]
        ['bracketed', 'bracketed', 'bracketed']
    """
    groups, skipped = budget_groups(table)
    runs = table.runs
    fitted = [_parabola(runs, rows, budget) for budget, rows in groups]
    degrees = sum(len(p.rows) - 3 for p in fitted if p.status != "too-few")
    sigma = float(np.sqrt(sum(p.rss for p in fitted) / degrees)) if degrees else float("nan")
    judged = [_judge(p, runs, sigma, degrees) for p in fitted]
    return IsoFlop(
        parabolas=judged,
        degrees=degrees,
        sigma=sigma,
        draws=_draws(judged, sigma, degrees, draws, rng),
        cost=cost,
        skipped=skipped,
    )


def budget_groups(table: RunTable) -> tuple[list[tuple[float, np.ndarray]], list[dict[str, str]]]:
    """Return (budget, row numbers) in ascending order, and rows that share their budget with too few others.

    Runs that name their budget are grouped by it. Otherwise runs whose C follow each other within 10 % are one
    budget; a curve over N alone is one.
    """
    runs = table.runs
    if table.cost == "none":
        return [(float("nan"), np.arange(len(runs)))], []
    if runs["budget"].notna().all():
        budgets = runs["budget"].to_numpy()
        return [(float(b), np.flatnonzero(budgets == b)) for b in np.unique(budgets)], []
    log_c = np.log(runs["C"].to_numpy())
    order = np.argsort(log_c, kind="stable")
    breaks = np.flatnonzero(np.diff(log_c[order]) > BUDGET_TOLERANCE) + 1
    groups, skipped = [], []
    for rows in np.split(order, breaks):
        wide = log_c[rows].max() - log_c[rows].min() > 3 * BUDGET_TOLERANCE
        if wide or runs["N"].iloc[rows].nunique() < MIN_SIZES:
            reason = (
                "in no parabola: its C runs into its neighbours'"
                if wide
                else "in no parabola: fewer than three sizes share its C"
            )
            skipped += [{"row": runs["row"].iloc[i], "reason": reason} for i in rows]
        else:
            groups.append((float(runs["C"].iloc[rows].median()), np.sort(rows)))
    return groups, skipped


def _parabola(runs: pd.DataFrame, rows: np.ndarray, budget: float) -> Parabola:
    """Return the least-squares parabola of one budget, not judged yet."""
    log_n = np.log(runs["N"].to_numpy()[rows])
    loss = runs["loss"].to_numpy()[rows]
    sizes = len(np.unique(log_n))
    cut = runs["censored"].iloc[rows].eq("left").any() if "censored" in runs else False
    center = float(log_n.mean())
    x = log_n - center
    design = np.stack([np.ones_like(x), x, x * x], axis=1)
    if sizes < MIN_SIZES:
        coefficients, inverse, rss = np.full(3, np.nan), np.full((3, 3), np.nan), 0.0
    else:
        coefficients = np.linalg.lstsq(design, loss, rcond=None)[0]
        inverse = np.linalg.inv(design.T @ design)
        rss = float(((loss - design @ coefficients) ** 2).sum())
    return Parabola(
        budget=budget,
        flops=float(runs["C"].iloc[rows].median()),
        rows=rows,
        center=center,
        coefficients=coefficients,
        inverse=inverse,
        rss=rss,
        status="too-few" if sizes < MIN_SIZES else "",
        reason=f"{sizes} sizes, and a parabola needs {MIN_SIZES}" if sizes < MIN_SIZES else "",
        low=float(log_n.min()),
        high=float(log_n.max()),
        censored=bool(cut),
    )


def _judge(p: Parabola, runs: pd.DataFrame, sigma: float, degrees: int) -> Parabola:
    """Return a parabola with its verdict."""
    if p.status:
        return p
    c2 = float(p.coefficients[2])
    status, reason = "bracketed", ""
    means = runs.iloc[p.rows].groupby("N")["loss"].mean().sort_index()
    best = int(np.argmin(means.to_numpy()))
    side = "left" if best == 0 else "right"
    if degrees and sigma > 0:
        p_value = float(stats.t.sf(c2 / (sigma * np.sqrt(p.inverse[2, 2])), degrees))
        flat = p_value > FLAT_P
        why = f"the curvature is not above zero (p = {p_value:.2g})"
    else:
        flat, why = c2 <= 0, "the curvature is not above zero"
    if flat:
        status, reason = "flat", why
        if best in (0, len(means) - 1):
            status, reason = "edge", f"the lowest loss is that of the {_end(side)} size, and {why}"
    elif best in (0, len(means) - 1):
        status, reason = "edge", f"the lowest loss is that of the {_end(side)} size"
    elif not p.low < p.log_n < p.high:
        side = "left" if p.log_n <= p.low else "right"
        status, reason = "edge", f"the parabola's minimum lies beyond the {_end(side)} size"
    elif not degrees:
        status, reason = "untested", "a parabola goes through any three points: add a size or a seed"
    if status == "edge":
        reason += f": add {'smaller' if side == 'left' else 'larger'} sizes"
        if p.censored and side == "left":
            reason += " (the plan dropped them for max_epochs: more unique hours are needed)"
    return replace(p, status=status, reason=reason)


def _end(side: str) -> str:
    return "smallest" if side == "left" else "largest"


def _draws(parabolas: list[Parabola], sigma: float, degrees: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return draws of all coefficients under one draw of the pooled variance each."""
    if not degrees or not draws:
        return np.empty((0, len(parabolas), 3))
    scale = sigma * np.sqrt(degrees / rng.chisquare(degrees, draws))
    out = np.full((draws, len(parabolas), 3), np.nan)
    for i, p in enumerate(parabolas):
        if p.status == "too-few":
            continue
        root = np.linalg.cholesky(p.inverse)
        out[:, i] = p.coefficients + scale[:, None] * (rng.standard_normal((draws, 3)) @ root.T)
    return out
