"""Crops: which stretch of audio each step sees, as a function of the seed and the step alone.

A pass lays utterances of the subset end to end in groups, cuts every group into whole crops from a random phase on,
and shuffles the crops of all groups; so a resumed run sees what it would have seen. A group is an utterance, or,
with `join`, all utterances of a speaker in random order, so that those shorter than a crop count too. What is left
of a group beside its crops waits for another pass, so a pass holds less than the subset. `epochs` of a record is
hours seen over unique hours: how often a second of the subset is seen on average.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from scaling.errors import InputError
from scaling.shape import FRAME_STRIDE, SAMPLE_RATE, Shape
from scaling.speech.augment import Augmentation, Fbank, add_noise, at_speed, mask_features, speed_ratio
from scaling.speech.corpus.store import HOP, WINDOW, Corpus
from scaling.speech.derived import Frames
from scaling.speech.features import make_features, normalisation
from scaling.speech.masking import span_mask

_ORDER, _MASK, _EVAL_MASK, _SPEED, _NOISE, _SPECAUGMENT = 1, 2, 3, 4, 5, 6
"""Streams of random numbers under one seed."""
EVAL_SEED = 20240925
"""Seed of the masks of evaluation: fixed for all runs."""
_TAIL = HOP + WINDOW - FRAME_STRIDE
"""Samples that every utterance holds behind its last frame, and that the frame's windows reach into."""
_TRIES = 8
"""Draws of a crop to add as noise before a crop goes without."""


@dataclass(frozen=True)
class Batch:
    """Crops of equal length."""

    inputs: torch.Tensor
    """Waveform [crops, samples] or log-Mel frames [crops, frames, 80]."""
    mask: torch.Tensor
    """Masked frames, [crops, frames] bool."""
    frames: np.ndarray
    """The corpus-wide frame that each encoder frame stands for, [crops, frames] int64."""
    speakers: np.ndarray
    """[crops]."""
    numbers: np.ndarray
    """Number of each crop in the run or in the evaluation set, [crops]: the key of all that is random in a crop."""


class Pass:
    """Some utterances' frames end to end, in groups, and where crops of them start.

    Attributes:
        crops: First frame of every crop in the order in which they are seen.
    """

    def __init__(
        self,
        corpus: Corpus,
        index: Frames,
        utterances: np.ndarray,
        strides: int,
        *,
        join: bool,
        rng: np.random.Generator | None,
    ) -> None:
        """Cut crops of `strides` frames, in random order and from a random phase on unless `rng` is None."""
        self._corpus, self._index = corpus, index
        if join:
            if rng is not None:
                utterances = rng.permutation(utterances)
            utterances = utterances[np.argsort(corpus.table["speaker"][utterances], kind="stable")]
        self._utterances = utterances
        self._starts = np.concatenate([[0], np.cumsum(index.counts[utterances])])
        if join:
            of = corpus.table["speaker"][utterances]
            self._groups = self._starts[np.concatenate([[0], np.flatnonzero(of[1:] != of[:-1]) + 1, [len(of)]])]
        else:
            self._groups = self._starts
        counts, slack = np.divmod(np.diff(self._groups), strides)
        phase = 0 if rng is None else rng.integers(0, slack + 1)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        self.crops: np.ndarray = np.repeat(self._groups[:-1] + phase, counts) + within * strides
        if rng is not None:
            self.crops = self.crops[rng.permutation(len(self.crops))]

    def group(self, first: int) -> tuple[int, int]:
        """Return the first frame of the group that a frame lies in, and the one after its last."""
        number = int(np.searchsorted(self._groups, first, side="right"))
        return int(self._groups[number - 1]), int(self._groups[number])

    def frames(self, frames: np.ndarray) -> np.ndarray:
        """Return the corpus-wide indices of frames of this pass."""
        place = self._place(frames)
        return self._index.offsets[self._utterances[place]] + frames - self._starts[place]

    def speakers(self, frames: np.ndarray) -> np.ndarray:
        """Return the speaker of each of some frames of this pass."""
        return self._corpus.table["speaker"][self._utterances[self._place(frames)]]

    def samples(self, frame: int, first: int, count: int) -> np.ndarray:
        """Return `count` int16 samples, the first of them `first` samples from the start of a frame on.

        Utterances give whole frames, the last one of a group all its samples. Beside the group there are zeros.
        """
        low, high = self.group(frame)
        out = np.zeros(count, dtype=np.int16)
        first += frame * FRAME_STRIDE
        at, end = max(first, low * FRAME_STRIDE), first + count
        place = int(self._place(at // FRAME_STRIDE))
        while at < end and (begin := int(self._starts[place])) < high:
            stop = int(self._starts[place + 1])
            samples = self._corpus.samples(self._utterances[place])
            if stop < high:
                samples = samples[: (stop - begin) * FRAME_STRIDE]
            part = samples[at - begin * FRAME_STRIDE : end - begin * FRAME_STRIDE]
            out[at - first : at - first + len(part)] = part
            at, place = stop * FRAME_STRIDE, place + 1
        return out

    def _place(self, frames: Any) -> Any:
        """Return which utterance of the pass each frame lies in."""
        return np.searchsorted(self._starts, frames, side="right") - 1


class Crops:
    """Reads batches of a corpus for one front end and crop length. Several threads may read at a time.

    Attributes:
        frames: Encoder frames of a crop.
        utterances: Utterances that training reads.
        per_pass: Crops of a pass.
        unused_hours: Hours of the subset in utterances shorter than a crop, which only `join` can use.
    """

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
        join: bool = False,
        augment: Mapping[str, Any] | None = None,
    ) -> None:
        """Open the audio that training and evaluation read.

        With `join`, crops run over the ends of a speaker's utterances; `augment` is settings of an `Augmentation`.

        Raises:
            InputError: When nothing is as long as a crop, or the front end cannot be augmented as asked for.
        """
        self.corpus, self.shape, self.crop_samples, self.seed = corpus, shape, crop_samples, seed
        self.frames = shape.frames(crop_samples)
        self._strides = crop_samples // FRAME_STRIDE
        self._masked, self._mask_length, self._join = masked, mask_length, join
        self._index = Frames(corpus)
        self._augment = Augmentation.of(augment or {}, shape.frontend)
        self._features = make_features(corpus) if shape.frontend == "logmel" else None
        self._fbank = Fbank(*normalisation(corpus)) if self._features is not None else None
        subset, held_out = corpus.subset(unique_hours), corpus.held_out()
        self.unused_hours = unused_hours(corpus, crop_samples, subset)
        self.utterances = subset[self._index.counts[subset] >= (1 if join else self._strides)]
        held_out = held_out[self._index.counts[held_out] >= (1 if join else self._strides)]
        self._in_order = self._cut(self.utterances, None)
        self._evaluation = self._cut(held_out, None)
        self.per_pass = len(self._in_order.crops)
        for cut, split in ((self._in_order, "training"), (self._evaluation, "held-out")):
            if len(cut.crops) == 0:
                longest = corpus.table["samples"].max() / SAMPLE_RATE
                raise InputError(
                    f"no {split} {'speaker says as much' if join else 'utterance is as long'} as a crop "
                    f"(the longest utterance lasts {longest:.1f} s)",
                    where=f"{corpus.path}: train.crop_seconds",
                    value=crop_samples / SAMPLE_RATE,
                    remedy="use a shorter crop, or a corpus of longer utterances",
                )
        self._passes: dict[int, Pass] = {}
        self._lock = threading.Lock()

    def batch(self, step: int, crops: int, first: int = 0, count: int | None = None) -> Batch:
        """Return the crops of a step that has so many; `count` of them (None: all) from the one numbered `first` on."""
        chosen = slice(first, crops if count is None else first + count)
        numbers = np.arange(step * crops, (step + 1) * crops)[chosen]
        rng = np.random.default_rng((self.seed, _MASK, step))
        mask = span_mask(rng, crops, self.frames, self._masked, self._mask_length)[chosen]
        epochs, places = np.divmod(numbers, self.per_pass)
        parts = [self._read(self._pass(int(e)), places[epochs == e], numbers[epochs == e]) for e in np.unique(epochs)]
        inputs, frames, speakers = (a[0] if len(a) == 1 else np.concatenate(a) for a in zip(*parts, strict=True))
        if self._augment.specaugment is not None:
            for one, number in zip(inputs, numbers, strict=True):
                mask_features(one, self._augment.specaugment, self._rng(_SPECAUGMENT, int(number)))
        return Batch(torch.from_numpy(inputs), torch.from_numpy(mask), frames, speakers, numbers)

    def evaluation(self, hours: float, crops: int) -> Iterator[Batch]:
        """Yield the fixed clips with their fixed masks: held-out crops from the start of each utterance on.

        Args:
            hours: At most so much audio, spread evenly over the held-out utterances.
            crops: Crops a batch.
        """
        places = np.arange(len(self._evaluation.crops))
        wanted = max(1, round(hours * 3600 * SAMPLE_RATE / self.crop_samples))
        if wanted < len(places):
            places = places[np.linspace(0, len(places) - 1, wanted).round().astype(int)]
        rng = np.random.default_rng((EVAL_SEED, _EVAL_MASK))
        masks = torch.from_numpy(span_mask(rng, len(places), self.frames, self._masked, self._mask_length))
        numbers = np.arange(len(places))
        for first in range(0, len(places), crops):
            part = slice(first, first + crops)
            inputs, frames, speakers = self._read(self._evaluation, places[part])
            yield Batch(torch.from_numpy(inputs), masks[part], frames, speakers, numbers[part])

    def _cut(self, utterances: np.ndarray, rng: np.random.Generator | None) -> Pass:
        return Pass(self.corpus, self._index, utterances, self._strides, join=self._join, rng=rng)

    def _pass(self, epoch: int) -> Pass:
        """Return a pass; the last two are kept, since threads and steps lie on both sides of a border."""
        with self._lock:
            if epoch not in self._passes:
                rng = np.random.default_rng((self.seed, _ORDER, epoch))
                kept = list(self._passes.items())[-1:]
                self._passes = dict([*kept, (epoch, self._cut(self.utterances, rng))])
            return self._passes[epoch]

    def _rng(self, stream: int, number: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, stream, number))

    def _read(
        self, cut: Pass, places: np.ndarray, numbers: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return inputs, corpus-wide frames and speakers of crops of a pass; augmented where they have numbers."""
        crops = cut.crops[places]
        speakers = cut.speakers(crops)
        if numbers is not None and self._augment.on_samples:
            changed = [self._changed(cut, int(c), int(n)) for c, n in zip(crops, numbers, strict=True)]
            waves, frames = [w for w, _ in changed], np.stack([f for _, f in changed])
            inputs = np.stack(waves if self._fbank is None else [self._fbank(wave) for wave in waves])
        else:
            frames = cut.frames(crops[:, None] + np.arange(self.frames))
            if self._features is not None:
                return np.take(self._features, frames, axis=0).astype(np.float32), frames, speakers
            inputs = np.empty((len(crops), self.crop_samples), dtype=np.float32)
            for one, crop in zip(inputs, crops, strict=True):
                one[:] = cut.samples(int(crop), 0, self.crop_samples)
        if self._fbank is None:
            inputs *= np.float32(1 / 32768)  # a power of two: exact
        return inputs, frames, speakers

    def _changed(self, cut: Pass, crop: int, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the samples (float32, in units of int16) and the corpus-wide frames of one augmented crop.

        A crop that speed makes longer than what is left of its group starts earlier; where the whole group is
        shorter, the speed is lowered until it fits.
        """
        wanted = self.crop_samples if self._fbank is None else self._strides * FRAME_STRIDE + _TAIL
        low, high = cut.group(crop)
        up, down = 1, 1
        if self._augment.speed is not None:
            longest = ((high - low) * FRAME_STRIDE + _TAIL) / wanted
            up, down = speed_ratio(self._augment.speed, self._rng(_SPEED, number), longest)
        needed = max(1, -(-(wanted * down // up - _TAIL) // FRAME_STRIDE))
        first = max(low, min(crop, high - needed))
        wave = at_speed(lambda start, count: cut.samples(first, start, count), wanted, up, down)
        source = first + (np.arange(self.frames) * down * 2 + up) // (2 * up)  # round(t * factor), halves up
        frames = cut.frames(np.minimum(source, high - 1))
        if self._augment.noise is not None:
            rng = self._rng(_NOISE, number)
            add_noise(wave, self._augment.noise, rng, lambda: self._other(rng, frames, wanted))
        return wave, frames

    def _other(self, rng: np.random.Generator, frames: np.ndarray, wanted: int) -> np.ndarray:
        """Return a crop of the training audio that shares no frame with some frames, or zeros where none is found."""
        for _ in range(_TRIES):
            crop = int(self._in_order.crops[rng.integers(self.per_pass)])
            of_crop = self._in_order.frames(crop + np.arange(self.frames))
            if not np.intersect1d(of_crop, frames).size:
                return self._in_order.samples(crop, 0, wanted).astype(np.float32)
        return np.zeros(wanted, dtype=np.float32)


def unused_hours(corpus: Corpus, crop_samples: int, subset: np.ndarray) -> float:
    """Return the hours of utterances too short for a crop: what is never seen unless utterances are joined."""
    short = Frames(corpus).counts[subset] < crop_samples // FRAME_STRIDE
    return float(corpus.table["samples"][subset[short]].sum()) / SAMPLE_RATE / 3600
