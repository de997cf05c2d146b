"""HuBERT: predict the cluster of every masked frame.

    loss = - mean over masked frames t of log softmax_k( cos(P h_t, e_k) / 0.1 )[label_t]

h is the encoder's output, P a projection, e_k the embedding of class k.
Source: Hsu et al. 2021 (arXiv 2106.07447), eq. 3; torchaudio's LogitGenerator computes the same logits.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from scaling.cost import Head
from scaling.shape import Shape

TEMPERATURE = 0.1


class HubertHead(nn.Module):
    """Projection, class embeddings and the vector that stands for a masked frame."""

    def __init__(self, shape: Shape, head: Head) -> None:
        """Build the head with random weights from torch's current generator."""
        super().__init__()
        self.mask_vector = nn.Parameter(torch.rand(shape.width))
        self.projection = nn.Linear(shape.width, head.dim)
        self.classes = nn.Parameter(torch.rand(head.classes, head.dim))

    def logits(self, encoded: torch.Tensor) -> torch.Tensor:
        """Return the scores of the classes, [..., width] -> [..., classes]."""
        projected = F.normalize(self.projection(encoded).float(), dim=-1)
        return projected @ F.normalize(self.classes.float(), dim=-1).T / TEMPERATURE

    def losses(self, encoded: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of every masked frame in nats, crops one after another.

        Args:
            encoded: [crops, frames, width].
            mask: [crops, frames] bool, equally many in each crop.
            labels: [crops, frames].
        """
        return F.cross_entropy(self.logits(encoded[mask]), labels[mask], reduction="none")
