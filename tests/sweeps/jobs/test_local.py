"""The local queue's retries, GPUs and several processes a run; the worker's lease; memory; scratch."""

import importlib
import json
import os
import shutil
import signal
import sys

import pytest

from scaling import InputError
from scaling.files import read_json, write_json, write_json_lines
from sweeps.cli import main
from sweeps.gridfile import load_grid
from sweeps.jobs.lease import is_live
from sweeps.jobs.local import on_this_machine
from sweeps.jobs.status import sweep_status
from sweeps.jobs.submit import submit
from sweeps.jobs.watch import watch
from sweeps.jobs.worker import run_one
from sweeps.plan import make_plan
from tests.sweeps.helpers import PAIR, outcomes, states, submitted, wait_for


def _submitted(grid, executor="local"):
    return submitted(grid, executor).folder


ONE = {"seeds": "[0]", "budgets": "[1e7]", "model": "{sizes: [100]}"}


def change_trainer(grid, line):
    trainer = grid.parent / "toy.py"
    trainer.write_text(
        trainer.read_text().replace("    args = spec.trainer_args\n", f"    args = spec.trainer_args\n    {line}\n", 1)
    )


def test_a_run_that_is_killed_is_taken_up_again_by_the_queue(toy):
    folder = _submitted(toy(**ONE, trainer_args="{steps: 60, seconds: 0.05}"))
    (run_id,) = folder.planned_ids()
    wait_for(lambda: sweep_status(folder)[0].progress > 0.3)
    os.kill(read_json(folder.run(run_id) / "lease.json")["pid"], signal.SIGKILL)
    (run,) = watch(folder)
    assert (run.state, run.attempts) == ("completed", 2)
    assert outcomes(folder, run_id) == ["infrastructure", "completed"]
    assert folder.record(run_id).metrics["resumes"] == 1.0
    assert 0 <= folder.record(run_id).steps_repeated <= 0.2 * run.row["updates"]


def test_a_run_that_always_dies_is_left_after_some_tries(toy, capsys):
    grid = toy(**ONE, cluster="{executor: local, tries: 2}")
    change_trainer(grid, "os.kill(os.getpid(), 9)")
    folder = _submitted(grid)
    (run,) = watch(folder)
    assert (run.state, run.kind, run.attempts) == ("died", "infrastructure", 2)
    assert main(["why", str(folder.path), run.id]) == 0
    out = capsys.readouterr().out
    assert "it was killed by signal 9" in out
    assert f"scaling-sweep retry toy --run {run.id}" in out


def test_a_trainer_that_cannot_be_loaded_in_the_job_is_left_too(toy):
    grid = toy(**ONE, cluster="{executor: local, tries: 2, snapshot: false}")
    plan = make_plan(load_grid(grid))
    trainer = grid.parent / "toy.py"
    trainer.write_text("def broken(:\n")
    folder = submit(plan, results=grid.parent / "results", executor="local").folder
    (run,) = watch(folder)
    assert (run.state, run.kind) == ("failed", "error")
    assert "toy.py:1" in run.error


def test_memory_failures_are_tried_with_smaller_passes(toy):
    grid = toy(**ONE)
    change_trainer(grid, "if run.out_of_memory < 2: raise MemoryError('too large')")
    folder = _submitted(grid)
    (run,) = watch(folder)
    assert run.state == "completed"
    assert outcomes(folder, run.id) == ["memory", "memory", "completed"]


def test_an_error_in_three_runs_halts_the_sweep_and_submit_starts_it_again(toy, capsys):
    grid = toy(trainer_args="{bad_seed: 0}", seeds="[0]", cluster="{executor: local, slots: 1}")
    folder = _submitted(grid)
    watch(folder)
    assert states(folder).count("failed") == 3
    assert states(folder).count("pending") == 3
    assert main(["status", str(folder.path)]) == 0
    out = capsys.readouterr().out
    assert "no further run starts: 3 failed alike (RuntimeError: seed 0 is bad)" in out
    assert "scaling-sweep why toy" in out
    trainer = grid.parent / "toy.py"
    trainer.write_text(trainer.read_text().replace('if spec.seed == args.get("bad_seed")', "if False"))
    _submitted(grid)
    watch(folder)
    assert set(states(folder)) == {"completed"}


def test_retry_takes_the_class_that_is_asked_for(toy):
    grid = toy(trainer_args="{bad_seed: 0}", seeds="[0]", budgets="[1e7]", model="{sizes: [100, 300]}")
    folder = _submitted(grid)
    watch(folder)
    assert main(["retry", str(folder.path), "--class", "timeout"]) == 0
    assert [run.attempts for run in sweep_status(folder)] == [1, 1]
    assert main(["retry", str(folder.path), "--class", "error", "--run", folder.planned_ids()[0]]) == 0
    watch(folder)
    assert sorted(run.attempts for run in sweep_status(folder)) == [1, 2]


def test_pause_and_resume(toy):
    folder = _submitted(toy(trainer_args="{steps: 40, seconds: 0.05}", seeds="[0]", budgets="[1e7]"))
    wait_for(lambda: any(run.progress > 0.2 for run in sweep_status(folder)))
    assert main(["pause", str(folder.path)]) == 0
    wait_for(lambda: not is_live(folder.queue_lease))
    assert set(states(folder)) <= {"stopped", "completed"}
    assert main(["resume", str(folder.path)]) == 0
    watch(folder)
    assert set(states(folder)) == {"completed"}
    assert main(["resume", str(folder.path)]) == 2, "it is not paused"


def test_a_sweep_that_is_done_cannot_be_cancelled(toy, capsys):
    folder = _submitted(toy(seeds="[0]", budgets="[1e7]"))
    watch(folder)
    assert main(["cancel", str(folder.path)]) == 2
    assert "nothing to cancel: it is done" in capsys.readouterr().err
    assert not folder.stop_asked()
    assert set(states(folder)) == {"completed"}


def test_a_cancelled_run_stays_so_until_it_is_retried(toy):
    grid = toy(trainer_args="{steps: 30, seconds: 0.05}", seeds="[0]", budgets="[1e7]")
    folder = _submitted(grid)
    first = folder.planned_ids()[-1]
    assert main(["cancel", str(folder.path), "--run", first]) == 0
    watch(folder)
    _submitted(grid)
    watch(folder)
    assert sorted(states(folder)) == ["cancelled", "completed", "completed"]
    assert main(["retry", str(folder.path), "--run", first]) == 0
    watch(folder)
    assert set(states(folder)) == {"completed"}


def test_logs_and_names_of_runs(toy, capsys):
    grid = toy(**ONE)
    change_trainer(grid, "print('hello from the trainer')")
    folder = _submitted(grid)
    watch(folder)
    (run_id,) = folder.planned_ids()
    assert main(["logs", str(folder.path), run_id[:6], "--follow"]) == 0
    assert "hello from the trainer" in capsys.readouterr().out
    assert main(["logs", run_id[:6]]) == 0, "in any sweep under results/"
    assert "hello from the trainer" in capsys.readouterr().out
    assert main(["why", f"toy/{run_id}"]) == 0
    assert "next: scaling-fit" in capsys.readouterr().out
    assert main(["logs", str(folder.path), "zzz"]) == 2
    assert "no such run" in capsys.readouterr().err


def test_gpus_are_shared_out_and_a_run_has_its_own(toy, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7")
    grid = toy(
        seeds="[0, 1, 2, 3]",
        budgets="[1e7]",
        model="{sizes: [100, 300]}",
        cluster="{executor: local, slots: 4, resources: [{up_to: 200, gpus: 1}, {up_to: 1M, gpus: 2}]}",
    )
    change_trainer(grid, "time.sleep(0.3); run.log(0, loss=1.0); seen = os.environ['CUDA_VISIBLE_DEVICES'].split(',')")
    trainer = grid.parent / "toy.py"
    times = "{'began': run.save_due * 0.0, 'gpus': float(len(seen)), 'first': float(seen[0])}"
    trainer.write_text(trainer.read_text().replace('metrics={"resumes"', f'metrics={{**{times}, "resumes"'))
    folder = _submitted(grid)
    watch(folder)
    records = [folder.record(run_id) for run_id in folder.record_ids()]
    assert sorted(record.metrics["gpus"] for record in records) == [1.0] * 4 + [2.0] * 4
    starts = [
        (start["began"], read_json(file.with_name("exit.json"))["ended"], set(start["devices"].split(",")))
        for file in folder.path.glob("runs/*/attempts/*/start.json")
        for start in [read_json(file)]
    ]
    for i, (began, ended, gpus) in enumerate(starts):
        for other_began, other_ended, others in starts[:i]:
            if began < other_ended and other_began < ended:
                assert not gpus & others, "two runs at a time on one device"


@pytest.mark.parametrize(
    ("asked", "gpus", "got"),
    [
        ({"gpus": 0, "processes": 1, "nodes": 1}, 0, (0, 1)),
        ({"gpus": 0, "processes": 1, "nodes": 1}, 4, (1, 1)),
        ({"gpus": 8, "processes": 8, "nodes": 4}, 2, (2, 2)),
        ({"gpus": 8, "processes": 8, "nodes": 1}, 0, (0, 1)),
        ({"gpus": 2, "processes": 1, "nodes": 1}, 4, (2, 1)),
        ({"gpus": 0, "processes": 3, "nodes": 1}, 0, (0, 3)),
    ],
)
def test_what_a_run_gets_here_of_what_it_asks_for(asked, gpus, got):
    found = on_this_machine(asked, gpus)
    assert (found["gpus"], found["processes"], found["nodes"]) == (*got, 1)


def test_a_worker_whose_lease_is_taken_over_leaves_and_writes_nothing_more(toy, monkeypatch):
    """A node that was thought dead comes back: what it did since its last save is lost, the run is not."""
    monkeypatch.setattr("sweeps.jobs.lease.BEAT_SECONDS", 0.05)
    folder = _submitted(toy(**ONE, trainer_args="{steps: 3}"), "debug")
    (run_id,) = folder.planned_ids()
    undisturbed = folder.record(run_id)
    folder.record_file(run_id).unlink()
    lease = folder.run(run_id) / "lease.json"
    trainer = folder.path.parents[1] / "toy.py"
    text = trainer.read_text()
    steal = "import json; lease = run.path / 'lease.json'; holder = json.loads(lease.read_text())"
    change_trainer(trainer, f"{steal}; lease.write_text(json.dumps({{**holder, 'token': 'thief'}})); time.sleep(0.5)")
    importlib.reload(sys.modules["toy"])
    before = (folder.run(run_id) / "metrics.jsonl").read_bytes()
    assert run_one(str(folder.path), run_id) == "lost"
    assert not folder.record_file(run_id).exists()
    assert (folder.run(run_id) / "metrics.jsonl").read_bytes() in (before, b"")
    last = read_json(folder.run(run_id) / "attempts" / "2" / "exit.json")
    assert last["outcome"] == "lost"
    assert last["seconds_lost"] >= 0.4
    assert json.loads(lease.read_text())["token"] == "thief", "the other's lease is not touched"
    lease.unlink()
    trainer.write_text(text)
    importlib.reload(sys.modules["toy"])
    assert run_one(str(folder.path), run_id) == "completed"
    assert folder.record(run_id).loss == undisturbed.loss


def test_checkpoints_go_to_scratch_and_leave_it_when_the_run_is_done(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("MY_SCRATCH", str(tmp_path / "scratch"))
    folder = _submitted(
        toy(
            **ONE,
            trainer_args="{steps: 60, seconds: 0.05}",
            cluster="{executor: local, save_every: 0.1s, scratch: $MY_SCRATCH}",
        )
    )
    (run_id,) = folder.planned_ids()
    place = tmp_path / "scratch" / "toy" / run_id
    wait_for(lambda: list(place.glob("checkpoint-*")))
    assert not list(folder.run(run_id).glob("checkpoint-*"))
    watch(folder)
    assert not list(place.glob("checkpoint-*"))


def test_scratch_that_is_too_small_or_not_set_is_refused(toy, capsys):
    grid = toy(cluster="{executor: local, slots: 4, scratch: /tmp/x, scratch_gb: 1e-6}")
    with pytest.raises(InputError, match="the checkpoints of 4 runs at once take up to"):
        _submitted(grid)
    with pytest.raises(InputError, match="a variable that is not set"):
        load_grid(toy(cluster="{scratch: $NOT_SET_AT_ALL/x}"))


def test_checkpoints_are_kept_where_the_grid_says_so(toy):
    cluster = "{executor: debug, save_every: 0.01s, keep_checkpoints: true}"
    folder = _submitted(toy(**ONE, trainer_args="{steps: 4, seconds: 0.02}", cluster=cluster), "debug")
    (run_id,) = folder.planned_ids()
    assert list(folder.run(run_id).glob("checkpoint-*"))


def test_few_files_a_run(toy):
    folder = _submitted(toy(trainer_args="{steps: 3}"))
    watch(folder)
    files = [path for path in folder.path.rglob("*") if path.is_file() and "code" not in path.parts]
    assert len(files) / 12 <= 10


def test_several_processes_train_one_run_as_one_does(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = {}
    for processes in (1, 2):
        (tmp_path / str(processes)).mkdir()
        grid = tmp_path / str(processes) / "grid.yaml"
        grid.write_text(PAIR.format(corpus=corpus.path, executor="local", together=f"processes: {processes}"))
        folder = _submitted(grid)
        watch(folder)
        (records[processes],) = (folder.record(run_id) for run_id in folder.record_ids())
    assert [records[n].execution[0]["processes"] for n in (1, 2)] == [1, 2]
    assert records[2].loss == pytest.approx(records[1].loss, rel=1e-5)


def test_a_sweep_of_an_older_version_is_read_and_is_submitted_again_to_go_on(toy, capsys):
    folder = _submitted(toy(), "debug")
    settings = read_json(folder.sweep_file)
    old = {key: settings[key] for key in ("name", "grid", "trainer", "slots", "threads", "save_every", "created")}
    write_json(folder.sweep_file, {**old, "schema": 1, "executor": "slurm", "pilot": False})
    rows = [{key: value for key, value in row.items() if key != "resources"} for row in folder.plan()]
    write_json_lines(folder.plan_file, rows)
    folder.record_file(rows[0]["id"]).unlink()
    shutil.rmtree(folder.run(rows[0]["id"]) / "attempts")
    (folder.run(rows[0]["id"]) / "attempts" / "1").mkdir(parents=True)
    write_json(folder.run(rows[0]["id"]) / "attempts" / "1" / "start.json", {"host": "h", "pid": 1})
    for command in (["status"], ["collect"], ["why", rows[0]["id"]]):
        verb, *others = command
        assert main([verb, str(folder.path), *others]) == 0, command
    capsys.readouterr()
    assert main(["retry", str(folder.path)]) == 2
    assert "submitted by an older version" in capsys.readouterr().err
    _submitted(toy(), "debug")
    assert set(states(folder)) == {"completed"}


def test_a_changed_trainer_and_a_point_that_is_gone_are_said(toy):
    grid = toy(trainer_args="{steps: 40, seconds: 0.05}", seeds="[0]", budgets="[1e7]")
    folder = _submitted(grid)
    wait_for(lambda: "running" in states(folder))
    trainer = grid.parent / "toy.py"
    trainer.write_text(trainer.read_text() + "\n# another version\n")
    fewer = toy(trainer_args="{steps: 40, seconds: 0.05}", seeds="[0]", budgets="[1e7]", model="{sizes: [100, 300]}")
    again = submit(make_plan(load_grid(fewer)), results=grid.parent / "results", executor="local")
    assert "the code has changed since the last submission" in again.remarks[0]
    gone = [remark for remark in again.remarks if "no longer in the plan" in remark]
    assert len(gone) == 1
    run_id = gone[0].rsplit(" ", 1)[1]
    assert main(["cancel", str(folder.path), "--run", run_id]) == 0
    watch(folder)
