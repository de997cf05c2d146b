"""Crops: which stretch of audio each step sees, as a function of the seed and the step alone.

A pass cuts every utterance of the subset into whole crops from a random phase on, and shuffles the crops of all
utterances; so a resumed run sees what it would have seen. What is left of an utterance beside its crops waits for
another pass, so a pass holds less than the subset. `epochs` of a record is hours seen over unique hours: how often
a second of the subset is seen on average.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from scaling.errors import InputError
from scaling.shape import FRAME_STRIDE, SAMPLE_RATE, Shape
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames
from scaling.speech.features import make_features
from scaling.speech.masking import span_mask

_ORDER, _MASK, _EVAL_MASK = 1, 2, 3
"""Streams of random numbers under one seed."""
EVAL_SEED = 20240925
"""Seed of the masks of evaluation: fixed for all runs."""


@dataclass(frozen=True)
class Batch:
    """Crops of equal length."""

    inputs: torch.Tensor
    """Waveform [crops, samples] or log-Mel frames [crops, frames, 80]."""
    mask: torch.Tensor
    """Masked frames, [crops, frames] bool."""
    positions: np.ndarray
    """Where each crop's frames start in the corpus-wide arrays, [crops]."""
    speakers: np.ndarray
    """[crops]."""

    def labels(self, labels: np.ndarray) -> torch.Tensor:
        """Return the labels of the crops' frames, [crops, frames]."""
        span = np.arange(self.mask.shape[1])
        return torch.from_numpy(labels[self.positions[:, None] + span].astype(np.int64))


class Crops:
    """Reads batches of a corpus for one front end and crop length."""

    def __init__(
        self,
        corpus: Corpus,
        shape: Shape,
        crop_samples: int,
        *,
        masked: int,
        mask_length: int,
        unique_hours: float | None = None,
        seed: int = 0,
    ) -> None:
        """Open the audio that training and evaluation read.

        Raises:
            InputError: When no utterance is as long as a crop.
        """
        self.corpus, self.shape, self.crop_samples, self.seed = corpus, shape, crop_samples, seed
        self.frames = shape.frames(crop_samples)
        self._strides = crop_samples // FRAME_STRIDE
        self._masked, self._mask_length = masked, mask_length
        self._index = Frames(corpus)
        self._features = make_features(corpus) if shape.frontend == "logmel" else None
        subset = corpus.subset(unique_hours)
        self.utterances = subset[self._fits(subset)]
        held_out = corpus.held_out()
        self._eval_utterances = held_out[self._fits(held_out)]
        for utterances, split in ((self.utterances, "training"), (self._eval_utterances, "held-out")):
            if len(utterances) == 0:
                longest = corpus.table["samples"].max() / SAMPLE_RATE
                raise InputError(
                    f"no {split} utterance is as long as a crop (the longest lasts {longest:.1f} s)",
                    where=f"{corpus.path}: train.crop_seconds",
                    value=crop_samples / SAMPLE_RATE,
                    remedy="use a shorter crop, or a corpus of longer utterances",
                )
        self._epoch = (-1, np.zeros((0, 2), dtype=np.int64))
        self._per_epoch = int((self._index.counts[self.utterances] // self._strides).sum())

    def batch(self, step: int, crops: int) -> Batch:
        """Return the crops of a step."""
        numbers = np.arange(step * crops, (step + 1) * crops)
        rows = np.stack([self._crop(int(n)) for n in numbers])
        rng = np.random.default_rng((self.seed, _MASK, step))
        return self._read(rows, span_mask(rng, crops, self.frames, self._masked, self._mask_length))

    def evaluation(self, hours: float, crops: int) -> Iterator[Batch]:
        """Yield the fixed clips with their fixed masks: held-out crops from the start of each utterance on.

        Args:
            hours: At most so much audio, spread evenly over the held-out utterances.
            crops: Crops a batch.
        """
        rows = np.concatenate(
            [
                [(u, i * self._strides) for i in range(self._index.counts[u] // self._strides)]
                for u in self._eval_utterances
            ]
        ).astype(np.int64)
        wanted = max(1, round(hours * 3600 * SAMPLE_RATE / self.crop_samples))
        if wanted < len(rows):
            rows = rows[np.linspace(0, len(rows) - 1, wanted).round().astype(int)]
        rng = np.random.default_rng((EVAL_SEED, _EVAL_MASK))
        masks = span_mask(rng, len(rows), self.frames, self._masked, self._mask_length)
        for first in range(0, len(rows), crops):
            yield self._read(rows[first : first + crops], masks[first : first + crops])

    def _fits(self, utterances: np.ndarray) -> np.ndarray:
        return self._index.counts[utterances] >= self._strides

    def _crop(self, number: int) -> np.ndarray:
        """Return (utterance, first frame) of the n-th crop of the run."""
        epoch, place = divmod(number, self._per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._cut(epoch))
        return self._epoch[1][place]

    def _cut(self, epoch: int) -> np.ndarray:
        """Return the crops of an epoch in random order, [crops, 2]."""
        rng = np.random.default_rng((self.seed, _ORDER, epoch))
        counts = self._index.counts[self.utterances] // self._strides
        slack = self._index.counts[self.utterances] - counts * self._strides
        phase = rng.integers(0, slack + 1)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        first = np.repeat(phase, counts) + within * self._strides
        crops = np.stack([np.repeat(self.utterances, counts), first], axis=1)
        return crops[rng.permutation(len(crops))]

    def _read(self, rows: np.ndarray, mask: np.ndarray) -> Batch:
        positions = self._index.offsets[rows[:, 0]] + rows[:, 1]
        inputs: np.ndarray
        if self._features is not None:
            inputs = self._features[positions[:, None] + np.arange(self.frames)].astype(np.float32)
        else:
            starts = rows[:, 1] * FRAME_STRIDE
            inputs = np.stack(
                [self.corpus.samples(u)[s : s + self.crop_samples] for u, s in zip(rows[:, 0], starts, strict=True)]
            )
            inputs = inputs.astype(np.float32) / 32768.0
        return Batch(
            inputs=torch.from_numpy(inputs),
            mask=torch.from_numpy(mask),
            positions=positions,
            speakers=self.corpus.table["speaker"][rows[:, 0]],
        )
