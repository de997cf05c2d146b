"""Which curves to put through the runs of every budget: parabolas, one skew for all, or a skew for each.

Parabolas where few degrees of freedom are left, else one skew for all: on simulated studies that takes away most of a
parabola's bias and costs the exponent of N*(C) nothing. Where the loss is no sum of a term in N and one in D, though,
arms differ from budget to budget, as in the runs of Porian et al. 2024 (arXiv 2406.19146). Cubics through the sizes
near the lowest loss then have slopes at the minima of the shared skew that noise cannot explain (after Hausman,
Econometrica 46, 1978):

    F = g' [s^2 G G']^-1 g / q,    g = slopes,    G = dg / d losses,    s^2 pooled over the cubics,    q = rank

and every budget gets a skew of its own, through the sizes near its lowest loss.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.approaches.curves import (
    MIN_SIZES,
    SKEW_MAX,
    WINDOW_SIZES,
    BudgetRuns,
    Curves,
    basis,
    bend,
    least_squares,
    minimum,
    skew_directions,
)
from analysis.engine.tails import f_tail
from scaling.errors import InputError, did_you_mean

CURVES = ("auto", "quadratic", "skewed", "local")
MIN_DEGREES = 3
"""Degrees of freedom that a skew has to leave: with fewer, intervals widen by more than the bias they are spared."""
CONTRADICTED = 0.05
"""Level of the test that leaves the shared skew."""


def fit_curves(points: list[BudgetRuns], curve: str = "auto") -> Curves:
    """Return least-squares curves through the runs of every budget.

    Args:
        points: The runs of each budget.
        curve: `quadratic`, `skewed`, `local`, or `auto`: quadratic where a skew leaves fewer than three degrees of
            freedom, else skewed, unless local curves contradict it.

    Raises:
        InputError: On any other curve.

    Example:
        >>> x = np.linspace(-2, 2, 7)
        >>> loss = np.exp(-0.3 * x) / 0.3 + np.exp(0.6 * x) / 0.6  # least at 0
        >>> runs = [BudgetRuns(log_n=x, loss=loss), BudgetRuns(log_n=x, loss=loss - 1)]
        >>> {curve: fit_curves(runs, curve).minima().round(2).tolist() for curve in ("auto", "quadratic")}
        {'auto': [0.01, 0.01], 'quadratic': [-0.15, -0.15]}
    """
    if curve not in CURVES:
        raise InputError("no such curve", where="--curve", value=curve, remedy=did_you_mean(curve, list(CURVES)))
    whole = [np.ones(len(p.log_n), dtype=bool) for p in points]
    quadratic = least_squares(points, whole, "quadratic", [])
    # a budget without an inner minimum shows one arm, which tells no difference between two
    inner = [i for i in quadratic.fitted if points[i].inner]
    if curve == "quadratic" or not any(len(points[i].sizes) > MIN_SIZES for i in inner):
        return quadratic
    if sum(len(points[i].log_n) - 3 for i in quadratic.fitted) < 2:
        return quadratic  # nothing is left that could tell a skew from noise
    skewed = least_squares(points, whole, "skewed", [inner])
    if curve == "skewed":
        return skewed
    near = [p.near() if i in quadratic.fitted else mask for i, (p, mask) in enumerate(zip(points, whole, strict=True))]
    own = [i for i in inner if len(np.unique(points[i].log_n[near[i]])) >= WINDOW_SIZES]
    if curve == "local":
        return least_squares(points, near, "local", [[i] for i in own])
    if skewed.degrees < MIN_DEGREES:
        return quadratic
    p_value = contradiction(skewed, near, own) if own else float("nan")
    chosen = least_squares(points, near, "local", [[i] for i in own]) if p_value < CONTRADICTED else skewed
    return replace(chosen, p_value=p_value)


def contradiction(curves: Curves, near: list[np.ndarray], chosen: list[int]) -> float:
    """Return the p-value of zero slopes of local cubics at the minima of smoother curves (after Hausman 1978).

    Args:
        curves: Efficient if right.
        near: Which runs of every budget the cubics go through.
        chosen: Numbers of the budgets to ask.

    Returns:
        The p-value; NaN where too little is left to tell noise by.
    """
    best, gradient = curves.minima(), minima_gradient(curves)
    starts = np.cumsum([0, *(len(p.log_n) for p in curves.points)])
    slopes, rows, rss, degrees = [], [], 0.0, 0
    for i in chosen:
        x = curves.points[i].log_n[near[i]] - curves.center[i]
        solve = np.linalg.pinv(np.vander(x, 4, increasing=True))
        loss = curves.points[i].loss[near[i]]
        cubic = solve @ loss
        rss += float(((loss - np.vander(x, 4, increasing=True) @ cubic) ** 2).sum())
        degrees += len(x) - 4
        if not np.isfinite(best[i]):
            return 0.0  # a minimum that sizes on both sides enclose is lost
        at = best[i] - curves.center[i]
        slopes.append(np.array([0, 1, 2 * at, 3 * at**2]) @ cubic)
        row = (2 * cubic[2] + 6 * cubic[3] * at) * gradient[i]
        row[starts[i] + np.flatnonzero(near[i])] += np.array([0, 1, 2 * at, 3 * at**2]) @ solve
        rows.append(row)
    if degrees <= MIN_DEGREES or rss <= 0:
        return float("nan")
    values, vectors = np.linalg.eigh(np.array(rows) @ np.array(rows).T)
    kept = values > 1e-10 * values.max()
    score = float((((vectors.T @ np.array(slopes))[kept]) ** 2 / values[kept]).mean() / (rss / degrees))
    return f_tail(score, int(kept.sum()), degrees)


def minima_gradient(curves: Curves) -> np.ndarray:
    """Return d log N* / d loss [budgets, all runs in the order of the budgets]."""
    starts = np.cumsum([0, *(len(p.log_n) for p in curves.points)])
    out = np.zeros((len(curves.points), starts[-1]))
    by_skew = np.zeros(len(curves.points))
    bends = skew_directions(curves)
    for i in curves.fitted:
        x, _ = curves.data(i)
        c, best = curves.coefficients[i], float(minimum(curves.coefficients[i]))
        if not np.isfinite(best):
            continue
        columns = starts[i] + np.flatnonzero(curves.used[i])
        solve = np.linalg.pinv(basis(x, c[3]))
        step = 1e-4
        # x* moves as the slope there moves, over the curvature
        slope = np.array([0.0, 1.0, (2 * np.expm1(c[3] * best) / c[3]) if abs(c[3]) > 1e-8 else 2 * best])
        out[i, columns] = -(slope @ solve) / (2 * (c[2] - c[3] * c[1] / 2))
        bent = [minimum(np.array([*c[:3], c[3] + sign * step])) for sign in (1, -1)]
        direct = (bent[0] - bent[1]) / (2 * step)
        by_skew[i] = direct - out[i, columns] @ (c[2] * bend(x, c[3]))
    for group in curves.groups:
        total = sum(float(bends[i] @ bends[i]) for i in group) + (curves.sigma / curves.spread) ** 2
        members = curves.fitted if curves.kind == "skewed" else group
        for j in group:
            if total > 0 and abs(curves.coefficients[j, 3]) < SKEW_MAX - 1e-9:  # at its bound a skew does not move
                columns = starts[j] + np.flatnonzero(curves.used[j])
                out[np.ix_(members, columns)] += np.outer(by_skew[members], bends[j] / total)
    return out
