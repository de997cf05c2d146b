"""A table of runs that can be fitted: clean columns, and every row left out with its reason."""

from __future__ import annotations

import contextlib
import hashlib
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.columns import OPTIONAL, Column
from analysis.data.metrics import LOSS, Scale
from scaling.errors import InputError
from scaling.units import parse_count

FLOPS_PER_PARAM_TOKEN = 6.0
"""k of C = k N D, where a table does not say what a run cost (Kaplan et al. 2020)."""
THOUSANDS = re.compile(r"\d{1,3}(,\d{3})+(\.\d*)?")
"""Commas between thousands; any other comma may be a decimal one."""
FLAGS_LEFT_OUT = {
    "short": "starved of updates (flag `short`)",
    "superseded": "no longer in its sweep's plan (flag `superseded`); submit a grid that has it to use it",
    "pilot": "a trial of a pilot (flag `pilot`)",
}


@dataclass(frozen=True, kw_only=True)
class RunTable:
    """Runs of one meaning of loss.

    `runs` has the columns N, D, C (floats; D and C are NaN in a curve over N alone), loss, budget (NaN where
    unknown), row (how the input names it), U (unique data, in D's unit) and B (batch) where the input says them, and
    whatever else the input had.
    """

    runs: pd.DataFrame
    label: str
    """Name of the group; empty where the input is not split."""
    excluded: list[dict[str, str]] = field(default_factory=list)
    """{row, reason}."""
    warnings: list[dict[str, str]] = field(default_factory=list)
    """{code, message}."""
    cost: str
    """`recorded`, `assumed` (C = k N D), or `none` (a curve over N at one budget)."""
    flops_per_param_token: float = FLOPS_PER_PARAM_TOKEN
    loss_name: str = "loss"
    data_unit: str = "tokens"
    """What D counts; `frames` of 20 ms in records of speech."""
    source: dict[str, Any]
    """path, sha256, rows."""
    scale: Scale = LOSS
    """How `loss` stands for a metric; as it is, where it is the loss."""

    @property
    def repeats(self) -> bool:
        """Whether any run saw some of its data more than once."""
        runs = self.runs
        seen = (runs["D"] > runs["U"] * (1 + 1e-6)).any() if "U" in runs else False
        return bool(seen or ("epochs" in runs and (pd.to_numeric(runs["epochs"], errors="coerce") > 1 + 1e-6).any()))

    @property
    def used(self) -> int:
        """Rows that a fit uses."""
        return len(self.runs)


def clean(
    raw: pd.DataFrame,
    columns: dict[str, Column],
    *,
    label: str,
    source: dict[str, Any],
    flops_per_param_token: float | None = None,
    data_unit: str = "tokens",
) -> RunTable:
    """Return a table of the rows that can be used.

    A row is left out when N, D, C or the loss is missing, not a number, not finite or not positive, when its run
    diverged, or when it is flagged `short`.

    Args:
        raw: Any table; a column `row` names its rows, else their numbers do.
        columns: Quantity -> column, as `find_columns` returns.
        label: Name of the group.
        source: path, sha256 and rows of the input.
        flops_per_param_token: k, where C or D is worked out from C = k N D; 6 when not given.
        data_unit: What D counts.
    """
    k = flops_per_param_token or FLOPS_PER_PARAM_TOKEN
    names = raw["row"].astype(str) if "row" in raw else pd.Series([str(i + 1) for i in range(len(raw))], raw.index)
    runs = raw.drop(columns=[c for c in ("N", "D", "C", "row") if c in raw]).copy()
    reasons = pd.Series("", index=raw.index)
    if "status" in raw:
        reasons = reasons.mask(raw["status"].astype(str) == "diverged", "diverged")
    if "flags" in raw:
        for flag, reason in FLAGS_LEFT_OUT.items():
            flagged = raw["flags"].map(lambda f, flag=flag: flag in split_flags(f))
            reasons = reasons.mask((reasons == "") & flagged, reason)
    symbols = {"n": "N", "d": "D", "c": "C", "u": "U", "b": "B", "loss": "loss"}
    for quantity, column in columns.items():
        values = _numbers(raw[column.name], counts=quantity != "loss") * column.factor
        if quantity in OPTIONAL:
            values = values.where(values > 0)
        else:
            reasons = _note(reasons, values, raw[column.name], column.name)
        runs[symbols[quantity]] = values.astype(float)

    warnings: list[dict[str, str]] = []
    cost = "recorded"
    if "d" not in columns and "c" not in columns:
        cost = "none"
        runs["D"] = runs["C"] = np.nan
    elif "c" not in columns or "d" not in columns:
        cost = "assumed"
        if "c" not in columns:
            runs["C"] = k * runs["N"] * runs["D"]
            missing = "C is not in the table: it is taken as"
        else:
            runs["D"] = runs["C"] / (k * runs["N"])
            missing = "D is not in the table: it is taken from"
        worked_out = runs["C" if "c" not in columns else "D"]
        reasons = reasons.mask(
            (reasons == "") & ~(np.isfinite(worked_out) & (worked_out > 0)),
            "C or D, worked out from the other, is out of range",
        )
        warnings.append(
            {
                "code": "assumed-cost",
                "message": f"{missing} C = {k:g} N D. Where attention or a front end costs much this moves N*",
            }
        )
    if "budget" not in runs:
        runs["budget"] = np.nan
    runs["budget"] = pd.to_numeric(runs["budget"], errors="coerce").astype(float)
    reasons = _mark_copies(reasons, raw.drop(columns="row", errors="ignore"), names)
    bad = reasons != ""
    excluded = [{"row": names[i], "reason": reasons[i]} for i in raw.index[bad]]
    runs["row"] = names
    runs = runs[~bad].reset_index(drop=True)
    return RunTable(
        runs=runs,
        label=label,
        excluded=excluded,
        warnings=warnings,
        cost=cost,
        flops_per_param_token=k,
        loss_name=columns["loss"].name,
        data_unit=data_unit,
        source=source,
    )


def _mark_copies(reasons: pd.Series, raw: pd.DataFrame, names: pd.Series) -> pd.Series:
    """Note rows that repeat another one in every column: they are one run, and would count twice."""
    kept = raw[reasons == ""].astype(str)
    first: dict[tuple[str, ...], str] = {}
    for i, values in zip(kept.index, kept.itertuples(index=False, name=None), strict=True):
        if values in first:
            reasons[i] = f"the same in every column as row {first[values]}"
        else:
            first[values] = str(names[i])
    return reasons


def filtered(table: RunTable, expression: str) -> RunTable:
    """Return a table with the rows for which a pandas expression holds; the others are excluded by name.

    Raises:
        InputError: When the expression is not one.
    """
    try:
        kept = table.runs.eval(expression)
        if not isinstance(kept, pd.Series) or kept.dtype != bool:
            message = "it does not give true or false for each row"
            raise ValueError(message)
    except Exception as error:
        raise InputError(
            f"not a condition on the columns ({error})",
            where="--where",
            value=expression,
            remedy="write a pandas expression such as 'loss < 3.4 and N > 1e8'; columns: "
            + ", ".join(map(str, table.runs.columns[:20])),
        ) from None
    excluded = [{"row": row, "reason": f"left out by --where {expression}"} for row in table.runs["row"][~kept]]
    return replace(table, runs=table.runs[kept].reset_index(drop=True), excluded=[*table.excluded, *excluded])


def _numbers(raw: pd.Series, *, counts: bool) -> pd.Series:
    """Return a column's numbers, NaN for anything else; among counts `7B` and `8,164,965` are understood."""
    values = pd.to_numeric(raw, errors="coerce").astype(float)
    for i in raw.index[values.isna() & raw.notna()] if counts else ():
        text = str(raw[i])
        with contextlib.suppress(InputError):
            values[i] = parse_count(text.replace(",", "") if THOUSANDS.fullmatch(text.strip()) else text)
    return values


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _note(reasons: pd.Series, values: pd.Series, raw: pd.Series, column: str) -> pd.Series:
    """Add the first reason why a value cannot be used."""
    tests = (
        (raw.isna(), "{column} is missing"),
        (values.isna(), "{column} is not a number ({value})"),
        (~np.isfinite(values.fillna(1.0)), "{column} is not finite"),
        (values <= 0, "{column} is not positive ({value})"),
    )
    for fails, reason in tests:
        for i in values.index[fails & (reasons == "")]:
            reasons[i] = reason.format(column=column, value=raw[i])
    return reasons


def split_flags(value: object) -> list[str]:
    """Return flags written as a list, or as text with `;` between."""
    if isinstance(value, (list, tuple)):
        return [str(flag) for flag in value]
    return str(value).split(";") if isinstance(value, str) else []
