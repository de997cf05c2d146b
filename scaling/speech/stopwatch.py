"""How long a step takes here: a few real steps on random input."""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from scaling.records import RunSpec
from scaling.shape import LOGMEL_FEATURES, Shape
from scaling.speech import head_of, masked_of
from scaling.speech.data import Batch
from scaling.speech.masking import span_mask
from scaling.speech.training import Model, Stepper, make_optimiser

WARM_UP = 3
STEPS = 10
SECONDS = 2.0
"""Measuring a shape stops after so long, once three steps are timed."""


def seconds_per_step(spec: RunSpec) -> float:
    """Return the median time of a training step with the run's threads, batch and precision."""
    torch.set_num_threads(spec.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = Shape.from_dict(spec.model)
    crops, samples = spec.train["crops"], spec.train["crop_samples"]
    frames = shape.frames(samples)
    model = Model(spec).to(device)
    stepper = Stepper(model, make_optimiser(model, spec), spec, device)
    rng = np.random.default_rng(0)
    size = (crops, samples) if shape.frontend == "waveform" else (crops, frames, LOGMEL_FEATURES)
    labels = torch.from_numpy(rng.integers(0, head_of(spec).classes, (crops, frames)))
    times: list[float] = []
    until = time.perf_counter() + SECONDS
    while len(times) < WARM_UP + STEPS and (len(times) < WARM_UP + 3 or time.perf_counter() < until):
        begun = time.perf_counter()
        mask = span_mask(rng, crops, frames, masked_of(spec), spec.train["mask_length"])
        inputs = torch.from_numpy(rng.standard_normal(size, dtype=np.float32))
        stepper.step(Batch(inputs, torch.from_numpy(mask), np.zeros(crops), np.zeros(crops)), labels, 0)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[WARM_UP:])
