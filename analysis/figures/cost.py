"""What a parameter costs: FLOPs a parameter and unit of data over size, and how fast the runs really went."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures.axes import LETTERS, axes_or_new, count_axis, legend_above, points, side_by_side, size_axis
from analysis.figures.drawing import Drawing
from analysis.figures.study import Study
from analysis.figures.style import GREY, OKABE_ITO, category, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 80
SIX = 6.0
LEAST = 1.5
"""Ratio to 6 that is always in the picture, where rounding would fill it otherwise."""
SUFFIXES = ((1e15, "PFLOP/s"), (1e12, "TFLOP/s"), (1e9, "GFLOP/s"), (1e6, "MFLOP/s"), (1.0, "FLOP/s"))


def plot_cost(study: Study, ax: Axes | None = None) -> Axes:
    """Draw C / (N D) over size: the runs, the interpolation that answers use, and the 6 of C = 6 N D.

    Args:
        study: A study whose costs are recorded.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax, runs = axes_or_new(ax), study.runs
    spending = study.fit.spending
    assert spending is not None
    points(ax, runs["N"], runs["C"] / (runs["N"] * runs["D"]), color=GREY, label="runs")
    line = _interpolated(study)
    ax.plot(line["N"], line["flops_per_param_unit"], color=OKABE_ITO[0], label="interpolation")
    ax.axhline(SIX, color="black", linestyle=":", linewidth=0.9, label="$C = 6ND$")
    size_axis(ax)
    count_axis(ax, "y", "$C/(ND)$")
    low, high = ax.get_ylim()
    ax.set_ylim(min(low, SIX / LEAST), max(high, SIX * LEAST))
    legend_above(ax)
    return ax


def plot_speed(study: Study, ax: Axes | None = None) -> Axes:
    """Draw the FLOPs a second that the runs made, over size.

    Args:
        study: A study whose records say how long a run took.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax, speed = axes_or_new(ax), speed_of(study)
    scale, unit = next((s, u) for s, u in SUFFIXES if s <= max(1.0, float(speed.median())))
    kinds = (
        study.runs["device"].fillna("unknown").astype(str)
        if "device" in study.runs
        else pd.Series("runs", study.runs.index)
    )
    for i, (device, part) in enumerate(speed.groupby(kinds[speed.index], sort=True)):
        label, sizes = plain_text(str(device), LETTERS), study.runs.loc[part.index, "N"]
        points(ax, sizes, part / scale, **{**category(i), "linestyle": "none"}, label=label)
    size_axis(ax)
    count_axis(ax, "y", f"speed ({unit})")
    legend_above(ax)
    return ax


def speed_of(study: Study) -> pd.Series:
    """Return FLOPs a second of every run whose record says how long its steps took; empty without."""
    runs = study.runs
    if "seconds" not in runs:
        return pd.Series(dtype=float)
    seconds = pd.to_numeric(runs["seconds"], errors="coerce")
    flops = runs["C"]
    if "flops_new" in runs:  # a cool-down's own part; its trunk is another record
        flops = pd.to_numeric(runs["flops_new"], errors="coerce").fillna(flops)
    speed = flops / seconds
    return speed[np.isfinite(speed) & (speed > 0)]


def _interpolated(study: Study) -> pd.DataFrame:
    spending = study.fit.spending
    assert spending is not None
    log_n = np.linspace(np.log(study.runs["N"].min() / 1.5), np.log(study.runs["N"].max() * 1.5), POINTS)
    ratio = np.exp(spending.cost.log_cost(log_n) - log_n)
    return pd.DataFrame({"N": np.exp(log_n), "flops_per_param_unit": ratio})


def _panels(study: Study) -> list:
    return [partial(plot_cost, study), *([partial(plot_speed, study)] if len(speed_of(study)) else [])]


def _data(studies: Sequence[Study]) -> pd.DataFrame:
    runs = studies[0].runs
    own = runs[["row", "N", "D", "C"]].assign(
        kind="run", flops_per_param_unit=runs["C"] / (runs["N"] * runs["D"]), flops_per_second=speed_of(studies[0])
    )
    return pd.concat([own, _interpolated(studies[0]).assign(kind="interpolation")], ignore_index=True)


def _why_not(studies: Sequence[Study]) -> str:
    if studies[0].fit.spending is None:
        return "a curve over N alone has no cost"
    return "C is assumed as k N D: there is nothing to see" if studies[0].table.cost == "assumed" else ""


FIGURE = Drawing(
    name="cost",
    title="What a parameter costs",
    why_not=_why_not,
    caption=lambda studies: (
        f"FLOPs a parameter and unit of data ({studies[0].fit.data_unit}), as recorded and as interpolated along the "
        "sizes; where it is no constant, N*(C) is no power law."
        + (" (b) Speed of the runs." if len(_panels(studies[0])) > 1 else "")
    ),
    data=_data,
    draw=lambda studies, figure: side_by_side(figure, _panels(studies[0]), least=2.4, aspect=0.8),
)
