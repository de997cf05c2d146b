"""Why a run failed, and whether it is tried again: one rule for the local queue, SLURM's jobs and `retry`.

infrastructure: killed, a node or a file system that failed, a job that ended before the run began.
    Again, up to `tries` times without a new checkpoint.
timeout: the time limit came before the run had saved itself.
    Again, where a checkpoint was written since the last time.
memory: the device or the node had too little.
    Again with half the micro-batch, and with twice the memory where it is sent anew, up to `tries` times.
error: an exception of the trainer's.
    Not again; the same one in `same_error` runs halts the sweep.

A diverged run is a result, not a failure. Counting starts anew with every `submit` and `retry`.
"""

from __future__ import annotations

import errno
import hashlib
import re
import signal
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scaling.files import read_json, write_json
from sweeps.folder import SweepFolder
from sweeps.grid import SAME_ERROR, TRIES
from sweeps.jobs.attempts import Attempt, attempts_of, out_of_memory_kills
from sweeps.jobs.logs import tail

STOPS = 10
"""Attempts in a row that may save and stop without a step in between."""
INFRASTRUCTURE, TIMEOUT, MEMORY, ERROR = "infrastructure", "timeout", "memory", "error"
CLASSES = (INFRASTRUCTURE, TIMEOUT, MEMORY, ERROR)

_MEMORY = re.compile(
    r"out of memory|not enough memory|can't allocate memory|cannot allocate memory|failed to allocate", re.I
)
_FABRIC = re.compile(
    r"NCCL|uncorrectable ECC|CUDA error: (unspecified|an illegal|device-side|all CUDA)|Connection (reset|closed)", re.I
)
_FABRIC_ERRNO = {errno.EIO, errno.ESTALE, errno.ENOSPC, errno.EDQUOT, errno.EREMOTEIO, errno.ETIMEDOUT, errno.ENOTCONN}
_LOG = (  # what SLURM writes into a job's log, and what it means
    (re.compile(r"DUE TO TIME LIMIT"), TIMEOUT, "it reached its time limit"),
    (
        re.compile(r"oom.kill|exceeded (job |step )?memory limit|Out Of Memory", re.I),
        MEMORY,
        "the node killed it for its memory",
    ),
    (re.compile(r"DUE TO NODE FAILURE"), INFRASTRUCTURE, "its node failed"),
    (re.compile(r"DUE TO PREEMPTION"), INFRASTRUCTURE, "it was preempted"),
)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an attempt did not end well."""

    kind: str
    """One of CLASSES."""
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is to be done about a run."""

    action: str
    """`done`; `again`; `leave` (it will not be tried again on its own); `held` (paused)."""
    reason: str = ""
    kind: str = ""
    """Class of the failure, where there was one."""
    alike: int = 0
    """How many attempts in a row failed like the last, without a new checkpoint."""
    shrink: int = 0
    """How often it ran out of memory since it was last given a chance: the micro-batch is halved so often."""


def judge(folder: SweepFolder, run_id: str) -> Verdict:
    """Return what is to be done about a run that nobody works on."""
    if folder.record_file(run_id).exists():
        return Verdict(action="done")
    asked = folder.stop_asked(run_id)
    if asked:
        return Verdict(action="held" if asked == "paused" else "leave", reason=asked)
    if (halt := folder.halted()) is not None:
        return Verdict(action="leave", reason=f"the sweep was halted: {halt['error']}")
    attempts = chances(folder, run_id)
    failures = [failure_of(attempt) for attempt in attempts]
    shrink = out_of_memory(folder, run_id)
    if not attempts or failures[-1] is None:
        if _stands_still(attempts):
            reason = f"it stopped {STOPS} times without a step: its time is too short for its start"
            return Verdict(action="leave", reason=reason, kind=TIMEOUT, shrink=shrink)
        return Verdict(action="again", shrink=shrink)
    last = failures[-1]
    alike = 0
    for attempt, failure in zip(reversed(attempts), reversed(failures), strict=True):
        if failure is None or failure.kind != last.kind or attempt.checkpoint != attempts[-1].checkpoint:
            break
        alike += 1
    allowed = {ERROR: 0, TIMEOUT: 1}.get(last.kind, folder.sweep().get("tries", TRIES) - 1)
    action = "again" if alike <= allowed else "leave"
    return Verdict(action=action, reason=last.reason, kind=last.kind, alike=alike, shrink=shrink)


def _stands_still(attempts: Sequence[Attempt]) -> bool:
    """Whether the last attempts all began after the same step, and each was stopped."""
    last = attempts[-STOPS:]
    logged = {attempt.start.get("logged") for attempt in last}
    return len(last) == STOPS and len(logged) == 1 and all(failure_of(attempt) is None for attempt in last)


def chances(folder: SweepFolder, run_id: str) -> list[Attempt]:
    """Return the attempts since a run was last given a chance by `submit` or `retry`."""
    after = _chance(folder, run_id).get("after", 0)
    return [attempt for attempt in attempts_of(folder.run(run_id)) if attempt.number > after]


def out_of_memory(folder: SweepFolder, run_id: str) -> int:
    """Return how often a run ran out of memory since it was last submitted."""
    failures = [failure_of(attempt) for attempt in chances(folder, run_id)]
    before = _chance(folder, run_id).get("shrink", 0)
    return before + sum(failure is not None and failure.kind == MEMORY for failure in failures)


def give_chance(folder: SweepFolder, run_id: str, *, shrink: int = 0) -> None:
    """Let a run that failed be tried as if for the first time, but with passes that were halved so often already."""
    attempts = attempts_of(folder.run(run_id))
    if attempts:
        write_json(folder.run(run_id) / "chance.json", {"after": attempts[-1].number, "shrink": shrink})


def _chance(folder: SweepFolder, run_id: str) -> dict[str, int]:
    file = folder.run(run_id) / "chance.json"
    return read_json(file) if file.exists() else {}


def failure_of(attempt: Attempt) -> Failure | None:
    """Return why an attempt failed; None where it ended well, or saved and stopped when asked."""
    end = attempt.end
    if end is None:
        return _from_log(attempt)
    if end["outcome"] in ("failed", "died"):
        return Failure(
            kind=end.get("class", ERROR if end["outcome"] == "failed" else INFRASTRUCTURE),
            reason=end.get("error", "it died without a word"),
        )
    return None


def _from_log(attempt: Attempt) -> Failure:
    """Return why an attempt died, as far as the end of its log tells."""
    text = log_tail(attempt)
    for pattern, kind, reason in _LOG:
        if pattern.search(text):
            return Failure(kind=kind, reason=reason)
    return Failure(kind=INFRASTRUCTURE, reason="it died without a word")


def class_of_death(attempt: Attempt, code: int) -> tuple[str, str]:
    """Return (class, reason) of an attempt whose process ended without a word, seen from its own machine.

    Args:
        attempt: The attempt.
        code: Exit code as a shell has it: 128 + the signal.
    """
    failure = _from_log(attempt)
    if failure.kind != INFRASTRUCTURE:
        return failure.kind, failure.reason
    if code == 128 + signal.SIGKILL and out_of_memory_kills() > attempt.start.get("kills", 0):
        return MEMORY, "the kernel killed it for its memory"
    if code > 128:
        return INFRASTRUCTURE, f"it was killed by signal {code - 128}"
    return INFRASTRUCTURE, f"it ended with code {code} without a word"


def log_tail(attempt: Attempt) -> str:
    """Return the end of what an attempt wrote into its log, which it may share with those before; empty without one."""
    log = attempt.start.get("log")
    return tail(Path(log), start=int(attempt.start.get("log_size", 0))) if log else ""


def class_of(error: BaseException) -> str:
    """Return the class of an exception that a trainer raised."""
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _MEMORY.search(text):
        return MEMORY
    if isinstance(error, OSError) and error.errno in _FABRIC_ERRNO:
        return INFRASTRUCTURE
    if type(error).__name__.startswith("Dist") or _FABRIC.search(text):
        return INFRASTRUCTURE
    return ERROR


def fingerprint(error: BaseException) -> str:
    """Return a hash of an exception's type and of the places that it went through: alike for the same mistake."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}:{frame.name}" for frame in frames]
    return hashlib.sha256("\n".join([type(error).__name__, *places]).encode()).hexdigest()[:12]


def note_error(folder: SweepFolder, run_id: str, error: BaseException, *, same_error: int = SAME_ERROR) -> None:
    """Count a trainer's error, and halt the sweep when so many runs have the same."""
    mark = folder.errors / fingerprint(error)
    mark.mkdir(parents=True, exist_ok=True)
    (mark / run_id).touch()
    alike = sorted(path.name for path in mark.iterdir())
    if len(alike) >= same_error:
        write_json(folder.halt_file, {"error": f"{type(error).__name__}: {error}", "runs": alike}, once=True)
