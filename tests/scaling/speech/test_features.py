"""Features and labels line up with each other and with both front ends."""

import shutil

import numpy as np
import pytest

from scaling import InputError
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames
from scaling.speech.features import logmel, make_features
from scaling.speech.targets import make_targets, mfcc

SETTINGS = {"clusters": 20, "fit_hours": 0.05, "seed": 0}


def test_every_frame_has_features_and_a_label(corpus):
    frames, features, targets = Frames(corpus), make_features(corpus), make_targets(corpus, SETTINGS)
    assert features.shape == (frames.total, 80)
    assert targets.labels.shape == (frames.total,)
    assert targets.labels.max() < 20
    for u in (0, len(corpus.table) - 1):
        samples = corpus.samples(u)
        assert len(logmel(samples)) == len(mfcc(samples)) == frames.counts[u]


def test_features_are_normalised_over_the_fixed_set(corpus):
    features = make_features(corpus).astype(np.float32)
    assert np.abs(features.mean(axis=0)).max() < 0.2
    assert np.abs(features.std(axis=0) - 1).max() < 0.2


def test_a_frame_stands_for_the_samples_from_its_stride_on(corpus):
    """Silencing the samples before frame t leaves frame t as it was, in both."""
    samples = corpus.samples(0).copy()
    t = 60
    silenced = samples.copy()
    silenced[: 320 * t] = 0
    np.testing.assert_allclose(logmel(silenced)[t:], logmel(samples)[t:], atol=1e-4)
    np.testing.assert_allclose(mfcc(silenced)[t + 4 :, :13], mfcc(samples)[t + 4 :, :13], atol=1e-3)


def test_labels_are_the_nearest_centroids(corpus):
    from scaling.files import read_json

    targets = make_targets(corpus, SETTINGS)
    folder = next((corpus.path / "derived").glob("mfcc-kmeans-*"))
    for folder in (corpus.path / "derived").glob("mfcc-kmeans-*"):
        if read_json(folder / "info.json")["label_model"] == targets.label_model:
            break
    centroids = np.load(folder / "centroids.npy")
    values = mfcc(corpus.samples(0))
    nearest = ((values[:, None] - centroids[None]) ** 2).sum(axis=2).argmin(axis=1)
    assert (nearest == targets.labels[: len(nearest)]).mean() > 0.999


def test_labels_do_not_depend_on_who_makes_them_first(corpus, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(corpus.path, copy, ignore=shutil.ignore_patterns("derived"))
    again = make_targets(Corpus(copy), SETTINGS)
    assert again.label_model == make_targets(corpus, SETTINGS).label_model
    assert 2.0 < again.entropy < np.log(20)
    assert again.unigram.sum() == pytest.approx(1)


def test_other_settings_are_another_label_model(corpus):
    assert make_targets(corpus, {**SETTINGS, "seed": 1}).label_model != make_targets(corpus, SETTINGS).label_model


def test_more_clusters_than_frames_are_refused(corpus):
    with pytest.raises(InputError, match="frames to fit 60000 clusters on"):
        make_targets(corpus, {"clusters": 60_000, "fit_hours": 0.001, "seed": 0})


def test_a_corpus_that_cannot_be_written_says_so(corpus, tmp_path, monkeypatch):
    """Root writes anywhere, so the refusal of the system is stood in for."""
    import tempfile

    def refuse(**_):
        raise PermissionError

    copy = tmp_path / "copy"
    shutil.copytree(corpus.path, copy, ignore=shutil.ignore_patterns("derived"))
    monkeypatch.setattr(tempfile, "mkdtemp", refuse)
    with pytest.raises(InputError, match="kept beside the corpus"):
        make_features(Corpus(copy))
