"""The two-step prediction of a metric, loss first: at every budget, of a new run, and held to dearer budgets.

Held out: every budget with enough cheaper runs is foretold from those, once by the loss's law and the curve of the
metric over the loss (`analysis.comparison.transfer`), once by the metric's own law. With one budget, or with too few
runs below the others, nothing is held out, and how the curve carries to other budgets is not known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.approaches.budgets import budget_groups
from analysis.approaches.parametric import cannot, fit_points
from analysis.comparison.transfer import Transfer, fit_transfer, line_of
from analysis.data.metrics import LOGIT
from analysis.data.points import Points
from analysis.data.table import RunTable
from analysis.estimates import Estimate
from analysis.fitting import Fit
from analysis.judgement.backtest import ROWS_PER_PARAMETER, starts_of
from scaling.errors import InputError, WorkError


def loss_scatter(table: RunTable, fitted: Fit, budget: float, loss: float) -> float:
    """Return the standard deviation of a run's loss about the fit that answers at a budget."""
    if fitted.approach(budget) == "isoflop":
        return fitted.isoflop.sigma if np.isfinite(fitted.isoflop.sigma) else 0.0
    law = fitted.parametric
    log_residuals = np.log(table.runs["loss"].to_numpy()) - law.log_loss(Points.of_table(table))
    return float(np.sqrt((log_residuals**2).sum() / max(1, len(log_residuals) - len(law.theta)))) * loss


def held_out(table: RunTable, measured: RunTable, fits: tuple[Fit, Fit]) -> list[dict[str, Any]]:
    """Return how well cheaper runs foretold each budget: by the loss and the curve, and by the metric's own law.

    Args:
        table: The runs with their loss.
        measured: The same runs with the metric.
        fits: Of the loss and of the metric, whose laws and objectives are fitted again.

    Returns:
        {budget, runs, fitted, two_step, direct}: root mean square errors of log q, and the mean errors of the metric
        in its own unit as two_step_mean and direct_mean.
    """
    groups = budget_groups(table)[0]
    x, quantities = Points.of_table(table), [t.runs["loss"].to_numpy() for t in (table, measured)]
    laws = [fit.parametric.law for fit in fits]
    if table.cost == "none" or any(cannot(table, law) for law in laws):
        return []
    scale, found = measured.scale, []
    truth = scale.own(quantities[1])
    for i, (budget, rows) in enumerate(groups):
        below = np.sort(np.concatenate([own for _, own in groups[:i]])) if i else np.empty(0, dtype=int)
        if len(below) < ROWS_PER_PARAMETER * max(len(law.parameters) for law in laws):
            continue
        foretold = []
        for law, values, fit in zip(laws, quantities, fits, strict=True):
            there = x.take(below)
            starts = starts_of(law, there, values[below])
            fitted, _ = fit_points(there, values[below], law, fit.parametric.objective, starts=starts, second=0)
            foretold.append(np.exp(fitted.log_loss(x.take(rows))))
        c, k = line_of(quantities[0][below], np.log(quantities[1][below]))
        by_loss = np.exp(c + k * foretold[0])
        row: dict[str, Any] = {"budget": budget, "runs": len(rows), "fitted": len(below)}
        for name, q in (("two_step", by_loss), ("direct", foretold[1])):
            row[name] = float(np.sqrt(np.mean((np.log(q) - np.log(quantities[1][rows])) ** 2)))
            row[f"{name}_mean"] = float(np.mean(np.abs(scale.own(q) - truth[rows])))
        found.append(row)
    return found


def transfer_dict(
    table: RunTable,
    measured: RunTable,
    fits: tuple[Fit, Fit | None],
    *,
    draws: int,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the curve and what it foretells as plain values, as the contract of `--json` says.

    Args:
        table: The runs with their loss.
        measured: The same runs with the metric.
        fits: Of the loss (of all runs), and of the metric where it could be fitted.
        draws: Of c and k.
        rng: Their source.
    """
    fitted, direct = fits
    try:
        curve = fit_transfer(table, measured, draws=draws, rng=rng)
    except InputError as error:
        return {"status": "failed", "reason": str(error).partition("\n")[0]}
    level, ends = fitted.level, curve.draws if len(curve.draws) else np.empty((0, 2))
    return {
        "status": "fitted",
        "reason": "",
        "equation": "logit e = c + k L" if curve.scale.kind == LOGIT else "log e = c + k L",
        "c": Estimate.of(float(curve.theta[0]), ends[:, 0], level).to_dict(),
        "k": Estimate.of(float(curve.theta[1]), ends[:, 1], level).to_dict(),
        "delta": curve.delta,
        "scatter": curve.scatter,
        "runs": len(curve.losses),
        "budgets": curve.budgets,
        "rank_correlation": curve.rank,
        "bend_p": curve.bend,
        "remarks": curve.remarks(level),
        "foretold": _foretold(table, fitted, direct, curve, rng),
        "held_out": held_out(table, measured, (fitted, direct)) if direct is not None else [],
        "curve": curve.curve(level),
    }


def _foretold(
    table: RunTable, fitted: Fit, direct: Fit | None, curve: Transfer, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return the metric at each budget answered: by the loss, of a new run, and by its own fit."""
    found = []
    for answer in fitted.answers:
        budget = float("nan") if answer.budget is None else answer.budget
        own = None
        if direct is not None:
            try:
                own = direct.optimum(budget).loss
            except (InputError, WorkError):
                own = None
        row: dict[str, Any] = {"budget": answer.budget, "loss": None, "mean": None, "run": None}
        if answer.loss is not None:
            loss, drawn = answer.loss.value, answer.loss_draws
            drawn = np.empty(0) if drawn is None else drawn[np.isfinite(drawn)]
            spread = loss_scatter(table, fitted, budget, loss)
            row["loss"] = answer.loss.to_dict()
            row["mean"] = curve.foretell(loss, drawn, fitted.level, rng).to_dict()
            row["run"] = curve.foretell(loss, drawn, fitted.level, rng, of_run=spread).to_dict()
        found.append({**row, "direct": own.to_dict() if own else None})
    return found
