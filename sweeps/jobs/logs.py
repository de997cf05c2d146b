"""The ends of files that grow: logs and metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TAIL_BYTES = 16_384
METRICS_BYTES = 4096


def tail(path: Path, size: int = TAIL_BYTES, *, start: int = 0) -> str:
    """Return the end of a text file, from a position on; empty where it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(start, file.tell() - size))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def last_metrics(run: Path) -> dict[str, Any] | None:
    """Return the last whole line of a run's metrics, reading only the end of the file."""
    for line in reversed(tail(run / "metrics.jsonl", METRICS_BYTES).splitlines()):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return None
