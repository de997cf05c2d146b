"""HuBERT's labels: k-means clusters of MFCC (first iteration) or of a trained encoder's layer (second), every 20 ms.

The clusters are fitted once, on the first hours of the corpus by rank: k-means++ on a part, then Lloyd's iterations
on all of it. In memory that set takes 180,000 x values x 4 bytes an hour. FLOPs: 2 x values x clusters a frame and
pass; for a layer also the teacher's forward pass up to it, and the teacher's own training.
Source: HuBERT (Hsu et al. 2021, arXiv 2106.07447), sections II-A and II-C.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from scaling.errors import InputError
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames, each_utterance, first_hours
from scaling.speech.targets.mfcc import every_second
from scaling.speech.targets.store import Targets, make_labels

ITERATIONS = 30
SEEDING_FRAMES = 10_000
"""Frames on which k-means++ chooses the first centroids."""

Read = Callable[[np.ndarray], Iterator[tuple[int, np.ndarray]]]
"""Utterances -> (utterance, [frames, values]) of each."""


def make_clusters(corpus: Corpus, settings: Mapping[str, Any], teacher: str | None) -> Targets:
    """Return the labels of a corpus; made where missing.

    Args:
        corpus: The corpus.
        settings: `clusters`, `fit_hours` and `seed`; for a layer also `teacher` (hash of its weights) and `layer`.
        teacher: Folder of the run whose layer is clustered.

    Raises:
        InputError: When the fixed set has fewer frames than clusters, or the teacher's folder is missing or holds
            another one.
    """
    frames = Frames(corpus)
    clusters = settings["clusters"]

    def source() -> tuple[Read, float, float]:
        """Return how features are read, FLOPs of those of a frame, and FLOPs spent before."""
        if settings.get("kind") != "layer-kmeans":
            return lambda utterances: each_utterance(corpus, utterances, every_second), 0.0, 0.0
        from scaling.speech.targets.teacher import Teacher

        model = Teacher(teacher, settings["teacher"], settings["layer"])
        return lambda utterances: model.read(corpus, utterances), model.flops_per_frame, model.flops

    def fit() -> tuple[np.ndarray, dict[str, float]]:
        read, of_frame, before = source()
        fixed = first_hours(corpus, settings["fit_hours"])
        sample = np.concatenate([values for _, values in read(fixed)]).astype(np.float32)
        if len(sample) < clusters:
            raise InputError(
                f"{len(sample)} frames to fit {clusters} clusters on",
                where=corpus.path,
                value=clusters,
                remedy="use more audio or fewer targets.clusters",
            )
        centroids = kmeans(sample, clusters, settings["seed"])
        per_frame = 2.0 * clusters * centroids.shape[1]
        about = {
            "classes": clusters,
            "fit_flops": before + len(sample) * (of_frame + ITERATIONS * per_frame),
            "flops_per_frame": of_frame + per_frame,
        }
        return centroids, about

    def label(model: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        from scipy.cluster.vq import vq

        read, _, _ = source()
        for u, values in read(np.flatnonzero(frames.counts)):
            yield u, vq(values.astype(np.float32), model)[0]

    return make_labels(corpus, {"kind": "mfcc-kmeans", **settings}, fit, label)


def kmeans(sample: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Return centroids, float32 [clusters, values]."""
    from scipy.cluster.vq import kmeans2

    rng = np.random.default_rng(seed)
    seeding = rng.choice(sample, size=min(SEEDING_FRAMES, len(sample)), replace=False)
    centroids, _ = kmeans2(seeding, clusters, iter=1, minit="++", rng=rng)
    centroids, _ = kmeans2(sample, centroids, iter=ITERATIONS, minit="matrix", missing="warn")
    return centroids.astype(np.float32)
