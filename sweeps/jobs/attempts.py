"""The attempts at a run: where and with what each ran, how it ended, and what they cost together.

An attempt's `start.json` is touched while it lives, so that its last sign of life is known of one that died.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.files import read_json, write_json
from sweeps.jobs.logs import last_metrics


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One attempt."""

    path: Path
    start: dict[str, Any]
    end: dict[str, Any] | None
    """What exit.json says; None while it runs, and when it died without a word."""

    @property
    def number(self) -> int:
        """1 for the first."""
        return int(self.path.name)

    @property
    def job(self) -> str:
        """The SLURM job that it ran in, empty elsewhere."""
        return self.start.get("job", "")

    @property
    def checkpoint(self) -> int:
        """Number of the last checkpoint that was there when it began."""
        return int(self.start.get("checkpoint", 0))

    @property
    def seconds(self) -> float:
        """How long it lived, as far as is known."""
        began = self.start.get("began")
        if began is None:  # of an older version
            return 0.0
        last = self.end.get("ended") if self.end else None
        return max(0.0, (last or (self.path / "start.json").stat().st_mtime) - began)


def attempts_of(run: Path) -> list[Attempt]:
    """Return all attempts at a run, the first one first."""
    return [attempt for number in _numbers(run) if (attempt := _read(run / "attempts" / str(number)))]


def last_attempt(run: Path) -> Attempt | None:
    """Return the last attempt at a run, or None where there was none."""
    numbers = _numbers(run)
    return _read(run / "attempts" / str(numbers[-1])) if numbers else None


def _numbers(run: Path) -> list[int]:
    try:
        return sorted(int(entry.name) for entry in os.scandir(run / "attempts") if entry.name.isdigit())
    except FileNotFoundError:
        return []


def _read(path: Path) -> Attempt | None:
    try:
        start = read_json(path / "start.json")
    except InputError:  # it died before it could write it
        return Attempt(path=path, start={}, end=None)
    end = path / "exit.json"
    return Attempt(path=path, start=start, end=read_json(end) if end.exists() else None)


def begin(run: Path, **more: Any) -> Path:
    """Make the folder of a new attempt and note where and with what it runs."""
    attempts = run / "attempts"
    log = Path(more["log"]) if more.get("log") else None
    last = last_metrics(run)
    attempts.mkdir(parents=True, exist_ok=True)
    path = attempts / str(1 + max(_numbers(run), default=0))
    write_json(
        path / "start.json",
        {
            "host": socket.gethostname(),
            "node": os.environ.get("SLURMD_NODENAME", ""),
            "pid": os.getpid(),
            "job": slurm_job(),
            "step": slurm_step(),
            "devices": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
            "gpus": _gpus(),
            "kills": out_of_memory_kills(),
            "python": platform.python_version(),
            "command": sys.argv,
            "slurm": {key: os.environ[key] for key in sorted(os.environ) if key.startswith("SLURM_") and "ID" in key},
            "log_size": log.stat().st_size if log is not None and log.exists() else 0,
            "logged": last["step"] if last else 0,
            "began": time.time(),
            "time": now(),
            **more,
        },
    )
    return path


def note(attempt: Path, **more: Any) -> None:
    """Add to what an attempt's start.json says."""
    write_json(attempt / "start.json", {**read_json(attempt / "start.json"), **more})


def finish(attempt: Path, outcome: str, **more: Any) -> None:
    """Note how an attempt ended; what was noted first stays."""
    write_json(attempt / "exit.json", {"outcome": outcome, "ended": time.time(), "time": now(), **more}, once=True)


def slurm_job() -> str:
    """Return the id of the SLURM job that this process is in as squeue writes it, empty outside."""
    array, element = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if array and element:
        return f"{array}_{element}"
    return os.environ.get("SLURM_JOB_ID", "")


def slurm_step() -> str:
    """Return which start of its run in a SLURM job this is: how often the job was requeued, and the round in it."""
    restart, step = os.environ.get("SLURM_RESTART_COUNT", "0"), os.environ.get("SCALING_SWEEP_STEP", "")
    return f"{restart}.{step}" if step else ""


def out_of_memory_kills() -> int:
    """Return how many processes this machine's kernel has killed for their memory since it started."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def now() -> str:
    """Return the time, in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _gpus() -> list[str]:
    """Return the names of the node's NVIDIA GPUs, without loading torch or starting a program."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model:")]
