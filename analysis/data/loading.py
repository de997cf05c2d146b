"""Results of anybody's trainer as tables: a folder of run records, or a CSV, Parquet or JSON-lines file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.data.columns import Column, find_columns
from analysis.data.measuring import find_metrics, measure
from analysis.data.metrics import AUTO
from analysis.data.table import FLAGS_LEFT_OUT, RunTable, clean, file_sha256, filtered, split_flags
from scaling.errors import InputError, did_you_mean
from scaling.files import read_json_lines
from scaling.results import PILOT, read_records

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")
TABLE = "table"
"""What a table that is in memory is called."""
APART = ("eval_id", "loss_unit")
"""Columns whose values are never mixed: losses of another meaning."""
RECORD_COLUMNS = {
    "n": "params", "d": "frames", "c": "flops", "u": "unique_hours", "b": "batch_frames", "loss": "loss",
}  # fmt: skip
SIZES = {
    "params": "params", "total": "params_total", "encoder": "params_encoder", "flops_per_frame": "flops_per_frame",
}  # fmt: skip
"""What `--size` may count as N -> the column of a record."""


def load(
    path: Path | str | pd.DataFrame,
    *,
    n: str | None = None,
    d: str | None = None,
    c: str | None = None,
    u: str | None = None,
    b: str | None = None,
    loss: str | None = None,
    metric: str | None = None,
    scale: str = AUTO,
    size: str | None = None,
    group: str | None = None,
    where: str | None = None,
    flops_per_param_token: float | None = None,
) -> list[RunTable]:
    """Return one table for each group of comparable runs.

    Runs of different `eval_id` (their losses mean different things) are never in one table; the column `group`, where
    given, splits further.

    Args:
        path: A results folder, one sweep's folder, a table file, or a table.
        n: Column of the model size, where its name is not a common one; `d`, `c`, `u`, `b`, `loss` likewise.
        d: Column of the data seen.
        c: Column of the training FLOPs.
        u: Column of the unique data.
        b: Column of the batch.
        loss: Column of the loss, or the name of a metric of the records.
        metric: A downstream metric to fit in place of the loss, on its scale (`analysis.data.metrics`).
        scale: `auto`, `logit` or `floor`: what the law of the metric is of.
        size: What counts as N: `params`, `total`, `encoder` or `flops_per_frame`, columns of a record.
        group: Column that splits the table.
        where: A pandas expression; rows for which it is false are left out.
        flops_per_param_token: k of C = k N D, where C or D is not in the table.

    Raises:
        InputError: When nothing there can be read as runs.

    Example:
        >>> [table.used for table in load("runs.csv", where="flops < 5e18")]
        [10]
    """
    frame = path if isinstance(path, pd.DataFrame) else None
    path = Path(TABLE) if isinstance(path, pd.DataFrame) else Path(path)
    folder = frame is None and path.is_dir()
    given = {"n": _size_column(size, n), "d": d, "c": c, "u": u, "b": b, "loss": loss}
    raw, source, unreadable = (
        _of_frame(frame) if frame is not None else _read_folder(path) if folder else _read_file(path)
    )
    if folder:
        given = {
            key: value or (RECORD_COLUMNS[key] if RECORD_COLUMNS[key] in raw else None) for key, value in given.items()
        }
    if loss is not None and loss not in raw and f"metric_{loss}" in raw:
        given["loss"] = f"metric_{loss}"
    columns = find_columns([str(name) for name in raw.columns], given, where=path)
    columns = {key: column for key, column in columns.items() if key in ("n", "loss") or raw[column.name].notna().any()}
    speech = "frames" in raw and ("hours" not in raw or raw["hours"].notna().any())
    tables = []
    for label, part in _groups(raw, group, path):
        table = clean(
            part.copy(),
            columns,
            label=label,
            source={
                **source,
                "rows": len(part),
                "columns": {key: str(column) for key, column in columns.items()},
            },
            flops_per_param_token=flops_per_param_token,
            data_unit="frames" if speech else "units" if folder else _unit(columns),
        )
        tables.append(filtered(table, where) if where else table)
    tables[0].excluded.extend(unreadable)
    return tables if metric is None else _measured(tables, metric, scale)


def _measured(tables: list[RunTable], metric: str, asked: str) -> list[RunTable]:
    """Return the groups that a metric can be fitted to; what keeps it from the others is a warning of the first."""
    (scale,) = find_metrics(tables, [metric], asked)
    found, failures = [], []
    for table in tables:
        try:
            found.append(measure(table, scale))
        except InputError as error:
            failures.append(error)
    if not found:
        raise failures[0]
    found[0].warnings.extend({"code": "no-metric", "message": str(error)} for error in failures)
    return found


def _unit(columns: dict[str, Column]) -> str:
    """Return what a table's D counts: tokens, unless its column is called otherwise."""
    if "d" not in columns:
        return "tokens"
    name = columns["d"].name.lower()
    return "tokens" if "token" in name or name == "d" else "units"


def _size_column(size: str | None, n: str | None) -> str | None:
    """Return the column that `--size` or `--n` names."""
    if size is None:
        return n
    if n is not None:
        raise InputError("two names for N", where="--size and --n", value=f"{size}, {n}", remedy="give one of them")
    if size not in SIZES:
        raise InputError("no such size", where="--size", value=size, remedy=did_you_mean(size, SIZES))
    return SIZES[size]


def _groups(raw: pd.DataFrame, group: str | None, path: Path) -> list[tuple[str, pd.DataFrame]]:
    """Return (label, rows) for each kind of runs that are not to be mixed, in order of appearance."""
    if group is not None and group not in raw:
        raise InputError(
            "no such column to group by",
            where=path,
            value=group,
            remedy=did_you_mean(group, [str(name) for name in raw.columns]),
        )
    keys = list(dict.fromkeys([*APART, *([group] if group else [])]))
    usable = _usable(raw)
    keys = [key for key in keys if key in raw and raw.loc[usable, key].nunique(dropna=False) > 1]
    if not keys:
        return [("", raw)]
    parts = list(raw.groupby(keys, sort=False, dropna=False))
    useful = [(values, part) for values, part in parts if usable[part.index].any()]
    rest = [part for _, part in parts if not usable[part.index].any()]
    if rest:  # rows that cannot be used make no group of their own: they are named with the first one
        useful[0] = useful[0][0], pd.concat([useful[0][1], *rest])
    return [
        (" ".join(_label(key, value, part) for key, value in zip(keys, values, strict=True)), part)
        for values, part in useful
    ]


def _label(key: str, value: object, part: pd.DataFrame) -> str:
    """Return what a value of a column is called; a hash says nothing, so the objective stands before it."""
    if key == "eval_id":
        objective = "/".join(sorted({str(o) for o in part.get("objective", pd.Series(dtype=str)) if o}))
        return f"{objective} {value}".strip()
    return str(value)


def _read_folder(path: Path) -> tuple[pd.DataFrame, dict[str, Any], list[dict[str, str]]]:
    """Return the records under a folder, what they were read from, and {row, reason} of those that are left out.

    A folder of sweeps leaves pilots out; a pilot's own folder shows its trials.
    """
    sweeps = sorted({folder.parent for folder in path.rglob("records") if folder.is_dir()})
    if path.name == "records":
        sweeps = [path.parent]
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []
    digest = hashlib.sha256()
    for sweep in sweeps:
        found, unreadable = read_records(sweep)
        left_out += [{"row": Path(item["file"]).name, "reason": item["reason"]} for item in unreadable]
        for row in found:
            digest.update(Path(row["file"]).read_bytes())
        if len(sweeps) == 1:
            found = [{**row, "flags": _without(row["flags"], PILOT)} for row in found]
        rows += found
    if not rows and not left_out:
        hint = "a sweep was submitted here but no run has ended" if any(path.rglob("plan.jsonl")) else "no records here"
        raise InputError(hint, where=path, remedy="name a results folder, a sweep's folder, or a table file")
    if not rows:
        raise InputError(
            "no file in records/ is a run record",
            where=path,
            value="; ".join(f"{item['row']}: {item['reason']}" for item in left_out[:3]),
            remedy="restore the records, or name another folder",
        )
    raw = pd.DataFrame(rows).rename(columns={"id": "row"})
    raw = raw.loc[_usable(raw).sort_values(ascending=False, kind="stable").index]  # of two copies, the one that counts
    again = raw.duplicated("row")
    left_out += [{"row": row, "reason": "a second copy of a run"} for row in raw["row"][again]]
    raw = raw[~again].sort_index()
    source = {"path": str(path), "sha256": digest.hexdigest(), "rows": len(rows) + len(left_out) - int(again.sum())}
    return raw.reset_index(drop=True), source, left_out


def _usable(raw: pd.DataFrame) -> pd.Series:
    """Return whether each row's status and flags allow its use."""
    flags = raw["flags"] if "flags" in raw else pd.Series("", index=raw.index)
    left_out = flags.map(lambda value: bool(FLAGS_LEFT_OUT.keys() & set(split_flags(value))))
    return ~left_out & ~(raw["status"].astype(str).eq("diverged") if "status" in raw else left_out)


def _without(flags: str, flag: str) -> str:
    return ";".join(f for f in flags.split(";") if f != flag)


def _of_frame(frame: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Any], list[dict[str, str]]]:
    """Return a table that is in memory, what identifies it, and nothing left out."""
    if frame.empty:
        raise InputError("a table without rows", where=TABLE, remedy="give at least three runs")
    raw = frame.reset_index(drop=True).rename(columns=str)
    raw["row"] = [str(i) for i in frame.index]
    digest = hashlib.sha256(raw.to_csv(index=False).encode()).hexdigest()
    return raw, {"path": TABLE, "sha256": digest, "rows": len(raw)}, []


def _read_file(path: Path) -> tuple[pd.DataFrame, dict[str, Any], list[dict[str, str]]]:
    """Return a table file, what identifies it, and nothing left out."""
    if not path.exists():
        raise InputError("no such file or folder", where=path, remedy="check the path")
    if path.suffix not in SUFFIXES:
        raise InputError(
            "not a table that can be read",
            where=path,
            value=path.suffix,
            remedy=f"give a folder of records, or a file that ends in {', '.join(SUFFIXES)}",
        )
    try:
        if path.suffix == ".jsonl":
            raw = pd.DataFrame(read_json_lines(path))
        elif path.suffix == ".parquet":
            raw = pd.read_parquet(path)
        else:
            raw = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", skipinitialspace=True)
    except InputError:
        raise
    except (ValueError, OSError, ImportError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"cannot be read ({reason})", where=path, remedy="give a table with a header line") from None
    if len(raw.columns) == 1 and any(mark in str(raw.columns[0]) for mark in ",;\t"):
        mark = "commas" if path.suffix == ".tsv" else "semicolons or tabs"
        raise InputError(
            f"one column only: {mark} seem to stand between the values",
            where=path,
            value=str(raw.columns[0]),
            remedy="separate by commas in a .csv, by tabs in a .tsv",
        )
    if raw.empty:
        raise InputError("a table without rows", where=path, remedy="give at least three runs")
    raw["row"] = [str(i + 2) for i in range(len(raw))]
    return raw, {"path": str(path), "sha256": file_sha256(path), "rows": len(raw)}, []
