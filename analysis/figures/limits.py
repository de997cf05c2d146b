"""Loss over compute, data and size, each with the others unbounded (Kaplan et al. 2020, arXiv 2001.08361, figure 1).

The lines are the law's own limits: L*(C) along the efficient frontier, L(N -> inf, D) and L(N, D -> inf). No run can
lie below the line of its panel but by noise, and runs lie on it as far as nothing else held them back.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.data.points import Points
from analysis.estimates import Estimate
from analysis.figures.axes import (
    axes_or_new,
    beyond,
    loss_scale,
    points,
    quantity_axis,
    side_by_side,
)
from analysis.figures.drawing import Drawing
from analysis.figures.paths import draw_path, law_table
from analysis.figures.study import Study
from analysis.figures.style import GREY, OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes

UNBOUNDED = 1e8
"""Times the most of any run: what the other quantity is set to."""
POINTS = 40
AHEAD = 10.0


def plot_limit(study: Study, ax: Axes | None = None, *, quantity: str) -> Axes:
    """Draw all runs' loss over one quantity, and the law with the others unbounded.

    Args:
        study: A study whose law splits a budget.
        ax: Where to; new axes when not given.
        quantity: `C`, `D` or `N`.

    Returns:
        The axes.
    """
    ax, fit, runs = axes_or_new(ax), study.fit, study.runs
    points(ax, runs[quantity], runs["loss"], color=GREY, markersize=2.6)
    line = limit(study, quantity)
    draw_path(ax, line.rename(columns={quantity: "C"}), "loss", runs[quantity].max(), label="", color=OKABE_ITO[0])
    low, high = min(line["loss"].min(), runs["loss"].min()), runs["loss"].max()
    loss_scale(ax, [low, high], fit)
    ax.set_ylim(low * (low / high) ** 0.1, high * (high / low) ** 0.05)  # a wide band may leave the picture
    quantity_axis(ax, quantity, fit)
    ax.set_xlabel(
        {"C": "compute $C$ (FLOPs)", "D": ax.get_xlabel().replace("data seen ", ""), "N": "size $N$"}[quantity]
    )
    beyond(ax, runs[quantity].max())
    return ax


def limit(study: Study, quantity: str) -> pd.DataFrame:
    """Return the law over one quantity with the others unbounded: {quantity, loss, loss_low, loss_high}."""
    if quantity == "C":
        return law_table(study)[["C", "loss", "loss_low", "loss_high"]]
    fit, runs = study.fit, study.runs
    assert fit.spending is not None
    x = np.unique(
        np.append(np.geomspace(runs[quantity].min(), AHEAD * runs[quantity].max(), POINTS), runs[quantity].max())
    )
    log_x = np.log(x)
    other = np.full_like(log_x, np.log(UNBOUNDED * runs["D" if quantity == "N" else "N"].max()))
    log_n, log_d = (log_x, other) if quantity == "N" else (other, log_x)
    known = {"log_u": log_d, "log_c": log_d + fit.spending.cost.log_cost(log_n)}
    if fit.spending.log_b is not None:
        known["log_b"] = np.full_like(log_n, fit.spending.log_b)
    at, law = Points(log_n=log_n, log_d=log_d, **known), fit.parametric.law
    loss = np.exp(law.log_loss(fit.parametric.theta, at))
    drawn = np.exp(law.log_loss(fit.parametric.draws, at)) if len(fit.parametric.draws) else np.empty((0, len(x)))
    bands = [Estimate.of(value, drawn[:, i], fit.level) for i, value in enumerate(loss)]
    ends = {"loss_low": [band.low for band in bands], "loss_high": [band.high for band in bands]}
    return pd.DataFrame({quantity: x, "loss": loss, **ends}, dtype=float)


def _data(studies: Sequence[Study]) -> pd.DataFrame:
    study = studies[0]
    lines = [limit(study, q).rename(columns={q: "x"}).assign(kind="law", quantity=q) for q in "CDN"]
    runs = [study.runs[["row", q, "loss"]].rename(columns={q: "x"}).assign(kind="run", quantity=q) for q in "CDN"]
    return pd.concat([*runs, *lines], ignore_index=True)[
        ["kind", "quantity", "row", "x", "loss", "loss_low", "loss_high"]
    ]


def _why_not(studies: Sequence[Study]) -> str:
    if not studies[0].allocates:
        return "no certified law that splits a budget"
    law = studies[0].fit.parametric.law
    return f"{law.name} is a law of the batch too" if "B" in law.needs else ""


FIGURE = Drawing(
    name="limits",
    title="Loss over compute, data and size, the others unbounded",
    why_not=_why_not,
    caption=lambda studies: (
        "Grey: all runs. Blue: the law (a) along the efficient frontier, (b) of an endless model, (c) of endless data "
        f"that never repeat{studies[0].bands('law')}; dashed in the grey zone beyond the runs."
    ),
    data=_data,
    draw=lambda studies, figure: side_by_side(
        figure, [partial(plot_limit, studies[0], quantity=quantity) for quantity in "CDN"], least=1.75, aspect=0.95
    ),
)  # fmt: skip
