"""The compute-optimal size of a law under the true cost: min over N of L(N, C / k(N)).

With C = 6 N D Chinchilla's law has a closed form (Hoffmann et al. 2022, eq. 4); with recorded costs k(N) is
interpolated and N*(C) is no power law, so it is searched for at every budget: a grid over log N finds the valley, and
Newton's method on the slope of log L along the path of equal cost its bottom, by halving where a step leaves the
valley.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.data.costmodel import CostModel
from analysis.data.points import Points
from analysis.laws import Law, ThreeTerm
from scaling.errors import WorkError

GRID = 200
BEYOND = 12.0
"""How far beyond the recorded sizes the search goes, in log N."""
MAX_STEPS = 50
EXACT = 1e-10
"""Steps in log N below this end the search."""
SLOPE_STEP = 1e-4
NEAR = 0.005
"""Sizes whose loss is within this of the best are `near` it."""
EXPONENT_STEP = 0.01
"""Half the distance in log C over which the local exponent is taken."""


@dataclass(frozen=True)
class Spending:
    """What a budget buys: the data that are left for at a size, of which so many are distinct, in such batches."""

    cost: CostModel
    log_u: float | None = None
    """Unique data; None where data never repeat."""
    log_b: float | None = None
    """Batch; None for the best one, where a law has the batch as a variable."""

    def points(self, law: Law, theta: np.ndarray, budget: float, log_n: np.ndarray) -> Points:
        """Return the points along the path of equal cost, for sizes [sizes] or [draws, sizes]."""
        log_d = self.cost.log_data(log_n, budget)
        log_b: np.ndarray | None = None if self.log_b is None else np.asarray(self.log_b)
        if log_b is None and isinstance(law, ThreeTerm):
            log_b = law.best_log_batch(theta, log_d)
        if log_b is None and "B" in law.needs:
            message = f"{law.name} is a law of the batch, which varies over the runs: its best one is not known"
            raise WorkError(message)
        log_u = log_d if self.log_u is None else np.asarray(self.log_u)
        return Points(log_n=log_n, log_d=log_d, log_c=np.log(np.asarray(budget)), log_u=log_u, log_b=log_b)

    def log_loss(self, law: Law, theta: np.ndarray, budget: float, log_n: np.ndarray) -> np.ndarray:
        """Return log L for theta [draws, parameters] at sizes, [draws, sizes]."""
        return law.log_loss(theta, self.points(law, theta, budget, log_n))


def optimal_log_n(law: Law, theta: np.ndarray, spending: Spending, budget: float) -> np.ndarray:
    """Return log N* for every theta [draws, parameters]; NaN where the loss has no minimum over N.

    Example:
        >>> from analysis.laws import Chinchilla
        >>> law = Chinchilla()
        >>> theta = law.theta({"E": 1.8, "A": 400.0, "B": 2000.0, "alpha": 0.35, "beta": 0.35})
        >>> six = CostModel(np.array([20.0, 21.0]), np.array([20.0, 21.0]) + np.log(6), "assumed")
        >>> G = (400 / 2000) ** (1 / 0.7)
        >>> bool(np.isclose(np.exp(optimal_log_n(law, theta, Spending(six), 6e20))[0], G * 1e10, rtol=1e-7))
        True
    """
    theta = np.atleast_2d(theta)
    knots = spending.cost.log_n
    grid = np.linspace(knots[0] - BEYOND, knots[-1] + BEYOND, GRID)
    losses = spending.log_loss(law, theta, budget, grid)
    losses = np.where(np.isfinite(losses), losses, np.inf)
    # the lowest valley: a law may fall again far outside the sizes that it was fitted to
    valley = (losses[:, 1:-1] <= losses[:, :-2]) & (losses[:, 1:-1] < losses[:, 2:])
    inside = valley.any(axis=1)
    best = 1 + np.where(valley, losses[:, 1:-1], np.inf).argmin(axis=1)
    left, middle, right = grid[best - 1], grid[best], grid[best + 1]
    offsets = np.array([-SLOPE_STEP, 0.0, SLOPE_STEP])
    active = np.flatnonzero(inside)
    for _ in range(MAX_STEPS):
        here = middle[active]
        low, at, high = spending.log_loss(law, theta[active], budget, here[:, None] + offsets).T
        slope, bend = (high - low) / (2 * SLOPE_STEP), (high - 2 * at + low) / SLOPE_STEP**2
        left[active] = np.where(slope < 0, here, left[active])
        right[active] = np.where(slope < 0, right[active], here)
        with np.errstate(divide="ignore", invalid="ignore"):
            new = here - slope / bend
        good = (bend > 0) & (new > left[active]) & (new < right[active])
        middle[active] = np.where(good, new, (left[active] + right[active]) / 2)
        active = active[np.abs(middle[active] - here) > EXACT]
        if not len(active):
            break
    return np.where(inside, middle, np.nan)


def path_loss(law: Law, theta: np.ndarray, spending: Spending, budget: float, log_n: np.ndarray) -> np.ndarray:
    """Return the loss of every theta at its own log N, with the data that the budget buys there."""
    with np.errstate(over="ignore"):  # a draw far off may leave no bound
        return np.exp(spending.log_loss(law, np.atleast_2d(theta), budget, np.asarray(log_n)[:, None])[:, 0])


def local_exponents(law: Law, theta: np.ndarray, spending: Spending, budget: float) -> tuple[np.ndarray, np.ndarray]:
    """Return d log N* / d log C and d log D* / d log C at a budget, for every theta."""
    ends = []
    for sign in (-1, 1):
        there = budget * np.exp(sign * EXPONENT_STEP)
        x = optimal_log_n(law, theta, spending, there)
        ends.append((x, spending.cost.log_data(x, there)))
    (n0, d0), (n1, d1) = ends
    return (n1 - n0) / (2 * EXPONENT_STEP), (d1 - d0) / (2 * EXPONENT_STEP)


def near_optimal(
    law: Law, theta: np.ndarray, spending: Spending, budget: float, near: float = NEAR
) -> tuple[float, float]:
    """Return the smallest and largest N whose loss is within a share of the best, half a percent."""
    theta = np.atleast_2d(theta)
    x = optimal_log_n(law, theta, spending, budget)[0]
    if not np.isfinite(x):
        return float("nan"), float("nan")
    grid = np.linspace(x - BEYOND, x + BEYOND, 20 * GRID + 1)
    losses = spending.log_loss(law, theta, budget, grid)[0]
    middle = 10 * GRID
    far = ~(losses <= losses[middle] + np.log1p(near))
    # the valley around N* and not another one far off; between grid points the loss is as good as straight
    rise = losses - losses[middle] - np.log1p(near)
    left = middle - int(np.argmax(far[middle::-1])) if far[:middle].any() else -1
    right = middle + int(np.argmax(far[middle:])) if far[middle:].any() else -1
    low = grid[0] if left < 0 else _crossing(grid, rise, left)
    high = grid[-1] if right < 0 else _crossing(grid, rise, right - 1)
    return float(np.exp(low)), float(np.exp(high))


def _crossing(x: np.ndarray, y: np.ndarray, i: int) -> float:
    """Return where y is zero on the straight line from point i to the next; the finite one where one is not."""
    if not np.isfinite(y[i]) or not np.isfinite(y[i + 1]):
        return float(x[i] if np.isfinite(y[i]) else x[i + 1])
    return float(x[i] + (x[i + 1] - x[i]) * y[i] / (y[i] - y[i + 1]))
