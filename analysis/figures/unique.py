"""Loss and downstream metrics over the amount of distinct audio at fixed compute, a line a group (Liu et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures.axes import (
    axes_or_new,
    legend_above,
    side_by_side,
    unique_axis,
)
from analysis.figures.drawing import Drawing
from analysis.figures.seeds import (
    draw_means,
    left_out,
    means,
    name_axis,
    names_in_order,
    one_loss,
    quantities,
    rows_of,
    seeds_text,
)
from analysis.figures.study import Group
from analysis.figures.style import flops_text
from scaling.units import format_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = ["group", "budget", "N", "U", "runs", "mean", "low", "high"]


def plot_unique(groups: Sequence[Group], ax: Axes | None = None, *, value: str = "loss") -> Axes:
    """Draw one quantity over unique data, of runs of one size and budget: means over seeds with t intervals.

    Args:
        groups: Groups, of losses with one meaning where `value` is the loss.
        ax: Where to; new axes when not given.
        value: `loss`, or a column of a metric.

    Returns:
        The axes.
    """
    ax, data = axes_or_new(ax), unique_data(groups, value)
    draw_means(ax, "U", data, names_in_order(groups))
    unique_axis(ax, groups[0].table.data_unit)
    name_axis(ax, groups, value)
    legend_above(ax)
    return ax


def unique_data(groups: Sequence[Group], value: str = "loss") -> pd.DataFrame:
    """Return {group, budget, N, U, runs, mean, low, high} at the largest budget and one size.

    The size is that of the groups' sizes with several amounts of unique data whose mean is lowest at the most of it,
    by loss where losses mean one thing, so that every quantity is shown of the same runs.
    """
    by = "loss" if one_loss(groups) else value
    rows = rows_of(groups, by)
    rows = rows[rows["U"].notna()]
    amounts = rows.groupby(["budget", "size", "group"])["U"].nunique()
    shared = (amounts > 1).groupby(["budget", "size"]).sum()
    shared = shared[shared > 0]
    if not len(shared):
        return pd.DataFrame(columns=COLUMNS)
    at = shared[shared == shared.max()].reset_index()  # what most groups have
    at = at[at["budget"] == at["budget"].max()]
    chosen = rows[(rows["budget"] == at["budget"].iloc[0]) & rows["size"].isin(at["size"])]
    most = chosen[chosen["U"] == chosen["U"].max()]
    size = most.groupby("size")["value"].mean().idxmin()
    N = chosen.loc[chosen["size"] == size, "N"]
    shown = rows_of(groups, value)
    near = (shown["N"] >= N.min()) & (shown["N"] <= N.max()) & (shown["budget"] == at["budget"].iloc[0])
    found = means(shown[near & shown["U"].notna()], ["group", "budget", "U"])
    return found.assign(N=float(np.median(N)))[COLUMNS]


def _all(groups: Sequence[Group]) -> pd.DataFrame:
    parts = [unique_data(groups, value).assign(quantity=value) for value in quantities(groups)]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*COLUMNS, "quantity"])


def _draw(groups: Sequence[Group], figure: Figure) -> None:
    values = list(dict.fromkeys(_all(groups)["quantity"]))
    panels = [partial(plot_unique, groups, value=value) for value in values]
    side_by_side(figure, panels, least=1.6, aspect=0.8, one_legend=True)


def _why_not(groups: Sequence[Group]) -> str:
    if not any("U" in group.runs and group.runs["U"].notna().any() for group in groups):
        return "no column of unique data"
    if not quantities(groups):
        return "the groups' losses mean different things, and no downstream metric is in all of them"
    return "" if len(_all(groups)) else "no size has several amounts of unique data at one budget"


def _caption(groups: Sequence[Group]) -> str:
    data = _all(groups)
    budget = data["budget"].iloc[0]
    at = f" at {flops_text(budget)} FLOPs" if np.isfinite(budget) else ""
    size = f" Runs of {format_count(data['N'].iloc[0])} parameters{at}, so that all see as much data."
    return seeds_text(data) + size + left_out(groups, list(data["quantity"]))


FIGURE = Drawing(
    name="unique",
    title="Loss and downstream metrics over unique data at fixed compute",
    together=True,
    of_runs=True,
    why_not=_why_not,
    caption=_caption,
    data=_all,
    draw=_draw,
)
