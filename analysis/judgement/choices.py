"""What the analyst's choices do to the answer: an interval that spans laws, objective and window.

Every choice j of a law, an objective (Huber's and log-MSE) and a window (all runs, or those above the
cheapest quarter) gives its own N*_j, and stands with the noise of the headline around it. The interval is that of the
mixture

    sum_j w_j (log N*_j + e),    e the draws of the headline around its estimate

w_j is the law's weight by its back-test, shared evenly by its objectives and windows. On Chinchilla's published runs
these choices move N* at 5.76e23 FLOPs from 73 G to 96 G, more than the noise of any one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.approaches.optimum import Spending, optimal_log_n
from analysis.approaches.parametric import Parametric
from analysis.data.table import RunTable
from analysis.engine.newton import minimise
from analysis.engine.objectives import Objective, log_mse
from analysis.engine.resampling import Sample
from analysis.estimates import Estimate
from analysis.laws import Law

CHEAPEST = 0.25
"""Quantile of log C below which runs are left out in the second window."""
LEAST_WEIGHT = 0.05
"""Laws that foretell much worse than the others are no opinion."""
ROWS_PER_PARAMETER = 3
FARTHEST = np.log(1e3)
"""A choice whose N* lies further from the headline's than this is no opinion but a failure, and is left out."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One way to have made the fit."""

    law: Law
    objective: str
    window: str
    theta: np.ndarray
    weight: float


def alternatives(
    table: RunTable, fits: Sequence[tuple[Parametric, Sample]], weights: Mapping[str, float]
) -> list[Choice]:
    """Return the choices that end at a certified minimum, their weights summing to one.

    Args:
        table: The runs.
        fits: A certified fit of every law.
        weights: Of the laws.
    """
    log_c = np.log(table.runs["C"].to_numpy())
    dear = log_c > np.quantile(log_c, CHEAPEST)
    found: list[Choice] = []
    for fitted, sample in fits:
        if weights.get(fitted.law.name, 0.0) < LEAST_WEIGHT:
            continue
        objectives: list[Objective] = [sample.refitted]
        if sample.objective.name != "log-mse":
            objectives.append(log_mse())
        own = []
        for objective in objectives:
            for window, rows in (("all", np.ones(len(dear))), ("dear", dear.astype(float))):
                if rows.sum() < ROWS_PER_PARAMETER * len(fitted.theta):
                    continue
                ends = minimise(
                    sample.surface, sample.log_y, fitted.theta[None], objective,
                    weights=rows if sample.weights is None else rows * sample.weights,
                )  # fmt: skip
                if ends.converged[0]:
                    own.append((objective.name, window, ends.theta[0]))
        weight = weights.get(fitted.law.name, 0.0) / max(1, len(own))
        found += [
            Choice(law=fitted.law, objective=o, window=window, theta=theta, weight=weight) for o, window, theta in own
        ]
    total = sum(choice.weight for choice in found)
    return [
        Choice(law=c.law, objective=c.objective, window=c.window, theta=c.theta, weight=c.weight / total)
        for c in found
        if total > 0
    ]


def spanning(
    choices: Sequence[Choice], spending: Spending, budget: float, answer: float, draws: np.ndarray, level: float
) -> Estimate | None:
    """Return N* with the interval that spans the choices; None without choices or draws.

    Args:
        choices: As `alternatives` returns.
        spending: What a budget buys.
        budget: FLOPs.
        answer: log N* of the headline.
        draws: log N* of its draws.
        level: Of the interval.
    """
    draws = draws[np.isfinite(draws)]
    if not choices or not len(draws):
        return None
    places, weights = [], []
    for choice in choices:
        place = float(optimal_log_n(choice.law, choice.theta, spending, budget)[0])
        if np.isfinite(place) and abs(place - answer) < FARTHEST:
            places.append(place)
            weights.append(choice.weight)
    if not places or sum(weights) <= 0:
        return None
    mixture = np.concatenate([place + draws - np.median(draws) for place in places])
    order = np.argsort(mixture)
    share = np.cumsum(np.repeat(np.array(weights) / sum(weights), len(draws))[order] / len(draws))
    low, high = (mixture[order][np.searchsorted(share, q)] for q in ((1 - level) / 2, (1 + level) / 2))
    ends = min(low, answer), max(high, answer)
    return Estimate(value=float(np.exp(answer)), low=float(np.exp(ends[0])), high=float(np.exp(ends[1])))
