"""Features line up with the labels and with both front ends."""

import shutil

import numpy as np
import pytest

from scaling import InputError
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames
from scaling.speech.features import logmel, make_features, normalisation
from scaling.speech.targets.mfcc import every_second, mfcc, stacked


def test_every_frame_has_features(corpus):
    frames, features = Frames(corpus), make_features(corpus)
    assert features.shape == (frames.total, 80)
    for u in (0, len(corpus.table) - 1):
        samples = corpus.samples(u)
        assert len(logmel(samples)) == len(every_second(samples)) == len(stacked(samples)) == frames.counts[u]
        assert mfcc(samples).shape == (2 * frames.counts[u], 39)


def test_features_are_normalised_over_the_fixed_set(corpus):
    features = make_features(corpus).astype(np.float32)
    assert np.abs(features.mean(axis=0)).max() < 0.2
    assert np.abs(features.std(axis=0) - 1).max() < 0.2


def test_the_normalisation_that_is_kept_turns_raw_frames_into_the_stored_ones(corpus):
    mean, deviation = normalisation(corpus)
    frames, features = Frames(corpus), make_features(corpus)
    own = features[frames.offsets[3] : frames.offsets[4]].astype(np.float32)
    np.testing.assert_allclose(own, (logmel(corpus.samples(3)) - mean) / deviation, rtol=1e-3, atol=2e-3)


def test_a_frame_stands_for_the_samples_from_its_stride_on(corpus):
    """Silencing the samples before frame t leaves frame t as it was, in both."""
    samples = corpus.samples(0).copy()
    t = 60
    silenced = samples.copy()
    silenced[: 320 * t] = 0
    np.testing.assert_allclose(logmel(silenced)[t:], logmel(samples)[t:], atol=1e-4)
    np.testing.assert_allclose(every_second(silenced)[t + 4 :, :13], every_second(samples)[t + 4 :, :13], atol=1e-3)


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
