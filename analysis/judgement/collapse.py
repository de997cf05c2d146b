"""Do the training curves of all sizes have one shape? A size whose curve does not is badly tuned.

    y(x) = (L(x) - E) / (L(1) - E),    x = share of the run's own training FLOPs

Models trained at one data-to-size ratio with hyperparameters that scale rightly fall onto one curve; a learning rate
or batch that does not fit a size bends its curve away from the others'. A run's deviation is the mean of
log y - log y_all over the second half of the run, y_all being the median over all runs at the same x.

The points of a curve are training losses of a running learning-rate schedule: their shape is compared, and no point
of them enters a fit. A curve bends with D/N too, whatever its tuning (a model that is small for its data has little
left to learn in its second half). So where the runs' D/N are given and spread, y_all is a robust regression of log y
on log(D/N) at every x instead of a median; a size that stands alone at one end of D/N can then hide.

Source: Qiu et al. 2025 (arXiv 2507.02119), whose curves share one D/N law and one schedule, and whose E is that of
the fitted law. The robust z-score and its bound: Iglewicz and Hoaglin 1993.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from analysis.data.costmodel import SAME_SIZE
from analysis.data.table import RunTable
from analysis.judgement.noise import groups_within

MIN_POINTS = 5
"""Points that a curve needs."""
MIN_RUNS = 5
OUTLIER = 3.5
"""Robust z-score beyond which a run stands out."""
SMALLEST = 0.01
"""Deviation that is worth naming: 1 % of the reducible loss."""
LAST = 0.05
"""Share of a run at its end whose mean is L(1): one logged point is the loss of a few batches."""
SHARES = np.linspace(0.5, 1.0, 26)
RATIO_SPREAD = 1.5
"""Ratio of the largest D/N to the smallest from which curves are compared at their own D/N."""
SIZES_A_TERM = 4
"""Runs that every term of the regression on log(D/N) needs."""


@dataclass(frozen=True)
class RunShape:
    """One run's curve against those of all."""

    run: str
    N: float
    deviation: float
    """Mean of log y - log y_all: above 0 where the run still had more to lose than the others, relative to its end."""
    z: float
    """Of the deviation, by median and MAD over the runs."""
    outlier: bool


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """How far the curves of all runs fall onto one."""

    status: str
    """`compared` or `not-compared`."""
    reason: str = ""
    runs: list[RunShape] = field(default_factory=list)
    spread: float = float("nan")
    """1.4826 MAD of the deviations, the terms of y_all counted off: how tight the collapse is."""
    skipped: list[dict[str, str]] = field(default_factory=list)
    """{row, reason}: runs without a curve to compare."""

    @property
    def outliers(self) -> list[str]:
        """Runs that stand out."""
        return [item.run for item in self.runs if item.outlier]

    @property
    def badly_tuned(self) -> list[float]:
        """Sizes of which half of the runs or more stand out."""
        if not self.runs:
            return []
        sizes = np.array([item.N for item in self.runs])
        out = np.array([item.outlier for item in self.runs])
        labels = groups_within(np.log(sizes), SAME_SIZE)
        return [float(sizes[labels == k].mean()) for k in range(labels.max() + 1) if out[labels == k].mean() >= 0.5]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, the outliers and the badly tuned sizes with them."""
        return {**asdict(self), "outliers": self.outliers, "badly_tuned": self.badly_tuned}


def collapse(
    curves: Mapping[str, np.ndarray], sizes: np.ndarray, floor: float, *, ratios: np.ndarray | None = None
) -> Collapse:
    """Return how the shapes of training curves compare.

    Args:
        curves: Run -> [points, 2]: training FLOPs so far, ascending, and training loss.
        sizes: N of every run, in the order of `curves`.
        floor: E, the irreducible loss, in the unit of the losses; 0 where no law tells it (then shapes of sizes far
            apart differ a little by themselves).
        ratios: D/N of every run.

    Example:
        >>> x = np.linspace(0.02, 1, 50)
        >>> def curve(n, bend=0.0):
        ...     loss = 1.5 + 40 * (6 * n * 20 * n * x) ** -0.1 + bend * np.sin(np.pi * x)
        ...     return np.column_stack([6 * n * 20 * n * x, loss])
        >>> sizes = np.geomspace(1e6, 1e8, 9)
        >>> curves = {f"run{i}": curve(n, 0.1 * (i == 4)) for i, n in enumerate(sizes)}
        >>> found = collapse(curves, sizes, 1.5)
        >>> found.outliers, found.badly_tuned
        (['run4'], [10000000.0])
    """
    names, shapes, skipped = [], [], []
    for i, (name, points) in enumerate(curves.items()):
        try:
            shapes.append(_shape(np.asarray(points, dtype=float), floor))
        except ValueError as error:
            skipped.append({"row": name, "reason": str(error)})
        else:
            names.append((i, name))
    if len(names) < MIN_RUNS:
        reason = f"{len(names)} runs have a curve to compare, and {MIN_RUNS} are needed"
        return Collapse(status="not-compared", reason=reason, skipped=skipped)
    kept = [i for i, _ in names]
    log_y = np.array(shapes)
    common, terms = _common(log_y, None if ratios is None else np.asarray(ratios, dtype=float)[kept])
    deviation = (log_y - common).mean(axis=1)
    away = np.abs(deviation - np.median(deviation))
    spread = float(1.4826 * np.median(np.sort(away)[terms:]))  # as many runs as terms are met exactly
    z = (deviation - np.median(deviation)) / max(spread, 1e-12)
    runs = [
        RunShape(name, float(sizes[i]), float(d), float(score), bool(abs(score) > OUTLIER and abs(d) > SMALLEST))
        for (i, name), d, score in zip(names, deviation, z, strict=True)
    ]
    return Collapse(status="compared", runs=runs, spread=spread, skipped=skipped)


def collapse_of(table: RunTable, floor: float) -> dict[str, Any]:
    """Return the comparison of a table's curves as plain values; `not-compared` with a reason where it has none.

    Cool-downs (rows with a `parent`) are passed over: their curve begins where their trunk's ended.

    Args:
        table: The runs; column `curve` holds [[FLOPs, training loss], ...], or that as JSON text.
        floor: E.

    Example:
        >>> from analysis import load
        >>> collapse_of(load("runs.csv")[0], 1.7)["reason"]
        'the runs carry no training curves'
    """
    runs = table.runs
    if "curve" not in runs:
        return Collapse(status="not-compared", reason="the runs carry no training curves").to_dict()
    own = np.ones(len(runs), dtype=bool)
    if "parent" in runs:
        own = runs["parent"].fillna("").astype(str).eq("").to_numpy()
    part = runs[own]
    curves = {str(row): _points(value) for row, value in zip(part["row"], part["curve"], strict=True)}
    ratios = (part["D"] / part["N"]).to_numpy(dtype=float)
    return collapse(
        curves, part["N"].to_numpy(dtype=float), floor, ratios=ratios if np.isfinite(ratios).all() else None
    ).to_dict()


def _points(value: object) -> np.ndarray:
    """Return a curve as an array; an empty one where it is none."""
    try:
        points = np.array(json.loads(value) if isinstance(value, str) else value, dtype=float)
    except (ValueError, TypeError):
        return np.empty((0, 2))
    return points if points.ndim == 2 and points.shape[1] == 2 else np.empty((0, 2))


def _shape(points: np.ndarray, floor: float) -> np.ndarray:
    """Return log y at SHARES.

    Raises:
        ValueError: When the curve cannot be compared.
    """
    points = points[np.isfinite(points).all(axis=1)] if points.ndim == 2 else np.empty((0, 2))
    if len(points) < MIN_POINTS:
        message = f"{len(points)} points in its curve, and {MIN_POINTS} are needed"
        raise ValueError(message)
    x, left = points[:, 0] / points[-1, 0], points[:, 1] - floor
    if not (np.diff(x) > 0).all():
        message = "the FLOPs of its curve do not ascend"
        raise ValueError(message)
    if x[0] > SHARES[0]:
        message = "its curve begins in the second half of the run"
        raise ValueError(message)
    late = x >= SHARES[0]
    if (left[late] <= 0).any() or left[x <= SHARES[0]][-1] <= 0:
        message = f"its training loss falls below the floor {floor:.4g}"
        raise ValueError(message)
    end = left[x > 1 - LAST].mean()
    return np.interp(SHARES, x, np.log(np.maximum(left, 1e-300))) - np.log(end)


def _common(log_y: np.ndarray, ratios: np.ndarray | None) -> tuple[np.ndarray, int]:
    """Return log y_all for every run, [runs, shares] or [shares], and its number of terms.

    Least absolute deviations on powers of log(D/N) by iterated weights: up to a parabola, four runs a term.
    """
    terms = min(3, len(log_y) // SIZES_A_TERM)
    if ratios is None or terms < 2 or ratios.max() / ratios.min() < RATIO_SPREAD:
        return np.median(log_y, axis=0), 1
    z = np.log(ratios / np.median(ratios))
    design = np.vander(z / np.abs(z).max(), terms)
    fitted = np.empty_like(log_y)
    for j, values in enumerate(log_y.T):
        weights = np.ones(len(values))
        for _ in range(50):
            root = np.sqrt(weights)[:, None]
            fitted[:, j] = design @ np.linalg.lstsq(design * root, values * root[:, 0], rcond=None)[0]
            weights = 1 / np.maximum(np.abs(values - fitted[:, j]), 1e-6)
    return fitted, terms
