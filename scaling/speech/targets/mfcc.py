"""MFCC: what HuBERT's first clusters are made of, and what TERA predicts.

13 Kaldi MFCC with first and second differences, 39 values every 10 ms. HuBERT's clusters take every second frame.
TERA predicts two frames stacked, 78 values every 20 ms, as they are (the study) or normalised by the mean and
deviation of each value over a fixed set. The best constant under an L1 loss is the median.
Sources: Hsu et al. 2021 (arXiv 2106.07447), Liu et al. 2021 (arXiv 2007.06028).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scaling.progress import progress
from scaling.records import content_hash
from scaling.speech.audiolib import audio_functional, kaldi
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames, derive, each_utterance, first_hours, frames_in
from scaling.speech.targets.store import VALUES, Targets, open_targets


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Return 39 MFCC values (13, deltas, delta-deltas) every 10 ms of int16 samples, an even number of frames."""
    wave = torch.from_numpy(samples.astype(np.float32))[None]
    ceps = kaldi.mfcc(wave, use_energy=False, dither=0.0).T
    delta = audio_functional.compute_deltas(ceps)
    values = torch.cat([ceps, delta, audio_functional.compute_deltas(delta)]).T
    return values[: len(values) // 2 * 2].numpy()


def every_second(samples: np.ndarray) -> np.ndarray:
    """Return 39 MFCC values every 20 ms, [frames, 39]."""
    return mfcc(samples)[::2]


def stacked(samples: np.ndarray) -> np.ndarray:
    """Return 78 MFCC values every 20 ms, [frames, 78]."""
    values = mfcc(samples)
    return values.reshape(len(values) // 2, 2 * values.shape[1])


def make_values(corpus: Corpus, settings: Mapping[str, Any]) -> Targets:
    """Return TERA's targets of a corpus; made where missing.

    Args:
        corpus: The corpus.
        settings: `normalise`, and `fit_hours` of the set that gives mean, deviation and median.
    """
    frames = Frames(corpus)

    def write(folder: Path) -> dict[str, Any]:
        fixed = first_hours(corpus, settings["fit_hours"])
        sample = np.concatenate([values for _, values in each_utterance(corpus, fixed, stacked)])
        mean, deviation = np.zeros(sample.shape[1]), np.ones(sample.shape[1])
        if settings["normalise"]:
            mean, deviation = sample.mean(axis=0), np.maximum(sample.std(axis=0), 1e-3)
        out = np.memmap(folder / VALUES, dtype=np.float16, mode="w+", shape=(frames.total, sample.shape[1]))
        with progress("targets", frames.total / frames_in(1), "h") as show:
            for u, values in each_utterance(corpus, np.flatnonzero(frames.counts), stacked):
                out[frames.offsets[u] : frames.offsets[u + 1]] = (values - mean) / deviation
                show(frames.offsets[u + 1] / frames_in(1))
        out.flush()
        return {
            "settings": dict(settings),
            "model": hashlib.sha256(np.stack([mean, deviation]).tobytes()).hexdigest()[:16],
            "constant": np.median((sample - mean) / deviation, axis=0),
            "unit": "deviations of MFCC" if settings["normalise"] else "MFCC",
            "fit_flops": 0.0,
            "flops_per_frame": 0.0,  # features are data preparation, as log-Mel is
        }

    return open_targets(derive(corpus, f"mfcc-{content_hash(dict(settings))}", write), frames)
