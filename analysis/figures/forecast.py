"""Held-out forecasts: the law fitted to the cheap runs, and how far off it is on the dear ones."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.approaches.parametric import cannot, fit_points
from analysis.figures.axes import axes_or_new, beyond, flops_axis, legend_above, loss_label, points, side_by_side
from analysis.figures.drawing import Drawing
from analysis.figures.study import Study, kept
from analysis.figures.style import GREY, OKABE_ITO
from analysis.judgement.backtest import MIN_TEST, ROWS_PER_PARAMETER, rolling_cuts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PERCENT = 100.0


def plot_forecast_error(study: Study, ax: Axes | None = None) -> Axes:
    """Draw how far off the law is over compute: in percent, fitted to the runs on the left alone.

    Args:
        study: A study with enough runs to hold some out.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax, data = axes_or_new(ax), forecast_data(study)
    fitted, held = data[data["kind"] == "fitted"], data[data["kind"] == "held out"]
    ax.axhline(0.0, color="black", linewidth=0.8, zorder=1)
    points(ax, fitted["C"], fitted["error"], color=GREY, markersize=2.6, label=f"fitted ({len(fitted)})", of=len(data))
    points(
        ax, held["C"], held["error"], color=OKABE_ITO[1], marker="s", markersize=3.2, label=f"held out ({len(held)})"
    )
    flops_axis(ax)
    ax.set_ylabel("forecast error (%)")
    reach = max(1e-6, float(np.quantile(np.abs(data["error"]), 0.99)), float(held["error"].abs().max()))
    ax.set_ylim(-1.15 * reach, 1.15 * reach)
    beyond(ax, float(fitted["C"].max()))
    legend_above(ax)
    return ax


def plot_forecast(study: Study, ax: Axes | None = None) -> Axes:
    """Draw the losses foretold over those observed, of runs fitted and held out.

    Args:
        study: A study with enough runs to hold some out.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax, data = axes_or_new(ax), forecast_data(study)
    styles: dict[str, dict[str, Any]] = {
        "fitted": {"color": GREY, "markersize": 2.6},
        "held out": {"color": OKABE_ITO[1], "marker": "s", "markersize": 3.2},
    }
    for kind, style in styles.items():
        part = data[data["kind"] == kind]
        points(ax, part["loss"], part["foretold"], label=kind, **style)
    both = data[["loss", "foretold"]].to_numpy()
    ends = [both.min(), both.max()]
    ax.plot(ends, ends, "-", color="black", linewidth=0.8, zorder=1)
    ax.set_xlabel(f"observed {loss_label(study.fit)}")
    ax.set_ylabel("foretold")
    legend_above(ax)
    return ax


@kept
def forecast_data(study: Study) -> pd.DataFrame:
    """Return {row, kind, C, N, loss, foretold, error in percent} of the law fitted below the last cut, if any."""
    fit, runs = study.fit, study.runs
    columns = ["row", "kind", "C", "N", "loss", "foretold", "error"]
    law, loss = fit.parametric.law, runs["loss"].to_numpy()
    for below in reversed(rolling_cuts(runs["C"].to_numpy())):
        if below.sum() < ROWS_PER_PARAMETER * len(law.parameters) or (~below).sum() < MIN_TEST:
            continue
        weights = study.sample.weights
        found, _ = fit_points(study.points.take(below), loss[below], law, fit.parametric.objective,
                              weights=None if weights is None else weights[below])  # fmt: skip
        if not found.certified:
            continue
        foretold = np.exp(found.log_loss(study.points))
        kind = np.where(below, "fitted", "held out")
        return runs[["row", "C", "N", "loss"]].assign(kind=kind, foretold=foretold,
                                                      error=PERCENT * (foretold / loss - 1))[columns]  # fmt: skip
    return pd.DataFrame(columns=columns)


def _why_not(studies: Sequence[Study]) -> str:
    study = studies[0]
    if not study.law_stands:
        return "no certified law"
    if reason := cannot(study.table, study.fit.parametric.law):
        return reason
    return "" if len(forecast_data(study)) else "too few runs to hold some out, or no certified fit below a cut"


def _caption(studies: Sequence[Study]) -> str:
    data = forecast_data(studies[0])
    held = data[data["kind"] == "held out"]
    mean = float(held["error"].abs().mean())
    return (
        f"{studies[0].fit.parametric.law.equation}, fitted to the cheapest {int((data['kind'] == 'fitted').sum())} "
        f"runs alone, foretells the {len(held)} dearer ones with a mean error of {mean:.2g} %. Grey zone: compute that "
        "it had not seen."
    )


FIGURE = Drawing(
    name="forecast",
    title="Held-out forecast of the dearer runs",
    why_not=_why_not,
    caption=_caption,
    data=lambda studies: forecast_data(studies[0]),
    draw=lambda studies, figure: side_by_side(
        figure, [partial(plot_forecast_error, studies[0]), partial(plot_forecast, studies[0])], least=2.4, aspect=0.8
    ),
)
