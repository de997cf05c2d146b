"""A synthetic corpus: eSpeak NG reads sentences of the project's grammar in many voices.

Phone and voice labels come free and exact. Voices and sentences of the held-out split never occur in training.
"""

from __future__ import annotations

import random
import threading
import zlib
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
HELD_OUT_VARIANTS = 8
"""Every eighth variant of a voice speaks held-out text only."""

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


def voice_of(rng: random.Random, *, held_out: bool) -> dict[str, Any]:
    """Return a voice: accent, variant, and the pitch, range and rate that belong to the pair."""
    variants = [v for i, v in enumerate(VARIANTS) if (i % HELD_OUT_VARIANTS == 0) == held_out]
    voice = f"{rng.choice(ACCENTS)}+{rng.choice(variants)}"
    own = random.Random(zlib.crc32(voice.encode()))
    return {
        "voice": voice,
        "pitch": own.randint(25, 75),
        "range": own.randint(30, 70),
        "rate": own.randint(145, 200),
    }


def make_shard(settings: dict[str, Any], split: str, number: int, given: None) -> Shard:
    """Return one shard of the corpus; it depends on the seed, the split and the number alone."""
    from scaling.speech.corpus.text import utterance

    held_out = split == "held_out"
    rng = random.Random(f"{settings['seed']}/{split}/{number}")
    speak = _espeak(threading.get_ident())
    utterances = []
    for _ in range(UTTERANCES_PER_SHARD):
        text = utterance(rng, held_out=held_out)
        voice = voice_of(rng, held_out=held_out)
        pcm, phones = speak(text, seed=rng.getrandbits(31), **voice)
        utterances.append(
            Utterance(
                samples=_resample(pcm),
                speaker=voice["voice"],
                text=text,
                phones=[[start * SAMPLE_RATE // RATE, name] for start, name in phones],
            )
        )
    return Shard(utterances=utterances)


def _resample(pcm: bytes) -> Any:
    """Return int16 samples at 16 kHz from eSpeak NG's at 22,050 Hz."""
    import numpy as np

    from scaling.speech.corpus.audio import resample, to_int16

    return to_int16(resample(np.frombuffer(pcm, "<i2") / 32768.0, RATE))


@lru_cache(maxsize=1)
def _espeak(thread: int) -> Espeak:
    """Return this process's synthesiser, started once."""
    return Espeak()


def _synthesiser() -> str:
    """Return the name and version of the synthesiser, which the samples depend on."""
    from importlib.metadata import version

    return f"espeakng-loader {version('espeakng-loader')}"
