"""What speaks for and against a fit: every check that the runs allow, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.approaches.envelope import Envelope
from analysis.approaches.optimum import Spending, local_exponents
from analysis.data.table import RunTable
from analysis.engine.profile import Quantity, delta_interval, profile_interval
from analysis.engine.resampling import Sample
from analysis.estimates import Estimate
from analysis.judgement.bias import simulate_bias
from analysis.judgement.checklist import checklist
from analysis.judgement.collapse import collapse_of
from analysis.judgement.definitions import definitions
from analysis.judgement.noise import variance_model
from analysis.judgement.residuals import residual_checks
from analysis.judgement.selection import Selection
from analysis.judgement.stability import drift, influence, no_window, sloppiest, too_few_to_leave_out
from scaling.files import plain

if TYPE_CHECKING:
    from analysis.fitting import Fit

MOST_INFLUENTIAL = 10
MOST_PROFILED = 20_000
"""Rows above which profiles are left out: each is some hundred passes over the rows."""


def judge(fit: Fit, table: RunTable, selection: Selection, rng: np.random.Generator, interval: str) -> dict[str, Any]:
    """Return all checks.

    Args:
        fit: The fit.
        table: Its runs.
        selection: How its law was chosen.
        rng: Source of the simulations.
        interval: Why the draws were made as they were.
    """
    found: dict[str, Any] = {"interval": interval}
    sample, law, spending = selection.sample, fit.parametric.law, fit.spending
    if sample is not None and spending is not None and law.allocates:
        budget = fit.budgets[-1]
        common = {"middle": fit.middle, "budget": budget}
        answer = fit.optimum(budget).N
        found["intervals"] = _side_by_side(fit, sample, spending)
        found["influence"] = [
            item.to_dict() for item in influence(table, sample, law, spending, answer=answer, **common)
        ][:MOST_INFLUENTIAL]
        found["drift"] = [window.to_dict() for window in drift(table, sample, law, spending, **common)]
        found["skipped"] = _skipped(found, table.used, len(sample.theta))
        found["identifiability"] = sloppiest(sample, law).to_dict()
        found["bias"] = {
            item.approach: item.to_dict()
            for item in simulate_bias(table, sample, law, spending, middle=fit.middle, rng=rng)
        }
        # of one variance where the weights are right
        residuals = sample.residuals * sample.root
        tangent = sample.surface.jacobian(sample.theta) * sample.root[:, None]
        found["residuals"] = [
            vars(check) for check in residual_checks(table.runs, residuals, len(sample.theta), tangent=tangent)
        ]
        found["variance"] = _variance(table, residuals, len(sample.theta))
        found["definitions"] = [item.to_dict() for item in definitions(table, law, sample, spending)]
    found["collapse"] = collapse_of(table, _floor(fit))
    found["checklist"] = [vars(item) for item in checklist(table, _facts(fit, sample))]
    return plain(found)


def envelope_dict(envelope: Envelope, level: float) -> dict[str, Any]:
    """Return approach 1 as plain values."""
    exponents = envelope.exponents() or {}
    return plain(
        {
            **{name: Estimate.of(value, draws, level).to_dict() for name, (value, draws) in exponents.items()},
            "status": envelope.status,
            "reason": envelope.reason,
            "sizes": envelope.sizes,
            "draws": len(envelope.draws),
            "failed": envelope.failed,
            "points": envelope.points,
        }
    )


def _skipped(found: dict[str, Any], rows: int, parameters: int) -> dict[str, str]:
    """Return the judgements that the runs do not allow, with the reason."""
    reasons = {"influence": too_few_to_leave_out(rows, parameters), "drift": no_window(rows, parameters)}
    return {name: reason for name, reason in reasons.items() if not found[name]}


def _side_by_side(fit: Fit, sample: Sample, spending: Spending) -> dict[str, Any]:
    """Return the intervals of every parameter and of a by bootstrap, profile and the delta method."""
    law, level = fit.parametric.law, fit.level
    quantities: dict[str, tuple[Quantity, bool]] = {}
    for i, name in enumerate(law.parameters):
        # coefficients on the scale of their logarithm, on which they are nearer to normal
        quantities[name] = (lambda theta, i=i: np.atleast_2d(theta)[:, i], name in law.positive)  # type: ignore[misc]
    quantities["a"] = (lambda theta: local_exponents(law, theta, spending, fit.middle)[0], False)
    tail = [(1 - level) / 2, (1 + level) / 2]
    found = {}
    for name, (quantity, logarithm) in quantities.items():
        turn = _exp if logarithm else (lambda value: value)
        row: dict[str, Any] = {}
        if len(fit.parametric.draws):
            drawn = quantity(fit.parametric.draws)
            drawn = drawn[np.isfinite(drawn)]
            if len(drawn):
                row["bootstrap"] = turn(np.quantile(drawn, tail)).tolist()
        if len(sample.log_y) <= MOST_PROFILED:
            ends = profile_interval(sample, quantity, level)
            row["profile"] = [None if end is None else float(turn(end)) for end in ends]
        row["delta"] = [float(turn(end)) for end in delta_interval(sample, quantity, level)]
        found[name] = row
    return found


def _exp(value: np.ndarray | float) -> np.ndarray:
    """Return e to a power, infinite where the runs leave no bound."""
    with np.errstate(over="ignore"):
        return np.exp(value)


def _variance(table: RunTable, residuals: np.ndarray, parameters: int) -> dict[str, Any] | None:
    """Return the variance model of the residuals, without its weights."""
    model = variance_model(table.runs, residuals, parameters)
    return None if model is None else {key: value for key, value in vars(model).items() if key != "weights"}


def _floor(fit: Fit) -> float:
    """Return the floor of the loss: E of the law where it has one, else zero."""
    law = fit.parametric.law
    if not fit.parametric.certified or "E" not in law.positive:  # Farseer's E is no floor
        return 0.0
    return float(law.natural(fit.parametric.theta)["E"])


def _facts(fit: Fit, sample: Sample | None) -> dict[str, Any]:
    """Return what the checklist asks about the fit."""
    parametric = fit.parametric
    known = {}
    if sample is not None:
        rms = float(np.sqrt((sample.residuals**2).mean()))
        known["goodness"] = f"root mean square of log L / log L_hat {rms:.2g} over {parametric.rows} runs"
    algorithm = "damped Newton with exact derivatives"
    return {
        **known,
        "law": parametric.law.equation,
        "parameters": ", ".join(parametric.law.parameters),
        "algorithm": f"{algorithm}, then linear programs" if parametric.objective.name == "lad" else algorithm,
        "chosen": fit.chosen,
        "objective": parametric.objective.name,
        "delta": parametric.objective.delta,
        "starts": parametric.certificate.starts,
        "agree": parametric.certificate.agree,
        "status": parametric.certificate.status,
        "intervals": parametric.method,
        "draws": len(parametric.draws),
        "seed": fit.seed,
        "holdout": [score["law"] for score in fit.holdout if score["status"] == "scored"],
    }
