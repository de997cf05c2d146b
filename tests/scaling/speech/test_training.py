"""Training: the budget is spent, the loss falls, a killed run resumes bit for bit, divergence is a record."""

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from scaling import RunFolder, RunRecord, RunSpec, Shape, updates_for
from scaling.cost import Head
from scaling.files import read_json, write_json
from scaling.speech import cost, measure, train
from scaling.speech.audiolib import torchaudio
from scaling.speech.encoder import Encoder
from scaling.speech.objectives.hubert import HubertHead
from scaling.speech.schedule import learning_rate

LOGMEL = Shape(frontend="logmel", layers=1, width=24, ffn=48, heads=2, position_kernel=16, position_groups=24)
WAVEFORM = Shape(frontend="waveform", layers=1, width=32, ffn=64, heads=2, position_kernel=16)


def spec_for(corpus, shape=LOGMEL, **changes):
    settings = {
        "crops": 4,
        "crop_samples": 16_000,
        "peak_lr": 3e-3,
        "warmup": 0.1,
        "schedule": "wsd",
        "precision": "fp32",
        "weight_decay": 0.01,
        "clip": 1.0,
        "dropout": 0.0,
        "layer_drop": 0.0,
        "mask_prob": 0.8,
        "mask_length": 10,
        "eval_hours": 0.01,
    }
    settings.update({key: changes.pop(key) for key in list(changes) if key in settings})
    return RunSpec(
        objective="hubert",
        model=shape.to_dict(),
        corpus={"hash": corpus.hash, "unique_hours": 0.1},
        targets={"clusters": 20, "fit_hours": 0.05, "seed": 0},
        train=settings,
        updates=changes.pop("updates", 30),
        where={"corpus": str(corpus.path)},
        **changes,
    )


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


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_loss_ends_below_that_of_the_best_constant_predictor(corpus, tmp_path, seed):
    record = train(spec_for(corpus, updates=800, seed=seed), RunFolder(tmp_path))
    assert record is not None
    assert record.loss is not None
    assert record.loss < record.metrics["constant_loss"] - 0.1
    assert record.curve[-1][1] < record.curve[0][1]


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
    for wait in (0.3, 0.6, 0.2, 0.5):
        process = subprocess.Popen([*command, "killed"])
        checkpoint = tmp_path / "killed" / "checkpoint.pt"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        until = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < until:
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
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
    assert "at step" in record.reason
    assert record.flops < 60 * cost(spec_for(corpus)).flops_per_step
    write_json(tmp_path / "r.json", record.to_dict())
    assert read_json(tmp_path / "r.json")["loss"] is None


def test_the_loss_is_that_of_torchaudios_hubert(corpus):
    """Same weights, features, mask and labels: torchaudio's logits give the same cross entropy to 1e-5."""
    torch.manual_seed(0)
    shape = LOGMEL
    head = HubertHead(shape, Head(dim=12, classes=20))
    encoded, mask, labels = torch.randn(3, 50, 24), torch.rand(3, 50) < 0.5, torch.randint(0, 20, (3, 50))
    from scaling.speech.audiolib import components

    theirs = components.LogitGenerator(24, 20, 12, skip_masked=False, skip_nomask=True)
    theirs.label_embeddings.data.copy_(head.classes.data)
    theirs.final_proj.load_state_dict(head.projection.state_dict())
    logits, _ = theirs(encoded, labels, mask, ~mask)
    # torchaudio puts the right class first and strikes it out where it comes again
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long), reduction="none")
    torch.testing.assert_close(head.losses(encoded, mask, labels), expected, rtol=1e-5, atol=1e-5)


def test_the_encoder_is_torchaudios():
    """Our weights load into wav2vec2_model, and the outputs are equal."""
    shape = Shape(frontend="waveform", layers=2, width=64, ffn=96, heads=4)
    torch.manual_seed(1)
    ours = Encoder(shape).eval()
    theirs = torchaudio.models.wav2vec2_model(
        extractor_mode="group_norm",
        extractor_conv_layer_config=None,
        extractor_conv_bias=False,
        encoder_embed_dim=64,
        encoder_projection_dropout=0.0,
        encoder_pos_conv_kernel=128,
        encoder_pos_conv_groups=16,
        encoder_num_layers=2,
        encoder_num_heads=4,
        encoder_attention_dropout=0.0,
        encoder_ff_interm_features=96,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=0.0,
        encoder_layer_norm_first=False,
        encoder_layer_drop=0.0,
        aux_num_out=None,
    ).eval()
    theirs.load_state_dict(ours.state_dict())
    waves = torch.randn(2, 16_000)
    with torch.inference_mode():
        torch.testing.assert_close(ours(waves), theirs(waves)[0], rtol=1e-5, atol=1e-5)


def test_masked_frames_do_not_see_what_they_hide():
    """The output at all frames is the same whatever stood at the masked ones."""
    torch.manual_seed(0)
    encoder, vector = Encoder(LOGMEL).eval(), torch.rand(24)
    mask = torch.zeros(1, 40, dtype=torch.bool)
    mask[0, 10:20] = True
    a = torch.randn(1, 40, 80)
    b = a.clone()
    b[mask] = torch.randn(10, 80)
    with torch.inference_mode():
        assert torch.equal(encoder(a, mask=mask, mask_vector=vector), encoder(b, mask=mask, mask_vector=vector))


@pytest.mark.parametrize("schedule", ["wsd", "linear", "cosine"])
def test_schedules_rise_over_the_warm_up_and_end_at_zero(schedule):
    rates = [learning_rate(schedule, step, 1000, 0.08) for step in range(1000)]
    assert rates[:80] == pytest.approx([(i + 1) / 80 for i in range(80)])
    assert max(rates) == pytest.approx(1, abs=1e-3)
    assert 0 < rates[-1] < 0.01
    assert all(x >= y for x, y in itertools.pairwise(rates[80:]))
    if schedule == "wsd":
        assert rates[100] == rates[790] == 1.0


def test_a_measured_step_takes_time(corpus):
    assert 0 < measure(spec_for(corpus)) < 5
