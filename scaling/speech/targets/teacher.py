"""A trained encoder as the maker of features: HuBERT's second iteration."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from scaling.cost import forward_flops
from scaling.errors import InputError
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames
from scaling.speech.features import make_features, normalisation
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
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._mean, self._deviation = weights.input_mean, weights.input_deviation
        torch.backends.cudnn.allow_tf32 = False
        self._encoder = weights.encoder().to(self._device)
        del self._encoder.encoder.transformer.layers[layer:]
        forward = forward_flops(self.shape, UTTERANCE_SAMPLES)
        used = forward["frontend"] + forward["projection"] + forward["position"]
        used_layers = (forward["linear"] + forward["attention"]) * layer / self.shape.layers
        self.flops_per_frame = (used + used_layers) / self.shape.frames(UTTERANCE_SAMPLES)
        self.flops: float = weights.flops_total
        """FLOPs that training it took, its own targets included."""

    @torch.inference_mode()
    def read(self, corpus: Corpus, utterances: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (utterance, [frames, width]) of the layer.

        A waveform is read whole: what lies behind its last frame of 20 ms is what the convolutions need for that frame.
        """
        frames = Frames(corpus)
        features = make_features(corpus) if self._mean is not None else None
        for u in utterances:
            count = int(frames.counts[u])
            if features is not None:
                source = self._normalised(corpus, features[frames.offsets[u] : frames.offsets[u + 1]])
            else:
                source = corpus.samples(u).astype(np.float32) / 32768.0
            inputs = torch.from_numpy(source)[None].to(self._device)
            yield int(u), self._encoder.hidden_states(inputs)[-1][0, :count].float().cpu().numpy()

    def _normalised(self, corpus: Corpus, stored: np.ndarray) -> np.ndarray:
        """Return log-Mel frames as the teacher was trained on: by its own corpus's mean and deviation."""
        assert self._mean is not None
        assert self._deviation is not None
        mean, deviation = normalisation(corpus)
        raw = stored.astype(np.float32) * deviation.astype(np.float32) + mean.astype(np.float32)
        return (raw - self._mean.numpy()) / self._deviation.numpy()


def check_layer(weights: Weights, layer: int, where: object) -> None:
    """Refuse a layer that the encoder does not have."""
    if not 1 <= layer <= weights.shape.layers:
        raise InputError(
            f"the teacher has layers 1 to {weights.shape.layers}", where=where, value=layer, remedy="name one of them"
        )
