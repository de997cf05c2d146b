"""The validation loss: fixed clips, fixed masks, the objective's main term."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from scaling.records import RunSpec, content_hash
from scaling.shape import Shape
from scaling.speech import settings_of
from scaling.speech.corpus.store import Corpus
from scaling.speech.data import EVAL_SEED, Crops
from scaling.speech.model import Model
from scaling.speech.objectives.base import crop_means, joined
from scaling.speech.stepper import MicroBatch, autocast
from scaling.speech.targets import Targets

CROPS_FRAMES = 6_400
"""Frames a batch of evaluation."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model does on the fixed clips."""

    loss: float
    standard_error: float | None
    """Clustered by speaker; None with one speaker."""
    metrics: dict[str, float]
    """clips, constant_loss of the best constant predictor, and what the objective adds."""


@torch.inference_mode()
def evaluate(
    model: torch.nn.Module, bare: Model, crops: Crops, targets: Targets | None, spec: RunSpec, device: torch.device
) -> Evaluation:
    """Return the loss on the fixed clips with their fixed masks, and the objective's metrics.

    The standard error is that of a mean over clusters of unequal size:
    sqrt(G / (G - 1) sum_g (sum_{i in g} (loss_i - loss))^2) / n, for G speakers and n clips.

    Args:
        model: The model as it is called (it may be sharded).
        bare: The same, as it was built.
        crops: Reads the clips.
        targets: What is predicted, where it was made from the corpus.
        spec: The run.
        device: Where the model is.
    """
    bare.eval()
    clip_losses, parts, speakers = [], [], []
    for batch in crops.evaluation(spec.train["eval_hours"], max(1, CROPS_FRAMES // crops.frames)):
        given = bare.objective.given(batch, targets, EVAL_SEED)
        one = MicroBatch(inputs=batch.inputs, mask=batch.mask, given=given, first=0).to(device)
        with autocast(spec.train["precision"], device):
            _, losses = model(one.inputs, one.mask, one.given)
        clip_losses.append(crop_means(losses.main, len(batch.mask)).cpu().numpy())
        parts.append(losses.parts)
        speakers.append(batch.speakers)
    clips, by = np.concatenate(clip_losses), np.concatenate(speakers)
    metrics = bare.objective.summary(joined(parts), targets)
    mean = float(clips.mean())
    return Evaluation(
        loss=mean, standard_error=clustered_error(clips, by), metrics={**metrics, "clips": float(len(clips))}
    )


def clustered_error(values: np.ndarray, clusters: np.ndarray) -> float | None:
    """Return the standard error of a mean, clustered; None with one cluster."""
    groups = np.unique(clusters)
    many = len(groups)
    if many < 2:
        return None
    sums = np.array([(values[clusters == g] - values.mean()).sum() for g in groups])
    return float(np.sqrt(many / (many - 1) * (sums**2).sum()) / len(values))


def eval_id(spec: RunSpec, corpus: Corpus, targets: Targets | None, model: Model) -> str:
    """Return the hash of all that makes two losses comparable."""
    settings = settings_of(spec)
    facts = {
        "objective": spec.objective,
        "corpus": corpus.hash,
        "crop": [settings["crop_samples"], Shape.from_dict(spec.model).frames(settings["crop_samples"])],
        "join": settings["join"],
        "mask": [settings["mask_prob"], settings["mask_length"], EVAL_SEED],
        "eval_hours": settings["eval_hours"],
        "targets": targets.model if targets else "",
        "classes": targets.classes if targets else 0,
        "settings": {name: spec.objective_args[name] for name in model.objective.compared},
        "loss": model.objective.loss,
        "unit": targets.unit if targets else "nats",
    }
    return content_hash(facts)
