"""What the law leaves over: residuals over size, data and compute, and their distribution (Besiroglu et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures.axes import axes_or_new, points, quantity_axis, side_by_side
from analysis.figures.drawing import Drawing
from analysis.figures.study import Study
from analysis.figures.style import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PERCENT = 100.0
NAMES = {"N": "size $N$", "D": "data $D$", "C": "compute $C$ (FLOPs)"}
WINDOWS = 8
"""Groups of runs along x whose median shows a trend."""


def plot_residuals(study: Study, ax: Axes | None = None, *, quantity: str) -> Axes:
    """Draw log L - log L_hat in percent over N, D or C, with the medians of like runs.

    Args:
        study: A study whose law stands.
        ax: Where to; new axes when not given.
        quantity: `N`, `D` or `C`.

    Returns:
        The axes.
    """
    ax, x = axes_or_new(ax), study.runs[quantity].to_numpy()
    r = PERCENT * study.log_residuals
    ax.axhline(0.0, color="black", linewidth=0.8, zorder=1)
    points(ax, x, r, color=OKABE_ITO[0], markersize=2.8, alpha=0.8)
    order = np.argsort(x, kind="stable")
    if len(x) >= 3 * WINDOWS:
        parts = np.array_split(order, WINDOWS)
        ax.plot([np.exp(np.log(x[p]).mean()) for p in parts], [np.median(r[p]) for p in parts], "-",
                color=OKABE_ITO[1], linewidth=1.1, zorder=3)  # fmt: skip
    quantity_axis(ax, quantity, study.fit)
    ax.set_xlabel(NAMES[quantity] + (" (hours)" if quantity == "D" and study.fit.data_unit == "frames" else ""))
    ax.set_ylabel(r"$\log(L/\hat{L})$ (%)")
    return ax


def plot_residual_histogram(study: Study, ax: Axes | None = None) -> Axes:
    """Draw the distribution of the residuals beside the normal one of their robust scale.

    Args:
        study: A study whose law stands.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax, r = axes_or_new(ax), PERCENT * study.log_residuals
    scale = 1.4826 * float(np.median(np.abs(r - np.median(r))))
    reach = 4 * scale if scale > 0 else max(float(np.abs(r).max()), 1e-6)
    shown = np.clip(r, -reach, reach)
    bins = min(30, max(8, int(np.sqrt(len(r)) * 1.5)))
    ax.hist(shown, bins=bins, range=(-reach, reach), density=True, color=OKABE_ITO[5], edgecolor="white", linewidth=0.3)
    if scale > 0:
        x = np.linspace(-reach, reach, 200)
        ax.plot(x, np.exp(-((x / scale) ** 2) / 2) / (scale * np.sqrt(2 * np.pi)), color="black", linewidth=0.9)
    ax.set_xlabel(r"$\log(L/\hat{L})$ (%)")
    ax.set_ylabel("density")
    return ax


def _data(studies: Sequence[Study]) -> pd.DataFrame:
    return studies[0].runs[["row", "N", "D", "C", "loss"]].assign(log_residual=studies[0].log_residuals)


def _caption(studies: Sequence[Study]) -> str:
    study = studies[0]
    rms = float(np.sqrt((study.log_residuals**2).mean())) * PERCENT
    text = f"Residuals of {study.fit.parametric.law.equation}, root mean square {rms:.2g} %. "
    if len(study.runs) >= 3 * WINDOWS:
        text += "Orange: medians of like runs. "
    return text + (
        "(d) Their distribution; black: the normal one of their robust scale; what lies beyond 4 scales is at the ends."
    )


def _draw(studies: Sequence[Study], figure: object) -> None:
    panels = [partial(plot_residuals, studies[0], quantity=quantity) for quantity in "NDC"]
    side_by_side(figure, [*panels, partial(plot_residual_histogram, studies[0])], least=1.5, aspect=0.72)  # type: ignore[arg-type]


FIGURE = Drawing(
    name="residuals",
    title="Residuals of the law",
    why_not=lambda studies: "" if studies[0].law_stands else "no certified law",
    caption=_caption,
    data=_data,
    draw=_draw,
)
