"""What has become of a sweep. The file system says what is done, squeue what is alive; reading changes nothing.

| state | meaning |
|---|---|
| completed, diverged | its record is written |
| running | a live process holds its lease |
| queued, held | its job waits in SLURM, or its turn in the local queue; it is kept from starting |
| starting | SLURM runs its job, which has not taken the lease yet |
| stopped | it saved and stopped when asked to |
| cancelled | it, or the sweep, was cancelled before it was done |
| failed | its trainer raised an error, or it ran out of memory or time too often |
| died | it ended without a word, and is tried again |
| pending | nothing was sent for it |
| unknown | SLURM does not answer |
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.files import read_json
from sweeps.folder import PAUSED, SweepFolder
from sweeps.jobs import site
from sweeps.jobs.attempts import attempts_of
from sweeps.jobs.intents import KEEPER, Intent, intents_of, jobs_of
from sweeps.jobs.lease import is_live
from sweeps.jobs.logs import last_metrics
from sweeps.jobs.resources import devices
from sweeps.jobs.verdict import failure_of

STATES = (
    *("completed", "diverged", "running", "starting", "queued", "held", "pending", "stopped", "cancelled"),
    *("died", "failed", "unknown"),
)
FINAL = ("completed", "diverged")
SURE = 0.05
"""Progress from which on a run's own rate says more than the plan."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """One run."""

    id: str
    row: dict[str, Any]
    """Its row of the plan."""
    state: str
    progress: float = 0.0
    """Share of its updates done."""
    loss: float | None = None
    """Validation loss when done, else the last training loss."""
    seconds: float | None = None
    """Time trained, when done."""
    left: float | None = None
    """Expected seconds to its end, while it runs."""
    gpu_hours: float = 0.0
    """Hours times devices of all its attempts so far."""
    attempts: int = 0
    error: str = ""
    """Why it failed, died or diverged."""
    kind: str = ""
    """Class of its failure."""
    reason: str = ""
    """Why SLURM keeps it waiting."""
    attempt: Path | None = None
    """Folder of its last attempt, where it is not done."""
    site: str = ""
    """What is to be known of SLURM: `unreachable`; `unkept` where no keeper looks after the sweep."""
    steps_repeated: float = 0
    """Steps taken again since they came after the last checkpoint of an attempt that died."""


@dataclass(frozen=True, kw_only=True)
class _Site:
    """What is known about jobs, asked once for all runs."""

    jobs: Mapping[str, str]
    """Run -> the last job sent for it."""
    queue: Mapping[str, site.Queued]
    reachable: bool
    queue_alive: bool
    """Whether the local queue is."""
    asked: str
    """How the sweep was asked to stop."""
    halted: bool
    note: str
    """`unreachable`, `unkept` or nothing."""


def sweep_status(folder: SweepFolder, before: Sequence[RunStatus] = ()) -> list[RunStatus]:
    """Return the status of every planned run, in the order of the plan.

    Args:
        folder: The sweep.
        before: How it stood a moment ago: what was done then need not be read again.
    """
    about = _ask(folder)
    done = set(folder.record_ids())
    known = {run.id: run for run in before if run.state in FINAL and run.id in done}
    rows = [row for row in folder.plan() if row["status"] == "run"]
    return [
        known.get(row["id"]) or (_done(folder, row) if row["id"] in done else None) or _undone(folder, row, about)
        for row in rows
    ]


def _ask(folder: SweepFolder) -> _Site:
    intents = intents_of(folder)
    jobs = jobs_of(intents)
    queue: Mapping[str, site.Queued] = {}
    reachable = True
    if jobs:
        try:
            queue = site.queue()
        except site.UnreachableError:
            reachable = False
    return _Site(
        jobs=jobs,
        queue=queue,
        reachable=reachable,
        queue_alive=is_live(folder.queue_lease),
        asked=folder.stop_asked(),
        halted=folder.halted() is not None,
        note="unreachable" if not reachable else "unkept" if jobs and not _kept(folder, intents, queue) else "",
    )


def _kept(folder: SweepFolder, intents: Sequence[Intent], queue: Mapping[str, site.Queued]) -> bool:
    """Whether a keeper waits that will run, or nobody wants one."""
    if folder.sweep().get("slurm", {}).get("keeper", True) is False:
        return True
    jobs = [intent.jobs[KEEPER] for intent in intents if intent.kind == KEEPER and intent.jobs]
    return any(job in queue and not queue[job].stuck for job in jobs)


def _undone(folder: SweepFolder, row: dict[str, Any], about: _Site) -> RunStatus:
    """Return the status of a run that had no record a moment ago."""
    run_id = row["id"]
    path = folder.run(run_id)
    try:
        there = {entry.name for entry in os.scandir(path)}
    except FileNotFoundError:
        there = set()
    job = about.queue.get(about.jobs.get(run_id, ""))
    if not there & {"lease.json", "attempts", "stop"} and job is None:
        state = "queued" if about.queue_alive and not about.asked else _idle(about, run_id)
        return RunStatus(id=run_id, row=row, state=state, site=about.note)
    last = last_metrics(path) if "metrics.jsonl" in there else None
    attempts = attempts_of(path) if "attempts" in there else []
    attempt = attempts[-1] if attempts else None
    shares = last["step"] / row["updates"] if last else 0.0
    common: dict[str, Any] = {
        "id": run_id,
        "row": row,
        "progress": shares,
        "loss": last.get("loss") if last else None,
        "attempts": len(attempts),
        "site": about.note,
        "gpu_hours": sum(a.seconds for a in attempts) / 3600 * _devices(row),
        "steps_repeated": sum(a.start.get("lost", {}).get("steps", 0) for a in attempts),
        "attempt": attempt.path if attempt else None,
    }
    if "lease.json" in there and is_live(path / "lease.json"):
        if attempt is not None and attempt.end is None:  # its last sign of life is now
            silent = time.time() - attempt.start.get("began", time.time()) - attempt.seconds
            common["gpu_hours"] += max(0.0, silent) / 3600 * _devices(row)
        return RunStatus(state="running", left=_seconds_left(row, shares, common["gpu_hours"]), **common)
    if job is not None:
        if job.state == "PD":
            return RunStatus(state="held" if job.held else "queued", reason=job.reason, **common)
        return RunStatus(state="starting", **common)
    if (done := _done(folder, row)) is not None:  # it ended since the first look
        return done
    if not about.reachable and run_id in about.jobs:
        return RunStatus(state="unknown", **common)
    if asked := folder.stop_asked(run_id):
        return RunStatus(state="stopped" if asked == PAUSED else "cancelled", **common)
    failure = failure_of(attempt) if attempt else None
    if attempt is None or failure is None:  # it never began, or saved and stopped
        waits = about.queue_alive or attempt is None
        state = ("queued" if about.queue_alive else _idle(about, run_id)) if waits else "stopped"
        return RunStatus(state=state, **common)
    state = "died" if attempt.end is None or attempt.end["outcome"] == "died" else "failed"
    if state == "died" and about.queue_alive:
        state = "queued"
    return RunStatus(state=state, error=failure.reason, kind=failure.kind, **common)


def _seconds_left(row: Mapping[str, Any], progress: float, gpu_hours: float) -> float | None:
    """Return how long a run still takes: at the rate so far, or at its beginning as the plan expects."""
    if progress > SURE:
        return gpu_hours * 3600 / _devices(row) * (1 - progress) / progress
    planned = _planned_seconds(row)
    return None if planned is None else planned * (1 - progress)


def _idle(about: _Site, run_id: str) -> str:
    """Return the state of a run that no process and no queue holds and that never began."""
    if about.asked:
        return "stopped" if about.asked == PAUSED else "cancelled"
    if run_id in about.jobs and not about.halted:
        return "died" if about.reachable else "unknown"
    return "pending"


def _done(folder: SweepFolder, row: dict[str, Any]) -> RunStatus | None:
    """Return the status of a run that has its record, None for another."""
    try:
        record = read_json(folder.record_file(row["id"]))
        status = record["status"]
    except (InputError, KeyError, TypeError):
        return None
    if status not in FINAL:
        return None
    spent = record.get("seconds_spent") or record.get("seconds") or 0.0
    return RunStatus(
        id=row["id"],
        row=row,
        state=status,
        progress=1.0,
        loss=record.get("loss"),
        seconds=record.get("seconds"),
        gpu_hours=spent / 3600 * _devices(row),
        attempts=record.get("attempts") or 1,
        error=record.get("reason", ""),
        steps_repeated=record.get("steps_repeated") or 0,
    )


def _planned_seconds(row: Mapping[str, Any]) -> float | None:
    """Return how long a run takes by the plan, on the devices that it asks for."""
    if row["device_hours"] is None:
        return None
    resources = row.get("resources") or {"processes": 1, "nodes": 1}
    return row["device_hours"] * 3600 / (int(resources["processes"]) * int(resources["nodes"]))


def _devices(row: Mapping[str, Any]) -> int:
    return devices(row["resources"]) if row.get("resources") else 1


def to_json(folder: SweepFolder, runs: list[RunStatus]) -> dict[str, Any]:
    """Return the status as `status --json` writes it."""
    from collections import Counter

    return {
        "sweep": folder.path.name,
        "time": time.time(),
        "stop_asked": folder.stop_asked(),
        "halted": folder.halted(),
        "counts": dict(Counter(run.state for run in runs)),
        "gpu_hours": {"spent": sum(run.gpu_hours for run in runs), "planned": planned_gpu_hours(runs)},
        "steps_repeated": sum(run.steps_repeated for run in runs),
        "runs": [
            {
                "id": run.id,
                **{
                    key: getattr(run, key)
                    for key in (
                        *("state", "progress", "loss", "seconds", "left", "gpu_hours", "attempts"),
                        *("steps_repeated", "error", "kind", "reason"),
                    )
                },
                **{key: run.row[key] for key in ("params", "budget", "updates", "seed")},
            }
            for run in runs
        ],
    }


def planned_gpu_hours(runs: list[RunStatus]) -> float | None:
    """Return the hours times devices that the plan expects, None where it does not know the time of every run."""
    seconds = [_planned_seconds(run.row) for run in runs]
    if None in seconds:
        return None
    return sum((s or 0.0) / 3600 * _devices(run.row) for s, run in zip(seconds, runs, strict=True))


def seconds_left(runs: list[RunStatus]) -> float | None:
    """Return how long a sweep still takes with as many runs at a time as now, None where that is not known."""
    running = [run for run in runs if run.state == "running"]
    waiting = [run for run in runs if run.state in ("queued", "starting")]
    of_waiting = [_planned_seconds(run.row) for run in waiting]
    left = [run.left for run in running] + [
        None if planned is None else planned * (1 - run.progress)
        for planned, run in zip(of_waiting, waiting, strict=True)
    ]
    if not running or None in left:
        return None
    known = [seconds or 0.0 for seconds in left]
    return max(max(known), sum(known) / len(running))
