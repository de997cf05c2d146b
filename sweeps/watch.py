"""Waiting for a sweep: a table that moves on a terminal, one line a finished run elsewhere."""

from __future__ import annotations

import sys
import time

from scaling.units import format_count, format_flops, format_seconds
from sweeps.folder import SweepFolder
from sweeps.lease import is_live
from sweeps.status import FINAL, RunStatus, format_status, sweep_status

REFRESH_SECONDS = 1.0
GRACE_SECONDS = 3.0
"""How long nothing may be alive before waiting ends: a queue needs a moment to start a job."""
ALIVE = ("running", "queued")


def watch(folder: SweepFolder) -> list[RunStatus]:
    """Show a sweep until nothing of it runs or waits to run; return how it stands then."""
    if sys.stderr.isatty():
        return _table(folder)
    return _lines(folder)


def _rounds(folder: SweepFolder) -> bool:
    """Sleep for a round; return whether the local queue is alive."""
    time.sleep(REFRESH_SECONDS)
    return is_live(folder.queue_lease)


def _table(folder: SweepFolder) -> list[RunStatus]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    quiet_since = time.monotonic()
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        while True:
            runs = sweep_status(folder)
            live.update(Text(format_status(folder, runs)), refresh=True)
            if _rounds(folder) or any(run.state in ALIVE for run in runs):
                quiet_since = time.monotonic()
            elif time.monotonic() - quiet_since > GRACE_SECONDS or all(run.state in FINAL for run in runs):
                return sweep_status(folder)


def _lines(folder: SweepFolder) -> list[RunStatus]:
    before = {run.id for run in sweep_status(folder) if run.state in FINAL}
    told = set(before)
    quiet_since = time.monotonic()
    while True:
        runs = sweep_status(folder)
        for run in runs:
            if run.state in (*FINAL, "failed") and run.id not in told:
                told.add(run.id)
                done = sum(other.state in FINAL for other in runs)
                print(f"[{done}/{len(runs)}] {_line(run)}", file=sys.stderr, flush=True)
        if _rounds(folder) or any(run.state in ALIVE for run in runs):
            quiet_since = time.monotonic()
        elif time.monotonic() - quiet_since > GRACE_SECONDS or all(run.state in FINAL for run in runs):
            return sweep_status(folder)


def _line(run: RunStatus) -> str:
    """Return one line on a finished run."""
    row = run.row
    parts = [run.state]
    if row["budget"]:
        parts.append(f"at {format_flops(row['budget'])}")
    if row["params"]:
        parts.append(f"N {format_count(row['params'])}")
    parts.append(f"seed {row['seed']}")
    if run.loss is not None:
        parts.append(f"loss {run.loss:.4f}")
    if run.seconds is not None:
        parts.append(f"in {format_seconds(run.seconds)}")
    if run.error:
        parts.append(f"({run.error})")
    return " ".join(parts)
