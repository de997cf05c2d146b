"""Results of anybody's trainer as tables: a folder of run records, or a CSV, Parquet or JSON-lines file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.columns import find_columns
from analysis.table import RunTable, clean, file_sha256, filtered
from scaling.errors import InputError, did_you_mean
from scaling.files import TEMPORARY_PREFIX, read_json, read_json_lines
from scaling.records import RunRecord

SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl")
RECORD_COLUMNS = {"n": "params", "d": "frames", "c": "flops", "loss": "loss"}


def load(
    path: Path | str,
    *,
    n: str | None = None,
    d: str | None = None,
    c: str | None = None,
    loss: str | None = None,
    group: str | None = None,
    where: str | None = None,
    flops_per_param_token: float | None = None,
) -> list[RunTable]:
    """Return one table for each group of comparable runs.

    Records are split by `eval_id` (losses of different ones mean different things); other tables by the column
    `group`, where given.

    Args:
        path: A results folder, one sweep's folder, or a table file.
        n: Column of the model size, where its name is not a common one; `d`, `c`, `loss` likewise.
        d: Column of the data seen.
        c: Column of the training FLOPs.
        loss: Column of the loss.
        group: Column that splits the table.
        where: A pandas expression; rows for which it is false are left out.
        flops_per_param_token: k of C = k N D, where C or D is not in the table.

    Raises:
        InputError: When nothing there can be read as runs.

    Example:
        >>> [table.used for table in load("runs.csv", where="flops < 5e18")]
        [10]
    """
    path = Path(path)
    given = {"n": n, "d": d, "c": c, "loss": loss}
    if path.is_dir():
        raw, source, unreadable = _read_folder(path)
        data_unit = "frames" if raw["hours"].notna().any() else "units"
        given = {key: value or RECORD_COLUMNS[key] for key, value in given.items()}
        group = group or "eval_id"
        if (raw["flops"].isna()).all():
            given["c"] = None
    else:
        raw, source = _read_file(path)
        unreadable = []
        data_unit = "frames" if "frames" in raw else "tokens"
    columns = find_columns([str(name) for name in raw.columns], given, where=path)
    raw["row"] = raw["id"] if path.is_dir() else [str(i + 2) for i in range(len(raw))]
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
            data_unit=data_unit,
        )
        tables.append(filtered(table, where) if where else table)
    if unreadable:
        tables[0].excluded.extend(unreadable)
    return tables


def _groups(raw: pd.DataFrame, group: str | None, path: Path) -> list[tuple[str, pd.DataFrame]]:
    """Return (label, rows) for each value of a column, in order of appearance."""
    if group is None:
        return [("", raw)]
    if group not in raw:
        raise InputError(
            "no such column to group by",
            where=path,
            value=group,
            remedy=did_you_mean(group, [str(name) for name in raw.columns]),
        )
    parts = [(str(label), part) for label, part in raw.groupby(group, sort=False, dropna=False)]
    if len(parts) == 1:
        return [("", raw)]
    if group == "eval_id":  # a hash says nothing: name what differs
        parts = [(_eval_label(label, part), part) for label, part in parts]
    return parts


def _eval_label(eval_id: str, part: pd.DataFrame) -> str:
    objective = "/".join(sorted({str(o) for o in part.get("objective", pd.Series(dtype=str)) if o}))
    return f"{objective} {eval_id}".strip()


def _read_folder(path: Path) -> tuple[pd.DataFrame, dict[str, Any], list[dict[str, str]]]:
    """Return the records under a folder, what they were read from, and {row, reason} of files that are none."""
    files = sorted(
        file
        for folder in (path.rglob("records") if path.name != "records" else [path])
        if folder.is_dir()
        for file in folder.iterdir()
        if file.is_file() and not file.name.startswith((".", TEMPORARY_PREFIX))
    )
    if not files:
        hint = "a sweep was submitted here but no run has ended" if any(path.rglob("plan.jsonl")) else "no records here"
        raise InputError(hint, where=path, remedy="name a results folder, a sweep's folder, or a table file")
    rows: list[dict[str, Any]] = []
    unreadable: list[dict[str, str]] = []
    digest = hashlib.sha256()
    censored: dict[Path, dict[Any, str]] = {}
    for file in files:
        if file.suffix != ".json":
            unreadable.append({"row": file.name, "reason": "not a run record (not a .json file)"})
            continue
        try:
            record = RunRecord.read(file)
        except InputError as error:
            unreadable.append({"row": file.name, "reason": error.what})
            continue
        digest.update(file.read_bytes())
        sweep = file.parent.parent
        if sweep not in censored:
            censored[sweep] = _censored(sweep)
        rows.append(_row(record, censored[sweep]))
    if not rows:
        raise InputError(
            "no file in records/ is a run record",
            where=path,
            value="; ".join(f"{item['row']}: {item['reason']}" for item in unreadable[:3]),
            remedy="restore the records, or name another folder",
        )
    return (
        pd.DataFrame(rows),
        {"path": str(path), "sha256": digest.hexdigest(), "rows": len(files)},
        unreadable,
    )


def _row(record: RunRecord, censored: dict[Any, str]) -> dict[str, Any]:
    """Return a record as a flat row; its metrics become columns."""
    values = record.to_dict()
    spec = values.pop("spec")
    metrics = values.pop("metrics")
    for key in ("curve", "versions"):
        values.pop(key)
    row = {**metrics, **values, "objective": spec.get("objective", ""), "seed": spec.get("seed")}
    row["censored"] = censored.get((row["objective"], record.unique_hours, record.budget), "")
    return row


def _censored(sweep: Path) -> dict[Any, str]:
    """Return (objective, unique hours, budget) -> side whose sizes the sweep's plan dropped."""
    file = sweep / "sweep.json"
    cuts = read_json(file)["censored"] if file.exists() else []
    return {(cut["objective"], cut["unique_hours"], cut["budget"]): cut["side"] for cut in cuts}


def _read_file(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return a table file and what identifies it."""
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
    if raw.empty:
        raise InputError("a table without rows", where=path, remedy="give at least three runs")
    return raw, {"path": str(path), "sha256": file_sha256(path), "rows": len(raw)}


def paths_label(paths: Sequence[Path]) -> str:
    """Return a short name for outputs: the last part of the first path."""
    return paths[0].resolve().stem
