"""How long a step takes here: a few real steps on random input."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from scaling.records import RunSpec
from scaling.shape import LOGMEL_FEATURES, Shape
from scaling.speech import masked_of, settings_of
from scaling.speech.catalogue import TERA_VALUES
from scaling.speech.masking import span_mask
from scaling.speech.model import Model, compile_layers, make_optimiser
from scaling.speech.noise import GUMBEL, key
from scaling.speech.opening import micro_crops
from scaling.speech.parallel import Team, split
from scaling.speech.stepper import MicroBatch, Step, Stepper, check_precision

WARM_UP = 3
STEPS = 10
SECONDS = 2.0
"""Measuring a shape stops after so long, once three steps are timed."""


def seconds_per_step(spec: RunSpec) -> float:
    """Return the median time of a training step with the run's threads, batch and precision."""
    torch.set_num_threads(spec.threads)
    step = make_step(spec, compiled=bool(spec.execution.get("compile")))
    times: list[float] = []
    until = time.perf_counter() + SECONDS
    while len(times) < WARM_UP + STEPS and (len(times) < WARM_UP + 3 or time.perf_counter() < until):
        begun = time.perf_counter()
        step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[WARM_UP:])


def make_step(spec: RunSpec, *, compiled: bool = False) -> Callable[[], Step]:
    """Return a function that takes a training step of a run on this device, the same random input every time."""
    team = Team(device=torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    check_precision(spec.train["precision"], team.device)
    model = Model(spec).to(team.device)
    if compiled:
        compile_layers(model)
    stepper = Stepper(model, model, make_optimiser(model, settings_of(spec)), spec, team)
    rng = np.random.default_rng(0)
    crops = spec.train["crops"]
    parts = split(crops, int(spec.objective_args.get("group", 1)), team, micro_crops(spec, crops))
    passes = [random_batch(spec, rng, count) for _, count in parts]
    return lambda: stepper.step(passes, 0)


def random_batch(spec: RunSpec, rng: np.random.Generator, crops: int) -> MicroBatch:
    """Return a micro-batch of random input and targets."""
    shape, samples, masked = Shape.from_dict(spec.model), spec.train["crop_samples"], masked_of(spec)
    frames = shape.frames(samples)
    size = (crops, samples) if shape.frontend == "waveform" else (crops, frames, LOGMEL_FEATURES)
    classes = int(spec.targets.get("clusters") or spec.targets.get("codes") or 2)
    negatives = int(spec.objective_args.get("negatives", 1))
    given = {
        "labels": torch.from_numpy(rng.integers(0, classes, (crops, masked))),
        "values": torch.from_numpy(rng.standard_normal((crops, masked, TERA_VALUES), dtype=np.float32)),
        "negatives": torch.from_numpy(rng.integers(0, masked, (crops, masked, negatives))),
        "keys": torch.tensor([key(0, GUMBEL, i) for i in range(crops)]),
    }
    mask = span_mask(rng, crops, frames, masked, spec.train["mask_length"])
    inputs = rng.standard_normal(size, dtype=np.float32)
    return MicroBatch(inputs=torch.from_numpy(inputs), mask=torch.from_numpy(mask), given=given, first=0)
