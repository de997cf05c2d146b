"""How well a law foretells runs that cost more than those it was fitted to: the score that chooses between laws.

Rolling origin: the runs in order of C are cut at several quantiles; below the cut a law is fitted, above it its errors
are taken. Scores over the cuts: the root mean square of log L / log L_hat (the score that ranks), the mean absolute
percentage error, and R^2 = 1 - SS_res / SS_tot of the losses themselves. In every cut all runs of a size and budget lie
on one side, so no replicate of a test run is fitted to.

A law takes the place of the incumbent (Chinchilla's, or effective data where data repeat) only if the logarithm of its
mean squared error is lower by more than one standard error of the paired difference, over blocks of test runs of like
C (the one-standard-error rule of Breiman et al. 1984), and only where there is enough to judge by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.approaches.parametric import Parametric, cannot, fit_points
from analysis.data.costmodel import SAME_SIZE
from analysis.data.points import Points
from analysis.data.table import RunTable
from analysis.engine.objectives import Objective
from analysis.judgement.noise import groups_within
from analysis.laws import Law

CUTS = (0.5, 0.65, 0.8)
"""Quantiles of log C."""
SAME_BUDGET = 0.02
NEAR_CUT = 0.2
"""How far a cut is moved, as a share of the runs, to fall between two budgets."""
MIN_TEST = 3
"""Runs above a cut that make a score."""
MIN_JUDGED, MIN_BLOCKS = 8, 3
"""Test runs, and blocks of them, below which the incumbent stays."""
ERRORS = 2.0
"""Standard errors by which another law has to be better."""
BLOCKS = 10
"""Blocks of like C that the test runs of a cut are divided into, at most."""
FEW_STARTS = 2
ROWS_PER_PARAMETER = 2
"""Rows below a cut that a law needs for each of its parameters: with fewer it bends to the noise."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How a law did over the cuts."""

    law: str
    parameters: int
    rows: int
    """Test runs over all cuts."""
    fitted: tuple[int, ...] = ()
    """Runs below each cut."""
    rms: float
    """Root mean square of the log residuals."""
    mape: float
    """Mean absolute percentage error."""
    r2: float
    status: str
    """`scored`, or why not."""
    errors: np.ndarray
    """Squared log residuals by test run, in an order that all laws share; empty without a score."""
    blocks: np.ndarray
    """Which block of like C each belongs to, one and the same in all cuts."""

    def to_dict(self) -> dict[str, object]:
        """Return the score as the contract of `--json` says."""
        return {
            "law": self.law,
            "rule": f"cheapest {', '.join(map(str, self.fitted))} runs -> the dearer ones",
            "rows": self.rows,
            "parameters": self.parameters,
            "rms": self.rms,
            "mape": self.mape,
            "r2": self.r2,
            "status": self.status,
        }


def backtest(table: RunTable, laws: Sequence[Law], objective: Objective) -> list[Score]:
    """Return the scores of laws, best first.

    Args:
        table: The runs, with C.
        laws: What to score.
        objective: What every fit minimises.
    """
    x, loss = Points.of_table(table), table.runs["loss"].to_numpy()
    cuts = rolling_cuts(table.runs["C"].to_numpy())
    scores = [_score(table, law, objective, x, loss, cuts) for law in laws]
    return sorted(scores, key=lambda score: (not np.isfinite(score.rms), score.rms))


def rolling_cuts(flops: np.ndarray) -> list[np.ndarray]:
    """Return, for each cut, which runs are fitted to; runs of one budget (C within 2 %) stay together if they can."""
    log_c = np.sort(np.log(flops))
    gaps = np.diff(log_c)
    found: list[np.ndarray] = []
    for cut in CUTS:
        wanted = round(cut * len(log_c)) - 1
        for least in (SAME_BUDGET, 0.0):  # at a gap between budgets if there is one near, else between any two runs
            places = np.flatnonzero(gaps > least)
            if len(places) and np.abs(places - wanted).min() <= max(1, NEAR_CUT * len(log_c)):
                break
        if not len(places):
            continue
        place = places[np.argmin(np.abs(places - wanted))]
        fitted = np.log(flops) <= log_c[place] + 1e-12
        if (~fitted).sum() >= MIN_TEST and not any(np.array_equal(fitted, other) for other in found):
            found.append(fitted)
    return found


def choose(scores: Sequence[Score], incumbent: str) -> str:
    """Return the law that the scores choose.

    Example:
        >>> def score(law, errors):
        ...     return Score(law=law, parameters=5, rows=8, rms=float(np.mean(errors)) ** 0.5, mape=1.0, r2=0.9,
        ...                  status="scored", errors=np.array(errors), blocks=np.arange(8))
        >>> choose([score("other", [0.01] * 8), score("usual", [0.02] * 8)], "usual")
        'other'
        >>> choose([score("other", [0.01, 0.045] * 4), score("usual", [0.028] * 8)], "usual")
        'usual'
    """
    scored = {score.law: score for score in scores if np.isfinite(score.rms)}
    if incumbent not in scored or scored[incumbent].rows < MIN_JUDGED:
        return incumbent
    own, best = scored[incumbent], min(scored.values(), key=lambda score: score.rms)
    blocks = [own.blocks == block for block in np.unique(own.blocks)]
    if len(blocks) < MIN_BLOCKS:
        return incumbent
    gains = np.array([np.log(own.errors[block].mean() / best.errors[block].mean()) for block in blocks])
    return best.law if gains.mean() > ERRORS * gains.std(ddof=1) / np.sqrt(len(gains)) else incumbent


def weights_of(scores: Sequence[Score]) -> dict[str, float]:
    """Return a weight for every scored law: the inverse of its mean squared error, summing to one.

    These are the weights of least variance for forecasts whose errors are independent (Bates and Granger 1969).
    """
    scored = {score.law: 1 / max(score.rms**2, 1e-300) for score in scores if np.isfinite(score.rms)}
    total = sum(scored.values())
    return {name: value / total for name, value in scored.items()}


def evaluate(fitted: Parametric, x: Points, loss: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Return squared log residuals, MAPE in percent, and R^2 on given runs."""
    predicted = np.exp(fitted.log_loss(x))
    spread = float(((loss - loss.mean()) ** 2).sum())
    r2 = 1 - float(((predicted - loss) ** 2).sum()) / spread if spread > 0 else float("nan")
    return np.log(predicted / loss) ** 2, 100 * float(np.mean(np.abs(predicted / loss - 1))), r2


def _score(
    table: RunTable, law: Law, objective: Objective, x: Points, loss: np.ndarray, cuts: list[np.ndarray]
) -> Score:
    parameters = len(law.parameters)
    status, errors, mapes, r2s, blocks = cannot(table, law), [], [], [], []
    if not status and not cuts:
        status = "too few budgets to hold any back"
    everywhere = _blocks(table)
    for rows in cuts if not status else ():
        if rows.sum() < ROWS_PER_PARAMETER * parameters:
            status = f"{rows.sum()} runs below the cut for {parameters} parameters"
            break
        fitted, _ = fit_points(
            x.take(rows), loss[rows], law, objective, starts=starts_of(law, x.take(rows), loss[rows]), second=0
        )
        squared, mape, r2 = evaluate(fitted, x.take(~rows), loss[~rows])
        if not np.isfinite(squared).all():
            status = "a fit below a cut foretells no number"
            break
        errors.append(squared)
        mapes.append(mape)
        r2s.append(r2)
        blocks.append(everywhere[~rows])
    scored = not status
    return Score(
        law=law.name,
        parameters=parameters,
        rows=sum(map(len, errors)) if scored else 0,
        fitted=tuple(int(rows.sum()) for rows in cuts),
        rms=float(np.sqrt(np.mean(np.concatenate(errors)))) if scored else float("nan"),
        mape=float(np.mean(mapes)) if scored else float("nan"),
        r2=float(np.mean(r2s)) if scored else float("nan"),
        status=status or "scored",
        errors=np.concatenate(errors) if scored else np.empty(0),
        blocks=np.concatenate(blocks) if scored else np.empty(0, dtype=int),
    )


def starts_of(law: Law, x: Points, loss: np.ndarray) -> np.ndarray:
    """Return the starts of a law that lie nearest to the losses."""
    starts = law.starts(x, loss)
    with np.errstate(all="ignore"):
        errors = ((law.log_loss(starts, x) - np.log(loss)) ** 2).sum(axis=1)
    return starts[np.argsort(np.where(np.isfinite(errors), errors, np.inf), kind="stable")[:FEW_STARTS]]


def _blocks(table: RunTable) -> np.ndarray:
    """Return which block every run is in: of like C, or, where there are few budgets, of one budget and size."""
    log_c, log_n = np.log(table.runs["C"].to_numpy()), np.log(table.runs["N"].to_numpy())
    budget = groups_within(log_c, SAME_BUDGET)
    count = budget.max() + 1
    if count < BLOCKS:
        size = groups_within(log_n, SAME_SIZE)
        return budget * (size.max() + 1) + size
    return budget * BLOCKS // count
