"""The built-in trainer: self-supervised pre-training of speech encoders.

This module is free of torch, so that plans start fast; what trains is imported when it is called.
It is a trainer like any other: `train(spec, run)`, with `cost`, `prepare` and `measure` beside it.
"""

from __future__ import annotations

from typing import Any

from scaling.cost import Cost, Head, masked_frames, params_by_part, step_flops
from scaling.records import RunRecord, RunSpec
from scaling.run import RunFolder
from scaling.shape import Shape
from scaling.speech.catalogue import CATALOGUE

# no module of this package may be named train, cost, prepare or measure: importing it would hide the function
OBJECTIVES = tuple(CATALOGUE)

__all__ = ["OBJECTIVES", "cost", "head_of", "masked_of", "measure", "prepare", "settings_of", "train"]


def train(spec: RunSpec, run: RunFolder) -> RunRecord | None:
    """Train one encoder and return its record, or None when it was told to stop (it has saved then)."""
    from scaling.speech.training import train as train_speech

    return train_speech(spec, run)


def cost(spec: RunSpec) -> Cost:
    """Return what a step of a run costs.

    Example:
        >>> shape = Shape(frontend="logmel", layers=2, width=48, ffn=96, heads=1).to_dict()
        >>> train = {"crops": 8, "crop_samples": 32_000, "mask_prob": 0.8, "mask_length": 10}
        >>> what = {"objective": "hubert", "objective_args": {"head": 48}, "targets": {"clusters": 100}}
        >>> spec = RunSpec(model=shape, train=train, updates=1, **what)
        >>> cost(spec).frames_per_step
        800
    """
    shape = Shape.from_dict(spec.model)
    head = CATALOGUE[spec.objective].head(shape, spec.objective_args, spec.targets)
    parts = params_by_part(shape, head)
    crops, samples = spec.train["crops"], spec.train["crop_samples"]
    frames = shape.frames(samples)
    return Cost(
        params=sum(parts.values()) - parts["head"],
        flops_per_step=step_flops(
            shape,
            samples,
            crops,
            head=head,
            masked=masked_frames(frames, spec.train["mask_prob"], spec.train["mask_length"]),
            layer_drop=spec.train.get("layer_drop", 0.0),
        ),
        frames_per_step=crops * frames,
        params_by_part=parts,
    )


def head_of(spec: RunSpec) -> Head:
    """Return what the objective of a run adds to its encoder."""
    return CATALOGUE[spec.objective].head(Shape.from_dict(spec.model), spec.objective_args, spec.targets)


def masked_of(spec: RunSpec) -> int:
    """Return how many frames of a crop are masked."""
    frames = Shape.from_dict(spec.model).frames(spec.train["crop_samples"])
    return masked_frames(frames, spec.train["mask_prob"], spec.train["mask_length"])


_DEFAULTS: dict[str, Any] = {
    "betas": [0.9, 0.98],
    "epsilon": 1e-6,
    "penalty": 0.0,
    "feature_grad": 1.0,
    "initial": "default",
    "join": False,
    "augment": {},
    "width_base": None,
}


def settings_of(spec: RunSpec) -> dict[str, Any]:
    """Return how a run trains, with the settings that its spec is silent on."""
    settings = {**_DEFAULTS, **spec.train}
    settings.setdefault("warmup_updates", max(1, round(settings.get("warmup", 0.0) * spec.updates)))
    return settings


def prepare(spec: RunSpec) -> None:
    """Make the features and labels that a run needs and that all runs of its corpus share."""
    from scaling.speech.opening import prepare as prepare_speech

    prepare_speech(spec)


def measure(spec: RunSpec) -> float:
    """Return seconds a step of a run on this device, measured on random input."""
    from scaling.speech.stopwatch import seconds_per_step

    return seconds_per_step(spec)
