"""What a step sees is a function of seed and step; an epoch is one pass; masks have exact counts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaling import InputError, Shape
from scaling.cost import masked_frames
from scaling.speech.data import Crops
from scaling.speech.features import logmel
from scaling.speech.masking import span_mask

LOGMEL = Shape(frontend="logmel", layers=1, width=16, ffn=32, heads=1, position_kernel=8)
WAVEFORM = Shape(frontend="waveform", layers=1, width=16, ffn=32, heads=1, position_kernel=8)


def crops(corpus, shape=LOGMEL, seconds=2.0, **others):
    frames = shape.frames(round(seconds * 16_000))
    return Crops(
        corpus, shape, round(seconds * 16_000), masked=masked_frames(frames, 0.8, 10), mask_length=10, **others
    )


@given(st.integers(0, 1000), st.integers(1, 4), st.integers(2, 300), st.floats(0.1, 0.9), st.integers(1, 20))
def test_masks_have_exact_counts_in_spans(seed, rows, frames, share, length):
    masked = max(1, round(share * frames))
    mask = span_mask(np.random.default_rng(seed), rows, frames, masked, length)
    assert mask.shape == (rows, frames)
    assert (mask.sum(axis=1) == masked).all()
    edges = np.diff(np.pad(mask.astype(int), ((0, 0), (1, 1))), axis=1)
    runs = [np.flatnonzero(edges[r] == -1) - np.flatnonzero(edges[r] == 1) for r in range(rows)]
    for of_row in runs:  # at most the last span is cut
        assert (of_row < min(length, frames)).sum() <= 1


def test_the_masked_share_is_that_of_the_study():
    """HuBERT: p = 0.8 in spans of 10 masks about 57 % of the frames."""
    assert masked_frames(694, 0.8, 10) / 694 == pytest.approx(0.566, abs=0.002)


def test_a_step_is_a_function_of_seed_and_step(corpus):
    a, b = crops(corpus), crops(corpus)
    for step in (0, 3, 50, 3):
        x, y = a.batch(step, 4), b.batch(step, 4)
        assert torch.equal(x.inputs, y.inputs)
        assert torch.equal(x.mask, y.mask)
    assert not torch.equal(a.batch(0, 4).inputs, crops(corpus, seed=1).batch(0, 4).inputs)


def test_an_epoch_is_one_pass_without_overlap(corpus):
    reader = crops(corpus)
    n = reader._per_epoch
    starts = np.concatenate([reader.batch(step, 1).positions for step in range(n)])
    frames = (starts[:, None] + np.arange(reader.frames)).ravel()
    assert len(np.unique(frames)) == len(frames)
    longest_left_over = reader.frames * len(reader.utterances)
    assert len(frames) >= reader._index.counts[reader.utterances].sum() - longest_left_over
    second = np.concatenate([reader.batch(step, 1).positions for step in range(n, 2 * n)])
    assert set(second) != set(starts), "another phase in another epoch"


def test_training_never_reads_held_out_or_unranked_audio(corpus):
    reader = crops(corpus, unique_hours=0.02)
    allowed = np.zeros(reader._index.total, dtype=bool)
    for u in corpus.subset(0.02):
        allowed[reader._index.offsets[u] : reader._index.offsets[u + 1]] = True
    for step in range(100):
        span = reader.batch(step, 2).positions[:, None] + np.arange(reader.frames)
        assert allowed[span].all()


def test_log_mel_crops_are_cut_from_the_features_of_the_utterance(corpus):
    reader = crops(corpus)
    batch = reader.batch(0, 1)
    u = int(np.searchsorted(reader._index.offsets, batch.positions[0], side="right") - 1)
    first = int(batch.positions[0] - reader._index.offsets[u])
    whole = logmel(corpus.samples(u))[first : first + reader.frames]
    correlation = np.corrcoef(whole.ravel() - whole.mean(), batch.inputs[0].numpy().ravel())[0, 1]
    assert batch.inputs.shape == (1, 100, 80)
    assert correlation > 0.3
    by_bin = [np.corrcoef(whole[:, i], batch.inputs[0, :, i].numpy())[0, 1] for i in range(80)]
    assert min(by_bin) > 0.999


def test_waveform_crops_are_the_samples_of_the_same_frames(corpus):
    reader = crops(corpus, WAVEFORM)
    batch = reader.batch(0, 2)
    assert batch.inputs.shape == (2, 32_000)
    assert batch.mask.shape == (2, 99)
    u = int(np.searchsorted(reader._index.offsets, batch.positions[0], side="right") - 1)
    first = int(batch.positions[0] - reader._index.offsets[u])
    expected = corpus.samples(u)[320 * first : 320 * first + 32_000] / 32768.0
    np.testing.assert_allclose(batch.inputs[0].numpy(), expected, atol=1e-7)


def test_evaluation_is_fixed_for_every_seed_and_subset(corpus):
    a = list(crops(corpus).evaluation(0.01, 8))
    b = list(crops(corpus, seed=7, unique_hours=0.02).evaluation(0.01, 8))
    assert sum(len(batch.mask) for batch in a) == 18
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x.inputs, y.inputs)
        assert torch.equal(x.mask, y.mask)
    held_out = set(corpus.table["speaker"][corpus.held_out()])
    assert all(set(batch.speakers) <= held_out for batch in a)


def test_a_crop_longer_than_every_utterance_is_refused(corpus):
    with pytest.raises(InputError, match="no training utterance is as long as a crop"):
        crops(corpus, seconds=60)
