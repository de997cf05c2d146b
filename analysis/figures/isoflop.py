"""Loss over size at every budget: the runs, the curves, their minima with intervals (Chinchilla's figure 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.estimates import Estimate
from analysis.figures.axes import MANY, axes_or_new, legend_above, loss_axis, points, side_by_side, size_axis
from analysis.figures.drawing import Drawing
from analysis.figures.study import Study
from analysis.figures.style import MARKERS, flops_text, ordered_colours, ordered_map
from scaling.units import format_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.approaches.isoflop import Parabola
    from analysis.fitting import Fit

POINTS = 100
MOST_NAMED = 10
"""Budgets that a legend has room for."""
MARGIN = 0.06
"""Share of a curve's span that it is drawn beyond its sizes."""


def plot_isoflop(study: Study, ax: Axes | None = None) -> Axes:
    """Draw the runs of every budget, its curve, and an open diamond with its interval at a minimum that counts.

    A curve whose minimum does not count is dashed and named by its verdict.

    Args:
        study: The fit and its runs.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    ax, fit, runs = axes_or_new(ax), study.fit, study.runs
    parabolas = fit.isoflop.parabolas
    several = len({p.unique for p in parabolas}) > 1
    for i, (p, colour) in enumerate(zip(parabolas, _colours(parabolas), strict=True)):
        part = runs.iloc[p.rows]
        counts = p.status == "bracketed"
        label = flops_text(p.budget) if np.isfinite(p.budget) else "runs"
        if several and np.isfinite(p.unique):
            label += f", {format_count(p.unique)} unique"
        label = label if counts else f"{label} ({p.status})"
        marker = MARKERS[i % len(MARKERS)] if len(parabolas) <= MOST_NAMED and len(part) <= MANY else "o"
        points(
            ax,
            part["N"],
            fit.scale.own(part["loss"].to_numpy()),
            marker=marker,
            color=colour,
            label=label,
            of=len(runs),
        )
        if p.status != "too-few":
            x = _curve(p)
            ax.plot(
                np.exp(x),
                fit.scale.own(p.predict(x)),
                "-" if counts else "--",
                color=colour,
                alpha=1 if counts else 0.6,
            )
    for i in _counting(fit):
        _minimum(ax, fit, i)
    size_axis(ax)
    loss_axis(ax, fit, own=True)
    _name_budgets(ax, parabolas)
    return ax


def _colours(parabolas: list[Parabola]) -> list[Any]:
    """Return colours of the budgets: by rank in a legend, by their logarithm along a colour bar."""
    if len(parabolas) <= MOST_NAMED:
        return ordered_colours(len(parabolas))
    scale, colours = _scale(parabolas), ordered_map()
    return [colours(scale(p.budget)) for p in parabolas]


def _scale(parabolas: list[Parabola]) -> Any:
    from matplotlib.colors import LogNorm

    budgets = [p.budget for p in parabolas]
    return LogNorm(min(budgets), max(budgets))


def _name_budgets(ax: Axes, parabolas: list[Parabola]) -> None:
    """Name the budgets: in a legend, or along a colour bar where they are too many for one."""
    if len(parabolas) <= MOST_NAMED:
        legend_above(ax, title="training FLOPs" if np.isfinite(parabolas[0].budget) else None)
        return
    from matplotlib.cm import ScalarMappable

    scale = ScalarMappable(_scale(parabolas), ordered_map())
    ax.figure.colorbar(scale, ax=ax, label="training FLOPs", pad=0.02)


def isoflop_data(study: Study) -> pd.DataFrame:
    """Return what the figure shows as a table: runs, then minima, then the curves; a metric in its own unit."""
    fit, runs, own = study.fit, study.runs, study.fit.scale.own
    rows: list[dict[str, Any]] = []
    for p in fit.isoflop.parabolas:
        part = runs.iloc[p.rows]
        rows += [
            {"kind": "run", "budget": p.budget, "N": n, "loss": loss, "row": row}
            for n, loss, row in zip(part["N"], own(part["loss"].to_numpy()), part["row"], strict=True)
        ]
    for i in _counting(fit):
        p, N = fit.isoflop.parabolas[i], _size_interval(fit, i)
        rows.append(
            {"kind": "minimum", "budget": p.budget, "N": N.value, "loss": own(p.loss), "low": N.low, "high": N.high}
        )
    for p in fit.isoflop.parabolas:
        if p.status != "too-few":
            x = _curve(p)
            rows += [
                {"kind": "curve", "budget": p.budget, "N": n, "loss": loss}
                for n, loss in zip(np.exp(x), own(p.predict(x)), strict=True)
            ]
    frame = pd.DataFrame(rows, columns=["kind", "budget", "N", "loss", "low", "high", "row"])
    return frame.rename(columns={"loss": fit.scale.name})


def _counting(fit: Fit) -> list[int]:
    """Return the numbers of all minima that count: of a budget at several amounts of unique data, each."""
    return [i for i, p in enumerate(fit.isoflop.parabolas) if p.status == "bracketed"]


def _curve(p: Parabola) -> np.ndarray:
    margin = MARGIN * (p.high - p.low)
    return np.linspace(p.low - margin, p.high + margin, POINTS)


def _size_interval(fit: Fit, i: int) -> Estimate:
    return Estimate.of(fit.isoflop.parabolas[i].log_n, fit.isoflop.log_n_draws(i), fit.level).exp()


def _minimum(ax: Axes, fit: Fit, i: int) -> None:
    """Draw one minimum: the interval of N* as a bar, cut at the sizes, and an open diamond."""
    p, N = fit.isoflop.parabolas[i], _size_interval(fit, i)
    lowest = fit.scale.own(p.loss)
    if len(fit.isoflop.draws):
        wide = [0.0 if N.low is None else N.low, np.inf if N.high is None else N.high]
        ends = np.clip(wide, np.exp(p.low), np.exp(p.high))
        ax.plot(ends, [lowest, lowest], "-", color="black", linewidth=0.9, zorder=4)
    ax.plot([N.value], [lowest], "D", markerfacecolor="white", markeredgecolor="black", markersize=5, zorder=5)


def _draw(studies: Sequence[Study], figure: Figure) -> None:
    side_by_side(figure, [lambda ax: plot_isoflop(studies[0], ax)], aspect=0.62)


def _caption(studies: Sequence[Study]) -> str:
    fit = studies[0].fit
    if not _counting(fit):
        return "No minimum counts: dashed curves are named by their verdict."
    how = f", bars: {studies[0].band_label('isoflop')}" if fit.isoflop.intervals else ""
    curves = f" Curves: {fit.isoflop.method}." if fit.isoflop.method else ""
    dashed = " Dashed: no minimum that counts." if len(_counting(fit)) < len(fit.isoflop.parabolas) else ""
    return f"Points: runs. Open diamonds: minima that count{how}.{dashed}{curves}"


FIGURE = Drawing(
    name="isoflop",
    title="Loss over model size at every budget",
    why_not=lambda studies: "" if studies[0].has_curves else "no budget has three sizes",
    caption=_caption,
    data=lambda studies: isoflop_data(studies[0]),
    draw=_draw,
)
