"""Where the best size differs: N* by the loss and by each metric over compute."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.estimates import level_text
from analysis.figures.axes import LONGEST, axes_or_new, beyond, flops_axis, legend_above, side_by_side, size_axis
from analysis.figures.drawing import Drawing
from analysis.figures.study import Study
from analysis.figures.style import category, plain_text
from analysis.figures.ucurve import metric_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

APART = 0.02
"""Natural logarithm of compute by which marks of one budget stand apart, so that their bars do not cover each other."""
WIDEST = 3.0
"""How far beyond the best sizes bars are drawn at most, as a factor: they may have no end."""


def plot_differences(study: Study, ax: Axes | None = None) -> Axes:
    """Draw N* by the loss and by each metric over compute, with intervals.

    Args:
        study: A study with metrics beside its loss (`analysis.fit_metrics`), at two budgets or more.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax, data = axes_or_new(ax), differences_data(study)
    names = list(dict.fromkeys(data["by"]))
    span = np.log(data["budget"].max() / data["budget"].min())
    for i, name in enumerate(names):
        part, style = data[data["by"] == name], category(i)
        x = part["budget"] * np.exp(APART * span * (i - (len(names) - 1) / 2))
        label = "loss" if name == "loss" else plain_text(metric_text(name), LONGEST)
        ax.plot(x, part["N"], **style, label=label, zorder=4)
        low = part["low"].fillna(0).clip(lower=data["N"].min() / WIDEST**2)
        high = part["high"].fillna(np.inf).clip(upper=data["N"].max() * WIDEST**2)
        if part["drawn"].all():
            ax.vlines(x, low, high, color=style["color"], linewidth=0.9)
    flops_axis(ax)
    if len(data):
        ax.set_ylim(data["N"].min() / WIDEST, data["N"].max() * WIDEST)
    size_axis(ax, "y")
    ax.set_ylabel("$N^*$ (parameters)")
    beyond(ax, study.fit.largest)
    legend_above(ax)
    return ax


def differences_data(study: Study) -> pd.DataFrame:
    """Return {budget, by, N, low, high, ratio, ratio_low, ratio_high, drawn}, by loss or metric."""
    rows = []
    drawn = bool(len(study.fit.isoflop.draws) or len(study.fit.parametric.draws))
    for row in study.fit.beside.get("differences", []):
        found = {"loss": {"N": row["loss"], "ratio": None}, **row["metrics"]}
        for name, own in found.items():
            if own["N"] is None or row["budget"] is None:
                continue
            ratio = own["ratio"] or {"estimate": None, "low": None, "high": None}
            rows.append(
                {
                    "budget": row["budget"],
                    "by": name,
                    "N": own["N"]["estimate"],
                    "low": own["N"]["low"],
                    "high": own["N"]["high"],
                    "ratio": ratio["estimate"],
                    "ratio_low": ratio["low"],
                    "ratio_high": ratio["high"],
                    "drawn": drawn,
                }
            )
    columns = ["budget", "by", "N", "low", "high", "ratio", "ratio_low", "ratio_high", "drawn"]
    numbers = [name for name in columns if name not in ("by", "drawn")]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(numbers, float))


def _why_not(studies: Sequence[Study]) -> str:
    if not studies[0].fit.beside.get("differences"):
        return "no metric stands beside the loss (--metric)"
    return "" if differences_data(studies[0])["budget"].nunique() > 1 else "one budget: the table says it"


FIGURE = Drawing(
    name="differences",
    title="The best size by loss and by downstream metrics",
    why_not=_why_not,
    caption=lambda studies: (
        f"N* at every budget, by the loss and by each metric; bars: {level_text(studies[0].fit.level)} intervals. "
        "Marks of one budget stand a little apart; a bar that leaves the axes goes on beyond them."
    ),
    data=lambda studies: differences_data(studies[0]).drop(columns="drawn"),
    draw=lambda studies, figure: side_by_side(figure, [partial(plot_differences, studies[0])], aspect=0.62),
)
