"""Waiting for a sweep: a table that moves on a terminal, one line a finished run elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

from scaling.shape import FRAMES_PER_SECOND
from scaling.units import format_count, format_flops, format_seconds
from sweeps.folder import SweepFolder
from sweeps.jobs.intents import intents_of
from sweeps.jobs.lease import is_live
from sweeps.jobs.status import FINAL, RunStatus, sweep_status
from sweeps.jobs.table import format_status

LOCAL_SECONDS, SLURM_SECONDS = 1.0, 5.0
"""Between two looks; each look at SLURM's jobs costs its controller a query."""
GRACE_LOOKS = 3
"""How often nothing may be alive before waiting ends: a queue needs a moment to start a job."""
ALIVE = ("running", "starting", "queued", "unknown")


def watch(folder: SweepFolder) -> list[RunStatus]:
    """Show a sweep until nothing of it runs or waits to run; return how it stands then."""
    if sys.stderr.isatty():
        return _table(folder)
    return _lines(folder)


def _looks(folder: SweepFolder) -> Iterator[list[RunStatus]]:
    """Yield how the sweep stands, again and again until nothing of it runs or waits."""
    pause = SLURM_SECONDS if intents_of(folder) else LOCAL_SECONDS
    quiet = 0
    runs: list[RunStatus] = []
    while True:
        runs = sweep_status(folder, runs)
        yield runs
        if all(run.state in FINAL for run in runs) and not is_live(folder.queue_lease):
            return
        alive = is_live(folder.queue_lease) or any(run.state in ALIVE for run in runs)
        quiet = 0 if alive else quiet + 1
        if quiet > GRACE_LOOKS:
            return
        time.sleep(pause)


def _table(folder: SweepFolder) -> list[RunStatus]:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    runs: list[RunStatus] = []
    with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
        for runs in _looks(folder):
            live.update(Text(format_status(folder, runs)), refresh=True)
    return runs


def _lines(folder: SweepFolder) -> list[RunStatus]:
    told = {run.id for run in sweep_status(folder) if run.state in FINAL}
    runs: list[RunStatus] = []
    pilot = folder.sweep()["pilot"]
    for runs in _looks(folder):
        for run in runs:
            if run.state in (*FINAL, "failed") and run.id not in told:
                told.add(run.id)
                print(f"[{len(told)}/{len(runs)}] {_line(run, settings=pilot)}", file=sys.stderr, flush=True)
    return runs


def _line(run: RunStatus, *, settings: bool) -> str:
    """Return one line on a finished run, with its learning rate and batch where runs differ in them."""
    row = run.row
    parts = [run.state]
    if row["budget"]:
        parts.append(f"at {format_flops(row['budget'])}")
    if row["params"]:
        parts.append(f"N {format_count(row['params'])}")
    parts.append(f"seed {row['seed']}")
    if settings:
        parts.append(f"lr {row['peak_lr']:.3g} batch {row['batch_frames'] / FRAMES_PER_SECOND:g} s")
    if run.loss is not None:
        parts.append(f"loss {run.loss:.4f}")
    if run.seconds is not None:
        parts.append(f"in {format_seconds(run.seconds)}")
    if run.error:
        parts.append(f"({run.error})")
    return " ".join(parts)
