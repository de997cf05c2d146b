"""What the noise of the runs is: which rows share a part of it, and where it is larger.

Intervals follow from it. Rows that share noise are resampled together (clusters), rows of a larger variance weigh
less, and the spread of seeds is the noise that no law can explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.data.costmodel import SAME_SIZE
from analysis.engine.tails import t_tail

LEVEL = 0.05
"""Family-wise level of tests (Holm)."""
CLUSTERS = ("run", "size", "seed")
"""What may share noise: the run of checkpoints, the size (N within 2 %), the seed."""
REPLICATE = 1e-6
"""Distance in a logarithm within which settings are the same."""
SETTINGS = ("N", "D", "U", "B", "peak_lr")
"""Columns that replicates share, where the table has them."""
TINY = 0.02
"""Share of the median size below which a residual counts as this: a fit that goes through a row leaves log 0."""


@dataclass(frozen=True, kw_only=True)
class VarianceModel:
    """Variance that changes over the runs."""

    covariate: str
    """`D/N` or `C`."""
    slope: float
    """Of log variance over the logarithm of the covariate."""
    p_value: float
    """By Holm over both covariates."""
    weights: np.ndarray
    """1 / variance of every row, [rows], mean 1."""
    variance: float
    """Of the residuals, the law's parameters counted off."""
    seed_variance: float
    """Of the seeds around the mean of their setting; NaN without replicates."""
    seed_degrees: int


def cluster_labels(runs: pd.DataFrame, name: str) -> np.ndarray | None:
    """Return the cluster of every row under one of CLUSTERS; None where the table does not say.

    Example:
        >>> import pandas as pd
        >>> cluster_labels(pd.DataFrame({"N": [1.00e6, 2e6, 1.01e6]}), "size").tolist()
        [0, 1, 0]
    """
    if name == "size":
        return groups_within(np.log(runs["N"].to_numpy(dtype=float)), SAME_SIZE)
    if name == "run" and "parent" in runs and "row" in runs:  # a cool-down belongs to its trunk
        parent = runs["parent"].fillna("").astype(str)
        return parent.where(parent != "", runs["row"].astype(str)).to_numpy()
    if name not in runs or runs[name].isna().any():
        return None
    return runs[name].astype(str).to_numpy()


def variance_model(runs: pd.DataFrame, residuals: np.ndarray, parameters: int) -> VarianceModel | None:
    """Return how the variance changes with D/N or C; None where neither is significant (t-test, Holm, 5 %).

        log r^2 = c + s z + e,    z = log(D/N) or log C,    weight = exp(-s z)

    by least squares: Harvey's two-step estimator of multiplicative heteroscedasticity. Of the two z the one with the
    smaller p. The t-test takes the variance of log r^2 from the residuals themselves, so that heavy tails do not
    make it reject; leverage makes the residuals at the ends of few rows look small.

    Args:
        runs: One row a residual, with D and N or with C.
        residuals: [rows], in logarithms of the loss.
        parameters: Number of the law's parameters.

    Source: Harvey 1976 (Econometrica 44, 461).

    Example:
        >>> import numpy as np, pandas as pd
        >>> n, d = map(np.ravel, np.meshgrid(np.geomspace(1e7, 1e9, 9), np.geomspace(1e9, 1e11, 9)))
        >>> noise = 0.01 * (d / n / 100) ** -0.3 * np.random.default_rng(0).normal(size=81)
        >>> found = variance_model(pd.DataFrame({"N": n, "D": d, "C": 6 * n * d}), noise, 5)
        >>> found.covariate, round(found.slope, 1)  # -0.6 in truth
        ('D/N', -0.5)
    """
    r = np.asarray(residuals, dtype=float)
    size = np.abs(r)
    floor = TINY * float(np.median(size))
    if len(r) <= max(parameters, 2) or floor == 0:
        return None
    log_squares = 2 * np.log(np.maximum(size, floor))
    columns = {name: runs[name].to_numpy(dtype=float) for name in ("N", "D", "C") if name in runs}
    covariates = {"C": columns["C"]} if "C" in columns else {}
    if "N" in columns and "D" in columns:
        covariates = {"D/N": columns["D"] / columns["N"]} | covariates
    fits = []
    for name, values in covariates.items():
        if np.all(values > 0) and np.ptp(np.log(values)) > REPLICATE:
            fits.append((name, np.log(values), *_line(np.log(values), log_squares)))
    if not fits:
        return None
    adjusted = holm([p for *_, p in fits])
    best = int(np.argmin(adjusted))
    name, z, slope, _ = fits[best]
    if adjusted[best] >= LEVEL:
        return None
    weights = np.exp(-slope * (z - z.mean()))
    seed_variance, seed_degrees = pure_error(runs, r)
    return VarianceModel(
        covariate=name,
        slope=slope,
        p_value=float(adjusted[best]),
        weights=weights / weights.mean(),
        variance=float((r**2).sum() / (len(r) - parameters)),
        seed_variance=seed_variance,
        seed_degrees=seed_degrees,
    )


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Return the slope of the least-squares line, and the p-value of zero by its t-test."""
    around, degrees = x - x.mean(), len(x) - 2
    slope = float(around @ y / (around @ around))
    rest = y - y.mean() - slope * around
    error = float(np.sqrt(rest @ rest / degrees / (around @ around)))
    return slope, 2 * t_tail(abs(slope) / error, degrees) if error > 0 else 0.0


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Return p-values adjusted by Holm's step-down procedure.

        p'_(i) = max over j <= i of min(1, (k - j + 1) p_(j)),    p_(1) <= ... <= p_(k)

    Source: Holm 1979 (Scandinavian Journal of Statistics 6, 65).

    Example:
        >>> [float(round(p, 3)) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order]), 1.0)
    return adjusted


def pure_error(runs: pd.DataFrame, residuals: np.ndarray) -> tuple[float, int]:
    """Return the variance of replicates around their own mean, and its degrees of freedom; (NaN, 0) without any.

    Replicates are rows of the same settings (SETTINGS, to 1e-6), whatever their seed: the seeds' own noise, which no
    law of N and D can explain.

    Example:
        >>> import pandas as pd
        >>> runs = pd.DataFrame({"N": [1e6, 1e6, 2e6], "D": [1e8, 1e8, 1e8]})
        >>> variance, degrees = pure_error(runs, [0.01, 0.03, 0.0])
        >>> round(variance, 6), degrees
        (0.0002, 1)
    """
    r = np.asarray(residuals, dtype=float)
    labels = _settings(runs)
    degrees = len(r) - int(labels.max() + 1)
    means = np.bincount(labels, r) / np.bincount(labels)
    return (float(((r - means[labels]) ** 2).sum() / degrees), degrees) if degrees else (float("nan"), 0)


def groups_within(values: np.ndarray, apart: float) -> np.ndarray:
    """Return a label for each value: those that follow each other within a distance share one.

    Example:
        >>> groups_within(np.array([1.0, 5.0, 1.1]), 0.2).tolist()
        [0, 1, 0]
    """
    order = np.argsort(values, kind="stable")
    labels = np.empty(len(values), dtype=int)
    labels[order] = np.concatenate([[0], np.cumsum(np.diff(np.asarray(values)[order]) > apart)])
    return labels


def _settings(runs: pd.DataFrame) -> np.ndarray:
    """Return the number of the setting of every row; what is not known counts as one value."""
    parts = []
    for name in SETTINGS:
        if name in runs:
            values = pd.to_numeric(runs[name].astype(str), errors="coerce").to_numpy(dtype=float)
            known = values > 0  # false for NaN too
            parts.append(groups_within(np.log(np.where(known, values, 1e-300)), REPLICATE))
    return np.unique(np.stack(parts), axis=1, return_inverse=True)[1].ravel()
