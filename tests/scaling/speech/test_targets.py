"""Targets: made once, shared by all runs of a corpus, and HuBERT's second iteration on a trained encoder's layer."""

import dataclasses
import shutil

import numpy as np
import pytest
import soundfile
import torch

from scaling import InputError, RunFolder, forward_flops
from scaling.files import read_json, write_json
from scaling.speech import cost, train
from scaling.speech.corpus.importing import import_audio
from scaling.speech.corpus.store import Corpus
from scaling.speech.data import Crops
from scaling.speech.derived import Frames, first_hours
from scaling.speech.features import make_features
from scaling.speech.targets import make_targets
from scaling.speech.targets.mfcc import every_second
from scaling.speech.targets.teacher import Teacher
from scaling.speech.weights import Weights, weights_hash
from tests.scaling.speech.runs import LOGMEL, WAVEFORM, replaced, spec_for

SETTINGS = {"kind": "mfcc-kmeans", "clusters": 20, "fit_hours": 0.05, "seed": 0}


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    """Return a corpus of half a minute of coloured noise: an encoder over waveforms reads the whole of it."""
    folder, rng = tmp_path_factory.mktemp("little"), np.random.default_rng(0)
    for speaker in range(4):
        (folder / "audio" / f"speaker{speaker}").mkdir(parents=True)
        for number in range(2):
            bursts = np.repeat(rng.uniform(0, 1, 20), 3_000 + 50 * number)
            wave = np.convolve(rng.standard_normal(len(bursts)) * bursts, rng.standard_normal(9) / 9, mode="same")
            soundfile.write(folder / "audio" / f"speaker{speaker}" / f"{number}.wav", 0.1 * wave, 16_000)
    return import_audio(folder / "corpus", source=str(folder / "audio"), workers=1)


@pytest.fixture(scope="module")
def teachers(little, tmp_path_factory):
    """Return front end -> the folder of a finished tiny run, in the places of a sweep; and its record."""
    folder, found = tmp_path_factory.mktemp("teachers"), {}
    for shape in (LOGMEL, WAVEFORM):
        spec = spec_for(little, shape, crops=2, updates=3, eval_hours=0.001)
        path = folder / shape.frontend / "runs" / spec.id
        record = train(spec, RunFolder(path))
        write_json(folder / shape.frontend / "records" / f"{spec.id}.json", record.to_dict())
        found[shape.frontend] = path, record
    return found


def layer_of(folder, **changes):
    settings = {"kind": "layer-kmeans", "teacher": weights_hash(folder), "layer": 1, "clusters": 16}
    return {**settings, "fit_hours": 0.002, "seed": 0, **changes}


def folder_of(corpus, targets):
    """Return where some targets are kept."""
    for info in (corpus.path / "derived").glob("*/info.json"):
        if read_json(info).get("model") == targets.model:
            return info.parent
    raise AssertionError


def nearest(values, centroids):
    distances = ((values[:, None].astype(np.float64) - centroids[None]) ** 2).sum(axis=2)
    return distances.argmin(axis=1)


def test_every_frame_has_a_label(corpus):
    targets = make_targets(corpus, SETTINGS)
    assert targets.values.shape == (Frames(corpus).total,)
    assert targets.values.dtype == np.uint16
    assert targets.values.max() < 20
    assert (targets.classes, targets.unit) == (20, "nats")
    assert make_targets(corpus, {}) is None


def test_labels_are_the_nearest_centroids(corpus):
    targets, frames = make_targets(corpus, SETTINGS), Frames(corpus)
    centroids = np.load(folder_of(corpus, targets) / "model.npy")
    for u in (0, len(corpus.table) - 1):
        own = targets.values[frames.offsets[u] : frames.offsets[u + 1]]
        assert (nearest(every_second(corpus.samples(u)), centroids) == own).mean() > 0.999


def test_the_clusters_are_those_of_lloyd(corpus):
    """No cluster of the fixed set is far from the mean of its frames: its 30 iterations have come close to an end."""
    targets, frames = make_targets(corpus, SETTINGS), Frames(corpus)
    centroids = np.load(folder_of(corpus, targets) / "model.npy")
    values, labels = (
        np.concatenate(parts)
        for parts in zip(
            *(
                (every_second(corpus.samples(u)), targets.values[frames.offsets[u] : frames.offsets[u + 1]])
                for u in first_hours(corpus, 0.05)
            ),
            strict=True,
        )
    )
    means = np.stack([values[labels == k].mean(axis=0) for k in range(20)])
    assert np.abs(means - centroids).max() < 0.1 * values.std(axis=0).max()


def test_labels_do_not_depend_on_who_makes_them_first(corpus, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(corpus.path, copy, ignore=shutil.ignore_patterns("derived"))
    again, first = make_targets(Corpus(copy), SETTINGS), make_targets(corpus, SETTINGS)
    assert again.model == first.model
    assert np.array_equal(again.values, first.values)
    assert again.unigram.sum() == pytest.approx(1)


def test_labels_are_made_once_and_shared_by_subsets_and_seeds(corpus, tmp_path, monkeypatch):
    """The second run has half the audio, another seed and another size: it fits nothing and reads the same file."""
    train(spec_for(corpus, updates=2), RunFolder(tmp_path / "a"))
    before = {path: path.stat().st_mtime_ns for path in (corpus.path / "derived").glob("*/*")}

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr("scaling.speech.targets.clusters.kmeans", refuse)
    other = spec_for(corpus, dataclasses.replace(LOGMEL, layers=1), updates=2, seed=1, hours=0.05)
    train(other, RunFolder(tmp_path / "b"))
    assert {path: path.stat().st_mtime_ns for path in (corpus.path / "derived").glob("*/*")} == before


@pytest.mark.parametrize("kind", ["mfcc-kmeans", "random-projection"])
def test_the_entropy_is_the_empirical_one_of_the_training_labels(corpus, kind):
    settings = {"mfcc-kmeans": SETTINGS, "random-projection": {"kind": kind, "codes": 64, "dim": 16, "seed": 0}}[kind]
    targets, frames = make_targets(corpus, settings), Frames(corpus)
    training = [targets.values[frames.offsets[u] : frames.offsets[u + 1]] for u in corpus.subset()]
    counts = np.bincount(np.concatenate(training), minlength=targets.classes)
    shares = counts[counts > 0] / counts.sum()
    assert targets.entropy == pytest.approx(-(shares * np.log(shares)).sum(), rel=1e-12)
    assert np.array_equal(targets.constant, counts)
    assert targets.used == (counts > 0).sum()
    assert 1.0 < targets.entropy < np.log(targets.classes)
    assert read_json(folder_of(corpus, targets) / "info.json")["entropy"] == pytest.approx(targets.entropy)


def test_a_record_says_the_entropy_and_the_flops_of_fitting_and_labelling(corpus, tmp_path):
    spec = spec_for(corpus, updates=4)
    record, targets = train(spec, RunFolder(tmp_path)), make_targets(corpus, spec.targets)
    assert record.metrics["label_entropy"] == targets.entropy
    fixed = Frames(corpus).counts[first_hours(corpus, 0.05)].sum()
    assert targets.fit_flops == fixed * 30 * 2 * 20 * 39
    assert record.flops_total == pytest.approx(record.flops + targets.fit_flops + 2 * 20 * 39 * record.frames)


def test_other_settings_are_other_labels(corpus):
    models = {make_targets(corpus, {**SETTINGS, **change}).model for change in ({}, {"seed": 1}, {"clusters": 10})}
    assert len(models) == 3


def test_more_clusters_than_frames_are_refused(corpus):
    with pytest.raises(
        InputError, match=r"(?s)\d+ frames to fit 60000 clusters on, got 60000\n.*use more audio"
    ) as told:
        make_targets(corpus, {"clusters": 60_000, "fit_hours": 0.001, "seed": 0})
    assert str(corpus.path) in str(told.value)
    assert not list((corpus.path / "derived").glob(".tmp-*"))


# the second iteration


def features_of_layer(little, folder, u, layer=1):
    """Return a layer of a trained encoder over a whole utterance, worked out from its weights alone."""
    from scaling.speech.encoder import Encoder

    weights, count = Weights.load(folder), int(Frames(little).counts[u])
    encoder = Encoder(weights.shape)
    encoder.load_state_dict(dict(weights.encoder_state))
    encoder.eval()
    with torch.inference_mode():
        if weights.shape.frontend == "logmel":
            frames = Frames(little)
            inputs = make_features(little)[frames.offsets[u] : frames.offsets[u + 1]].astype(np.float32)
        else:
            inputs = little.samples(u).astype(np.float32) / 32768
        kept = []
        layers = encoder.encoder.transformer.layers
        layers[layer - 1].register_forward_hook(lambda module, given, output: kept.append(output))
        encoder(torch.from_numpy(inputs)[None])
    return kept[0][0, :count].numpy()


@pytest.mark.parametrize("frontend", ["logmel", "waveform"])
def test_labels_of_a_layer_are_the_nearest_centroids_of_its_features(little, teachers, frontend):
    folder, _ = teachers[frontend]
    settings = layer_of(folder)
    targets, frames = make_targets(little, settings, str(folder)), Frames(little)
    assert targets.classes == 16
    centroids = np.load(folder_of(little, targets) / "model.npy")
    assert centroids.shape == (16, LOGMEL.width if frontend == "logmel" else WAVEFORM.width)
    for u in (0, len(little.table) - 1):
        expected = features_of_layer(little, folder, u)
        [(same, read)] = Teacher(str(folder), settings["teacher"], 1).read(little, np.array([u]))
        assert same == u
        np.testing.assert_allclose(read, expected, rtol=1e-5, atol=1e-5)
        own = targets.values[frames.offsets[u] : frames.offsets[u + 1]]
        assert (nearest(expected, centroids) == own).mean() > 0.99
    assert make_targets(little, settings, None).model == targets.model  # they are there: no teacher is needed


def test_another_layer_gives_other_labels(little, teachers):
    folder, _ = teachers["logmel"]
    one, two = (make_targets(little, layer_of(folder, layer=layer), str(folder)) for layer in (1, 2))
    assert one.model != two.model
    [(_, last)] = Teacher(str(folder), weights_hash(folder), 2).read(little, np.array([0]))
    np.testing.assert_allclose(last, features_of_layer(little, folder, 0, layer=2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("frontend", "recorded"), [("logmel", True), ("logmel", False), ("waveform", True)])
def test_a_run_pays_for_its_teacher_the_fit_and_the_labels(little, teachers, tmp_path, frontend, recorded):
    """flops_total: own training, the teacher's with its own clusters, 30 Lloyd passes, labels of what was seen."""
    folder, record = teachers[frontend]
    seed = 0
    if not recorded:  # without its record the weights themselves say what they took
        shutil.copytree(folder, tmp_path / "elsewhere" / "runs" / "teacher")
        folder, seed = tmp_path / "elsewhere" / "runs" / "teacher", 2
    spec = spec_for(little, updates=3)
    settings = layer_of(folder, seed=seed)
    spec = replaced(spec, targets=settings, where={**spec.where, "teacher": str(folder)})
    ours = train(spec, RunFolder(tmp_path / "run"))
    shape = Weights.load(folder).shape
    forward, samples = forward_flops(shape, 15 * 16_000), 15 * 16_000
    layers = (forward["linear"] + forward["attention"]) / 2  # the first of two
    a_frame = (forward["frontend"] + forward["projection"] + forward["position"] + layers) / shape.frames(samples)
    nearest_centroid = 2 * 16 * shape.width
    fixed = Frames(little).counts[first_hours(little, 0.002)].sum()
    expected = record.flops_total + fixed * (a_frame + 30 * nearest_centroid)
    expected += ours.frames * (a_frame + nearest_centroid) + ours.flops
    assert ours.flops_total == pytest.approx(expected, rel=1e-9)
    assert record.flops_total > record.flops
    assert ours.flops == 3 * cost(spec).flops_per_step
    assert ours.status == "completed"


def test_an_utterance_is_labelled_once_however_often_it_is_seen(little, teachers, tmp_path):
    """A run of many epochs pays for the labels of the utterances that it reads once."""
    spec = spec_for(little, updates=160)
    record, targets = train(spec, RunFolder(tmp_path)), make_targets(little, spec.targets)
    assert record.frames > Frames(little).total
    counts = Frames(little).counts[little.subset(spec.corpus["unique_hours"])]
    expected = record.flops + targets.fit_flops + targets.flops_per_frame * counts[counts >= 50].sum()
    assert record.flops_total == pytest.approx(expected)


def test_labels_of_a_waveform_teacher_line_up_with_the_crops_of_a_log_mel_student(little, teachers):
    """Frame t of an utterance has the label of the samples from 320 t on, whatever front end reads it."""
    folder, _ = teachers["waveform"]
    targets = make_targets(little, layer_of(folder), str(folder))
    batch = Crops(little, LOGMEL, 16_000, masked=28, mask_length=10, seed=0).batch(0, 4)
    frames, features = Frames(little), make_features(little)
    place = batch.frames[0]
    u = int(np.searchsorted(frames.offsets, place[0], side="right")) - 1
    np.testing.assert_array_equal(batch.inputs[0].numpy(), features[place].astype(np.float32))
    centroids = np.load(folder_of(little, targets) / "model.npy")
    labels = nearest(features_of_layer(little, folder, u), centroids)[place - frames.offsets[u]]
    assert (targets.values[batch.frames][0] == labels).mean() > 0.97


def test_the_shortest_utterance_has_its_labels_too(teachers, tmp_path):
    """55 ms are one frame of log-Mel; a teacher over waveforms must not fail on it."""
    rng = np.random.default_rng(0)
    for speaker in ("a", "b", "c"):
        (tmp_path / "audio" / speaker).mkdir(parents=True)
        for samples in (600, 880, 20_000):
            path = tmp_path / "audio" / speaker / f"{samples}.wav"
            soundfile.write(path, 0.1 * rng.standard_normal(samples), 16_000)
    corpus = import_audio(tmp_path / "corpus", source=str(tmp_path / "audio"), workers=1)
    assert 1 in Frames(corpus).counts
    folder, _ = teachers["waveform"]
    targets = make_targets(corpus, layer_of(folder, clusters=4), str(folder))
    assert len(targets.values) == Frames(corpus).total


def test_a_teacher_with_other_weights_is_refused(little, teachers):
    folder, _ = teachers["logmel"]
    wanted = layer_of(teachers["waveform"][0], clusters=17)
    with pytest.raises(InputError, match="another teacher") as told:
        make_targets(little, wanted, str(folder))
    text = str(told.value)
    assert text.startswith(str(folder))
    assert weights_hash(folder) in text
    assert f"name the run whose weights have the hash {wanted['teacher']}" in text


@pytest.mark.parametrize("layer", [0, 3])
def test_a_layer_that_the_teacher_lacks_is_refused(little, teachers, layer):
    folder, _ = teachers["logmel"]
    with pytest.raises(InputError, match=rf"the teacher has layers 1 to 2, got {layer}\n  name one of them") as told:
        make_targets(little, layer_of(folder, layer=layer), str(folder))
    assert str(told.value).startswith(str(folder))


def test_a_missing_teacher_is_refused(little, teachers, tmp_path):
    settings = layer_of(teachers["logmel"][0], clusters=18)
    with pytest.raises(InputError, match=r"targets.teacher: a teacher's folder is needed\n  name the run's folder"):
        make_targets(little, settings, None)
    with pytest.raises(InputError, match="no weights here") as told:
        make_targets(little, settings, str(tmp_path / "nothing"))
    assert "name the folder of a finished run" in str(told.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no weights here"):
        make_targets(little, settings, str(tmp_path / "empty"))


def test_a_teacher_may_be_named_by_a_path_from_here(little, teachers, tmp_path, monkeypatch):
    folder, _ = teachers["logmel"]
    monkeypatch.chdir(folder.parent)
    targets = make_targets(little, layer_of(folder, clusters=9, fit_hours=0.002), folder.name)
    assert targets.classes == 9


def test_more_clusters_than_a_layer_has_frames_are_refused(little, teachers):
    folder, _ = teachers["logmel"]
    with pytest.raises(InputError, match=r"\d+ frames to fit 50000 clusters on, got 50000\n  use more audio or fewer"):
        make_targets(little, layer_of(folder, clusters=50_000, fit_hours=0.001), str(folder))


def test_targets_are_not_made_of_a_corpus_that_changed(corpus, tmp_path):
    """One sample differs under the same size: its checksum tells, before anything is made of it."""
    changed = tmp_path / "changed"
    shutil.copytree(corpus.path, changed, ignore=shutil.ignore_patterns("derived"))
    shard = sorted((changed / "shards").glob("*.i16"))[0]
    data = bytearray(shard.read_bytes())
    data[1000] ^= 1
    shard.write_bytes(data)
    with pytest.raises(InputError, match="not the file that the corpus was sealed with"):
        make_targets(Corpus(changed), {"kind": "mfcc-kmeans", "clusters": 8, "fit_hours": 0.05, "seed": 0})
    assert not list((changed / "derived").glob("*")), "nothing half made is left"
