"""Loss over size at every budget: the runs, the curves, their minima with intervals (Chinchilla's figure 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.estimates import Estimate
from analysis.figures.style import ordered_colours
from scaling.units import format_count, format_flops

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from analysis.approaches.isoflop import Parabola
    from analysis.fitting import Fit

POINTS = 200
MOST_NAMED = 10
"""Budgets that a legend has room for."""
MARGIN = 0.06
"""Share of a curve's span that it is drawn beyond its sizes."""


def plot_isoflop(fit: Fit, runs: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the runs of every budget, its curve, and an open diamond with its interval at a minimum that counts.

    A curve whose minimum does not count is dashed and named by its verdict.

    Args:
        fit: The fit.
        runs: The table that was fitted (`RunTable.runs`).
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots()[1]
    parabolas = fit.isoflop.parabolas
    several = len({p.unique for p in parabolas}) > 1
    for p, colour in zip(parabolas, ordered_colours(len(parabolas)), strict=True):
        points = runs.iloc[p.rows]
        counts = p.status == "bracketed"
        label = format_flops(p.budget) if np.isfinite(p.budget) else "runs"
        if several and np.isfinite(p.unique):
            label += f", {format_count(p.unique)} unique"
        ax.plot(points["N"], points["loss"], "o", color=colour, label=label if counts else f"{label} ({p.status})")
        if p.status != "too-few":
            x = _curve(p)
            ax.plot(np.exp(x), p.predict(x), "-" if counts else "--", color=colour, alpha=1 if counts else 0.6)
    for i in _counting(fit):
        _minimum(ax, fit, i)
    ax.set_xscale("log")
    ax.set_xlabel("model size $N$ (parameters)")
    ax.set_ylabel(f"{fit.loss_name} $L$" if fit.loss_name != "loss" else "validation loss $L$")
    _size_ticks(ax)
    _name_budgets(ax, parabolas)
    return ax


def _name_budgets(ax: Axes, parabolas: list[Parabola]) -> None:
    """Name the budgets: in a legend, or along a colour bar where they are too many for one."""
    if len(parabolas) <= MOST_NAMED:
        ax.legend(title="training FLOPs" if np.isfinite(parabolas[0].budget) else None, loc="best")
        return
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm

    budgets = [p.budget for p in parabolas]
    scale = ScalarMappable(LogNorm(min(budgets), max(budgets)), ListedColormap(ordered_colours(len(budgets))))
    ax.figure.colorbar(scale, ax=ax, label="training FLOPs (dashed: no minimum that counts)")


def isoflop_data(fit: Fit, runs: pd.DataFrame) -> pd.DataFrame:
    """Return what the figure shows as a table: runs, then minima, then the curves."""
    rows: list[dict[str, Any]] = []
    for p in fit.isoflop.parabolas:
        for _, run in runs.iloc[p.rows].iterrows():
            rows.append({"kind": "run", "budget": p.budget, "N": run["N"], "loss": run["loss"], "row": run["row"]})
    for i in _counting(fit):
        p, N = fit.isoflop.parabolas[i], _size_interval(fit, i)
        rows.append(
            {
                "kind": "minimum",
                "budget": p.budget,
                "N": N.value,
                "loss": p.loss,
                "low": N.low,
                "high": N.high,
            }
        )
    for p in fit.isoflop.parabolas:
        if p.status != "too-few":
            x = _curve(p)
            rows += [
                {"kind": "curve", "budget": p.budget, "N": n, "loss": loss}
                for n, loss in zip(np.exp(x), p.predict(x), strict=True)
            ]
    return pd.DataFrame(rows, columns=["kind", "budget", "N", "loss", "low", "high", "row"])


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
    if N.low is not None and N.high is not None:
        ends = np.clip([N.low, N.high], np.exp(p.low), np.exp(p.high))
        ax.plot(ends, [p.loss, p.loss], "-", color="black", linewidth=0.8, zorder=4)
    ax.plot([N.value], [p.loss], "D", markerfacecolor="white", markeredgecolor="black", markersize=5.5, zorder=5)


def _size_ticks(ax: Axes) -> None:
    """Label the sizes as 10k, 1M, with ticks at 1, 2 and 5 where decades are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = ax.get_xlim()
    few = np.log10(high / low) < 2.2
    ax.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,)))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: format_count(value)))
    ax.xaxis.set_minor_formatter(NullFormatter())
