"""Which of several processes of a job this one is, and how the first tells the others to begin.

SLURM and the local queue start as many processes of a run as it has GPUs and nodes. The first one takes the lease and
writes the record; the others wait for its word, a small file of the job in the run's folder, and then train beside it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scaling.files import read_json, write_json

WAIT_SECONDS = 300.0
"""How long the others wait: longer than the first waits for a lease that another job holds."""
POLL_SECONDS = 0.2
LOCAL_JOB = "SCALING_SWEEP_JOB"
"""Set by the local queue for the processes of a run, beside torch's RANK, WORLD_SIZE and so on."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """One process of a job."""

    rank: int
    size: int
    job: str
    """Tells this start of the job from others."""

    def tell(self, run: Path, *, go: bool) -> None:
        """Tell the others of this job whether to train."""
        if self.size > 1:
            write_json(self._file(run), {"go": go})

    def take_back(self, run: Path) -> None:
        """Remove the word to train once the run is over; a word not to stays for those who come late."""
        file = self._file(run)
        if self.size > 1 and file.exists() and read_json(file)["go"]:
            file.unlink(missing_ok=True)

    def told(self, run: Path, stopped: Callable[[], bool]) -> bool | None:
        """Wait for the first process's word and return it; None when none came, or the run was stopped before."""
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until and not stopped():
            if self._file(run).exists():
                return bool(read_json(self._file(run))["go"])
            time.sleep(POLL_SECONDS)
        return None

    def wait_for_leader(self, run: Path) -> None:
        """Wait until the first process has saved and taken its word back: who leaves early ends the others."""
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until and self._file(run).exists():
            time.sleep(POLL_SECONDS)

    def _file(self, run: Path) -> Path:
        return run / "together" / f"{self.job}.json"


def task_place() -> Place:
    """Return the place of this process among those that a SLURM job or the local queue started for one run."""
    if os.environ.get(LOCAL_JOB):
        return Place(rank=int(os.environ["RANK"]), size=int(os.environ["WORLD_SIZE"]), job=os.environ[LOCAL_JOB])
    size = int(os.environ.get("SLURM_NTASKS", "1"))
    if size == 1 or os.environ.get("SUBMITIT_EXECUTOR") != "slurm":
        return Place(rank=0, size=1, job="")
    # an element of an array has a job id of its own, a job that was requeued another count, a step another number
    names = ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")
    job = "-".join(os.environ.get(name, "0") for name in names)
    return Place(rank=int(os.environ["SLURM_PROCID"]), size=size, job=job)
