"""wav2vec 2.0: tell the quantised features of a masked frame from those of other masked frames.

    loss_t = - log  exp(cos(c_t, q_t) / k) / sum_{q in {q_t} and K negatives} exp(cos(c_t, q) / k)
    diversity = (G V - sum_g exp(H(p_g))) / (G V)

c projects the encoder's output, q the product-quantised features (G groups of V codes, straight-through Gumbel
softmax); k = 0.1; p_g are the mean softmax probabilities of group g over the masked frames. Negatives come from the
masked frames of the same crop, drawn with replacement; one that equals the positive is struck out.

Three choices that keep numbers comparable. The Gumbel temperature falls geometrically over a share of the run, not over
a number of steps (2 to 0.5 over 0.69 of it: fairseq's schedule for 400,000). Diversity is counted over groups of crops
of a fixed size (`group`), not over what one device holds. In evaluation codes are the arg max, negatives are
fixed, and the perplexity of the codes is reported, since a codebook that collapses makes the task easy: negatives that
equal the positive are struck out.
Source: Baevski et al. 2020 (arXiv 2006.11477), section 3; Transformers' Wav2Vec2ForPreTraining computes the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from scaling.shape import Shape
from scaling.speech.data import Batch
from scaling.speech.encoder import Encoded
from scaling.speech.noise import GUMBEL, NEGATIVES, crop_generators, crop_uniform, key
from scaling.speech.objectives.base import Given, Losses, Objective, cosines
from scaling.speech.targets import Targets


class Wav2Vec2(Objective):
    """Quantiser, and the projections of what is told and what it is told from."""

    loss: ClassVar[str] = "mean InfoNCE at masked frames with fixed negatives and hard codes, clips weighted equally"
    compared: ClassVar[tuple[str, ...]] = ("negatives", "temperature", "groups", "codes")

    def __init__(self, shape: Shape, settings: Mapping[str, Any], targets: Mapping[str, Any]) -> None:
        """Build the head: `settings` has its width `head`, `groups`, `codes` and the rest of the catalogue's."""
        super().__init__(shape, settings, targets)
        self.groups, self.codes = settings["groups"], settings["codes"]
        head = settings["head"]
        size = head // self.groups
        self.scores = nn.Linear(shape.features, self.groups * self.codes)
        self.book = nn.Parameter(torch.empty(self.groups, self.codes, size).uniform_())
        self.project_quantised = nn.Linear(self.groups * size, head)
        self.projection = nn.Linear(shape.width, head)
        nn.init.normal_(self.scores.weight)
        nn.init.zeros_(self.scores.bias)

    def given(self, batch: Batch, targets: Targets | None, seed: int) -> Given:
        """Return negatives as places among the masked frames of their crop [crops, M, K], and keys of the noise."""
        masked = int(batch.mask[0].sum())
        count = self.settings["negatives"]
        own = np.arange(masked)[:, None]
        drawn = [
            rng.integers(0, max(1, masked - 1), (masked, count), dtype=np.int64)
            for rng in crop_generators(seed, NEGATIVES, batch.numbers)
        ]
        negatives = np.stack([(d + (d >= own)) % masked for d in drawn])  # never the frame itself
        keys = [key(seed, GUMBEL, int(number)) for number in batch.numbers]
        return {"negatives": torch.from_numpy(negatives), "keys": torch.tensor(keys)}

    def forward(self, encoded: Encoded, mask: torch.Tensor, given: Given, share: float = 1.0) -> Losses:
        """Return the contrastive losses and the weighted diversity, and in evaluation codes and hits."""
        crops = len(mask)
        features = encoded.features[mask].float()
        scores = self.scores(features).float().reshape(-1, self.groups, self.codes)
        chosen, codes = self._choose(scores, given["keys"], crops, share)
        quantised = self.project_quantised(torch.einsum("ngv,gvc->ngc", chosen, self.book).flatten(1)).float()
        context = self.projection(encoded.hidden[mask]).float()
        logits, struck = contrast(context, quantised, codes, given["negatives"], self.settings["temperature"])
        main = F.cross_entropy(logits, torch.zeros_like(logits[:, 0], dtype=torch.long), reduction="none")
        if not self.training:
            hits = (logits[:, 1:] < logits[:, :1]).all(dim=1)
            return Losses(main=main, parts={"hits": hits, "codes": codes, "candidates": (~struck).sum(dim=1) + 1})
        probabilities = scores.softmax(dim=2).reshape(crops // self._group(crops), -1, self.groups, self.codes)
        extra = self.settings["diversity"] * diversity(probabilities.mean(dim=1)).mean()
        return Losses(main=main, extra=extra)

    def summary(self, parts: Mapping[str, np.ndarray], targets: Targets | None) -> dict[str, float]:
        """Return accuracy, loss of equal scores, and the summed perplexity of the groups' codes (at most G V)."""
        perplexity = 0.0
        for group in range(self.groups):
            counts = np.bincount(parts["codes"][:, group], minlength=self.codes)
            shares = counts[counts > 0] / counts.sum()
            perplexity += float(np.exp(-(shares * np.log(shares)).sum()))
        return {
            "accuracy": float(parts["hits"].mean()),
            "constant_loss": float(np.log(parts["candidates"]).mean()),
            "code_perplexity": perplexity,
        }

    def _choose(
        self, scores: torch.Tensor, keys: torch.Tensor, crops: int, share: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return one-hot codes [frames, groups, codes], in training with the Gumbel gradient, and their numbers."""
        if not self.training:
            best = scores.argmax(dim=2)
            return F.one_hot(best, self.codes).to(scores.dtype), best
        first, last, over = self.settings["gumbel"]
        temperature = first * (last / first) ** min(1.0, share / over)
        uniform = crop_uniform(keys.tolist(), (len(scores) // crops, *scores.shape[1:]), scores.device).flatten(0, 1)
        soft = ((scores - torch.log(-torch.log(uniform))) / temperature).softmax(dim=2)
        best = soft.argmax(dim=2)
        return F.one_hot(best, self.codes).to(soft.dtype) + (soft - soft.detach()), best

    def _group(self, crops: int) -> int:
        """Return the crops over which diversity is counted."""
        group = int(self.settings.get("group", crops))
        return group if crops % group == 0 else crops


def contrast(
    context: torch.Tensor, quantised: torch.Tensor, codes: torch.Tensor, negatives: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return scores of the positive (first) and the negatives, [crops * M, 1 + K], and which negatives are struck out.

    Args:
        context: [crops * M, dim].
        quantised: [crops * M, dim].
        codes: Numbers of their codes, [crops * M, groups]; frames of equal codes are the same target.
        negatives: Places among the masked frames of the crop, [crops, M, K].
        temperature: Of the cosines.
    """
    crops, masked, _ = negatives.shape
    # all pairs of a crop at once: cheaper than gathering K vectors a frame, since K is about M
    cosine = cosines(*(x.reshape(crops, masked, -1) for x in (context, quantised)))
    codes = codes.reshape(crops, masked, -1)
    same = (codes[:, :, None] == codes[:, None, :]).all(dim=3)
    struck = same.gather(2, negatives)
    told = cosine.gather(2, negatives).masked_fill(struck, -torch.inf)
    logits = torch.cat([cosine.diagonal(dim1=1, dim2=2)[..., None], told], dim=2) / temperature
    return logits.flatten(0, 1), struck.flatten(0, 1)


def diversity(probabilities: torch.Tensor) -> torch.Tensor:
    """Return (G V - sum_g exp(H(p_g))) / (G V) of mean code probabilities, [..., G, V] -> [...]."""
    entropy = -(probabilities * torch.log(probabilities + 1e-7)).sum(dim=-1)
    whole = probabilities.shape[-1] * probabilities.shape[-2]
    return (whole - torch.exp(entropy).sum(dim=-1)) / whole


OBJECTIVE = Wav2Vec2
