"""One run, start to record: leave if it is done, take the lease, resume, train, write the record once, leave.

Calling it twice for a run is harmless: the second finds the record or the lease. What a job file holds is a function
and a few strings.
"""

from __future__ import annotations

import math
import os
import platform
import signal
import socket
import sys
import traceback
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from types import FrameType
from typing import Any

from scaling.files import write_json
from scaling.records import RunRecord
from scaling.run import RunFolder
from sweeps.folder import SweepFolder
from sweeps.jobs.lease import acquire
from sweeps.jobs.place import Place, task_place
from sweeps.jobs.tracking import trackers
from sweeps.trainers import load_trainer


class Stop:
    """Set by a signal; the trainer saves and returns at its next step."""

    def __init__(self) -> None:
        """Not asked yet."""
        self.signals: set[int] = set()
        """Those that came."""

    @property
    def asked(self) -> bool:
        """Whether any signal came."""
        return bool(self.signals)

    def listen(self) -> None:
        """Take over the signals that mean `stop now`."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signals.add(number)


def run_one(sweep: str, run_id: str, stop: Stop | None = None) -> str:
    """Do one run of a sweep and return an outcome.

    Args:
        sweep: The sweep's folder.
        run_id: The run.
        stop: Says when a signal asked to stop.

    Returns:
        `completed`, `diverged`, `stopped`, or where there was nothing to do `done-before` or `held-elsewhere`.

    Raises:
        Exception: Whatever the trainer raised, after it was written to the attempt's exit.json.
    """
    folder = SweepFolder(sweep)
    stop = stop or Stop()
    place = task_place()
    if place.rank:
        return follow(folder, run_id, place, stop)
    if folder.record_file(run_id).exists():
        place.tell(folder.run(run_id), go=False)
        return "done-before"
    lease = acquire(folder.run(run_id) / "lease.json")
    if lease is None:
        return "held-elsewhere"
    if folder.record_file(run_id).exists():  # written by the holder before
        lease.release()
        place.tell(folder.run(run_id), go=False)
        return "done-before"
    told = False
    attempt = _new_attempt(folder.run(run_id))
    try:
        spec, settings = folder.spec(run_id), folder.sweep()
        run = RunFolder(
            folder.run(run_id),
            save_every=settings["save_every"],
            stop=lambda: stop.asked or lease.lost or folder.stop_asked(),
            owned=lambda: not lease.lost,
            keep_weights=settings.get("keep_weights", True),
            trackers=trackers(settings.get("tracker"), folder.run(run_id), spec),
        )
        trainer = load_trainer(spec.trainer, spec.where.get("trainer"))
        told = True
        place.tell(folder.run(run_id), go=True)
        record = trainer.train(spec, run)
        if record is None:
            _check_stopped(run)
            outcome = "stopped"
        else:
            record = _checked(record, spec.id)
            write_json(folder.record_file(run_id), record.to_dict(), once=True)
            run.discard_checkpoint()
            folder.discard_branches(spec)
            outcome = record.status
        _exit(attempt, outcome)
        return outcome
    except KeyboardInterrupt:
        _exit(attempt, "stopped")
        raise
    except BaseException as error:  # SystemExit too: a trainer that leaves has not trained
        if not told:
            place.tell(folder.run(run_id), go=False)
        _exit(attempt, "failed", error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
        raise
    finally:
        place.take_back(folder.run(run_id))
        lease.release()


def follow(folder: SweepFolder, run_id: str, place: Place, stop: Stop) -> str:
    """Train beside the process that leads a run, once that says so, and return an outcome."""
    if not place.told(folder.run(run_id), lambda: stop.asked or folder.stop_asked()):
        return "done-before" if folder.record_file(run_id).exists() else "held-elsewhere"
    spec, settings = folder.spec(run_id), folder.sweep()
    run = RunFolder(
        folder.run(run_id),
        save_every=settings["save_every"],
        stop=lambda: stop.asked or folder.stop_asked(),
        leader=False,
        keep_weights=settings.get("keep_weights", True),
    )
    record = load_trainer(spec.trainer, spec.where.get("trainer")).train(spec, run)
    return "stopped" if record is None else record.status


def run_job(sweep: str, run_id: str, devices: str | None = None) -> str:
    """Do one run as a local job, on the devices that its slot has."""
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices
    stop = Stop()
    stop.listen()
    return run_one(sweep, run_id, stop)


def _check_stopped(run: RunFolder) -> None:
    """Refuse None from a trainer that nobody asked to stop."""
    if not run.stop_asked:
        message = "the trainer returned None although no stop was asked: is a `return RunRecord.of(...)` missing?"
        raise TypeError(message)


def _checked(record: Any, run_id: str) -> RunRecord:
    """Return the record of this run, refusing anything else; a loss that is not finite is a run that diverged."""
    if not isinstance(record, RunRecord):
        message = (
            f"a trainer returns a scaling.RunRecord, or None when it was stopped; this one returned {type(record)}"
        )
        raise TypeError(message)
    if record.id != run_id:
        message = f"the trainer returned the record of another run: {record.id} instead of {run_id}"
        raise ValueError(message)
    if record.loss is None:
        return record
    if isinstance(record.loss, bool) or not isinstance(record.loss, (int, float)):
        message = f"a loss is a float, and this trainer's is {type(record.loss).__name__}: use float(...)"
        raise TypeError(message)
    if not math.isfinite(record.loss):
        return replace(record, status="diverged", loss=None, reason=f"the loss is {record.loss}")
    return record


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
