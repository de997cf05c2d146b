"""What every objective is: a loss at masked frames, of the encoder's output there.

The way of the data: `given` looks up what is to be predicted while the batch is read; `forward` takes the losses;
`summary` turns those of the evaluation clips into metrics. All crops have equally many masked frames M.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from scaling.shape import Shape
from scaling.speech.data import Batch
from scaling.speech.encoder import Encoded
from scaling.speech.targets import Targets

Given = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Losses:
    """What an objective says of a batch."""

    main: torch.Tensor
    """Loss of every masked frame, crops one after another, [crops * M]; L is its mean."""
    extra: torch.Tensor | None = None
    """Weighted penalties that are trained on and not part of L."""
    parts: Mapping[str, torch.Tensor] = field(default_factory=dict)
    """In evaluation: what the metrics are made of, [crops * M, ...]."""


class Objective(nn.Module, ABC):
    """A way to learn from masked frames, and the vector that stands for one."""

    loss: ClassVar[str]
    """The loss in words; part of what makes two losses comparable."""
    compared: ClassVar[tuple[str, ...]] = ()
    """Settings without which two losses cannot be compared."""

    def __init__(self, shape: Shape, settings: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Build what is common; subclasses add the head.

        Args:
            shape: The encoder.
            settings: The objective's own settings.
            targets: How its targets are made.
        """
        super().__init__()
        self.settings = dict(settings)
        self.mask_vector = nn.Parameter(torch.rand(shape.width))

    @abstractmethod
    def given(self, batch: Batch, targets: Targets | None, seed: int) -> Given:
        """Return what the losses of a batch need beside the encoder's output; runs while the batch is read."""

    @abstractmethod
    def forward(self, encoded: Encoded, mask: torch.Tensor, given: Given, share: float) -> Losses:
        """Return the losses of a batch; `share` is the part of the run that is done."""

    @abstractmethod
    def summary(self, parts: Mapping[str, np.ndarray], targets: Targets | None) -> dict[str, float]:
        """Return metrics of the evaluation clips: at least `constant_loss`, that of the best constant predictor."""


class ClassObjective(Objective):
    """Cross entropy over the classes of the masked frames.

    loss = - mean over masked frames t of log softmax(logits(h_t))[label_t]
    """

    loss: ClassVar[str] = "mean cross-entropy at masked frames, clips weighted equally"

    @abstractmethod
    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the scores of the classes, [..., width] -> [..., classes]."""

    def given(self, batch: Batch, targets: Targets | None, seed: int) -> Given:
        """Return the labels of the masked frames, [crops, M]."""
        assert targets is not None
        labels = targets.values[batch.frames[batch.mask.numpy()]].astype(np.int64)
        return {"labels": torch.from_numpy(labels).reshape(len(batch.mask), -1)}

    def forward(self, encoded: Encoded, mask: torch.Tensor, given: Given, share: float = 1.0) -> Losses:
        """Return the cross entropies, and in evaluation whether the best class was right."""
        labels = given["labels"].flatten()
        logits = self.logits(encoded.hidden[mask])
        main = F.cross_entropy(logits, labels, reduction="none")
        parts = {} if self.training else {"hits": logits.argmax(dim=1) == labels, "labels": labels}
        return Losses(main=main, parts=parts)

    def summary(self, parts: Mapping[str, np.ndarray], targets: Targets | None) -> dict[str, float]:
        """Return the accuracy, the loss of the unigram of the training labels, and their entropy."""
        assert targets is not None
        return {
            "accuracy": float(parts["hits"].mean()),
            "constant_loss": float(-np.log(targets.unigram)[parts["labels"]].mean()),
            "label_entropy": float(targets.entropy or 0.0),
            "labels_used": float(targets.used),
        }


def cosines(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the cosine of every row of a with every row of b in float32, [..., n, dim], [..., m, dim] -> [..., n, m].

    Divided by a temperature of 0.1, eight bits of a bfloat16 would show in the loss.
    """
    kind = a.device.type
    with contextlib.nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False):
        return F.normalize(a.float(), dim=-1) @ F.normalize(b.float(), dim=-1).transpose(-1, -2)


def crop_means(values: torch.Tensor, crops: int) -> torch.Tensor:
    """Return the mean of each crop, [crops * M] -> [crops]."""
    return values.double().reshape(crops, -1).mean(dim=1)


def joined(parts: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, np.ndarray]:
    """Return the parts of several batches one after another, as arrays."""
    return {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in (parts[0] if parts else {})}
