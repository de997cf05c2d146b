"""The learning rate over a run, as a share of its peak."""

from __future__ import annotations

import math

SCHEDULES = ("wsd", "linear", "cosine")
WSD_DECAY = 0.2
"""Share of a warm-up-stable-decay run that decays."""


def learning_rate(schedule: str, step: int, updates: int, warmup: float) -> float:
    """Return the share of the peak learning rate at a step, 0 <= step < updates.

    Warm-up is linear over the share `warmup` of the run. Then `wsd` holds the peak and falls linearly to zero over
    the last fifth (Hu et al. 2024, arXiv 2404.06395), `linear` falls to zero (the study), `cosine` follows half a
    wave.

    Example:
        >>> [round(learning_rate("linear", s, 10, 0.2), 3) for s in (0, 1, 2, 9)]
        [0.5, 1.0, 0.938, 0.062]
    """
    rising = max(1, round(warmup * updates))
    if step < rising:
        return (step + 1) / rising
    middle = step + 0.5  # the rate of a step is that of its middle, so that the last one is not wasted
    if schedule == "wsd":
        falling = WSD_DECAY * updates
        return min(1.0, (updates - middle) / falling)
    share = (middle - rising) / (updates - rising)
    return 1 - share if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * share))
