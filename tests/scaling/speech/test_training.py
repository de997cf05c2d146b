"""Training: the budget is spent, the loss falls, a killed run resumes bit for bit, divergence is a record."""

import dataclasses
import itertools
import math
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from scaling import InputError, RunFolder, RunRecord, Shape, updates_for
from scaling.files import read_json, write_json
from scaling.speech import cost, measure, train
from scaling.speech.catalogue import CATALOGUE
from scaling.speech.encoder import Encoder
from scaling.speech.schedule import learning_rate, stable_updates
from tests.scaling.speech import runs

LOGMEL = Shape(frontend="logmel", layers=1, width=24, ffn=48, heads=2, position_kernel=16, position_groups=24)
WAVEFORM = Shape(frontend="waveform", layers=1, width=32, ffn=64, heads=2, position_kernel=16)


def spec_for(corpus, shape=LOGMEL, objective="hubert", **changes):
    """Return a run of one layer on six minutes of audio."""
    return runs.spec_for(corpus, shape, objective, **{"hours": 0.1, **changes})


def test_a_run_spends_its_budget_within_half_a_step(corpus, tmp_path):
    spec = spec_for(corpus)
    step = cost(spec).flops_per_step
    spec = dataclasses.replace(spec, budget=20.4 * step, updates=updates_for(20.4 * step, step))
    record = train(spec, RunFolder(tmp_path))
    assert record is not None
    assert record.updates == 20
    assert record.flops == 20 * step
    assert abs(record.flops - spec.budget) <= step / 2
    assert record.flops_total is not None
    assert record.flops_total > record.flops
    assert record.frames == 20 * 4 * 50
    assert record.params == sum(p.numel() for p in Encoder(LOGMEL).parameters())
    assert record.params_total == record.params + record.params_head
    assert record.curve[-1][0] == record.flops


@pytest.mark.parametrize("objective", CATALOGUE)
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_the_loss_ends_below_that_of_the_best_constant_predictor(corpus, tmp_path, objective, seed):
    record = train(spec_for(corpus, objective=objective, updates=500, peak_lr=1e-2, seed=seed), RunFolder(tmp_path))
    assert record is not None
    assert record.loss is not None
    assert record.loss < 0.985 * record.metrics["constant_loss"]
    assert record.curve[-1][1] < record.curve[0][1]
    assert record.loss_unit == ("deviations of MFCC" if objective == "tera" else "nats")


def test_the_waveform_front_end_trains(corpus, tmp_path):
    record = train(spec_for(corpus, WAVEFORM, updates=3, crops=2, eval_hours=0.002), RunFolder(tmp_path))
    assert record is not None
    assert record.status == "completed"
    assert record.params_frontend == 4_200_448
    assert np.isfinite(record.loss)


def test_seeds_differ_and_the_same_seed_does_not(corpus, tmp_path):
    losses = [train(spec_for(corpus, seed=seed), RunFolder(tmp_path / str(i))).loss for i, seed in enumerate((0, 0, 1))]
    assert losses[0] == losses[1] != losses[2]


def test_all_runs_of_a_corpus_share_one_eval_id(corpus, tmp_path):
    changes = [{}, {"seed": 1}, {"peak_lr": 1e-3}, {"updates": 10}]
    ids = {
        train(spec_for(corpus, **{"updates": 4, **c}), RunFolder(tmp_path / str(i))).eval_id
        for i, c in enumerate(changes)
    }
    assert len(ids) == 1
    other = train(spec_for(corpus, updates=4, crop_samples=32_000), RunFolder(tmp_path / "other"))
    assert other.eval_id not in ids


def test_stops_resume_bit_for_bit_with_dropout_and_layer_drop(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("scaling.run.STOP_CHECK_SECONDS", 0.0)
    spec = spec_for(corpus, dropout=0.1, layer_drop=0.2, updates=40)
    whole = train(spec, RunFolder(tmp_path / "whole"))
    for steps in (7, 18):
        asked = iter(range(100))
        assert train(spec, RunFolder(tmp_path / "pieces", stop=lambda: next(asked) >= steps)) is None  # noqa: B023
    pieces = train(spec, RunFolder(tmp_path / "pieces"))
    assert pieces.loss == whole.loss
    assert pieces.curve == whole.curve


def checkpoints(folder):
    return sorted(path.name for path in folder.glob("checkpoint-*.pt"))


@pytest.mark.slow
def test_a_run_killed_at_random_resumes_bit_for_bit(corpus, tmp_path):
    """SIGKILL at four moments of a run that saves every 0.1 s: the same loss, curve and metrics as undisturbed."""
    spec = spec_for(corpus, updates=400)
    write_json(tmp_path / "spec.json", spec.to_dict())
    code = (
        "import sys; from pathlib import Path; from scaling import RunFolder, RunSpec; from scaling.files import *\n"
        "from scaling.speech import train; folder = Path(sys.argv[1])\n"
        "spec = RunSpec.from_dict(read_json(folder / 'spec.json'))\n"
        "record = train(spec, RunFolder(folder / sys.argv[2], save_every=0.1))\n"
        "write_json(folder / (sys.argv[2] + '.json'), record.to_dict())\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    subprocess.run([*command, "whole"], check=True)
    killed = 0
    for wait in np.random.default_rng(0).uniform(0.1, 0.7, 4):
        process = subprocess.Popen([*command, "killed"])
        before = checkpoints(tmp_path / "killed")
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if checkpoints(tmp_path / "killed") != before:
                break
            time.sleep(0.01)
        time.sleep(wait)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.wait()
    assert killed >= 2
    subprocess.run([*command, "killed"], check=True)
    whole, again = (RunRecord.read(tmp_path / f"{name}.json") for name in ("whole", "killed"))
    assert again.loss == whole.loss
    assert again.curve == whole.curve
    steps = [line.split('"time"')[0] for line in (tmp_path / "killed" / "metrics.jsonl").read_text().splitlines()]
    assert steps == [
        line.split('"time"')[0] for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    ]


def test_a_diverged_run_ends_as_a_record_that_says_so(corpus, tmp_path):
    record = train(spec_for(corpus, peak_lr=1e30, clip=1e30, updates=60), RunFolder(tmp_path))
    assert record is not None
    assert (record.status, record.loss) == ("diverged", None)
    assert "10 steps in a row without a finite loss and gradient" in record.reason
    assert record.flops < 60 * cost(spec_for(corpus)).flops_per_step
    write_json(tmp_path / "r.json", record.to_dict())
    assert read_json(tmp_path / "r.json")["loss"] is None


@pytest.mark.parametrize("schedule", ["wsd", "linear", "cosine"])
def test_schedules_rise_over_the_warm_up_and_end_at_zero(schedule):
    rates = [learning_rate(schedule, step, 1000, 80) for step in range(1000)]
    assert rates[:80] == pytest.approx([(i + 1) / 80 for i in range(80)])
    assert max(rates) == pytest.approx(1, abs=1e-3)
    assert 0 < rates[-1] < 0.01
    assert all(x >= y for x, y in itertools.pairwise(rates[80:]))
    if schedule == "wsd":
        assert rates[100] == rates[790] == 1.0


def test_a_measured_step_takes_time(corpus):
    assert 0 < measure(spec_for(corpus)) < 5


def test_a_cool_down_from_its_parents_state_ends_as_if_it_had_been_trained_alone(corpus, tmp_path):
    """wav2vec 2.0, whose temperature follows the trunk's length, with dropout and layer drop."""
    shared = {"objective": "wav2vec2", "horizon": 60, "warmup_updates": 5, "dropout": 0.1, "layer_drop": 0.2}
    short = spec_for(corpus, updates=35, **shared)
    leave = stable_updates(35)
    trunk = dataclasses.replace(spec_for(corpus, updates=60, **shared), branches=(leave,))
    child = dataclasses.replace(short, parent={"id": trunk.id, "step": leave})
    assert child.id == short.id, "where a run starts from is no part of what it is"
    folder = tmp_path / "runs"
    whole = train(trunk, RunFolder(folder / trunk.id))
    assert (folder / trunk.id / f"branch-{leave}.pt").exists()
    cooled = train(child, RunFolder(folder / child.id))
    alone = train(short, RunFolder(tmp_path / "alone"))
    assert cooled.loss == alone.loss
    step = cost(short).flops_per_step
    assert cooled.flops == alone.flops == 35 * step, "the whole path"
    assert (cooled.flops_new, alone.flops_new) == ((35 - leave) * step, 35 * step)
    assert (cooled.parent, alone.parent, whole.parent) == (trunk.id, "", "")
    assert cooled.curve[0][0] > leave * step


def test_a_cool_down_without_its_parents_state_begins_anew(corpus, tmp_path):
    spec = dataclasses.replace(spec_for(corpus, updates=10), parent={"id": "0" * 16, "step": 8})
    record = train(spec, RunFolder(tmp_path / "runs" / spec.id))
    assert record.flops_new == record.flops
    assert record.parent == ""


def test_a_cool_down_that_was_stopped_resumes_from_its_own_checkpoint(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("scaling.run.STOP_CHECK_SECONDS", 0.0)
    trunk = dataclasses.replace(spec_for(corpus, updates=40), branches=(16,))
    child = dataclasses.replace(spec_for(corpus, updates=20), parent={"id": trunk.id, "step": 16})
    train(trunk, RunFolder(tmp_path / trunk.id))
    asked = iter(range(100))
    assert train(child, RunFolder(tmp_path / child.id, stop=lambda: next(asked) >= 1)) is None
    (tmp_path / trunk.id / "branch-16.pt").unlink()
    record = train(child, RunFolder(tmp_path / child.id))
    assert record.flops_new == 4 * cost(child).flops_per_step
    assert record.loss == train(child, RunFolder(tmp_path / "alone")).loss


def test_a_step_that_is_not_finite_is_skipped_and_told(corpus, tmp_path, monkeypatch):
    """Three poisoned steps: weights and optimiser stay as they are, the run goes on and says so."""
    from scaling.speech.stepper import MicroBatch, Stepper

    real = Stepper.step

    def poisoned(self, passes, step, **others):
        passes = list(passes)
        if step in (5, 6, 11):
            one = passes[0]
            passes[0] = MicroBatch(inputs=one.inputs * math.nan, mask=one.mask, given=one.given, first=one.first)
            before = {name: value.clone() for name, value in self.model.state_dict().items()}
            done = real(self, passes, step, **others)
            assert not done.taken
            assert all((value == before[name]).all() for name, value in self.model.state_dict().items())
            return done
        return real(self, passes, step, **others)

    monkeypatch.setattr(Stepper, "step", poisoned)
    record = train(spec_for(corpus), RunFolder(tmp_path))
    assert record.status == "completed"
    assert record.metrics["skipped_steps"] == 3
    assert record.flops == 30 * cost(spec_for(corpus)).flops_per_step, "skipped steps are spent too"


def test_another_corpus_than_the_one_planned_on_is_refused(corpus, tmp_path):
    spec = dataclasses.replace(spec_for(corpus), corpus={"hash": "0" * 16, "unique_hours": 0.1})
    with pytest.raises(InputError, match="not the corpus that this run was planned on") as error:
        train(spec, RunFolder(tmp_path))
    assert corpus.hash in str(error.value)
    assert "0" * 16 in error.value.remedy


def test_a_checkpoint_of_another_spec_is_refused(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("scaling.run.STOP_CHECK_SECONDS", 0.0)
    assert train(spec_for(corpus), RunFolder(tmp_path, stop=lambda: True)) is None
    with pytest.raises(InputError, match="a checkpoint of another run"):
        train(spec_for(corpus, seed=1), RunFolder(tmp_path))


def test_a_precision_that_the_device_lacks_is_refused(corpus, tmp_path):
    with pytest.raises(InputError, match="has no tf32") as error:
        train(spec_for(corpus, precision="tf32"), RunFolder(tmp_path))
    assert "use fp32" in error.value.remedy


def test_more_hours_than_the_corpus_has_are_refused(corpus, tmp_path):
    spec = dataclasses.replace(spec_for(corpus), corpus={"hash": corpus.hash, "unique_hours": 5.0})
    with pytest.raises(InputError, match="more hours than the corpus has"):
        train(spec, RunFolder(tmp_path))


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"join": True}, {"augment": {"speed": [0.9, 1.1]}}])
def test_precision_joined_crops_and_augmentation_train_and_resume_bit_for_bit(corpus, tmp_path, monkeypatch, changes):
    monkeypatch.setattr("scaling.run.STOP_CHECK_SECONDS", 0.0)
    spec = spec_for(corpus, updates=12, **changes)
    whole = train(spec, RunFolder(tmp_path / "whole"))
    asked = iter(range(100))
    assert train(spec, RunFolder(tmp_path / "pieces", stop=lambda: next(asked) >= 5)) is None
    assert train(spec, RunFolder(tmp_path / "pieces")).loss == whole.loss
    assert math.isfinite(whole.loss)
    plain = train(spec_for(corpus, updates=12), RunFolder(tmp_path / "plain"))
    assert plain.loss != whole.loss
    assert (plain.eval_id == whole.eval_id) == ("join" not in changes), "joined clips are other clips"


def test_a_layer_that_was_skipped_so_far_is_saved_and_resumed(corpus, tmp_path, monkeypatch):
    """Stopped after one step of a run that drops half of its layers: some were never trained."""
    monkeypatch.setattr("scaling.run.STOP_CHECK_SECONDS", 0.0)
    shape = dataclasses.replace(LOGMEL, layers=4)
    spec = spec_for(corpus, shape, layer_drop=0.5, updates=8)
    whole = train(spec, RunFolder(tmp_path / "whole"))
    assert train(spec, RunFolder(tmp_path / "pieces", stop=lambda: True)) is None
    assert train(spec, RunFolder(tmp_path / "pieces")).loss == whole.loss


def test_labels_are_paid_for_the_audio_that_is_there(corpus, tmp_path):
    """200 passes over 0.01 h are labelled once."""
    spec = dataclasses.replace(spec_for(corpus, updates=60), corpus={"hash": corpus.hash, "unique_hours": 0.01})
    record = train(spec, RunFolder(tmp_path))
    fitted = 30 * 2 * 20 * 39 * (0.05 * 180_000)
    assert record.flops_total - record.flops == pytest.approx(fitted + 2 * 20 * 39 * 0.01 * 180_000, rel=0.25)
    assert record.epochs > 5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler warns of its own ways
def test_compiled_layers_train_to_the_same_loss(corpus, tmp_path):
    spec = spec_for(corpus, updates=20)
    plain = train(spec, RunFolder(tmp_path / "plain"))
    compiled = train(dataclasses.replace(spec, execution={"compile": True}), RunFolder(tmp_path / "compiled"))
    assert compiled.loss == pytest.approx(plain.loss, rel=1e-4)
    assert [e["compiled"] for e in (*plain.execution, *compiled.execution)] == [False, True]


def test_width_scaling_gives_matrices_that_read_the_width_its_share_of_the_rate(corpus):
    from scaling.speech import settings_of
    from scaling.speech.model import Model, optimiser_groups

    model = Model(spec_for(corpus))
    groups = optimiser_groups(model, settings_of(spec_for(corpus, width_base=6)))
    share = {id(p): group["share"] for group in groups for p in group["params"]}
    named = {name: share[id(p)] for name, p in model.named_parameters()}
    assert named["encoder.encoder.transformer.layers.0.attention.q_proj.weight"] == 6 / 24
    assert named["objective.projection.weight"] == 6 / 24
    assert named["encoder.encoder.feature_projection.projection.weight"] == 1.0, "its inputs do not grow"
    assert named["encoder.encoder.transformer.layers.0.attention.q_proj.bias"] == 1.0
    assert {group["share"] for group in optimiser_groups(model, settings_of(spec_for(corpus)))} == {1.0}
