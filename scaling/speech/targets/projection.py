"""BEST-RQ's labels: the nearest code to a random projection of the log-Mel frame, both drawn once and never trained.

    label = argmax_k  cos( P x, c_k ),    P Xavier-uniform [dim, 80],  c_k standard normal in `dim` values

x is a frame of normalised log-Mel (two frames of 10 ms stacked). Nothing is clustered, so nothing is fitted.
Source: Chiu et al. 2022 (arXiv 2202.01855), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from scaling.shape import LOGMEL_FEATURES
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames
from scaling.speech.features import make_features
from scaling.speech.targets.store import Targets, make_labels


def make_projected(corpus: Corpus, settings: Mapping[str, Any]) -> Targets:
    """Return the labels of a corpus; made where missing.

    Args:
        corpus: The corpus.
        settings: `codes`, `dim` and `seed`.
    """
    frames, codes, dim = Frames(corpus), settings["codes"], settings["dim"]

    def fit() -> tuple[np.ndarray, dict[str, float]]:
        rng = np.random.default_rng(settings["seed"])
        bound = np.sqrt(6 / (LOGMEL_FEATURES + dim))
        projection = rng.uniform(-bound, bound, (dim, LOGMEL_FEATURES))
        book = rng.standard_normal((codes, dim))
        book /= np.linalg.norm(book, axis=1, keepdims=True)
        # one matrix does both: |P x| is the same for all codes, so cos(P x, c) ranks as (c P) x
        per_frame = 2.0 * dim * (LOGMEL_FEATURES + codes)
        about = {"classes": codes, "fit_flops": 0.0, "flops_per_frame": per_frame}
        return (book @ projection).astype(np.float32), about

    def label(model: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        features = make_features(corpus)
        for u in np.flatnonzero(frames.counts):
            own = features[frames.offsets[u] : frames.offsets[u + 1]].astype(np.float32)
            yield int(u), (own @ model.T).argmax(axis=1)

    return make_labels(corpus, settings, fit, label)
