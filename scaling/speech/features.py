"""Log-Mel features, made once for a corpus: 40 bins every 10 ms, two frames stacked to 80 values every 20 ms.

Stored in half precision, normalised by the mean and deviation of each bin over the first hour of training audio.
Source: MelHuBERT (Lin et al. 2022, arXiv 2211.09944).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from scaling.files import read_json
from scaling.progress import progress
from scaling.shape import LOGMEL_BINS, LOGMEL_FEATURES, LOGMEL_STACK
from scaling.speech.audiolib import kaldi
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames, derive, each_utterance, frames_in

STATISTICS_HOURS = 1.0
NAME = "logmel-1"
ARRAY = "frames.f16"


def logmel(samples: np.ndarray) -> np.ndarray:
    """Return stacked log-Mel frames of int16 samples, shape [frames, 80], not normalised."""
    wave = torch.from_numpy(samples.astype(np.float32))[None]
    bins = kaldi.fbank(wave, num_mel_bins=LOGMEL_BINS, dither=0.0)
    frames = len(bins) // LOGMEL_STACK
    return bins[: frames * LOGMEL_STACK].reshape(frames, LOGMEL_FEATURES).numpy()


def make_features(corpus: Corpus) -> np.ndarray:
    """Return the log-Mel frames of a corpus, float16 [frames, 80], mapped from disk; made where missing."""
    frames = Frames(corpus)
    folder = derive(corpus, NAME, lambda path: _write(corpus, frames, path))
    return np.memmap(folder / ARRAY, dtype=np.float16, mode="r", shape=(frames.total, LOGMEL_FEATURES))


def normalisation(corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each bin, float32 [80], that the log-Mel frames of a corpus are normalised by."""
    make_features(corpus)
    info = read_json(corpus.path / "derived" / NAME / "info.json")
    return np.array(info["mean"], dtype=np.float32), np.array(info["deviation"], dtype=np.float32)


def _write(corpus: Corpus, frames: Frames, folder: Path) -> dict[str, Any]:
    """Fill the array and return its mean and deviation."""
    ranked = corpus.subset()
    first = ranked[: int(np.searchsorted(np.cumsum(frames.counts[ranked]), frames_in(STATISTICS_HOURS))) + 1]
    usable = [u for u in first if frames.counts[u]]
    sample = np.concatenate([values for _, values in each_utterance(corpus, np.array(usable), logmel)])
    mean, deviation = sample.mean(axis=0), np.maximum(sample.std(axis=0), 1e-3)

    out = np.memmap(folder / ARRAY, dtype=np.float16, mode="w+", shape=(frames.total, LOGMEL_FEATURES))
    with progress("features", frames.total / frames_in(1), "h") as show:
        for u, values in each_utterance(corpus, np.flatnonzero(frames.counts), logmel):
            out[frames.offsets[u] : frames.offsets[u + 1]] = (values - mean) / deviation
            show(frames.offsets[u + 1] / frames_in(1))
    out.flush()
    return {"mean": mean, "deviation": deviation, "frames": frames.total}
