"""The law's loss over compute and size with the efficient frontier, and over size at fixed compute (Chinchilla's 4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.approaches.optimum import optimal_log_n
from analysis.figures.axes import (
    MANY,
    axes_or_new,
    beyond,
    flops_axis,
    legend_above,
    loss_scale,
    points,
    side_by_side,
    size_axis,
)
from analysis.figures.drawing import Drawing
from analysis.figures.paths import STYLES, draw_path, law_table
from analysis.figures.study import Study
from analysis.figures.style import EXTRAPOLATED, MARKERS, ZONE, flops_text, ordered_colours, ordered_map

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = 60
LEVELS = 10
CUTS = 6
"""IsoFLOP cuts that a legend has room for."""
LABELLED, LABELLED_WITHIN = 0.9, 0.05
"""Where along the axes the labels of contours stand, as a share of them."""
EDGE, APART = 0.04, 0.055
"""How far labels are from the axes' lower end, and from each other."""
NEAR_CUT = 0.1
"""Runs whose log C is within this of a cut are shown on it."""


def plot_contours(study: Study, ax: Axes | None = None) -> Axes:
    """Draw contours of the law's loss over (C, N), the runs, the efficient frontier N*(C) and the isoFLOP cuts.

    Args:
        study: A study whose law splits a budget.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax, fit, runs = axes_or_new(ax), study.fit, study.runs
    path = law_table(study)
    C = np.geomspace(path["C"].min(), path["C"].max(), GRID)
    low = min(runs["N"].min() / 2, path["N"].min() / 1.5)
    N = np.geomspace(low, max(runs["N"].max() * 2, path["N"].max() * 1.5), GRID)
    losses = _surface(study, C, N)
    # levels even in the loss's logarithm above the lowest, so that they do not crowd where it is steep
    levels = np.exp(np.linspace(np.log(np.nanmin(losses)), np.log(np.nanquantile(losses, 0.9)), LEVELS + 2))[1:]
    lines = ax.contour(C, N, losses, levels=levels, cmap=ordered_map(), linewidths=0.8, zorder=1)
    for level, (C_at, N_at) in _label_places(lines, path, C, N):
        ax.text(C_at, N_at, f"{level:.3g}", fontsize=6, color="0.15", ha="center", va="center", zorder=4,
                bbox={"facecolor": ZONE, "edgecolor": "none", "pad": 0.4})  # fmt: skip
    for budget in _cuts(study):
        ax.axvline(budget, color="0.6", linestyle=":", linewidth=0.7, zorder=1)
    points(ax, runs["C"], runs["N"], color="0.35", markersize=2.4, label="runs", zorder=2)
    draw_path(ax, path, "N", fit.largest, label="efficient frontier $N^*(C)$", **STYLES["law"])
    flops_axis(ax)
    size_axis(ax, "y")
    ax.set_ylabel("model size $N$")
    ax.set_xlim(C[0] / (C[-1] / C[0]) ** 0.03, C[-1])
    ax.set_ylim(N[0], N[-1])
    beyond(ax, fit.largest)
    legend_above(ax)
    return ax


def _label_places(
    lines: Any, path: pd.DataFrame, C: np.ndarray, N: np.ndarray
) -> list[tuple[float, tuple[float, float]]]:
    """Return (level, place) of the contours' labels: on their lower arms at the right, where no run lies."""
    ends = np.log([[C[0], N[0]], [C[-1], N[-1]]])
    frontier = (np.log(path["C"]), np.log(path["N"]))
    found, last = [], np.inf
    for level, arms in zip(lines.levels, lines.get_paths(), strict=True):
        if not len(arms.vertices):
            continue
        logs = np.log(arms.vertices)
        share = (logs - ends[0]) / (ends[1] - ends[0])
        below = logs[:, 1] < np.interp(logs[:, 0], *frontier)
        free = np.flatnonzero(below & (np.abs(share[:, 0] - LABELLED) < LABELLED_WITHIN) & (share[:, 1] > EDGE))
        if not len(free):
            continue
        best = free[np.abs(share[free, 0] - LABELLED).argmin()]
        if last - share[best, 1] > APART:
            last = share[best, 1]
            found.append((float(level), (float(arms.vertices[best, 0]), float(arms.vertices[best, 1]))))
    return found


def plot_law_cuts(study: Study, ax: Axes | None = None) -> Axes:
    """Draw the law over size at each budget on the runs that lie there, and its minimum.

    Args:
        study: A study whose law splits a budget.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax)
    data = cuts_data(study)
    budgets = _cuts(study)
    for i, (budget, colour) in enumerate(zip(budgets, ordered_colours(len(budgets)), strict=True)):
        part = data[data["C"] == budget]
        runs, line = part[part["kind"] == "run"], part[part["kind"] == "law"]
        style = "-" if budget <= 1.001 * study.fit.largest else EXTRAPOLATED
        ax.plot(line["N"], line["loss"], color=colour, linestyle=style)
        marker = MARKERS[i % len(MARKERS)] if len(runs) <= MANY else "o"
        points(ax, runs["N"], runs["loss"], color=colour, marker=marker, label=flops_text(budget), of=len(study.runs))
        best = part[part["kind"] == "minimum"]
        ax.plot(best["N"], best["loss"], "D", markerfacecolor="white", markeredgecolor="black", zorder=4)
    shown = data["loss"][data["kind"] == "run"]
    top, bottom = shown.max(), min(shown.min(), data["loss"].min())
    ax.set_ylim(bottom - 0.05 * (top - bottom), top + 0.08 * (top - bottom))
    loss_scale(ax, [bottom, top], study.fit)
    size_axis(ax)
    legend_above(ax)
    return ax


def cuts_data(study: Study) -> pd.DataFrame:
    """Return runs near each isoFLOP cut, the law there and its minimum, as {kind, C, N, loss}."""
    runs, fit = study.runs, study.fit
    assert fit.spending is not None
    log_c, rows = np.log(runs["C"].to_numpy()), []
    for budget in _cuts(study):
        near = runs[np.abs(log_c - np.log(budget)) < NEAR_CUT]
        rows.append(near[["N", "loss"]].assign(kind="run", C=budget))
        best = float(np.exp(optimal_log_n(fit.parametric.law, fit.parametric.theta[None], fit.spending, budget)[0]))
        span = [*(near["N"] if len(near) else runs["N"]), best]
        for kind, N in (("law", np.geomspace(min(span) / 1.5, max(span) * 1.5, GRID)), ("minimum", np.array([best]))):
            loss = _surface(study, np.array([budget]), N)[:, 0]
            rows.append(pd.DataFrame({"N": N, "loss": loss, "kind": kind, "C": budget}))
    return pd.concat(rows, ignore_index=True)[["kind", "C", "N", "loss"]]


def _surface(study: Study, C: np.ndarray, N: np.ndarray) -> np.ndarray:
    """Return the law's loss, [N, C], each size with the data that the compute buys."""
    fit, spending = study.fit, study.fit.spending
    assert spending is not None
    theta = fit.parametric.theta[None]
    columns = [np.exp(spending.log_loss(fit.parametric.law, theta, c, np.log(N))[0]) for c in C]
    return np.stack(columns, axis=1)


def _cuts(study: Study) -> list[float]:
    """Return the budgets to cut at: those that the runs name or have, at most six, evenly chosen."""
    named = np.array([p.budget for p in study.fit.isoflop.parabolas if np.isfinite(p.budget)])
    if not len(named):
        recorded = study.runs["C"]
        named = np.geomspace(recorded.quantile(0.1), recorded.max(), 4)
    named = np.unique(named)
    chosen = np.unique(np.linspace(0, len(named) - 1, min(CUTS, len(named))).round().astype(int))
    return [float(named[i]) for i in chosen]


def _data(studies: Sequence[Study]) -> pd.DataFrame:
    study = studies[0]
    path = law_table(study)
    C = np.geomspace(path["C"].min(), path["C"].max(), GRID // 2)
    N = np.geomspace(study.runs["N"].min() / 2, max(study.runs["N"].max() * 2, path["N"].max()), GRID // 2)
    surface = pd.DataFrame({"kind": "surface", "C": np.tile(C, len(N)), "N": np.repeat(N, len(C)),
                            "loss": _surface(study, C, N).ravel()})  # fmt: skip
    frontier = path.assign(kind="frontier")[["kind", "C", "N", "loss"]]
    return pd.concat([cuts_data(study), frontier, surface], ignore_index=True)


FIGURE = Drawing(
    name="contours",
    title="The law over compute and size, and the efficient frontier",
    why_not=lambda studies: "" if studies[0].allocates else "no certified law that splits a budget",
    caption=lambda studies: (
        f"(a) Contours of {studies[0].fit.parametric.law.equation}; blue: the efficient "
        f"frontier{studies[0].bands('law')}; dotted: isoFLOP cuts; dots: runs. "
        "(b) The law over size along the cuts, on the runs; open diamonds: its minima."
    ),
    data=_data,
    draw=lambda studies, figure: side_by_side(
        figure, [partial(plot_contours, studies[0]), partial(plot_law_cuts, studies[0])], least=2.4, aspect=0.9
    ),
)  # fmt: skip
