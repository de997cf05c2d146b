"""Light heads on the weighted sum of a frozen encoder's layers, and how they learn.

All learn by Adam with a learning rate that falls to zero along a cosine, from weights and in an order that the seed
decides. Source: SUPERB (Yang et al. 2021, arXiv 2105.01051): linear heads for phones, keywords and speakers, a
bidirectional LSTM for characters; its heads for speech recognition and verification are larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

RATE = 2e-2
"""First learning rate of linear heads."""
CTC_RATES = {"linear": 1e-1, "lstm": 4e-3}
"""The same for CTC; a linear head needs so much to leave its blanks."""
LSTM_WIDTH = 128
EMBEDDING = 64
"""Values of a speaker embedding."""
SCALE = 16.0
"""Inverse temperature of the cosines that speaker embeddings learn from."""
BLANK = 0
"""CTC's symbol for nothing; labels begin at 1."""


class Head(nn.Module):
    """A weighted sum of layers, [..., layers, width] -> [..., width], and what reads it."""

    def __init__(self, layers: int, body: nn.Module) -> None:
        """Weigh all layers alike."""
        super().__init__()
        self.weights = nn.Parameter(torch.zeros(layers))
        self.body = body

    def forward(self, states: Tensor) -> Tensor:
        """Return what the body makes of the sum."""
        return self.body(torch.einsum("...lw,l->...w", states, self.weights.softmax(0)))


class Recurrent(nn.Module):
    """A bidirectional LSTM and a linear layer: [clips, frames, width] -> [clips, frames, classes]."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, LSTM_WIDTH, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * LSTM_WIDTH, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return self.output(self.lstm(x)[0])


class Embedding(nn.Module):
    """A linear embedding and the cosines to each training speaker's direction, times SCALE."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, EMBEDDING)
        self.directions = nn.Parameter(torch.randn(classes, EMBEDDING))

    def embed(self, x: Tensor) -> Tensor:
        """Return directions of length one, [clips, EMBEDDING]."""
        return F.normalize(self.project(x), dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        return SCALE * self.embed(x) @ F.normalize(self.directions, dim=-1).T


def learn(
    head: Head,
    loss: Callable[[Sequence[int]], Tensor],
    *,
    items: int,
    batch: int,
    epochs: int,
    rate: float,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Teach a head; return False where it was told to stop.

    Args:
        head: What learns.
        loss: Mean loss of some items by their numbers.
        items: How many items there are.
        batch: Items a step.
        epochs: Passes over them.
        rate: First learning rate.
        seed: Of the order.
        stop: Asked before every step.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(head.parameters(), lr=rate)
    steps = epochs * math.ceil(items / batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    for _ in range(epochs):
        for numbers in torch.randperm(items, generator=generator).split(batch):
            if stop():
                return False
            optimiser.zero_grad(set_to_none=True)
            loss(numbers.tolist()).backward()
            nn.utils.clip_grad_norm_(head.parameters(), 5.0)
            optimiser.step()
            schedule.step()
    return True


def ctc(logits: Tensor, lengths: Tensor, labels: Sequence[Sequence[int]]) -> Tensor:
    """Return CTC's loss a symbol (Graves et al. 2006), [clips, frames, classes] against labels from 1 on.

    A clip with more symbols than frames can be read from counts nothing.
    """
    flat = torch.tensor([symbol for one in labels for symbol in one], dtype=torch.long).to(logits.device)
    counts = torch.tensor([len(one) for one in labels])
    scores = logits.log_softmax(-1).transpose(0, 1)
    return F.ctc_loss(scores, flat, lengths, counts, blank=BLANK, reduction="sum", zero_infinity=True) / max(
        1, int(counts.sum())
    )


def greedy(logits: Tensor, lengths: Tensor) -> list[list[int]]:
    """Return the best symbol of every frame of each clip, repeats taken together and blanks left out."""
    found = []
    for best, length in zip(logits.argmax(-1), lengths.tolist(), strict=True):
        kept = torch.unique_consecutive(best[:length])
        found.append(kept[kept != BLANK].tolist())
    return found
