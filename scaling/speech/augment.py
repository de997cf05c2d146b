"""What training may change about a crop: speed, noise, and masks over log-Mel features.

All are off unless a run asks for them, and evaluation has none. Each draws from a generator of its own, keyed by
seed and crop, so a resumed run, or one split over several processes, changes every crop as a whole one does.

Sources: speed perturbation, Ko et al. 2015 (Interspeech); SpecAugment, Park et al. 2019 (arXiv 1904.08779); speech as
noise, WavLM, Chen et al. 2022 (arXiv 2110.13900).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from scaling.errors import InputError
from scaling.shape import LOGMEL_BINS, LOGMEL_FEATURES, LOGMEL_STACK, SAMPLE_RATE
from scaling.speech.corpus.store import HOP, WINDOW

SPEED_STEPS = 1000
"""Speed factors are multiples of 1 / 1000, so that a polyphase filter can make them and be kept."""
_FILTER_REACH = 10
"""Zero crossings of the resampling filter on either side, and the Kaiser window of SciPy's resample_poly."""
_KAISER = ("kaiser", 5.0)
_PREEMPHASIS = np.float32(0.97)


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Noise added to a share of the crops."""

    snr_db: tuple[float, float] = (5.0, 25.0)
    """Signal over noise in dB, uniform between the two."""
    share: float = 0.5
    """Probability that a crop gets any."""
    kind: str = "white"
    """`white` (Gaussian) or `speech` (another crop of the training audio)."""


@dataclass(frozen=True, kw_only=True)
class SpecAugment:
    """Stretches of time and bands of frequency that are set to the mean (zero)."""

    time: int = 2
    """Stretches a crop."""
    time_width: int = 20
    """Widest stretch, in frames of 20 ms; uniform from 0 on."""
    frequency: int = 2
    """Bands a crop."""
    frequency_width: int = 8
    """Widest band, in Mel bins; uniform from 0 on."""


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What a run changes about its crops."""

    speed: tuple[float, float] | None = None
    """Factor on the speed, uniform between the two."""
    noise: Noise | None = None
    specaugment: SpecAugment | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any], frontend: str) -> Augmentation:
        """Return what recorded settings say, for a front end.

        Raises:
            InputError: When features shall be masked that a front end does not have.
        """
        masks = settings.get("specaugment")
        if masks is not None and frontend != "logmel":
            raise InputError(
                "masks log-Mel features, and this front end reads samples",
                where="augment.specaugment",
                value=frontend,
                remedy="leave specaugment away, or use frontend: logmel",
            )
        noise, speed = settings.get("noise"), settings.get("speed")
        return cls(
            speed=None if speed is None else (float(speed[0]), float(speed[1])),
            noise=None if noise is None else Noise(**noise),
            specaugment=None if masks is None else SpecAugment(**masks),
        )

    @property
    def on_samples(self) -> bool:
        """Whether samples are changed, so that stored features are of no use."""
        return self.speed is not None or self.noise is not None


def speed_ratio(interval: tuple[float, float], rng: np.random.Generator, longest: float) -> tuple[int, int]:
    """Return (up, down): resampling by up / down speaks at down / up times the speed.

    Args:
        interval: Least and greatest factor.
        rng: Generator of the crop.
        longest: Greatest factor that the audio is long enough for.
    """
    factor = rng.uniform(*interval)
    down = max(1, min(round(factor * SPEED_STEPS), math.floor(longest * SPEED_STEPS)))
    divisor = math.gcd(SPEED_STEPS, down)
    return SPEED_STEPS // divisor, down // divisor


def at_speed(read: Callable[[int, int], np.ndarray], wanted: int, up: int, down: int) -> np.ndarray:
    """Return `wanted` samples at down / up times the speed, float32.

    A polyphase filter, not linear interpolation: the latter takes up to 3 dB off at 4 kHz, more above, and by an
    amount that beats with the phase, which a model can hear.

    Args:
        read: (first sample, samples) -> samples of the source; asked for a little before 0 and behind the end too.
        wanted: Samples to return.
        up: Samples of the output in as much time as
        down: samples of the source.
    """
    if up == down:
        return read(0, wanted).astype(np.float32)
    from scipy.signal import resample_poly

    # The filter reaches over the ends, so read beside them: `down` samples of the source are `up` of the output.
    beside = -(-2 * _FILTER_REACH * max(up, down) // (up * down))
    source = read(-beside * down, -(-wanted * down // up) + 2 * beside * down).astype(np.float32)
    return resample_poly(source, up, down, window=_low_pass(max(up, down)))[beside * up : beside * up + wanted]


@lru_cache(maxsize=512)
def _low_pass(rate: int) -> np.ndarray:
    """Return the filter that resample_poly would design anew for every crop, float32."""
    from scipy.signal import firwin

    return firwin(2 * _FILTER_REACH * rate + 1, 1 / rate, window=_KAISER).astype(np.float32)


def add_noise(wave: np.ndarray, noise: Noise, rng: np.random.Generator, speech: Callable[[], np.ndarray]) -> None:
    """Add noise to a crop's samples in place, or leave the crop alone.

    Args:
        wave: Samples, float32.
        noise: What to add, and how often.
        rng: Generator of the crop.
        speech: Returns as many samples of other speech.
    """
    hit, decibels = rng.random() < noise.share, rng.uniform(*noise.snr_db)
    if not hit:
        return
    added = rng.standard_normal(len(wave), dtype=np.float32) if noise.kind == "white" else speech()
    power = float(np.mean(np.square(added)))
    if power > 0:  # silence cannot be brought to any level
        added *= math.sqrt(float(np.mean(np.square(wave))) / power / 10 ** (decibels / 10))
        wave += added


def mask_features(features: np.ndarray, masks: SpecAugment, rng: np.random.Generator) -> None:
    """Set stretches and bands of a crop's normalised log-Mel features [frames, 80] to zero in place.

    A stretch covers both 10 ms halves of its frames; a band covers the same bins of both.
    """
    halves = features.reshape(len(features), LOGMEL_STACK, LOGMEL_BINS)
    for count, widest, size, axis in (
        (masks.time, masks.time_width, len(features), 0),
        (masks.frequency, masks.frequency_width, LOGMEL_BINS, 2),
    ):
        widths = rng.integers(0, min(widest, size) + 1, count)
        for width, first in zip(widths, rng.integers(0, size - widths + 1), strict=True):
            if axis == 0:
                halves[first : first + width] = 0.0
            else:
                halves[:, :, first : first + width] = 0.0


class Fbank:
    """The log-Mel frames of `features.logmel`, normalised, for threads beside a trainer's.

    It is Kaldi's analysis in NumPy: torch and BLAS would start a team of threads under every reading thread.
    """

    def __init__(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """Keep mean and deviation of the bins [80], and build window and filters."""
        from scipy.sparse import csr_array

        from scaling.speech.audiolib import kaldi

        self._fft = 1 << (WINDOW - 1).bit_length()
        bins, _ = kaldi.get_mel_banks(LOGMEL_BINS, self._fft, SAMPLE_RATE, 20.0, 0.0, 100.0, -500.0, 1.0)
        self._banks = csr_array(np.pad(bins.numpy(), ((0, 0), (0, 1))).T)  # the last bin, Nyquist's, is in no filter
        self._window = (np.hanning(WINDOW) ** 0.85).astype(np.float32)
        self._mean, self._deviation = mean, deviation

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """Return normalised frames, float32 [frames, 80], of samples in units of int16."""
        from scipy.fft import rfft

        windows = np.lib.stride_tricks.sliding_window_view(wave, WINDOW)[::HOP]
        windows = windows[: len(windows) // LOGMEL_STACK * LOGMEL_STACK]
        padded = np.zeros((len(windows), self._fft), dtype=np.float32)
        frames = padded[:, :WINDOW]
        np.subtract(windows, windows.mean(axis=1, keepdims=True), out=frames)
        frames[:, 1:] -= _PREEMPHASIS * frames[:, :-1]
        frames[:, 0] *= 1 - _PREEMPHASIS  # Kaldi takes the first sample for the one before it
        frames *= self._window
        spectrum = rfft(padded, axis=1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        energies = np.maximum(power @ self._banks, np.finfo(np.float32).eps)
        return (np.log(energies).reshape(-1, LOGMEL_FEATURES) - self._mean) / self._deviation
