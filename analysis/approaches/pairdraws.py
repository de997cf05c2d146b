"""Draws of the curves of two quantities of the same runs, under noise that a run has in both.

A run that a seed or a learning rate made worse is worse in loss and in metric, so the minima of the two err together.
As in multivariate regression (Zellner 1962; Gelman et al. 2013, chapter 14) the errors of a run are normal in two
dimensions and independent between runs:

    S = nu [[s1^2, r s1 s2], [r s1 s2, s2^2]],    s^2 = rss / nu of each,    r the correlation of the residuals
    Sigma ~ inverse Wishart(nu + 1, S),    c_b = c_b(k) + (X_b'X_b)^-1 X_b' e,    e ~ Normal(0, Sigma) a run

With nu + 1 every linear combination a of the two has a' Sigma a = a' S a / chi^2_nu, as either has alone
(`analysis.approaches.curvedraws`): the difference of the two log N* has Student's t for its distribution where both
curves have one basis. Skews are drawn given their variances, with ranks that are correlated as the errors are.
"""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from analysis.approaches.curvedraws import skew_draws
from analysis.approaches.curves import Curves, basis


def draw_pair(first: Curves, second: Curves, draws: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return draws of c0, c1, c2 and k of both [draws, budgets, 4]; none without degrees of freedom.

    Args:
        first: Curves of one quantity.
        second: Of another one of the same runs in the same order.
        draws: How many.
        rng: Their source.

    Example:
        >>> from analysis.approaches.curvechoice import fit_curves
        >>> from analysis.approaches.curves import BudgetRuns, minimum
        >>> x = np.linspace(-2, 2, 9)
        >>> noise = 0.05 * np.random.default_rng(0).normal(size=9)
        >>> one, two = (fit_curves([BudgetRuns(log_n=x, loss=s * (x**2 + noise))], "quadratic") for s in (1.0, 3.0))
        >>> a, b = draw_pair(one, two, 500, np.random.default_rng(0))
        >>> bool(np.allclose(minimum(a), minimum(b)))  # the same noise: the minima differ by nothing
        True
    """
    pair, empty = (first, second), np.empty((0, len(first.points), 4))
    degrees = min(first.degrees, second.degrees)
    if degrees <= 0 or not draws:
        return empty, empty
    root = _noise(first, second, degrees, draws, rng)
    scales = np.sqrt((root**2).sum(axis=2))
    correlation = (root[:, 0] * root[:, 1]).sum(axis=1) / np.maximum(scales[:, 0] * scales[:, 1], 1e-300)
    out = [np.full((draws, len(curves.points), 4), np.nan) for curves in pair]
    z = rng.standard_normal((draws, 2))
    z[:, 1] = correlation * z[:, 0] + np.sqrt(np.maximum(0.0, 1 - correlation**2)) * z[:, 1]
    for j, curves in enumerate(pair):
        out[j][:, curves.fitted, 3] = 0.0
        for number, group in enumerate(curves.groups):
            members = curves.fitted if curves.kind == "skewed" else group
            shared = number == 0 and first.kind == second.kind == "skewed"
            levels = ndtr(z[:, j]) if shared else rng.uniform(size=draws)
            out[j][:, members, 3] = skew_draws(curves, group, scales[:, j], levels)[:, None]
    for i in first.fitted:
        errors = np.einsum("djk,dnk->dnj", root, rng.standard_normal((draws, len(first.points[i].loss), 2)))
        for j, curves in enumerate(pair):
            x, loss = curves.data(i)
            q, r = np.linalg.qr(basis(x, out[j][:, i, 3]))
            target = np.einsum("dnp,dn->dp", q, loss + errors[:, curves.used[i], j])
            out[j][:, i, :3] = np.linalg.solve(r, target[..., None])[..., 0]
    return out[0], out[1]


def _noise(first: Curves, second: Curves, degrees: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Return roots of Sigma, [draws, 2, 2]."""
    s1, s2 = first.sigma, second.sigma
    r = correlation_of(first, second)
    values, vectors = np.linalg.eigh(degrees * np.array([[s1**2, r * s1 * s2], [r * s1 * s2, s2**2]]))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    # a Wishart matrix T T' of nu + 1 degrees by Bartlett: its inverse has the root T'^-1
    low = np.zeros((draws, 2, 2))
    low[:, 0, 0] = np.sqrt(rng.chisquare(degrees + 1, draws))
    low[:, 1, 1] = np.sqrt(rng.chisquare(degrees, draws))
    low[:, 1, 0] = rng.standard_normal(draws)
    return root @ np.swapaxes(np.linalg.inv(low), 1, 2)


def correlation_of(first: Curves, second: Curves) -> float:
    """Return the correlation of the residuals of runs that both curves go through."""
    products = np.zeros(3)
    for i in first.fitted:
        residuals = [np.full(len(first.points[i].loss), np.nan) for _ in range(2)]
        for own, curves in zip(residuals, (first, second), strict=True):
            own[curves.used[i]] = curves.residual(i)
        both = np.isfinite(residuals[0]) & np.isfinite(residuals[1])
        a, b = residuals[0][both], residuals[1][both]
        products += [a @ a, b @ b, a @ b]
    size = np.sqrt(products[0] * products[1])
    return float(np.clip(products[2] / size, -1, 1)) if size > 0 else 0.0
