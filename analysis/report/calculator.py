"""What the page's calculator knows: the answers of `Fit.optimum` over the budgets, and the draws behind them.

log N* and L* are smooth in log C within a piece (the isoFLOP line between the bracketed budgets, the law beyond them),
for the estimate and for every draw, so that cubics through some points a decade and the quantiles of the draws repeat
the API's numbers and intervals. Only a law of data that repeat may jump: so every cubic is held to an answer half way
between its points, points are added where it misses, and a jump is named. A bracketed budget, which answers by its own
minimum, is a point of its own. D* = C / k(N*) falls as N* rises: its ends are those of N*, turned round.
"""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import Any

import numpy as np

from analysis.answers import SAME_BUDGET, Optimum
from analysis.approaches.isoflop import EDGE
from analysis.approaches.optimum import BEYOND
from analysis.data.columns import FRAMES_AN_HOUR
from analysis.estimates import Estimate
from analysis.figures.cost import speed_of
from analysis.figures.study import Study
from scaling.errors import InputError, WorkError

A_DECADE = 3
"""Points a decade of compute that are asked for first; those half way between follow."""
ROUNDS = 4
"""How often stretches are halved: a decade into 48 parts at most."""
CLOSE = 3e-3
"""Relative difference that counts as none: what three digits show."""
BELOW, ABOVE = 10.0, 1e3
"""How far below the cheapest and above the dearest run the calculator goes."""
COSTS = 1000
"""Points of log N at which the cost is given."""
USUAL_SPEED = 4e14
"""FLOP/s of a device where the runs do not say: an H100 at 40 % of its peak."""


def calculator(study: Study) -> dict[str, Any] | None:
    """Return what the page's script needs to answer for any budget; None for a curve over N alone.

    Returns:
        `points`: answers at the bracketed budgets. `pieces`: {low, high, rows} of answers along log C, or a `reason`
        why there is none. `largest`, `unit`, `per_hour` (units of data in an hour of audio, or None), `speed` (FLOP/s).
    """
    fit = study.fit
    if fit.spending is None:
        return None
    own = [fit.isoflop.parabolas[i].budget for i in fit.isoflop.bracketed] if fit.headline == "isoflop" else []
    asked = [budget for budget in fit.budgets if np.isfinite(budget)]
    low = min([study.runs["C"].min() / BELOW, *asked])
    high = max([fit.largest * ABOVE, *[10 * budget for budget in asked]])
    ends = sorted({low, high, *([min(own) * np.exp(-EDGE), max(own) * np.exp(EDGE)] if own else [])})
    speeds = speed_of(study)
    return {
        "points": [_row(fit.optimum(budget), float(np.log(budget))) for budget in own],
        "pieces": [_piece(study, a, b, own) for a, b in pairwise(ends)],
        "same": SAME_BUDGET,
        "largest": fit.largest,
        "smallest": float(study.runs["C"].min()),
        "unit": fit.data_unit,
        "per_hour": FRAMES_AN_HOUR if fit.data_unit == "frames" else None,
        "speed": float(speeds.median()) if len(speeds) else USUAL_SPEED,
        "measured": bool(len(speeds)),
        "cost": _costs(study),
        "level": fit.level,
        "asked": asked[-1] if asked else fit.largest,
        "drawn": bool(len(fit.parametric.draws) or len(fit.isoflop.draws)),
    }


def _costs(study: Study) -> dict[str, Any]:
    """Return log k over an even grid of log N, wide enough for every answer."""
    assert study.fit.spending is not None
    knots = study.fit.spending.cost.log_n
    log_n = np.linspace(knots[0] - BEYOND, knots[-1] + BEYOND, COSTS)
    log_k = study.fit.spending.cost.log_cost(log_n)
    return {"from": float(log_n[0]), "step": float(log_n[1] - log_n[0]), "log_k": [round(float(k), 7) for k in log_k]}


def _piece(study: Study, low: float, high: float, own: list[float]) -> dict[str, Any]:
    """Return answers between two budgets, or why there are none; stretches that no cubic follows are named.

    Answers stand at even distances; where the cubic through them misses the answer half way, that one is added and
    its halves are looked at in turn. What is still missed after some rounds is a jump, and the page says so there.
    """
    first = sorted({_beside(log_c, low, high, own) for log_c in _even(low, high)})
    answers: dict[float, Optimum] = {}
    missed: list[tuple[float, float]] = []
    try:
        for log_c in first:
            answers[log_c] = study.fit.optimum(float(np.exp(log_c)))
        checked = list(pairwise(first))
        for _ in range(ROUNDS):
            missed, at = [], sorted(answers)
            for a, b in checked:
                middle = _beside((a + b) / 2, low, high, own)
                answer = study.fit.optimum(float(np.exp(middle)))
                if not _follows(answers, at, middle, answer, study.fit.level):
                    missed += [(a, middle), (middle, b)]
                answers[middle] = answer
            checked = missed
    except (WorkError, InputError) as error:
        return {"low": low, "high": high, "reason": str(error)}
    chosen = [answers[log_c] for log_c in sorted(answers)]
    return {
        "low": low,
        "high": high,
        "rows": [_row(answer, log_c) for log_c, answer in sorted(answers.items())],
        "draws": {
            "N": _packed([answer.log_n_draws for answer in chosen]),
            "loss": _packed([answer.loss_draws for answer in chosen]),
        },
        "jumps": [[float(np.exp(a)), float(np.exp(b))] for a, b in missed],
    }


def _even(low: float, high: float) -> list[float]:
    """Return log C at even distances, the ends included."""
    count = max(4, int(np.ceil(A_DECADE * np.log10(high / low))) + 1)
    return [float(log_c) for log_c in np.linspace(np.log(low), np.log(high), count)]


def _beside(log_c: float, low: float, high: float, own: list[float]) -> float:
    """Return log C, or a place beside it where a bracketed budget would answer by its own minimum."""
    near = [np.log(other) for other in own if abs(log_c - np.log(other)) <= 1.1 * SAME_BUDGET]
    if not near:
        return log_c
    return float(near[0] + 2 * SAME_BUDGET * (1 if log_c < np.log(low * high) / 2 else -1))


def _follows(answers: dict[float, Optimum], at: list[float], x: float, answer: Optimum, level: float) -> bool:
    """Whether the cubic through the answers gives this one: N* and L* and their ends."""
    weights = cubic(at, x)
    for name, own, log in (("log_n_draws", answer.N, True), ("loss_draws", answer.loss, False)):
        estimates = [(answers[at[i]].N if log else answers[at[i]].loss, w) for i, w in weights]
        if own is None or any(estimate is None for estimate, _ in estimates):
            continue
        values = [np.log(estimate.value) if log else estimate.value for estimate, _ in estimates]  # type: ignore[union-attr]
        value = float(np.dot(values, [w for _, w in weights]))
        drawn = [getattr(answers[at[i]], name) for i, _ in weights]
        sums = sum(w * d for d, (_, w) in zip(drawn, weights, strict=True)) if all(d is not None for d in drawn) else ()
        found = Estimate.of(value, np.asarray(sums), level)
        found = found.exp() if log else found
        for mine, theirs in ((found.value, own.value), (found.low, own.low), (found.high, own.high)):
            if (mine is None) != (theirs is None):
                return False
            if mine is not None and theirs is not None and not abs(mine - theirs) <= CLOSE * abs(theirs):
                return False
    return True


def cubic(at: list[float], x: float) -> list[tuple[int, float]]:
    """Return (place, weight) of the four neighbours whose cubic, in Lagrange's form, gives the value at x.

    Example:
        >>> [(i, round(w, 4)) for i, w in cubic([0.0, 1.0, 2.0, 3.0], 1.5)]
        [(0, -0.0625), (1, 0.5625), (2, 0.5625), (3, -0.0625)]
    """
    i = int(np.clip(np.searchsorted(at, x) - 1, 0, len(at) - 2))
    first = max(0, min(i - 1, len(at) - 4))
    chosen = range(first, min(first + 4, len(at)))
    return [(j, float(np.prod([(x - at[k]) / (at[j] - at[k]) for k in chosen if k != j]))) for j in chosen]


def _packed(draws: list[np.ndarray | None]) -> str | None:
    """Return draws [budgets, draws] as 32-bit floats in base64; None where there are none."""
    known = [d for d in draws if d is not None]
    if len(known) < len(draws):
        return None
    return base64.b64encode(np.stack(known).astype("<f4").tobytes()).decode()


def _row(answer: Optimum, log_c: float) -> dict[str, Any]:
    """Return an answer as logarithms of C, N*, D*, and L* as it is, each [value, low, high]."""
    return {
        "c": log_c,
        "N": _ends(answer.N, log=True),
        "D": _ends(answer.D, log=True),
        "loss": _ends(answer.loss, log=False),
        "near": [float(np.log(value)) if np.isfinite(value) and value > 0 else None for value in answer.near],
    }


def _ends(estimate: Estimate | None, *, log: bool) -> list[float | None] | None:
    if estimate is None:
        return None
    values = (estimate.value, estimate.low, estimate.high)
    if not log:
        return [None if value is None else float(value) for value in values]
    return [None if value is None or not value > 0 else float(np.log(value)) for value in values]
