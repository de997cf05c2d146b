"""Everything fails at random, and in the end every run has its one record, equal to that of an undisturbed run."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from scaling.files import read_json
from sweeps.folder import SweepFolder
from sweeps.jobs import site
from sweeps.jobs.status import sweep_status

from .cluster import daemon, expected_chain, kill, preempt, start_cluster, wait_for, write_grid

pytestmark = pytest.mark.slurm

RUNS = 100
STEPS = 80
SAVE_EVERY = 0.5
SECONDS = 60
"""How long things are broken."""


class Chaos:
    """Breaks one thing at a time, by a seeded script."""

    def __init__(self, grid, seed):
        self.grid, self.random = grid, random.Random(seed)
        self.folder = SweepFolder(grid.parent / "results" / "chain")
        self.done = []

    def play(self, seconds, *, accounting):
        kinds = [
            *("kill_task",) * 6,
            *("requeue",) * 4,
            *("kill_submitter",) * 3,
            *("preempt", "node_down", "restart_controller"),
            *(("hang_accounting",) if accounting else ()),
        ]
        wait_for(lambda: len(self.running()) >= 5)
        for kind in dict.fromkeys(kinds):  # each at least once, while there is something to break
            wait_for(getattr(self, kind), 60, show=lambda: kind)  # noqa: B023
            self.done.append(kind)
            time.sleep(self.random.uniform(0.2, 1.5))
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.running():
            kind = self.random.choice(kinds)
            if getattr(self, kind)():
                self.done.append(kind)
            time.sleep(self.random.uniform(0.2, 1.5))

    def running(self):
        return [
            path.parent.name
            for path in self.folder.path.glob("runs/*/lease.json")
            if not self.folder.record_file(path.parent.name).exists()
        ]

    def kill_task(self):
        running = self.running()
        if not running:
            return False
        lease = self.folder.run(self.random.choice(running)) / "lease.json"
        try:
            return kill(json.loads(lease.read_text())["pid"])
        except (FileNotFoundError, ValueError):
            return False

    def requeue(self):
        try:
            jobs = [job for job, at in site.queue().items() if at.state == "R"]
            site.requeue(self.random.choice(jobs))
        except (site.UnreachableError, IndexError):
            return False
        return True

    def preempt(self):
        try:
            preempt(nodes=1)
        except subprocess.SubprocessError:
            return False
        return True

    def node_down(self):
        kill(daemon("slurmd-n1"))
        subprocess.run(["scontrol", "update", "nodename=n1", "state=down", "reason=chaos"], check=False)
        time.sleep(self.random.uniform(3, 8))
        start_cluster()
        return True

    def restart_controller(self):
        kill(daemon("slurmctld"))
        time.sleep(self.random.uniform(0, 2))
        start_cluster()
        return True

    def hang_accounting(self):
        pid = daemon("slurmdbd")
        kill(pid, signal.SIGSTOP)
        started = time.monotonic()
        sweep_status(self.folder)
        assert time.monotonic() - started < 30, "status waits for nothing that hangs"
        time.sleep(3)
        kill(pid, signal.SIGCONT)
        return True

    def kill_submitter(self):
        process = submitter(self.grid)
        time.sleep(self.random.uniform(0.1, 1.2))
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True


def submitter(grid):
    command = [sys.executable, "-m", "sweeps.cli", "submit", str(grid)]
    return subprocess.Popen(command, cwd=grid.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize("accounting", [True, False])
def test_a_hundred_runs_survive_everything(tmp_path, monkeypatch, accounting, request):
    if not accounting:
        request.getfixturevalue("cluster_without_accounting")
    monkeypatch.chdir(tmp_path)
    grid = write_grid(
        tmp_path,
        partition="low",
        seeds=str(list(range(RUNS))),
        steps=STEPS,
        save_every=f"{SAVE_EVERY}s",
        args="{seconds: 0.1}",
        more=", keeper: {partition: main, every: 20s}",
    )
    assert submitter(grid).wait() == 0
    chaos = Chaos(grid, seed=7)
    chaos.play(SECONDS if accounting else SECONDS / 2, accounting=accounting)
    start_cluster()
    folder = chaos.folder
    wait_for(lambda: len(folder.record_ids()) == RUNS, 600, pause=1)
    print("broken:", {kind: chaos.done.count(kind) for kind in sorted(set(chaos.done))})
    planned = {row["id"]: row for row in folder.plan()}
    assert set(folder.record_ids()) == set(planned), "one record a run, and none of another"
    repeated = attempts = 0
    for run_id, row in planned.items():
        record = folder.record(run_id)
        assert record.status == "completed"
        assert record.metrics["chain"] == expected_chain(STEPS, row["seed"])
        repeated += record.steps_repeated
        attempts += record.attempts
    print(f"{attempts} attempts at {RUNS} runs, {repeated} of {RUNS * STEPS} steps taken twice")
    assert attempts > RUNS
    for run_id in planned:  # what an attempt takes again is what came after its checkpoint
        for start in folder.run(run_id).glob("attempts/*/start.json"):
            assert read_json(start).get("lost", {}).get("seconds", 0.0) < SAVE_EVERY + 5
    # no job is left, not even the keeper; one that ended as slurmctld was killed is thought alive for two minutes
    wait_for(lambda: not site.queue(), 300, show=site.queue)


@pytest.fixture
def cluster_without_accounting(monkeypatch):
    """Start a second cluster that has no slurmdbd, and make it the one that commands talk to."""
    settings = {"SLURM_CI_DIR": "/tmp/slurm-ci-plain", "SLURM_CI_PORT": "28810", "SLURM_CI_DBD": "0"}
    for key, value in settings.items():
        monkeypatch.setenv(key, value)
    start_cluster()
    monkeypatch.setenv("SLURM_CONF", os.path.join(settings["SLURM_CI_DIR"], "etc/slurm.conf"))  # noqa: PTH118
    yield
    from .cluster import SCRIPT

    subprocess.run([SCRIPT, "wipe"], check=True, capture_output=True)
