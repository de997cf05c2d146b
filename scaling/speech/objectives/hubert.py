"""HuBERT: predict the cluster of every masked frame.

    logits_k = cos(P h_t, e_k) / 0.1

h is the encoder's output, P a projection, e_k the embedding of class k.
Source: Hsu et al. 2021 (arXiv 2106.07447), eq. 3; torchaudio's LogitGenerator computes the same logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from scaling.shape import Shape
from scaling.speech.objectives.base import ClassObjective, cosines

TEMPERATURE = 0.1


class Hubert(ClassObjective):
    """Projection and class embeddings."""

    def __init__(self, shape: Shape, settings: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Build the head: `settings` has its width `head`, `targets` the number of `clusters`."""
        super().__init__(shape, settings, targets)
        self.projection = nn.Linear(shape.width, settings["head"])
        self.classes = nn.Parameter(torch.rand(targets["clusters"], settings["head"]))

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the scores of the classes, [..., width] -> [..., classes]."""
        return cosines(self.projection(hidden), self.classes) / TEMPERATURE


OBJECTIVE = Hubert
