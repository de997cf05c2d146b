"""A synthetic corpus: eSpeak NG reads sentences of the project's grammar in many voices.

A voice is a draw from a population: accent, variant of the synthesiser, pitch, range of the pitch, rate, and length of
the vocal tract (the samples are taken to be at another rate, which moves pitch and formants together). Held-out clips
are read by other draws from the same population, as held-out people are: with unseen variants instead, the loss would
mostly measure how far eight odd timbres lie from the rest. Phone and voice labels come free and exact, and no voice
and no sentence of the held-out split occurs in training.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.shape import SAMPLE_RATE
from scaling.speech.corpus.build import Recipe, Shard, Utterance, build
from scaling.speech.corpus.espeak import RATE, Espeak
from scaling.speech.corpus.store import Corpus

UTTERANCES_PER_SHARD = 64
HELD_OUT_SHARE, HELD_OUT_MIN, HELD_OUT_MAX = 0.05, 0.02, 1.0
"""Held-out hours: 5 % of the training hours, at least 0.02 h and at most 1 h; they come on top."""
VOICES = {"train": 400, "held_out": 80}
TRACT_RATES = (19_200, 20_000, 21_000, 22_050, 22_400, 23_040, 24_000, 25_600)
"""Rates that samples at 22,050 Hz are taken to be at: tracts from 15 % longer to 14 % shorter."""

ACCENTS = (
    "en-us", "en-gb-x-rp", "en-gb-scotland", "en-us-nyc", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en",
)  # fmt: skip
VARIANTS = (
    "f1", "f2", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Alex", "Alicia", "Andrea",
    "Andy", "Annie", "adam", "anika", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed",
    "edward", "gustave", "ian", "iven", "iven2", "john", "kaukovalta", "klatt", "klatt2", "klatt3", "klatt4",
    "linda", "marcelo", "max", "michel", "miguel", "mike2", "norbert", "pablo", "paul", "pedro", "quincy", "rob",
    "robert", "sandro", "shelby", "steph", "steph2", "travis", "victor", "zac", "Gene", "Denis", "Diogo", "Hugo",
    "Lee",
)  # fmt: skip
"""Variants that sound like people; the library's robots, whispers and croaks are left out."""


def synthesise(folder: Path, *, hours: float, seed: int = 0, workers: int | None = None) -> Corpus:
    """Make a synthetic corpus of so many training hours, and its held-out clips on top.

    Args:
        folder: Where to; a build that was interrupted goes on.
        hours: Hours of training audio.
        seed: The same seed gives the same samples.
        workers: Processes; one a core when not given.

    Raises:
        InputError: When the optional extra is missing, or the folder holds another corpus.
    """
    if find_spec("espeakng_loader") is None:
        raise InputError(
            "the speech synthesiser is not installed",
            where="corpus synth",
            remedy="pip install 'scaling-sweep[synth]' (eSpeak NG, GPL-3), or use `corpus import`",
        )
    held_out = min(max(HELD_OUT_SHARE * hours, HELD_OUT_MIN), HELD_OUT_MAX)
    recipe = Recipe(
        settings={
            "kind": "synthetic",
            "synthesiser": _synthesiser(),
            "hours": hours,
            "seed": seed,
            "text": 1,
        },
        make=make_shard,
        hours={"train": hours, "held_out": held_out},
        distinct_text=True,
    )
    return build(folder, recipe, workers=workers)


@dataclass(frozen=True)
class Voice:
    """One speaker of the population."""

    name: str
    espeak: str
    """Accent and variant."""
    pitch: int
    range: int
    rate: int
    """Words a minute."""
    tract: int
    """Rate that the synthesiser's samples are taken to be at."""


@lru_cache(maxsize=8)
def voices(seed: int, split: str) -> tuple[Voice, ...]:
    """Return the voices of a split; no voice is in both."""
    rng = random.Random(f"{seed}/voices")
    drawn: dict[tuple[str, int, int, int, int], None] = {}
    while len(drawn) < sum(VOICES.values()):
        espeak = f"{rng.choice(ACCENTS)}+{rng.choice(VARIANTS)}"
        pitch, spread, rate = rng.randrange(25, 76, 5), rng.randrange(30, 71, 10), rng.randrange(145, 201, 5)
        drawn[espeak, pitch, spread, rate, rng.choice(TRACT_RATES)] = None
    numbered = [Voice(f"{i:03d}-{traits[0]}", *traits) for i, traits in enumerate(drawn)]
    first = VOICES["train"]
    return tuple(numbered[:first] if split == "train" else numbered[first:])


def make_shard(settings: dict[str, Any], split: str, number: int, given: None) -> Shard:
    """Return one shard of the corpus; it depends on the seed, the split and the number alone."""
    from scaling.speech.corpus.text import utterance

    rng = random.Random(f"{settings['seed']}/{split}/{number}")
    speak = _espeak()
    utterances = []
    for _ in range(UTTERANCES_PER_SHARD):
        text = utterance(rng, held_out=split == "held_out")
        voice = rng.choice(voices(settings["seed"], split))
        pace = round(voice.rate * RATE / voice.tract)  # a shorter tract also speeds up: the synthesiser speaks slower
        pcm, phones = speak(
            text, voice=voice.espeak, pitch=voice.pitch, range=voice.range, rate=pace, seed=rng.getrandbits(31)
        )
        utterances.append(
            Utterance(
                samples=_resample(pcm, voice.tract),
                speaker=voice.name,
                text=text,
                phones=[[start * SAMPLE_RATE // voice.tract, name] for start, name in phones],
            )
        )
    return Shard(utterances=utterances)


def _resample(pcm: bytes, rate: int) -> Any:
    """Return int16 samples at 16 kHz from samples taken to be at a rate."""
    import numpy as np

    from scaling.speech.corpus.audio import resample, to_int16

    return to_int16(resample(np.frombuffer(pcm, "<i2") / 32768.0, rate))


@lru_cache(maxsize=1)
def _espeak() -> Espeak:
    """Return this process's synthesiser, started once."""
    return Espeak()


def _synthesiser() -> str:
    """Return the name and version of the synthesiser, which the samples depend on."""
    from importlib.metadata import version

    return f"espeakng-loader {version('espeakng-loader')}"
