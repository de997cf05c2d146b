"""Least absolute deviations to rounding, by a sequence of linear programs.

A minimum of F = sum_i w_i |r_i| passes through rows Z exactly, as many as the law has parameters where it is a vertex.
From theta, the step d solves the linear program (Osborne and Watson 1971; Fletcher 1987, section 14.4)

    min sum_i w_i |r_i + J_i d|    subject to |d| <= radius

and the radius follows how well the program foretold F. It converges quadratically to a vertex, where Huber's loss with
a vanishing delta slows down. No step that gains anything is left at a stationary point: the program's promise over F is
the scaled gradient of the certificate. The minimum is strict where the rows Z span all directions, or F curves upward
along those that they leave free.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.engine.surfaces import Surface

STEPS = 100
EXACT = 1e-14
"""A promise below this share of F is none."""
UNITS = 1e4
"""A mean residual in the units of the linear program."""
ZERO = 1e-9
"""Residuals below this are those of rows that the law passes through."""
MOST_ROWS = 20_000
"""Rows beyond which a linear program takes too long; the smoothed minimum, within rows x 5e-8, has to do."""


@dataclass(frozen=True)
class Vertex:
    """The end of least absolute deviations."""

    theta: np.ndarray
    value: float
    """sum w |r|."""
    gradient: float
    """What the linear program still promises, over F."""
    positive: bool
    """Whether it is a strict minimum."""
    rows: int
    """Rows that the law passes through."""


def descend(surface: Surface, log_y: np.ndarray, theta: np.ndarray, weights: np.ndarray | None = None) -> Vertex:
    """Return the minimum of least absolute deviations next to theta.

    Args:
        surface: The law over the rows.
        log_y: [rows].
        theta: Where to start, [parameters].
        weights: [rows].
    """
    w = np.ones(len(log_y)) if weights is None else weights
    theta, radius = np.array(theta), 0.5
    residual = surface.at(theta[None]).log_loss[0] - log_y
    value, promise = float(w @ np.abs(residual)), np.inf
    for _ in range(STEPS):
        step, foretold = _program(surface.jacobian(theta), residual, w, radius)
        promise = value - foretold
        if promise <= EXACT * value:
            break
        with np.errstate(all="ignore"):
            new = surface.at((theta + step)[None]).log_loss[0] - log_y
        gained = value - float(w @ np.abs(new))
        length = float(np.abs(step).max())
        if gained > 0.1 * promise:
            theta, residual, value = theta + step, new, value - gained
            radius = max(radius, 2 * length)
        else:
            radius = min(radius, length) / 3
    zero = np.abs(residual) < ZERO
    strict = _strict(surface, theta, residual, zero, w)
    return Vertex(theta, value, max(promise, 0.0) / max(value, 1e-300), strict, int(zero.sum()))


def _program(
    jacobian: np.ndarray, residual: np.ndarray, weights: np.ndarray, radius: float
) -> tuple[np.ndarray, float]:
    """Return the step and the value that it foretells."""
    from scipy.optimize import linprog
    from scipy.sparse import eye, hstack

    rows, parameters = jacobian.shape
    # the solver's tolerance is absolute: in these units it is far below the residuals
    unit = max(float(np.abs(residual).mean()), 1e-300) / UNITS
    # r + J d = u - v with u, v >= 0
    system = hstack([jacobian / unit, -eye(rows), eye(rows)], format="csc")
    cost = np.concatenate([np.zeros(parameters), weights, weights])
    bounds = [(-radius, radius)] * parameters + [(0, None)] * (2 * rows)
    found = linprog(cost, A_eq=system, b_eq=-residual / unit, bounds=bounds, method="highs")
    if found.x is None:
        return np.zeros(parameters), float(weights @ np.abs(residual))
    return found.x[:parameters], float(found.fun) * unit


def _strict(surface: Surface, theta: np.ndarray, residual: np.ndarray, zero: np.ndarray, weights: np.ndarray) -> bool:
    """Whether the minimum is strict: the rows at zero span all directions, or F curves upward in the rest."""
    jacobian = surface.jacobian(theta)
    slopes = np.where(zero, 0.0, np.sign(residual) * weights)
    scale = np.sqrt((jacobian**2).sum(axis=0))
    if not (np.isfinite(jacobian).all() and (scale > 0).all()):
        return False  # no law there, or a parameter that changes nothing
    if not zero.any():
        free = np.eye(len(theta))
    else:
        _, sizes, directions = np.linalg.svd(jacobian[zero] / scale, full_matrices=True)
        free = directions[int((sizes > 1e-10 * sizes.max()).sum()) :]
    if not len(free):
        return True
    # the multipliers of the rows at zero, by least squares on the stationarity of F
    slopes[zero] = -np.linalg.lstsq(jacobian[zero].T, slopes @ jacobian, rcond=None)[0]
    curvature = surface.at(theta[None]).hessian(slopes[None], np.zeros((1, len(slopes))))[0]
    return bool(np.linalg.eigvalsh(free @ (curvature / np.outer(scale, scale)) @ free.T).min() > 0)
