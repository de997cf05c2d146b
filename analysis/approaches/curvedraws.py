"""Draws of the curves through loss over log N, under one noise level for all budgets.

`normal`: errors are normal, c0, c1, c2 and log s have flat priors, and the skews those of the fit, within their bounds:

    s^2 = rss / chi^2_nu,    nu = runs - 3 for each budget - 1 for each skew
    p(k | s) ~ p(k) prod_b |X_b'X_b|^(-1/2) exp(-rss_b(k) / 2 s^2),    b over the budgets that share k
    c_b ~ Normal(c_b(k), s^2 (X_b'X_b)^-1)

Without a skew the quantiles of x* are those of Fieller's exact interval for a ratio of normal variables, and a little
wider where the curvature is weak (the tests hold them to it).

`residual`: the curves refitted to their own values plus residuals drawn with replacement from all budgets. `wild`: plus
each run's own residual with a random sign (Wu, Annals of Statistics 14, 1986). Both divide residuals by sqrt(1 - h),
h their leverage, skew included, which would else be too small by nu / n.
"""

from __future__ import annotations

import numpy as np

from analysis.approaches.curves import SKEWS, Curves, basis, best_skew, skew_directions, skew_profile
from scaling.errors import InputError, did_you_mean

INTERVALS = {
    "normal": "normal draws, variance pooled over the budgets",
    "residual": "bootstrap of residuals pooled over the budgets",
    "wild": "wild bootstrap of each run's own residual",
}
"""Ways to draw, in words."""
BLOCK = 500
"""Draws refitted at once, which bounds memory."""


def draw_curves(curves: Curves, how: str, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return draws of c0, c1, c2 and k [draws, budgets, 4]; none without degrees of freedom.

    Args:
        curves: The fit.
        how: `normal`, `residual` or `wild`.
        draws: How many.
        rng: Their source.

    Raises:
        InputError: On any other way.

    Example:
        >>> from analysis.approaches.curvechoice import fit_curves
        >>> from analysis.approaches.curves import BudgetRuns
        >>> x = np.linspace(-2, 2, 7)
        >>> curves = fit_curves([BudgetRuns(log_n=x, loss=x**2 + 0.01 * np.cos(9 * x))])
        >>> draw_curves(curves, "normal", 1000, np.random.default_rng(0)).shape
        (1000, 1, 4)
    """
    if how not in INTERVALS:
        raise InputError(
            "no such way to draw isoFLOP minima",
            where="intervals",
            value=how,
            remedy=did_you_mean(how, list(INTERVALS)),
        )
    if curves.degrees <= 0 or not draws:
        return np.empty((0, len(curves.points), 4))
    if how == "normal":
        return _normal(curves, draws, rng)
    return np.concatenate(
        [_refitted(curves, how, min(BLOCK, draws - done), rng) for done in range(0, draws, BLOCK)], axis=0
    )


def _normal(curves: Curves, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return draws under normal errors."""
    out = np.full((draws, len(curves.points), 4), np.nan)
    scale = np.sqrt(curves.rss / rng.chisquare(curves.degrees, draws))
    out[:, curves.fitted, 3] = 0.0
    for group in curves.groups:
        members = curves.fitted if curves.kind == "skewed" else group
        out[:, members, 3] = skew_draws(curves, group, scale, rng.uniform(size=draws))[:, None]
    for i in curves.fitted:
        x, loss = curves.data(i)
        design = basis(x, out[:, i, 3])
        q, r = np.linalg.qr(design)
        target = np.einsum("dnp,n->dp", q, loss) + scale[:, None] * rng.standard_normal((draws, 3))
        out[:, i, :3] = np.linalg.solve(r, target[..., None])[..., 0]
    return out


def skew_draws(curves: Curves, group: list[int], scale: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return draws of the skew of a group [draws], given those of the noise level and of its rank, 0 to 1."""
    profile, log_volume = np.zeros(len(SKEWS)), np.zeros(len(SKEWS))
    for i in group:
        x, loss = curves.data(i)
        profile += skew_profile(x, loss)
        log_volume -= np.linalg.slogdet(np.linalg.qr(basis(x, SKEWS))[1])[1]
    log_volume -= (SKEWS / curves.spread) ** 2 / 2
    log_p = log_volume - (profile - profile.min()) / (2 * np.maximum(scale, 1e-300)[:, None] ** 2)
    weights = np.exp(log_p - log_p.max(1, keepdims=True))
    # the density between the points of the grid is a straight line: the distribution is drawn from by its inverse
    steps = np.concatenate([np.zeros((len(scale), 1)), np.cumsum((weights[:, 1:] + weights[:, :-1]) / 2, 1)], 1)
    aim = levels * steps[:, -1]
    at = np.clip((steps <= aim[:, None]).sum(1), 1, len(SKEWS) - 1)
    rows = np.arange(len(scale))
    share = (aim - steps[rows, at - 1]) / (steps[rows, at] - steps[rows, at - 1])
    return SKEWS[at - 1] + share * (SKEWS[1] - SKEWS[0])


def _refitted(curves: Curves, how: str, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return the curves of resampled losses."""
    residuals = _leveraged(curves)
    pool = np.concatenate([residuals[i] for i in curves.fitted])
    pool = pool - pool.mean()
    losses: dict[int, np.ndarray] = {}
    for i in curves.fitted:
        x, loss = curves.data(i)
        fitted = loss - curves.residual(i)
        if how == "residual":
            losses[i] = fitted + rng.choice(pool, (draws, len(x)))
        else:
            losses[i] = fitted + residuals[i] * rng.choice([-1.0, 1.0], (draws, len(x)))
    out = np.full((draws, len(curves.points), 4), np.nan)
    out[:, curves.fitted, 3] = 0.0
    for group in curves.groups:
        members = curves.fitted if curves.kind == "skewed" else group
        out[:, members, 3] = best_skew([(curves.data(i)[0], losses[i]) for i in group], curves.spread, curves.degrees)[
            :, None
        ]
    for i in curves.fitted:
        q, r = np.linalg.qr(basis(curves.data(i)[0], out[:, i, 3]))
        out[:, i, :3] = np.linalg.solve(r, np.einsum("dnp,dn->dp", q, losses[i])[..., None])[..., 0]
    return out


def _leveraged(curves: Curves) -> dict[int, np.ndarray]:
    """Return residuals over sqrt(1 - h) for each budget; zero where a curve has to go through a run."""
    bends = skew_directions(curves)
    shares = [0.0] * len(curves.points)
    for group in curves.groups:
        for i in group:
            shares[i] = sum(float(bends[j] @ bends[j]) for j in group)
    out = {}
    for i in curves.fitted:
        x, _ = curves.data(i)
        leverage = (np.linalg.qr(basis(x, curves.coefficients[i, 3]))[0] ** 2).sum(1)
        if shares[i] > 0:
            leverage = leverage + bends[i] ** 2 / shares[i]
        left = 1 - leverage
        out[i] = np.where(left > 1e-6, curves.residual(i) / np.sqrt(np.maximum(left, 1e-6)), 0.0)
    return out
