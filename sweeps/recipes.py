"""Recipes: what a grid's `train` is by default, and what the seed study trained with.

`default`: warm-up scales with the run, one learning-rate rule over N for all objectives, no dropout, WSD.
`study`: Liu et al. 2024 (arXiv 2409.16295), and the hyper-parameters of HuBERT and wav2vec 2.0 that it took over. Its
warm-up is 32,000 updates whatever the length of the run, and its learning rates were set by size and by hand: both are
confounds that `default` removes. Between two sizes of a table the rate follows a power law.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from scaling.cost import params_kept
from scaling.shape import Shape
from scaling.speech.catalogue import GROUP_SECONDS
from sweeps.rules import AUTO_BATCH, PEAK_LR, LearningRate, PowerRule

SHAPES = {
    "30%": Shape(layers=4, width=192, ffn=320, heads=4),
    "50%": Shape(layers=5, width=320, ffn=768, heads=8),
    "70%": Shape(layers=7, width=384, ffn=768, heads=8),
    "100%": Shape(layers=12, width=384, ffn=768, heads=8),
    "Small": Shape(layers=3, width=640, ffn=2048, heads=8),
    "200%": Shape(layers=15, width=528, ffn=1024, heads=12),
    "Base": Shape(layers=12, width=768, ffn=3072, heads=12),
    "Large": Shape(layers=24, width=1024, ffn=4096, heads=16),
}
"""The study's encoders; 100 % is Slim."""
LARGE = 200e6
"""N from which on the study drops nothing out, and uses a head of 768 instead of 256."""
_RATES = {  # in the order of SHAPES
    "hubert": (5e-4, 5e-4, 5e-4, 5e-4, 5e-4, 4e-4, 3e-4, 2e-4),
    "wav2vec2": (4e-4, 4e-4, 4e-4, 4e-4, 5e-4, 3e-4, 2e-4, 1e-4),
    "tera": (5e-4, 5e-4, 5e-4, 5e-4, 5e-4, 4e-4, 3e-4, 5e-5),
}
STUDY_RATES: Mapping[str, LearningRate] = {
    objective: LearningRate(
        value=rates[3], table=tuple((float(params_kept(s)), r) for s, r in zip(SHAPES.values(), rates, strict=True))
    )
    for objective, rates in _RATES.items()
}
"""Peak learning rate by objective and N; best_rq, which the study has not, takes HuBERT's."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Defaults of the `train` section."""

    crop_seconds: float = 4.0
    batch: PowerRule = AUTO_BATCH
    peak_lr: LearningRate = PEAK_LR
    peak_lr_of: Mapping[str, LearningRate] = field(default_factory=lambda: MappingProxyType({}))
    """By objective, before `peak_lr`."""
    warmup: float = 0.08
    schedule: str = "wsd"
    weight_decay: float = 0.01
    clip: float = 1.0
    dropout: float = 0.0
    layer_drop: float = 0.0
    join: bool = False
    penalty: float = 10.0
    """Weight of the mean square of the convolutions' output (waveform front end)."""
    feature_grad: float = 0.1
    """Factor of the gradient into the convolutions."""
    initial: str = "default"
    large: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    """What differs from LARGE on."""
    head: int | None = None
    """Width of the head of hubert and wav2vec2; None is that of the encoder, at most 256."""
    large_head: int | None = None
    group_seconds: float = GROUP_SECONDS
    """Audio over which wav2vec 2.0's diversity is counted."""


RECIPES: Mapping[str, Recipe] = {
    "default": Recipe(),
    "study": Recipe(
        crop_seconds=13.9,
        batch=PowerRule(value=155.6),
        peak_lr=STUDY_RATES["hubert"],
        peak_lr_of=STUDY_RATES,
        warmup=32_000,
        schedule="linear",
        clip=10.0,
        dropout=0.1,
        layer_drop=0.05,
        join=True,
        initial="study",
        large={"dropout": 0.0, "layer_drop": 0.0},
        head=256,
        large_head=768,
        group_seconds=155.6,
    ),
}
