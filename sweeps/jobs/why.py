"""Why a run is as it is: its log, the class of its failure, and what to do next."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from sweeps.folder import SweepFolder
from sweeps.jobs import site
from sweeps.jobs.attempts import Attempt, attempts_of
from sweeps.jobs.intents import RUNS, intents_of, jobs_of
from sweeps.jobs.logs import tail
from sweeps.jobs.status import FINAL, RunStatus, sweep_status
from sweeps.jobs.verdict import ERROR, INFRASTRUCTURE, MEMORY, TIMEOUT, failure_of

LINES = 20
FOLLOW_SECONDS = 0.5
LAST_SECONDS = 2.0
"""How long a log is read on after its run has ended."""


def log_of(folder: SweepFolder, run_id: str) -> Path | None:
    """Return the log of a run's last job, or None where there is none yet."""
    attempts = attempts_of(folder.run(run_id))
    if attempts and attempts[-1].start.get("log"):
        noted = Path(attempts[-1].start["log"])
        newer = _sent_log(folder, run_id)
        # a job that was sent since and has written something
        return newer if newer is not None and (not noted.exists() or _later(newer, noted)) else noted
    return _sent_log(folder, run_id) or _existing(folder.run(run_id) / "log")


def _sent_log(folder: SweepFolder, run_id: str) -> Path | None:
    """Return the log of the last job that was sent for a run, where it has one."""
    for intent in reversed(intents_of(folder)):
        if intent.kind == RUNS and intent.jobs and run_id in intent.jobs:
            return _existing(intent.path / f"{intent.jobs[run_id]}_0_log.out")
    return None


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _later(one: Path, other: Path) -> bool:
    return one.stat().st_mtime > other.stat().st_mtime


def print_log(folder: SweepFolder, run_id: str, *, follow: bool = False, lines: int | None = None) -> bool:
    """Print a run's log, its last lines or all; return whether there is one.

    Args:
        folder: The sweep.
        run_id: The run.
        follow: Stay and print what comes, until the run has ended.
        lines: How many of the last lines; all when None.
    """
    path = log_of(folder, run_id)
    while follow and path is None and not _over(folder, run_id):
        time.sleep(FOLLOW_SECONDS)
        path = log_of(folder, run_id)
    if path is None:
        return False
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read()
        if not text and not follow:
            print(f"{path} is empty", file=sys.stderr)
            return True
        sys.stdout.write(text if lines is None else "\n".join(text.splitlines()[-lines:]) + "\n")
        ended: float | None = None
        while follow:
            sys.stdout.write(file.read())
            sys.stdout.flush()
            if _over(folder, run_id):
                ended = ended or time.monotonic()
                if time.monotonic() - ended > LAST_SECONDS:
                    break
            time.sleep(FOLLOW_SECONDS)
    return True


def _over(folder: SweepFolder, run_id: str) -> bool:
    """Whether nobody works on a run, as far as the file system tells."""
    from sweeps.jobs.lease import is_live

    if folder.record_file(run_id).exists():
        return True
    attempts = attempts_of(folder.run(run_id))
    return bool(attempts) and not is_live(folder.run(run_id) / "lease.json")


def why(folder: SweepFolder, run_id: str) -> str:
    """Return what became of a run's attempts, the end of its log, and the next command."""
    (run,) = [run for run in sweep_status(folder) if run.id == run_id]
    lines = [f"{run_id}: {run.state}{f' ({run.kind})' if run.kind else ''}{f': {run.error}' if run.error else ''}"]
    if run.reason:
        lines.append(f"SLURM keeps it waiting: {run.reason}")
    attempts = attempts_of(folder.run(run_id))
    for attempt in attempts:
        where = " ".join(x for x in (attempt.start.get("node") or attempt.start.get("host"), attempt.job) if x)
        code = f", code {attempt.start['code'][:8]}" if attempt.start.get("code") else ""
        lines.append(
            f"  attempt {attempt.number} on {where or '?'}, {attempt.start.get('time', '?')}{code}, "
            f"{attempt.seconds:.0f} s: {_end(attempt, last=attempt is attempts[-1] and run.state == 'running')}"
        )
    if run.state not in FINAL and (said := _accounting(folder, run_id)):
        lines.append(f"  sacct: {said}")
    trace = attempts[-1].end.get("traceback") if attempts and attempts[-1].end else None
    log = log_of(folder, run_id)
    if trace:
        lines += ["", trace.rstrip()]
    elif log is not None and run.state not in FINAL:
        lines += ["", f"the end of {log}:", *tail(log).splitlines()[-LINES:]]
    lines += ["", f"next: {_next(folder, run)}"]
    return "\n".join(lines)


def _end(attempt: Attempt, *, last: bool) -> str:
    """Return how an attempt ended, or that it has not."""
    if attempt.end is None and last:
        return "running"
    failure = failure_of(attempt)
    outcome = attempt.end["outcome"] if attempt.end else "died"
    return f"{outcome}: {failure.reason}" if failure else outcome


def _accounting(folder: SweepFolder, run_id: str) -> str:
    """Return what sacct says of a run's last job, empty where it says nothing in time."""
    job = jobs_of(intents_of(folder)).get(run_id)
    return f"{job} {state}" if job and (state := site.accounting([job]).get(job)) else ""


def _next(folder: SweepFolder, run: RunStatus) -> str:
    """Return what to do about a run."""
    name = folder.path.name
    retry = f"scaling-sweep retry {name} --run {run.id}"
    if run.state == "completed":
        return f"scaling-fit {folder.path}"
    if run.state == "diverged":
        return "a result: lower train.peak_lr, or tune it with `scaling-sweep pilot`"
    if run.state in ("running", "starting", "queued"):
        return f"scaling-sweep logs {name} {run.id} --follow"
    if run.state == "held":
        return f"scaling-sweep resume {name}, or scontrol release, where somebody else holds it"
    if run.state == "cancelled":
        return retry if folder.cancelled_alone(run.id) else "submit the grid again"
    if run.state == "pending" and folder.sweep().get("executor") == "slurm":
        return "submit the grid again; where sbatch refuses it, scaling-sweep doctor GRID says why"
    if run.state in ("stopped", "pending"):
        return "submit the grid again" if folder.stop_asked() != "paused" else f"scaling-sweep resume {name}"
    if run.state == "unknown":
        return f"SLURM does not answer: scaling-sweep status {name} later, or scaling-sweep doctor"
    return {
        ERROR: "mend the trainer and submit the grid again: it goes on from its checkpoint",
        MEMORY: f"more memory (cluster.resources: memory_gb, gpus) or cluster.micro_seconds, submit again; or {retry}",
        TIMEOUT: "a longer timeout, or a shorter cluster.save_every (a trainer of your own: does it call run.save "
        "when run.save_due?), and submit again",
        INFRASTRUCTURE: retry,
    }.get(run.kind, retry)
