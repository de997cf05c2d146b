"""The learning rate over a run, as a share of its peak."""

from __future__ import annotations

import math

SCHEDULES = ("wsd", "linear", "cosine")
WSD_DECAY = 0.2
"""Share of a warm-up-stable-decay run that decays."""


def learning_rate(schedule: str, step: int, updates: int, warmup: int) -> float:
    """Return the share of the peak learning rate at a step, 0 <= step < updates.

    Warm-up is linear over `warmup` steps. Then `wsd` holds the peak and falls linearly to zero over the last fifth
    (Hu et al. 2024, arXiv 2404.06395), `linear` falls to zero (the study), `cosine` follows half a wave.

    Example:
        >>> [round(learning_rate("linear", s, 10, 2), 3) for s in (0, 1, 2, 9)]
        [0.5, 1.0, 0.938, 0.062]
    """
    middle = step + 0.5  # the rate of a step is that of its middle, so that the last one is not wasted
    share = 1.0
    if schedule == "wsd":
        share = min(1.0, (updates - middle) / (WSD_DECAY * updates))
    elif step >= warmup:
        fallen = (middle - warmup) / (updates - warmup)
        share = 1 - fallen if schedule == "linear" else 0.5 * (1 + math.cos(math.pi * fallen))
    return min(share, (step + 1) / warmup) if step < warmup else share


def stable_updates(updates: int) -> int:
    """Return the steps of a `wsd` run before its rate falls: what runs of several lengths have in common.

    Example:
        >>> stable_updates(1000)
        800
    """
    return math.floor((1 - WSD_DECAY) * updates)
