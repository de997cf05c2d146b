"""All records of a sweep as one table: a cache that can be made again at any time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.files import write_bytes
from sweeps.folder import SweepFolder

FORMATS = (".csv", ".jsonl", ".parquet")
_APART = ("spec", "curve", "metrics", "versions", "flags")


def collect(folder: SweepFolder) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return (rows, excluded): one flat row a record, and {file, reason} of files that are no records."""
    censored = {
        (cut["objective"], cut["unique_hours"], cut["budget"]): cut["side"] for cut in folder.sweep()["censored"]
    }
    rows, excluded = [], []
    for run_id in folder.record_ids():
        try:
            record = folder.record(run_id)
            assert record is not None
        except InputError as error:
            excluded.append({"file": str(folder.record_file(run_id)), "reason": error.what})
            continue
        values = record.to_dict()
        row = {key: value for key, value in values.items() if key not in _APART}
        spec = values["spec"]
        row["flags"] = ";".join(values["flags"])
        row["objective"] = spec.get("objective", "")
        row["seed"] = spec.get("seed")
        row["peak_lr"] = spec.get("train", {}).get("peak_lr")
        row["censored"] = censored.get((row["objective"], row["unique_hours"], row["budget"]), "")
        row.update({f"model_{key}": value for key, value in spec.get("model", {}).items()})
        row.update({f"metric_{key}": value for key, value in values["metrics"].items()})
        rows.append(row)
    return rows, excluded


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    """Write rows as CSV, JSON lines or Parquet, by the file's suffix.

    Raises:
        InputError: For another suffix, or Parquet without pyarrow.
    """
    if path.suffix not in FORMATS:
        raise InputError(
            "no such table format",
            where="-o",
            value=str(path),
            remedy=f"name a file that ends in {', '.join(FORMATS)}",
        )
    import pandas as pd

    table = pd.DataFrame(rows)
    if path.suffix == ".parquet":
        buffer = io.BytesIO()
        try:
            table.to_parquet(buffer)
        except ImportError:
            raise InputError(
                "Parquet needs pyarrow",
                where="-o",
                value=str(path),
                remedy="pip install pyarrow, or write a .csv",
            ) from None
        write_bytes(path, buffer.getvalue())
    elif path.suffix == ".jsonl":
        write_bytes(path, table.to_json(orient="records", lines=True, double_precision=15).encode())
    else:
        write_bytes(path, table.to_csv(index=False).encode())
