"""From loss to metric: the curve of a metric over the loss, and what it foretells at the loss of a budget's best model.

    log q = c + k L,    q = e / (u - e) of a bounded metric (logit e), q = e of another (`analysis.data.metrics`)
    v(C) = v(c + k (L*(C) + e_L) + e_q)

c and k minimise Huber's loss of the residuals, delta from their scale, as laws are fitted. The floor of an unbounded
error is not a parameter here: over the range of losses that a study has, it cannot be told from the slope, and a bend
that it would cause is tested for (t-test of a square of L).

Intervals: draws of L*(C) (the loss's own fit), of (c, k) (residuals or pairs of the runs, `analysis.engine.resampling`)
and, for a new run, of its scatter, e_q about the curve and e_L of its loss about the loss's fit, normal with variances
drawn by their pivots s^2 nu / chi^2_nu. The draws of L* and of (c, k) are independent, though they are of the same
runs: c and k rest on the spread of losses over all runs, next to which the noise of one is small. `mean` is without
the scatter.

Source: two-step prediction of tasks: Llama 3 (Grattafiori et al. 2024, arXiv 2407.21783, section 3.2.1), model ladders
(Bhagia et al. 2024, arXiv 2412.04403), which fit sigmoids of a task's loss. Exponential decay of error in loss: Gadre
et al. 2024 (arXiv 2403.08540).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.answers import own_estimate
from analysis.approaches.budgets import budget_groups
from analysis.approaches.parametric import tuned_delta
from analysis.data.metrics import Scale
from analysis.data.table import RunTable
from analysis.engine.newton import minimise
from analysis.engine.objectives import huber, log_mse
from analysis.engine.resampling import Sample, draw
from analysis.engine.surfaces import LinearSurface
from analysis.engine.tails import t_tail
from analysis.estimates import Estimate
from analysis.judgement.intervals import PAIRS_FROM
from scaling.errors import InputError

MIN_RUNS = 4
"""Runs from which a line has two degrees of freedom left."""
WEAK = 0.5
"""Rank correlation within budgets below which loss and metric are said to disagree."""
BENT = 0.01
"""Level of the test for a bend."""
GRID = 40
REACH = 0.05
"""Share of the range of losses that the curve is drawn beyond them."""


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """A metric over the loss."""

    scale: Scale
    theta: np.ndarray
    """c and k."""
    delta: float
    """Huber's, as used."""
    draws: np.ndarray
    """[draws, 2]."""
    scatter: float
    """Standard deviation of log q about the curve."""
    degrees: int
    losses: np.ndarray
    """Of the runs."""
    budgets: int
    """How many the runs are of."""
    rank: float
    """Mean of the rank correlations of loss and error within budgets; NaN where none has three runs."""
    bend: float
    """P-value of a square of L beside the line; NaN where there is too little to tell by."""

    def at(self, loss: np.ndarray | float) -> Any:
        """Return the metric that the curve says at losses."""
        return self.scale.own(np.exp(self.theta[0] + self.theta[1] * np.asarray(loss, dtype=float)))

    def foretell(
        self,
        loss: float,
        loss_draws: np.ndarray,
        level: float,
        rng: np.random.Generator,
        *,
        of_run: float | None = None,
    ) -> Estimate:
        """Return the metric at a loss that is itself uncertain.

        Args:
            loss: It.
            loss_draws: Draws of it; none where it is known.
            level: Of the interval.
            rng: Source of what is drawn here.
            of_run: Standard deviation of a run's loss, for a new run's interval; None for the mean of runs.
        """
        count = len(self.draws)
        if not count:
            return Estimate(value=float(self.at(loss)))
        drawn = rng.choice(loss_draws, count) if len(loss_draws) else np.full(count, loss)
        theta = self.draws[rng.permutation(count)]
        spread = np.zeros(count)
        if of_run is not None:
            drawn = drawn + of_run * rng.standard_normal(count)
            spread = self.scatter * np.sqrt(self.degrees / rng.chisquare(self.degrees, count)) * rng.normal(size=count)
        with np.errstate(over="ignore"):
            values = np.exp(theta[:, 0] + theta[:, 1] * drawn + spread)
        found = Estimate.of(float(np.exp(self.theta[0] + self.theta[1] * loss)), values, level)
        return own_estimate(found, self.scale)

    def curve(self, level: float) -> dict[str, list[float]]:
        """Return the curve over the losses with its band and that of single runs, as columns."""
        low, high = float(self.losses.min()), float(self.losses.max())
        grid = np.linspace(low - REACH * (high - low), high + REACH * (high - low), GRID)
        columns: dict[str, list[float]] = {"loss": grid.tolist(), "value": self.at(grid).tolist()}
        rng = np.random.default_rng(0)  # the same noise all along: bands without steps
        state = rng.bit_generator.state
        for kind, of_run in (("mean", None), ("run", 0.0)):
            ends: list[Estimate] = []
            for x in grid:
                rng.bit_generator.state = state
                ends.append(self.foretell(float(x), np.empty(0), level, rng, of_run=of_run))
            if len(self.draws):
                columns[f"{kind}_low"] = [np.nan if e.low is None else e.low for e in ends]
                columns[f"{kind}_high"] = [np.nan if e.high is None else e.high for e in ends]
        return columns

    def remarks(self, level: float) -> list[str]:
        """Return what speaks against the curve, a line each."""
        name, found = self.scale.name, []
        k = Estimate.of(float(self.theta[1]), self.draws[:, 1] if len(self.draws) else np.empty(0), level)
        if k.value <= 0:
            found.append(
                f"{name} grows worse where the loss falls (slope {k.value:.3g}): the loss foretells nothing of it"
            )
        elif k.low is not None and k.low <= 0:
            found.append(f"the slope of {name} over the loss is not above zero at this level: the loss hardly tells it")
        if self.rank < WEAK:
            found.append(f"loss and {name} order the runs of a budget differently (rank correlation {self.rank:.2f})")
        if self.bend < BENT:
            found.append(f"{name} bends over the loss (p = {self.bend:.1g}): a straight line misses it beyond the runs")
        if self.budgets == 1:
            found.append("runs of one budget: the curve is over sizes alone, and may be another one at other budgets")
        return found


def fit_transfer(table: RunTable, measured: RunTable, *, draws: int, rng: np.random.Generator) -> Transfer:
    """Fit a metric over the loss.

    Args:
        table: The runs with their loss.
        measured: The same runs in the same order with the metric (`analysis.data.measuring.measure`).
        draws: Of c and k.
        rng: Their source.

    Raises:
        InputError: When there are too few runs, or their losses are all equal.

    Example:
        >>> import pandas as pd
        >>> from analysis import load
        >>> from analysis.data.measuring import find_metrics, measure
        >>> runs = pd.read_csv("runs.csv").assign(asr_wer=lambda runs: np.exp(1 + 0.5 * runs.loss))
        >>> table = load(runs)[0]
        >>> measured = measure(table, find_metrics([table], ["asr_wer"])[0])
        >>> fit_transfer(table, measured, draws=0, rng=np.random.default_rng(0)).theta.round(6).tolist()
        [1.0, 0.5]
    """
    loss, log_q = table.runs["loss"].to_numpy(), np.log(measured.runs["loss"].to_numpy())
    where = f"--metric {measured.scale.name}"
    if len(loss) < MIN_RUNS:
        raise InputError("too few runs for a curve over the loss", where=where, value=len(loss), remedy="add runs")
    if np.ptp(loss) == 0:
        raise InputError("all losses are equal", where=where, remedy="no curve over the loss can be drawn")
    sample, center = _line(loss, log_q)
    drawn = draw(sample, "pairs" if len(loss) >= PAIRS_FROM else "residual", draws, rng).theta if draws else None
    degrees = len(loss) - 2
    assert sample.objective.delta is not None
    return Transfer(
        scale=measured.scale,
        theta=_uncentred(sample.theta, center),
        delta=sample.objective.delta,
        draws=np.empty((0, 2)) if drawn is None else _uncentred(drawn, center),
        scatter=float(np.sqrt((sample.residuals**2).sum() / degrees)),
        degrees=degrees,
        losses=loss,
        budgets=len(budget_groups(table)[0]),
        rank=_rank_correlation(table, loss, log_q),
        bend=_bend(loss, log_q),
    )


def line_of(loss: np.ndarray, log_q: np.ndarray) -> np.ndarray:
    """Return c and k."""
    sample, center = _line(loss, log_q)
    return _uncentred(sample.theta, center)


def _line(loss: np.ndarray, log_q: np.ndarray) -> tuple[Sample, float]:
    """Return the fitted line over the loss less its mean, which keeps the problem well scaled, and that mean."""
    center = float(loss.mean())
    surface = LinearSurface(np.stack([np.ones(len(loss)), loss - center], axis=1)[:, None])
    start = minimise(surface, log_q, np.zeros((1, 2)), log_mse()).theta[0]
    objective = huber(tuned_delta(surface, log_q, start, None))
    theta = minimise(surface, log_q, start[None], objective).theta[0]
    return Sample(surface=surface, log_y=log_q, theta=theta, objective=objective), center


def _uncentred(theta: np.ndarray, center: float) -> np.ndarray:
    return np.stack([theta[..., 0] - theta[..., 1] * center, theta[..., 1]], axis=-1)


def _rank_correlation(table: RunTable, loss: np.ndarray, log_q: np.ndarray) -> float:
    """Return Spearman's correlation of every budget with three runs or more, weighted by their number."""
    from scipy.stats import spearmanr

    found, weights = [], []
    for _, rows in budget_groups(table)[0]:
        if len(rows) > 2 and np.ptp(loss[rows]) > 0 and np.ptp(log_q[rows]) > 0:
            found.append(float(spearmanr(loss[rows], log_q[rows]).statistic))
            weights.append(len(rows) - 1)
    return float(np.average(found, weights=weights)) if found else float("nan")


def _bend(loss: np.ndarray, log_q: np.ndarray) -> float:
    """Return the p-value of the square of L by its t-test."""
    x = (loss - loss.mean()) / loss.std()
    design = np.stack([np.ones(len(x)), x, x**2], axis=1)
    degrees = len(x) - 3
    if degrees < 1 or np.linalg.matrix_rank(design) < 3:
        return float("nan")
    theta = np.linalg.lstsq(design, log_q, rcond=None)[0]
    variance = float(((log_q - design @ theta) ** 2).sum() / degrees) * np.linalg.inv(design.T @ design)[2, 2]
    return 2 * t_tail(abs(theta[2]) / np.sqrt(variance), degrees) if variance > 0 else float("nan")
