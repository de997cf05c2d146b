"""What a plan must know of the objectives, without torch: settings, masking, targets, and the cost of the head.

The module of the same name under `scaling.speech.objectives` trains it. A further objective is one file there and
one entry here.

Head and quantiser cost, at one masked frame and with d = width, h = head width, F = values of the front end:

    hubert     2 h (d + classes)                               a projection, one embedding a class
    wav2vec2   2 (F G V + V v + v h + d h + (1 + K) h)         G groups of V codes of v / G values, K negatives
    tera       2 d 78                                          a projection to the target
    best_rq    2 d V                                           a projection to the classes
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from scaling.cost import Head
from scaling.shape import Shape

MFCC_VALUES = 39
"""13 MFCC with first and second differences, every 10 ms."""
TERA_VALUES = 2 * MFCC_VALUES
"""Two frames of 10 ms stacked to one of 20 ms."""
NARROW = 256
"""Width of a head by default, unless the encoder is narrower: in a tiny model it would dominate."""
GROUP_SECONDS = 87.5
"""Audio over which wav2vec 2.0's diversity is counted, at most: the batch of one GPU in the study."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is told of an objective before anything is built."""

    head: Callable[[Shape, Mapping[str, Any], Mapping[str, Any]], Head]
    """(shape, settings, targets) -> what it adds to the encoder."""
    mask_prob: float = 0.8
    """Share p / l of the frames that start a masked span of l, times l."""
    settings: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Its own settings (`objective_args` of a grid) and their defaults; a width of None follows the encoder."""
    targets: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """Settings of what it predicts, where that is made once from the corpus, with their defaults."""

    anneals: bool = False
    """Whether the loss depends on how much of the run is done."""


def _hubert(shape: Shape, settings: Mapping[str, Any], targets: Mapping[str, Any]) -> Head:
    return Head.of_classes(shape, dim=settings["head"], classes=targets["clusters"])


def _wav2vec2(shape: Shape, settings: Mapping[str, Any], targets: Mapping[str, Any]) -> Head:
    d, h, features = shape.width, settings["head"], shape.features
    groups, codes, negatives = settings["groups"], settings["codes"], settings["negatives"]
    v = h // groups * groups
    quantiser = features * groups * codes + groups * codes + codes * v + v * h + h
    flops = 2 * (features * groups * codes + codes * v + v * h + d * h + (1 + negatives) * h)
    return Head(params=quantiser + d * h + h + d, flops_per_frame=flops)


def _tera(shape: Shape, settings: Mapping[str, Any], targets: Mapping[str, Any]) -> Head:
    d = shape.width
    return Head(params=d * TERA_VALUES + TERA_VALUES + d, flops_per_frame=2 * d * TERA_VALUES)


def _best_rq(shape: Shape, settings: Mapping[str, Any], targets: Mapping[str, Any]) -> Head:
    d, codes = shape.width, targets["codes"]
    return Head(params=d * codes + codes + d, flops_per_frame=2 * d * codes)


CATALOGUE: Mapping[str, Objective] = {
    "hubert": Objective(
        head=_hubert,
        settings={"head": None},
        targets={"kind": "mfcc-kmeans", "clusters": 100, "fit_hours": 1.0, "seed": 0},
    ),
    "wav2vec2": Objective(
        head=_wav2vec2,
        anneals=True,
        mask_prob=0.65,
        settings={
            "head": None,
            "groups": 2,
            "codes": 320,
            "negatives": 100,
            "temperature": 0.1,
            "gumbel": [2.0, 0.5, 0.69],
            "diversity": 0.1,
            "group_seconds": GROUP_SECONDS,
        },
    ),
    "tera": Objective(head=_tera, targets={"kind": "mfcc", "normalise": True, "fit_hours": 1.0}),
    "best_rq": Objective(head=_best_rq, targets={"kind": "random-projection", "codes": 8192, "dim": 16, "seed": 0}),
}


def resolved_settings(objective: str, shape: Shape, given: Mapping[str, Any], crops: int, seconds: float) -> dict:
    """Return the settings of a run: given ones over defaults, widths that follow the encoder filled in.

    Args:
        objective: Its name.
        shape: The encoder.
        given: What the grid says.
        crops: Crops a step.
        seconds: Length of a crop.
    """
    settings = {**CATALOGUE[objective].settings, **given}
    if settings.get("head", 0) is None:
        settings["head"] = min(NARROW, shape.width)
    if objective == "wav2vec2":
        settings["group"] = min(crops, crops_together(settings.pop("group_seconds"), seconds))
    return settings


def crops_together(group_seconds: float, seconds: float) -> int:
    """Return the crops of a group of so much audio. A batch is less than one group, or a whole number of them."""
    return max(1, int(group_seconds / seconds + 1e-9))
