"""Does the exponent of N*(C) stay the same over windows of compute? Where it drifts, an extrapolation does too."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.figures.axes import axes_or_new, flops_axis, legend_above, side_by_side
from analysis.figures.drawing import Drawing
from analysis.figures.study import Study
from analysis.figures.style import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LABELS, POINTS = 18, 7.0
"""So many labels have room above each other, each so many points high."""


def plot_drift(study: Study, ax: Axes | None = None) -> Axes:
    """Draw the exponent a of the law fitted to each window of compute, over the window, and that of all runs.

    Args:
        study: A study whose windows were looked into (`analysis.judgement.stability.drift`).
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax, data = axes_or_new(ax), drift_data(study)
    own = study.fit.exponents("parametric").get("a")
    if own is not None:
        if own.low is not None and own.high is not None:
            ax.axhspan(own.low, own.high, color=OKABE_ITO[0], alpha=0.13, linewidth=0, label=study.band_label("law"))
        ax.axhline(own.value, color=OKABE_ITO[0], linewidth=1.2, label="all runs")
    shifts = _apart(data)
    for good, style, label in ((True, "-", "window of runs"), (False, ":", "no certified minimum")):
        part = data[data["converged"] == good]
        for i, (number, row) in enumerate(part.iterrows()):
            ax.plot([row["low"], row["high"]], [row["a"]] * 2, style, color="black", linewidth=1.1,
                    label=label if i == 0 else "")  # fmt: skip
            early = row["low"] <= data["low"].min()  # a window begins with the first run or ends with the last
            offset = (3 if early else -3, shifts[number])
            ax.annotate(f"{row['rows']:.0f} runs", (row["high" if early else "low"], row["a"]), va="center", fontsize=6,
                        xytext=offset, textcoords="offset points", ha="left" if early else "right")  # fmt: skip
    flops_axis(ax)
    ax.set_ylabel("exponent $a$ of $N^* \\propto C^a$")
    ax.margins(x=0.12, y=0.12)
    legend_above(ax)
    return ax


def _apart(data: pd.DataFrame) -> dict[Any, float]:
    """Return by how many points each label moves up so that none lies on another."""
    height = max(float(np.ptp(data["a"])), 1e-9) / LABELS
    shifts, last = {}, -np.inf
    for number, a in data["a"].sort_values(kind="stable").items():
        place = max(float(a), last + height)
        shifts[number], last = POINTS * (place - float(a)) / height, place
    return shifts


def drift_data(study: Study) -> pd.DataFrame:
    """Return {low, high, rows, a, N, converged} of each window but that of all runs."""
    columns = ["low", "high", "rows", "a", "N", "converged"]
    windows = pd.DataFrame(study.fit.judgement.get("drift", []), columns=columns)
    return windows[(windows["rows"] < len(study.runs)) & windows["a"].notna()]


FIGURE = Drawing(
    name="drift",
    title="Exponent over windows of compute",
    why_not=lambda studies: (
        ""
        if len(drift_data(studies[0]))
        else studies[0].fit.judgement.get("skipped", {}).get("drift") or "windows of compute were not looked into"
    ),
    caption=lambda _: (
        "Each line: the exponent of the law fitted to the runs of that window of compute alone. Lines apart from the "
        "band say that one power law does not hold over the whole range."
    ),
    data=lambda studies: drift_data(studies[0]),
    draw=lambda studies, figure: side_by_side(figure, [partial(plot_drift, studies[0])], aspect=0.62),
)
