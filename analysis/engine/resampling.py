"""Draws of a law's parameters: what the fit would have said on other runs of the same study.

- `pairs`: rows drawn with replacement (Efron 1979); with a cluster, whole clusters.
- `residual`: log y* = log yhat + k e, e drawn from the residuals; with a cluster, from another cluster's.
- `wild`: log y* = log yhat + v r, v = +-1 (Wu 1986; the HC3 residuals of Davidson and Flachaire 2008); with a cluster,
  one v a cluster (Cameron, Gelbach and Miller 2008), of Webb's six values below ten clusters.
- `parametric`: log y* = log yhat + k normal noise of the residuals' scale; with a cluster, a part of it is drawn once
  a cluster (random effects).
- `delta`: theta* = theta + k times a normal with the sandwich covariance H^-1 (sum g g^T) H^-1, g the gradients of the
  rows or clusters (White 1980; Liang and Zeger 1986): no refit.

A fit shrinks the residuals: r = (I - H) e, H the projection onto the law's tangent. They are blown up again by
(I - H_gg)^-1/2 (`residual`) or (I - H_gg)^-1 (`wild`, `delta`: HC3, CR3), H_gg the block of a row or of a cluster (Bell
and McCaffrey 2002; MacKinnon, Nielsen and Webb 2023): with leverages of single rows alone, nominal 95 % intervals of
the wild cluster bootstrap cover 83 % where eight sizes share noise.

The noise's scale is itself estimated: k^2 = nu / chi^2_nu is drawn anew each time, nu = rows - parameters or
clusters - 1, so that the draws of a linear law have Student's t for their distribution and not the normal (the
posterior of the scale: Gelman et al. 2013, section 14.2). `wild` has none, HC3 is wide enough for few rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analysis.engine.effects import components
from analysis.engine.newton import Minima, Rows, minimise
from analysis.engine.objectives import LAD_DRAW_DELTAS, Objective, lad
from analysis.engine.surfaces import Surface

METHODS = ("pairs", "residual", "wild", "parametric", "delta")
FEW_CLUSTERS = 10
WEBB = np.sqrt(np.array([0.5, 1.0, 1.5]))
HIGHEST_LEVERAGE = 0.99


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What was fitted, as the draws need it."""

    surface: Surface
    log_y: np.ndarray
    """[rows]."""
    theta: np.ndarray
    """[parameters], at the minimum."""
    objective: Objective
    weights: np.ndarray | None = None
    """[rows]."""

    @property
    def refitted(self) -> Objective:
        """The objective of refits: that of the fit, but for absolute deviations not to the last digit."""
        return lad(LAD_DRAW_DELTAS) if self.objective.name == "lad" else self.objective

    @property
    def predicted(self) -> np.ndarray:
        """Log yhat, [rows]."""
        return self.surface.at(self.theta[None]).log_loss[0]

    @property
    def residuals(self) -> np.ndarray:
        """Log y - log yhat, [rows]."""
        return self.log_y - self.predicted

    @property
    def root(self) -> np.ndarray:
        """Square roots of the weights, [rows]: residuals times them are of one variance."""
        return np.ones(len(self.log_y)) if self.weights is None else np.sqrt(self.weights)

    @property
    def tangent(self) -> np.ndarray:
        """Orthonormal basis of the law's tangent in the weighted rows, [rows, parameters]."""
        return np.linalg.qr(self.surface.jacobian(self.theta) * self.root[:, None])[0]

    def unshrunk(self, values: np.ndarray, labels: np.ndarray | None, power: float) -> np.ndarray:
        """Return weighted residuals, or their scores, times (I - H_gg)^-power, block by block.

        Args:
            values: [rows].
            labels: Number of each row's cluster, [rows]; None where every row is its own block.
            power: 1/2 where the variance is to be right (HC2, CR2), 1 for a jackknife's (HC3, CR3).
        """
        basis = self.tangent
        if labels is None:
            return values * (1 - np.minimum((basis**2).sum(axis=1), HIGHEST_LEVERAGE)) ** -power
        out = np.array(values, dtype=float)
        for members in _members(labels):
            vectors, sizes, _ = np.linalg.svd(basis[members], full_matrices=False)
            growth = (1 - np.minimum(sizes**2, HIGHEST_LEVERAGE)) ** -power - 1
            out[members] += vectors @ (growth * (vectors.T @ out[members]))
        return out


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Draws of theta and how they came about."""

    theta: np.ndarray
    """[draws, parameters], of those that found a certified minimum."""
    failed: int
    method: str
    """As it is printed."""
    cluster: str = "none"


def draw(
    sample: Sample,
    method: str,
    draws: int,
    rng: np.random.Generator,
    *,
    labels: np.ndarray | None = None,
    cluster: str = "none",
) -> Draws:
    """Return draws by a method.

    Args:
        sample: The fit.
        method: One of `METHODS`.
        draws: How many.
        rng: Their source.
        labels: Number of each row's cluster, [rows]; None where every row is its own.
        cluster: What the clusters are, to print.
    """
    name = f"{method} bootstrap" if method != "delta" else "delta method"
    name += f" clustered by {cluster}" if labels is not None else ""
    if method == "delta":
        theta = _normal(sample, draws, rng, labels)
        return Draws(theta=theta, failed=0, method=name, cluster=cluster)
    start = np.repeat(sample.theta[None], draws, axis=0)
    y, w = rows_of_draws(sample, method, rng, labels)
    ends = _refit(sample, start, y, w)
    good = ends.converged
    return Draws(theta=ends.theta[good], failed=int((~good).sum()), method=name, cluster=cluster)


def _refit(sample: Sample, start: np.ndarray, y: Rows, w: Rows) -> Minima:
    return minimise(sample.surface, y, start, sample.refitted, weights=w)


def rows_of_draws(
    sample: Sample, method: str, rng: np.random.Generator, labels: np.ndarray | None
) -> tuple[Rows, Rows]:
    """Return the observations and the weights of the draws, made block by block as they are used."""
    rows = len(sample.log_y)
    if method == "pairs":
        groups = rows if labels is None else int(labels.max()) + 1

        def counts(first: int, last: int) -> np.ndarray:
            found = rng.multinomial(groups, np.full(groups, 1 / groups), size=last - first)
            found = found if labels is None else found[:, labels]
            return found.astype(float) if sample.weights is None else found * sample.weights

        return sample.log_y, counts
    noise = {"residual": _residual, "wild": _wild, "parametric": _parametric}[method](sample, rng, labels)
    predicted, root = sample.predicted, sample.root
    return lambda first, last: predicted + noise(last - first) / root, sample.weights


Noise = Callable[[int], np.ndarray]
"""Weighted noise of so many draws, [draws, rows]."""


def _residual(sample: Sample, rng: np.random.Generator, labels: np.ndarray | None) -> Noise:
    """Return noise out of the residuals; with clusters each takes the residuals of one of them."""
    rows = len(sample.log_y)
    pool = sample.unshrunk(sample.residuals * sample.root, labels, 0.5)
    pool = pool - pool.mean()
    if labels is None:
        return lambda draws: pool[rng.integers(0, rows, (draws, rows))] * _scale(rng, _degrees(sample, labels), draws)
    members = _members(labels)

    def whole_clusters(draws: int) -> np.ndarray:
        # a cluster takes the residuals of another one, in its rows' order, over and over if that one is smaller
        out = np.empty((draws, rows))
        for own in members:
            for i, other in enumerate(rng.integers(0, len(members), draws)):
                out[i, own] = pool[np.resize(members[other], len(own))]
        return out * _scale(rng, _degrees(sample, labels), draws)

    return whole_clusters


def _wild(sample: Sample, rng: np.random.Generator, labels: np.ndarray | None) -> Noise:
    """Return the residuals with signs of their own, or of their clusters."""
    scaled = sample.unshrunk(sample.residuals * sample.root, labels, 1.0)
    groups = len(scaled) if labels is None else int(labels.max()) + 1
    signs = np.array([-1.0, 1.0]) if labels is None or groups >= FEW_CLUSTERS else np.concatenate([-WEBB, WEBB])

    def flipped(draws: int) -> np.ndarray:
        v = rng.choice(signs, size=(draws, groups))
        return scaled * (v if labels is None else v[:, labels])

    return flipped


def _parametric(sample: Sample, rng: np.random.Generator, labels: np.ndarray | None) -> Noise:
    """Return normal noise; with clusters as in random effects, their variances drawn by their pivots.

        within* = within nu / chi^2_nu,    between* = (pooled nu_b / chi^2_nu_b - within*) / share, at least zero

    so that an estimate of zero between few clusters does not pass for knowledge (Weerahandi 1993, JASA 88, 899).
    """
    rows, root = len(sample.log_y), sample.root
    if labels is None:
        total = float(((sample.residuals * root) ** 2).sum() / max(1, rows - len(sample.theta)))
        degrees = _degrees(sample, labels)
        return lambda draws: np.sqrt(total) * _scale(rng, degrees, draws) * rng.standard_normal((draws, rows))
    found = components(sample.residuals * root, labels, sample.tangent, root)

    def effects(draws: int) -> np.ndarray:
        within = found.within * _scale(rng, found.degrees_within, draws) ** 2
        pooled = found.pooled * _scale(rng, found.degrees_between, draws) ** 2
        between = np.maximum(0.0, (pooled - within) / found.share)
        shared = np.sqrt(between) * rng.standard_normal((draws, found.clusters))
        return np.sqrt(within) * rng.standard_normal((draws, rows)) + shared[:, labels] * root

    return effects


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """Return the rows of every cluster."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.cumsum(np.bincount(labels))[:-1])


def _degrees(sample: Sample, labels: np.ndarray | None) -> int:
    """Return the degrees of freedom of the noise's scale."""
    return max(1, len(sample.log_y) - len(sample.theta) if labels is None else int(labels.max()))


def _scale(rng: np.random.Generator, degrees: float, draws: int) -> np.ndarray:
    """Return k, [draws, 1]."""
    return np.sqrt(degrees / rng.chisquare(degrees, (draws, 1)))


def covariance(sample: Sample, labels: np.ndarray | None = None) -> np.ndarray:
    """Return the sandwich covariance of theta, [parameters, parameters]: HC3 of rows, CR3 of clusters."""
    state = sample.surface.at(sample.theta[None])
    _, first, second = sample.objective.rho(state.log_loss - sample.log_y, sample.log_y)
    if sample.weights is not None:
        first, second = first * sample.weights, second * sample.weights
    hessian = state.hessian(first, second)[0]
    root = sample.root
    if sample.objective.name == "lad":  # rho'' is zero almost everywhere: what counts is the density of r at zero
        slopes = sample.surface.jacobian(sample.theta) * root[:, None]
        hessian = 2 * density_at_zero(sample.residuals) * slopes.T @ slopes
        first = np.sign(sample.residuals)[None] * root**2
    first = sample.unshrunk(first[0] / root, labels, 1.0) * root
    scores = first[:, None] * sample.surface.jacobian(sample.theta)
    correction = 1.0
    if labels is not None:
        groups = int(labels.max()) + 1
        scores = np.stack([np.bincount(labels, column, minlength=groups) for column in scores.T], axis=1)
        correction = (groups - 1) / groups
    inverse = np.linalg.pinv(hessian, rcond=1e-15, hermitian=True)
    return correction * inverse @ (scores.T @ scores) @ inverse


def density_at_zero(residuals: np.ndarray) -> float:
    """Return the density of residuals at zero, by Siddiqui's difference with Hall and Sheather's bandwidth (1988).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> round(density_at_zero(rng.standard_normal(100_000)), 1)
        0.4
    """
    rows = len(residuals)
    width = min(0.4, rows ** (-1 / 3) * 1.96 ** (2 / 3) * (1.5 / (2 * np.pi)) ** (1 / 3))
    low, high = np.quantile(residuals, [0.5 - width, 0.5 + width])
    return float(2 * width / max(high - low, 1e-300))


def _normal(sample: Sample, draws: int, rng: np.random.Generator, labels: np.ndarray | None) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance(sample, labels))
    root = vectors * np.sqrt(np.maximum(values, 0.0))
    step = rng.standard_normal((draws, len(sample.theta))) @ root.T
    return sample.theta + step * _scale(rng, _degrees(sample, labels), draws)
