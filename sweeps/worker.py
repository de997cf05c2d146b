"""One run, start to record: leave if it is done, take the lease, resume, train, write the record once, leave.

Calling it twice for a run is harmless: the second finds the record or the lease. What a job file holds is this
function and two strings.
"""

from __future__ import annotations

import os
import platform
import signal
import socket
import sys
import traceback
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any

from scaling.files import write_json
from scaling.records import RunRecord
from scaling.run import RunFolder
from sweeps.folder import SweepFolder
from sweeps.lease import acquire
from sweeps.trainers import load_trainer

OUTCOMES = ("completed", "diverged", "stopped", "failed", "done-before", "held-elsewhere")
"""What `run_one` returns; the last two mean that there was nothing to do."""


class _Stop:
    """Set by a signal; the trainer saves and returns at its next step."""

    def __init__(self) -> None:
        self.asked = False

    def listen(self) -> None:
        """Take over the signals that mean `stop now`, except SLURM's time-limit signal, which submitit requeues on."""
        numbers = [signal.SIGTERM, signal.SIGINT]
        if "SLURM_JOB_ID" not in os.environ:
            numbers.append(signal.SIGUSR2)
        for number in numbers:
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = True


def run_one(sweep: str, run_id: str, *, listen: bool = True) -> str:
    """Do one run of a sweep and return an outcome.

    Args:
        sweep: The sweep's folder.
        run_id: The run.
        listen: Take over the signals that ask to stop; false where the caller's own process runs it.

    Raises:
        Exception: Whatever the trainer raised, after it was written to the attempt's exit.json.
    """
    folder = SweepFolder(sweep)
    if folder.record_file(run_id).exists():
        return "done-before"
    lease = acquire(folder.run(run_id) / "lease.json")
    if lease is None:
        return "held-elsewhere"
    attempt = _new_attempt(folder.run(run_id))
    stop = _Stop()
    if listen:
        stop.listen()
    try:
        spec = folder.spec(run_id)
        run = RunFolder(
            folder.run(run_id),
            save_every=folder.sweep()["save_every"],
            stop=lambda: stop.asked or lease.lost or folder.stop_asked(),
        )
        trainer = load_trainer(spec.trainer, spec.where.get("trainer"))
        record = trainer.train(spec, run)
        if record is None:
            outcome = "stopped"
        else:
            _check(record, spec.id)
            write_json(folder.record_file(run_id), record.to_dict(), once=True)
            run.discard_checkpoint()
            outcome = record.status
        _exit(attempt, outcome)
        return outcome
    except (KeyboardInterrupt, SystemExit) as error:  # submitit leaves so when SLURM preempts a job
        _exit(attempt, "stopped", error=f"{type(error).__name__}: {error}")
        raise
    except BaseException as error:
        _exit(attempt, "failed", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        raise
    finally:
        lease.release()


class RequeuedRun:
    """`run_one` for SLURM: submitit puts a job back into the queue that is preempted or reaches its time limit."""

    def __call__(self, sweep: str, run_id: str) -> str:
        """Do one run of a sweep."""
        return run_one(sweep, run_id)

    def checkpoint(self, sweep: str, run_id: str) -> Any:
        """Return what the requeued job does: the same again, from the last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, sweep, run_id)


def _check(record: Any, run_id: str) -> None:
    """Refuse what is not the record of this run."""
    if not isinstance(record, RunRecord):
        message = (
            f"a trainer returns a scaling.RunRecord, or None when it was stopped; this one returned {type(record)}"
        )
        raise TypeError(message)
    if record.id != run_id:
        message = f"the trainer returned the record of another run: {record.id} instead of {run_id}"
        raise ValueError(message)


def _new_attempt(run: Path) -> Path:
    """Make the folder of this attempt and note where it runs."""
    attempts = run / "attempts"
    attempts.mkdir(parents=True, exist_ok=True)
    attempt = attempts / str(1 + max((int(path.name) for path in attempts.iterdir()), default=0))
    slurm = {key: os.environ[key] for key in sorted(os.environ) if key.startswith("SLURM_") and "ID" in key}
    write_json(
        attempt / "start.json",
        {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "python": platform.python_version(),
            "command": sys.argv,
            "slurm": slurm,
            "submitit": os.environ.get("SUBMITIT_LOCAL_JOB_ID"),
            "time": _now(),
        },
    )
    return attempt


def _exit(attempt: Path, outcome: str, **more: str) -> None:
    write_json(attempt / "exit.json", {"outcome": outcome, "time": _now(), **more})


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
