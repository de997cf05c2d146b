"""A sweep from submission to table: nothing twice, nothing lost, by every executor of this machine."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

from scaling import InputError, RunRecord, WorkError
from scaling.files import read_json, write_json
from scaling.results import read_records
from sweeps.cli import main
from sweeps.collect import write_table
from sweeps.folder import SweepFolder
from sweeps.jobs.lease import acquire, is_live
from sweeps.jobs.local import start_queue
from sweeps.jobs.status import sweep_status
from sweeps.jobs.watch import watch
from sweeps.jobs.worker import run_one
from tests.sweeps.helpers import states, submitted, wait_for


def test_the_same_grid_twice_submits_nothing_twice(toy):
    first = submitted(toy())
    assert (len(first.new), first.done) == (12, 0)
    times = {p: p.stat().st_mtime_ns for p in (first.folder.path / "records").iterdir()}
    second = submitted(toy())
    assert (second.new, second.done) == ([], 12)
    assert times == {p: p.stat().st_mtime_ns for p in (first.folder.path / "records").iterdir()}


def test_a_changed_grid_submits_the_difference(toy):
    submitted(toy())
    more = submitted(toy(model="{sizes: [100, 300, 1k, 3k]}"))
    assert (len(more.new), more.done) == (4, 12)
    assert len(more.folder.record_ids()) == 16


def test_a_failure_stays_apart_and_is_tried_again(toy, capsys):
    grid = toy(trainer_args="{bad_seed: 1}")
    with pytest.raises(WorkError, match="seed 1 is bad"):
        submitted(grid)
    folder = SweepFolder(grid.parent / "results" / "toy")
    failed = [run for run in sweep_status(folder) if run.state == "failed"]
    assert failed[0].error == "RuntimeError: seed 1 is bad"


@pytest.mark.parametrize(
    ("line", "state", "error"),
    [
        ("return None", "failed", "is a `return RunRecord.of(...)` missing?"),
        ("import sys; sys.exit(3)", "failed", "SystemExit: 3"),
        ("return RunRecord.of(spec, cost(spec), loss='3.1')", "failed", "a loss is a float"),
        ("return RunRecord.of(spec, cost(spec), loss=float('nan'))", "diverged", "the loss is nan"),
    ],
)
def test_what_is_no_result_is_named_and_not_tried_for_ever(toy, line, state, error):
    grid = toy(seeds="[0]", budgets="[1e7]", model="{sizes: [100]}")
    trainer = grid.parent / "toy.py"
    trainer.write_text(trainer.read_text().replace("    args = spec.trainer_args\n", f"    {line}\n", 1))
    folder = submitted(grid, "local").folder
    (run,) = watch(folder)
    assert run.state == state
    assert error in run.error
    assert len(list((folder.run(run.id) / "attempts").iterdir())) == 1


def test_a_diverged_run_is_a_result(toy):
    folder = submitted(toy(trainer_args="{mad_seed: 1}")).folder
    assert sorted(set(states(folder))) == ["completed", "diverged"]
    assert submitted(toy(trainer_args="{mad_seed: 1}")).new == []


def test_a_run_is_done_once_whoever_asks(toy):
    folder = submitted(toy()).folder
    run_id = folder.record_ids()[0]
    assert run_one(str(folder.path), run_id) == "done-before"
    folder.record_file(run_id).unlink()
    lease = acquire(folder.run(run_id) / "lease.json")
    assert lease is not None
    assert run_one(str(folder.path), run_id) == "held-elsewhere"
    lease.release()
    assert run_one(str(folder.path), run_id) == "completed"


def test_a_record_that_is_there_is_never_replaced(toy):
    """A worker whose lease was lost writes after another one: the first record stays."""
    folder = submitted(toy()).folder
    run_id = folder.record_ids()[0]
    record = folder.record(run_id)
    folder.record_file(run_id).write_text(json.dumps({**record.to_dict(), "seconds": 42.0}))
    write_json(folder.record_file(run_id), record.to_dict(), once=True)
    assert RunRecord.read(folder.record_file(run_id)).seconds == 42.0


def test_a_spec_of_the_same_id_and_another_content_is_refused(toy):
    folder = submitted(toy()).folder
    spec = folder.run(folder.record_ids()[0]) / "spec.json"
    spec.write_text(spec.read_text().replace('"seed": 0', '"seed": 5').replace('"seed": 1', '"seed": 6'))
    with pytest.raises(InputError, match="of the same id and another content"):
        submitted(toy())


def test_places_and_flags_of_a_spec_follow_the_grid(toy):
    folder = submitted(toy()).folder
    run_id = folder.record_ids()[0]
    spec = folder.run(run_id) / "spec.json"
    moved = read_json(spec)
    moved["where"]["trainer"] = "/gone"
    write_json(spec, moved)
    submitted(toy())
    assert folder.spec(run_id).where["trainer"] != "/gone"


def test_a_live_queue_tries_failed_runs_again_after_a_new_submission(toy):
    grid = toy(
        trainer_args="{bad_seed: 1, steps: 60, seconds: 0.05}",
        cluster="{executor: local, slots: 2}",
        budgets="[1e7]",
        model="{sizes: [100]}",
        seeds="[0, 1, 2]",
    )
    folder = submitted(grid, "local").folder
    wait_for(lambda: "failed" in states(folder))
    trainer = grid.parent / "toy.py"
    trainer.write_text(trainer.read_text().replace('if spec.seed == args.get("bad_seed")', "if False"))
    assert is_live(folder.queue_lease)
    submitted(grid, "local")
    watch(folder)
    assert set(states(folder)) == {"completed"}


def test_the_local_queue_keeps_to_its_slots_and_finishes(toy):
    folder = submitted(toy(trainer_args="{steps: 10, seconds: 0.05}"), "local").folder
    most = 0
    while is_live(folder.queue_lease):
        most = max(most, states(folder).count("running"))
        time.sleep(0.05)
    assert most == 2
    assert set(states(folder)) == {"completed"}
    assert len(folder.record_ids()) == 12


def test_two_queues_at_once_are_one(toy):
    folder = submitted(toy(trainer_args="{steps: 20, seconds: 0.05}"), "local").folder
    for _ in range(3):
        start_queue(folder)
    watch(folder)
    attempts = [len(list((folder.run(i) / "attempts").iterdir())) for i in folder.record_ids()]
    assert attempts == [1] * 12


def test_everything_killed_goes_on_from_the_checkpoints(toy):
    """kill -9 of queue and workers in the middle, then submit again: only unfinished runs go on, where they were."""
    grid = toy(trainer_args="{steps: 40, seconds: 0.05}", seeds="[0]")
    folder = submitted(grid, "local").folder
    wait_for(lambda: any(run.progress > 0.5 for run in sweep_status(folder)))
    for pid in descendants(read_json(folder.queue_lease)["pid"]):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not is_live(folder.queue_lease) and "running" not in states(folder))
    done = set(folder.record_ids())
    cut = [run for run in sweep_status(folder) if run.state == "died" and run.progress > 0.4]
    assert cut
    again = submitted(grid, "local")
    assert set(again.new) == {row["id"] for row in folder.plan()} - done
    watch(folder)
    assert set(states(folder)) == {"completed"}
    for run in cut:
        assert folder.record(run.id).metrics["resumes"] == 1.0
    for run_id in done:
        assert len(list((folder.run(run_id) / "attempts").iterdir())) == 1


def descendants(pid):
    """Return a process and all below it."""
    listing = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = [tuple(map(int, line.split())) for line in listing.splitlines()]
    found = [pid]
    for parent in found:
        found += [child for child, of in parents if of == parent]
    return found


def test_cancel_saves_and_stops_and_submit_goes_on(toy):
    grid = toy(
        trainer_args="{steps: 60, seconds: 0.05}", seeds="[0]", cluster="{executor: local, slots: 2, save_every: 1h}"
    )
    folder = submitted(grid, "local").folder
    wait_for(lambda: any(run.progress > 0.3 for run in sweep_status(folder)))
    assert main(["cancel", str(folder.path)]) == 0
    wait_for(lambda: not is_live(folder.queue_lease))
    assert set(states(folder)) - {"completed"} == {"cancelled"}
    stopped = [run for run in sweep_status(folder) if run.state == "cancelled" and run.progress]
    assert len(stopped) == 2
    submitted(grid, "local")
    watch(folder)
    assert set(states(folder)) == {"completed"}
    assert folder.record(stopped[0].id).metrics["resumes"] == 1.0


def test_ctrl_c_saves_and_stops(toy):
    grid = toy(
        trainer_args="{steps: 100, seconds: 0.05}", seeds="[0]", cluster="{executor: local, slots: 2, save_every: 1h}"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "sweeps.cli", "submit", str(grid), "--wait"],
        cwd=grid.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell leaves it ignored
    )
    folder = SweepFolder(grid.parent / "results" / "toy")
    wait_for(lambda: folder.plan_file.exists() and any(run.progress > 0.1 for run in sweep_status(folder)))
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "saving and stopping" in err
    assert "submit the grid again and they go on from their checkpoints" in out
    assert "Traceback" not in err
    stopped = [run for run in sweep_status(folder) if run.state == "cancelled" and run.progress]
    assert len(stopped) == 2
    assert all(list(folder.run(run.id).glob("checkpoint-*.json")) for run in stopped)


def test_the_queue_survives_the_command_that_started_it(toy):
    grid = toy(trainer_args="{steps: 20, seconds: 0.05}", seeds="[0]")
    command = [sys.executable, "-m", "sweeps.cli", "submit", str(grid), "--executor", "local"]
    subprocess.run(command, cwd=grid.parent, check=True, capture_output=True)
    folder = SweepFolder(grid.parent / "results" / "toy")
    assert is_live(folder.queue_lease)
    watch(folder)
    assert set(states(folder)) == {"completed"}


def test_status_changes_nothing(toy):
    folder = submitted(toy()).folder

    def snapshot():
        return {p: p.stat().st_mtime_ns for p in folder.path.rglob("*") if p.is_file()}

    before = snapshot()
    sweep_status(folder)
    assert main(["status", str(folder.path)]) == 0
    assert snapshot() == before


def test_collect_writes_one_table_and_names_what_is_no_record(toy, capsys):
    folder = submitted(toy()).folder
    (folder.path / "records" / "torn.json").write_text('{"id": "x", "sta')
    (folder.path / "records" / "foreign.json").write_text('{"hello": 1}')
    rows, excluded = read_records(folder.path)
    assert len(rows) == 12
    assert {e["file"].rsplit("/", 1)[1] for e in excluded} == {"torn.json", "foreign.json"}
    for suffix in (".csv", ".jsonl"):
        write_table(rows, folder.path / f"runs{suffix}")
    table = pd.read_csv(folder.path / "runs.csv")
    assert table["loss"].tolist() == [row["loss"] for row in rows]
    assert set(table["model_size"]) == {100, 300, 1000}
    with pytest.raises(InputError, match="no such table format"):
        write_table(rows, folder.path / "runs.xlsx")
