"""The SLURM executor on a real cluster of one machine (tests/slurm/cluster.sh); run by `make test-slurm`."""

import subprocess
from pathlib import Path

import pytest
import yaml

from scaling import InputError
from scaling.results import read_records
from sweeps.cli import main
from sweeps.gridfile import load_grid
from sweeps.jobs import site
from sweeps.jobs.intents import RUNS, intents_of
from sweeps.jobs.status import sweep_status
from sweeps.jobs.submit import submit
from sweeps.jobs.watch import watch
from sweeps.plan import make_plan

from ..sweeps.conftest import toy  # noqa: F401 - a fixture
from ..sweeps.helpers import PAIR, outcomes
from .cluster import jobs_of, preempt, states, submitted, wait_for

pytestmark = pytest.mark.slurm

CLUSTER = "{executor: slurm, save_every: 0.5s, slurm: {partition: main, timeout: 60m}}"


def test_a_sweep_runs_as_one_job_array_and_nothing_is_submitted_twice(toy):  # noqa: F811
    grid = toy(cluster=CLUSTER, trainer_args="{steps: 5, seconds: 0.1}")
    first = submitted(grid)
    assert len({job.split("_")[0] for job in jobs_of(first.folder).values()}) == 1
    submitted(grid)
    sent = [intent for intent in intents_of(first.folder) if intent.kind == RUNS]
    assert len(sent) == 1, "what waits or runs is not sent again"
    watch(first.folder)
    assert set(states(first.folder)) == {"completed"}
    assert submitted(grid).new == []
    attempts = [len(list((first.folder.run(i) / "attempts").iterdir())) for i in first.folder.record_ids()]
    assert attempts == [1] * 12


def test_sizes_get_the_resources_that_the_grid_names(toy):  # noqa: F811
    cluster = CLUSTER[:-1] + ", resources: [{up_to: 500, gpus: 1}, {up_to: 1M, gpus: 2, cpus: 2}]}"
    folder = submitted(toy(cluster=cluster)).folder
    text = "\n".join(path.read_text() for path in folder.submissions.glob("*/script.sh"))
    assert "--gpus-per-node=1" in text
    assert "--gpus-per-node=2" in text
    watch(folder)
    assert set(states(folder)) == {"completed"}


def test_a_requeued_job_goes_on_from_its_checkpoint(toy):  # noqa: F811
    grid = toy(
        cluster=CLUSTER, trainer_args="{steps: 80, seconds: 0.1}", seeds="[0]", budgets="[1e7]", model="{sizes: [100]}"
    )
    folder = submitted(grid).folder
    run_id = sweep_status(folder)[0].id
    wait_for(lambda: sweep_status(folder)[0].progress > 0.3)
    subprocess.run(["scontrol", "requeue", jobs_of(folder)[run_id]], check=True)
    wait_for(lambda: folder.record_file(run_id).exists(), 180)
    assert folder.record(run_id).metrics["resumes"] == 1.0


def one_run(make, partition, steps=450, **cluster):
    more = "".join(f", {key}: {value}" for key, value in cluster.items())
    return make(
        cluster=f"{{executor: slurm, save_every: 1h, slurm: {{partition: {partition}{more}}}}}",
        seeds="[0]",
        budgets="[1e7]",
        model="{sizes: [100]}",
        trainer_args=f"{{steps: {steps}, seconds: 0.1}}",
    )


def test_a_preempted_job_saves_and_goes_on(toy):  # noqa: F811
    folder = submitted(one_run(toy, "low")).folder
    run_id = sweep_status(folder)[0].id
    wait_for(lambda: sweep_status(folder)[0].progress > 0.1)
    preempt(nodes=2)
    wait_for(lambda: folder.record_file(run_id).exists(), 240)
    wait_for(lambda: outcomes(folder, run_id) == ["stopped", "completed"], 10)
    assert folder.record(run_id).metrics["resumes"] == 1.0, "it saved in the grace time, long before save_every"


def test_a_job_saves_before_its_time_limit_and_is_requeued(toy):  # noqa: F811
    folder = submitted(one_run(toy, "main", steps=1100, timeout="2m")).folder  # the signal comes 30 s before the end
    run_id = sweep_status(folder)[0].id
    wait_for(lambda: folder.record_file(run_id).exists(), 300)
    wait_for(lambda: outcomes(folder, run_id)[-1] == "completed", 10)
    found = outcomes(folder, run_id)
    assert set(found[:-1]) == {"stopped"}
    assert folder.record(run_id).metrics["resumes"] == len(found) - 1 >= 1


def test_submit_right_after_cancel_starts_again(toy):  # noqa: F811
    grid = one_run(toy, "main")
    folder = submitted(grid).folder
    run_id = sweep_status(folder)[0].id
    wait_for(lambda: sweep_status(folder)[0].progress > 0.1)
    assert main(["cancel", str(folder.path)]) == 0
    submitted(grid)
    wait_for(lambda: folder.record_file(run_id).exists(), 240)
    assert folder.record(run_id).metrics["resumes"] == 1.0


@pytest.mark.parametrize("more", [{}, {"seeds": "[0]", "budgets": "[1e7]", "model": "{sizes: [100]}"}])
def test_jobs_whose_sender_died_are_adopted(toy, more):  # noqa: F811
    grid = toy(cluster=CLUSTER, trainer_args="{steps: 20, seconds: 0.2}", **more)
    folder = submitted(grid).folder
    before = intents_of(folder)
    for intent in before:
        (intent.path / "ids.json").unlink()
    submitted(grid)
    assert intents_of(folder) == before, "no second array, no second keeper"
    watch(folder)
    assert set(states(folder)) == {"completed"}


def test_cancel_ends_the_jobs_and_submit_goes_on(toy):  # noqa: F811
    grid = toy(cluster=CLUSTER, trainer_args="{steps: 60, seconds: 0.1}", seeds="[0]")
    folder = submitted(grid).folder
    wait_for(lambda: "running" in states(folder))
    assert main(["cancel", str(folder.path)]) == 0
    wait_for(lambda: not set(jobs_of(folder).values()) & set(site.queue()))
    assert "completed" not in states(folder)
    submitted(grid)
    watch(folder)
    assert set(states(folder)) == {"completed"}


def test_a_failed_run_shows_its_error(toy):  # noqa: F811
    folder = submitted(toy(cluster=CLUSTER, trainer_args="{bad_seed: 1}")).folder
    runs = watch(folder)
    failed = [run for run in runs if run.state == "failed"]
    assert len(failed) >= 3
    assert {run.error for run in failed} == {"RuntimeError: seed 1 is bad"}
    assert {run.attempts for run in failed} == {1}, "an error of the trainer is not tried again"
    assert folder.halted()["error"] == "RuntimeError: seed 1 is bad"


def test_unknown_slurm_settings_are_refused(toy):  # noqa: F811
    with pytest.raises(InputError, match="did you mean partition"):
        submitted(toy(cluster="{executor: slurm, slurm: {partitoin: main}}"))


def test_two_nodes_train_one_run_as_one_does(corpus, tmp_path, monkeypatch):
    """One process a node over submitit's own environment: the same loss to rounding, one record, one leader."""
    monkeypatch.chdir(tmp_path)
    records = {}
    for nodes in (1, 2):
        folder = tmp_path / str(nodes)
        folder.mkdir()
        grid = folder / "grid.yaml"
        grid.write_text(PAIR.format(corpus=corpus.path, executor="slurm", together=f"nodes: {nodes}"))
        sweep = submitted(grid).folder
        run_id = sweep_status(sweep)[0].id
        wait_for(lambda: sweep.record_file(run_id).exists(), 180)  # noqa: B023
        records[nodes] = sweep.record(run_id)
    assert records[1].id == records[2].id, "how many processes train is no part of what a run is"
    assert [records[n].execution[0]["processes"] for n in (1, 2)] == [1, 2]
    assert records[2].loss == pytest.approx(records[1].loss, rel=1e-5)
    ours, theirs = (records[n].curve for n in (1, 2))
    assert [point[1] for point in ours] == pytest.approx([point[1] for point in theirs], rel=1e-4)


def test_budgets_that_share_a_trunk_are_sent_after_it(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = tmp_path / "grid.yaml"
    text = PAIR.format(corpus=corpus.path, executor="slurm", together="nodes: 1").replace(
        "steps: [60]", "steps: [40, 80]"
    )
    grid.write_text(text.replace("train: {", "train: {share_trunk: true, "))
    sweep = submitted(grid).folder
    wait_for(lambda: len(sweep.record_ids()) == 2, 180)
    short, long = sorted((sweep.record(i) for i in sweep.record_ids()), key=lambda record: record.updates)
    assert short.parent == long.id
    assert short.flops_new == pytest.approx(0.2 * short.flops)


def test_the_quickstart_gives_the_same_on_the_cluster_as_here(corpus, tmp_path, monkeypatch):
    """The speech trainer, a tenth of the quickstart's budgets, one thread a run: the same table to the last bit."""
    monkeypatch.chdir(tmp_path)
    values = yaml.safe_load((Path(__file__).parents[2] / "examples" / "quickstart.yaml").read_text())
    values["corpus"]["path"] = str(corpus.path)
    values["model"]["sizes"]["window"]["count"] = 3
    values |= {"budgets": [2e10, 5e10], "unique_hours": [0.1], "min_updates": 1}
    values["train"] |= {"eval_hours": 0.01}
    values["targets"] = {"clusters": 20, "fit_hours": 0.05}
    tables = {}
    for executor in ("local", "slurm"):
        (tmp_path / executor).mkdir()
        grid = tmp_path / executor / "grid.yaml"
        grid.write_text(yaml.safe_dump(values))
        folder = submit(make_plan(load_grid(grid)), results=grid.parent / "results", executor=executor).folder
        wait_for(lambda: len(folder.record_ids()) == 6, 300)  # noqa: B023
        rows, _ = read_records(folder.path)
        tables[executor] = {row["id"]: (row["loss"], row["flops"], row["curve"], row["eval_id"]) for row in rows}
    assert tables["slurm"] == tables["local"]
