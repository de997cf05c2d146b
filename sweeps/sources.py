"""What the runs of a grid draw on: its corpus and the teacher of its labels, checked where they are there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scaling.errors import InputError
from scaling.shape import SAMPLE_RATE
from sweeps.expand import Resolved
from sweeps.grid import Grid

if TYPE_CHECKING:
    from scaling.speech.corpus.store import Corpus

PROVISIONAL = "provisional"
"""Stands for the hash of a corpus or a teacher that is not there yet; such a plan cannot be submitted."""
UNUSED = 0.02
"""Share of the audio in utterances shorter than a crop over which a plan warns."""


def find_corpus(grid: Grid, warnings: list[dict[str, str]]) -> tuple[str, tuple[float | None, ...]]:
    """Return the corpus's hash and the subsets swept, checked against the corpus where there is one."""
    if grid.corpus is None:
        return "", (None,)
    if not grid.corpus.exists():
        message = f"no corpus at {grid.corpus} yet: ids are provisional, and submit will refuse"
        warnings.append({"code": "no-corpus", "message": message})
        return PROVISIONAL, grid.unique_hours or (None,)
    from scaling.speech.corpus.store import Corpus

    corpus = Corpus(grid.corpus)
    for hours in grid.unique_hours:
        corpus.subset(hours, where=f"{grid.file}: unique_hours")
    if grid.built_in and not grid.train.join:
        _warn_unused(grid, corpus, warnings)
        for held_out in (False, True):
            longest = corpus.longest_crop(held_out=held_out)
            if longest < grid.train.crop_seconds:
                raise InputError(
                    f"no {'held-out' if held_out else 'training'} utterance of {grid.corpus} is as long as a crop "
                    f"(the longest gives {longest:.2f} s)",
                    where=f"{grid.file}: train.crop_seconds",
                    value=grid.train.crop_seconds,
                    remedy="use a shorter crop, train.join: true, or a corpus of longer utterances",
                )
    return corpus.hash, grid.unique_hours or (_rounded(corpus.hours),)


def check_probed(grid: Grid) -> None:
    """Refuse probes whose labels the corpus lacks; nothing is looked at where there is no corpus yet."""
    path = grid.probes_corpus or grid.corpus
    if grid.probes is None or path is None or (grid.probes_corpus is None and not path.exists()):
        return
    from scaling.speech.corpus.store import Corpus
    from scaling.speech.probes.needs import check_labels

    check_labels(Corpus(path), grid.probes, where=f"{grid.file}: probes")


def _warn_unused(grid: Grid, corpus: Corpus, warnings: list[dict[str, str]]) -> None:
    """Warn when much of the training audio lies in utterances that are shorter than a crop."""
    chosen = ~corpus.table["held_out"]
    samples = corpus.table["samples"][chosen]
    short = samples < grid.train.crop_seconds * SAMPLE_RATE
    share = float(samples[short].sum()) / max(1.0, float(samples.sum()))
    if share > UNUSED:
        warnings.append(
            {
                "code": "unused-audio",
                "message": f"{share:.0%} of the training audio lies in utterances shorter than a crop of "
                f"{grid.train.crop_seconds:g} s and is never seen: use train.join: true, or a shorter crop",
            }
        )


def _rounded(hours: float) -> float:
    return float(f"{hours:.4g}")


def find_teacher(grid: Grid, warnings: list[dict[str, str]]) -> str:
    """Return the hash of the weights of the run whose layer gives the labels, empty where there is no such run."""
    if grid.teacher is None:
        return ""
    if not grid.teacher.exists():
        message = f"no teacher at {grid.teacher} yet: ids are provisional, and submit will refuse"
        warnings.append({"code": "no-teacher", "message": message})
        return PROVISIONAL
    from scaling.speech.targets.teacher import check_layer
    from scaling.speech.weights import Weights, weights_hash

    try:
        weights = Weights.load(grid.teacher)
    except InputError as error:
        place = f"{grid.file}: targets.teacher"
        raise InputError(error.what, where=place, value=str(grid.teacher), remedy=error.remedy) from None
    check_layer(weights, grid.targets["hubert"]["layer"], f"{grid.file}: targets.layer")
    return weights_hash(grid.teacher)


def with_teacher(resolved: Resolved, teacher: str) -> Resolved:
    """Return a run whose labels come of a teacher, named by its weights."""
    spec = resolved.spec
    if spec.targets.get("kind") != "layer-kmeans":
        return resolved
    return replace(resolved, spec=replace(spec, targets={**spec.targets, "teacher": teacher}))
