"""What a fit minimises: rho of the residual of the logarithm, with its two derivatives.

    F(theta) = sum_i w_i rho(r_i),    r_i = log L(theta)_i - log y_i

`huber`: r^2 / 2 up to delta, delta (|r| - delta / 2) beyond (Huber 1964). `lad`: |r|, reached through Huber's with
delta going to zero. `log-mse`: r^2. `mse`: (L - y)^2, the squared error of the loss itself.

Huber's delta is 1.345 x the robust scale of the residuals unless one is given: then the estimator has 95 % of the
efficiency of least squares under normal noise and still bounds what an outlier can do (Holland and Welsch 1977). The
1e-3 of Hoffmann et al. 2022 lies far below the noise of most studies, which makes it nearly least absolute
deviations, at the price of a third wider intervals under normal noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from scaling.errors import InputError, did_you_mean

Derivatives = tuple[np.ndarray, np.ndarray, np.ndarray]
OBJECTIVES = ("huber", "lad", "log-mse", "mse")
TUNING = 1.345
"""Huber's delta over the scale of the residuals."""
PUBLISHED_DELTA = 1e-3
"""Hoffmann et al.'s delta."""
SMALLEST_DELTA = 1e-9
"""Residuals of exact data are rounding errors: no delta lies below this."""
LAD_DRAW_DELTAS = (1e-2, 1e-3, 2e-4)
"""Where draws of `lad` stop: their spread is that of the runs, next to which 2e-4 of the loss is nothing."""
LAD_DELTAS = tuple(10.0**-power for power in np.arange(2, 7.01, 0.5))
"""The stages through which `lad` is neared. The last leaves its sum within rows x 5e-8 of the least; linear programs
go on from there (`analysis.engine.vertex`)."""


@dataclass(frozen=True)
class Objective:
    """rho and its two derivatives, as functions of (residual of the logarithm, log y)."""

    name: str
    rho: Callable[[np.ndarray, np.ndarray], Derivatives]
    delta: float | None = None
    """Huber's delta where it is fixed."""
    before: tuple[Objective, ...] = field(default=(), repr=False)
    """Smoother objectives to minimise first, each from where the last one ended."""

    @property
    def tuned(self) -> bool:
        """Whether delta is still to follow from the residuals."""
        return self.name == "huber" and self.delta is None


def huber(delta: float) -> Objective:
    """Return Huber's loss of log residuals: r^2 / 2 up to delta, delta (|r| - delta / 2) beyond."""

    def rho(r: np.ndarray, log_y: np.ndarray) -> Derivatives:
        slope = np.clip(r, -delta, delta)
        # with c = clip(r): c (r - c / 2) is r^2 / 2 inside and delta (|r| - delta / 2) outside
        return slope * (r - 0.5 * slope), slope, (slope == r).astype(float)

    return Objective("huber", rho, delta)


def tuned_huber() -> Objective:
    """Return Huber's loss whose delta is found from the residuals of the fit, 1.345 x their robust scale."""
    return Objective("huber", huber(PUBLISHED_DELTA).rho, None)


def lad(deltas: tuple[float, ...] = LAD_DELTAS) -> Objective:
    """Return the absolute residual, as the end of a sequence of Huber's losses over their delta."""

    def smoothed(delta: float) -> Objective:
        inner = huber(delta).rho

        def rho(r: np.ndarray, log_y: np.ndarray) -> Derivatives:
            value, first, second = inner(r, log_y)
            return value / delta, first / delta, second / delta

        return Objective("lad", rho)

    *before, last = (smoothed(delta) for delta in deltas)
    return Objective("lad", last.rho, before=tuple(before))


def log_mse() -> Objective:
    """Return squared log residuals."""
    return Objective("log-mse", lambda r, log_y: (r * r, 2 * r, np.full_like(r, 2.0)))


def mse() -> Objective:
    """Return squared errors of the loss itself, (y e^r - y)^2."""

    def rho(r: np.ndarray, log_y: np.ndarray) -> Derivatives:
        y2, g = np.exp(2 * log_y), np.exp(r)
        return y2 * (g - 1) ** 2, 2 * y2 * (g - 1) * g, 2 * y2 * (2 * g - 1) * g

    return Objective("mse", rho)


def objective_named(name: str, delta: float | None = None) -> Objective:
    """Return an objective by its name on the command line.

    Raises:
        InputError: When there is no such objective, or a delta is given to one without.
    """
    if name not in OBJECTIVES:
        raise InputError("no such objective", where="--objective", value=name, remedy=did_you_mean(name, OBJECTIVES))
    if delta is not None and not 0 < delta < np.inf:
        raise InputError("a delta lies above zero", where="--delta", value=delta, remedy="write 1e-3")
    if name == "huber":
        return tuned_huber() if delta is None else huber(delta)
    if delta is not None:
        raise InputError("only huber has a delta", where="--delta", value=delta, remedy="leave it away")
    return {"lad": lad, "log-mse": log_mse, "mse": mse}[name]()


def robust_scale(residuals: np.ndarray, parameters: int) -> float:
    """Return the scale of residuals that have used up some parameters: MAD / 0.6745 x sqrt(n / (n - p)).

    Source: Huber and Ronchetti 2009, section 7.8.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> round(robust_scale(0.02 * rng.standard_normal(100_000), 5), 3)
        0.02
    """
    rows = len(residuals)
    return float(np.median(np.abs(residuals)) / 0.674489750196 * np.sqrt(rows / max(1, rows - parameters)))
