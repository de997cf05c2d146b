"""Tests on the residuals of a fitted law: is the noise what the interval assumes, and is the law what the runs follow?

    r = log L - log L_hat

Nothing here knows how the law was fitted. All p-values of `residual_checks` are judged together by Holm's procedure
(1979) at a family-wise level of 5 %: with no defect at all, one or more checks fail in at most 5 % of studies.
A failed check is a reason to change the law, the weights or the clusters, never to leave rows out.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.data.costmodel import SAME_SIZE
from analysis.engine.tails import chi2_tail, f_tail, normal_tail
from analysis.judgement.noise import (
    LEVEL,
    REPLICATE,
    groups_within,
    holm,
    pure_error,
)

MIN_NORMALITY = 20
"""Rows from which the test's chi^2 is close enough."""
MIN_PAIRS = 8
RANK = 1e-9
"""Singular values below this share of the largest are none."""


@dataclass(frozen=True)
class Check:
    """One test and its verdict; `passed` is None, and the numbers NaN, where it could not be made."""

    name: str
    statistic: float
    p_value: float
    """Of this test alone."""
    passed: bool | None
    """After Holm's adjustment over all checks."""
    message: str


def residual_checks(
    runs: pd.DataFrame, residuals: np.ndarray, parameters: int, *, tangent: np.ndarray | None = None
) -> list[Check]:
    """Return all checks of a fit's residuals.

        normality        Jarque and Bera's, of skewness and kurtosis with their moments for few rows
        variance over z  n R^2 of r^2 on [1, z] ~ chi^2_1, z = log N, log D, log C, log(D/N) (Koenker 1981)
        trend in z       F of r on [z, z^2], and of all z together, where (log C)^2 brings the product of log N, log D
        lack of fit      F = (SS_lack / (m - p)) / (SS_pure / (n - m)) over m settings with n rows
        autocorrelation  of neighbours in order of C within a size, z = r_1 sqrt(pairs)

    Without `tangent` the trend tests count a law's own parameters as if they could not have taken up a trend, which
    makes them conservative: fewer false alarms than stated and less power. Correlated rows (`intervals`) or unequal
    variances make the F-tests reject too often: read those lines first. The first and the last of few rows
    have small residuals by leverage alone.

    Args:
        runs: One row a residual; columns N, D, C and, where there are any, those of
            `noise.SETTINGS`. Columns that are NaN or
            constant are passed over.
        residuals: r of every row, [rows].
        parameters: Number p of the law's parameters.
        tangent: Derivatives of log L_hat by the parameters, [rows, parameters]; makes the trend tests exact.

    Raises:
        ValueError: When there is not one residual a row.

    Example:
        >>> import numpy as np, pandas as pd
        >>> n, d = map(np.ravel, np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e9, 1e11, 6)))
        >>> runs = pd.DataFrame({"N": n, "D": d, "C": 6 * n * d})
        >>> noise = 0.01 * np.random.default_rng(0).normal(size=36)
        >>> checks = residual_checks(runs, noise + 0.02 * np.log(n / 1e8) * np.log(d / 1e10), 5)
        >>> [check.name for check in checks if check.passed is False]
        ['trend in C', 'trend in N, D and C', 'autocorrelation in C within sizes']
    """
    r = np.asarray(residuals, dtype=float)
    if r.shape != (len(runs),):
        message = f"{len(runs)} rows need as many residuals, got an array of shape {r.shape}"
        raise ValueError(message)
    axes = _axes(runs)
    ratio = {"D/N": axes["D"] - axes["N"]} if "N" in axes and "D" in axes else {}
    checks = [_normality(r), *(_variance(name, z, r) for name, z in (axes | ratio).items())]
    checks += [_trend(name, [z], r, parameters, tangent) for name, z in axes.items()]
    if len(axes) > 1:
        names = ", ".join([*axes][:-1]) + f" and {[*axes][-1]}"
        checks.append(_trend(names, list(axes.values()), r, parameters, tangent))
    checks += [_lack_of_fit(runs, r, parameters), _autocorrelation(runs, r)]
    tested = [i for i, check in enumerate(checks) if check.passed is not None]
    for i, p in zip(tested, holm([checks[i].p_value for i in tested]), strict=True):
        verdict = f"p = {checks[i].p_value:.2g}, {p:.2g} by Holm over {len(tested)} tests"
        checks[i] = replace(checks[i], passed=bool(p >= LEVEL), message=f"{checks[i].message} ({verdict})")
    return checks


def _normality(r: np.ndarray) -> Check:
    """Return Jarque and Bera's test with the exact moments for few rows (Urzua, Economics Letters 53, 1996).

    skewness^2 / var + (kurtosis - mean)^2 / var ~ chi^2_2
    """
    if len(r) < MIN_NORMALITY:
        return _untested("normality", f"{len(r)} rows, and the test needs {MIN_NORMALITY}")
    if np.ptp(r) == 0:
        return _untested("normality", "all residuals are equal")
    n, z = len(r), (r - r.mean()) / r.std()
    skewness, kurtosis = float((z**3).mean()), float((z**4).mean())
    usual = 3 * (n - 1) / (n + 1)
    spreads = 6 * (n - 2) / ((n + 1) * (n + 3)), 24 * n * (n - 2) * (n - 3) / ((n + 1) ** 2 * (n + 3) * (n + 5))
    statistic = skewness**2 / spreads[0] + (kurtosis - usual) ** 2 / spreads[1]
    message = f"excess kurtosis {kurtosis - 3:.2g}, skewness {skewness:.2g}"
    return Check("normality", statistic, chi2_tail(statistic, 2), True, message)


def _variance(name: str, z: np.ndarray, r: np.ndarray) -> Check:
    """Return the studentised Breusch-Pagan test (Koenker 1981, Journal of Econometrics 17, 107)."""
    name = f"variance over {name}"
    if np.ptp(r) == 0:
        return _untested(name, "all residuals are equal")
    upper = z > np.median(z)
    if not upper.any():
        return _untested(name, "more than half of the rows share the largest value")
    squares = r**2
    correlation = float(np.corrcoef(z, squares)[0, 1])
    statistic = len(r) * correlation**2
    parts = [float(np.sqrt(np.mean(part))) for part in (squares[~upper], squares[upper])]
    message = f"spread {parts[0]:.2g} in the lower half, {parts[1]:.2g} in the upper"
    return Check(name, statistic, chi2_tail(statistic, 1), True, message)


def _trend(name: str, axes: list[np.ndarray], r: np.ndarray, parameters: int, tangent: np.ndarray | None) -> Check:
    """Return the F-test of what [z, z^2] of all axes explain beyond a constant, or beyond the law's tangent."""
    name = f"trend in {name}"
    base = np.ones((len(r), 1)) if tangent is None else np.asarray(tangent, dtype=float)
    scaled = [(z - z.mean()) / z.std() for z in axes]
    before, before_rank = _left_over(base, r)
    after, rank = _left_over(np.column_stack([base, *scaled, *(z * z for z in scaled)]), r)
    more = rank - before_rank
    left = len(r) - rank if tangent is not None else len(r) - parameters - more
    if more < 1 or left < 1:
        return _untested(name, "too few rows, or nothing that the law does not span")
    if before <= 0:
        return _untested(name, "no residuals")
    statistic = (before - after) / more / (max(after, 1e-300) / left)
    message = f"they explain {max(1 - after / before, 0):.0%} of the residual sum of squares"
    return Check(name, float(statistic), f_tail(statistic, more, left), True, message)


def _lack_of_fit(runs: pd.DataFrame, r: np.ndarray, parameters: int) -> Check:
    """Return the F-test of the settings' means against their replicates."""
    variance, degrees = pure_error(runs, r)
    lack = len(r) - degrees - parameters
    if degrees < 1:
        return _untested("lack of fit", "no setting was run twice: add a seed")
    if variance == 0:
        return _untested("lack of fit", "replicates do not differ at all: are they one run twice?")
    if lack < 1:
        return _untested("lack of fit", "no more settings than parameters")
    mean_square = ((r**2).sum() - variance * degrees) / lack
    statistic = mean_square / variance
    message = f"residual {np.sqrt(max(mean_square, 0)):.2g} between settings, {np.sqrt(variance):.2g} between seeds"
    return Check("lack of fit", float(statistic), f_tail(statistic, lack, degrees), True, message)


def _autocorrelation(runs: pd.DataFrame, r: np.ndarray) -> Check:
    """Return the test of neighbours in order of C within a size."""
    name = "autocorrelation in C within sizes"
    log_c = _axes(runs).get("C")
    if log_c is None:
        return _untested(name, "C is not known, or the same everywhere")
    size = groups_within(np.log(runs["N"].to_numpy(dtype=float)), SAME_SIZE)
    order = np.lexsort((log_c, size))
    first, second = order[:-1], order[1:]
    pairs = size[first] == size[second]
    a, b = r[first[pairs]], r[second[pairs]]
    if len(a) < MIN_PAIRS or not (a**2).sum() * (b**2).sum():
        return _untested(name, f"{len(a)} pairs of neighbours, and the test needs {MIN_PAIRS}")
    correlation = float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))
    statistic = correlation * np.sqrt(len(a))
    message = f"correlation {correlation:.2g} over {len(a)} pairs"
    return Check(name, float(statistic), 2 * normal_tail(abs(statistic)), True, message)


def _axes(runs: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return log N, log D and log C of those columns that are there, finite and not constant."""
    found = {}
    for name in ("N", "D", "C"):
        values = runs[name].to_numpy(dtype=float) if name in runs else np.array([np.nan])
        if len(values) and np.all(values > 0) and np.ptp(np.log(values)) > REPLICATE:
            found[name] = np.log(values)
    return found


def _left_over(design: np.ndarray, r: np.ndarray) -> tuple[float, int]:
    """Return the residual sum of squares of r on a design, and the design's rank."""
    lengths = np.linalg.norm(design, axis=0)
    left, sizes, _ = np.linalg.svd(design / np.where(lengths > 0, lengths, 1.0), full_matrices=False)
    basis = left[:, sizes > RANK * sizes[0]]
    return float(((r - basis @ (basis.T @ r)) ** 2).sum()), basis.shape[1]


def _untested(name: str, why: str) -> Check:
    return Check(name, float("nan"), float("nan"), None, f"not tested: {why}")
