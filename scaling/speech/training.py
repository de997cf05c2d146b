"""The training loop: spends a run's FLOPs, evaluates, resumes exactly, and ends as a record.

What a step sees is a function of the seed and the step (`data`), so a checkpoint needs the weights, the optimiser
and torch's generator to go on bit for bit on the CPU.
"""

from __future__ import annotations

import math
import platform
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np
import torch

from scaling import __version__
from scaling.records import RunRecord, RunSpec, content_hash
from scaling.run import RunFolder
from scaling.shape import Shape
from scaling.speech import cost as run_cost
from scaling.speech import head_of, masked_of
from scaling.speech.corpus.store import Corpus
from scaling.speech.data import EVAL_SEED, Batch, Crops
from scaling.speech.derived import Frames
from scaling.speech.encoder import Encoder
from scaling.speech.features import make_features
from scaling.speech.objectives.hubert import HubertHead
from scaling.speech.schedule import learning_rate
from scaling.speech.targets import Targets, make_targets

BETAS, EPSILON = (0.9, 0.98), 1e-6
CURVE_POINTS = 64
"""Points of the training curve; the loss is averaged between them."""
EVAL_CROPS_FRAMES = 6_400
"""Frames a batch of evaluation."""


class Model(torch.nn.Module):
    """Encoder and head of one run."""

    def __init__(self, spec: RunSpec) -> None:
        """Build both with weights that depend on the run's seed alone."""
        super().__init__()
        torch.manual_seed(spec.seed)
        shape = Shape.from_dict(spec.model)
        self.encoder = Encoder(shape, dropout=spec.train["dropout"], layer_drop=spec.train["layer_drop"])
        self.head = HubertHead(shape, head_of(spec))

    def forward(self, inputs: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of every masked frame."""
        encoded = self.encoder(inputs, mask=mask, mask_vector=self.head.mask_vector)
        return self.head.losses(encoded, mask, labels)


def prepare(spec: RunSpec) -> None:
    """Make the features and labels that a run needs, where they are missing."""
    corpus = Corpus(spec.where["corpus"])
    if Shape.from_dict(spec.model).frontend == "logmel":
        make_features(corpus)
    make_targets(corpus, spec.targets)


def train(spec: RunSpec, run: RunFolder) -> RunRecord | None:
    """Train one encoder from its last checkpoint on and return its record; None when told to stop."""
    corpus = Corpus(spec.where["corpus"])
    targets = make_targets(corpus, spec.targets)
    crops = open_crops(spec, corpus)
    torch.set_num_threads(spec.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = Model(spec).to(device)
    optimiser = make_optimiser(model, spec)
    cost = run_cost(spec)

    step, seconds, started = 0, 0.0, datetime.now(timezone.utc).isoformat(timespec="seconds")
    curve: list[list[float]] = []
    since: list[float] = [0.0, 0]  # sum and number of losses since the curve's last point
    if (state := run.load()) is not None:
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"])
        step, seconds, started = state["step"], state["seconds"], state["started"]
        curve, since = state["curve"], state["since"]

    begun = time.monotonic() - seconds

    def save() -> None:
        run.save(
            {
                "model": model.state_dict(),
                "optimiser": optimiser.state_dict(),
                "rng": torch.get_rng_state(),
                "step": step,
                "seconds": time.monotonic() - begun,
                "started": started,
                "curve": curve,
                "since": since,
            }
        )

    marks = {round(spec.updates * (i + 1) / CURVE_POINTS) for i in range(CURVE_POINTS)}
    trainer = Stepper(model, optimiser, spec, device)
    reason = ""
    while step < spec.updates and not reason:
        if run.should_stop:
            save()
            return None
        batch = crops.batch(step, spec.train["crops"])
        loss = trainer.step(batch, batch.labels(targets.labels), step)
        step += 1
        since = [since[0] + loss, since[1] + 1]
        if step in marks:
            mean = since[0] / since[1]
            curve.append([step * cost.flops_per_step, mean])
            run.log(step, loss=mean, updates=spec.updates)
            since = [0.0, 0]
        if not math.isfinite(loss):
            reason = f"loss {loss} at step {step} of {spec.updates}"
        elif run.save_due and step < spec.updates:
            save()

    common: dict[str, Any] = {
        "updates": step,
        "eval_id": eval_id(spec, corpus, targets),
        "curve": curve,
        "seconds": time.monotonic() - begun,
        "device": device_name(device),
        "versions": versions(),
        "started": started,
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    result = None if reason else evaluate(model, crops, targets, spec, device)
    if result is None or not math.isfinite(result.loss):
        reason = reason or "the validation loss is not finite"
        return RunRecord.of(spec, cost, loss=None, reason=reason, **common)
    labelled = min(step * cost.frames_per_step, float(Frames(corpus).total))
    return RunRecord.of(
        spec,
        cost,
        loss=result.loss,
        loss_se=result.standard_error,
        metrics=result.metrics,
        flops_total=step * cost.flops_per_step + targets.fit_flops + targets.flops_per_frame * labelled,
        **common,
    )


class Stepper:
    """One optimiser step: forward, backward, clip, update."""

    def __init__(self, model: Model, optimiser: torch.optim.Optimizer, spec: RunSpec, device: torch.device) -> None:
        """Keep what a step needs."""
        self.model, self.optimiser, self.spec, self.device = model, optimiser, spec, device
        self._parameters = [p for p in model.parameters() if p.requires_grad]

    def step(self, batch: Batch, labels: torch.Tensor, step: int) -> float:
        """Return the mean loss of a step; the weights stay as they are when it is not finite."""
        settings = self.spec.train
        rate = settings["peak_lr"] * learning_rate(settings["schedule"], step, self.spec.updates, settings["warmup"])
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train()
        with autocast(settings["precision"], self.device):
            losses = self.model(batch.inputs.to(self.device), batch.mask.to(self.device), labels.to(self.device))
        loss = losses.mean()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, settings["clip"])
        value = float(loss.detach())
        if not math.isfinite(float(norm)):
            return math.nan
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return value


def make_optimiser(model: Model, spec: RunSpec) -> torch.optim.Optimizer:
    """Return AdamW with decay on matrices and kernels only."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    plain = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": decayed, "weight_decay": spec.train["weight_decay"]},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=spec.train["peak_lr"], betas=BETAS, eps=EPSILON, fused=True)


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context of a precision: `fp32` or `bf16`."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def open_crops(spec: RunSpec, corpus: Corpus) -> Crops:
    """Return the reader of a run's batches."""
    return Crops(
        corpus,
        Shape.from_dict(spec.model),
        spec.train["crop_samples"],
        masked=masked_of(spec),
        mask_length=spec.train["mask_length"],
        unique_hours=spec.corpus.get("unique_hours"),
        seed=spec.seed,
    )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a model does on the fixed clips."""

    loss: float
    standard_error: float | None
    """Clustered by speaker; None with one speaker."""
    metrics: dict[str, float]
    """accuracy at masked frames; constant_loss of the best constant predictor; clips."""


@torch.inference_mode()
def evaluate(model: Model, crops: Crops, targets: Targets, spec: RunSpec, device: torch.device) -> Evaluation:
    """Return loss and accuracy on the fixed clips with their fixed masks.

    The standard error is that of a mean over clusters of unequal size:
    sqrt(G / (G - 1) sum_g (sum_{i in g} (loss_i - loss))^2) / n, for G speakers and n clips.
    """
    model.eval()
    per_batch = max(1, EVAL_CROPS_FRAMES // crops.frames)
    clip_losses, speakers, hits, constant = [], [], [], []
    unigram = -np.log(targets.unigram)
    for batch in crops.evaluation(spec.train["eval_hours"], per_batch):
        labels = batch.labels(targets.labels)
        inputs, mask, on_device = batch.inputs.to(device), batch.mask.to(device), labels.to(device)
        with autocast(spec.train["precision"], device):
            encoded = model.encoder(inputs, mask=mask, mask_vector=model.head.mask_vector)
            logits = model.head.logits(encoded[mask])
        chosen = on_device[mask]
        losses = torch.nn.functional.cross_entropy(logits, chosen, reduction="none")
        clip_losses.append(losses.double().reshape(len(mask), -1).mean(dim=1).cpu().numpy())
        hits.append((logits.argmax(dim=1) == chosen).double().cpu().numpy())
        constant.append(unigram[labels[batch.mask].numpy()])
        speakers.append(batch.speakers)
    clips, by = np.concatenate(clip_losses), np.concatenate(speakers)
    mean = float(clips.mean())
    groups = np.unique(by)
    sums = np.array([(clips[by == g] - mean).sum() for g in groups])
    many = len(groups)
    error = float(np.sqrt(many / (many - 1) * (sums**2).sum()) / len(clips)) if many > 1 else None
    return Evaluation(
        loss=mean,
        standard_error=error,
        metrics={
            "accuracy": float(np.concatenate(hits).mean()),
            "constant_loss": float(np.concatenate(constant).mean()),
            "clips": float(len(clips)),
        },
    )


def eval_id(spec: RunSpec, corpus: Corpus, targets: Targets) -> str:
    """Return the hash of all that makes two losses comparable."""
    return content_hash(
        {
            "objective": spec.objective,
            "corpus": corpus.hash,
            "crop_frames": Shape.from_dict(spec.model).frames(spec.train["crop_samples"]),
            "mask": [spec.train["mask_prob"], spec.train["mask_length"], EVAL_SEED],
            "eval_hours": spec.train["eval_hours"],
            "labels": targets.label_model,
            "classes": targets.classes,
            "loss": "mean cross-entropy at masked frames, clips weighted equally",
        }
    )


def device_name(device: torch.device) -> str:
    """Return the name of the device that trained."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {"scaling-sweep": __version__, "torch": torch.__version__, "python": platform.python_version()}
