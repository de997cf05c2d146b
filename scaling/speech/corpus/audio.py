"""Audio files and sample rates."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from scaling.shape import SAMPLE_RATE


def read_audio(path: Path) -> np.ndarray:
    """Return an audio file as float samples at 16 kHz, channels averaged.

    Raises:
        ValueError: When the file cannot be read or holds no sample, with the reason.
    """
    import soundfile

    try:
        samples, rate = soundfile.read(str(path), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError) as error:
        reason = f"unreadable ({str(error).splitlines()[0]})"
        raise ValueError(reason) from None
    if len(samples) == 0:
        reason = "empty"
        raise ValueError(reason)
    if not np.isfinite(samples).all():
        reason = "has samples that are not finite"
        raise ValueError(reason)
    return resample(samples.mean(axis=1), rate)


def resample(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return samples at 16 kHz, by a polyphase low-pass filter (scipy.signal.resample_poly)."""
    if rate == SAMPLE_RATE:
        return samples
    from scipy.signal import resample_poly

    divisor = math.gcd(rate, SAMPLE_RATE)
    return resample_poly(samples, SAMPLE_RATE // divisor, rate // divisor)


def to_int16(samples: np.ndarray) -> np.ndarray:
    """Return float samples in [-1, 1) as int16, clipped."""
    return np.clip(np.rint(samples * 32768.0), -32768, 32767).astype(np.int16)
