"""TERA: reconstruct the MFCC of every masked frame.

    loss_t = mean over the 78 values of | W h_t + b - y_t |

y is two stacked frames of MFCC with first and second differences, in the unit that the targets record. The study
predicts the raw values. Source: Liu et al. 2021 (arXiv 2007.06028), time alteration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from scaling.shape import Shape
from scaling.speech.catalogue import TERA_VALUES
from scaling.speech.data import Batch
from scaling.speech.encoder import Encoded
from scaling.speech.objectives.base import Given, Losses, Objective
from scaling.speech.targets import Targets


class Tera(Objective):
    """A linear layer to the target's values."""

    loss: ClassVar[str] = "mean absolute error of the values at masked frames, clips weighted equally"

    def __init__(self, shape: Shape, settings: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Build the head."""
        super().__init__(shape, settings, targets)
        self.projection = nn.Linear(shape.width, TERA_VALUES)

    def given(self, batch: Batch, targets: Targets | None, seed: int) -> Given:
        """Return the values of the masked frames, [crops, M, 78]."""
        assert targets is not None
        values = torch.from_numpy(targets.values[batch.frames[batch.mask.numpy()]].astype(np.float32))
        return {"values": values.reshape(len(batch.mask), -1, values.shape[1])}

    def forward(self, encoded: Encoded, mask: torch.Tensor, given: Given, share: float = 1.0) -> Losses:
        """Return the mean absolute error of every masked frame."""
        values = given["values"].flatten(0, 1)
        main = (self.projection(encoded.hidden[mask]).float() - values).abs().mean(dim=1)
        return Losses(main=main, parts={} if self.training else {"values": values})

    def summary(self, parts: Mapping[str, np.ndarray], targets: Targets | None) -> dict[str, float]:
        """Return the loss of the median of each value over the fixed set."""
        assert targets is not None
        return {"constant_loss": float(np.abs(parts["values"] - targets.constant).mean())}


OBJECTIVE = Tera
