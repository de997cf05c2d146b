"""What is asked of a table before it is fitted: enough rows, unique data, batch and weights."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.approaches.parametric import cannot, fit_points
from analysis.data.points import Points
from analysis.data.table import RunTable
from analysis.engine.objectives import objective_named
from analysis.judgement.noise import variance_model
from analysis.laws import LAWS
from scaling.errors import InputError, did_you_mean

MIN_ROWS = 3
VARIANCE = "variance"
"""Weights by a model of the residuals' variance."""


def refuse_few(table: RunTable) -> None:
    """Refuse a table that no fit can use."""
    if table.used >= MIN_ROWS:
        return
    reasons = "; ".join(f"row {e['row']}: {e['reason']}" for e in table.excluded[:3])
    raise InputError(
        f"{table.used} usable rows, and the smallest fit (a parabola) needs {MIN_ROWS}",
        where=table.source["path"] + (f" [{table.label}]" if table.label else ""),
        value=reasons or f"{table.source['rows']} rows",
        remedy="add runs, or mend the rows that were left out",
    )


def unique_data(table: RunTable, unique: float | None) -> float | None:
    """Return the unique data that answers are for; None where no run repeats and none is asked for."""
    if unique is not None:
        if not 0 < unique < np.inf:
            raise InputError("not a positive amount of data", where="--unique-hours", value=unique, remedy="write 960")
        return unique
    runs = table.runs
    return float(runs["U"].max()) if table.repeats and "U" in runs and runs["U"].notna().any() else None


def common_batch(table: RunTable) -> float | None:
    """Return the log of the batch where all runs have one; None where it varies."""
    if "B" not in table.runs or table.runs["B"].nunique(dropna=False) != 1:
        return None
    return float(np.log(table.runs["B"].iloc[0]))


def row_weights(table: RunTable, column: str | None) -> tuple[np.ndarray | None, str]:
    """Return the weights of the rows, of mean one, and what they are; `none` where all rows weigh the same."""
    if column is None:
        return None, "none"
    if column == VARIANCE:
        law = LAWS["chinchilla"]
        if cannot(table, law):
            return None, "none: no law to take the residuals from"
        _, sample = fit_points(Points.of_table(table), table.runs["loss"].to_numpy(), law, objective_named("huber"))
        model = variance_model(table.runs, sample.residuals, len(law.parameters))
        if model is None:
            return None, "none: the variance is the same everywhere"
        return model.weights, f"variance, as ({model.covariate})^{model.slope:.2f}"
    if column not in table.runs:
        known = [str(name) for name in table.runs.columns]
        raise InputError("no such column", where="--weights", value=column, remedy=did_you_mean(column, known))
    if column == "loss_se":
        raise InputError(
            "loss_se is no weight: runs share their clips, so most of it is common to them all",
            where="--weights",
            value=column,
            remedy="write --weights variance for a model of the noise between runs",
        )
    values = pd.to_numeric(table.runs[column], errors="coerce").to_numpy(dtype=float)
    if not (np.isfinite(values) & (values > 0)).all():
        row = table.runs["row"][~(np.isfinite(values) & (values > 0))].iloc[0]
        raise InputError("not a positive weight", where=f"--weights {column}", value=f"row {row}", remedy="mend it")
    return values / values.mean(), f"column {column}"
