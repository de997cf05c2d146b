"""Profiles of the objective over each parameter: how much worse the best fit becomes as one is held elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.engine.profile import profile_curve
from analysis.engine.tails import t_quantile
from analysis.estimates import level_text
from analysis.figures.axes import axes_or_new, side_by_side
from analysis.figures.corner import parameter_text
from analysis.figures.drawing import Drawing
from analysis.figures.study import Study, kept
from analysis.figures.style import OKABE_ITO
from analysis.judgement.judge import MOST_PROFILED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 7
"""On either side of the estimate."""
RISE = 2.0
"""How far a profile is drawn, over the threshold of the interval."""


def plot_profile(study: Study, ax: Axes | None = None, *, name: str) -> Axes:
    """Draw the profile of one parameter, and where it crosses the threshold of the interval.

    Args:
        study: A study whose law stands.
        ax: Where to; new axes when not given.
        name: Of the parameter.

    Returns:
        The axes.
    """
    from analysis.figures.ticks import EvenTicks

    ax = axes_or_new(ax)
    data = profiles_data(study)
    part = data[data["parameter"] == name]
    log = name in study.fit.parametric.law.positive
    x = np.log10(np.exp(part["theta"])) if log else part["theta"]
    ax.plot(x, part["rise"], "o-", color=OKABE_ITO[0], markersize=2.2)
    theta = float(study.fit.parametric.theta[study.fit.parametric.law.parameters.index(name)])
    ax.plot([np.log10(np.exp(theta)) if log else theta], [0.0], "D", color="black", markerfacecolor="white")
    ax.axhline(1.0, color="black", linestyle=":", linewidth=0.9)
    ax.set_ylim(-0.1, max(1.3, min(RISE, part["rise"].max()) + 0.1))
    ax.set_xlabel(parameter_text(f"log10 {name}" if log else name))
    ax.set_ylabel("rise / threshold")
    ax.xaxis.set_major_locator(EvenTicks())
    return ax


@kept
def profiles_data(study: Study) -> pd.DataFrame:
    """Return {parameter, theta, value, rise}: the rise of the objective over the interval's threshold."""
    sample, law = study.sample, study.fit.parametric.law
    rows, parameters = len(sample.log_y), len(sample.theta)
    most = t_quantile((1 + study.fit.level) / 2, max(1, rows - parameters)) ** 2
    found = []
    for i, name in enumerate(law.parameters):
        for theta, rise in profile_curve(sample, i, most, points=POINTS, rise=RISE):
            value = float(np.exp(theta)) if name in law.positive else theta
            found.append({"parameter": name, "theta": theta, "value": value, "rise": rise})
    return pd.DataFrame(found, columns=["parameter", "theta", "value", "rise"])


def _why_not(studies: Sequence[Study]) -> str:
    study = studies[0]
    if not study.law_stands:
        return "no certified law"
    if study.fit.parametric.objective.name == "lad":
        return "least absolute deviations have no profile"
    if len(study.runs) > MOST_PROFILED:
        return f"more than {MOST_PROFILED:,} runs"
    return "" if len(profiles_data(study)) else "the objective is zero: the law goes through every run"


FIGURE = Drawing(
    name="profiles",
    title="Profiles of the law's parameters",
    why_not=_why_not,
    caption=lambda studies: (
        "How far the objective rises as one parameter is held and the others follow, over the threshold (dotted) of "
        f"the {level_text(studies[0].fit.level)} profile interval, which supposes independent noise."
    ),
    data=lambda studies: profiles_data(studies[0]),
    draw=lambda studies, figure: side_by_side(
        figure,
        [partial(plot_profile, studies[0], name=name) for name in studies[0].fit.parametric.law.parameters],
        least=1.45,
        aspect=0.85,
    ),
)
