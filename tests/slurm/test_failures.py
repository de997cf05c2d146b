"""Failures of one process of several, of a node's memory, of SLURM itself: named, bounded, and made good."""

import os
import shutil
import subprocess
import time

import pytest

from sweeps.cli import main
from sweeps.folder import SweepFolder
from sweeps.jobs import site
from sweeps.jobs.intents import KEEPER, RUNS, intents_of
from sweeps.jobs.keeper import keep
from sweeps.jobs.status import sweep_status

from ..sweeps.helpers import outcomes
from .cluster import SCRIPT, expected_chain, states, submitted, wait_for, write_grid

pytestmark = pytest.mark.slurm


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    site.cancel(list(site.queue()))


def test_an_error_of_any_process_is_the_runs_error(tmp_path):
    folder = submitted(write_grid(tmp_path, processes=2, steps=100, args="{seconds: 0.1, bad_rank: 1}")).folder
    wait_for(lambda: states(folder) == ["failed"])
    (run,) = sweep_status(folder)
    assert (run.kind, run.attempts) == ("error", 1)
    assert run.error == "ValueError: this process is bad"
    wait_for(lambda: not [job for job, at in site.queue().items() if at.state == "R"])


def test_an_error_behind_a_setup_with_steps_of_its_own_is_not_tried_again(tmp_path):
    more = ", setup: [srun true]"
    folder = submitted(write_grid(tmp_path, args="{bad_rank: 0}", more=more)).folder
    wait_for(lambda: states(folder) == ["failed"])
    assert [run.attempts for run in sweep_status(folder)] == [1]


def test_processes_that_are_stopped_wait_for_the_one_that_saves(tmp_path):
    """KillWait is 2 s on this cluster: a leader that needs 6 to save would be killed if the others left before."""
    args = "{seconds: 0.1, slow_save: 6}"
    grid = write_grid(tmp_path, processes=2, steps=150, save_every="1h", args=args)
    folder = submitted(grid).folder
    wait_for(lambda: sweep_status(folder)[0].progress > 0.2)
    site.warn([job for job, at in site.queue().items() if at.state == "R"])
    wait_for(lambda: len(folder.record_ids()) == 1, 180)
    record = folder.record(folder.record_ids()[0])
    assert (record.metrics["resumes"], record.steps_repeated) == (1.0, 0)
    assert record.metrics["chain"] == expected_chain(150, 0)
    wait_for(lambda: outcomes(folder, record.id) == ["stopped", "completed"], 10)


def test_a_node_that_runs_out_of_memory_is_asked_for_more(tmp_path):
    folder = submitted(write_grid(tmp_path, steps=3, args="{hog: 330}")).folder
    wait_for(lambda: len(folder.record_ids()) == 1, 120)
    (run_id,) = folder.record_ids()
    wait_for(lambda: outcomes(folder, run_id) == ["memory", "completed"], 10)
    asked = [intent.resources["memory_gb"] for intent in intents_of(folder) if intent.kind == RUNS]
    assert asked == [0.25, 0.5]


def test_the_keeper_outlives_a_squeue_that_fails(tmp_path, monkeypatch):
    """A job is scancelled by hand; the keeper comes while squeue fails, tries again, and sends the run anew."""
    broken = tmp_path / "broken"
    (tmp_path / "bin").mkdir()
    squeue = tmp_path / "bin" / "squeue"
    squeue.write_text(f'#!/bin/sh\n[ ! -e {broken} ] || exit 1\nexec {shutil.which("squeue")} "$@"\n')
    squeue.chmod(0o755)
    monkeypatch.setattr("sweeps.jobs.script.PATIENCE", (0, 3, 3, 3, 3, 3, 3, 3))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    grid = write_grid(tmp_path, steps=100, more=", keeper: {every: 3s}")
    folder = submitted(grid).folder
    wait_for(lambda: states(folder) == ["running"])
    (job,) = [job for job, at in site.queue().items() if at.state == "R" and at.name == intents_of(folder)[-1].name]
    broken.touch()
    subprocess.run(["scancel", job], check=True)
    time.sleep(8)
    assert "unknown" in states(folder)
    broken.unlink()
    wait_for(lambda: len(folder.record_ids()) == 1, 120)
    assert folder.record(folder.record_ids()[0]).metrics["chain"] == expected_chain(100, 0)


def test_a_job_that_lives_on_after_its_run_is_cancelled_and_the_run_sent_anew(tmp_path, monkeypatch):
    """As SLURM thinks of a job whose end its controller did not live to note: here its script hangs after the run."""
    setup = 'srun() { command srun "$@" || { sleep 600; return 75; }; }'
    folder = submitted(write_grid(tmp_path, steps=100, more=f", keeper: false, setup: ['{setup}']")).folder
    (run_id,) = folder.planned_ids()
    wait_for(lambda: sweep_status(folder)[0].progress > 0.2)
    (job,) = site.queue()
    site.warn([job])
    wait_for(lambda: outcomes(folder, run_id) == ["stopped"])
    assert "0 sent again" in keep(folder), "its job may be about to end"
    monkeypatch.setattr("sweeps.jobs.keeper.GHOST_SECONDS", 1.0)
    time.sleep(2)
    assert site.queue()[job].state == "R"
    assert "1 sent again" in keep(folder)
    wait_for(lambda: job not in site.queue())
    wait_for(lambda: len(folder.record_ids()) == 1)
    record = folder.record(run_id)
    assert (record.attempts, record.metrics["chain"]) == (2, expected_chain(100, 0))


def test_a_partition_that_is_not_there_is_said_and_leaves_no_keeper(tmp_path, capsys):
    grid = write_grid(tmp_path, partition="mian", more=", keeper: {partition: main}")
    assert main(["submit", str(grid)]) == 1
    err = capsys.readouterr().err
    assert "invalid partition" in err
    assert "scaling-sweep doctor" in err
    wait_for(lambda: not site.queue())
    assert main(["submit", str(grid), "--dry-run"]) == 1


def test_submit_lets_a_paused_sweep_go_on(tmp_path):
    grid = write_grid(tmp_path, seeds="[0, 1]", steps=80, more=", array_parallelism: 1")
    folder = submitted(grid).folder
    wait_for(lambda: "running" in states(folder))
    assert main(["pause", str(folder.path)]) == 0
    wait_for(lambda: set(states(folder)) == {"held"})
    submitted(grid)
    wait_for(lambda: len(folder.record_ids()) == 2, 180)


@pytest.fixture
def small_limit(monkeypatch):
    """Start a cluster that takes three jobs of a user at a time."""
    before = {key: os.environ[key] for key in ("SLURM_CONF", "SLURM_CI_DIR")}
    settings = {"SLURM_CI_DIR": "/tmp/slurm-ci-small", "SLURM_CI_PORT": "28910"}
    for key, value in {**settings, "SLURM_CI_EXTRA": "AccountingStorageEnforce=limits"}.items():
        monkeypatch.setenv(key, value)
    subprocess.run([SCRIPT, "start"], check=True, capture_output=True, timeout=120)
    monkeypatch.setenv("SLURM_CONF", f"{settings['SLURM_CI_DIR']}/etc/slurm.conf")
    user = os.environ.get("USER", "root")
    for command in (
        ["add", "account", "lab"],
        ["add", "user", user, "account=lab"],
        ["modify", "user", user, "set", "MaxSubmitJobs=5"],
    ):
        subprocess.run(["sacctmgr", "-i", *command], check=False, capture_output=True)
    yield
    subprocess.run([SCRIPT, "wipe"], check=True, capture_output=True)
    for key, value in before.items():
        monkeypatch.setenv(key, value)


@pytest.mark.usefixtures("small_limit")
def test_what_the_site_does_not_take_now_is_sent_by_the_keeper(tmp_path, capsys):
    grid = write_grid(tmp_path, seeds=str(list(range(12))), steps=5, more=", account: lab, keeper: {every: 3s}")
    assert main(["submit", str(grid)]) == 0
    assert "runs are sent when others have ended" in capsys.readouterr().err
    (results,) = (tmp_path / "results").iterdir()
    folder = SweepFolder(results)
    first = [intent for intent in intents_of(folder) if intent.jobs]
    assert first[0].kind == KEEPER, "the keeper goes first, so that somebody sends the rest"
    wait_for(lambda: len(folder.record_ids()) == 12, 240)
    assert {folder.record(run_id).attempts for run_id in folder.record_ids()} == {1}
    wait_for(lambda: not site.queue(), 60)
