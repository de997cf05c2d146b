"""A submitter that is killed at any of its steps, and submitters at once: no run is lost, none is sent twice."""

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from sweeps.cli import main
from sweeps.folder import SweepFolder
from sweeps.jobs import site
from sweeps.jobs.intents import KEEPER, RUNS, intents_of
from sweeps.jobs.lease import is_live

from .cluster import jobs_of, states, submitted, wait_for, write_grid

pytestmark = pytest.mark.slurm

KILLED_AT = textwrap.dedent(
    """
    import os, pathlib, signal, subprocess, sys, tempfile
    at, counted = int(sys.argv[1]), 0

    def point():  # a step of the submission: the process dies here, or goes on
        global counted
        if counted == at:
            os.kill(os.getpid(), signal.SIGKILL)
        counted += 1

    def around(function, when=lambda *args: True):
        def call(*args, **kwargs):
            if not when(*args):
                return function(*args, **kwargs)
            point()
            result = function(*args, **kwargs)
            point()
            return result
        return call

    for name in ("fsync", "link", "replace", "rename"):
        setattr(os, name, around(getattr(os, name)))
    tempfile.mkstemp = around(tempfile.mkstemp)
    subprocess.run = around(subprocess.run, when=lambda command, *rest: command[0] == "sbatch")
    from sweeps.cli import main
    code = main(["submit", "grid.yaml"])
    pathlib.Path("points").write_text(str(counted))
    sys.exit(code)
    """
)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    jobs = list(site.queue())  # keepers that wait for their time
    site.cancel(jobs)


def killed_submitter(folder, at):
    """Submit the grid in a folder by a process that is killed at one of its steps; return its exit code."""
    (folder / "killed.py").write_text(KILLED_AT)
    done = subprocess.run([sys.executable, "killed.py", str(at)], cwd=folder, capture_output=True, check=False)
    return done.returncode


def sent(folder):
    """Return the intents of runs whose jobs SLURM took."""
    return [intent for intent in intents_of(folder) if intent.kind == RUNS and intent.jobs]


def test_a_submitter_killed_at_every_step_loses_and_doubles_nothing(tmp_path):
    whole = tmp_path / "whole"
    whole.mkdir()
    settings = {"seeds": "[0, 1]", "steps": 2, "args": "{}"}
    write_grid(whole, **settings)
    assert killed_submitter(whole, 10**9) == 0
    points = int((whole / "points").read_text())
    assert points > 60, "files and sbatch are watched"
    folders = []
    for at in range(points):
        folder = tmp_path / f"at{at}"
        folder.mkdir()
        grid = write_grid(folder, name=f"at{at}", **settings)
        assert killed_submitter(folder, at) == -9, f"step {at}"
        folders.append(submitted(grid).folder)
    for at, folder in enumerate(folders):
        wait_for(lambda: len(folder.record_ids()) == 2, 180)  # noqa: B023
        assert len(sent(folder)) <= 1, f"step {at}: two arrays"
        for run_id in folder.record_ids():
            assert folder.record(run_id).attempts == 1, f"step {at}: done twice"
        left = [path.name for path in folder.path.rglob("*.json") if not path.name.startswith(".tmp-")]
        assert "lease.json" not in left, f"step {at}"
        assert set(states(folder)) == {"completed"}


def test_submitters_at_once_send_every_run_once(tmp_path):
    grid = write_grid(tmp_path, seeds=str(list(range(10))), steps=20)
    command = [sys.executable, "-m", "sweeps.cli", "submit", str(grid)]
    together = [subprocess.Popen(command) for _ in range(4)]
    assert [process.wait() for process in together] == [0] * 4
    folder = SweepFolder(tmp_path / "results" / "chain")
    assert len(sent(folder)) == 1
    assert len([intent for intent in intents_of(folder) if intent.kind == KEEPER]) == 1
    wait_for(lambda: len(folder.record_ids()) == 10)
    assert {folder.record(run_id).attempts for run_id in folder.record_ids()} == {1}


def test_an_added_size_is_all_that_is_sent(tmp_path):
    folder = submitted(write_grid(tmp_path, sizes="[100, 200]", steps=3)).folder
    wait_for(lambda: len(folder.record_ids()) == 2)
    again = submitted(write_grid(tmp_path, sizes="[100, 200, 400]", steps=3))
    assert len(again.new) == 1
    assert [len(intent.runs) for intent in sent(folder)] == [2, 1]
    wait_for(lambda: len(folder.record_ids()) == 3)


def test_an_array_is_cut_to_what_the_site_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "max_array", lambda: 4)
    folder = submitted(write_grid(tmp_path, seeds=str(list(range(10))), steps=2, more=", array_parallelism: 10")).folder
    assert [len(intent.runs) for intent in sent(folder)] == [4, 4, 2]
    scripts = [(intent.path / "script.sh").read_text() for intent in sent(folder)]
    widths = [int(text.split("--array=")[1].split("%")[1].split()[0]) for text in scripts]
    assert sum(widths) == 10, "the throttle is shared"
    wait_for(lambda: len(folder.record_ids()) == 10)


def test_a_cancelled_sweep_stays_cancelled(tmp_path):
    grid = write_grid(tmp_path, seeds=str(list(range(6))), steps=200, more=", keeper: {every: 5s}")
    folder = submitted(grid).folder
    wait_for(lambda: "running" in states(folder))
    assert main(["cancel", str(folder.path)]) == 0
    wait_for(lambda: set(states(folder)) == {"cancelled"})
    assert not site.queue()
    assert not any(is_live(path) for path in folder.path.glob("runs/*/lease.json"))
    assert main(["retry", str(folder.path)]) == 2, "a cancelled sweep is submitted, not retried"
    assert not site.queue()
    submitted(grid)
    assert len(set(jobs_of(folder).values()) & set(site.queue())) == 6


def test_dry_run_prints_the_script_and_sends_nothing(tmp_path, capsys):
    grid = write_grid(tmp_path, seeds="[0, 1, 2]", more=", account: none, qos: normal")
    before = set(site.queue())
    assert main(["submit", str(grid), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "#SBATCH --array=0-2%3" in out
    assert "#SBATCH --partition=main" in out
    assert "to start at" in out or "error" in out
    assert set(site.queue()) == before
    assert not Path("results").exists()
    assert os.environ.get("SLURM_CONF")


def test_status_asks_squeue_once_and_a_run_makes_few_files(tmp_path, monkeypatch):
    folder = submitted(write_grid(tmp_path, seeds=str(list(range(8))), steps=3)).folder
    wait_for(lambda: len(folder.record_ids()) == 8)
    asked = tmp_path / "asked"
    (tmp_path / "bin").mkdir()
    for name in ("squeue", "sacct", "scontrol"):
        command = tmp_path / "bin" / name
        command.write_text(f'#!/bin/sh\necho {name} >> {asked}\nexec {shutil.which(name)} "$@"\n')
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert main(["status", str(folder.path)]) == 0
    assert asked.read_text().split() == ["squeue"]
    wait_for(lambda: set(states(folder)) == {"completed"})
    shared = sum(1 for path in (folder.path / "code").rglob("*"))
    files = sum(1 for path in folder.path.rglob("*") if path.is_file()) - shared
    assert files / 8 <= 10
