"""The model of a run: encoder and objective, and the loss that is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from scaling.records import RunSpec
from scaling.shape import Shape
from scaling.speech import settings_of
from scaling.speech.encoder import Encoder
from scaling.speech.initialise import initialise
from scaling.speech.objectives import make_objective

if TYPE_CHECKING:
    from scaling.speech.objectives.base import Given, Losses


class Model(nn.Module):
    """Encoder and objective of one run.

    loss = mean(main) + extra + penalty * mean(features^2)
    """

    def __init__(self, spec: RunSpec) -> None:
        """Build both with weights that depend on the run's seed alone."""
        super().__init__()
        torch.manual_seed(spec.seed)
        settings = settings_of(spec)
        shape = Shape.from_dict(spec.model)
        self.encoder = Encoder(shape, dropout=settings["dropout"], feature_grad=settings["feature_grad"])
        if settings["initial"] == "study":
            initialise(self.encoder)
        self.objective = make_objective(spec)
        self.penalty = float(settings["penalty"]) if shape.frontend == "waveform" else 0.0

    def forward(
        self,
        inputs: torch.Tensor,
        mask: torch.Tensor,
        given: Given,
        *,
        share: float = 1.0,
        skip: tuple[int, ...] = (),
    ) -> tuple[torch.Tensor, Losses]:
        """Return the loss to train on, a scalar, and the losses of the masked frames.

        Args:
            inputs: Waveform [crops, samples] or log-Mel frames [crops, frames, 80].
            mask: Masked frames, [crops, frames] bool, equally many in each crop.
            given: What the objective looked up.
            share: Part of the run that is done.
            skip: Layers that this pass leaves out.
        """
        encoded = self.encoder(inputs, mask=mask, mask_vector=self.objective.mask_vector, skip=skip)
        losses = self.objective(encoded, mask, given, share)
        loss = losses.main.mean()
        if losses.extra is not None:
            loss = loss + losses.extra
        if self.penalty:
            loss = loss + self.penalty * encoded.penalty
        return loss, losses


def compile_layers(model: Model) -> None:
    """Compile the Transformer's layers one by one: all alike, so that one compilation serves them all."""
    for layer in model.encoder.encoder.transformer.layers:
        layer.compile()


def optimiser_groups(model: Model, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Return parameter groups: decay on matrices and kernels only, and the share of the learning rate of each.

    With `width_base` w0, matrices whose inputs grow with the width (the layers', the position convolution's, the
    head's) get w0 / width of the rate, all else the whole of it, so that one rate serves all widths: the rule of muP
    for Adam (Yang et al. 2022, arXiv 2203.03466, table 8), without its change of the attention's scale.
    """
    base = settings["width_base"]
    narrow = base / model.encoder.shape.width if base else 1.0
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        matrix = parameter.ndim >= 2
        decay = settings["weight_decay"] if matrix else 0.0
        groups.setdefault((decay, narrow if matrix and _reads_width(name) else 1.0), []).append(parameter)
    return [{"params": of, "weight_decay": decay, "share": share} for (decay, share), of in groups.items()]


def _reads_width(name: str) -> bool:
    """Return whether a matrix multiplies the residual stream."""
    return ".transformer." in name or name == "objective.projection.weight"


def make_optimiser(model: Model, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """Return AdamW, fused."""
    groups = optimiser_groups(model, settings)
    betas = tuple(settings["betas"])
    optimiser = torch.optim.AdamW(groups, lr=settings["peak_lr"], betas=betas, eps=settings["epsilon"], fused=True)
    for parameter in model.parameters():  # from the start on, so that a layer that was never trained can be saved too
        optimiser.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter, memory_format=torch.preserve_format),
            "exp_avg_sq": torch.zeros_like(parameter, memory_format=torch.preserve_format),
        }
    return optimiser
