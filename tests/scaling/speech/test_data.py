"""What a step sees is a function of seed and step; an epoch is one pass; masks have exact counts."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling import InputError, Shape
from scaling.cost import masked_frames
from scaling.speech.corpus.store import ROW
from scaling.speech.data import Crops, Pass
from scaling.speech.derived import Frames
from scaling.speech.features import logmel, make_features
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


@given(st.integers(0, 30), st.integers(1, 9), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
def test_a_share_of_a_batch_is_that_slice_of_it(corpus, step, n, data):
    """Joined and augmented too; 0.02 h give passes of few crops, so batches lie across borders of passes."""
    kind = data.draw(st.sampled_from(["plain", "join", "augment"]))
    first = data.draw(st.integers(0, n - 1))
    count = data.draw(st.one_of(st.none(), st.integers(1, n - first)))
    augment = {"speed": [0.9, 1.1], "noise": {"kind": "speech"}, "specaugment": {}} if kind == "augment" else None
    reader = crops(corpus, unique_hours=0.02, join=kind == "join", augment=augment)
    whole, part = reader.batch(step, n), reader.batch(step, n, first, count)
    chosen = slice(first, n if count is None else first + count)
    assert torch.equal(whole.inputs[chosen], part.inputs)
    assert torch.equal(whole.mask[chosen], part.mask)
    for name in ("frames", "speakers", "numbers"):
        np.testing.assert_array_equal(getattr(whole, name)[chosen], getattr(part, name))
    assert whole.numbers.tolist() == list(range(step * n, (step + 1) * n))
    assert whole.frames.dtype == whole.numbers.dtype == np.int64


@pytest.mark.parametrize("join", [False, True])
def test_an_epoch_is_one_pass_without_overlap(corpus, join):
    reader = crops(corpus, join=join)
    n = reader.per_pass
    first = np.concatenate([reader.batch(step, 1).frames for step in range(n)])
    assert len(np.unique(first)) == first.size
    groups = len(np.unique(corpus.table["speaker"][reader.utterances])) if join else len(reader.utterances)
    assert first.size > reader._index.counts[reader.utterances].sum() - reader.frames * groups
    second = np.concatenate([reader.batch(step, 1).frames for step in range(n, 2 * n)])
    assert set(second[:, 0]) != set(first[:, 0]), "another phase in another epoch"


def test_without_join_a_crop_lies_in_one_utterance(corpus):
    reader = crops(corpus)
    frames = np.concatenate([reader.batch(step, 8).frames for step in range(20)])
    assert (np.diff(frames, axis=1) == 1).all()
    place = np.searchsorted(reader._index.offsets, frames, side="right")
    assert (place == place[:, :1]).all()


def test_joined_crops_hold_one_speaker_and_all_utterances(corpus):
    """Crops longer than many utterances: without join these are lost, with it only a remainder of each speaker is."""
    plain, reader = crops(corpus, seconds=9.0), crops(corpus, seconds=9.0, join=True)
    assert plain.unused_hours == reader.unused_hours > 0
    subset = corpus.subset()
    used = corpus.table["samples"][plain.utterances].sum() / 16_000 / 3600
    assert used + plain.unused_hours == pytest.approx(corpus.hours)
    assert set(reader.utterances) == set(subset)
    every = [reader.batch(step, 1) for step in range(reader.per_pass)]
    frames = np.concatenate([batch.frames for batch in every])
    owner = np.searchsorted(reader._index.offsets, frames, side="right") - 1
    by = corpus.table["speaker"][owner]
    assert (by == np.concatenate([batch.speakers for batch in every])[:, None]).all()
    seen = np.bincount(corpus.table["speaker"][owner].ravel(), minlength=by.max() + 1)
    there = np.bincount(corpus.table["speaker"][subset], reader._index.counts[subset], minlength=by.max() + 1)
    assert (there - seen >= 0).all()
    assert (there - seen < reader.frames).all()


@pytest.mark.parametrize("others", [{}, {"join": True}, {"join": True, "augment": {"speed": [0.8, 1.25]}}])
def test_training_never_reads_held_out_or_unranked_audio(corpus, others):
    reader = crops(corpus, unique_hours=0.02, **others)
    allowed = np.zeros(reader._index.total, dtype=bool)
    for u in corpus.subset(0.02):
        allowed[reader._index.offsets[u] : reader._index.offsets[u + 1]] = True
    for step in range(100):
        assert allowed[reader.batch(step, 2).frames].all()


@pytest.mark.parametrize("shape", [LOGMEL, WAVEFORM])
def test_inputs_are_those_of_the_frames(corpus, shape):
    """Whatever is joined: stored features frame by frame, samples frame by frame."""
    reader = crops(corpus, shape, seconds=9.0, join=True)
    features = make_features(corpus) if shape is LOGMEL else None
    for step in range(5):
        batch = reader.batch(step, 3)
        for inputs, frames in zip(batch.inputs.numpy(), batch.frames, strict=True):
            if features is not None:
                np.testing.assert_array_equal(inputs, features[frames].astype(np.float32))
                continue
            owner = np.searchsorted(reader._index.offsets, frames, side="right") - 1
            within = frames - reader._index.offsets[owner]
            expected = [corpus.samples(u)[320 * t : 320 * (t + 1)] for u, t in zip(owner, within, strict=True)]
            np.testing.assert_array_equal(inputs[: 320 * len(frames)] * 32768, np.concatenate(expected))


def test_a_crop_of_no_whole_number_of_frames_has_all_its_samples(corpus):
    """HuBERT's 250,000 samples are 781.25 frames; the last of the front end's needs the quarter."""
    samples = 32_080
    assert WAVEFORM.frames(samples) == 100
    for join in (False, True):
        reader = Crops(corpus, WAVEFORM, samples, masked=50, mask_length=10, join=join)
        for step in range(50):
            batch = reader.batch(step, 1)
            assert batch.frames.shape == (1, 100)
            u = int(np.searchsorted(reader._index.offsets, batch.frames[0, 0], side="right") - 1)
            first = 320 * int(batch.frames[0, 0] - reader._index.offsets[u])
            whole = corpus.samples(u)
            if not join or first + samples <= 320 * reader._index.counts[u]:
                assert first + samples <= len(whole)
                np.testing.assert_array_equal(batch.inputs[0].numpy() * 32768, whole[first : first + samples])


def test_a_pass_over_librispeech_is_cut_in_well_under_a_second():
    """280,000 utterances of 2,300 speakers; the assertion is generous, the benchmark prints the time."""
    rng = np.random.default_rng(0)

    class Corpus960:
        table = np.zeros(280_000, dtype=ROW)

    Corpus960.table["samples"] = rng.integers(1 * 16_000, 17 * 16_000, 280_000)
    Corpus960.table["speaker"] = rng.integers(0, 2_300, 280_000)
    index = Frames(Corpus960)
    begun = time.process_time()
    cut = Pass(Corpus960, index, np.arange(280_000), 200, join=True, rng=rng)
    assert time.process_time() - begun < 1.0
    assert len(cut.crops) * 200 > 0.999 * (index.total - 200 * 2_300)


def test_threads_that_read_at_a_time_read_the_same(corpus):
    reader, alone = crops(corpus, unique_hours=0.02), crops(corpus, unique_hours=0.02)
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda step: reader.batch(step, 7), range(60)))
    for step, batch in enumerate(batches):
        assert torch.equal(batch.inputs, alone.batch(step, 7).inputs)


def test_log_mel_crops_are_cut_from_the_features_of_the_utterance(corpus):
    reader = crops(corpus)
    batch = reader.batch(0, 1)
    u = int(np.searchsorted(reader._index.offsets, batch.frames[0, 0], side="right") - 1)
    first = int(batch.frames[0, 0] - reader._index.offsets[u])
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
    u = int(np.searchsorted(reader._index.offsets, batch.frames[0, 0], side="right") - 1)
    first = int(batch.frames[0, 0] - reader._index.offsets[u])
    expected = corpus.samples(u)[320 * first : 320 * first + 32_000] / 32768.0
    np.testing.assert_allclose(batch.inputs[0].numpy(), expected, atol=1e-7)


@pytest.mark.parametrize("join", [False, True])
def test_evaluation_is_fixed_for_every_seed_subset_and_augmentation(corpus, join):
    augment = {"speed": [0.8, 1.2], "noise": {"share": 1.0}, "specaugment": {}}
    a = list(crops(corpus, join=join).evaluation(0.01, 8))
    b = list(crops(corpus, seed=7, unique_hours=0.02, join=join, augment=augment).evaluation(0.01, 8))
    assert np.concatenate([batch.numbers for batch in a]).tolist() == list(range(18))
    for x, y in zip(a, b, strict=True):
        assert torch.equal(x.inputs, y.inputs)
        assert torch.equal(x.mask, y.mask)
        np.testing.assert_array_equal(x.frames, y.frames)
    held_out = set(corpus.table["speaker"][corpus.held_out()])
    assert all(set(batch.speakers) <= held_out for batch in a)


def test_joined_evaluation_reads_each_speaker_from_the_start_in_the_order_of_the_table(corpus):
    reader = crops(corpus, seconds=9.0, join=True)
    frames = np.concatenate([batch.frames for batch in reader.evaluation(1.0, 8)])
    speakers = corpus.table["speaker"][corpus.held_out()]
    expected = []
    for speaker in np.unique(speakers):
        of = corpus.held_out()[speakers == speaker]
        stream = np.concatenate([np.arange(*reader._index.offsets[u : u + 2]) for u in of])
        expected.append(stream[: len(stream) // 450 * 450].reshape(-1, 450))
    np.testing.assert_array_equal(frames, np.concatenate(expected))


def test_a_crop_longer_than_every_utterance_is_refused(corpus):
    with pytest.raises(InputError, match="no training utterance is as long as a crop"):
        crops(corpus, seconds=60)
    with pytest.raises(InputError, match="no training speaker says as much as a crop"):
        crops(corpus, seconds=100, join=True)
