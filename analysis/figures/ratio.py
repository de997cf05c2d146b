"""Data for each parameter at the optimum, D*/N*, over compute (Besiroglu et al. 2024, arXiv 2404.10102, figure 4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from analysis.figures.axes import axes_or_new, beyond, count_axis, flops_axis, legend_above, side_by_side
from analysis.figures.drawing import Drawing
from analysis.figures.paths import NAMES, STYLES, draw_path, draw_points, paths
from analysis.figures.study import Study
from analysis.figures.style import plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHINCHILLA = 20.0
"""Tokens a parameter, the rule of thumb of Hoffmann et al. 2022."""


def plot_ratio(study: Study, ax: Axes | None = None) -> Axes:
    """Draw D*/N* over compute by the law and by the isoFLOP minima, with bands.

    Args:
        study: The fit and its runs.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax, fit, frame = axes_or_new(ax), study.fit, paths(study)
    for approach in ("isoflop", "law"):
        part = frame[(frame["kind"] == "path") & (frame["approach"] == approach)]
        if len(part) and part["ratio"].notna().any():
            draw_path(ax, part, "ratio", fit.largest, label=NAMES[approach], **STYLES[approach])
    draw_points(ax, frame[frame["kind"] != "answer"], "ratio")
    if fit.data_unit == "tokens":
        ax.axhline(CHINCHILLA, color="0.45", linestyle=":", linewidth=0.9, label="20 tokens a parameter", zorder=1)
    flops_axis(ax)
    count_axis(ax, "y", f"$D^*/N^*$ ({plain_text(fit.data_unit)} per parameter)")
    beyond(ax, fit.largest)
    legend_above(ax)
    return ax


def _data(studies: Sequence[Study]) -> pd.DataFrame:
    frame = paths(studies[0])
    return frame[["kind", "approach", "C", "ratio", "ratio_low", "ratio_high"]]


def _why_not(studies: Sequence[Study]) -> str:
    study = studies[0]
    if study.fit.spending is None:
        return "a curve over N alone has no data"
    frame = paths(study)
    optima = frame[frame["ratio"].notna()]
    return "" if optima["C"].nunique() > 1 else "no approach has optima at several budgets"


FIGURE = Drawing(
    name="ratio",
    title="Data for each parameter at the optimum, over compute",
    why_not=_why_not,
    caption=lambda studies: (
        f"Lines{studies[0].bands('law')}; open diamonds: isoFLOP minima with their intervals. "
        "Dashed in grey: beyond the largest run."
    ),
    data=_data,
    draw=lambda studies, figure: side_by_side(figure, [partial(plot_ratio, studies[0])], aspect=0.62),
)
