"""What has become of a sweep. The file system says what is done; reading it changes nothing."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.errors import InputError, WorkError
from scaling.tables import format_table
from scaling.units import format_count, format_flops, format_seconds
from sweeps.folder import SweepFolder
from sweeps.jobs.lease import is_live

STATES = ("completed", "diverged", "running", "queued", "pending", "stopped", "died", "failed", "unknown")
FINAL = ("completed", "diverged")
TAIL_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """One run."""

    id: str
    row: dict[str, Any]
    """Its row of the plan."""
    state: str
    progress: float
    """Share of its updates done."""
    loss: float | None
    """Validation loss when done, else the last training loss."""
    seconds: float | None
    """Time trained, when done."""
    left: float | None
    """Expected seconds to its end, while it runs."""
    error: str = ""
    attempt: Path | None = None
    """Folder of its last attempt, where it is not done."""


def sweep_status(folder: SweepFolder) -> list[RunStatus]:
    """Return the status of every planned run, in the order of the plan."""
    queued, reachable = _slurm_jobs(folder)
    queue_alive = is_live(folder.queue_lease)
    rows = [row for row in folder.plan() if row["status"] == "run"]
    return [_run_status(folder, row, queued, reachable, queue_alive) for row in rows]


def _slurm_jobs(folder: SweepFolder) -> tuple[set[str], bool]:
    """Return the runs that SLURM holds, and whether it answered."""
    from sweeps.jobs.slurm import jobs_of, queued_jobs

    jobs = jobs_of(folder)
    if not jobs:
        return set(), True
    try:
        alive = queued_jobs()
    except WorkError:
        return set(), False
    return {run_id for run_id, job in jobs.items() if job in alive}, True


def _run_status(
    folder: SweepFolder, row: dict[str, Any], queued: set[str], reachable: bool, queue_alive: bool
) -> RunStatus:
    run_id = row["id"]
    if (done := _done(folder, row)) is not None:
        return done
    last = _last_metrics(folder, run_id)
    progress = last["step"] / row["updates"] if last else 0.0
    attempt = folder.last_attempt(run_id)
    error = ""
    left = None
    if is_live(folder.run(run_id) / "lease.json"):
        state = "running"
        if last and row["device_hours"]:
            left = row["device_hours"] * 3600 * (1 - progress)
    elif run_id in queued:
        state = "queued"
    elif (done := _done(folder, row)) is not None:  # it ended since the first look
        return done
    elif attempt is None:
        state = "queued" if queue_alive else "pending" if reachable else "unknown"
    elif attempt[1] is None:
        state = "died" if reachable else "unknown"
    else:
        state, error = attempt[1]["outcome"], attempt[1].get("error", "")
        if state == "stopped" and queue_alive:
            state = "queued"
    return RunStatus(
        id=run_id,
        row=row,
        state=state,
        progress=progress,
        loss=last.get("loss") if last else None,
        seconds=None,
        left=left,
        error=error,
        attempt=attempt[0] if attempt else None,
    )


def _done(folder: SweepFolder, row: dict[str, Any]) -> RunStatus | None:
    """Return the status of a run that has its record, None for another."""
    try:
        record = folder.record(row["id"])
    except InputError:
        return None
    if record is None:
        return None
    return RunStatus(
        id=record.id,
        row=row,
        state=record.status,
        progress=1.0,
        loss=record.loss,
        seconds=record.seconds,
        left=None,
        error=record.reason,
    )


def _last_metrics(folder: SweepFolder, run_id: str) -> dict[str, Any] | None:
    """Return the last whole line of a run's metrics, reading only the end of the file."""
    path = folder.run(run_id) / "metrics.jsonl"
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = file.read().split(b"\n")
    except FileNotFoundError:
        return None
    import json

    for line in reversed(lines):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return None


def format_status(folder: SweepFolder, runs: list[RunStatus]) -> str:
    """Return a table of runs and a line that counts them."""
    apart = [
        key for key in ("objective", "unique_hours") if len({run.row.get(key) for run in runs}) > 1
    ]  # told where it differs
    rows = []
    for run in runs:
        row = run.row
        rows.append(
            [
                run.state,
                *(f"{row[key]:g} h" if isinstance(row[key], float) else str(row[key]) for key in apart),
                format_flops(row["budget"]) if row["budget"] else "-",
                format_count(row["params"]) if row["params"] else "-",
                str(row["seed"]),
                f"{run.progress:.0%}",
                _loss(run),
                _time(run),
                run.id,
            ]
        )
    header = ["state", *(key.partition("_")[0] for key in apart), "budget", "N", "seed", "done", "loss", "time", "run"]
    table = format_table(header, rows, left=(0, len(header) - 1))
    return f"{table}\n{format_counts(folder, runs)}"


def format_counts(folder: SweepFolder, runs: list[RunStatus]) -> str:
    """Return one line: how many runs are in each state."""
    counts = Counter(run.state for run in runs)
    listing = " · ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    asked = " · asked to stop" if folder.stop_asked() else ""
    return f"{folder.path.name}: {len(runs)} runs: {listing}{asked}"


def _loss(run: RunStatus) -> str:
    """Return the validation loss, or the training loss so far in brackets."""
    if run.loss is None:
        return "-"
    return f"{run.loss:.4f}" if run.state in FINAL else f"({run.loss:.4f})"


def _time(run: RunStatus) -> str:
    if run.seconds is not None:
        return format_seconds(run.seconds)
    return f"{format_seconds(run.left)} left" if run.left is not None else "-"


def to_json(folder: SweepFolder, runs: list[RunStatus]) -> dict[str, Any]:
    """Return the status as `status --json` writes it."""
    return {
        "sweep": folder.path.name,
        "time": time.time(),
        "stop_asked": folder.stop_asked(),
        "counts": dict(Counter(run.state for run in runs)),
        "runs": [
            {
                "id": run.id,
                "state": run.state,
                "progress": run.progress,
                "loss": run.loss,
                "seconds": run.seconds,
                "error": run.error,
                **{key: run.row[key] for key in ("params", "budget", "updates", "seed")},
            }
            for run in runs
        ],
    }
