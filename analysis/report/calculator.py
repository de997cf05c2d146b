"""What the page's calculator knows: the answers of `Fit.optimum` over the budgets, and the draws behind them.

log N* and L* are smooth in log C within a piece (the isoFLOP line between the bracketed budgets, the law beyond them),
for the estimate and for every draw, so that cubics through a few points a decade and the quantiles of the draws repeat
the API's numbers and intervals. A bracketed budget, which answers by its own minimum, is a point of its own.
D* = C / k(N*) falls as N* rises: its ends are those of N*, turned round.
"""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import Any

import numpy as np

from analysis.answers import SAME_BUDGET, Optimum
from analysis.approaches.optimum import BEYOND
from analysis.data.columns import FRAMES_AN_HOUR
from analysis.estimates import Estimate
from analysis.figures.cost import speed_of
from analysis.figures.study import Study
from scaling.errors import InputError, WorkError

A_DECADE = 6
"""Points a decade of compute: the cost has kinks in its curvature at the recorded sizes, and N* with it."""
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
    ends = sorted({low, high, *([0.999 * min(own), 1.001 * max(own)] if own else [])})
    speeds = speed_of(study)
    return {
        "points": [_row(fit.optimum(budget), budget) for budget in own],
        "pieces": [_piece(study, a, b, own) for a, b in pairwise(ends)],
        "same": SAME_BUDGET,
        "largest": fit.largest,
        "unit": fit.data_unit,
        "per_hour": FRAMES_AN_HOUR if fit.data_unit == "frames" else None,
        "speed": float(speeds.max()) if len(speeds) else USUAL_SPEED,
        "measured": bool(len(speeds)),
        "cost": _costs(study),
        "level": fit.level,
    }


def _costs(study: Study) -> dict[str, Any]:
    """Return log k over an even grid of log N, wide enough for every answer."""
    assert study.fit.spending is not None
    knots = study.fit.spending.cost.log_n
    log_n = np.linspace(knots[0] - BEYOND, knots[-1] + BEYOND, COSTS)
    log_k = study.fit.spending.cost.log_cost(log_n)
    return {"from": float(log_n[0]), "step": float(log_n[1] - log_n[0]), "log_k": [round(float(k), 7) for k in log_k]}


def _piece(study: Study, low: float, high: float, own: list[float]) -> dict[str, Any]:
    """Return answers between two budgets, or why there are none."""
    count = max(4, int(np.ceil(A_DECADE * np.log10(high / low))) + 1)
    rows, log_n, losses = [], [], []
    for log_c in np.linspace(np.log(low), np.log(high), count):
        budget = float(np.exp(log_c))
        near = [other for other in own if abs(np.log(budget / other)) <= 1.1 * SAME_BUDGET]
        if near:  # there its own minimum answers; the piece is what lies beside it, towards its middle
            budget = near[0] * float(np.exp(2 * SAME_BUDGET if budget < np.sqrt(low * high) else -2 * SAME_BUDGET))
        try:
            answer = study.fit.optimum(budget)
        except (WorkError, InputError) as error:
            return {"low": low, "high": high, "reason": str(error)}
        rows.append(_row(answer, budget))
        log_n.append(answer.log_n_draws)
        losses.append(answer.loss_draws)
    return {"low": low, "high": high, "rows": rows, "draws": {"N": _packed(log_n), "loss": _packed(losses)}}


def _packed(draws: list[np.ndarray | None]) -> str | None:
    """Return draws [budgets, draws] as 32-bit floats in base64; None where there are none."""
    known = [d for d in draws if d is not None]
    if len(known) < len(draws):
        return None
    return base64.b64encode(np.stack(known).astype("<f4").tobytes()).decode()


def _row(answer: Optimum, budget: float) -> dict[str, Any]:
    """Return an answer as logarithms of C, N*, D*, and L* as it is, each [value, low, high]."""
    return {
        "c": float(np.log(budget)),
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
