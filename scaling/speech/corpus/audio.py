"""Audio files and sample rates."""

from __future__ import annotations

import math

import numpy as np

from scaling.shape import SAMPLE_RATE


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
