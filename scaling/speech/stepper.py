"""One optimiser step: passes over micro-batches, gradients exchanged once, clipped, applied if they are finite."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from scaling.errors import InputError
from scaling.records import RunSpec
from scaling.shape import Shape
from scaling.speech import settings_of
from scaling.speech.model import Model
from scaling.speech.noise import DROPOUT, key, skipped_layers
from scaling.speech.objectives.base import Given
from scaling.speech.parallel import Team, gradients_kept
from scaling.speech.schedule import learning_rate


@dataclass(frozen=True, kw_only=True)
class MicroBatch:
    """One micro-batch, ready for the device."""

    inputs: torch.Tensor
    mask: torch.Tensor
    given: Given
    first: int
    """Number of its first crop in the run."""

    def to(self, device: torch.device) -> MicroBatch:
        """Return the same on a device."""
        given = {name: value.to(device, non_blocking=True) for name, value in self.given.items()}
        inputs, mask = (x.to(device, non_blocking=True) for x in (self.inputs, self.mask))
        return MicroBatch(inputs=inputs, mask=mask, given=given, first=self.first)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step did."""

    loss: float
    """Mean loss of the masked frames of the whole batch, penalties left out."""
    norm: float
    """Norm of the gradient before it was clipped; not finite where the step was skipped."""
    rate: float
    stop: bool
    """Whether any process was asked to stop."""

    @property
    def taken(self) -> bool:
        """Whether the weights were changed."""
        return math.isfinite(self.loss) and math.isfinite(self.norm)


class Stepper:
    """Takes the steps of a run."""

    def __init__(
        self, model: Model, wrapped: torch.nn.Module, optimiser: torch.optim.Optimizer, spec: RunSpec, team: Team
    ) -> None:
        """Keep what a step needs; `wrapped` is the model as the processes train it together."""
        self.model, self.wrapped, self.optimiser, self.spec, self.team = model, wrapped, optimiser, spec, team
        self._settings = settings_of(spec)
        self._layers = Shape.from_dict(spec.model).layers
        self._horizon = self._settings.get("horizon", spec.updates)

    def step(self, passes: Iterable[MicroBatch], step: int, *, stop: bool = False) -> Step:
        """Take one step and return what it did; weights and optimiser stay as they are when it is not finite.

        Args:
            passes: The micro-batches of this process.
            step: Its number.
            stop: Whether this process was asked to stop; shared with the others here.
        """
        settings = self._settings
        rate = settings["peak_lr"] * learning_rate(
            settings["schedule"], step, self.spec.updates, settings["warmup_updates"]
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        self.model.train()
        skip = tuple(skipped_layers(self.spec.seed, step, self._layers, settings["layer_drop"]))
        own = torch.zeros((), dtype=torch.float64, device=self.team.device)  # read once: reading waits for a GPU
        waiting = list(passes)
        for number, one in enumerate(waiting):
            weight = len(one.mask) / settings["crops"]
            own = own + weight * self._pass(one.to(self.team.device), weight, step, skip, number == len(waiting) - 1)
        loss, asked = self.team.total([float(own), float(stop)])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), settings["clip"])
        size = float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)
        done = Step(loss=loss, norm=size, rate=rate, stop=bool(asked))
        if done.taken:
            self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return done

    def _pass(self, one: MicroBatch, weight: float, step: int, skip: tuple[int, ...], last: bool) -> torch.Tensor:
        """Go forward and backward over one micro-batch and return its mean loss."""
        if self._settings["dropout"]:
            torch.manual_seed(key(self.spec.seed, DROPOUT, one.first))
        with gradients_kept(self.wrapped, last), autocast(self._settings["precision"], self.team.device):
            loss, losses = self.wrapped(one.inputs, one.mask, one.given, share=step / self._horizon, skip=skip)
            # gradients are averaged over the processes, and a share is of the whole batch
            (loss * (weight * self.team.size)).backward()
        return losses.main.detach().double().mean()


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the context of a precision: matrix products in bfloat16 for `bf16`, nothing for the others."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def check_precision(precision: str, device: torch.device) -> None:
    """Set the precision of matrix products, refusing one that the device lacks.

    Raises:
        InputError: For `tf32` without a GPU that has it, and `bf16` on a GPU without it.
    """
    lacks = {
        "tf32": device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 0),
        "bf16": device.type == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False),
    }
    if lacks.get(precision, False):
        raise InputError(
            f"this device ({device.type}) has no {precision}",
            where="train.precision",
            value=precision,
            remedy="use fp32" + (", or bf16" if precision == "tf32" else "") + " (a new identity), or another device",
        )
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    torch.backends.cudnn.allow_tf32 = precision == "tf32"  # the convolutions; torch allows it unless told otherwise
