"""Loss over epochs at fixed unique data, and what repeated data are worth (Muennighoff et al. 2023, 2305.16264)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.data.columns import FRAMES_AN_HOUR
from analysis.data.points import Points
from analysis.figures.axes import (
    axes_or_new,
    count_axis,
    legend_above,
    loss_scale,
    points,
    side_by_side,
)
from analysis.figures.drawing import Drawing
from analysis.figures.study import Study
from analysis.figures.style import MARKERS, ordered_colours
from analysis.judgement.noise import groups_within
from scaling.units import format_count, format_hours

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_CURVES = 6
POINTS = 40
SAME = 0.02


def plot_epochs(study: Study, ax: Axes | None = None) -> Axes:
    """Draw loss over epochs for the sizes and amounts of unique data with most runs, and the law on them.

    Args:
        study: A study whose runs repeat their data.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax)
    data = epochs_data(study)
    curves = [part for _, part in data.groupby(["U", "N"], sort=True)]
    for i, (part, colour) in enumerate(zip(curves, ordered_colours(len(curves)), strict=True)):
        runs, line = part[part["kind"] == "run"], part[part["kind"] == "law"]
        label = f"{_amount(study, part['U'].iloc[0])}, {format_count(part['N'].iloc[0])}"
        points(ax, runs["epochs"], runs["loss"], color=colour, marker=MARKERS[i], label=label)
        ax.plot(line["epochs"], line["loss"], color=colour)
    count_axis(ax, "x", "epochs $D/U$")
    loss_scale(ax, data["loss"], study.fit)
    legend_above(ax, title="unique data, $N$")
    return ax


def plot_worth(study: Study, ax: Axes | None = None) -> Axes:
    """Draw what D repeated data are worth in fresh data, by the law: the D' of unrepeated data with the same loss.

    Args:
        study: A study whose law knows unique data.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax)
    data = worth_data(study)
    ax.plot(data["epochs"], data["epochs"], ":", color="0.45", label="as good as fresh")
    ax.plot(data["epochs"], data["worth"], color="#0072B2", label="law")
    count_axis(ax, "x", "epochs $D/U$")
    count_axis(ax, "y", "worth in fresh data $D'/U$")
    legend_above(ax)
    return ax


def epochs_data(study: Study) -> pd.DataFrame:
    """Return runs of the (N, U) with most different epochs, and the law through them: {kind, U, N, epochs, loss}."""
    runs = study.runs[study.runs["U"].notna()]
    epochs = (runs["D"] / runs["U"]).to_numpy()
    alike = (groups_within(np.log(runs[quantity].to_numpy()), SAME) for quantity in "UN")
    labels = pd.Series(list(zip(*alike, strict=True)), runs.index)
    table = pd.DataFrame({"label": labels, "U": runs["U"], "N": runs["N"], "epochs": epochs, "loss": runs["loss"]})
    spread = table.groupby("label")["epochs"].agg(lambda e: len(np.unique(np.round(np.log(e), 2))))
    chosen = spread[spread > 1].sort_values(ascending=False, kind="stable").index[:MOST_CURVES]
    rows = []
    for label in chosen:
        part = table[table["label"] == label]
        U, N = float(part["U"].median()), float(part["N"].median())
        rows.append(part[["epochs", "loss"]].assign(kind="run", U=U, N=N))
        if study.law_stands and "U" in study.fit.parametric.law.needs:
            e = np.geomspace(part["epochs"].min(), part["epochs"].max(), POINTS)
            rows.append(pd.DataFrame({"epochs": e, "loss": _law(study, N, U * e, U), "kind": "law", "U": U, "N": N}))
    if not rows:
        return pd.DataFrame(columns=["kind", "U", "N", "epochs", "loss"])
    return pd.concat(rows, ignore_index=True)[["kind", "U", "N", "epochs", "loss"]]


def worth_data(study: Study) -> pd.DataFrame:
    """Return epochs and what they are worth: D'/U with L(N, D', U >= D') = L(N, D, U), at the geometric means."""
    runs = study.runs
    U, N = (float(np.exp(np.log(runs[q].dropna()).mean())) for q in "UN")
    most = float((runs["D"] / runs["U"]).max())
    epochs = np.geomspace(1.0, max(2.0, most), POINTS)
    target = _law(study, N, U * epochs, U)
    low, high = np.full_like(epochs, -20.0), np.log(epochs) + 1e-12  # below zero where repeating does harm
    for _ in range(60):  # the loss falls with fresh data, so that bisection finds the amount
        middle = (low + high) / 2
        better = _law(study, N, U * np.exp(middle), None) <= target
        low, high = np.where(better, low, middle), np.where(better, middle, high)
    return pd.DataFrame({"epochs": epochs, "worth": np.exp((low + high) / 2)})


def _law(study: Study, N: float, D: np.ndarray, U: float | None) -> np.ndarray:
    """Return the law's loss at one size; with U None no data repeat."""
    log_d = np.log(D)
    unique = log_d if U is None else np.minimum(np.log(U), log_d)
    cost = study.fit.spending.cost.log_cost(np.log(np.array([N]))) if study.fit.spending else np.zeros(1)
    at = Points(log_n=np.full_like(log_d, np.log(N)), log_d=log_d, log_u=unique, log_c=log_d + cost)
    return np.exp(study.fit.parametric.log_loss(at))


def _amount(study: Study, U: float) -> str:
    return format_hours(U / FRAMES_AN_HOUR) if study.fit.data_unit == "frames" else format_count(U)


def _knows(study: Study) -> bool:
    return study.law_stands and "U" in study.fit.parametric.law.needs


def _panels(study: Study) -> list:
    return [partial(plot_epochs, study), *([partial(plot_worth, study)] if _knows(study) else [])]


def _data(studies: Sequence[Study]) -> pd.DataFrame:
    parts = [epochs_data(studies[0])]
    if _knows(studies[0]):
        parts.append(worth_data(studies[0]).assign(kind="worth"))
    return pd.concat(parts, ignore_index=True)


def _why_not(studies: Sequence[Study]) -> str:
    study = studies[0]
    if "U" not in study.runs or not study.runs["U"].notna().any():
        return "no column of unique data"
    if not study.table.repeats:
        return "no run repeats its data"
    return "" if len(epochs_data(study)) else "no size has runs of different epochs on the same unique data"


def _caption(studies: Sequence[Study]) -> str:
    study = studies[0]
    text = "Points: runs of one size and amount of unique data"
    if not _knows(study):
        return f"{text}. No line: {study.fit.parametric.law.name} does not know repeated data, or has no certificate."
    return f"(a) {text}; lines: {study.fit.parametric.law.name}. (b) What an epoch is worth in fresh data, by the law."


FIGURE = Drawing(
    name="epochs",
    title="Loss over epochs at fixed unique data",
    why_not=_why_not,
    caption=_caption,
    data=_data,
    draw=lambda studies, figure: side_by_side(figure, _panels(studies[0]), least=2.4, aspect=0.85),
)
