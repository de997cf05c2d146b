"""Smooth, falling curves of loss over C, one for each size, and the lowest of them at any C.

    L_N(C) = E_N + K_N C^-g,    K_N >= 0

by least squares of the relative residuals. E_N and K_N belong to the size, g to all sizes; only where every size has
five different C and an F-test rejects one exponent (p < 0.001) does every size get its own.

Why this curve: at one size a law E + A / N^alpha + B / D^beta is exactly of this form, where a quadratic in log C is
not (over four decades of C it puts the exponent of N* 4 to 7 % off without any noise). One exponent for all keeps a
size of three runs from bending. Given g the curve is linear in the losses, so all draws are smoothed at once.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd

from analysis.data.costmodel import SAME_SIZE
from analysis.engine.tails import f_tail

SAME_C = 0.02
"""Distance in log C within which runs of a size count as one C."""
MIN_RUNS = 3
MIN_SIZES = 3
MIN_OWN = 5
"""Different C that every size needs before each may have an exponent of its own."""
OWN_P = 1e-3
GRID = 40
"""Points of C, evenly spaced in log C."""
EXPONENTS = np.linspace(0.0, 2.0, 101)
"""Exponents g that are tried, and interpolated between; at 0 the curve is a straight line in log C."""
WINDOW = float(np.log(3.0))
"""Distance in log N within which sizes join the parabola, beside the nearest on either side."""
MAX_LEVERAGE = 0.95
MIN_CONTRAST, MAX_CONTRAST = 4, 5
"""Sizes of a contrast that neither a parabola nor, with five, a cubic in log N contributes to."""


class LossCurves:
    """Curves of all sizes, through any number of sets of losses at once.

    Rows of its arrays are the runs in the order of their sizes; losses are [draws, rows].

    Args:
        runs: Columns N, C and loss.
        sizes: Row numbers of every size, ascending in N, as `sizes_with_curves` returns.
    """

    def __init__(self, runs: pd.DataFrame, sizes: list[np.ndarray]):
        kept = np.concatenate(sizes)
        ends = np.cumsum([0, *map(len, sizes)])
        self.rows = [slice(a, b) for a, b in pairwise(ends)]
        self.log_c = np.log(runs["C"].to_numpy()[kept])
        self.losses = runs["loss"].to_numpy()[kept]
        log_n = np.log(runs["N"].to_numpy()[kept])
        self.log_n = np.array([log_n[rows].mean() for rows in self.rows])
        self._center = np.array([self.log_c[rows].mean() for rows in self.rows])
        self._weights = self.losses**-2.0  # so that squares are those of relative residuals
        self._bases = []
        """Of each size: the basis at its rows less its weighted mean, that mean, its sum of squares, by exponent."""
        for rows, center in zip(self.rows, self._center, strict=True):
            basis = _basis(self.log_c[rows] - center)
            mean = np.average(basis, axis=0, weights=self._weights[rows])
            self._bases.append((basis - mean, mean, self._weights[rows] @ (basis - mean) ** 2))
        self.own = self._needs_own()
        """Whether every size has an exponent of its own."""

    def grid(self) -> np.ndarray:
        """Return log C, evenly spaced, where at least three sizes are defined."""
        grid = np.linspace(self.log_c.min(), self.log_c.max(), GRID)
        return grid[self.defined(grid).sum(axis=0) >= MIN_SIZES]

    def defined(self, grid: np.ndarray) -> np.ndarray:
        """Return whether each size has runs on both sides of each log C, [sizes, points]."""
        slack = 1e-9
        low = np.array([self.log_c[rows].min() for rows in self.rows])[:, None]
        high = np.array([self.log_c[rows].max() for rows in self.rows])[:, None]
        return (low <= grid + slack) & (grid - slack <= high)

    def smooth(self, losses: np.ndarray, grid: np.ndarray) -> np.ndarray:
        """Return the curves at points of log C, [draws, sizes, points]."""
        chosen = self._profile(losses, self.own)[0]
        return np.stack([self._curve(losses, s, chosen[:, s], grid) for s in range(len(self.rows))], axis=1)

    def fitted(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the fitted losses of the runs, and their relative residuals over sqrt(1 - leverage)."""
        losses = self.losses[None]
        chosen = self._profile(losses, self.own)[0]
        parts = [self._curve(losses, s, chosen[:, s], self.log_c[rows])[0] for s, rows in enumerate(self.rows)]
        fitted = np.concatenate(parts)
        return fitted, (self.losses / fitted - 1) / np.sqrt(1 - self._leverage(chosen[0]))

    def minima(self, smooth: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return log N* (NaN where there is no minimum between sizes), the lowest size's number, and its loss or L*.

        All [draws, points]. N* is the vertex of a parabola in log N through the lowest curve and its neighbours.
        """
        log_n, loss = np.full((2, len(smooth), len(grid)), np.nan)
        best = np.empty((len(smooth), len(grid)), dtype=int)
        for i, defined in enumerate(self.defined(grid).T):
            sizes = np.flatnonzero(defined)
            values = smooth[:, sizes, i]
            lowest = values.argmin(axis=1)
            best[:, i], loss[:, i] = sizes[lowest], values.min(axis=1)
            for k in np.unique(lowest):
                if 0 < k < len(sizes) - 1:
                    part = lowest == k
                    log_n[part, i], low = _vertex(self.log_n[sizes], values[part], k)
                    loss[part, i] = np.where(np.isfinite(low), low, loss[part, i])
        return log_n, best, loss

    def size_noise(self, smooth: np.ndarray, draws: np.ndarray, grid: np.ndarray) -> float:
        """Return the standard deviation of what all runs of a size share, relative to the loss.

        A size's own deviation (its learning rate, its shape) leaves no residual on its curve; it shows in curves
        that are not smooth over the sizes. A contrast of five neighbouring sizes (four, where there are no more at
        any C) with weights of unit length, to which no polynomial of lower degree contributes, has the variance of
        that deviation plus that of the curves, which the draws tell (a difference-based variance: Gasser, Sroka,
        Jennen-Steinmetz 1986, Biometrika 73, 625). Where sizes are few and far apart the loss itself is rough over
        them, and what is returned is too large rather than too small.

        Args:
            smooth: The curves, [sizes, points].
            draws: The curves of losses drawn anew around them, [draws, sizes, points].
            grid: log C of the points.
        """
        found = []
        span = min(int(self.defined(grid).sum(axis=0).max()), MAX_CONTRAST)
        for i, defined in enumerate(self.defined(grid).T):
            sizes = np.flatnonzero(defined)
            for near in (sizes[k : k + span] for k in range(len(sizes) - span + 1) if span >= MIN_CONTRAST):
                x = self.log_n[near] - self.log_n[near].mean()
                weights = np.linalg.svd(np.vander(x, span - 1).T)[2][-1] / smooth[near, i].mean()
                seen = draws[:, near, i] @ weights
                found.append((weights @ smooth[near, i]) ** 2 - (seen.var() if len(seen) else 0.0))
        return float(np.sqrt(max(np.mean(found), 0.0))) if found else 0.0

    def _needs_own(self) -> bool:
        """Whether one exponent for all sizes is rejected, and all sizes can have their own."""
        if any(_distinct(self.log_c[rows], SAME_C) < MIN_OWN for rows in self.rows):
            return False
        one, each = (float(self._profile(self.losses[None], own)[1][0]) for own in (False, True))
        more, left = len(self.rows) - 1, len(self.losses) - 3 * len(self.rows)
        return each > 0 and f_tail((one - each) / more / (each / left), more, left) < OWN_P

    def _profile(self, losses: np.ndarray, own: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return the best exponents as fractional numbers of EXPONENTS, [draws, sizes], and the RSS, [draws]."""
        by_size = []
        total = np.zeros((len(losses), len(EXPONENTS)))
        for s, rows in enumerate(self.rows):
            mean, slope = self._line(losses, s)
            spread = (self._weights[rows] * (losses[:, rows] - mean[:, None]) ** 2).sum(axis=1)
            rss = spread[:, None] - slope**2 * self._bases[s][2]
            total += rss
            if own:
                by_size.append((_lowest(rss), rss.min(axis=1)))
        if own:
            return np.stack([k for k, _ in by_size], axis=1), np.sum([r for _, r in by_size], axis=0)
        return np.repeat(_lowest(total)[:, None], len(self.rows), axis=1), total.min(axis=1)

    def _line(self, losses: np.ndarray, s: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a size's weighted mean loss, and its slopes over the bases, [draws, exponents], never above 0."""
        rows, (basis, _, moved) = self.rows[s], self._bases[s]
        weights = self._weights[rows]
        mean = losses[:, rows] @ weights / weights.sum()
        return mean, np.minimum(((losses[:, rows] - mean[:, None]) * weights) @ basis / moved, 0.0)

    def _curve(self, losses: np.ndarray, s: int, chosen: np.ndarray, at: np.ndarray) -> np.ndarray:
        """Return a size's curve at points of log C, [draws, points], between those of two neighbouring exponents."""
        mean, slope = self._line(losses, s)
        basis = (_basis(at - self._center[s]) - self._bases[s][1]).T
        below = np.minimum(chosen.astype(int), len(EXPONENTS) - 2)
        draw, share = np.arange(len(losses)), (chosen - below)[:, None]
        low, high = (slope[draw, k][:, None] * basis[k] for k in (below, below + 1))
        return mean[:, None] + (1 - share) * low + share * high

    def _leverage(self, chosen: np.ndarray) -> np.ndarray:
        """Return the leverages of the rows, the exponents' share included (linearised)."""
        count = len(self.rows)
        jacobian = np.zeros((len(self.losses), 3 * count if self.own else 2 * count + 1))
        for s, rows in enumerate(self.rows):
            k = int(np.clip(round(chosen[s]), 1, len(EXPONENTS) - 2))
            basis = self._bases[s][0]
            jacobian[rows, 2 * s] = 1.0
            jacobian[rows, 2 * s + 1] = basis[:, k]
            turn = (basis[:, k + 1] - basis[:, k - 1]) / (EXPONENTS[k + 1] - EXPONENTS[k - 1])
            jacobian[rows, 2 * count + (s if self.own else 0)] = self._line(self.losses[None], s)[1][0, k] * turn
        root = np.sqrt(self._weights)[:, None] * jacobian
        lengths = np.linalg.norm(root, axis=0)
        left, scale, _ = np.linalg.svd(root / np.where(lengths > 0, lengths, 1.0), full_matrices=False)
        return np.minimum((left[:, scale > 1e-10] ** 2).sum(axis=1), MAX_LEVERAGE)


def sizes_with_curves(runs: pd.DataFrame) -> tuple[list[np.ndarray], list[dict[str, str]]]:
    """Return the row numbers of every size that has three different C, ascending in N, and {row, reason} of the rest.

    Sizes within 2 % of each other are one.
    """
    log_n, log_c = np.log(runs["N"].to_numpy()), np.log(runs["C"].to_numpy())
    order = np.argsort(log_n, kind="stable")
    kept, skipped = [], []
    for rows in np.split(order, np.flatnonzero(np.diff(log_n[order]) > SAME_SIZE) + 1):
        if _distinct(log_c[rows], SAME_C) >= MIN_RUNS:
            kept.append(rows)
        else:
            reason = "in no curve of the envelope: its size has fewer than three runs at different C"
            skipped += [{"row": str(runs["row"].iloc[i]), "reason": reason} for i in rows]
    return kept, skipped


def _basis(x: np.ndarray) -> np.ndarray:
    """Return (1 - exp(-g x)) / g for every exponent, [rows, exponents]; x itself at g = 0.

    C^-g up to an offset and a factor, which the curve's E and K absorb; it stays well scaled as g goes to 0.
    """
    positive = np.where(EXPONENTS > 0, EXPONENTS, 1.0)
    return np.where(EXPONENTS > 0, -np.expm1(-EXPONENTS * x[:, None]) / positive, x[:, None])


def _lowest(rss: np.ndarray) -> np.ndarray:
    """Return where each row is lowest, a fractional number: the vertex of a parabola through three neighbours."""
    k = rss.argmin(axis=1)
    inner = np.clip(k, 1, rss.shape[1] - 2)
    a, b, c = (rss[np.arange(len(rss)), inner + step] for step in (-1, 0, 1))
    bend = a - 2 * b + c
    shift = np.where((k == inner) & (bend > 0), (a - c) / (2 * np.where(bend > 0, bend, 1.0)), 0.0)
    return k + np.clip(shift, -0.5, 0.5)


def _vertex(log_n: np.ndarray, values: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the minima of parabolas through curve k and its neighbours, and their losses; NaN where there is none.

    Args:
        log_n: The sizes, ascending.
        values: Their losses, [draws, sizes].
        k: Number of the lowest, an inner one.
    """
    reach = max(WINDOW, log_n[k] - log_n[k - 1], log_n[k + 1] - log_n[k]) + 1e-9
    near = np.abs(log_n - log_n[k]) <= reach
    x = log_n[near] - log_n[k]
    c2, c1, c0 = np.linalg.pinv(np.vander(x, 3)) @ values[:, near].T
    vertex = -c1 / (2 * np.where(c2 > 0, c2, np.nan))
    found = (x[0] < vertex) & (vertex < x[-1])  # false where the parabola opens downward
    return np.where(found, log_n[k] + vertex, np.nan), np.where(found, c0 + c1 * vertex / 2, np.nan)


def _distinct(values: np.ndarray, apart: float) -> int:
    """Return how many values are left when those within a distance of each other are one."""
    return 1 + int((np.diff(np.sort(values)) > apart).sum())
