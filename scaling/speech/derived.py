"""What is made once from a corpus and kept beside it: features and labels, one array over all its frames.

A frame covers 20 ms. Frame t of an utterance stands for the samples from 320 t on, for the features, the labels
and both front ends, so that all of them line up.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from scaling.errors import InputError
from scaling.files import write_json
from scaling.shape import FRAMES_PER_SECOND
from scaling.speech.corpus.store import Corpus, utterance_frames

T = TypeVar("T")


class Frames:
    """Where the frames of each utterance stand in an array over the whole corpus."""

    def __init__(self, corpus: Corpus) -> None:
        """Count the frames of every utterance."""
        self.counts: np.ndarray = utterance_frames(corpus.table["samples"])
        self.offsets: np.ndarray = np.concatenate([[0], np.cumsum(self.counts)])

    @property
    def total(self) -> int:
        """Frames of the whole corpus."""
        return int(self.offsets[-1])


def derive(corpus: Corpus, name: str, make: Callable[[Path], dict[str, Any]]) -> Path:
    """Return the folder of something derived from a corpus, made first where it is missing.

    It is made in a temporary folder that takes its name in one step, so that two processes do no harm.

    Args:
        corpus: The corpus.
        name: Name of the folder; it holds a hash of the settings.
        make: Fills a folder and returns what `info.json` shall say.

    Raises:
        InputError: When the corpus's folder cannot be written, or its samples are not those that were sealed.
    """
    final = corpus.path / "derived" / name
    if final.exists():
        return final
    try:
        final.parent.mkdir(exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=final.parent, prefix=".tmp-"))
    except PermissionError:
        raise InputError(
            "features and labels are kept beside the corpus, and its folder cannot be written",
            where=corpus.path,
            remedy="ask its owner to run `scaling-sweep submit` once, or copy the corpus",
        ) from None
    try:
        corpus.verify()  # what all runs share is made of the samples that were sealed
        write_json(temporary / "info.json", make(temporary))
        temporary.chmod(0o755)  # a temporary folder is its maker's alone; a corpus is for all who can read it
        try:
            os.rename(temporary, final)  # noqa: PTH104 - must fail where the target exists
        except OSError:
            if not final.exists():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def each_utterance(
    corpus: Corpus, utterances: np.ndarray, compute: Callable[[np.ndarray], T]
) -> Iterator[tuple[int, T]]:
    """Yield (utterance, compute(samples)) in order, computed by one thread a core."""
    with _one_torch_thread(), ThreadPoolExecutor(os.cpu_count()) as pool:
        block = 256  # keeps the results in flight few
        for first in range(0, len(utterances), block):
            chosen = utterances[first : first + block]
            yield from zip(chosen, pool.map(lambda u: compute(corpus.samples(u)), chosen), strict=True)


@contextlib.contextmanager
def _one_torch_thread() -> Iterator[None]:
    """Keep torch from using several threads inside each of ours, then give the caller its number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def frames_in(hours: float) -> float:
    """Return encoder frames in so many hours."""
    return hours * 3600 * FRAMES_PER_SECOND


def first_hours(corpus: Corpus, hours: float) -> np.ndarray:
    """Return the first utterances of the training audio by rank that hold so many hours: a corpus's fixed set."""
    frames = Frames(corpus)
    ranked = corpus.subset()
    ranked = ranked[frames.counts[ranked] > 0]
    return ranked[: int(np.searchsorted(np.cumsum(frames.counts[ranked]), frames_in(hours))) + 1]
