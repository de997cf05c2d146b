"""One run, start to record: leave if it is done, take the lease, resume, train, write the record once, leave.

Calling it twice for a run is harmless: the second finds the record or the lease.
"""

from __future__ import annotations

import math
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from scaling.files import write_json
from scaling.records import RunRecord, RunSpec
from scaling.run import RunFolder, checkpoints, number_of
from sweeps.folder import SweepFolder
from sweeps.jobs.attempts import attempts_of, begin, finish, last_attempt, note
from sweeps.jobs.lease import Lease, acquire
from sweeps.jobs.place import Place, task_place
from sweeps.jobs.tracking import trackers
from sweeps.jobs.verdict import ERROR, SAME_ERROR, class_of, note_error, out_of_memory
from sweeps.trainers import load_trainer

LOOK_SECONDS = {"slurm": 10.0}
"""Between two looks for the file that asks to stop: a cluster's jobs are told by a signal too."""


class Stop:
    """Set by a signal or a deadline; the trainer saves and returns at its next step."""

    def __init__(self, deadline: float | None = None) -> None:
        """Not asked yet.

        Args:
            deadline: Time at which to stop as if SIGUSR2 had come.
        """
        self.signals: set[int] = set()
        """Those that came."""
        self.deadline = deadline

    @property
    def warned(self) -> bool:
        """Whether the end of the job's time was announced, or is near."""
        return signal.SIGUSR2 in self.signals or (self.deadline is not None and time.time() >= self.deadline)

    @property
    def asked(self) -> bool:
        """Whether a signal came, or the deadline."""
        return bool(self.signals) or self.warned

    def listen(self) -> None:
        """Take over the signals that mean `stop now`."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signals.add(number)


def run_one(sweep: str, run_id: str, stop: Stop | None = None, about: Mapping[str, Any] | None = None) -> str:
    """Do one run of a sweep and return an outcome.

    Args:
        sweep: The sweep's folder.
        run_id: The run.
        stop: Says when a signal asked to stop.
        about: What the attempt's start.json shall say of the job: its code and its log.

    Returns:
        `completed`, `diverged`, `stopped`; `lost` when another process took the run over; or where there was nothing
        to do `done-before`, `held-elsewhere`, `held-back` (the sweep was stopped or halted).

    Raises:
        Exception: Whatever the trainer raised, after it was written to the attempt's exit.json.
    """
    folder = SweepFolder(sweep)
    stop = stop or Stop()
    place = task_place()
    if place.rank:
        return follow(folder, run_id, place, stop)
    outcome, lease = _take(folder, run_id)
    if lease is None:
        if outcome != "held-elsewhere":  # that may change, so the others go on waiting
            place.tell(folder.run(run_id), go=False)
        return outcome
    told = False
    settings = folder.sweep()
    attempt = begin(folder.run(run_id), checkpoint=newest(folder.states(run_id, settings)), **(about or {}))
    lease.also = attempt / "start.json"
    try:
        spec = folder.spec(run_id)
        run = open_run(folder, spec, settings, stop, lease, on_lost=lambda lost: note(attempt, lost=lost))
        trainer = load_trainer(spec.trainer, spec.where.get("trainer"))
        told = True
        place.tell(folder.run(run_id), go=True)
        record = trainer.train(spec, run)
        if record is None and lease.lost:  # what was done since the last save is done twice
            finish(attempt, "lost", seconds_lost=round(run.seconds_unsaved, 3))
            return "lost"
        if record is None:
            _check_stopped(run)
            outcome = "stopped"
        else:
            record = _with_attempts(_checked(record, spec.id), folder.run(run_id))
            write_json(folder.record_file(run_id), record.to_dict(), once=True)
            if not settings.get("keep_checkpoints"):
                run.discard_checkpoint()
            folder.discard_branches(spec)
            outcome = record.status
        finish(attempt, outcome)
        return outcome
    except KeyboardInterrupt:
        finish(attempt, "stopped")
        raise
    except BaseException as error:  # SystemExit too: a trainer that leaves has not trained
        if not told:
            place.tell(folder.run(run_id), go=False)
        _note_failure(folder, run_id, attempt, error, settings)
        raise
    finally:
        place.take_back(folder.run(run_id))
        lease.release()


def _take(folder: SweepFolder, run_id: str) -> tuple[str, Lease | None]:
    """Return the lease on a run, or why there is none to take."""
    if folder.record_file(run_id).exists():
        return "done-before", None
    if folder.stop_asked(run_id) or folder.halted():
        return "held-back", None
    lease = acquire(folder.run(run_id) / "lease.json")
    if lease is not None and folder.record_file(run_id).exists():  # written by the holder before
        lease.release()
        return "done-before", None
    return "held-elsewhere", lease


def follow(folder: SweepFolder, run_id: str, place: Place, stop: Stop) -> str:
    """Train beside the process that leads a run, once that says so, and return an outcome."""
    path = folder.run(run_id)
    word = place.told(path, lambda: stop.asked or bool(folder.stop_asked(run_id)))
    if not word:
        if folder.record_file(run_id).exists():
            return "done-before"
        return "held-elsewhere" if word is None else "held-back"
    spec, settings = folder.spec(run_id), folder.sweep()
    try:
        run = open_run(folder, spec, settings, stop, None)
        record = load_trainer(spec.trainer, spec.where.get("trainer")).train(spec, run)
    except BaseException as error:
        if (attempt := last_attempt(path)) is not None:  # the leader's, which will only see that it is ended
            _note_failure(folder, run_id, attempt.path, error, settings)
        raise
    if record is None:
        place.wait_for_leader(path)
        return "stopped"
    return record.status


def open_run(
    folder: SweepFolder,
    spec: RunSpec,
    settings: Mapping[str, Any],
    stop: Stop,
    lease: Lease | None,
    on_lost: Callable[[dict[str, float]], None] = lambda lost: None,
) -> RunFolder:
    """Return a run's folder for the process that leads it, or without a lease for one that follows."""
    run_id = spec.id
    path = folder.run(run_id)
    asked = _at_most_every(LOOK_SECONDS.get(settings["executor"], 0.5), lambda: bool(folder.stop_asked(run_id)))
    return RunFolder(
        path,
        save_every=settings["save_every"],
        stop=lambda: stop.asked or (lease is not None and lease.lost) or asked(),
        owned=lambda: lease is None or not lease.lost,
        leader=lease is not None,
        keep_weights=settings.get("keep_weights", True),
        trackers=trackers(settings.get("tracker"), path, spec) if lease is not None else (),
        states=folder.states(run_id, settings),
        scores=folder.scores_file(run_id),
        on_lost=on_lost,
        out_of_memory=out_of_memory(folder, run_id),
    )


def _at_most_every(seconds: float, look: Callable[[], bool]) -> Callable[[], bool]:
    """Return a look whose answer is used for so long, once true for ever."""
    last, answer = -math.inf, False

    def asked() -> bool:
        nonlocal last, answer
        if not answer and time.monotonic() - last >= seconds:
            last, answer = time.monotonic(), look()
        return answer

    return asked


def newest(states: Path) -> int:
    """Return the number of a run's last checkpoint, 0 where there is none."""
    return max(map(number_of, checkpoints(states)), default=0)


def _note_failure(
    folder: SweepFolder, run_id: str, attempt: Path, error: BaseException, settings: Mapping[str, Any]
) -> None:
    """Note an exception with its class, and count it where it is the trainer's own mistake."""
    kind = class_of(error)
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    told = {"class": kind, "error": said, "traceback": traceback.format_exc()}
    finish(attempt, "failed", **told)
    if kind == ERROR:
        note_error(folder, run_id, error, same_error=settings.get("same_error", SAME_ERROR))


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


def _with_attempts(record: RunRecord, run: Path) -> RunRecord:
    """Return a record with what all attempts took together."""
    attempts = attempts_of(run)
    before = sum(attempt.seconds for attempt in attempts[:-1])
    spent = round(before + time.time() - attempts[-1].start["began"], 3)
    return replace(
        record,
        attempts=len(attempts),
        seconds=spent if record.seconds is None else record.seconds,
        seconds_spent=spent,
        steps_repeated=round(sum(attempt.start.get("lost", {}).get("steps", 0) for attempt in attempts)),
    )
