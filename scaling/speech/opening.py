"""What a run reads: its corpus, the crops of it, and what is made of it once."""

from __future__ import annotations

from scaling.errors import InputError
from scaling.records import RunSpec
from scaling.shape import SAMPLE_RATE, Shape
from scaling.speech import masked_of, settings_of
from scaling.speech.corpus.store import Corpus
from scaling.speech.data import Crops
from scaling.speech.features import make_features
from scaling.speech.targets import make_targets


def prepare(spec: RunSpec) -> None:
    """Make the features and targets that a run needs, where they are missing."""
    corpus = open_corpus(spec)
    if Shape.from_dict(spec.model).frontend == "logmel":
        make_features(corpus)
        if spec.probes and "probes" in spec.where:
            make_features(Corpus(spec.where["probes"]))
    make_targets(corpus, spec.targets, spec.where.get("teacher"))


def open_corpus(spec: RunSpec) -> Corpus:
    """Return the corpus of a run.

    Raises:
        InputError: When it is not the one that the run was planned on.
    """
    corpus = Corpus(spec.where["corpus"])
    planned = spec.corpus.get("hash")
    if planned and planned != corpus.hash:
        raise InputError(
            "not the corpus that this run was planned on",
            where=corpus.path,
            value=corpus.hash,
            remedy=f"restore the corpus with the hash {planned}, or submit the grid again: its runs get new ids",
        )
    return corpus


def open_crops(spec: RunSpec, corpus: Corpus) -> Crops:
    """Return the reader of a run's batches."""
    settings = settings_of(spec)
    return Crops(
        corpus,
        Shape.from_dict(spec.model),
        settings["crop_samples"],
        masked=masked_of(spec),
        mask_length=settings["mask_length"],
        unique_hours=spec.corpus.get("unique_hours"),
        seed=spec.seed,
        join=settings["join"],
        augment=settings["augment"] or None,
    )


def micro_crops(spec: RunSpec, share: int, *, halvings: int = 0) -> int | None:
    """Return the crops that a pass takes at most, None for as many as there are.

    Args:
        spec: The run.
        share: Crops of a batch that this process takes.
        halvings: How often the run ran out of memory: each time its passes shrink by half.
    """
    seconds = spec.execution.get("micro_seconds")
    if seconds is None and not halvings:
        return None
    asked = share if seconds is None else min(share, int(seconds * SAMPLE_RATE // spec.train["crop_samples"]))
    return max(1, asked >> halvings)
