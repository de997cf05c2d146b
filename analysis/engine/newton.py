"""Damped Newton on many problems at once, with exact derivatives: multi-start fits and bootstrap draws.

Minimises F(theta) = sum_i w_i rho(r_i) over residuals of the logarithm r_i = log L(theta)_i - log y_i
(`analysis.engine.objectives`, `analysis.engine.surfaces`). A step solves (|F''| + lambda diag) p = -F', |F''| being
the Hessian with its eigenvalues made positive where they are not, and is kept when F falls (Levenberg; Nocedal and
Wright 2006, section 3.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from analysis.engine.objectives import Objective
from analysis.engine.surfaces import Surface

MAX_STEPS = 200
DECREMENT = 1e-13
"""A problem is converged when the decrease that Newton's model still expects is below this share of F."""
POSITIVE = 1e-8
"""Smallest eigenvalue of the Hessian, in parameters scaled by its diagonal, that counts as above zero. Laws that the
runs fix have 1e-5 and more; along a direction that they do not fix at all rounding leaves up to 1e-9."""
ROUNDING = 1e-26
"""An expected decrease a row below this is that of rounding errors in the residuals, and counts as none."""
DAMPING = 1e-3
LEAST_DAMPING, MOST_DAMPING = 1e-15, 1e12
TRUSTED, SOFTER, HARDER = 0.01, 0.3, 10.0
"""What the damping is multiplied by after a step that did as foretold, that gained, that lost."""
LONGEST_STEP = 2.0
"""Largest change of a parameter in one step."""
CRAWL, PATIENCE = 1e-6, 10
"""A problem that gains less than this share of F in so many steps follows a valley that has no end."""
BLOCK_FLOATS = 400_000
"""Problems are worked on in blocks of about so many numbers, which stay in the cache of a core."""

Rows = np.ndarray | Callable[[int, int], np.ndarray] | None
"""Numbers for the rows: [rows], [problems, rows], or a function (first, last) that makes those of some problems."""


@dataclass(frozen=True)
class Minima:
    """Where each problem ended."""

    theta: np.ndarray
    """[problems, parameters]."""
    value: np.ndarray
    """F, [problems]."""
    decrement: np.ndarray
    """Decrease that Newton's model still expects, over F: the scaled gradient of the certificate."""
    positive: np.ndarray
    """Whether the Hessian is positive definite, [problems] bool."""

    @property
    def converged(self) -> np.ndarray:
        """Problems that ended at a strict local minimum."""
        return (self.decrement < DECREMENT) & self.positive


def minimise(surface: Surface, log_y: Rows, start: np.ndarray, objective: Objective, *, weights: Rows = None) -> Minima:
    """Minimise from every start.

    Args:
        surface: The law over the rows.
        log_y: Logarithms of the observations, one set for all problems or one for each.
        start: [problems, parameters].
        objective: What to minimise.
        weights: Of the rows; ones when not given.

    Example:
        >>> from analysis.laws import Chinchilla
        >>> from analysis.engine.objectives import log_mse
        >>> from analysis.data.points import Points
        >>> law, rng = Chinchilla(), np.random.default_rng(0)
        >>> theta = law.theta({"E": 1.8, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37})
        >>> x = Points.of(N=np.exp(rng.uniform(18, 24, 50)), D=np.exp(rng.uniform(21, 26, 50)))
        >>> ends = minimise(law.surface(x), law.log_loss(theta, x), theta[None] + 0.05, log_mse())
        >>> bool(np.allclose(ends.theta[0], theta))
        True
    """
    size = max(1, int(BLOCK_FLOATS // surface.floats))
    parts = []
    for first in range(0, len(start), size):
        last = min(first + size, len(start))
        y, w = _rows(log_y, first, last), _rows(weights, first, last)
        theta = np.array(start[first:last], dtype=float)
        assert y is not None
        for stage in objective.before:
            theta = _descend(surface, y, theta, stage, w).theta
        parts.append(_descend(surface, y, theta, objective, w))
    return Minima(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Minima)))


def _rows(values: Rows, first: int, last: int) -> np.ndarray | None:
    """Return the rows' numbers for some problems."""
    if callable(values):
        return values(first, last)
    return values[first:last] if values is not None and values.ndim == 2 else values


def _descend(
    surface: Surface, log_y: np.ndarray, theta: np.ndarray, objective: Objective, weights: np.ndarray | None
) -> Minima:
    """Return the ends of one block of problems."""
    value, gradient, hessian = derivatives(surface, log_y, theta, objective, weights)
    damping = np.full(len(theta), DAMPING)
    active = np.arange(len(theta))
    idle = np.zeros(len(theta), dtype=int)
    for _ in range(MAX_STEPS):
        step, expected, positive = _step(gradient[active], hessian[active], damping[active])
        rounding = ROUNDING * surface.rows
        settled = positive & (expected <= np.maximum(1e-2 * DECREMENT * value[active], rounding))
        active, step, expected = active[~settled], step[~settled], expected[~settled]
        if not len(active):
            break
        tried = theta[active] + step
        new = derivatives(
            surface, _of(log_y, active), tried, objective, None if weights is None else _of(weights, active)
        )
        better = new[0] <= value[active]
        # where the model foretold the gain it may be trusted: then the convergence is Newton's own
        foretold = np.abs(value[active] - new[0] - expected) < 0.25 * expected
        factor = np.where(better, np.where(foretold, TRUSTED, SOFTER), HARDER)
        damping[active] = np.clip(damping[active] * factor, LEAST_DAMPING, MOST_DAMPING)
        kept = active[better]
        gained = value[kept] - new[0][better]
        theta[kept] = tried[better]
        value[kept], gradient[kept], hessian[kept] = (part[better] for part in new)
        # nothing is gained any more where rounding leaves no descent; such an end may lack its certificate
        idle[kept] = np.where(gained < CRAWL * value[kept], idle[kept] + 1, 0)
        stuck = (damping[active] >= MOST_DAMPING) | (idle[active] > PATIENCE)
        stuck[better] |= (gained == 0) & (expected[better] < DECREMENT * value[kept])
        active = active[~stuck]
    return Minima(theta, value, *_certificate(value, gradient, hessian, surface.rows))


def _of(values: np.ndarray, problems: np.ndarray) -> np.ndarray:
    return values[problems] if values.ndim == 2 else values


def derivatives(
    surface: Surface, log_y: np.ndarray, theta: np.ndarray, objective: Objective, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return F, F' and F'' of every problem; where F is not finite it is infinite and the others are harmless."""
    with np.errstate(all="ignore"):
        state = surface.at(theta)
        value, first, second = objective.rho(state.log_loss - log_y, log_y)
        if weights is not None:
            value, first, second = value * weights, first * weights, second * weights
        total, gradient, hessian = value.sum(axis=1), state.gradient(first), state.hessian(first, second)
    bad = ~(np.isfinite(total) & np.isfinite(gradient).all(axis=1) & np.isfinite(hessian).all(axis=(1, 2)))
    if bad.any():
        total[bad], gradient[bad], hessian[bad] = np.inf, 0.0, np.eye(surface.parameters)
    return total, gradient, hessian


def _step(gradient: np.ndarray, hessian: np.ndarray, damping: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the damped step, in parameters scaled by the Hessian's diagonal, what it promises, and which F'' > 0."""
    scale = _scale(hessian)
    scaled = hessian / (scale[:, :, None] * scale[:, None, :])
    damped = scaled + damping[:, None, None] * np.eye(hessian.shape[1])
    target = gradient / scale
    along, positive = _solve_positive(damped, target)
    if not positive.all():
        rest = ~positive
        values, vectors = np.linalg.eigh(scaled[rest])
        sizes = np.maximum(np.abs(values), 1e-14) + damping[rest, None]
        along[rest] = np.einsum("bpq,bq->bp", vectors, np.einsum("bpq,bp->bq", vectors, target[rest]) / sizes)
    expected = 0.5 * np.einsum("bp,bp->b", target, along)
    step = -along / scale
    longest = np.abs(step).max(axis=1, keepdims=True)
    return step * np.minimum(1.0, LONGEST_STEP / np.maximum(longest, 1e-300)), expected, positive


def _solve_positive(matrices: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the solutions of A x = b for all A that are positive definite, and which are.

    Elimination runs over all problems at once: for matrices of this size that is several times as fast as a call of
    LAPACK for each.
    """
    a = np.ascontiguousarray(np.moveaxis(matrices, 0, -1))
    x = np.ascontiguousarray(targets.T)
    size = len(a)
    positive = np.ones(len(matrices), dtype=bool)
    with np.errstate(all="ignore"):
        for j in range(size):
            positive &= a[j, j] > 1e-14
            factor = a[j + 1 :, j] / a[j, j]
            a[j + 1 :, j + 1 :] -= factor[:, None] * a[j, None, j + 1 :]
            x[j + 1 :] -= factor * x[j]
        for j in reversed(range(size)):
            x[j] /= a[j, j]
            x[:j] -= a[:j, j] * x[j]
    return np.where(positive, x, 0.0).T, positive


def _certificate(
    value: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return Newton's expected decrease over F, and whether the Hessian is positive definite."""
    scale = _scale(hessian)
    scaled = hessian / (scale[:, :, None] * scale[:, None, :])
    values, vectors = np.linalg.eigh(scaled)
    positive = (values[:, 0] > POSITIVE) & np.isfinite(value)
    along = np.einsum("bpq,bp->bq", vectors, gradient / scale)
    decrement = 0.5 * (along**2 / np.maximum(np.abs(values), 1e-14)).sum(axis=1)
    share = decrement / np.maximum(value, np.finfo(float).tiny)
    return np.where(decrement <= ROUNDING * rows, 0.0, share), positive


def _scale(hessian: np.ndarray) -> np.ndarray:
    diagonal = np.abs(np.einsum("bpp->bp", hessian))
    return np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
