"""Which draws an interval is made of: the default follows the design of the study.

1. What is drawn together. Where the residuals of runs that share a size, a seed or a run (its checkpoints) are alike,
   by a test of what they share (`effects.components`), they are one cluster: with half the variance shared by eight
   sizes, nominal 95 % intervals of independent pairs cover 70 to 80 %.
2. How. Independent rows: pairs from 50 rows on; below, resampled designs would lose whole sizes and budgets, so the
   residuals are drawn. Clusters: pairs of them from ten clusters and 50 rows on; else random effects (`parametric`).
   Pairs of eight clusters cover too, at 1.3 times the width; of twenty, both are as wide, and pairs suppose less.

Each covers 94 to 97 % of simulated studies, except where shared noise is there and not found (of five sizes that share
half the variance, in three studies of ten: 91 to 94 %), and where the law is wrong, which no resampling can mend.
`python -m benchmarks.coverage` has the coverage and the width of every choice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.data.table import RunTable
from analysis.engine.effects import Components, components
from analysis.engine.resampling import FEW_CLUSTERS, METHODS, Sample
from analysis.judgement.noise import CLUSTERS, LEVEL, cluster_labels, holm
from scaling.errors import InputError, did_you_mean

PAIRS_FROM = 50
"""Rows from which rows are drawn with replacement."""
MIN_CLUSTERS = 5
"""Clusters that a resampling of them needs."""
MIN_DEGREES = 1.9
"""Degrees of freedom that a variance between clusters needs: three seeds, five sizes under a law of N."""
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """How draws are made."""

    method: str
    """One of `resampling.METHODS`."""
    labels: np.ndarray | None
    """Cluster of every row."""
    cluster: str
    """What the clusters are; `none`."""
    reason: str
    """Why, as a sentence."""
    correlation: float | None = None
    """Intra-cluster correlation of the residuals, where it was estimated."""


def scheme_for(table: RunTable, sample: Sample, *, method: str = AUTO, cluster: str = AUTO) -> Scheme:
    """Return how draws of a fit are made.

    Args:
        table: The runs.
        sample: The fit.
        method: One of `METHODS`, or `auto`.
        cluster: A column, `size`, `run`, `none`, or `auto`.

    Raises:
        InputError: When there is no such method or column, or too few clusters.
    """
    if method not in (AUTO, *METHODS):
        raise InputError(
            "no such kind of interval", where="--interval", value=method, remedy=did_you_mean(method, [AUTO, *METHODS])
        )
    if method == "wild" and sample.objective.name == "lad":
        raise InputError(
            "flipped residuals say nothing of absolute deviations (Feng, He and Hu 2011, Biometrika 98, 995)",
            where="--interval",
            value=method,
            remedy="write residual or pairs",
        )
    if cluster == AUTO:
        name, labels, correlation, reason = shared_noise(table, sample)
        if labels is not None and method != AUTO and not _enough(sample, labels, method):
            reason += f", but {labels.max() + 1} of them are too few for {method} draws"
            name, labels = "none", None
    else:
        name, correlation, reason = cluster, None, f"as --cluster {cluster} says"
        labels = None if cluster == "none" else labels_of(table, cluster)
    if labels is not None and labels.max() + 1 == table.used:
        name, labels, reason = "none", None, f"every row is a {cluster} of its own"
    if method == AUTO:
        method = _method(sample, labels)
    if labels is not None and not _enough(sample, labels, method):
        raise InputError(
            f"too few clusters to draw from: {labels.max() + 1}",
            where="--cluster",
            value=cluster,
            remedy="leave --cluster away, or name a column with more values",
        )
    return Scheme(method=method, labels=labels, cluster=name, reason=reason, correlation=correlation)


def _method(sample: Sample, labels: np.ndarray | None) -> str:
    """Return how draws are made."""
    many = len(sample.log_y) >= PAIRS_FROM
    if labels is None:
        return "pairs" if many else "residual"
    if many and labels.max() + 1 >= FEW_CLUSTERS:
        return "pairs"
    return "parametric" if _enough(sample, labels, "parametric") else "wild"


def _enough(sample: Sample, labels: np.ndarray, method: str) -> bool:
    """Return whether clusters suffice for a method."""
    if method != "parametric":
        return bool(labels.max() + 1 >= MIN_CLUSTERS)
    found = of_sample(sample, labels)
    return found.degrees_within > 0 and found.degrees_between >= MIN_DEGREES


def shared_noise(table: RunTable, sample: Sample) -> tuple[str, np.ndarray | None, float | None, str]:
    """Return by what rows share noise: of the significant groupings (Holm, 5 %) that of the largest correlation.

    A law that does not fit some sizes leaves residuals that those sizes share: draws by size are then right too, and
    a better law is the remedy.

    Returns:
        Name of the grouping (`none`), the cluster of every row, their correlation, and the reason as a sentence.
    """
    tried: list[tuple[str, np.ndarray, Components]] = []
    for name in CLUSTERS:
        values = cluster_labels(table.runs, name)
        if values is not None:
            labels = pd.factorize(values)[0]
            found = of_sample(sample, labels)
            if np.isfinite(found.p_value):
                tried.append((name, labels, found))
    adjusted = holm([found.p_value for *_, found in tried])
    significant = [(*one, p) for one, p in zip(tried, adjusted, strict=True) if p < LEVEL]
    if not significant:
        return "none", None, None, "no shared noise of size, seed or run was found"
    name, labels, found, p = max(significant, key=lambda one: one[2].correlation)
    reason = f"runs of one {name} share noise (intra-cluster correlation {found.correlation:.2f}, p = {p:.2g})"
    if found.degrees_between < MIN_DEGREES:
        return "none", None, found.correlation, f"{reason}, but {found.clusters} of them do not tell how much"
    return name, labels, found.correlation, reason


def of_sample(sample: Sample, labels: np.ndarray) -> Components:
    """Return the variance components of a fit."""
    return components(sample.residuals * sample.root, labels, sample.tangent, sample.root)


def labels_of(table: RunTable, cluster: str) -> np.ndarray:
    """Return the number of every row's cluster.

    Raises:
        InputError: When there is no such column, or a row has no value in it.
    """
    runs = table.runs
    values = cluster_labels(runs, cluster) if cluster in ("size", "run") else None
    if cluster == "run" and values is None:  # no run has several rows
        values = runs["row"].to_numpy()
    if values is None:
        if cluster not in runs:
            known = [str(name) for name in runs.columns]
            raise InputError("no such column", where="--cluster", value=cluster, remedy=did_you_mean(cluster, known))
        if runs[cluster].isna().any():
            row = runs["row"][runs[cluster].isna()].iloc[0]
            raise InputError(
                "a run without a cluster", where=f"--cluster {cluster}", value=f"row {row}", remedy="fill it in"
            )
        values = runs[cluster].to_numpy()
    return pd.factorize(values)[0]
