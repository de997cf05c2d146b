"""The draws of the law's parameters against each other: what the runs fix only together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.estimates import level_text
from analysis.figures.axes import axes_or_new
from analysis.figures.drawing import Drawing
from analysis.figures.study import Study
from analysis.figures.style import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 0.99
"""Share of the draws within the limits of each axis."""
LEAST = 0.75
"""Inches of a panel below which the labels are small, and stand upright under it."""
GREEK = {"alpha", "beta", "gamma", "delta", "eta", "kappa"}
LOG_FROM = 10.0
"""Ratio of the ends of a positive parameter's draws from which its logarithm to base ten is shown."""


def plot_pair(study: Study, ax: Axes | None = None, *, x: str, y: str) -> Axes:
    """Draw the draws of two parameters against each other, with the estimate.

    Args:
        study: A study whose law has draws.
        ax: Where to; new axes when not given.
        x: Name of a parameter (`parameters_of`).
        y: Name of another.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax)
    draws, estimate = corner_data(study), _estimate(study)
    ax.plot(draws[x], draws[y], ".", color=OKABE_ITO[0], markersize=1.6, alpha=0.35, markeredgewidth=0,
            rasterized=True)  # fmt: skip
    ax.plot([estimate[x]], [estimate[y]], "D", color="black", markerfacecolor="white", markersize=4)
    ax.set_xlim(_span(draws[x], estimate[x]))
    ax.set_ylim(_span(draws[y], estimate[y]))
    return ax


def plot_marginal(study: Study, ax: Axes | None = None, *, name: str) -> Axes:
    """Draw the histogram of a parameter's draws, its estimate and the ends of its interval.

    Args:
        study: A study whose law has draws.
        ax: Where to; new axes when not given.
        name: Of the parameter (`parameters_of`).

    Returns:
        The axes.
    """
    ax = axes_or_new(ax)
    draws, estimate = corner_data(study)[name], _estimate(study)[name]
    low, high = _span(draws, estimate)
    ax.hist(draws.clip(low, high), bins=24, range=(low, high), color=OKABE_ITO[5], linewidth=0)
    ax.axvline(estimate, color="black", linewidth=1.0)
    for end in draws.quantile([(1 - study.fit.level) / 2, (1 + study.fit.level) / 2]):
        ax.axvline(end, color="black", linewidth=0.7, linestyle=":")
    ax.set_xlim(low, high)
    ax.set_yticks([])
    return ax


def corner_data(study: Study) -> pd.DataFrame:
    """Return the draws, one row each and one column a parameter, by the names that axes have."""
    parametric = study.fit.parametric
    natural = parametric.law.natural(parametric.draws)
    frame = pd.DataFrame(natural).replace([np.inf, -np.inf], np.nan).dropna()
    return frame.rename(columns=_names(study)).assign(**{
        shown: np.log10(frame[name]) for name, shown in _names(study).items() if shown.startswith("log10 ")
    })  # fmt: skip


def parameters_of(study: Study) -> list[str]:
    """Return the names of the parameters, as columns of `corner_data`."""
    return list(_names(study).values())


def _names(study: Study) -> dict[str, str]:
    """Return parameter -> its name on an axis: by its logarithm where its draws span decades."""
    parametric = study.fit.parametric
    found = {}
    for name, draws in parametric.law.natural(parametric.draws).items():
        tails = np.quantile(draws, [0.025, 0.975]) if len(draws) else np.ones(2)
        wide = name in parametric.law.positive and tails[0] > 0 and tails[1] / tails[0] > LOG_FROM
        found[name] = f"log10 {name}" if wide else name
    return found


def _estimate(study: Study) -> dict[str, float]:
    natural = study.fit.parametric.law.natural(study.fit.parametric.theta)
    return {
        shown: float(np.log10(natural[name]) if shown.startswith("log10 ") else natural[name])
        for name, shown in _names(study).items()
    }


def parameter_text(name: str) -> str:
    r"""Return a parameter's name as a formula.

    Example:
        >>> print(parameter_text("alpha"), parameter_text("log10 A"))
        $\alpha$ $\log_{10} A$
    """
    front, _, bare = name.rpartition(" ")
    sign = f"\\{bare}" if bare in GREEK else bare if len(bare) == 1 else rf"\mathrm{{{bare}}}".replace("_", r"\_")
    return "$" + (r"\log_{10} " if front else "") + sign + "$"


def _span(draws: pd.Series, estimate: float) -> tuple[float, float]:
    low, high = draws.quantile([(1 - SHOWN) / 2, (1 + SHOWN) / 2])
    low, high = min(low, estimate), max(high, estimate)
    margin = 0.06 * (high - low) or 1e-9 + 0.01 * abs(high)
    return low - margin, high + margin


def _draw(studies: Sequence[Study], figure: Figure) -> None:
    from matplotlib.ticker import MaxNLocator

    study, names = studies[0], parameters_of(studies[0])
    count = len(names)
    width = float(figure.get_size_inches()[0])
    figure.set_size_inches(width, width * (0.86 if count > 2 else 0.7))
    small = width / count < LEAST
    grid: dict[tuple[int, int], Any] = {}
    for row in range(count):
        for column in range(row + 1):
            ax = figure.add_subplot(count, count, row * count + column + 1)
            grid[row, column] = ax
            if row == column:
                plot_marginal(study, ax, name=names[row])
            else:
                plot_pair(study, ax, x=names[column], y=names[row])
            ax.xaxis.set_major_locator(MaxNLocator(2, prune="both"))
            if row != column:
                ax.yaxis.set_major_locator(MaxNLocator(2, prune="both"))
            ax.tick_params(labelsize=6, labelbottom=row == count - 1, labelleft=column == 0 and row > 0)
            ax.tick_params(axis="x", rotation=90 if small else 0)
            if row == count - 1:
                ax.set_xlabel(parameter_text(names[column]), fontsize=6 if small else None)
            if column == 0 and row > 0:
                ax.set_ylabel(parameter_text(names[row]), fontsize=6 if small else None)
    figure.align_labels()


FIGURE = Drawing(
    name="corner",
    title="Draws of the law's parameters",
    why_not=lambda studies: (
        "no certified law" if not studies[0].law_stands else "" if len(studies[0].fit.parametric.draws) else "no draws"
    ),
    caption=lambda studies: (
        f"{len(studies[0].fit.parametric.draws)} draws ({studies[0].fit.parametric.method}) of the parameters of "
        f"{studies[0].fit.parametric.law.equation}; diamonds and lines: the estimate; dotted: "
        f"{level_text(studies[0].fit.level)} intervals" + ". Narrow ridges are what the runs fix only together."
    ),
    data=lambda studies: corner_data(studies[0]),
    draw=_draw,
)
