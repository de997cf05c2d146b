"""Recipes overlaid: loss and downstream metrics over model size at each budget, a colour a group (Liu et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures.axes import axes_or_new, legend_above, side_by_side, size_axis
from analysis.figures.drawing import Drawing
from analysis.figures.seeds import (
    TITLE,
    draw_means,
    left_out,
    means,
    name_axis,
    names_in_order,
    quantities,
    rows_of,
    seeds_text,
)
from analysis.figures.study import Group
from analysis.figures.style import flops_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_SIZES = 2
MOST_BUDGETS = 3


def plot_recipes(
    groups: Sequence[Group], ax: Axes | None = None, *, value: str = "loss", budget: float | None = None
) -> Axes:
    """Draw one quantity of several groups over model size at one budget: means over seeds with t intervals.

    Args:
        groups: Recipes, of losses with one meaning where `value` is the loss.
        ax: Where to; new axes when not given.
        value: `loss`, or a column of a metric.
        budget: FLOPs, as `recipes_data` names them; the largest when not given.

    Returns:
        The axes.
    """
    ax, data = axes_or_new(ax), recipes_data(groups, value)
    at = data["budget"].max() if budget is None else budget
    draw_means(ax, "N", data[data["budget"] == at], names_in_order(groups))
    size_axis(ax)
    ax.set_xlabel("model size $N$")
    name_axis(ax, groups, value)
    legend_above(ax)
    return ax


def recipes_data(groups: Sequence[Group], value: str = "loss") -> pd.DataFrame:
    """Return {group, budget, N, runs, mean, low, high} at the budgets that two groups share, three at most.

    Where unique data vary, runs of the most of it are shown.
    """
    rows = rows_of(groups, value)
    if "U" in rows and rows["U"].notna().any():
        rows = rows[rows["U"].isna() | (rows["U"] >= rows.groupby("group")["U"].transform("max") * 0.999)]
    found = means(rows, ["group", "budget", "N"])
    several = found.groupby(["budget", "group"])["N"].nunique() >= LEAST_SIZES
    shared = several[several].groupby("budget").size()
    budgets = sorted(shared[shared > 1].index)
    if len(budgets) > MOST_BUDGETS:
        budgets = [budgets[0], budgets[len(budgets) // 2], budgets[-1]]
    return found[found["budget"].isin(budgets)].reset_index(drop=True)


def _all(groups: Sequence[Group]) -> pd.DataFrame:
    parts = [recipes_data(groups, value).assign(quantity=value) for value in quantities(groups)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["budget", "quantity"])


def _draw(groups: Sequence[Group], figure: Figure) -> None:
    data = _all(groups)
    budgets, values = sorted(data["budget"].unique()), list(dict.fromkeys(data["quantity"]))
    cells = [(value, budget) for value in values for budget in budgets]
    panels = [partial(plot_recipes, groups, value=value, budget=budget) for value, budget in cells]
    width = float(figure.get_size_inches()[0])
    least = max(1.6, 0.99 * width / len(budgets)) if len(budgets) > 1 else 1.6  # a column a budget, where they fit
    axes = side_by_side(figure, panels, least=least, aspect=0.8, one_legend=True)
    for ax, (_, budget) in zip(axes, cells, strict=True):
        if np.isfinite(budget):
            ax.set_title(flops_text(budget), loc="left", pad=4, fontsize=TITLE)
        place = ax.get_subplotspec()
        if place is not None and place.get_gridspec().ncols == len(budgets) > 1:
            if not place.is_first_col():
                ax.set_ylabel("")
            if not place.is_last_row():
                ax.set_xlabel("")


def _why_not(groups: Sequence[Group]) -> str:
    if len(groups) < 2:
        return "one group, and it sets recipes beside each other"
    if not quantities(groups):
        return "the groups' losses mean different things, and no downstream metric is in all of them"
    return "" if len(_all(groups)) else "no budget has two sizes of two groups"


def _caption(groups: Sequence[Group]) -> str:
    data = _all(groups)
    return f"{seeds_text(data)} Titles: the budget, in FLOPs.{left_out(groups, list(data['quantity']))}"


FIGURE = Drawing(
    name="recipes",
    title="Recipes over model size at equal compute",
    together=True,
    of_runs=True,
    why_not=_why_not,
    caption=_caption,
    data=_all,
    draw=_draw,
)
