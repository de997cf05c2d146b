"""What figures of several groups share: which quantities may stand on one axis, and means over seeds with intervals.

A mean over n runs of one setting has the interval of Student's t with n - 1 degrees of freedom; one run has none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.comparison.pairing import METRIC
from analysis.data.loading import APART
from analysis.engine.tails import t_quantile
from analysis.figures.axes import LONGEST, loss_label, y_label
from analysis.figures.study import Group
from analysis.figures.style import category, names_apart, plain_text
from analysis.figures.ucurve import metric_text, metrics_of
from analysis.judgement.noise import groups_within

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEVEL = 0.95
APART_BY, MARK = 0.012, 3.2
"""Share of the axis by which groups stand apart; points that a mark measures."""
TITLE = 7.5
"""Points of a title."""
MOST_GROUPS = 7
"""Colours that a reader can tell apart."""
SAME_SIZE, SAME_COMPUTE = 0.02, 0.1
"""Distances of logarithms within which sizes, or compute that no budget names, count as one."""


def quantities(groups: Sequence[Group]) -> list[str]:
    """Return what the groups may share an axis of: the loss where it means one thing, and downstream metrics."""
    found = metrics_of(groups)
    return ["loss", *found] if one_loss(groups) else found


def one_loss(groups: Sequence[Group]) -> bool:
    """Whether the losses mean the same, as far as the tables say: one name, one eval_id, one unit."""
    names = {group.table.loss_name for group in groups}
    if len(names) > 1 or next(iter(names)).startswith(METRIC):
        return len(names) == 1
    for column in APART:
        said = {str(v) for group in groups if column in group.runs for v in group.runs[column].dropna()} - {""}
        if len(said) > 1:
            return False
    return True


def rows_of(groups: Sequence[Group], value: str) -> pd.DataFrame:
    """Return {group, budget, N, size, U, value} of every run; `size` numbers sizes that are one, over all groups.

    The budget is the planned one, else the median of compute that differs by less than 10 %; U is NaN where unknown.
    """
    parts = []
    for group in groups[:MOST_GROUPS]:
        runs = group.runs
        if value not in runs:
            continue
        planned = runs["budget"] if "budget" in runs else pd.Series(np.nan, runs.index)
        parts.append(
            pd.DataFrame(
                {
                    "group": group.name,
                    "budget": planned.fillna(runs["C"]).astype(float),
                    "N": runs["N"],
                    "U": runs.get("U", np.nan),
                    "value": pd.to_numeric(runs[value], errors="coerce"),
                }
            )
        )
    if not parts:
        return pd.DataFrame(columns=["group", "budget", "N", "size", "U", "value"])
    rows = pd.concat(parts, ignore_index=True).dropna(subset=["value"])
    rows["size"] = groups_within(np.log(rows["N"].to_numpy()), SAME_SIZE)
    if rows["budget"].notna().all():
        alike = groups_within(np.log(rows["budget"].to_numpy()), SAME_COMPUTE)
        rows["budget"] = rows.groupby(alike)["budget"].transform("median")
    return rows


def means(rows: pd.DataFrame, by: Sequence[str], level: float = LEVEL) -> pd.DataFrame:
    """Return `by` with {runs, mean, low, high}: the mean over the runs of each setting, and its t interval.

    Example:
        >>> rows = pd.DataFrame({"N": [1, 1, 1, 2], "value": [1.0, 2.0, 3.0, 4.0]})
        >>> means(rows, ["N"]).round(3).values.tolist()
        [[1.0, 3.0, 2.0, -0.484, 4.484], [2.0, 1.0, 4.0, nan, nan]]
    """
    found = rows.groupby(list(by), sort=True, dropna=False)["value"].agg(["size", "mean", "std"]).reset_index()
    count = found["size"].to_numpy()
    quantile = np.array([t_quantile((1 + level) / 2, n - 1) if n > 1 else np.nan for n in count])
    half = quantile * found["std"].to_numpy() / np.sqrt(count)
    found = found.assign(low=found["mean"] - half, high=found["mean"] + half)
    return found.rename(columns={"size": "runs"})[[*by, "runs", "mean", "low", "high"]]


def draw_means(ax: Axes, x: str, data: pd.DataFrame, order: Sequence[str]) -> None:
    """Draw a line a group with its intervals, in the colours of all groups, a little apart so that bars are seen."""
    span = np.log(data[x].max() / data[x].min()) if len(data) else 0.0
    for i, (name, label) in enumerate(zip(order, labels(order), strict=True)):
        part = data[data["group"] == name].sort_values(x)
        if not len(part):
            continue
        at = part[x] * np.exp(APART_BY * (span or 1.0) * (i - (len(order) - 1) / 2))
        known = part["low"].notna()
        color = category(i)["color"]
        ax.errorbar(at[known], part["mean"][known], yerr=(part["high"] - part["mean"])[known], fmt="none", ecolor=color,
                    elinewidth=0.9, capsize=1.8, capthick=0.9, zorder=3)  # fmt: skip
        ax.plot(at, part["mean"], **category(i), markersize=MARK, label=label, zorder=4)


def name_axis(ax: Axes, groups: Sequence[Group], value: str) -> None:
    """Call the y axis what it shows."""
    y_label(ax, loss_label(groups[0].table) if value == "loss" else plain_text(metric_text(value), LONGEST))


def labels(names: Sequence[str]) -> list[str]:
    """Return what a legend calls the groups."""
    return [plain_text(name, LONGEST) for name in names_apart(names)]


def names_in_order(groups: Sequence[Group]) -> list[str]:
    """Return the names of the groups that are shown, each once."""
    return list(dict.fromkeys(group.name for group in groups[:MOST_GROUPS]))


def seeds_text(data: pd.DataFrame) -> str:
    """Return what a caption says of the marks: how many runs a mean has, and what the bars are."""
    few, most = int(data["runs"].min()), int(data["runs"].max())
    if most == 1:
        return "Points: one run each, so no interval: runs with other seeds would show how far they move."
    count = f"{few}" if few == most else f"{few} to {most}"
    alone = int((data["runs"] == 1).sum())
    text = f"Points: means over {count} runs; bars: {LEVEL:.0%} t intervals of the mean."
    return text.replace("%", " %") + (f" {alone} points are one run and have no bar." if alone else "")


def left_out(groups: Sequence[Group], shown: Sequence[str]) -> str:
    """Return what a caption says is missing: groups beyond the colours, and a loss that is not one."""
    text = f" {len(groups) - MOST_GROUPS} more groups are not shown." if len(groups) > MOST_GROUPS else ""
    return text + ("" if "loss" in shown else " The losses mean different things and share no axis.")
