"""Which of several processes of a job this one is, and how the first tells the others to begin.

SLURM starts as many processes of a run as it has GPUs and nodes. The first one takes the lease and writes the
record; the others wait for its word, a small file of the job in the run's folder, and then train beside it.
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

    def told(self, run: Path, stopped: Callable[[], bool]) -> bool:
        """Wait for the first process's word and return it; False when none came, or the run was stopped before."""
        until = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < until and not stopped():
            if self._file(run).exists():
                return bool(read_json(self._file(run))["go"])
            time.sleep(POLL_SECONDS)
        return False

    def _file(self, run: Path) -> Path:
        return run / "together" / f"{self.job}.json"


def task_place() -> Place:
    """Return the place of this process, from SLURM's or torchrun's variables; alone where there are none."""
    for size, rank, names in (
        ("WORLD_SIZE", "RANK", ("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_PORT")),
        ("SLURM_NTASKS", "SLURM_PROCID", ("SLURM_JOB_ID", "SLURM_RESTART_COUNT")),
    ):
        if size in os.environ and rank in os.environ:
            job = "-".join(os.environ.get(name, "0") for name in names)
            return Place(rank=int(os.environ[rank]), size=int(os.environ[size]), job=job)
    return Place(rank=0, size=1, job="")
