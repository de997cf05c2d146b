"""What a finished run leaves: weights, a feature extractor, and files that torchaudio and safetensors read."""

import json

import numpy as np
import pytest
import torch

import scaling
from scaling import InputError, RunFolder
from scaling.speech import train
from scaling.speech.audiolib import torchaudio
from scaling.speech.derived import Frames
from scaling.speech.encoder import Encoder
from scaling.speech.export import export, read_safetensors, torchaudio_config
from scaling.speech.features import make_features
from scaling.speech.initialise import initialise
from scaling.speech.weights import Weights, weights_hash
from sweeps.cli import main
from tests.scaling.speech.runs import LOGMEL, WAVEFORM, replaced, spec_for

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """Return front end -> (folder, spec, record) of a finished tiny run, in the places of a sweep."""
    root, found = tmp_path_factory.mktemp("finished"), {}
    for shape in (LOGMEL, WAVEFORM):
        spec = spec_for(corpus, shape, crops=2, updates=3, eval_hours=0.001)
        folder = root / "results" / shape.frontend / "runs" / spec.id
        found[shape.frontend] = folder, spec, train(spec, RunFolder(folder))
    return found


def waves(samples=16_000, count=2, seed=0):
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(seed))


def both(test):
    return pytest.mark.parametrize("frontend", ["logmel", "waveform"])(test)


@both
def test_a_finished_run_leaves_its_weights(finished, frontend):
    folder, spec, record = finished[frontend]
    weights = Weights.load(folder)
    assert weights.shape.to_dict() == spec.model
    assert weights.spec == json.loads(json.dumps(spec.science))
    assert sum(v.numel() for v in weights.encoder_state.values()) == record.params
    assert sum(v.numel() for v in weights.objective_state.values()) == record.params_head
    assert "mask_vector" in weights.objective_state
    assert weights.flops_total == record.flops_total
    assert (weights.input_mean is None) == (frontend == "waveform")
    assert {path.name for path in folder.iterdir()} == {"metrics.jsonl", "weights.pt"}


@both
def test_the_weights_are_those_that_were_trained(finished, corpus, frontend, tmp_path):
    """The loss of the record comes out again from the file, on the same clips with the same masks."""
    from scaling.speech.evaluation import evaluate
    from scaling.speech.model import Model
    from scaling.speech.targets import make_targets
    from scaling.speech.training import open_crops

    folder, spec, record = finished[frontend]
    weights, model = Weights.load(folder), Model(replaced(spec, seed=5))
    model.encoder.load_state_dict(dict(weights.encoder_state))
    model.objective.load_state_dict(dict(weights.objective_state))
    targets = make_targets(corpus, spec.targets)
    again = evaluate(model, model, open_crops(spec, corpus), targets, spec, torch.device("cpu"))
    assert again.loss == record.loss
    assert again.metrics == record.metrics


def test_a_run_that_keeps_no_weights_leaves_none(corpus, tmp_path):
    train(spec_for(corpus, updates=2), RunFolder(tmp_path, keep_weights=False))
    assert not (tmp_path / "weights.pt").exists()
    with pytest.raises(InputError, match="keep_weights: false"):
        scaling.load_encoder(tmp_path)


def test_the_hash_is_of_the_weights_and_not_of_their_file(finished, tmp_path):
    folder, _, _ = finished["logmel"]
    weights = Weights.load(folder)
    state = dict(reversed(weights.encoder_state.items()))
    from dataclasses import replace

    replace(weights, encoder_state=state, flops_total=0.0, objective_state={}).save(tmp_path)
    assert weights_hash(tmp_path) == weights_hash(folder)
    state["encoder.transformer.layer_norm.bias"] = state["encoder.transformer.layer_norm.bias"] + 1e-3
    replace(weights, encoder_state=state).save(tmp_path)
    assert weights_hash(tmp_path) != weights_hash(folder)


@both
def test_hidden_states_are_the_encoders_own(finished, frontend):
    folder, _, _ = finished[frontend]
    extractor = scaling.load_encoder(folder)
    encoder = Weights.load(folder).encoder()
    batch = waves()
    with torch.inference_mode():
        states = extractor(batch)
        expected = encoder.hidden_states(extractor.inputs(batch))
        last = encoder(extractor.inputs(batch)).hidden
    assert len(states) == extractor.layers + 1 == 3
    frames = extractor.frames_of(16_000)
    for state, own in zip(states, expected, strict=True):
        assert state.shape == (2, frames, extractor.width)
        assert torch.equal(state, own)
    torch.testing.assert_close(states[-1], last, **CLOSE)  # the norm stands after each block: nothing follows
    assert frames == 49
    assert extractor.get_downsample_rates("hidden_states") == extractor.stride == 320
    assert not extractor.training
    assert extractor.spec["objective"] == "hubert"


@both
def test_waveforms_of_their_own_lengths_give_the_same_as_one_by_one(finished, frontend):
    extractor = scaling.load_encoder(finished[frontend][0])
    each = [waves(samples, 1, seed)[0] for seed, samples in enumerate((16_000, 7_321, 12_345))]
    with torch.inference_mode():
        states = extractor(each)
        for number, wave in enumerate(each):
            alone, frames = extractor(wave[None]), extractor.frames_of(len(wave))
            for together, own in zip(states, alone, strict=True):
                assert own.shape[1] == frames
                torch.testing.assert_close(together[number, :frames], own[0], **CLOSE)
                assert not together[number, frames:].any()
    assert states[0].shape[:2] == (3, extractor.frames_of(16_000))


@both
def test_gradients_flow_into_the_encoder_and_the_waveform(finished, frontend):
    extractor = scaling.load_encoder(finished[frontend][0]).train()
    batch = waves(8_000, 1).requires_grad_()
    extractor(batch)[-1].square().sum().backward()
    missing = [name for name, p in extractor.named_parameters() if p.grad is None]
    assert not missing
    assert all(bool(p.grad.isfinite().all()) for p in extractor.parameters())
    assert batch.grad is not None
    assert batch.grad.abs().max().item() > 0


def test_log_mel_inputs_are_the_stored_features(finished, corpus):
    """To half precision, in which they are stored; every frame of an utterance, and not one more."""
    extractor = scaling.load_encoder(finished["logmel"][0])
    frames, features = Frames(corpus), make_features(corpus)
    for u in (0, len(corpus.table) - 1):
        samples = torch.from_numpy(corpus.samples(u).astype(np.float32) / 32768)
        inputs = extractor.inputs(samples[None])[0].numpy()
        stored = features[frames.offsets[u] : frames.offsets[u + 1]].astype(np.float32)
        assert inputs.shape == stored.shape
        assert extractor.frames_of(len(samples)) == frames.counts[u]
        np.testing.assert_allclose(inputs, stored, rtol=1e-3, atol=1e-3)


def test_the_extractor_moves_and_saves_with_its_normalisation(finished):
    extractor = scaling.load_encoder(finished["logmel"][0])
    assert {"mean", "deviation"} <= set(extractor.state_dict())
    assert extractor.double().mean.dtype == torch.float64
    assert "mean" not in scaling.load_encoder(finished["waveform"][0]).state_dict()


def run_export(finished, frontend, to, output, monkeypatch):
    folder, _, _ = finished[frontend]
    monkeypatch.chdir(folder.parents[3])
    return main(["export", str(folder), "--to", to, "-o", str(output)])


def test_an_exported_encoder_is_torchaudios(finished, tmp_path, monkeypatch, capsys):
    assert run_export(finished, "waveform", "torchaudio", tmp_path / "a.pt", monkeypatch) == 0
    assert capsys.readouterr().out == f"wrote {tmp_path / 'a.pt'}: 2x32, waveform, hubert\n"
    held = torch.load(tmp_path / "a.pt", weights_only=True)
    theirs = torchaudio.models.wav2vec2_model(**held["config"]).eval()
    theirs.load_state_dict(held["state_dict"])
    ours = scaling.load_encoder(finished["waveform"][0])
    with torch.inference_mode():
        states, _ = theirs.extract_features(waves())
        expected = ours(waves())
        torch.testing.assert_close(theirs(waves())[0], expected[-1], **CLOSE)
    assert len(states) == 2
    for state, own in zip(states, expected[1:], strict=True):
        torch.testing.assert_close(state, own, **CLOSE)
    # and back
    back = Encoder(WAVEFORM).eval()
    back.load_state_dict(theirs.state_dict())
    with torch.inference_mode():
        for state, own in zip(back.hidden_states(waves()), expected, strict=True):
            assert torch.equal(state, own)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_configuration_for_torchaudio_fits_every_shape(norm, tmp_path):
    shape = scaling.Shape(layers=2, width=48, ffn=100, heads=3, position_kernel=31, position_groups=12, norm=norm)
    torch.manual_seed(0)
    ours = Encoder(shape).eval()
    initialise(ours)
    weights = Weights(
        shape=shape,
        spec={"objective": "hubert"},
        encoder_state=ours.state_dict(),
        objective_state={},
        input_mean=None,
        input_deviation=None,
        flops_total=1.0,
    )
    export(weights, "torchaudio", tmp_path / "a.pt")
    held = torch.load(tmp_path / "a.pt", weights_only=True)
    assert held["config"] == torchaudio_config(shape)
    theirs = torchaudio.models.wav2vec2_model(**held["config"]).eval()
    theirs.load_state_dict(held["state_dict"])
    with torch.inference_mode():
        torch.testing.assert_close(theirs(waves())[0], ours(waves()).hidden, **CLOSE)


@both
def test_safetensors_come_back_as_they_were(finished, tmp_path, monkeypatch, frontend):
    path = tmp_path / "a.safetensors"
    assert run_export(finished, frontend, "safetensors", path, monkeypatch) == 0
    folder, _, _ = finished[frontend]
    weights, again = Weights.load(folder), read_safetensors(path)
    assert again.shape == weights.shape
    assert again.spec == weights.spec
    assert again.flops_total == weights.flops_total
    assert set(again.encoder_state) == set(weights.encoder_state)
    assert all(torch.equal(again.encoder_state[name], value) for name, value in weights.encoder_state.items())
    with torch.inference_mode():
        for one, other in zip(scaling.load_encoder(path)(waves()), scaling.load_encoder(folder)(waves()), strict=True):
            assert torch.equal(one, other)


def test_safetensors_name_what_they_hold(finished, tmp_path, monkeypatch):
    """Others read them by torchaudio's names under `encoder.`."""
    from safetensors.torch import load_file

    run_export(finished, "waveform", "safetensors", tmp_path / "a.safetensors", monkeypatch)
    tensors = load_file(tmp_path / "a.safetensors")
    model = torchaudio.models.wav2vec2_model(**torchaudio_config(WAVEFORM))
    model.load_state_dict({name.removeprefix("encoder."): value for name, value in tensors.items()})


def test_the_file_of_weights_loads_as_their_folder_does(finished):
    folder, _, _ = finished["waveform"]
    with torch.inference_mode():
        one, other = scaling.load_encoder(folder)(waves()), scaling.load_encoder(str(folder / "weights.pt"))(waves())
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_run_is_found_by_its_sweep_and_the_beginning_of_its_id(finished, monkeypatch, capsys, tmp_path):
    folder, spec, _ = finished["waveform"]
    monkeypatch.chdir(folder.parents[3])
    assert main(["export", f"waveform/{spec.id[:6]}", "--to", "safetensors", "-o", str(tmp_path / "a")]) == 0
    assert main(["export", spec.id, "--to", "torchaudio"]) == 0
    name = f"{spec.id}.torchaudio.pt"
    assert capsys.readouterr().out.splitlines()[1].startswith(f"wrote {name}: ")
    assert (folder.parents[3] / name).exists()
    (folder.parents[3] / name).unlink()


def test_log_mel_to_torchaudio_is_refused(finished, tmp_path, monkeypatch, capsys):
    assert run_export(finished, "logmel", "torchaudio", tmp_path / "a.pt", monkeypatch) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: --to: torchaudio has no encoder over log-Mel features, got 'torchaudio'\n")
    assert "use --to safetensors, or scaling.load_encoder in Python" in told
    assert not list(tmp_path.iterdir())


def test_what_is_no_run_is_refused(finished, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save({"format": 99}, tmp_path / "later.pt")
    torch.save([1, 2], tmp_path / "list.pt")

    def export_of(name):
        code = main(["export", name, "--to", "safetensors", "-o", "out"])
        return code, capsys.readouterr().err

    for name, what, remedy in (
        ("empty", "empty: no weights here", "name the folder of a finished run"),
        ("0123456789abcdef", "RUN: no such run, got '0123456789abcdef'", "`scaling-sweep status SWEEP` lists the ids"),
        ("text.pt", "text.pt: not the weights of a run", "name a finished run's folder"),
        ("later.pt", "later.pt: not the weights of a run (KeyError)", "name a finished run's folder"),
        ("list.pt", "list.pt: not the weights of a run", "name a finished run's folder"),
    ):
        code, told = export_of(name)
        assert code == 2
        assert told.startswith(f"error: {what}")
        assert remedy in told
    assert not (tmp_path / "out").exists()
    for name in ("empty", "text.pt", "nothing"):
        with pytest.raises(InputError, match="weights"):
            scaling.load_encoder(name)
    for name in ("text.safetensors", "nothing.safetensors"):
        with pytest.raises(InputError, match="not an exported encoder"):
            scaling.load_encoder(name)


def test_an_id_of_two_sweeps_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for sweep in ("a", "b"):
        (tmp_path / "results" / sweep / "runs" / "0123").mkdir(parents=True)
    assert main(["export", "01", "--to", "safetensors"]) == 2
    assert capsys.readouterr().err.startswith("error: RUN: several runs begin so, got '01'")


def test_safetensors_must_be_installed(finished, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("scaling.speech.export.importlib.util.find_spec", lambda name: None)
    assert run_export(finished, "waveform", "safetensors", tmp_path / "a", monkeypatch) == 2
    assert "pip install 'scaling-sweep[export]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "waves",
    [
        torch.zeros(16_000),
        torch.zeros(1, 1, 16_000),
        torch.zeros(1, 16_000, dtype=torch.int16),
        [],
        [torch.zeros(1, 9)],
    ],
)
def test_what_are_not_waveforms_are_refused(waves):
    from scaling.speech.extractor import _check

    with pytest.raises(InputError, match="not waveforms") as told:
        _check(waves)
    assert "[batch, samples]" in told.value.remedy
