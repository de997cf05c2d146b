"""HuBERT's first targets: k-means clusters of MFCC, one label every 20 ms.

13 Kaldi MFCC with first and second differences (39 values every 10 ms); every second frame is labelled. The
clusters are fitted once on a fixed set (the first hours of the corpus by rank), and all runs on the corpus
share the labels, whatever subset or seed they train on.
Source: HuBERT (Hsu et al. 2021, arXiv 2106.07447), first iteration.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scaling.errors import InputError
from scaling.files import read_json
from scaling.progress import progress
from scaling.records import content_hash
from scaling.speech.audiolib import audio_functional, kaldi
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames, derive, each_utterance, frames_in

ITERATIONS = 30
SEEDING_FRAMES = 10_000
"""Frames on which k-means++ chooses the first centroids."""
ARRAY = "labels.u16"


@dataclass(frozen=True, kw_only=True)
class Targets:
    """Labels of every frame of a corpus."""

    labels: np.ndarray
    """uint16, one a frame, mapped from disk."""
    classes: int
    label_model: str
    """Hash of the centroids."""
    counts: np.ndarray
    """How often each class occurs in the training audio."""
    fit_flops: float
    """FLOPs that fitting the clusters took."""
    flops_per_frame: float
    """FLOPs that labelling a frame takes."""

    @property
    def unigram(self) -> np.ndarray:
        """Probabilities of the classes, each counted once more than it occurs."""
        return (self.counts + 1) / (self.counts + 1).sum()

    @property
    def entropy(self) -> float:
        """Entropy of the classes in nats."""
        p = self.counts[self.counts > 0] / self.counts.sum()
        return float(-(p * np.log(p)).sum())


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Return 39 MFCC values (13, deltas, delta-deltas) every 20 ms, shape [frames, 39]."""
    wave = torch.from_numpy(samples.astype(np.float32))[None]
    ceps = kaldi.mfcc(wave, use_energy=False, dither=0.0).T
    delta = audio_functional.compute_deltas(ceps)
    values = torch.cat([ceps, delta, audio_functional.compute_deltas(delta)]).T
    return values[: len(values) // 2 * 2 : 2].numpy()


def make_targets(corpus: Corpus, settings: Mapping[str, Any]) -> Targets:
    """Return the labels of a corpus under some settings; made where missing.

    Args:
        corpus: The corpus.
        settings: `clusters`, `fit_hours` and `seed`.

    Raises:
        InputError: When the fixed set has fewer frames than clusters.
    """
    frames = Frames(corpus)
    name = f"mfcc-kmeans-{content_hash(dict(settings))}"
    folder = derive(corpus, name, lambda path: _write(corpus, frames, dict(settings), path))
    info = read_json(folder / "info.json")
    return Targets(
        labels=np.memmap(folder / ARRAY, dtype=np.uint16, mode="r", shape=(frames.total,)),
        classes=settings["clusters"],
        label_model=info["label_model"],
        counts=np.array(info["counts"]),
        fit_flops=info["fit_flops"],
        flops_per_frame=info["flops_per_frame"],
    )


def _write(corpus: Corpus, frames: Frames, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Fit the clusters, label every frame, and return what is worth knowing."""
    from scipy.cluster.vq import kmeans2, vq

    clusters = settings["clusters"]
    ranked = corpus.subset()
    ranked = ranked[frames.counts[ranked] > 0]
    wanted = np.searchsorted(np.cumsum(frames.counts[ranked]), frames_in(settings["fit_hours"])) + 1
    sample = np.concatenate([values for _, values in each_utterance(corpus, ranked[:wanted], mfcc)])
    if len(sample) < clusters:
        raise InputError(
            f"{len(sample)} frames to fit {clusters} clusters on",
            where=corpus.path,
            value=clusters,
            remedy="use more audio or fewer targets.clusters",
        )
    rng = np.random.default_rng(settings["seed"])
    seeding = rng.choice(sample, size=min(SEEDING_FRAMES, len(sample)), replace=False)
    centroids, _ = kmeans2(seeding, clusters, iter=1, minit="++", rng=rng)
    centroids, _ = kmeans2(sample, centroids, iter=ITERATIONS, minit="matrix", missing="warn")
    centroids = centroids.astype(np.float32)

    out = np.memmap(folder / ARRAY, dtype=np.uint16, mode="w+", shape=(frames.total,))
    with progress("labels", frames.total / frames_in(1), "h") as show:
        for u, values in each_utterance(corpus, np.flatnonzero(frames.counts), mfcc):
            out[frames.offsets[u] : frames.offsets[u + 1]] = vq(values, centroids)[0]
            show(frames.offsets[u + 1] / frames_in(1))
    out.flush()
    np.save(folder / "centroids.npy", centroids, allow_pickle=False)
    counts = np.zeros(clusters, dtype=np.int64)
    for u in ranked:
        counts += np.bincount(out[frames.offsets[u] : frames.offsets[u + 1]], minlength=clusters)
    per_frame = 2.0 * clusters * centroids.shape[1]
    return {
        "settings": settings,
        "label_model": hashlib.sha256(centroids.tobytes()).hexdigest()[:16],
        "counts": counts,
        "fit_flops": ITERATIONS * len(sample) * per_frame,
        "flops_per_frame": per_frame,
    }
