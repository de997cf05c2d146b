"""The curves through loss over log N: a parabola whose arms may differ, with its minimum and its fit.

    L = c0 + c1 x + c2 v(x),    v = 2 (e^(k x) - 1 - k x) / k^2    (x^2 at k = 0),    x = log N - mean(log N)
    x* = log(1 - k c1 / (2 c2)) / k,    L''(x*) / 2 = c2 - k c1 / 2,    L''' / L'' = k

A parabola (Hoffmann et al. 2022, arXiv 2203.15556, approach 2) is the second order of a Taylor series, and biased
where the arms differ (arXiv 2603.22339). The third order needs no parameter for every budget: at each minimum of
E + A / N^alpha + B / D^beta over C = 6 N D, L''' / L'' is the same beta - alpha, so that one skew k serves all of them.
Unlike a cubic the curve is convex everywhere or nowhere and has one minimum at most, in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SKEW_MAX = 1.5
"""Largest |k|. Exponents between 0 and 1 make beta - alpha less than 1; published minima reach 1.3."""
SKEW_SPREAD = 0.3
"""Standard deviation of the prior of a shared skew about zero. Generous: Chinchilla's beta - alpha is -0.06 as printed
and 0.02 refitted (arXiv 2404.10102). It matters only where noise hides the skew, and the parabola would do as well."""
SKEWS = np.linspace(-SKEW_MAX, SKEW_MAX, 121)
MIN_SIZES = 3
WINDOW = 3.0
"""A curve with its own skew goes through the sizes within this factor of that with the lowest loss ..."""
WINDOW_SIZES = 5
"""... and at least through this many."""


@dataclass(frozen=True, kw_only=True)
class BudgetRuns:
    """The runs of one budget: log N [n] and loss [n]."""

    log_n: np.ndarray
    loss: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Distinct log N, ascending."""
        return np.unique(self.log_n)

    @property
    def means(self) -> np.ndarray:
        """Mean loss of every distinct size."""
        return np.array([self.loss[self.log_n == size].mean() for size in self.sizes])

    @property
    def inner(self) -> bool:
        """Whether the lowest mean loss is that of neither end."""
        return len(self.sizes) >= MIN_SIZES and 0 < int(np.argmin(self.means)) < len(self.sizes) - 1

    def near(self) -> np.ndarray:
        """Return which runs are near the lowest mean loss: within the window, or of the nearest sizes [n]."""
        distance = np.abs(self.sizes - self.sizes[np.argmin(self.means)])
        least = np.sort(distance)[min(WINDOW_SIZES, len(distance)) - 1]
        # sizes on a geometric grid sit exactly on the window's edge: a rounding error must not decide
        return np.isin(self.log_n, self.sizes[distance <= max(np.log(WINDOW), least) + 1e-6])


@dataclass(frozen=True, kw_only=True)
class Curves:
    """One curve for each budget."""

    kind: str
    """`quadratic` (k = 0), `skewed` (one k shared), or `local` (a k for each budget, sizes near the lowest loss)."""
    points: list[BudgetRuns]
    used: list[np.ndarray]
    """Which runs the curve goes through."""
    center: np.ndarray
    """Mean of log N [budgets]."""
    coefficients: np.ndarray
    """c0, c1, c2, k [budgets, 4]; NaN with fewer than three sizes."""
    groups: list[list[int]]
    """Numbers of the budgets that settle a skew together."""
    p_value: float = float("nan")
    """Of the test against a shared skew, where there was one."""

    @property
    def fitted(self) -> list[int]:
        """Numbers of the budgets with enough sizes."""
        return [i for i in range(len(self.points)) if np.isfinite(self.center[i])]

    @property
    def spread(self) -> float:
        """Standard deviation of the prior of a skew."""
        return SKEW_SPREAD if self.kind == "skewed" else float("inf")

    @property
    def degrees(self) -> int:
        """Degrees of freedom of the pooled variance."""
        return sum(int(self.used[i].sum()) - 3 for i in self.fitted) - len(self.groups)

    @property
    def rss(self) -> float:
        """Residual sum of squares over all budgets."""
        return float(sum((self.residual(i) ** 2).sum() for i in self.fitted))

    @property
    def sigma(self) -> float:
        """Pooled standard deviation; NaN without degrees of freedom."""
        return float(np.sqrt(self.rss / self.degrees)) if self.degrees > 0 else float("nan")

    def data(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Return x = log N - center [n] and loss [n] of the runs that a curve goes through."""
        return self.points[i].log_n[self.used[i]] - self.center[i], self.points[i].loss[self.used[i]]

    def residual(self, i: int) -> np.ndarray:
        """Return loss minus curve [n]."""
        x, loss = self.data(i)
        return loss - basis(x, self.coefficients[i, 3]) @ self.coefficients[i, :3]

    def minima(self) -> np.ndarray:
        """Return log N* [budgets]."""
        return self.center + minimum(self.coefficients)

    def encloses(self, i: int) -> bool:
        """Whether the minimum lies within the sizes that the curve goes through."""
        x, _ = self.data(i)
        return bool(x.min() < minimum(self.coefficients[i]) < x.max())


def basis(x: np.ndarray, skew: float | np.ndarray) -> np.ndarray:
    """Return 1, x, v(x) [..., n, 3] for x [n] and skews [...].

    Example:
        >>> basis(np.array([1.0, 2.0]), 0.0).tolist()
        [[1.0, 1.0, 1.0], [1.0, 2.0, 4.0]]
    """
    t = np.asarray(skew)[..., None] * x
    small = np.abs(t) < 1e-2  # e^t - 1 - t loses its digits there
    series = 1 + t / 3 * (1 + t / 4 * (1 + t / 5 * (1 + t / 6)))
    safe = np.where(small, 1.0, t)
    v = x**2 * np.where(small, series, 2 * (np.expm1(safe) - safe) / safe**2)
    return np.stack([np.ones_like(v), np.broadcast_to(x, v.shape), v], axis=-1)


def minimum(coefficients: np.ndarray) -> np.ndarray:
    """Return x* [...] of curves c0, c1, c2, k [..., 4]; NaN where there is none.

    Example:
        >>> minimum(np.array([[3.0, -2.0, 1.0, 0.0], [3.0, -2.0, 1.0, 1.0], [3.0, -2.0, -1.0, 0.0]])).round(3).tolist()
        [1.0, 0.693, nan]
    """
    _, c1, c2, k = np.moveaxis(coefficients, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        parabola = -c1 / (2 * c2)
        t = k * parabola
        bent = np.where(np.abs(t) < 1e-8, 1.0, np.log1p(t) / t)
        return np.where((c2 > 0) & (t > -1), parabola * bent, np.nan)


def lowest(coefficients: np.ndarray) -> np.ndarray:
    """Return L* [...] of curves [..., 4]; NaN where there is no minimum."""
    x = minimum(coefficients)
    terms = basis(np.where(np.isfinite(x), x, 0.0)[..., None], coefficients[..., 3])[..., 0, :]
    return np.where(np.isfinite(x), (terms * coefficients[..., :3]).sum(-1), np.nan)


def skew_directions(curves: Curves) -> list[np.ndarray]:
    """Return for every budget what a unit of skew adds to the curve that c0, c1 and c2 cannot make up for [n]."""
    out = [np.zeros(int(mask.sum())) for mask in curves.used]
    for i in {i for group in curves.groups for i in group}:
        x, _ = curves.data(i)
        design = basis(x, curves.coefficients[i, 3])
        added = curves.coefficients[i, 2] * bend(x, curves.coefficients[i, 3])
        out[i] = added - design @ (np.linalg.pinv(design) @ added)
    return out


def best_skew(data: list[tuple[np.ndarray, np.ndarray]], spread: float, degrees: int) -> np.ndarray:
    """Return the skew [...] of least rss / s^2 + k^2 / spread^2 that budgets share, for losses [..., n] of each.

    Args:
        data: x and losses of every budget.
        spread: Standard deviation of the normal prior of k about zero; infinite for least squares.
        degrees: Degrees of freedom of s^2.
    """
    profile = np.asarray(sum(skew_profile(x, loss) for x, loss in data))
    prior = (SKEWS / spread) ** 2
    if np.isfinite(spread):  # s^2 at the mode of the density without it
        mode = np.argmin(degrees * np.log(np.maximum(profile, 1e-300)) + prior, axis=-1)[..., None]
        profile = profile + np.take_along_axis(profile, mode, axis=-1) / degrees * prior
    at = np.clip(np.argmin(profile, axis=-1), 1, len(SKEWS) - 2)[..., None]
    left, middle, right = (np.take_along_axis(profile, at + j, axis=-1)[..., 0] for j in (-1, 0, 1))
    second = left - 2 * middle + right
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where(second > 0, (left - right) / (2 * second), 0.0)
    return np.clip(SKEWS[at[..., 0]] + np.clip(shift, -1, 1) * (SKEWS[1] - SKEWS[0]), -SKEW_MAX, SKEW_MAX)


def skew_profile(x: np.ndarray, loss: np.ndarray) -> np.ndarray:
    """Return the residual sum of squares [..., skews] of x [n] and losses [..., n] at every skew of the grid."""
    q = np.linalg.qr(basis(x, SKEWS))[0]
    centered = loss - loss.mean(-1, keepdims=True)  # the sums of squares below cancel: keep them small
    explained = np.einsum("...n,knp->...kp", centered, q, optimize=True)
    return np.maximum((centered**2).sum(-1)[..., None] - (explained**2).sum(-1), 0.0)


def bend(x: np.ndarray, skew: float) -> np.ndarray:
    """Return d v / d k [n]."""
    return (basis(x, skew + 1e-4) - basis(x, skew - 1e-4))[:, 2] / 2e-4


def least_squares(points: list[BudgetRuns], used: list[np.ndarray], kind: str, groups: list[list[int]]) -> Curves:
    """Return the curves of one kind: skews first, then the rest linearly."""
    center, coefficients = np.full(len(points), np.nan), np.full((len(points), 4), np.nan)
    for i, p in enumerate(points):
        if len(p.sizes) >= MIN_SIZES:
            center[i], coefficients[i, 3] = p.log_n[used[i]].mean(), 0.0
    curves = Curves(
        kind=kind, points=points, used=used, center=center, coefficients=coefficients, groups=[g for g in groups if g]
    )
    for group in curves.groups:
        members = curves.fitted if kind == "skewed" else group
        coefficients[members, 3] = best_skew([curves.data(i) for i in group], curves.spread, curves.degrees)
    for i in curves.fitted:
        x, loss = curves.data(i)
        coefficients[i, :3] = np.linalg.lstsq(basis(x, coefficients[i, 3]), loss, rcond=None)[0]
    return curves
