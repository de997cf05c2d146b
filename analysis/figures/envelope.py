"""Loss over compute of all runs, coloured by size, and the envelope of the sizes' curves (Chinchilla's figure 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures.axes import (
    IMAGE,
    MANY,
    axes_or_new,
    count_bar,
    flops_axis,
    legend_above,
    loss_scale,
    side_by_side,
)
from analysis.figures.drawing import Drawing
from analysis.figures.study import Study
from analysis.figures.style import ordered_map
from analysis.judgement.noise import groups_within

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SAME = 0.02
"""Distance in log N within which runs are of one size."""
MOST_APART = 0.1
"""The same of the smallest and the largest of one size."""
MOST_JOINED = 40
"""Sizes whose runs are joined by lines."""


def plot_envelope(study: Study, ax: Axes | None = None) -> Axes:
    """Draw every run's loss over its compute, coloured by size and joined within a size, and the envelope.

    The envelope is drawn through the points of `analysis.approaches.envelope`; where that is refused, through the
    runs that no cheaper run beats.

    Args:
        study: The fit and its runs.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    from matplotlib.colors import LogNorm

    ax, runs = axes_or_new(ax), study.runs
    sizes = runs["N"].to_numpy()
    norm = LogNorm(sizes.min(), max(sizes.max(), 1.01 * sizes.min()))
    colours = ordered_map()
    joined = [part for _, part in _sizes(runs) if len(part) > 1]
    if len(joined) <= MOST_JOINED:
        for part in joined:
            one = part.groupby("C", sort=True)["loss"].mean()
            ax.plot(one.index, one, color=colours(norm(part["N"].mean())), linewidth=0.6, alpha=0.6, zorder=1)
    shown = ax.scatter(runs["C"], runs["loss"], c=sizes, norm=norm, cmap=colours, s=9 if len(runs) <= MANY else 3,
                       linewidths=0, zorder=2, rasterized=len(runs) > IMAGE)  # fmt: skip
    line = envelope_points(study)
    name = "envelope" if line["kind"].eq("envelope").all() else "lowest loss so far"
    steps = "default" if name == "envelope" else "steps-post"  # the lowest so far stays until another run beats it
    ax.plot(line["C"], line["loss"], color="black", linewidth=1.4, zorder=3, label=name, drawstyle=steps)
    count_bar(ax, shown, "model size $N$")
    loss_scale(ax, runs["loss"], study.fit)
    flops_axis(ax)
    legend_above(ax)
    return ax


def envelope_points(study: Study) -> pd.DataFrame:
    """Return the envelope as rows {kind, C, loss, N}: its points, or the runs that no cheaper one beats."""
    points = [p for p in study.fit.envelope.get("points", []) if p["status"] != "flat"]
    if len(points) > 1:
        rows = [{"kind": "envelope", "C": p["flops"], "loss": p["loss"], "N": p["N"]} for p in points]
        return pd.DataFrame(rows)
    best = study.runs.sort_values(["C", "loss"], kind="stable")
    best = best[best["loss"] < best["loss"].cummin().shift(fill_value=np.inf)]
    return best[["C", "loss", "N"]].assign(kind="lowest")


def _sizes(runs: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    """Return the runs of each size; sizes that lie all over the range are none."""
    log_n = np.log(runs["N"].to_numpy())
    labels = groups_within(log_n, SAME)
    parts = [(label, np.flatnonzero(labels == label)) for label in np.unique(labels)]
    return [(int(label), runs.iloc[rows]) for label, rows in parts if np.ptp(log_n[rows]) <= MOST_APART]


def _data(studies: Sequence[Study]) -> pd.DataFrame:
    runs = studies[0].runs[["row", "C", "loss", "N"]].assign(kind="run")
    return pd.concat([runs, envelope_points(studies[0])], ignore_index=True)[["kind", "row", "C", "N", "loss"]]


def _why_not(studies: Sequence[Study]) -> str:
    if studies[0].table.cost == "none":
        return "a curve over N alone has no compute"
    compute = studies[0].runs["C"]
    return "" if compute.max() > (1 + SAME) * compute.min() else "all runs are of one compute"


def _caption(studies: Sequence[Study]) -> str:
    found = studies[0].fit.envelope
    text = "Points: runs, coloured by size, those of one size joined. "
    if envelope_points(studies[0])["kind"].eq("envelope").all():
        return text + f"Black: the envelope of the smoothed curves of {found['sizes']} sizes."
    return text + f"Black: the lowest loss so far; no envelope, since {found.get('reason') or 'it has too few points'}."


FIGURE = Drawing(
    name="envelope",
    title="Loss over compute, and its envelope",
    why_not=_why_not,
    caption=_caption,
    data=_data,
    draw=lambda studies, figure: side_by_side(figure, [lambda ax: plot_envelope(studies[0], ax)], aspect=0.62),
)
