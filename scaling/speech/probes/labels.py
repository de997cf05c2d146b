"""What a corpus knows of its audio: phones, transcripts, speakers. Torch-free, so that a plan can look.

A clip is a stretch of frames of an utterance. Heads of whole utterances learn from the first hours of training audio
by rank, and are judged on held-out audio, which is of other speakers (and, in a synthetic corpus, of other sentences).
Words (`words`) and speakers (`voices`) have clips of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scaling.files import read_json
from scaling.shape import FRAME_STRIDE, FRAMES_PER_SECOND
from scaling.speech.corpus.store import SPEAKERS, Corpus, utterance_frames

SILENCE = "_"
"""eSpeak NG's pause, and the beginning of the names of others."""
STRESS = "',%="
"""Marks that eSpeak NG puts before a phone."""


@dataclass(frozen=True)
class Clip:
    """Frames `first` to `first + count` of an utterance, and its label."""

    utterance: int
    first: int
    count: int
    label: Any = None


@dataclass(frozen=True)
class Split:
    """Clips to learn from and clips to be judged on."""

    train: list[Clip]
    test: list[Clip]
    classes: tuple[str, ...] = ()
    """Names of the labels where they are numbers."""


class Labels:
    """The labels of a corpus.

    Attributes:
        corpus: The corpus.
        counts: Frames of each utterance.
        speakers: Speaker of each utterance.
    """

    def __init__(self, corpus: Corpus) -> None:
        """Open them."""
        self.corpus = corpus
        self.counts: np.ndarray = utterance_frames(corpus.table["samples"])
        self.speakers: np.ndarray = corpus.table["speaker"]

    def speech(self, hours: float, test_hours: float) -> Split:
        """Return whole utterances: the first hours of training audio by rank, and of the held-out ones."""
        return Split(
            train=[self.whole(u) for u in self._first(self.ranked(held_out=False), hours)],
            test=[self.whole(u) for u in self._first(self.ranked(held_out=True), test_hours)],
        )

    def phones(self, utterance: int) -> list[tuple[int, str]]:
        """Return (first sample, phone) of an utterance, without stress marks; every pause is SILENCE."""
        marks = self.corpus.detail(utterance).get("phones", ())
        return [(sample, SILENCE if name[0] == SILENCE else name.strip(STRESS) or SILENCE) for sample, name in marks]

    def frame_phones(self, clip: Clip) -> list[str]:
        """Return the phone in the middle of every frame of a clip; before the first phone there is silence."""
        marks = self.phones(clip.utterance)
        starts = np.array([sample for sample, _ in marks])
        middles = (clip.first + np.arange(clip.count)) * FRAME_STRIDE + FRAME_STRIDE // 2
        places = np.searchsorted(starts, middles, side="right") - 1
        return [marks[place][1] if place >= 0 else SILENCE for place in places]

    def spoken(self, utterance: int) -> list[str]:
        """Return the phones of an utterance in order, pauses left out."""
        return [phone for _, phone in self.phones(utterance) if phone != SILENCE]

    def text(self, utterance: int) -> str:
        """Return a transcript in lower case, its words apart by one blank, without punctuation."""
        said = self.corpus.detail(utterance).get("text", "").lower()
        return " ".join(re.sub(r"[^\w' ]|_", " ", said).split())

    def speaker(self, clip: Clip) -> int:
        """Return the number of a clip's speaker."""
        return int(self.speakers[clip.utterance])

    def speaker_names(self) -> list[str]:
        """Return the name of each speaker."""
        return read_json(self.corpus.path / SPEAKERS)

    def ranked(self, *, held_out: bool) -> np.ndarray:
        """Return the utterances of a part that have a frame, by rank."""
        chosen = np.flatnonzero((self.corpus.table["held_out"] == held_out) & (self.counts > 0))
        return chosen[np.argsort(self.corpus.table["rank"][chosen], kind="stable")]

    def whole(self, utterance: int) -> Clip:
        """Return a whole utterance as a clip."""
        return Clip(int(utterance), 0, int(self.counts[utterance]))

    def _first(self, ranked: np.ndarray, hours: float) -> np.ndarray:
        wanted = hours * 3600 * FRAMES_PER_SECOND
        return ranked[: int(np.searchsorted(np.cumsum(self.counts[ranked]), wanted)) + 1]


def vocabulary(sequences: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the symbols that occur, in alphabetical order."""
    return tuple(sorted({symbol for sequence in sequences for symbol in sequence}))
