"""The local executor: a bounded queue over submitit's local jobs, in a process of its own.

submitit starts all local jobs at once and forgets them with the shell; this queue starts as many as there are
slots, survives the terminal, gives each slot its own GPU, and stops when asked. It reads the plan anew on every
round, so a grid that was changed and submitted again is picked up. Run as `python -m sweeps.jobs.local SWEEP`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from sweeps.folder import SweepFolder
from sweeps.jobs.lease import Lease, acquire, is_live
from sweeps.jobs.worker import run_job

POLL_SECONDS = 0.25
MAX_DEATHS = 3
"""Times a run may die without a word (killed, out of memory) before the queue leaves it."""
TIMEOUT_MINUTES = 60 * 24 * 365
"""submitit's local jobs need a time limit; a laptop has none."""


def start_queue(folder: SweepFolder) -> None:
    """Start the queue of a sweep in a session of its own; one that is alive goes on instead."""
    if is_live(folder.queue_lease):
        return
    folder.submissions.mkdir(parents=True, exist_ok=True)
    with (folder.submissions / "queue.log").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "sweeps.jobs.local", str(folder.path.resolve())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            check=True,
        )


def visible_gpus() -> list[str]:
    """Return the GPUs that jobs may use, by number or by UUID, without importing torch."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [item.strip() for item in visible.split(",") if item.strip()]
    if shutil.which("nvidia-smi") is None:
        return []
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [str(i) for i in range(sum(line.startswith("GPU ") for line in listing.stdout.splitlines()))]


class Queue:
    """Runs that wait, and runs that a slot works on."""

    def __init__(self, folder: SweepFolder, lease: Lease) -> None:
        """Work a sweep while the lease is held."""
        self.folder, self.lease = folder, lease
        self.gpus = visible_gpus()
        self.running: dict[str, tuple[int, Any, int]] = {}
        """Run -> its slot, its job, and the submission that it was started for."""
        self.submitted = -1
        self._read()

    def _read(self) -> None:
        """Read the settings, and give failed runs another chance, whenever the sweep was submitted anew."""
        submitted = self.folder.sweep_file.stat().st_mtime_ns
        if submitted == self.submitted:
            return
        self.submitted = submitted
        settings = self.folder.sweep()
        self.slots: int = settings["slots"]
        os.environ["OMP_NUM_THREADS"] = str(settings["threads"])
        self.failed: set[str] = set()
        self.deaths: Counter[str] = Counter()

    def work(self) -> None:
        """Start runs as slots come free, until none is left, a stop is asked for, or the lease is lost."""
        while not self.lease.lost:
            self._read()
            self._reap()
            stop = self.folder.stop_asked()
            free = [slot for slot in range(self.slots) if slot not in {s for s, _, _ in self.running.values()}]
            if free and not stop:  # looking through the plan costs, so not while all slots work
                free = free[: max(0, self.slots - len(self.running) - self._elsewhere())]
                for slot, run_id in zip(free, self._waiting(), strict=False):
                    self.running[run_id] = (slot, self._start(run_id, slot), self.submitted)
            if not self.running and (stop or not self._pending()):
                return
            time.sleep(POLL_SECONDS)

    def _pending(self) -> list[str]:
        """Return the planned runs that are neither done nor failed here."""
        done = set(self.folder.record_ids())
        return [i for i in self.folder.planned_ids() if i not in done and i not in self.failed]

    def _elsewhere(self) -> int:
        """Return how many runs other processes hold, such as workers whose queue was killed: they fill slots too."""
        return sum(
            is_live(self.folder.run(run_id) / "lease.json") for run_id in self._pending() if run_id not in self.running
        )

    def _waiting(self) -> list[str]:
        """Return the pending runs that nobody works on; a live lease is another worker's, which is waited for.

        A run that starts from another's state waits for it, unless that one failed.
        """
        pending = self._pending()
        later = {
            row["id"]
            for row in self.folder.plan()
            if row.get("parent") and row["parent"]["id"] in pending and self.folder.waits_for_parent(row)
        }
        return [
            run_id
            for run_id in pending
            if run_id not in self.running
            and run_id not in later
            and not is_live(self.folder.run(run_id) / "lease.json")
        ]

    def _start(self, run_id: str, slot: int) -> Any:
        """Start a submitit job for a run."""
        import submitit

        executor = submitit.LocalExecutor(folder=self.folder.submissions / "local")
        executor.update_parameters(timeout_min=TIMEOUT_MINUTES, stderr_to_stdout=True)
        devices = self.gpus[slot % len(self.gpus)] if self.gpus else None
        job = executor.submit(run_job, str(self.folder.path.resolve()), run_id, devices)
        print(f"{time.strftime('%F %T')} {run_id} started as job {job.job_id}")
        return job

    def _reap(self) -> None:
        """Take runs off their slots whose job has ended, and judge those without a record."""
        for run_id, (_, job, submitted) in list(self.running.items()):
            if not job.done():
                continue
            del self.running[run_id]
            attempt = self.folder.last_attempt(run_id)
            outcome = attempt[1]["outcome"] if attempt and attempt[1] else "died"
            if self.folder.record_file(run_id).exists():
                outcome = "done"
            elif submitted != self.submitted:
                outcome += ", and was submitted again since"
            elif outcome == "failed":
                self.failed.add(run_id)
            elif outcome == "died":
                self.deaths[run_id] += 1
                if self.deaths[run_id] >= MAX_DEATHS:
                    self.failed.add(run_id)
            print(f"{time.strftime('%F %T')} {run_id} {outcome}")


def main() -> None:
    """Take the lease of the queue named on the command line and work it in a process that nobody waits for.

    The lease is taken by the process that works, and this one returns when it is: so who calls knows that the queue
    is alive. A second queue finds the lease taken and leaves.
    """
    folder = SweepFolder(Path(sys.argv[1]))
    read, write = os.pipe()
    if os.fork():
        os.close(write)
        os.read(read, 1)  # until the lease is taken, or the other process is gone
        return
    os.close(read)
    lease = acquire(folder.queue_lease)
    os.close(write)
    seen = -1
    while lease is not None:
        try:
            queue = Queue(folder, lease)
            queue.work()
            seen = queue.submitted
        finally:
            lease.release()
        # a submission that came while this queue was about to leave took it for alive
        lease = acquire(folder.queue_lease) if folder.sweep_file.stat().st_mtime_ns != seen else None


if __name__ == "__main__":
    main()
