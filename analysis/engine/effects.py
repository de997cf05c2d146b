"""Random effects: how much of the noise the rows of a cluster share, when a law has been fitted through them.

A fit takes up a part of what it should leave behind. Eight sizes leave five degrees of freedom to what their runs
share, since a law of N has three parameters for N; an analysis of variance of the residuals that ignores it finds a
part that is too small by a third or more, misses it in one study in ten, and leaves intervals too narrow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from analysis.engine.tails import f_tail

RANK = 1e-8
"""Directions of the law's tangent that are shorter than this within the clusters lie between them."""


class Components(NamedTuple):
    """Variance of the noise within clusters and between them."""

    within: float
    """Mean square left by the law and a constant of each cluster; NaN without degrees."""
    degrees_within: int
    pooled: float
    """Mean square of the clusters' sums; expected to be within + share x between. NaN without degrees."""
    degrees_between: float
    share: float
    clusters: int

    @property
    def between(self) -> float:
        """Variance of what clusters share, at least zero."""
        return max(0.0, (self.pooled - self.within) / self.share)

    @property
    def correlation(self) -> float:
        """Correlation of two rows of one cluster."""
        total = self.within + self.between
        return self.between / total if total > 0 else 0.0

    @property
    def p_value(self) -> float:
        """Of nothing shared; NaN where that cannot be tested."""
        if not (self.degrees_within > 0 and self.degrees_between > 0 and self.within > 0):
            return float("nan")
        return f_tail(self.pooled / self.within, self.degrees_between, self.degrees_within)


def components(
    residuals: np.ndarray, labels: np.ndarray, tangent: np.ndarray, root: np.ndarray | None = None
) -> Components:
    """Return the variance components of the residuals of a fit.

        r = M (Z u + e),  M = I - Q Q',    u ~ between,  e ~ within
        pooled = r' Z Z' r / t_1,          E[pooled] = within + (t_2 / t_1) between
        nu_b   = t_1^2 / t_2,              t_k = tr((Z' M Z)^k)

    `within` is the mean square around the law and a constant of each cluster, and pooled / within is the locally best
    invariant test of between = 0, by F(nu_b, nu) with Satterthwaite's nu_b.

    Args:
        residuals: r, in logarithms of the loss, [rows]; with weights times their square roots.
        labels: Number of each row's cluster, from 0 without gaps, [rows].
        tangent: Q, an orthonormal basis of the law's tangent, [rows, parameters]; likewise weighted.
        root: Square roots of the weights, [rows]; ones when not given.

    Source: Khuri, Mathew and Sinha 1998 (Statistical Tests for Mixed Linear Models, chapters 2 and 4); Satterthwaite
    1946 (Biometrics Bulletin 2, 110).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels, constant = np.repeat(np.arange(1000), 5), np.full((5000, 1), 5000**-0.5)
        >>> noise = 3 * rng.standard_normal(1000)[labels] + rng.standard_normal(5000)
        >>> found = components(noise - noise.mean(), labels, constant)
        >>> print(f"{found.within:.1f}, {found.between:.0f}, nu_b = {found.degrees_between:.0f}")
        1.0, 9, nu_b = 999
    """
    groups = int(labels.max()) + 1
    root = np.ones(len(residuals)) if root is None else root
    sums = np.bincount(labels, root**2, minlength=groups)

    def per_cluster(columns: np.ndarray) -> np.ndarray:
        return np.stack([np.bincount(labels, root * column, minlength=groups) for column in columns.T], axis=1)

    # the residuals of Huber's loss lie a little beside the space that M projects onto
    r = (residuals - tangent @ (tangent.T @ residuals))[:, None]
    along, of_residuals = per_cluster(tangent), per_cluster(r)
    trace = float(sums.sum() - (along**2).sum())
    squares = float((sums**2).sum() - 2 * (sums @ along**2).sum() + ((along.T @ along) ** 2).sum())
    known = trace > RANK * sums.sum()
    inside = tangent - root[:, None] * (along / sums[:, None])[labels]
    rest = r - root[:, None] * (of_residuals / sums[:, None])[labels]
    vectors, sizes, _ = np.linalg.svd(inside, full_matrices=False)
    vectors = vectors[:, sizes > RANK]
    degrees = len(r) - groups - vectors.shape[1]
    left = float((rest**2).sum() - ((vectors.T @ rest) ** 2).sum())
    return Components(
        within=max(left, 0.0) / degrees if degrees > 0 else float("nan"),
        degrees_within=degrees,
        pooled=float((of_residuals**2).sum()) / trace if known else float("nan"),
        degrees_between=trace**2 / squares if known else 0.0,
        share=squares / trace if known else float("nan"),
        clusters=groups,
    )
