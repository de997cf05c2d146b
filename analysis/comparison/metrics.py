"""Several metrics of the same runs: each fitted, where their best sizes differ, and what the loss says of them.

The ratio N*_metric / N*_loss compares two fits of the same runs. Its interval is that of draws that belong together
(`analysis.comparison.joint`) where both answer by the same approach; else the draws of both are independent, as the row
says (`paired`). Runs without the metric are in neither fit that is compared: the loss is fitted again to those that
have it, by the same law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from analysis.comparison.joint import joint_fits
from analysis.comparison.twostep import transfer_dict
from analysis.data.measuring import find_metrics, measure
from analysis.data.metrics import AUTO, ERROR, Scale
from analysis.data.table import RunTable
from analysis.estimates import Estimate
from analysis.fitting import DRAWS, Fit, fit
from scaling.errors import InputError, WorkError

JOINT = ("curve", "interval", "cluster")
"""Arguments of `fit` that say how its draws are made."""


@dataclass(frozen=True, kw_only=True)
class MetricFits:
    """The loss's fit and those of metrics of the same runs."""

    loss: Fit
    """Its `beside` holds what the metrics say, as plain values."""
    fits: dict[str, Fit] = field(default_factory=dict)
    tables: dict[str, RunTable] = field(default_factory=dict)
    """The runs behind `fits`, by the metrics' names."""

    @property
    def differences(self) -> list[dict[str, Any]]:
        """N* by the loss and by each metric, a row a budget."""
        return self.loss.beside["differences"]

    @property
    def transfer(self) -> dict[str, dict[str, Any]]:
        """The curve of each metric over the loss, and what it foretells."""
        return self.loss.beside["transfer"]

    def summary(self, form: str = "text") -> str:
        """Return the loss's fit and what the metrics say beside it, as `text`, `html` or `latex`."""
        return self.loss.summary(form)


def fit_metrics(table: RunTable, metrics: Sequence[str | Scale], *, scale: str = AUTO, **options: Any) -> MetricFits:
    """Fit the loss, then each metric, and compare them.

    Args:
        table: The runs, with the loss and the metrics' columns.
        metrics: Names, or the scales that `find_metrics` returns, which know percent from all groups of a table.
        scale: `auto`, `logit` or `floor`, of those given by name.
        **options: As `fit` takes them.

    Raises:
        InputError: When there is no such metric, or an argument is wrong.
        WorkError: When the loss allows no fit. A metric that allows none is named in `beside["metrics"]`.

    Example:
        >>> import pandas as pd
        >>> from analysis import load
        >>> runs = pd.read_csv("runs.csv").assign(asr_wer=lambda runs: 3 * runs.loss)
        >>> found = fit_metrics(load(runs)[0], ["asr_wer"], draws=100, judged=False)
        >>> [round(row["metrics"]["asr_wer"]["ratio"]["estimate"], 2) for row in found.differences]
        [1.0, 1.0, 1.0]
    """
    names = [name for name in metrics if isinstance(name, str)]
    by_name = {found.name: found for found in (find_metrics([table], names, scale) if names else ())}
    scales = [by_name[name.removeprefix("metric_")] if isinstance(name, str) else name for name in metrics]
    loss = fit(table, **options)
    draws, seed = options.get("draws", DRAWS), options.get("seed", 0)
    found = MetricFits(loss=loss)
    told: dict[str, Any] = {}
    transfer: dict[str, Any] = {}
    compared: dict[str, list[dict[str, Any]]] = {}
    sources = np.random.SeedSequence([seed, 1]).spawn(len(scales))  # other draws than the fits' own
    for own, source in zip(scales, sources, strict=True):
        rng = np.random.default_rng(source)
        try:
            measured = measure(table, own)
        except InputError as error:
            told[own.name] = _failed(own, error)
            continue
        common = replace(table, runs=table.runs[table.runs["row"].isin(measured.runs["row"])].reset_index(drop=True))
        try:
            fitted = fit(measured, **options)
        except (InputError, WorkError) as error:
            told[own.name] = _failed(own, error)
            transfer[own.name] = transfer_dict(common, measured, (loss, None), draws=draws, rng=rng)
            continue
        found.fits[own.name], found.tables[own.name] = fitted, measured
        told[own.name] = _told(fitted, table)
        transfer[own.name] = transfer_dict(common, measured, (loss, fitted), draws=draws, rng=rng)
        reference = loss if common.used == table.used else _again(common, loss, options)
        compared[own.name] = _compared((common, reference), (measured, fitted), loss.budgets, draws, rng, options)
    differences = [
        {
            "budget": answer.budget,
            "loss": answer.N.to_dict(),
            "metrics": {name: rows[i] for name, rows in compared.items()},
        }
        for i, answer in enumerate(loss.answers)
    ]
    loss.beside.update({"metrics": told, "differences": differences if compared else [], "transfer": transfer})
    return found


def _failed(scale: Scale, error: Exception) -> dict[str, Any]:
    return {"status": "failed", "reason": str(error), "scale": scale.to_dict(), "unit": scale.unit}


def _told(fitted: Fit, table: RunTable) -> dict[str, Any]:
    """Return the summary of a metric's fit; the whole is in its own fit.json."""
    column, standard = fitted.scale.column, None
    if f"{column}{ERROR}" in table.runs:
        errors = pd.to_numeric(table.runs[f"{column}{ERROR}"], errors="coerce").dropna()
        standard = float(errors.median()) if len(errors) else None
    law = fitted.parametric
    return {
        "status": "fitted",
        "reason": "",
        "scale": fitted.scale.to_dict(),
        "unit": fitted.scale.unit,
        "runs": fitted.used,
        "standard_error": standard,
        "headline": fitted.headline,
        "law": {"name": law.law.name, "status": law.certificate.status, "reason": law.reason},
        "floor": _floor(fitted),
        "exponents": {name: estimate.to_dict() for name, estimate in fitted.exponents().items()},
        "optimum": [answer.to_dict() for answer in fitted.answers],
    }


def _floor(fitted: Fit) -> float | None:
    """Return what no model could beat by the law, in the metric's own unit; None without a certified law."""
    law = fitted.parametric
    if not law.certified or "E" not in law.law.positive:
        return None
    return float(fitted.scale.own(float(law.law.natural(law.theta)["E"])))


def _again(common: RunTable, loss: Fit, options: dict[str, Any]) -> Fit | None:
    """Return the loss's fit to the runs that have a metric; None where they allow none."""
    try:
        return fit(common, **{**options, "law": loss.parametric.law, "judged": False})
    except (InputError, WorkError):
        return None


def _compared(
    first: tuple[RunTable, Fit | None],
    second: tuple[RunTable, Fit],
    budgets: list[float],
    draws: int,
    rng: np.random.Generator,
    options: dict[str, Any],
) -> list[dict[str, Any]]:
    """Return {N, N_loss, ratio, paired, reason} at each budget."""
    (common, loss), (measured, metric) = first, second
    joint = None
    if loss is not None and draws:
        given = {name: options[name] for name in JOINT if name in options}
        joint = joint_fits((common, loss), (measured, metric), draws=draws, rng=rng, **given)
    found = []
    for budget in budgets:
        row: dict[str, Any] = {"N": None, "N_loss": None, "ratio": None, "paired": False, "reason": ""}
        try:
            own = metric.optimum(budget)
            row["N"] = own.N.to_dict()
            if loss is None:
                row["reason"] = "the runs that have it allow no fit of the loss"
            else:
                base = loss.optimum(budget)
                paired = loss.approach(budget) == metric.approach(budget)
                pair = tuple(f.optimum(budget) for f in joint) if joint is not None and paired else (base, own)
                row["N_loss"] = base.N.to_dict()
                ratio = _ratio(np.log(own.N.value / base.N.value), pair, paired, rng, loss.level)
                row |= {"ratio": ratio.to_dict(), "paired": paired}
        except (InputError, WorkError) as error:
            row["reason"] = str(error)
        found.append(row)
    return found


def _ratio(log_ratio: float, pair: tuple[Any, ...], paired: bool, rng: np.random.Generator, level: float) -> Estimate:
    """Return N*_metric / N*_loss from draws of both; in another order where they do not belong together."""
    loss, metric = (answer.log_n_draws for answer in pair)
    if loss is None or metric is None:
        return Estimate(value=log_ratio).exp()
    if not paired:
        count = min(len(loss), len(metric))
        loss, metric = rng.permutation(loss)[:count], rng.permutation(metric)[:count]
    return Estimate.of(log_ratio, metric - loss, level).exp()
