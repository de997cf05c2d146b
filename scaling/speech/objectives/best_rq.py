"""BEST-RQ: predict the random-projection code of every masked frame, by one linear layer.

    logits = W h_t + b

The labels need no clustering (`scaling.speech.targets.projection`).
Source: Chiu et al. 2022 (arXiv 2202.01855). There masked frames are replaced by noise; here by the mask vector that all
objectives share, so that only what is predicted differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from scaling.shape import Shape
from scaling.speech.objectives.base import ClassObjective


class BestRQ(ClassObjective):
    """A linear layer over the codes."""

    def __init__(self, shape: Shape, settings: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Build the head for `codes` classes."""
        super().__init__(shape, settings, targets)
        self.projection = nn.Linear(shape.width, targets["codes"])

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return the scores of the codes, [..., width] -> [..., codes]."""
        return self.projection(hidden).float()


OBJECTIVE = BestRQ
