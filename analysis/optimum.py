"""The compute-optimal size of a law under the true cost: min over N of L(N, C / k(N)).

With C = 6 N D the minimum has a closed form (Hoffmann et al. 2022, eq. 4); with recorded costs k(N) is interpolated
and N*(C) is no power law, so it is searched for at every budget: a grid over log N finds the valley, and bisection on
the exact slope of log L along the path of equal cost finds its bottom.
"""

from __future__ import annotations

import numpy as np

from analysis.costmodel import CostModel
from analysis.laws import Law, log_predict

GRID = 600
BEYOND = 12.0
"""How far beyond the recorded sizes the search goes, in log N."""
HALVINGS = 60
SLOPE_STEP = 1e-4
NEAR = 0.005
"""Sizes whose loss is within this of the best are `near` it."""
EXPONENT_STEP = 0.01
"""Half the distance in log C over which the local exponent is taken."""


def optimal_log_n(law: Law, theta: np.ndarray, cost: CostModel, budget: float) -> np.ndarray:
    """Return log N* for every theta [draws, parameters]; NaN where the loss has no minimum over N.

    Example:
        >>> from analysis.laws import Chinchilla
        >>> law = Chinchilla()
        >>> theta = law.theta({"E": 1.8, "A": 400.0, "B": 2000.0, "alpha": 0.35, "beta": 0.35})
        >>> six = CostModel(np.array([20.0, 21.0]), np.array([20.0, 21.0]) + np.log(6), "assumed")
        >>> G = (400 / 2000) ** (1 / 0.7)
        >>> bool(np.isclose(np.exp(optimal_log_n(law, theta, six, 6e20))[0], G * 1e10, rtol=1e-9))
        True
    """
    theta = np.atleast_2d(theta)
    grid = np.linspace(cost.log_n[0] - BEYOND, cost.log_n[-1] + BEYOND, GRID)
    losses = log_predict(law.design(grid, cost.log_data(grid, budget)), theta)
    best = losses.argmin(axis=1)
    inside = (best > 0) & (best < GRID - 1)
    best = np.clip(best, 1, GRID - 2)
    left, right = grid[best - 1], grid[best + 1]
    for _ in range(HALVINGS):
        middle = (left + right) / 2
        falling = _slope(law, theta, cost, budget, middle) < 0
        left, right = np.where(falling, middle, left), np.where(falling, right, middle)
    return np.where(inside, (left + right) / 2, np.nan)


def path_loss(law: Law, theta: np.ndarray, cost: CostModel, budget: float, log_n: np.ndarray) -> np.ndarray:
    """Return the loss of every theta at its own log N, with the data that the budget buys there."""
    z = np.einsum("bkp,bp->bk", law.design(log_n, cost.log_data(log_n, budget)), np.atleast_2d(theta))
    return np.exp(z).sum(axis=1)


def local_exponents(law: Law, theta: np.ndarray, cost: CostModel, budget: float) -> tuple[np.ndarray, np.ndarray]:
    """Return d log N* / d log C and d log D* / d log C at a budget, for every theta."""
    ends = []
    for sign in (-1, 1):
        there = budget * np.exp(sign * EXPONENT_STEP)
        x = optimal_log_n(law, theta, cost, there)
        ends.append((x, cost.log_data(x, there)))
    (n0, d0), (n1, d1) = ends
    return (n1 - n0) / (2 * EXPONENT_STEP), (d1 - d0) / (2 * EXPONENT_STEP)


def near_optimal(law: Law, theta: np.ndarray, cost: CostModel, budget: float) -> tuple[float, float]:
    """Return the smallest and largest N whose loss is within 0.5 % of the best."""
    theta = np.atleast_2d(theta)
    x = optimal_log_n(law, theta, cost, budget)[0]
    grid = np.linspace(x - BEYOND, x + BEYOND, 20 * GRID)
    losses = log_predict(law.design(grid, cost.log_data(grid, budget)), theta[0])
    close = grid[losses <= losses.min() + np.log1p(NEAR)]
    return float(np.exp(close.min())), float(np.exp(close.max()))


def _slope(law: Law, theta: np.ndarray, cost: CostModel, budget: float, log_n: np.ndarray) -> np.ndarray:
    """Return d log L / d log N along the path of equal cost: sum_k s_k theta . dX_k / dlog N."""
    up, down = (law.design(x, cost.log_data(x, budget)) for x in (log_n + SLOPE_STEP, log_n - SLOPE_STEP))
    z = np.einsum("bkp,bp->bk", law.design(log_n, cost.log_data(log_n, budget)), theta)
    share = np.exp(z - z.max(axis=1, keepdims=True))
    return np.einsum("bk,bkp,bp->b", share, (up - down) / (2 * SLOPE_STEP), theta)
