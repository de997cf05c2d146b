"""Whether a corpus has the labels that probes need: asked before anything is trained."""

from __future__ import annotations

from scaling.errors import InputError, did_you_mean
from scaling.speech.corpus.store import Corpus
from scaling.speech.probes.catalogue import PROBES, ProbeSettings
from scaling.speech.probes.labels import Labels
from scaling.speech.probes.voices import known_voices, other_voices
from scaling.speech.probes.words import find_words

LOOKED_AT = 20
"""Utterances of each part in which labels are looked for: a corpus has them everywhere or nowhere."""


def check_labels(corpus: Corpus, settings: ProbeSettings, *, where: object) -> None:
    """Refuse probes that there are not, or that the corpus has no labels for.

    Args:
        corpus: Labelled audio.
        settings: Which probes.
        where: Who asks, for messages.

    Raises:
        InputError: With the probe and what is missing.
    """
    labels = Labels(corpus)
    for name in settings.probes:
        if name not in PROBES:
            raise InputError("no such probe", where=where, value=name, remedy=did_you_mean(name, PROBES))
        try:
            for need in PROBES[name].needs:
                _check(labels, need)
        except InputError as error:
            raise error.at(f"{where}: {name}: {error.where}") from None


def _check(labels: Labels, need: str) -> None:
    if need == "words":
        find_words(labels)
    elif need == "known speakers":
        known_voices(labels)
    elif need == "other speakers":
        other_voices(labels)
    else:
        read = {"phones": labels.spoken, "text": labels.text}[need]
        for held_out in (False, True):
            if not any(read(int(u)) for u in labels.ranked(held_out=held_out)[:LOOKED_AT]):
                raise InputError(
                    f"missing labels: no {need} in the {'held-out' if held_out else 'training'} part",
                    where=labels.corpus.path,
                    remedy="leave the probe away, or name a labelled corpus: synthetic ones have phones and text, "
                    "LibriSpeech text",
                )
