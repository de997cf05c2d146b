"""Jobs that reach their time limit, are preempted, get no signal, or run out of memory: each goes on where it was."""

import sys
import time

import pytest

from scaling.files import read_json
from sweeps.cli import main
from sweeps.jobs import site
from sweeps.jobs.intents import RUNS, intents_of
from sweeps.jobs.status import sweep_status

from ..sweeps.helpers import outcomes
from .cluster import expected_chain, jobs_of, preempt, states, submitted, wait_for, write_grid

pytestmark = pytest.mark.slurm

SAVE_EVERY = 2.0
STEP = 0.1


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    site.cancel(list(site.queue()))


def only_record(folder, seconds=300):
    """Return the record of the only run, checked against an undisturbed run, and by how much it was set back."""
    wait_for(lambda: len(folder.record_ids()) == 1, seconds)
    record = folder.record(folder.record_ids()[0])
    assert record.metrics["chain"] == expected_chain(record.updates, record.spec["seed"])
    for start in folder.run(record.id).glob("attempts/*/start.json"):
        assert read_json(start).get("lost", {}).get("seconds", 0.0) <= SAVE_EVERY + 2 * STEP + 1
    return record


@pytest.mark.parametrize("deaf", ["false", "true"])
def test_preempted_jobs_lose_no_more_than_the_saving_interval(tmp_path, deaf):
    args = f"{{seconds: {STEP}, deaf: {deaf}}}"
    folder = submitted(write_grid(tmp_path, partition="low", steps=250, save_every=f"{SAVE_EVERY}s", args=args)).folder
    wait_for(lambda: sweep_status(folder)[0].progress > 0.3)
    preempt(nodes=2)
    record = only_record(folder)
    assert record.metrics["resumes"] == 1.0
    assert record.steps_repeated <= (SAVE_EVERY / STEP + 10 if deaf == "true" else 1)


def test_the_time_limit_is_kept_by_the_jobs_own_clock_where_no_signal_comes(tmp_path):
    args = f"{{seconds: {STEP}, deaf: true}}"
    # a container that has none of SLURM's commands: what follows a run is decided outside of it
    python = f", python: env PATH=/nowhere {sys.executable}"
    grid = write_grid(tmp_path, timeout="1m", steps=700, save_every="1h", args=args, more=python)
    record = only_record(submitted(grid).folder)
    assert record.attempts >= 2
    assert record.steps_repeated == 0, "it saved itself before the limit, long before save_every"


def test_a_run_out_of_memory_is_tried_with_smaller_passes(tmp_path):
    folder = submitted(write_grid(tmp_path, steps=5, args="{hungry: 2}")).folder
    record = only_record(folder)
    assert record.attempts == 3
    wait_for(lambda: outcomes(folder, record.id) == ["memory", "memory", "completed"], 10)
    assert len(set(jobs_of(folder).values())) == 1, "in the same job"


def test_pause_keeps_the_jobs_and_resume_goes_on(tmp_path):
    grid = write_grid(tmp_path, seeds="[0, 1, 2]", steps=120, save_every="1h", more=", array_parallelism: 1")
    folder = submitted(grid).folder
    wait_for(lambda: "running" in states(folder))
    time.sleep(2)
    assert main(["pause", str(folder.path)]) == 0
    wait_for(lambda: set(states(folder)) == {"held"})
    jobs = jobs_of(folder)
    assert set(jobs.values()) <= set(site.queue()), "they keep their place"
    assert main(["resume", str(folder.path)]) == 0
    wait_for(lambda: len(folder.record_ids()) == 3, 240)
    assert jobs_of(folder) == jobs, "nothing was sent anew"
    assert sum(folder.record(run_id).metrics["resumes"] for run_id in folder.record_ids()) == 1.0


def test_one_run_is_cancelled_and_retried(tmp_path):
    grid = write_grid(tmp_path, seeds="[0, 1]", steps=100)
    folder = submitted(grid).folder
    wait_for(lambda: states(folder) == ["running"] * 2)
    run_id = sweep_status(folder)[0].id
    assert main(["cancel", str(folder.path), "--run", run_id[:8]]) == 0
    wait_for(lambda: states(folder)[0] == "cancelled")
    again = submitted(grid)
    assert (again.cancelled, run_id in again.new) == (1, False), "it stays cancelled when the grid is submitted"
    wait_for(lambda: states(folder)[1] == "completed")
    assert states(folder)[0] == "cancelled"
    assert main(["retry", str(folder.path), "--run", run_id]) == 0
    wait_for(lambda: len(folder.record_ids()) == 2)
    assert folder.record(run_id).metrics["resumes"] == 1.0


def test_a_job_that_never_began_says_so_and_is_sent_again(tmp_path, capsys):
    setup = "[ $SLURM_ARRAY_TASK_COUNT -lt 2 ] || exit 3"  # of the two runs, not of the keeper
    grid = write_grid(tmp_path, steps=3, seeds="[0, 1]", more=f", setup: ['{setup}'], keeper: {{every: 3s}}")
    folder = submitted(grid).folder
    wait_for(lambda: not site.queue(), 180)
    run = sweep_status(folder)[0]
    assert run.state == "died"
    arrays = [intent for intent in intents_of(folder) if intent.kind == RUNS]
    assert [intent.by for intent in arrays] == ["submit", "keeper", "keeper"], "sent again, and not for ever"
    assert main(["why", str(folder.path), run.id]) == 0
    assert "retry" in capsys.readouterr().out
    submitted(write_grid(tmp_path, steps=3, seeds="[0, 1]"))
    wait_for(lambda: len(folder.record_ids()) == 2)


def test_edits_after_the_submission_change_nothing(tmp_path):
    grid = write_grid(tmp_path, seeds="[0, 1]", steps=40, more=", array_parallelism: 1")
    folder = submitted(grid).folder
    trainer = grid.parent / "chain.py"
    trainer.write_text(trainer.read_text().replace("48271", "16807"))
    wait_for(lambda: len(folder.record_ids()) == 2)
    for run_id in folder.record_ids():
        record = folder.record(run_id)
        assert record.metrics["chain"] == expected_chain(40, record.spec["seed"])
