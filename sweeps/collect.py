"""Tables as files: what `collect` writes can be made again from the records at any time."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.files import write_bytes

FORMATS = (".csv", ".jsonl", ".parquet")


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
