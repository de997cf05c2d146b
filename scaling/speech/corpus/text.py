"""Endless distinct English sentences for the synthetic corpus, from a small grammar and a Zipf-weighted lexicon.

The text is the project's own, so a corpus depends on its seed and the synthesiser alone, not on the Python
that runs it. With about 1,100 words the grammar has more than 10^12 sentences, so hundreds of hours need no
repetition (a repeated utterance is dropped when a corpus is sealed).
"""

from __future__ import annotations

import random
import zlib
from functools import lru_cache
from importlib import resources
from itertools import accumulate

HELD_OUT_SHARE = 16
"""A sentence belongs to held-out text when the CRC-32 of its characters divides by this."""
ZIPF_SHIFT = 5.0
"""Zipf-Mandelbrot: the r-th word of a section has weight 1 / (r + 5)."""

SENTENCES = (
    "{np} {verb} {np} {pp}.",
    "{np} {verb} {np}.",
    "{np} {move} {adverb} {pp}.",
    "{when}, {np} {verb} {np} and {move} {pp}.",
    "{name} {verb} {number} {adjective} {nouns} {when}.",
    "{np} that {verb} {np} {move} {pp}.",
    "{name} and {name} {adverb} {verb} {np} {pp} {place}.",
    "{np} {verb} {np}, but {np} {move} {adverb}.",
    "when {np} {move} {pp}, {name} {adverb} {verb} {number} {nouns}.",
)
NOUN_PHRASES = ("the {noun}", "the {adjective} {noun}", "a {adjective} {noun}", "{name}", "every {noun}",
                "the {number} {adjective} {nouns}", "the {noun} of {place}", "my {adjective} {noun}")  # fmt: skip
IRREGULAR = {"man": "men", "woman": "women", "child": "children", "person": "people", "people": "peoples",
             "foot": "feet", "life": "lives", "wife": "wives", "goose": "geese"}  # fmt: skip


@lru_cache(maxsize=1)
def lexicon() -> dict[str, tuple[list[str], list[float]]]:
    """Return section -> (words, cumulative Zipf weights)."""
    sections: dict[str, list[str]] = {}
    words: list[str] = []
    text = resources.files(__package__).joinpath("lexicon.txt").read_text(encoding="utf-8")
    for line in text.splitlines():
        if line.startswith("["):
            words = sections.setdefault(line.strip("[]"), [])
        elif not line.startswith("#"):
            words.extend(word.replace("_", " ") for word in line.split())
    return {
        name: (ws, list(accumulate(1 / (rank + ZIPF_SHIFT) for rank in range(1, len(ws) + 1))))
        for name, ws in sections.items()
    }


def utterance(rng: random.Random, *, held_out: bool) -> str:
    """Return one to four sentences: some 8 to 40 words, 3 to 14 seconds of speech.

    No sentence of a held-out utterance is ever part of a training one, and the other way round.
    """
    target = rng.randint(8, 34)
    sentences: list[str] = []
    words = 0
    while words < target:
        sentence = _sentence(rng)
        if (zlib.crc32(sentence.encode()) % HELD_OUT_SHARE == 0) == held_out:
            sentences.append(sentence)
            words += sentence.count(" ") + 1
    return " ".join(sentences)


def _sentence(rng: random.Random) -> str:
    """Return one sentence with a capital letter and a full stop."""
    text = rng.choices(SENTENCES, k=1)[0]
    while "{" in text:
        head, _, rest = text.partition("{")
        slot, _, tail = rest.partition("}")
        text = head + _fill(slot, rng) + tail
    for vowel in "aeiou":
        text = text.replace(f" a {vowel}", f" an {vowel}")
    if text[:2] == "a " and text[2] in "aeiou":
        text = "an " + text[2:]
    return text[0].upper() + text[1:]


def _fill(slot: str, rng: random.Random) -> str:
    """Return what stands in a slot: a phrase with slots of its own, or a word."""
    if slot == "np":
        return rng.choice(NOUN_PHRASES)
    if slot == "pp":
        return "{preposition} " + rng.choice(NOUN_PHRASES)
    if slot == "nouns":
        return _plural(_fill("noun", rng))
    words, cumulative = lexicon()[slot]
    return rng.choices(words, cum_weights=cumulative, k=1)[0]


def _plural(noun: str) -> str:
    """Return a noun's plural, near enough for a synthesiser."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"
