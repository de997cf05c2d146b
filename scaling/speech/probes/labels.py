"""What a corpus knows of its audio, as labelled clips: phones, transcripts, words spoken alone, speakers.

A clip is a stretch of frames of an utterance. Three sets of them serve all probes:

    speech   whole utterances; training: the first hours by rank; test: held-out ones, of other speakers
    words    what stands alone between two pauses and comes again and again ("at noon,"), or whole clips of one word
    voices   the first second of utterances; speakers to be told apart occur in both parts, those to be verified in one
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from scaling.errors import InputError
from scaling.shape import FRAME_STRIDE, FRAMES_PER_SECOND
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames, frames_in

SILENCE = "_"
STRESS = "',%="
"""Marks that eSpeak NG puts before a phone."""
VOICE_FRAMES = FRAMES_PER_SECOND
"""Length of a clip for speaker probes."""
SPEAKERS, CLIPS_OF = 100, 10
"""Speakers that are told apart, and clips of each at most; a fifth of them, at least one, is the test."""
KNOWN_CLIPS = 5
"""Clips that a speaker needs to be told apart."""
OTHERS = 500
"""Clips of any speakers that the embedding of verification learns from, at most."""
TRIALS = 20_000
"""Trials at most, half of them of one speaker."""
WORDS, WORD_CLIPS = 10, 8
"""Words to spot at most, and clips of each that training needs."""
MOST_WORD_CLIPS, TESTED_CLIPS = 1_000, 10
_SPLIT_SEED = 20210503


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
    """The labels of a corpus."""

    def __init__(self, corpus: Corpus) -> None:
        """Open them."""
        self.corpus = corpus
        self.counts = Frames(corpus).counts
        self._speakers = corpus.table["speaker"]

    def require(self, needs: Iterable[str], *, where: object) -> None:
        """Refuse a corpus that lacks labels which a probe needs.

        Raises:
            InputError: With what is missing and what would have it.
        """
        reasons: dict[str, Callable[[], object]] = {
            "phones": self._has_phones, "text": self._has_text, "words": self._words, "speakers": self._has_speakers,
        }  # fmt: skip
        for need in needs:
            reason = reasons[need]()
            if isinstance(reason, str) and reason:
                raise InputError(
                    f"missing labels: {reason}",
                    where=where,
                    value=str(self.corpus.path),
                    remedy="leave the probe away, or name a labelled corpus: synthetic ones have phones, text, words "
                    "and speakers; librispeech: text and speakers; speechcommands: words; voxceleb1: speakers",
                )

    def speech(self, hours: float, test_hours: float) -> Split:
        """Return whole utterances: the first hours of training audio by rank, and of the held-out ones."""
        held_out = self.corpus.held_out()
        ranked = held_out[np.argsort(self.corpus.table["rank"][held_out], kind="stable")]
        return Split(
            train=[self._whole(u) for u in self._hours(self.corpus.subset(), hours)],
            test=[self._whole(u) for u in self._hours(ranked, test_hours)],
        )

    def phones(self, utterance: int) -> list[tuple[int, str]]:
        """Return (first frame, phone) of an utterance, stress marks and repeated pauses left out."""
        found: list[tuple[int, str]] = []
        for sample, name in self.corpus.detail(utterance).get("phones", ()):
            phone = SILENCE if name.startswith(SILENCE) else name.strip(STRESS) or SILENCE
            if phone != SILENCE or not found or found[-1][1] != SILENCE:
                found.append((round(sample / FRAME_STRIDE), phone))
        return found

    def frame_phones(self, clip: Clip) -> list[str]:
        """Return the phone in the middle of every frame of a clip; before the first phone there is silence."""
        names = [SILENCE] * clip.count
        marks = [(sample, name) for sample, name in self.corpus.detail(clip.utterance).get("phones", ())]
        for i, (sample, name) in enumerate(marks):
            phone = SILENCE if name.startswith(SILENCE) else name.strip(STRESS) or SILENCE
            begin = _middle_after(sample) - clip.first
            end = _middle_after(marks[i + 1][0]) - clip.first if i + 1 < len(marks) else clip.count
            for t in range(max(0, begin), min(end, clip.count)):
                names[t] = phone
        return names

    def spoken(self, utterance: int) -> list[str]:
        """Return the phones of an utterance in order, pauses left out."""
        return [phone for _, phone in self.phones(utterance) if phone != SILENCE]

    def text(self, utterance: int) -> str:
        """Return a transcript in lower case, its words apart by one blank, without punctuation."""
        words = re.sub(r"[^\w' ]", " ", self.corpus.detail(utterance).get("text", "").lower()).replace("_", " ").split()
        return " ".join(words)

    def words(self) -> Split:
        """Return clips of words spoken alone, labelled by the number of the word; the commonest ones.

        Raises:
            InputError: When there are too few.
        """
        found = self._words()
        if isinstance(found, str):
            raise InputError(f"missing labels: {found}", where="probes.keywords", value=str(self.corpus.path))
        return found

    def known_voices(self) -> Split:
        """Return clips labelled by speaker, the same speakers in both parts.

        Where the held-out part of the corpus is of the training part's speakers (as VoxCeleb1's identification split),
        that is the test; where it is of others, clips of the training part are set apart.

        Raises:
            InputError: When the held-out part has speakers of both kinds, or no speaker has enough clips.
        """
        held_out = self.corpus.table["held_out"] & (self.counts > 0)
        training = ~self.corpus.table["held_out"] & (self.counts > 0)
        known, theirs = set(self._speakers[training].tolist()), set(self._speakers[held_out].tolist())
        of: dict[int, list[int]] = defaultdict(list)
        for u in self._by_rank(training):
            of[int(self._speakers[u])].append(u)
        tested: dict[int, list[int]] = defaultdict(list)
        if theirs & known:
            if unseen := sorted(theirs - known):
                raise InputError(
                    "unseen speakers in the test split: speakers cannot be told apart that no clip was learned from",
                    where="probes.speakers",
                    value=[self._name(s) for s in unseen[:5]],
                    remedy="hold out clips of the training speakers, or none of their speakers (then clips are set "
                    "apart); for unseen speakers there is the probe `verification`",
                )
            for u in self._by_rank(held_out):
                tested[int(self._speakers[u])].append(u)
        chosen = sorted((s for s in of if len(of[s]) >= KNOWN_CLIPS), key=lambda s: (-len(of[s]), s))[:SPEAKERS]
        if len(chosen) < 2:
            raise InputError(
                f"fewer than two speakers with {KNOWN_CLIPS} utterances",
                where="probes.speakers",
                value=str(self.corpus.path),
                remedy="use a larger corpus, or leave the probe away",
            )
        train, test = [], []
        for number, speaker in enumerate(chosen):
            clips = [self._voice(u, number) for u in of[speaker][:CLIPS_OF]]
            cut = len(clips) if tested else len(clips) - max(1, len(clips) // 5)
            train += clips[:cut]
            test += clips[cut:] + [self._voice(u, number) for u in tested.get(speaker, [])[:CLIPS_OF]]
        return Split(train, test, tuple(self._name(s) for s in chosen))

    def other_voices(self) -> tuple[Split, np.ndarray]:
        """Return clips of training speakers and of held-out ones, labelled by speaker, and trials of the latter.

        Returns:
            The clips, and trials [n, 3]: numbers of two test clips, and whether they are of one speaker. They are the
            corpus's own where it came with a list (VoxCeleb1), else drawn, half of them of one speaker.
        """
        training = self._by_rank(~self.corpus.table["held_out"] & (self.counts > 0))[:OTHERS]
        names = {s: i for i, s in enumerate(dict.fromkeys(self._speakers[training].tolist()))}
        train = [self._voice(u, names[int(self._speakers[u])]) for u in training]
        official = _trials_of(self.corpus)
        held_out = self._by_rank(self.corpus.table["held_out"] & (self.counts > 0))
        if official is not None:
            held_out = np.unique(official[:, :2])
        test = [self._voice(u, int(self._speakers[u])) for u in held_out]
        if official is None:
            trials = _draw_trials(np.array([clip.label for clip in test]))
        else:
            place = np.searchsorted(held_out, official[:, :2])
            trials = np.column_stack([place, official[:, 2]])
        return Split(train, test, tuple(map(self._name, names))), trials

    def speaker(self, clip: Clip) -> int:
        """Return the number of a clip's speaker."""
        return int(self._speakers[clip.utterance])

    def _whole(self, utterance: int) -> Clip:
        return Clip(int(utterance), 0, int(self.counts[utterance]))

    def _voice(self, utterance: int, label: int) -> Clip:
        return Clip(int(utterance), 0, min(VOICE_FRAMES, int(self.counts[utterance])), label)

    def _hours(self, ranked: np.ndarray, hours: float) -> np.ndarray:
        ranked = ranked[self.counts[ranked] > 0]
        return ranked[: int(np.searchsorted(np.cumsum(self.counts[ranked]), frames_in(hours))) + 1]

    def _by_rank(self, chosen: np.ndarray) -> np.ndarray:
        numbers = np.flatnonzero(chosen)
        return numbers[np.argsort(self.corpus.table["rank"][numbers], kind="stable")]

    def _name(self, speaker: int) -> str:
        return str(json.loads((self.corpus.path / "speakers.json").read_text())[speaker])

    def _has_phones(self) -> str:
        return "" if self.phones(int(self.corpus.held_out()[0])) else "no phones"

    def _has_text(self) -> str:
        for u in [*self.corpus.subset()[:20], *self.corpus.held_out()[:20]]:
            if self.text(int(u)):
                return ""
        return "no transcripts"

    def _has_speakers(self) -> str:
        return "" if len(set(self._speakers.tolist())) > 2 else "no speakers: everything is of one or two"

    @lru_cache(maxsize=1)  # noqa: B019 - one Labels a process
    def _words(self) -> Split | str:
        """Return the clips of words spoken alone, or why there are none."""
        clips: dict[bool, list[Clip]] = {False: [], True: []}
        for u in [*self.corpus.subset(), *self._by_rank(self.corpus.table["held_out"])]:
            clips[bool(self.corpus.table["held_out"][u])] += self._alone(int(u))
        often = Counter(clip.label for clip in clips[False])
        tested = {clip.label for clip in clips[True]}
        words = [w for w, n in often.most_common() if n >= WORD_CLIPS and w in tested][:WORDS]
        if len(words) < 2:
            return f"fewer than two words that stand alone in {WORD_CLIPS} training clips and in the held-out part"
        number = {word: i for i, word in enumerate(words)}
        train, test = (
            [Clip(c.utterance, c.first, c.count, number[c.label]) for c in clips[part] if c.label in number]
            for part in (False, True)
        )
        if len(test) < TESTED_CLIPS * len(words):  # too few to tell encoders apart: a fifth of the speakers join them
            apart = [self.speaker(clip) % 5 == 0 for clip in train]
            test += [clip for clip, out in zip(train, apart, strict=True) if out]
            train = [clip for clip, out in zip(train, apart, strict=True) if not out]
        return Split(train[:MOST_WORD_CLIPS], test, tuple(words))

    def _alone(self, utterance: int) -> list[Clip]:
        """Return what stands between two pauses of an utterance, by the text that is said there."""
        text = self.corpus.detail(utterance).get("text", "")
        frames = int(self.counts[utterance])
        if text and " " not in text.strip():  # a clip of one word, as in Speech Commands
            return [Clip(utterance, 0, frames, text.strip().lower())] if frames else []
        said = [part.strip().lower() for part in re.split(r"[.,]", text) if part.strip()]
        stretches: list[tuple[int, int]] = []
        begin = None
        for sample, name in self.corpus.detail(utterance).get("phones", ()):
            at = sample // FRAME_STRIDE
            if name == SILENCE:  # the end of a clause; a break before "and" is written otherwise
                if begin is not None:
                    stretches.append((begin, at))
                begin = None
            elif begin is None and not name.startswith(SILENCE):
                begin = at
        if begin is not None:
            stretches.append((begin, frames))
        if len(stretches) != len(said):
            return []
        return [
            Clip(utterance, a, min(b, frames) - a, words)
            for (a, b), words in zip(stretches, said, strict=True)
            if min(b, frames) > a
        ]


def _middle_after(sample: int) -> int:
    """Return the first frame whose middle does not lie before a sample."""
    return max(0, -(-(sample - FRAME_STRIDE // 2) // FRAME_STRIDE))


def _trials_of(corpus: Corpus) -> np.ndarray | None:
    """Return the trials that a corpus came with, [n, 3], or None."""
    file: Path = corpus.path / "trials.json"
    return np.array(json.loads(file.read_text())) if file.exists() else None


def _draw_trials(speakers: np.ndarray) -> np.ndarray:
    """Return trials [n, 3] of clips: all pairs of one speaker, or as many as half of TRIALS, and as many of two."""
    first, second = np.triu_indices(len(speakers), 1)
    same = speakers[first] == speakers[second]
    rng = np.random.default_rng(_SPLIT_SEED)
    chosen: list[np.ndarray] = []
    count = min(int(same.sum()), TRIALS // 2)
    for kind in (same, ~same):
        numbers = np.flatnonzero(kind)
        chosen.append(np.sort(rng.permutation(numbers)[:count]))
    rows = np.concatenate(chosen)
    return np.column_stack([first[rows], second[rows], same[rows]]).astype(np.int64)


def vocabulary(sequences: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the symbols that occur, in alphabetical order."""
    return tuple(sorted({symbol for sequence in sequences for symbol in sequence}))
