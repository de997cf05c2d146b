"""Which metrics a table has, and the table with one of them in place of its loss (`analysis.data.metrics`).

Errors: a value whose q is not a positive number (an error of nothing at all, or beyond a bound) cannot be fitted: the
run is left out by name, and so is one that was probed in another way than most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.data.metrics import AUTO, COMPLEMENT, ERROR, LOGIT, PREFIX, Scale, is_metric, scale_of
from scaling.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from analysis.data.table import RunTable

LEAST_ROWS = 3


def find_metrics(tables: Sequence[RunTable], names: Iterable[str], asked: str = AUTO) -> list[Scale]:
    """Return the scales of metrics by their names, percent or not by all groups together.

    Args:
        tables: All groups.
        names: With or without `metric_` before them, each once.
        asked: `auto`, `logit` or `floor`, for all of them.

    Raises:
        InputError: When no table has such a metric, with those that there are.
    """
    columns = list(dict.fromkeys(str(c) for table in tables for c in table.runs.columns))
    known = [column.removeprefix(PREFIX) for column in columns if is_metric(column)]
    known = [name for name in known if name not in {table.loss_name for table in tables}]
    found = []
    for name in dict.fromkeys(name.removeprefix(PREFIX) for name in names):
        column = next((c for c in (f"{PREFIX}{name}", name) if c in columns), None)
        why = "no such metric"
        if column is not None and name.endswith(ERROR) and name.removesuffix(ERROR):
            column, why = None, "a standard error is no metric"
        if column is not None and column in {"loss", *(table.loss_name for table in tables)}:
            column, why = None, "that is the loss, which is fitted anyway"
        if column is None:
            remedy = did_you_mean(name, known) if known else "there is none: name a column of numbers"
            raise InputError(why, where="--metric", value=name, remedy=remedy)
        parts = [table.runs[column] for table in tables if column in table.runs]
        values = np.concatenate([pd.to_numeric(part, errors="coerce").to_numpy(dtype=float) for part in parts])
        found.append(scale_of(name, values, asked, column=column))
    return found


def measure(table: RunTable, scale: Scale) -> RunTable:
    """Return a table whose `loss` is what a law of the metric is fitted to; runs without it are left out by name.

    Args:
        table: The runs, with their loss.
        scale: Of the metric.

    Raises:
        InputError: When the metric has nothing to fit: it is constant, zero, out of its range, or in too few runs.
    """
    runs, column = table.runs, scale.column
    raw = runs[column] if column in runs else pd.Series(np.nan, index=runs.index)
    values = pd.to_numeric(raw, errors="coerce").to_numpy(dtype=float)
    fitted = scale.fitted(values)
    reasons = np.full(len(runs), "", dtype=object)
    for i in np.flatnonzero(np.isnan(fitted)):
        what = "missing" if pd.isna(raw.iloc[i]) else f"not a number ({raw.iloc[i]})"
        if np.isfinite(values[i]):
            limits = f"between 0 and {scale.bound:g}" if scale.kind == LOGIT or scale.turn == COMPLEMENT else "above 0"
            what = f"not {limits} ({values[i]:g})"
        reasons[i] = f"{column} is {what}"
    _of_one_protocol(runs, column, reasons)
    kept = reasons == ""
    where = f"--metric {scale.name}" + (f" [{table.label}]" if table.label else "")
    if len(values) and (values == 0).all():
        raise InputError("zero in every run: nothing to fit", where=where, remedy="leave it away")
    if kept.sum() < LEAST_ROWS:
        raise InputError(
            f"{kept.sum()} runs have a value that can be fitted, and the smallest fit needs {LEAST_ROWS}",
            where=where,
            value="; ".join(f"row {runs['row'].iloc[i]}: {reasons[i]}" for i in np.flatnonzero(~kept)[:3])
            or f"{len(runs)} runs",
            remedy="measure it on more runs, or leave it away",
        )
    if np.ptp(fitted[kept]) == 0:
        value = f"{values[kept][0]:g}"
        raise InputError("the same in every run: nothing to fit", where=where, value=value, remedy="leave it away")
    excluded = [{"row": str(runs["row"].iloc[i]), "reason": str(reasons[i])} for i in np.flatnonzero(~kept)]
    columns = {key: name for key, name in table.source.get("columns", {}).items() if key != "loss"}
    source = {**table.source, "columns": {**columns, "metric": scale.title}}
    return replace(
        table,
        runs=runs.assign(loss=fitted)[kept].reset_index(drop=True),
        excluded=[*table.excluded, *excluded],
        loss_name=column,
        scale=scale,
        source=source,
    )


def _of_one_protocol(runs: pd.DataFrame, column: str, reasons: np.ndarray) -> None:
    """Leave out, by name, runs that were probed in another way than most: their metrics do not compare."""
    if "probe_id" not in runs or not column.startswith(PREFIX):
        return
    ids = runs["probe_id"].fillna("").astype(str).to_numpy()
    known = (reasons == "") & (ids != "")
    if len(set(ids[known])) < 2:
        return
    most = pd.Series(ids[known]).mode()[0]
    for i in np.flatnonzero(known & (ids != most)):
        reasons[i] = f"{column} is of another protocol (probe_id {ids[i]}, most runs have {most}): probe all runs alike"
