"""Processes that train one run together: one, two, sharded, in micro-batches and resumed, all with the same result."""

import itertools
import json
import math
import os
import socket
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaling import InputError, RunFolder, RunRecord
from scaling.files import write_json
from scaling.speech import train
from scaling.speech.catalogue import CATALOGUE
from scaling.speech.parallel import Team, split
from scaling.speech.training import prepare
from tests.scaling.speech.runs import replaced, spec_for

STEPS = 40
LIMIT = 240
"""Seconds that a process may take: a hang fails, and does not wait for ever."""
CLOSE = 1e-5

# Every process does the jobs of a file one after another. It joins the others once, as a cluster's launcher might have.
WORKER = """
import itertools, json, os, sys, traceback
from pathlib import Path
import torch
from torch import distributed
import scaling.run
from scaling import RunFolder, RunSpec
from scaling.files import write_json
from scaling.speech import train, training

training.RESTORE_ATTEMPTS, training.RESTORE_SECONDS = 3, 0.1
scaling.run.STOP_CHECK_SECONDS = 0.0
rank = int(os.environ["RANK"])
jobs = json.loads(Path(sys.argv[1]).read_text())
if len(jobs) > 1:
    distributed.init_process_group("gloo")
for job in jobs:
    steps, asked = job.get("stop"), itertools.count()
    stop = (lambda: next(asked) >= steps) if steps and rank == 0 else (lambda: False)
    folder = Path(job["folder"] if rank == 0 or job.get("shared") else job["folder"] + f"-{rank}")
    run = RunFolder(folder, save_every=job.get("save_every", 600.0), stop=stop, leader=rank == 0)
    record = train(RunSpec.from_dict(job["spec"]), run)
    write_json(Path(job["folder"] + f".{rank}.json"), record.to_dict() if record else {"stopped": True})
if len(jobs) > 1:
    distributed.destroy_process_group()
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def launch(folder, jobs, size):
    """Start the processes and return (exit code, what it wrote to stderr) of each."""
    file = folder / f"jobs-{free_port()}.json"
    write_json(file, jobs)
    place = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    place |= {"OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(file)],
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        return [(process.communicate(timeout=LIMIT)[1], process.returncode) for process in started]
    finally:
        for process in started:
            process.kill()


def together(folder, jobs, size=2):
    """Do jobs with several processes; all must end well."""
    for told, code in launch(folder, jobs, size):
        assert code == 0, told[-3000:]


def job(folder, name, spec, **more):
    return {"folder": str(folder / name), "spec": spec.to_dict(), **more}


def ended(folder, name, rank=0):
    return RunRecord.read(folder / f"{name}.{rank}.json")


def assert_same(one, other, close=CLOSE):
    """The same validation loss, curve and metrics to rounding."""
    assert other.loss == pytest.approx(one.loss, rel=close)
    assert [point[0] for point in other.curve] == [point[0] for point in one.curve]
    assert [point[1] for point in other.curve] == pytest.approx([point[1] for point in one.curve], rel=close)
    assert other.eval_id == one.eval_id
    assert other.id == one.id
    assert (other.flops, other.flops_total, other.frames) == (one.flops, one.flops_total, one.frames)
    assert other.loss_se == pytest.approx(one.loss_se, rel=1e-3)


def specs(corpus):
    """Return name -> run: every objective, layer drop, and what goes with each."""
    common = {"updates": STEPS, "peak_lr": 1e-3}
    args = {"wav2vec2": {"group": 2}}
    found = {name: spec_for(corpus, objective=name, args=args.get(name, {}), **common) for name in CATALOGUE}
    found["layer-drop"] = spec_for(corpus, layer_drop=0.2, **common)
    found["dropout"] = replaced(spec_for(corpus, dropout=0.1, **common), execution={"micro_seconds": 2.0})
    return found


SHARDED = ("hubert", "wav2vec2", "layer-drop")


@pytest.fixture(scope="module")
def runs(corpus, tmp_path_factory):
    """Do everything that two processes do in one start of them; return the folder of their records."""
    folder = tmp_path_factory.mktemp("parallel")
    known = specs(corpus)
    for spec in known.values():
        prepare(spec)
    jobs = [job(folder, f"two-{name}", spec) for name, spec in known.items()]
    jobs += [job(folder, f"sharded-{name}", replaced(known[name], execution={"shard": True})) for name in SHARDED]
    jobs += [
        job(folder, f"micro-{name}", replaced(known[name], execution={"micro_seconds": 1.0}))
        for name in ("tera", "layer-drop")
    ]
    whole = known["hubert"]
    resumed = replaced(whole, execution={"shard": True})
    stop_alone(folder / "one-two", whole, 13)
    jobs += [
        job(folder, "one-two", whole, shared=True),
        job(folder, "two-one", whole, shared=True, stop=13),
        job(folder, "sharded-one", resumed, shared=True, stop=13),
    ]
    stop_alone(folder / "one-sharded", whole, 13)
    jobs += [job(folder, "one-sharded", resumed, shared=True), job(folder, "saving", whole, save_every=0.0)]
    together(folder, jobs)
    return folder


@pytest.fixture(scope="module")
def alone(corpus, tmp_path_factory):
    """Return a function that gives the record of a run by one process, trained once."""
    folder, done, known = tmp_path_factory.mktemp("alone"), {}, specs(corpus)

    def record(name):
        if name not in done:
            done[name] = train(known[name], RunFolder(folder / name))
        return done[name]

    return record


def stop_alone(folder, spec, steps):
    """Train some steps in this process and stop there."""
    asked = itertools.count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scaling.run.STOP_CHECK_SECONDS", 0.0)
        assert train(spec, RunFolder(folder, stop=lambda: next(asked) >= steps)) is None


@pytest.mark.parametrize("name", [*CATALOGUE, "layer-drop"])
def test_two_processes_train_as_one_does(runs, alone, name):
    assert_same(alone(name), ended(runs, f"two-{name}"))
    assert ended(runs, f"two-{name}").execution == [
        {"from_step": 0, "processes": 2, "crops_a_pass": 2, "compiled": False, "sharded": False}
    ]


@pytest.mark.parametrize("name", SHARDED)
def test_two_processes_with_sharded_weights_train_as_one_does(runs, alone, name):
    assert_same(alone(name), ended(runs, f"sharded-{name}"))
    assert ended(runs, f"sharded-{name}").execution[0]["sharded"] is True


@pytest.mark.parametrize("name", ["tera", "layer-drop"])
def test_two_processes_with_micro_batches_train_as_one_does(runs, alone, name):
    assert_same(alone(name), ended(runs, f"micro-{name}"))
    assert ended(runs, f"micro-{name}").execution[0]["crops_a_pass"] == 1


def test_dropout_is_that_of_the_micro_batch_whoever_takes_it(runs, alone):
    """Passes of two crops: one process takes both, or two take one each. Another cut has other noise."""
    assert_same(alone("dropout"), ended(runs, "two-dropout"))
    assert alone("dropout").execution[0]["crops_a_pass"] == 2


@pytest.mark.parametrize("name", [*CATALOGUE, "layer-drop"])
def test_micro_batches_train_as_the_whole_batch_does(corpus, alone, tmp_path, name):
    spec = replaced(specs(corpus)[name], execution={"micro_seconds": 1.0})
    record = train(spec, RunFolder(tmp_path))
    assert_same(alone(name), record)
    assert record.execution[0]["crops_a_pass"] == (2 if name == "wav2vec2" else 1)
    assert spec.id == specs(corpus)[name].id


def test_a_run_stopped_alone_goes_on_with_two_processes(runs, alone):
    record = ended(runs, "one-two")
    assert_same(alone("hubert"), record)
    assert [(e["from_step"], e["processes"], e["sharded"]) for e in record.execution] == [(0, 1, False), (14, 2, False)]


def test_a_run_stopped_alone_goes_on_sharded(runs, alone):
    record = ended(runs, "one-sharded")
    assert_same(alone("hubert"), record)
    assert [(e["from_step"], e["processes"], e["sharded"]) for e in record.execution] == [(0, 1, False), (14, 2, True)]


def test_a_run_that_was_out_of_memory_takes_smaller_passes_and_ends_the_same(corpus, alone, tmp_path):
    spec = specs(corpus)["hubert"]
    record = train(spec, RunFolder(tmp_path, out_of_memory=1))
    assert record.execution[0]["crops_a_pass"] == alone("hubert").execution[0]["crops_a_pass"] // 2
    assert_same(alone("hubert"), record)


@pytest.mark.parametrize(("name", "shard"), [("two-one", False), ("sharded-one", True)])
def test_a_run_stopped_with_two_processes_goes_on_alone(runs, alone, corpus, name, shard):
    for rank in (0, 1):  # the first was asked, and both stopped
        assert json.loads((runs / f"{name}.{rank}.json").read_text()) == {"stopped": True}
    record = train(specs(corpus)["hubert"], RunFolder(runs / name))
    assert_same(alone("hubert"), record)
    assert [(e["from_step"], e["processes"], e["sharded"]) for e in record.execution] == [(0, 2, shard), (14, 1, False)]


def test_processes_save_together_when_the_first_finds_it_due(runs, alone):
    """Sharded weights are gathered for a checkpoint, so all take part in one; by the second's clock none is due."""
    assert_same(alone("hubert"), ended(runs, "saving"))
    assert [path.name for path in sorted((runs / "saving").glob("checkpoint*"))] == [
        "checkpoint-000038.pt",
        "checkpoint-000039.pt",
    ]


def test_only_the_first_process_writes(runs):
    """The second has a folder of its own here: it stays empty, and its record is the same."""
    for name in (*(f"two-{name}" for name in CATALOGUE), "sharded-hubert"):
        assert {path.name for path in (runs / name).iterdir()} == {"metrics.jsonl", "weights.pt"}
        assert not list((runs / f"{name}-1").iterdir())
        first, second = ended(runs, name), ended(runs, name, 1)
        assert second.loss == first.loss
        assert second.curve == first.curve


def test_the_weights_of_two_processes_are_those_of_one(runs, corpus, tmp_path):
    from scaling.speech.weights import Weights

    train(specs(corpus)["hubert"], RunFolder(tmp_path))
    expected = Weights.load(tmp_path)
    for name in ("two-hubert", "sharded-hubert"):
        found = Weights.load(runs / name)
        for part in ("encoder_state", "objective_state"):
            ours, theirs = getattr(expected, part), getattr(found, part)
            assert list(ours) == list(theirs)
            for key, value in ours.items():
                torch.testing.assert_close(theirs[key], value, rtol=1e-3, atol=1e-4)
        assert found.flops_total == expected.flops_total


@pytest.mark.slow
def test_processes_that_find_different_checkpoints_do_not_train(corpus, tmp_path, monkeypatch):
    """The second one does not see the checkpoint that the first goes on from, for as long as they look."""
    monkeypatch.setattr("scaling.run.STOP_CHECK_SECONDS", 0.0)
    spec = spec_for(corpus, updates=6)
    asked = itertools.count()
    assert train(spec, RunFolder(tmp_path / "apart", stop=lambda: next(asked) >= 3)) is None
    ends = launch(tmp_path, [job(tmp_path, "apart", spec)], 2)
    assert all(code != 0 for _, code in ends)
    assert any("the processes of this run find different checkpoints" in told for told, _ in ends)
    assert not (tmp_path / "apart.0.json").exists()
    together(tmp_path, [job(tmp_path, "apart", spec, shared=True)])
    assert ended(tmp_path, "apart").loss == pytest.approx(train(spec, RunFolder(tmp_path / "alone")).loss, rel=CLOSE)


def test_processes_that_cannot_share_the_batch_are_told_how_many_can(corpus, tmp_path):
    """Three for four crops: every one ends by itself with the numbers that work."""
    spec = specs(corpus)["hubert"]
    prepare(spec)
    for told, code in launch(tmp_path, [job(tmp_path, "three", spec)], 3):
        assert code == 1
        assert (
            "InputError: processes: 3 processes cannot share a batch of 4 crops in groups of 1 equally, got 3" in told
        )
        assert "use 1, 2, 4 processes (GPUs x nodes), another train.batch" in told
    assert not list(tmp_path.glob("three.*.json"))


def test_nobody_waits_for_ever_when_the_first_process_is_refused(corpus, tmp_path):
    """The first makes the labels while the others wait; when that is refused they end too."""
    spec = specs(corpus)["hubert"]
    spec = replaced(spec, targets={**spec.targets, "clusters": 60_000})
    (first, code), (_, other) = launch(tmp_path, [job(tmp_path, "two", spec)], 2)
    assert (code, other) == (1, 1)
    assert "frames to fit 60000 clusters on" in first


def team(rank, size):
    return Team(rank=rank, size=size, device=torch.device("cpu"))


@given(st.integers(1, 8), st.integers(1, 6), st.integers(1, 8), st.one_of(st.none(), st.integers(1, 70)))
def test_a_split_covers_the_batch_once_in_whole_groups(group, a_process, size, micro):
    crops = group * a_process * size
    shares = [split(crops, group, team(rank, size), micro) for rank in range(size)]
    seen = [crop for share in shares for first, count in share for crop in range(first, first + count)]
    assert sorted(seen) == list(range(crops))
    assert seen == sorted(seen)
    for share in shares:
        assert sum(count for _, count in share) == crops // size
        for first, count in share:
            assert first % group == 0
            assert count % group == 0
            assert micro is None or count <= max(micro, group)
    assert len({tuple(count for _, count in share) for share in shares}) == 1  # all take as many passes


@given(st.integers(1, 8), st.integers(1, 12), st.integers(1, 12))
def test_a_split_is_refused_when_groups_do_not_divide(group, groups, size):
    if groups % size == 0:
        assert split(group * groups, group, team(0, size), None)
        return
    with pytest.raises(InputError, match=f"{size} processes cannot share") as told:
        split(group * groups, group, team(0, size), None)
    able = [int(word) for word in str(told.value).split("use ")[1].split(" processes")[0].split(", ")]
    assert able == [n for n in range(1, groups + 1) if math.gcd(n, groups) == n]


def test_a_team_of_one_needs_no_others(monkeypatch):
    from scaling.speech.parallel import join_team

    for name in ("RANK", "WORLD_SIZE", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    with join_team() as alone:
        assert (alone.rank, alone.size, alone.leads) == (0, 1, True)
        assert alone.total([1.5, 2.0]) == [1.5, 2.0]
        alone.wait()
