"""Words to spot: what stands alone between two pauses and comes again and again ("at noon,"), or clips of one word.

A synthetic corpus knows its text and its phones, and its synthesiser pauses where the text has a comma or a full stop,
so that every clause has exact ends. Speech Commands' clips are a word each.
"""

from __future__ import annotations

import re
from collections import Counter

from scaling.errors import InputError
from scaling.shape import FRAME_STRIDE
from scaling.speech.probes.labels import SILENCE, Clip, Labels, Split

WORDS, CLIPS = 10, 8
"""Words to tell apart at most, and training clips of each at least."""
MOST_CLIPS = 1_000
"""Training clips at most."""
TESTED_CLIPS = 10
"""Test clips a word under which a fifth of the training speakers are set apart too."""
ONE_WORD_WORDS = 35
"""Words at most where every clip is of one word: all of Speech Commands."""


def find_words(labels: Labels) -> Split:
    """Return clips of words spoken alone, labelled by the number of the word, the commonest first.

    Raises:
        InputError: When there are too few.
    """
    corpus = labels.corpus
    train, test = ([c for u in labels.ranked(held_out=part) for c in _alone(labels, int(u))] for part in (False, True))
    often, tested = Counter(clip.label for clip in train), {clip.label for clip in test}
    most = ONE_WORD_WORDS if all(" " not in word for word in often) else WORDS
    words = [w for w, n in sorted(often.items(), key=lambda item: (-item[1], item[0])) if n >= CLIPS and w in tested]
    if len(words) < 2:
        raise InputError(
            f"missing labels: fewer than two words that stand alone in {CLIPS} training clips and in the held-out part",
            where=corpus.path,
            remedy="use a larger synthetic corpus, or Speech Commands (corpus import --from speechcommands:ROOT)",
        )
    number = {word: i for i, word in enumerate(words[:most])}
    train, test = (
        [Clip(c.utterance, c.first, c.count, number[c.label]) for c in part if c.label in number]
        for part in (train, test)
    )
    if len(test) < TESTED_CLIPS * len(number):  # too few to tell encoders apart
        apart = [labels.speaker(clip) % 5 == 0 for clip in train]
        test += [clip for clip, out in zip(train, apart, strict=True) if out]
        train = [clip for clip, out in zip(train, apart, strict=True) if not out]
    return Split(train[:MOST_CLIPS], test, tuple(number))


def _alone(labels: Labels, utterance: int) -> list[Clip]:
    """Return what stands between two pauses of an utterance, by what is said there."""
    detail = labels.corpus.detail(utterance)
    text, frames = detail.get("text", "").strip(), int(labels.counts[utterance])
    if text and " " not in text.rstrip("."):
        return [Clip(utterance, 0, frames, text.rstrip(".").lower())]
    said = [part.strip().lower() for part in re.split(r"[.,]", text) if part.strip()]
    stretches: list[tuple[int, int]] = []
    begin = None
    for sample, name in detail.get("phones", ()):
        at = min(sample // FRAME_STRIDE, frames)
        if name == SILENCE:  # the end of a clause; a break before "and" has another name
            if begin is not None:
                stretches.append((begin, at))
            begin = None
        elif begin is None and not name.startswith(SILENCE):
            begin = at
    if begin is not None:
        stretches.append((begin, frames))
    if len(stretches) != len(said):
        return []
    return [Clip(utterance, a, b - a, words) for (a, b), words in zip(stretches, said, strict=True) if b > a]
