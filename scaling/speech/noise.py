"""Random numbers that belong to a crop: a function of the seed, a stream and the crop's number alone.

So they do not depend on how a batch is cut into micro-batches and processes, nor on when a run was resumed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

NEGATIVES, GUMBEL, LAYER_DROP, DROPOUT = 11, 12, 13, 14
"""Streams under one seed; those of the data are in `data`."""


def key(seed: int, stream: int, number: int) -> int:
    """Return a seed of 63 bits for one stream of one crop or step."""
    words = np.random.SeedSequence((seed, stream, number)).generate_state(2, dtype=np.uint32)
    return int(words[0]) << 31 | int(words[1]) >> 1


def crop_generators(seed: int, stream: int, numbers: np.ndarray) -> list[np.random.Generator]:
    """Return a generator for each crop."""
    return [np.random.default_rng((seed, stream, int(number))) for number in numbers]


def crop_uniform(keys: Sequence[int], shape: Sequence[int], device: torch.device) -> torch.Tensor:
    """Return uniform numbers in (0, 1), [crops, *shape], drawn on the device by one generator a crop."""
    generator = torch.Generator(device)
    rows = [torch.rand(tuple(shape), generator=generator.manual_seed(k), device=device) for k in keys]
    tiny = torch.finfo(torch.float32).tiny
    return torch.stack(rows).clamp_min(tiny)


def skipped_layers(seed: int, step: int, layers: int, share: float) -> list[int]:
    """Return the layers that layer drop leaves out of a step, the same for every process and micro-batch.

    Example:
        >>> skipped_layers(0, 7, 12, 0.0)
        []
    """
    if not share:
        return []
    draws = np.random.default_rng((seed, LAYER_DROP, step)).random(layers)
    return [int(i) for i in np.flatnonzero(draws < share)]
