"""Which frames are masked: overlapping spans, the same number of frames in every crop."""

from __future__ import annotations

import numpy as np


def span_mask(rng: np.random.Generator, crops: int, frames: int, masked: int, length: int) -> np.ndarray:
    """Return a boolean mask [crops, frames] with exactly `masked` frames a crop, in spans of `length`.

    Spans start at places in random order; frames are masked in the order in which spans reach them, until the
    count is full, so the last span may be cut. This is HuBERT's rule (a share p / l of the frames start spans that
    may overlap) conditioned on its expected count, which makes the cost of every crop the same.

    Each place draws a time at which its span appears; a frame is reached at the least time among the `length`
    places whose spans cover it; the `masked` frames that are reached first are masked.

    Example:
        >>> span_mask(np.random.default_rng(0), 2, 50, 28, 10).sum(axis=1)
        array([28, 28])
    """
    length = min(length, frames)
    times = np.full((crops, frames + length - 1), np.inf)
    times[:, length - 1 : frames] = rng.random((crops, frames - length + 1))
    reached = np.lib.stride_tricks.sliding_window_view(times, length, axis=1).min(axis=2)
    order = np.argsort(reached, axis=1, kind="stable")[:, :masked]
    mask = np.zeros((crops, frames), dtype=bool)
    np.put_along_axis(mask, order, True, axis=1)
    return mask
