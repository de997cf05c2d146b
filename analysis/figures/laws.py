"""The laws side by side: how well each foretells dearer runs, and the N*(C) that each would have given."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.approaches.optimum import optimal_log_n
from analysis.figures.axes import LETTERS, axes_or_new, beyond, flops_axis, legend_above, side_by_side, size_axis
from analysis.figures.drawing import Drawing
from analysis.figures.paths import budgets_of, minima
from analysis.figures.study import Study, kept
from analysis.figures.style import EXTRAPOLATED, category, plain_text
from scaling.errors import WorkError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PERCENT = 100.0
WORST = 8.0
"""Times the best law's error at which longer bars are cut."""


def plot_scores(study: Study, ax: Axes | None = None) -> Axes:
    """Draw the error of each law on runs dearer than those it was fitted to, best on top.

    Args:
        study: A study whose laws were scored.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax)
    scores = [score for score in study.fit.holdout if score["status"] == "scored"][::-1]
    shown = min(max(s["rms"] for s in scores), WORST * min(s["rms"] for s in scores))
    for i, score in enumerate(scores):
        chosen = score["law"] == study.fit.parametric.law.name
        ax.barh(i, PERCENT * min(score["rms"], shown), height=0.62, color="#0072B2" if chosen else "0.75")
        value = f"{PERCENT * score['rms']:.2f}" if score["rms"] < 0.1 else f"{PERCENT * score['rms']:,.0f}"
        ax.text(
            PERCENT * min(score["rms"], shown),
            i,
            f" {value}" + (" (cut)" if score["rms"] > shown else ""),
            va="center",
            ha="left",
            fontsize=7,
        )
    ax.set_yticks(range(len(scores)), [f"{plain_text(s['law'], LETTERS)} ({s['parameters']})" for s in scores])
    ax.set_ylim(-0.6, max(2.4, len(scores) - 0.4))
    ax.set_xlim(0, 1.25 * PERCENT * shown)
    ax.set_xlabel("error on dearer runs (rms, %)")
    ax.grid(visible=False, axis="y")
    return ax


def plot_laws(study: Study, ax: Axes | None = None) -> Axes:
    """Draw N*(C) of every law, objective and window that was weighed: a law in one colour, its main choice thick.

    Args:
        study: A study with such choices.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax, data, largest = axes_or_new(ax), laws_data(study), study.fit.largest
    names = list(dict.fromkeys(data["law"]))
    for i, name in enumerate(names):
        style = {key: value for key, value in category(i).items() if key != "marker"}
        for j, (_, part) in enumerate(data[data["law"] == name].groupby("choice", sort=False)):
            thin = {} if j == 0 else {"linewidth": 0.6, "alpha": 0.7}
            inside, outside = part[part["C"] <= largest * 1.0001], part[part["C"] >= largest * 0.9999]
            ax.plot(inside["C"], inside["N"], label=plain_text(name, LETTERS) if j == 0 else "", **{**style, **thin})
            ax.plot(outside["C"], outside["N"], **{**style, **thin, "linestyle": EXTRAPOLATED})
    points = minima(study)
    points = points[points["kind"] == "minimum"]
    ax.plot(points["C"], points["N"], "D", color="black", markerfacecolor="white", zorder=4,
            label="isoFLOP minima" if len(points) else "")  # fmt: skip
    flops_axis(ax)
    size_axis(ax, "y")
    ax.set_ylabel("$N^*$ (parameters)")
    beyond(ax, largest)
    legend_above(ax)
    return ax


@kept
def laws_data(study: Study) -> pd.DataFrame:
    """Return {law, choice, weight, C, N} of every choice."""
    fit = study.fit
    assert fit.spending is not None
    budgets = budgets_of(study)[::3]
    budgets = np.unique(np.append(budgets, [fit.largest]))
    rows = []
    for choice in fit.choices:
        name = f"{choice.law.name}, {choice.objective}, {choice.window} runs"
        for budget in budgets:
            try:
                N = float(np.exp(optimal_log_n(choice.law, choice.theta, fit.spending, budget)[0]))
            except WorkError:  # a law of the batch, which varies
                continue
            rows.append({"law": choice.law.name, "choice": name, "weight": choice.weight, "C": budget, "N": N})
    return pd.DataFrame(rows, columns=["law", "choice", "weight", "C", "N"])


def _panels(study: Study) -> list:
    scored = any(score["status"] == "scored" for score in study.fit.holdout)
    return [*([partial(plot_scores, study)] if scored else []), partial(plot_laws, study)]


def _data(studies: Sequence[Study]) -> pd.DataFrame:
    scores = [{"kind": "score", "law": s["law"], "parameters": s["parameters"], "rms": s["rms"], "r2": s["r2"]}
              for s in studies[0].fit.holdout if s["status"] == "scored"]  # fmt: skip
    return pd.concat([pd.DataFrame(scores), laws_data(studies[0]).assign(kind="path")], ignore_index=True)


def _why_not(studies: Sequence[Study]) -> str:
    study = studies[0]
    if study.fit.spending is None:
        return "a curve over N alone has no law of a budget"
    if not study.fit.choices:
        return "no other laws were weighed (--quick, or none is certified)"
    return "" if len(laws_data(study)) else "no law has an optimum over compute"


def _caption(studies: Sequence[Study]) -> str:
    first = (
        "(a) Root mean square error of each law (number of parameters) on runs dearer than those it was fitted to; "
        "blue: the law in use. (b) "
    )
    return (first if len(_panels(studies[0])) > 1 else "") + (
        "N*(C) by every law that was weighed, thick with its own objective on all runs, thin with other objectives and "
        "windows. Dashed in grey: beyond the largest run."
    )


FIGURE = Drawing(
    name="laws",
    title="Laws compared",
    why_not=_why_not,
    caption=_caption,
    data=_data,
    draw=lambda studies, figure: side_by_side(figure, _panels(studies[0]), least=2.4, aspect=0.85),
)
