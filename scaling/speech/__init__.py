"""The built-in trainer: self-supervised pre-training of speech encoders.

This module is free of torch, so that plans start fast; what trains is imported when it is called.
It is a trainer like any other: `train(spec, run)`, with `cost`, `prepare` and `measure` beside it.
"""

from __future__ import annotations

from scaling.cost import Cost, Head, masked_frames, params_by_part, step_flops
from scaling.records import RunRecord, RunSpec
from scaling.run import RunFolder
from scaling.shape import Shape

# no module of this package may be named train, cost, prepare or measure: importing it would hide the function
OBJECTIVES = ("hubert",)

__all__ = ["OBJECTIVES", "cost", "head_of", "masked_of", "measure", "prepare", "train"]


def train(spec: RunSpec, run: RunFolder) -> RunRecord | None:
    """Train one encoder and return its record, or None when it was told to stop (it has saved then)."""
    from scaling.speech.training import train as train_speech

    return train_speech(spec, run)


def cost(spec: RunSpec) -> Cost:
    """Return what a step of a run costs.

    Example:
        >>> shape = Shape(frontend="logmel", layers=2, width=48, ffn=96, heads=1).to_dict()
        >>> train = {"crops": 8, "crop_samples": 32_000, "mask_prob": 0.8, "mask_length": 10}
        >>> spec = RunSpec(model=shape, targets={"clusters": 100}, train=train, updates=1)
        >>> cost(spec).frames_per_step
        800
    """
    shape = Shape.from_dict(spec.model)
    head = head_of(spec)
    parts = params_by_part(shape, head)
    crops, samples = spec.train["crops"], spec.train["crop_samples"]
    return Cost(
        params=sum(parts.values()) - parts["head"],
        flops_per_step=step_flops(
            shape, samples, crops, head=head, masked=masked_of(spec), layer_drop=spec.train.get("layer_drop", 0.0)
        ),
        frames_per_step=crops * shape.frames(samples),
        params_by_part=parts,
    )


def head_of(spec: RunSpec) -> Head:
    """Return the prediction head of a run: no wider than the encoder, at most 256."""
    return Head.narrow(Shape.from_dict(spec.model), spec.targets["clusters"])


def masked_of(spec: RunSpec) -> int:
    """Return how many frames of a crop are masked."""
    frames = Shape.from_dict(spec.model).frames(spec.train["crop_samples"])
    return masked_frames(frames, spec.train["mask_prob"], spec.train["mask_length"])


def prepare(spec: RunSpec) -> None:
    """Make the features and labels that a run needs and that all runs of its corpus share."""
    from scaling.speech.training import prepare as prepare_speech

    prepare_speech(spec)


def measure(spec: RunSpec) -> float:
    """Return seconds a step of a run on this device, measured on random input."""
    from scaling.speech.stopwatch import seconds_per_step

    return seconds_per_step(spec)
