"""Augmentation changes what it says, by draws that belong to the crop, and labels stay with their sound."""

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from scaling import InputError, Shape
from scaling.speech.augment import (
    Fbank,
    Noise,
    SpecAugment,
    add_noise,
    at_speed,
    mask_features,
    speed_ratio,
)
from scaling.speech.corpus.importing import import_audio
from scaling.speech.data import Crops
from scaling.speech.features import logmel, make_features, normalisation

LOGMEL = Shape(frontend="logmel", layers=1, width=16, ffn=32, heads=1, position_kernel=8)
WAVEFORM = Shape(frontend="waveform", layers=1, width=16, ffn=32, heads=1, position_kernel=8)
EVERYTHING = {
    "speed": [0.9, 1.1],
    "noise": {"snr_db": [5, 25], "share": 0.5, "kind": "speech"},
    "specaugment": {"time": 2, "time_width": 20, "frequency": 2, "frequency_width": 8},
}


def crops(corpus, shape=LOGMEL, seconds=2.0, **others):
    return Crops(corpus, shape, round(seconds * 16_000), masked=20, mask_length=10, **others)


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """Return a corpus of tones that change every 0.3 s, and the frequency of each of its frames."""
    folder = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(0)
    for speaker in "abc":
        (folder / "in" / speaker).mkdir(parents=True)
        for n, seconds in enumerate([2.0, 2.5, 3.1, 1.2, 2.017]):
            hertz = np.repeat(rng.choice(np.arange(400, 3_600, 200), 20), 4_800)[: round(seconds * 16_000)]
            wave = 0.3 * np.sin(2 * np.pi * np.cumsum(hertz) / 16_000)
            soundfile.write(folder / "in" / speaker / f"{n}.wav", wave, 16_000)
    corpus = import_audio(folder / "out", source=str(folder / "in"), workers=1)
    reader = crops(corpus, WAVEFORM, 0.1)
    labels = np.zeros(reader._index.total)
    for u in range(len(corpus.table)):
        frames = int(reader._index.counts[u])
        blocks = corpus.samples(u)[: frames * 320].reshape(frames, 320) / 32768.0
        labels[reader._index.offsets[u] : reader._index.offsets[u + 1]] = pitch(blocks)
    return corpus, labels


def pitch(blocks):
    """Return the frequency of the highest peak of each row's spectrum."""
    spectrum = np.abs(np.fft.rfft(blocks * np.hanning(blocks.shape[1]), 4096, axis=1))
    return np.argmax(spectrum, axis=1) * 16_000 / 4096


@pytest.mark.parametrize("join", [False, True])
@pytest.mark.parametrize("factor", [0.8, 0.937, 1.0, 1.1, 1.25])
def test_labels_follow_the_speed(tones, join, factor):
    corpus, labels = tones
    reader = crops(corpus, WAVEFORM, 2.0, join=join, augment={"speed": [factor, factor]})
    hit = []
    for step in range(8):
        batch = reader.batch(step, 2)
        for wave, frames in zip(batch.inputs.numpy(), batch.frames, strict=True):
            # An utterance of just a crop cannot be sped up: the factor is what the frames say it is.
            used = min(factor, (reader._index.counts.max() * 320 + 240) / 32_000)
            heard = pitch(wave[: 320 * len(frames)].reshape(len(frames), 320))
            # A tone that is played at `factor` times its speed is that much higher.
            ratio = heard / labels[frames]
            hit.append(np.abs(ratio / np.median(ratio) - 1) < 0.1)
            if join:
                assert np.median(ratio) == pytest.approx(used, rel=0.02)
    # But for frames in which a tone ends (one in 15), and those of another frequency beside it.
    assert np.mean(hit) > 0.85


def test_a_crop_that_speed_makes_longer_stays_inside_its_utterance(tones):
    corpus, _ = tones
    reader = crops(corpus, WAVEFORM, 2.0, augment={"speed": [1.25, 1.25]})
    for step in range(10):
        batch = reader.batch(step, 2)
        owner = np.searchsorted(reader._index.offsets, batch.frames, side="right") - 1
        assert (owner == owner[:, :1]).all()
        assert (np.diff(batch.frames, axis=1) >= 0).all()
        source = batch.frames[:, -1] - batch.frames[:, 0]
        counts = reader._index.counts[owner[:, 0]]
        assert (source >= np.minimum(np.round(98 * 1.25), counts - 2) - 1).all()
        assert (np.abs(batch.inputs[:, -100:].numpy()).max(axis=1) > 0.1).all(), "no silence is made up"


@given(st.floats(0.5, 1.0), st.floats(1.0, 2.0), st.integers(0, 1000), st.floats(0.6, 3.0))
def test_speeds_lie_in_the_interval_and_within_what_there_is(low, high, seed, longest):
    up, down = speed_ratio((low, high), np.random.default_rng(seed), longest)
    assert down / up <= longest + 1e-12
    assert min(low, longest) - 1e-3 <= down / up <= high + 1e-3


@given(st.integers(800, 1250), st.integers(200, 3000))
def test_resampling_keeps_a_tone_and_its_place(thousandths, wanted):
    """A sine at f becomes one at f times the factor, in phase from the first sample on and equally loud."""

    def read(first, count):
        return 1000.0 * np.sin(0.2 * np.arange(first, first + count) + 0.5)

    up, down = speed_ratio((thousandths / 1000,) * 2, np.random.default_rng(0), 10.0)
    expected = 1000.0 * np.sin(0.2 * np.arange(wanted) * down / up + 0.5)
    wave = at_speed(read, wanted, up, down)
    assert wave.dtype == np.float32
    np.testing.assert_allclose(wave, expected, atol=6.0)


def test_features_on_the_fly_are_the_stored_ones(corpus):
    plain, reader = crops(corpus), crops(corpus, augment={"speed": [1, 1]})
    for step in range(5):
        a, b = plain.batch(step, 4), reader.batch(step, 4)
        np.testing.assert_array_equal(a.frames, b.frames)
        np.testing.assert_allclose(a.inputs, b.inputs, atol=2e-3, rtol=1e-3)  # half precision; borders included


def test_joined_features_on_the_fly_differ_at_the_joints_alone(corpus):
    plain, reader = (
        crops(corpus, seconds=9.0, join=True),
        crops(corpus, seconds=9.0, join=True, augment={"speed": [1, 1]}),
    )
    for step in range(5):
        a, b = plain.batch(step, 4), reader.batch(step, 4)
        inner = np.pad(np.diff(a.frames, axis=1) == 1, ((0, 0), (0, 1)), constant_values=False)
        np.testing.assert_allclose(a.inputs.numpy()[inner], b.inputs.numpy()[inner], atol=2e-3, rtol=1e-3)


def test_the_analysis_is_kaldis(corpus):
    mean, deviation = normalisation(corpus)
    rng = np.random.default_rng(0)
    for samples in (corpus.samples(3), np.zeros(2_000, np.int16), rng.integers(-32768, 32768, 5_001).astype(np.int16)):
        expected = (logmel(samples) - mean) / deviation
        found = Fbank(mean, deviation)(samples.astype(np.float32))
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("shape", [LOGMEL, WAVEFORM])
def test_a_crop_is_augmented_by_seed_and_number_alone(corpus, shape):
    settings = EVERYTHING if shape is LOGMEL else {k: v for k, v in EVERYTHING.items() if k != "specaugment"}
    a, b = (crops(corpus, shape, augment=settings, unique_hours=0.02) for _ in range(2))
    later = [b.batch(step, 4) for step in (9, 3)]  # as a resumed run, which has not seen the steps before
    for step in range(10):
        batch = a.batch(step, 4)
        for other, at in ((later[0], 9), (later[1], 3)):
            if at == step:
                assert torch.equal(batch.inputs, other.inputs)
                np.testing.assert_array_equal(batch.frames, other.frames)
    other = crops(corpus, shape, augment=settings, unique_hours=0.02, seed=1).batch(3, 4)
    assert not torch.equal(other.inputs, later[1].inputs)
    wide = a.batch(1, 8)  # crops 8 to 15 of the run, whatever the batch
    narrow = torch.cat([a.batch(2, 4).inputs, a.batch(3, 4).inputs])
    assert torch.equal(wide.inputs, narrow)


def test_one_kind_draws_as_it_does_beside_the_others(corpus):
    alone = crops(corpus, WAVEFORM, augment={"speed": [0.9, 1.1]}).batch(0, 8)
    beside = crops(corpus, WAVEFORM, augment={"speed": [0.9, 1.1], "noise": {"share": 1.0}}).batch(0, 8)
    np.testing.assert_array_equal(alone.frames, beside.frames)


@pytest.mark.parametrize("kind", ["white", "speech"])
def test_noise_has_the_level_and_the_share_asked_for(corpus, kind):
    settings = {"snr_db": [10, 10], "share": 0.5, "kind": kind}
    plain = crops(corpus, WAVEFORM).batch(0, 200).inputs
    noisy = crops(corpus, WAVEFORM, augment={"noise": settings}).batch(0, 200).inputs
    added = (noisy - plain).numpy().astype(float)
    hit = (added != 0).any(axis=1)
    assert 0.35 < hit.mean() < 0.65
    level = 10 * np.log10((plain.numpy()[hit] ** 2.0).mean(axis=1) / (added[hit] ** 2).mean(axis=1))
    np.testing.assert_allclose(level, 10, atol=0.05)


def test_speech_as_noise_is_another_crop_of_the_subset(corpus):
    """The noise is a stretch of training audio, scaled; it is never the crop itself, and held-out audio never."""
    plain = crops(corpus, WAVEFORM, unique_hours=0.02)
    noisy = crops(corpus, WAVEFORM, unique_hours=0.02, augment={"noise": {"share": 1.0, "kind": "speech"}})
    stretches = np.stack([plain._in_order.samples(int(c), 0, 32_000) for c in plain._in_order.crops]).astype(float)
    stretches /= np.linalg.norm(stretches, axis=1, keepdims=True)
    clean, changed = plain.batch(0, 16).inputs.numpy(), noisy.batch(0, 16).inputs.numpy()
    added = changed.astype(float) - clean
    alike = (added / np.linalg.norm(added, axis=1, keepdims=True)) @ stretches.T
    assert (alike.max(axis=1) > 0.999).all()
    itself = (clean / np.linalg.norm(clean, axis=1, keepdims=True) * added).sum(axis=1) / np.linalg.norm(added, axis=1)
    assert (np.abs(itself) < 0.5).all()


def test_silence_stays_without_noise():
    wave = np.zeros(100, dtype=np.float32)
    add_noise(wave, Noise(share=1.0), np.random.default_rng(0), lambda: wave)
    assert not wave.any()
    wave = np.ones(100, dtype=np.float32)
    add_noise(wave, Noise(share=1.0, kind="speech"), np.random.default_rng(0), lambda: np.zeros(100, np.float32))
    assert (wave == 1).all()


@given(
    st.integers(0, 1000),
    st.integers(1, 300),
    st.integers(0, 3),
    st.integers(0, 60),
    st.integers(0, 3),
    st.integers(0, 60),
)
def test_masks_cover_whole_frames_and_whole_bands(seed, frames, time, time_width, frequency, frequency_width):
    features = np.ones((frames, 80), dtype=np.float32)
    masks = SpecAugment(time=time, time_width=time_width, frequency=frequency, frequency_width=frequency_width)
    mask_features(features, masks, np.random.default_rng(seed))
    zero = (features == 0).reshape(frames, 2, 40)
    assert (zero[:, 0] == zero[:, 1]).all(), "both halves alike"
    of_time, of_bands = zero.all(axis=(1, 2)), zero.all(axis=(0, 1))
    assert (zero[:, 0] == (of_time[:, None] | of_bands)).all()
    if not of_bands.all():
        assert of_time.sum() <= time * time_width
    if not of_time.all():
        assert of_bands.sum() <= frequency * frequency_width


def test_masks_of_features_leave_labels_and_stored_features_alone(corpus):
    plain, masked = crops(corpus).batch(0, 4), crops(corpus, augment={"specaugment": {}}).batch(0, 4)
    np.testing.assert_array_equal(plain.frames, masked.frames)
    kept = masked.inputs != 0
    assert torch.equal(plain.inputs[kept], masked.inputs[kept])
    assert 0.02 < 1 - kept.float().mean() < 0.6
    np.testing.assert_array_equal(make_features(corpus)[plain.frames], plain.inputs.half().numpy())


def test_masks_of_features_that_are_not_there_are_refused(corpus):
    with pytest.raises(InputError, match="masks log-Mel features") as refused:
        crops(corpus, WAVEFORM, augment=EVERYTHING)
    assert "use frontend: logmel" in str(refused.value)
