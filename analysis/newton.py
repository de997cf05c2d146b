"""Damped Newton on many problems at once, with exact derivatives: multi-start fits and bootstrap draws.

Minimises F(theta) = sum_i w_i rho(r_i) over residuals of the logarithm r_i = log L(theta)_i - log y_i, where log L
is a log-sum-exp of linear forms z_k = X_k theta. With softmax weights s_k = exp(z_k) / sum exp(z):

    J_i = dr_i / dtheta = sum_k s_k X_k
    F'  = sum_i w_i rho'(r_i) J_i
    F'' = sum_i w_i [ rho''(r_i) J_i J_i' + rho'(r_i) (sum_k s_k X_k X_k' - J_i J_i') ]

A step solves (|F''| + lambda diag) p = -F', |F''| being the Hessian with its eigenvalues made positive, and is kept
when F falls (Levenberg; Nocedal and Wright 2006, section 3.4).

Raw squared errors (`mse`) are the same problem with rho a function of y_i as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scaling.errors import InputError, did_you_mean

MAX_STEPS = 200
DECREMENT = 1e-13
"""A problem is converged when the decrease that Newton's model still expects is below this share of F."""
ROUNDING = 1e-26
"""An expected decrease a row below this is that of rounding errors in the residuals, and counts as none."""
BLOCK_FLOATS = 4_000_000
"""Problems are worked on in blocks whose largest array holds about so many numbers."""


@dataclass(frozen=True)
class Objective:
    """rho and its two derivatives, as functions of (residual of the logarithm, log y)."""

    name: str
    rho: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray]]
    delta: float | None = None


def huber(delta: float) -> Objective:
    """Return Huber's loss of log residuals: r^2 / 2 up to delta, delta (|r| - delta / 2) beyond."""

    def rho(r: np.ndarray, log_y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        size = np.abs(r)
        inside = size <= delta
        value = np.where(inside, 0.5 * r * r, delta * (size - 0.5 * delta))
        return value, np.clip(r, -delta, delta), inside.astype(float)

    return Objective("huber", rho, delta)


def log_mse() -> Objective:
    """Return squared log residuals."""
    return Objective("log-mse", lambda r, log_y: (r * r, 2 * r, np.full_like(r, 2.0)))


def mse() -> Objective:
    """Return squared errors of the loss itself, (y e^r - y)^2."""

    def rho(r: np.ndarray, log_y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y2, g = np.exp(2 * log_y), np.exp(r)
        return y2 * (g - 1) ** 2, 2 * y2 * (g - 1) * g, 2 * y2 * (2 * g - 1) * g

    return Objective("mse", rho)


OBJECTIVES = ("huber", "log-mse", "mse")
HUBER_DELTA = 1e-3
"""Hoffmann et al.'s delta."""


def objective_named(name: str, delta: float | None = None) -> Objective:
    """Return an objective by its name on the command line.

    Raises:
        InputError: When there is no such objective, or a delta is given to one without.
    """
    if name not in OBJECTIVES:
        raise InputError("no such objective", where="--objective", value=name, remedy=did_you_mean(name, OBJECTIVES))
    if delta is not None and not delta > 0:
        raise InputError("a delta lies above zero", where="--delta", value=delta, remedy="write 1e-3")
    if name == "huber":
        return huber(HUBER_DELTA if delta is None else delta)
    if delta is not None:
        raise InputError("only huber has a delta", where="--delta", value=delta, remedy="leave it away")
    return log_mse() if name == "log-mse" else mse()


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


def minimise(
    design: np.ndarray,
    log_y: np.ndarray,
    start: np.ndarray,
    objective: Objective,
    *,
    weights: np.ndarray | None = None,
) -> Minima:
    """Minimise from every start.

    Args:
        design: X, [rows, terms, parameters].
        log_y: Logarithms of the observations: [rows], or [problems, rows] for other data in each problem.
        start: [problems, parameters].
        objective: What to minimise.
        weights: [rows] or [problems, rows]; ones when not given.

    Example:
        >>> from analysis.laws import Chinchilla, log_predict
        >>> law, rng = Chinchilla(), np.random.default_rng(0)
        >>> theta = law.theta({"E": 1.8, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37})
        >>> X = law.design(rng.uniform(18, 24, 50), rng.uniform(21, 26, 50))
        >>> bool(np.allclose(minimise(X, log_predict(X, theta), theta[None] + 0.05, log_mse()).theta[0], theta))
        True
    """
    problems = len(start)
    rows, terms, parameters = design.shape
    size = max(1, int(BLOCK_FLOATS // (rows * parameters * terms)))
    parts = []
    for first in range(0, problems, size):
        block = slice(first, first + size)
        parts.append(
            _minimise_block(
                design,
                log_y[block] if log_y.ndim == 2 else log_y,
                start[block],
                objective,
                weights[block] if weights is not None and weights.ndim == 2 else weights,
            )
        )
    return Minima(*(np.concatenate([getattr(part, name) for part in parts]) for name in Minima.__annotations__))


def _minimise_block(
    design: np.ndarray, log_y: np.ndarray, start: np.ndarray, objective: Objective, weights: np.ndarray | None
) -> Minima:
    theta = np.array(start, dtype=float)
    problems = len(theta)
    damping = np.full(problems, 1e-3)
    value, gradient, hessian = _derivatives(design, log_y, theta, objective, weights)
    active = np.ones(problems, dtype=bool)
    for _ in range(MAX_STEPS):
        chosen = np.flatnonzero(active)
        if not len(chosen):
            break
        step = _step(gradient[chosen], hessian[chosen], damping[chosen])
        tried = theta[chosen] + step
        new = _derivatives(
            design,
            log_y[chosen] if log_y.ndim == 2 else log_y,
            tried,
            objective,
            weights[chosen] if weights is not None and weights.ndim == 2 else weights,
        )
        better = new[0] <= value[chosen]
        kept = chosen[better]
        gained = value[kept] - new[0][better]
        theta[kept] = tried[better]
        value[kept], gradient[kept], hessian[kept] = (part[better] for part in new)
        damping[chosen] = np.where(better, damping[chosen] * 0.2, damping[chosen] * 10)
        damping = np.maximum(damping, 1e-15)
        decrement, positive = _certificate(value[kept], gradient[kept], hessian[kept], len(design))
        # at a minimum, or where rounding leaves no further descent
        active[kept] = ~((decrement < DECREMENT * 1e-3) & positive) & ((gained > 0) | (decrement > DECREMENT))
        active[chosen] &= damping[chosen] < 1e12
    return Minima(theta, value, *_certificate(value, gradient, hessian, len(design)))


def _derivatives(
    design: np.ndarray, log_y: np.ndarray, theta: np.ndarray, objective: Objective, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return F, F' and F'' of every problem."""
    rows, terms, parameters = design.shape
    z = (theta @ design.reshape(rows * terms, parameters).T).reshape(-1, rows, terms)
    top = z.max(axis=2, keepdims=True)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        share = np.exp(z - top)
        total = share.sum(axis=2, keepdims=True)
        share /= total
        residual = np.log(total[..., 0]) + top[..., 0] - log_y
        value, first, second = objective.rho(residual, np.broadcast_to(log_y, residual.shape))
        if weights is not None:
            value, first, second = value * weights, first * weights, second * weights
        jacobian = np.einsum("bnk,nkp->bnp", share, design)
        gradient = np.einsum("bn,bnp->bp", first, jacobian)
        hessian = np.einsum("bnp,bnq->bpq", jacobian * (second - first)[..., None], jacobian)
        outer = np.einsum("nkp,nkq->nkpq", design, design).reshape(rows * terms, -1)
        curved = (share * first[..., None]).reshape(len(theta), -1) @ outer
        hessian += curved.reshape(hessian.shape)
        objective_value = value.sum(axis=1)
    bad = ~np.isfinite(objective_value)
    objective_value[bad] = np.inf
    gradient[bad], hessian[bad] = 0.0, np.eye(parameters)
    return objective_value, gradient, hessian


def _step(gradient: np.ndarray, hessian: np.ndarray, damping: np.ndarray) -> np.ndarray:
    """Return the damped step, in parameters scaled by the Hessian's diagonal."""
    scale = _scale(hessian)
    scaled = hessian / (scale[:, :, None] * scale[:, None, :])
    values, vectors = np.linalg.eigh(scaled)
    values = np.maximum(np.abs(values), 1e-14) + damping[:, None]
    along = np.einsum("bpq,bp->bq", vectors, gradient / scale) / values
    step = -np.einsum("bpq,bq->bp", vectors, along) / scale
    longest = np.abs(step).max(axis=1, keepdims=True)
    return step * np.minimum(1.0, 5.0 / np.maximum(longest, 1e-300))


def _certificate(
    value: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, rows: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return Newton's expected decrease over F, and whether the Hessian is positive definite."""
    scale = _scale(hessian)
    scaled = hessian / (scale[:, :, None] * scale[:, None, :])
    values, vectors = np.linalg.eigh(scaled)
    positive = values[:, 0] > 1e-13
    along = np.einsum("bpq,bp->bq", vectors, gradient / scale)
    decrement = 0.5 * (along**2 / np.maximum(np.abs(values), 1e-14)).sum(axis=1)
    share = decrement / np.maximum(value, np.finfo(float).tiny)
    return np.where(decrement <= ROUNDING * rows, 0.0, share), positive


def _scale(hessian: np.ndarray) -> np.ndarray:
    diagonal = np.abs(np.einsum("bpp->bp", hessian))
    return np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
