"""What tests of training share: how a run is specified, its batches, and output that an encoder might give."""

import dataclasses

import torch
from torch.nn import functional as F

from scaling import RunSpec, Shape
from scaling.speech.catalogue import CATALOGUE, resolved_settings
from scaling.speech.encoder import Encoded
from scaling.speech.opening import open_crops

LOGMEL = Shape(frontend="logmel", layers=2, width=24, ffn=48, heads=2, position_kernel=16, position_groups=24)
WAVEFORM = Shape(frontend="waveform", layers=2, width=32, ffn=64, heads=2, position_kernel=16)
SECOND = 16_000

TRAIN = {
    "crops": 4,
    "crop_samples": SECOND,
    "peak_lr": 3e-3,
    "warmup_updates": 3,
    "schedule": "wsd",
    "precision": "fp32",
    "weight_decay": 0.01,
    "clip": 1.0,
    "dropout": 0.0,
    "layer_drop": 0.0,
    "mask_length": 10,
    "eval_hours": 0.01,
    "penalty": 10.0,
    "join": False,
    "initial": "default",
}
RARE = ("augment", "horizon", "width_base")
"""Training settings that a run is silent on unless they are given."""
SMALL = {"clusters": 20, "fit_hours": 0.05, "codes": 64}
"""Targets that are made in a moment."""


def spec_for(corpus, shape=LOGMEL, objective="hubert", **changes):
    """Return a run; `changes` are training settings, fields of the spec, `args` of the objective, or `hours`."""
    facts = CATALOGUE[objective]
    train = {**TRAIN, "mask_prob": facts.mask_prob}
    train.update({name: changes.pop(name) for name in list(changes) if name in train or name in RARE})
    args = {"codes": 40, "negatives": 20} if objective == "wav2vec2" else {}
    given = {**args, **changes.pop("args", {})}
    args = resolved_settings(objective, shape, given, train["crops"], train["crop_samples"] / SECOND)
    if "group" in given:  # the crops that stay together follow the batch's length unless they are said
        args["group"] = given["group"]
    values = {
        "objective": objective,
        "objective_args": args,
        "model": shape.to_dict(),
        "corpus": {"hash": corpus.hash, "unique_hours": changes.pop("hours", None)},
        "targets": {**facts.targets, **{name: value for name, value in SMALL.items() if name in facts.targets}},
        "train": train,
        "updates": 30,
        "where": {"corpus": str(corpus.path)},
    }
    return RunSpec(**{**values, **changes})


def batch_of(spec, corpus, step=0, first=0, count=None):
    """Return crops of a step as the trainer reads them."""
    return open_crops(spec, corpus).batch(step, spec.train["crops"], first, count)


def replaced(spec, **changes):
    """Return the spec with some fields replaced."""
    return dataclasses.replace(spec, **changes)


def encoded_of(shape, crops=4, frames=50, seed=0):
    """Return random output of an encoder, features layer-normed as the real ones are."""
    generator = torch.Generator().manual_seed(seed)
    features = F.layer_norm(torch.randn(crops, frames, shape.features, generator=generator), (shape.features,))
    hidden = torch.randn(crops, frames, shape.width, generator=generator)
    return Encoded(hidden=hidden, features=features, penalty=torch.zeros(()))


def part(encoded, crops):
    """Return what an encoder gave for some of the crops."""
    return Encoded(hidden=encoded.hidden[crops], features=encoded.features[crops], penalty=encoded.penalty)
