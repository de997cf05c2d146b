"""Profile intervals: how far a quantity can be moved before the fit becomes worse than chance allows.

For a quantity q(theta), F_q(c) = min F subject to q = c, and the interval holds the c with

    2 (F_q(c) - F) / s <= t^2_{n-p},    s = n / (n - p) mean(psi^2) / mean(psi')

psi = rho': for squares that is the likelihood-ratio interval with an estimated variance (Bates and Watts 1988, chapter
6), for Huber's loss the robust one (Schrader and Hettmansperger 1980). Least absolute deviations have none: psi' is
zero. It supposes independent noise of one size: where rows share noise it is too narrow, which is why it stands beside
the bootstrap and not in its place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from analysis.engine.newton import derivatives
from analysis.engine.resampling import Sample, covariance
from analysis.engine.tails import t_quantile

STEP = 1e-5
INNER = 30
OUTER = 24
EXACT = 1e-2
"""Relative tolerance of the threshold."""

Quantity = Callable[[np.ndarray], np.ndarray]
"""q of theta [problems, parameters]: [problems]."""


def profile_interval(sample: Sample, quantity: Quantity, level: float) -> tuple[float | None, float | None]:
    """Return the ends of the profile interval; None where the profile never rises to the threshold.

    Args:
        sample: The fit.
        quantity: What the interval is of.
        level: Of the interval.
    """
    scale = deviance_scale(sample)
    if not scale > 0:
        return None, None
    rows, parameters = len(sample.log_y), len(sample.theta)
    most = t_quantile((1 + level) / 2, max(1, rows - parameters)) ** 2
    value, _, hessian = _derivatives(sample, sample.theta)
    center, slope = _value_and_slope(quantity, sample.theta)
    spread = float(np.sqrt(max(slope @ np.linalg.pinv(hessian, hermitian=True) @ slope, 0.0) * scale * most))
    if not (np.isfinite(center) and spread > 0):
        return None, None
    low, high = (_end(sample, quantity, center, sign * spread, value, scale * most / 2) for sign in (-1, 1))
    return low, high


def profile_curve(sample: Sample, index: int, most: float, *, points: int, rise: float) -> list[tuple[float, float]]:
    """Return (theta_i, rise of the objective over the interval's threshold) along a parameter's profile, ascending.

    Args:
        sample: The fit.
        index: Number of the parameter.
        most: Threshold of 2 (F_q - F) / s.
        points: On either side of the estimate.
        rise: How far to follow it, in thresholds.
    """
    scale = deviance_scale(sample)
    if not scale > 0:
        return []
    value, _, hessian = _derivatives(sample, sample.theta)
    spread = float(np.sqrt(max(np.linalg.pinv(hessian, hermitian=True)[index, index], 0.0) * scale * most))
    found = [(float(sample.theta[index]), 0.0)]
    for sign in (-1, 1):
        theta = sample.theta
        for i in range(1, points + 1):
            target = float(sample.theta[index] + sign * i * spread * np.sqrt(rise) / points)
            moved = _constrained(sample, lambda t: np.atleast_2d(t)[:, index], theta, target)
            if moved is None:
                break
            theta = moved
            height = (float(_derivatives(sample, theta)[0]) - value) / (scale * most / 2)
            found.append((target, height))
            if height > 2 * rise:
                break
    return sorted(found)


def deviance_scale(sample: Sample) -> float:
    """Return s; NaN for least absolute deviations."""
    if sample.objective.name == "lad":
        return float("nan")
    _, first, second = sample.objective.rho(sample.predicted - sample.log_y, sample.log_y)
    weights = np.ones(len(first)) if sample.weights is None else sample.weights
    rows, parameters = len(first), len(sample.theta)
    return float((weights * first**2).sum() / max(second.sum(), 1e-300) * rows / max(1, rows - parameters))


def _end(sample: Sample, quantity: Quantity, center: float, step: float, value: float, most: float) -> float | None:
    """Return the c on one side at which the profile has risen by `most`: a secant on the root of the rise."""
    near, far = 0.0, 1.0
    theta = sample.theta
    for _ in range(OUTER):
        moved = _constrained(sample, quantity, theta, center + far * step)
        if moved is None:
            return None
        rise = (float(_derivatives(sample, moved)[0]) - value) / most
        if abs(rise - 1) < EXACT:
            return center + far * step
        theta = moved
        # the root of the rise is nearly a straight line in c
        guess = far / np.sqrt(max(rise, 1e-6))
        near, far = far, float(np.clip(guess, 0.3 * far, 3.0 * far))
        if far > 1e3:
            return None
    return center + near * step if abs(rise - 1) < 0.02 else None


def _constrained(sample: Sample, quantity: Quantity, theta: np.ndarray, target: float) -> np.ndarray | None:
    """Return the minimum of F with q = target, by Newton's method on the Lagrangian; None where it fails."""
    theta = np.array(theta)
    for _ in range(INNER):
        _, gradient, hessian = _derivatives(sample, theta)
        here, slope = _value_and_slope(quantity, theta)
        gap = target - here
        if not (np.isfinite(slope).all() and np.isfinite(gap)):
            return None
        p = len(theta)
        scale = np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-300))
        damped = hessian / np.outer(scale, scale)
        values, vectors = np.linalg.eigh(damped)
        damped = vectors * np.maximum(np.abs(values), 1e-12) @ vectors.T
        along = slope / scale
        system = np.zeros((p + 1, p + 1))
        system[:p, :p], system[:p, p], system[p, :p] = damped, along, along
        step = np.linalg.lstsq(system, np.append(-gradient / scale, gap), rcond=None)[0][:p] / scale
        step *= min(1.0, 1.0 / max(np.abs(step).max(), 1e-300))
        theta = theta + step
        if np.abs(step).max() < 1e-5 * (1 + np.abs(theta).max()):
            return theta
    return theta if abs(gap) < 1e-6 * (1 + abs(target)) else None


def _derivatives(sample: Sample, theta: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    value, gradient, hessian = derivatives(sample.surface, sample.log_y, theta[None], sample.objective, sample.weights)
    return float(value[0]), gradient[0], hessian[0]


def _value_and_slope(quantity: Quantity, theta: np.ndarray) -> tuple[float, np.ndarray]:
    """Return a quantity and its gradient, by central differences in one call."""
    steps = STEP * np.eye(len(theta))
    values = quantity(np.concatenate([theta[None], theta + steps, theta - steps]))
    up, down = np.split(values[1:], 2)
    return float(values[0]), (up - down) / (2 * STEP)


def delta_interval(sample: Sample, quantity: Quantity, level: float) -> tuple[float, float]:
    """Return the interval of the delta method: q +- t sqrt(g' V g), V the sandwich covariance of theta.

    Args:
        sample: The fit.
        quantity: What the interval is of.
        level: Of the interval.
    """
    center, slope = _value_and_slope(quantity, sample.theta)
    degrees = len(sample.log_y) - len(sample.theta)
    error = float(np.sqrt(max(slope @ covariance(sample) @ slope, 0.0)))
    half = t_quantile((1 + level) / 2, max(1, degrees)) * error
    return center - half, center + half
