"""Downstream metrics over the loss: the runs by budget, the curve, its band and that of single runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.approaches.budgets import budget_groups
from analysis.data.metrics import Scale
from analysis.estimates import level_text
from analysis.figures.axes import LONGEST, axes_or_new, legend_above, loss_label, points, side_by_side, y_label
from analysis.figures.drawing import Drawing
from analysis.figures.study import Study
from analysis.figures.style import MARKERS, flops_text, ordered_colours, plain_text
from analysis.figures.ucurve import metric_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_NAMED = 8
"""Budgets that a legend has room for."""
MOST = 4
"""Metrics beside each other."""
OTHERS = "other runs"


def plot_transfer(study: Study, ax: Axes | None = None, *, metric: str | None = None) -> Axes:
    """Draw a metric over the loss: runs by their budget, the curve, its band (dark) and that of a new run (light).

    Args:
        study: A study with metrics beside its loss (`analysis.fit_metrics`).
        ax: Where to; new axes when not given.
        metric: Which; the first one when not given.

    Returns:
        The axes.
    """
    ax, name = axes_or_new(ax), _names(study)[0] if metric is None else metric
    data = transfer_data(study, name)
    line, runs = data[data["kind"] == "curve"], data[data["kind"] == "run"]
    for kind, shade in (("run", 0.12), ("mean", 0.25)):
        if f"{kind}_low" in line and line[f"{kind}_low"].notna().all():
            ax.fill_between(line["loss"], line[f"{kind}_low"], line[f"{kind}_high"], color="0.2", alpha=shade, lw=0)
    ax.plot(line["loss"], line["value"], color="0.25")
    groups = list(runs.groupby("budget", dropna=False, sort=True))
    named = _named(study)
    for i, ((budget, part), colour) in enumerate(zip(groups, ordered_colours(len(groups)), strict=True)):
        label = {"label": flops_text(float(budget)) if np.isfinite(budget) else OTHERS} if named else {}
        marker = MARKERS[i % len(MARKERS)] if named else "o"
        points(ax, part["loss"], part["value"], color=colour, marker=marker, of=len(runs), **label)
    ax.set_xlabel(loss_label(study.fit))
    scale = _scale(study, name)
    y_label(ax, plain_text(f"{metric_text(name)} (%)" if scale.percent else metric_text(name), LONGEST))
    legend_above(ax, title="training FLOPs" if named else None)
    return ax


def transfer_data(study: Study, metric: str) -> pd.DataFrame:
    """Return {kind, budget, loss, value, mean_low, mean_high, run_low, run_high, row}: the runs, then the curve."""
    runs, column = study.runs, _scale(study, metric).column
    value = pd.to_numeric(runs[column], errors="coerce")
    budget = np.full(len(runs), np.nan)
    for flops, rows in budget_groups(study.table)[0]:
        budget[rows] = flops
    own = pd.DataFrame({"kind": "run", "budget": budget, "loss": runs["loss"], "value": value, "row": runs["row"]})
    curve = pd.DataFrame(_found(study)[metric]["curve"]).assign(kind="curve")
    return pd.concat([own[value.notna()], curve], ignore_index=True)


def _found(study: Study) -> dict[str, Any]:
    """Return the curves that there are, by metric."""
    told = study.fit.beside.get("transfer", {})
    return {name: found for name, found in told.items() if found["status"] == "fitted"}


def _named(study: Study) -> bool:
    """Whether budgets are told apart in a legend: there are some, and not too many."""
    return study.table.cost != "none" and len(budget_groups(study.table)[0]) < MOST_NAMED


def _names(study: Study) -> list[str]:
    return list(_found(study))[:MOST]


def _scale(study: Study, metric: str) -> Scale:
    return Scale.from_dict(study.fit.beside["metrics"][metric]["scale"])


def _data(studies: Sequence[Study]) -> pd.DataFrame:
    parts = [transfer_data(studies[0], name).assign(metric=name) for name in _found(studies[0])]
    return pd.concat(parts, ignore_index=True)


def _caption(studies: Sequence[Study]) -> str:
    study = studies[0]
    equations = "; ".join(f"{name}: {_found(study)[name]['equation']}" for name in _names(study))
    bands = f" Bands, {level_text(study.fit.level)}: of the curve (dark), of a new run (light)."
    more = len(_found(study)) - len(_names(study))
    return f"Points: runs. Lines: {equations}, by Huber's loss.{bands if len(study.fit.isoflop.draws) else ''}" + (
        f" {more} more metrics are not shown." if more else ""
    )


FIGURE = Drawing(
    name="transfer",
    title="Downstream metrics over the loss",
    why_not=lambda studies: "" if _names(studies[0]) else "no metric stands beside the loss (--metric)",
    caption=_caption,
    data=_data,
    draw=lambda studies, figure: side_by_side(
        figure,
        [partial(plot_transfer, studies[0], metric=name) for name in _names(studies[0])],
        least=2.4,
        aspect=0.8,
        one_legend=_named(studies[0]),
    ),
)
