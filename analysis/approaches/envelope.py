"""Approach 1: the envelope of the loss curves of all sizes, smoothed, and censored where the sizes end.

Over a grid of C where at least three sizes are defined, N*(C) is the vertex of a parabola in log N through the lowest
of the sizes' smooth curves (`losscurves`) and its neighbours: the nearest on either side, and others within a factor 3.
With D* = C / k(N*),

    log N* = a log C + const,    log D* = b log C + const

are least-squares lines through the points whose lowest size is neither the smallest nor the largest there.

Bias: the lowest of several noisy curves is lower than the lowest true one, and more so where more sizes compete (the
minimum of noise); N* wanders towards the sizes whose noise is larger. Smoothing over C and the parabola over N make
that small and do not remove it: with 13 sizes 1.5 x apart and 1 % of noise, a came out .022 too high on average.

Source: Hoffmann et al. 2022 (arXiv 2203.15556), approach 1, where the envelope was taken over training curves. Points
of a running learning-rate schedule are no final losses, so here every point is a run of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.approaches.losscurves import MIN_SIZES, LossCurves, sizes_with_curves
from analysis.data.costmodel import CostModel
from analysis.data.table import RunTable

MIN_POINTS = 3
BLOCK = 500
"""Draws that are worked on at a time."""


@dataclass(frozen=True, kw_only=True)
class Envelope:
    """The envelope, and the draws that intervals are made of."""

    points: list[dict[str, Any]]
    """{flops, N, D, loss, status, reason} in ascending order of C. `bracketed`: a minimum between sizes. `censored`:
    the lowest size is the smallest or the largest there, and N is that size, a bound. `flat`: no minimum among the
    neighbours of the lowest size, and N is that size."""
    draws: np.ndarray
    """log N* by draw and point; NaN where a draw's point is not bracketed."""
    cost: CostModel | None
    status: str
    """`fitted`. `censored`: too few points are bracketed for a line. `refused`: there is no envelope."""
    reason: str
    sizes: int = 0
    """Sizes with a curve."""
    smoother: str = ""
    """`one exponent` or `an exponent a size`."""
    run_noise: float = float("nan")
    """Standard deviation of the runs around their size's curve, relative to the loss; NaN without draws."""
    size_noise: float = float("nan")
    """That of what all runs of a size share."""
    skipped: list[dict[str, str]] = field(default_factory=list)
    """{row, reason}: rows whose size has no curve."""

    @property
    def bracketed(self) -> list[int]:
        """Numbers of the points that count."""
        return [i for i, point in enumerate(self.points) if point["status"] == "bracketed"]

    @property
    def failed(self) -> int:
        """Draws without an exponent: fewer than half of the bracketed points are bracketed in them too."""
        found = self.exponents()
        return int(np.isnan(found["a"][1]).sum()) if found else len(self.draws)

    def exponents(self) -> dict[str, tuple[float, np.ndarray]] | None:
        """Return a and b of N* ~ C^a and D* ~ C^b with their draws, NaN where a draw failed.

        None where the status is not `fitted`.
        """
        if self.status != "fitted" or self.cost is None:
            return None
        chosen = self.bracketed
        log_c = np.log([self.points[i]["flops"] for i in chosen])
        log_n = np.log([self.points[i]["N"] for i in chosen])
        drawn = self.draws[:, chosen]
        data, data_draws = (log_c - self.cost.log_cost(x) for x in (log_n, drawn))
        return {
            "a": (float(_slopes(log_c, log_n[None])[0]), _slopes(log_c, drawn)),
            "b": (float(_slopes(log_c, data[None])[0]), _slopes(log_c, data_draws)),
        }


def fit_envelope(table: RunTable, cost: CostModel | None, *, draws: int, rng: np.random.Generator) -> Envelope:
    """Return the envelope of a table of runs, refused with a reason where the design has none.

    Draws are those of a residual bootstrap: the runs' relative residuals, over sqrt(1 - leverage), are drawn with
    replacement from all runs and put on the curves; what all runs of a size share is drawn from a normal distribution
    whose variance the curves' roughness over the sizes tells; and the exponents of the curves, the choice of the
    lowest size and the parabolas are made anew.

    Args:
        table: The runs; every one a final loss.
        cost: What a unit of data costs; None for a curve over N alone, which is refused.
        draws: How many draws intervals are made of.
        rng: Their source.

    Example:
        >>> import numpy as np, pandas as pd
        >>> from analysis import load
        >>> n, d = map(np.ravel, np.meshgrid(np.geomspace(1e7, 1e9, 7), np.geomspace(1e8, 1e11, 7)))
        >>> loss = 1.7 + 400 / n**0.35 + 2000 / d**0.35
        >>> pd.DataFrame({"params": n, "tokens": d, "loss": loss}).to_csv("factorial.csv", index=False)
        >>> table, rng = load("factorial.csv")[0], np.random.default_rng(0)
        >>> found = fit_envelope(table, CostModel.of(table), draws=100, rng=rng)
        >>> found.status, round(found.exponents()["a"][0], 2)
        ('fitted', 0.5)
        >>> table = load("runs.csv")[0]
        >>> fit_envelope(table, CostModel.of(table), draws=100, rng=rng).reason
        'no size has three runs at different C'
    """
    if cost is None or table.cost == "none":
        return _refused("a curve over N alone has no C", cost)
    sizes, skipped = sizes_with_curves(table.runs)
    if len(sizes) < MIN_SIZES:
        reason = "no size has three runs at different C"
        if sizes:
            reason = f"{len(sizes)} of the sizes have three runs at different C, and an envelope needs {MIN_SIZES}"
        return _refused(reason, cost, skipped, len(sizes))
    curves = LossCurves(table.runs, sizes)
    grid = curves.grid()
    if not len(grid):
        return _refused(f"at no C are {MIN_SIZES} sizes defined", cost, skipped, len(sizes))

    smooth = curves.smooth(curves.losses[None], grid)
    log_n, best, loss = (part[0] for part in curves.minima(smooth, grid))
    points = [_point(curves, grid[i], log_n[i], best[i], loss[i], cost) for i in range(len(grid))]
    good = np.isfinite(log_n)
    status, reason = "fitted", ""
    if good.sum() < MIN_POINTS:
        status, reason = "censored", f"{good.sum()} of {len(grid)} points of C are bracketed: a line needs {MIN_POINTS}"
    elif len(np.unique(best[good])) < 2:
        status, reason = "censored", "one size is the lowest at all bracketed points of C, and a line needs two"

    drawn, run_noise, size_noise = np.empty((draws, len(grid))), float("nan"), float("nan")
    if draws:
        fitted, residuals = curves.fitted()
        run_noise = float(residuals.std())
    for start in range(0, draws, BLOCK):
        block = drawn[start : start + BLOCK]
        picked = rng.integers(0, len(residuals), (len(block), len(residuals)))
        curve = curves.smooth(fitted * (1 + (residuals - residuals.mean())[picked]), grid)
        if start == 0:
            size_noise = curves.size_noise(smooth[0], curve, grid)
        # A factor common to a size's losses scales its curve and leaves the exponents of the curves alone.
        curve *= 1 + size_noise * rng.standard_normal((*curve.shape[:2], 1))
        block[:] = curves.minima(curve, grid)[0]
    return Envelope(
        points=points,
        draws=drawn,
        cost=cost,
        status=status,
        reason=reason,
        sizes=len(sizes),
        smoother="an exponent a size" if curves.own else "one exponent",
        run_noise=run_noise,
        size_noise=size_noise,
        skipped=skipped,
    )


def _point(curves: LossCurves, log_c: float, log_n: float, best: int, loss: float, cost: CostModel) -> dict[str, Any]:
    """Return a point of the envelope with its verdict."""
    sizes = np.flatnonzero(curves.defined(np.array([log_c]))[:, 0])
    status, reason = "bracketed", ""
    if best in (sizes[0], sizes[-1]):
        end, side = ("smallest", "most") if best == sizes[0] else ("largest", "least")
        status = "censored"
        reason = f"the lowest of {len(sizes)} sizes is the {end} that has runs here: N* is at {side} this"
    elif not np.isfinite(log_n):
        status, reason = "flat", "the curves have no minimum among the neighbours of the lowest size"
    if status != "bracketed":
        log_n = curves.log_n[best]
    return {
        "flops": float(np.exp(log_c)),
        "N": float(np.exp(log_n)),
        "D": float(np.exp(log_c - cost.log_cost(np.array(log_n)))),
        "loss": float(loss),
        "status": status,
        "reason": reason,
    }


def _slopes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the least-squares slope of each row of y over x, at its finite values; NaN with fewer than half."""
    here = np.isfinite(y)
    count = here.sum(axis=1)
    enough = (count >= MIN_POINTS) & (2 * count >= len(x))
    centered = np.where(here, x - (here @ x / np.maximum(count, 1))[:, None], 0.0)
    squares = (centered**2).sum(axis=1)
    return np.where(enough, (centered * np.where(here, y, 0.0)).sum(axis=1) / np.where(enough, squares, 1.0), np.nan)


def _refused(
    reason: str, cost: CostModel | None, skipped: list[dict[str, str]] | None = None, sizes: int = 0
) -> Envelope:
    """Return an envelope that says why there is none."""
    empty = np.empty((0, 0))
    skipped = skipped or []
    return Envelope(points=[], draws=empty, cost=cost, status="refused", reason=reason, sizes=sizes, skipped=skipped)
