"""A trained encoder as the maker of features: HuBERT's second iteration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scaling.cost import forward_flops
from scaling.errors import InputError
from scaling.speech.corpus.store import Corpus
from scaling.speech.reading import Reader
from scaling.speech.weights import Weights, weights_hash

UTTERANCE_SAMPLES = 15 * 16_000
"""Length at which the FLOPs of the quadratic attention are counted."""


class Teacher:
    """A layer of a trained encoder, read over whole utterances."""

    def __init__(self, folder: str | None, expected: str, layer: int) -> None:
        """Load it.

        Args:
            folder: The run's folder.
            expected: Hash of its weights.
            layer: Which layer, from 1 on.

        Raises:
            InputError: When the folder is missing, holds other weights, or has fewer layers.
        """
        if folder is None:
            raise InputError("a teacher's folder is needed", where="targets.teacher", remedy="name the run's folder")
        found = weights_hash(Path(folder))
        if found != expected:
            raise InputError(
                "another teacher than the one that the targets are of",
                where=folder,
                value=found,
                remedy=f"name the run whose weights have the hash {expected}",
            )
        weights = Weights.load(Path(folder))
        check_layer(weights, layer, folder)
        self.shape = weights.shape
        self._weights, self._layer = weights, layer
        forward = forward_flops(self.shape, UTTERANCE_SAMPLES)
        used = forward["frontend"] + forward["projection"] + forward["position"]
        used_layers = (forward["linear"] + forward["attention"]) * layer / self.shape.layers
        self.flops_per_frame = (used + used_layers) / self.shape.frames(UTTERANCE_SAMPLES)
        self.flops: float = weights.flops_total
        """FLOPs that training it took, its own targets included."""

    def read(self, corpus: Corpus, utterances: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (utterance, [frames, width]) of the layer."""
        reader = Reader(corpus, self._weights)
        del reader.encoder.encoder.transformer.layers[self._layer :]
        for u in utterances:
            yield int(u), reader.states(int(u))[-1].numpy()


def check_layer(weights: Weights, layer: int, where: object) -> None:
    """Refuse a layer that the encoder does not have."""
    if not 1 <= layer <= weights.shape.layers:
        raise InputError(
            f"the teacher has layers 1 to {weights.shape.layers}", where=where, value=layer, remedy="name one of them"
        )
