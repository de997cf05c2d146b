"""The local executor: a bounded queue in a process of its own.

It starts as many runs as there are slots and GPUs, survives the terminal, gives every run GPUs of its own, tries again
what the rule of retries allows, and stops when asked. A run is the same command as on SLURM. The plan is read anew on
every round, so a grid that was changed and submitted again is picked up. Run as `python -m sweeps.jobs.local SWEEP`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.folder import SweepFolder
from sweeps.jobs.attempts import begin, finish, last_attempt
from sweeps.jobs.lease import Lease, acquire, is_live
from sweeps.jobs.place import LOCAL_JOB
from sweeps.jobs.snapshot import job_command
from sweeps.jobs.verdict import INFRASTRUCTURE, class_of_death, judge

POLL_SECONDS = 0.25


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


def on_this_machine(resources: Mapping[str, Any], gpus: int | None = None) -> dict[str, Any]:
    """Return what a run gets here of what it asks for: one node, and no more GPUs than there are.

    Args:
        resources: What it asks for.
        gpus: GPUs of this machine; counted when not given.
    """
    there = len(visible_gpus()) if gpus is None else gpus
    gpus, processes = int(resources["gpus"]), int(resources["processes"])
    share = min(max(1, gpus), there)
    if gpus and processes == gpus:
        processes = max(1, share)
    return {**resources, "gpus": share, "nodes": 1, "processes": processes}


@dataclass(kw_only=True)
class Job:
    """A run that was started, and the GPUs that it has."""

    processes: list[subprocess.Popen[bytes]]
    gpus: list[str]
    submitted: int
    """The submission that it was started for."""

    def ended(self) -> int | None:
        """Return the first process's exit code when all have ended; when one failed, the others are ended."""
        codes = [process.poll() for process in self.processes]
        if any(code not in (None, 0) for code in codes):
            for process, code in zip(self.processes[1:], codes[1:], strict=True):
                if code is None:
                    process.terminate()
            if codes[0] is None and any(code is not None and code < 0 for code in codes[1:]):
                self.processes[0].kill()  # it cannot train without one that was killed
        return None if None in codes else codes[0]


class Queue:
    """Runs that wait, and runs that are worked on."""

    def __init__(self, folder: SweepFolder, lease: Lease) -> None:
        """Work a sweep while the lease is held."""
        self.folder, self.lease = folder, lease
        self.free = visible_gpus()
        self.all_gpus = len(self.free)
        self.running: dict[str, Job] = {}
        self.submitted = -1
        self._read()

    def _read(self) -> None:
        """Read the settings, and look at every run anew, whenever the sweep was submitted anew."""
        submitted = self.folder.sweep_file.stat().st_mtime_ns
        if submitted == self.submitted:
            return
        self.submitted = submitted
        self.settings = self.folder.sweep()
        self.left: set[str] = set()
        """Runs that are not tried again on their own."""

    def work(self) -> None:
        """Start runs as slots come free, until none is left, a stop is asked for, or the lease is lost."""
        while not self.lease.lost:
            self._read()
            self._reap()
            stop = bool(self.folder.stop_asked()) or self.folder.halted() is not None
            if not stop:
                self._fill()
            if not self.running and (stop or not self._pending()):
                return
            time.sleep(POLL_SECONDS)

    def _fill(self) -> None:
        """Start as many runs as there are slots and GPUs; looking through the plan costs, so not while all work."""
        slots = self.settings["slots"] - len(self.running)
        if slots <= 0 or (self.all_gpus and not self.free):
            return
        slots -= self._elsewhere()
        for row in self._waiting():
            if slots <= 0:
                return
            asked = on_this_machine(row.get("resources") or {"gpus": 0, "processes": 1}, self.all_gpus)
            if asked["gpus"] > len(self.free):
                return  # the first in line waits for its GPUs; smaller ones behind it would keep it waiting for ever
            if not self._may_start(row["id"]):
                continue
            self.running[row["id"]] = self._start(row["id"], asked)
            slots -= 1

    def _may_start(self, run_id: str) -> bool:
        """Whether the rule of retries lets a run start."""
        verdict = judge(self.folder, run_id)
        if verdict.action != "again":
            self.left.add(run_id)
        return verdict.action == "again"

    def _pending(self) -> list[str]:
        """Return the planned runs that are neither done nor given up, dearest first."""
        done = set(self.folder.record_ids())
        return [i for i in self.folder.planned_ids() if i not in done and i not in self.left]

    def _elsewhere(self) -> int:
        """Return how many runs other processes hold, such as workers whose queue was killed: they fill slots too."""
        return sum(
            is_live(self.folder.run(run_id) / "lease.json") for run_id in self._pending() if run_id not in self.running
        )

    def _waiting(self) -> list[dict[str, Any]]:
        """Return the rows of the plan that nobody works on; a live lease is another worker's, which is waited for.

        A run that starts from another's state waits for it, unless that one failed.
        """
        pending = self._pending()
        rows = {row["id"]: row for row in self.folder.plan()}
        return [
            rows[run_id]
            for run_id in pending
            if run_id not in self.running
            and not (
                rows[run_id].get("parent")
                and rows[run_id]["parent"]["id"] in pending
                and self.folder.waits_for_parent(rows[run_id])
            )
            and not is_live(self.folder.run(run_id) / "lease.json")
        ]

    def _start(self, run_id: str, asked: Mapping[str, Any]) -> Job:
        """Start the processes of a run."""
        gpus = [self.free.pop(0) for _ in range(asked["gpus"])]
        size = asked["processes"]
        command = [
            *job_command(self.folder, self.settings.get("code", ""), self.settings),
            "run",
            str(self.folder.path),
            run_id,
        ]
        together = {
            LOCAL_JOB: f"{os.getpid()}-{time.time_ns()}",
            "WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(_free_port()),
        }
        base = {**os.environ, "OMP_NUM_THREADS": str(self.settings["threads"])}
        if self.all_gpus:
            base["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
        processes = []
        with (self.folder.run(run_id) / "log").open("ab") as log:
            for rank in range(size):
                own = {**together, "RANK": str(rank), "LOCAL_RANK": str(rank)} if size > 1 else {}
                processes.append(
                    subprocess.Popen(
                        command,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        env={**base, **own},
                    )
                )
        print(f"{time.strftime('%F %T')} {run_id} started as process {processes[0].pid}")
        return Job(processes=processes, gpus=gpus, submitted=self.submitted)

    def _reap(self) -> None:
        """Take runs off their slots whose processes have ended, and note those that died without a word."""
        for run_id, job in list(self.running.items()):
            code = job.ended()
            if code is None:
                continue
            del self.running[run_id]
            self.free += job.gpus
            outcome = self._note_end(run_id, job.processes[0].pid, code)
            if outcome not in ("done", "stopped") and job.submitted == self.submitted:
                self._may_start(run_id)
            print(f"{time.strftime('%F %T')} {run_id} {outcome}")

    def _note_end(self, run_id: str, pid: int, code: int) -> str:
        """Return how a run's processes ended, noted in its attempt where they could not do it themselves."""
        if self.folder.record_file(run_id).exists():
            return "done"
        attempt = last_attempt(self.folder.run(run_id))
        if attempt is None or attempt.start.get("pid") != pid:
            if code == 0:
                return "had nothing to do"
            why = f"it ended with code {code} before the run began"
            log = str(self.folder.run(run_id) / "log")
            finish(begin(self.folder.run(run_id), log=log), "died", **{"class": INFRASTRUCTURE}, error=why)
            return f"died: {why}"
        if attempt.end is None:
            kind, why = class_of_death(attempt, 128 - code if code < 0 else code)
            finish(attempt.path, "died", **{"class": kind}, error=why)
            return f"died: {why}"
        return attempt.end["outcome"]


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


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
