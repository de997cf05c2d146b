"""Encoders over stretches of a corpus: what they read of them, and the hidden states that they make.

A source of states has `counts`, the frames of each utterance, and `states(utterance, first, count)`. A `Reader` is one
with a trained or a random encoder; `RawReader` gives the log-Mel features themselves.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from scaling.errors import InputError
from scaling.shape import FRAME_STRIDE
from scaling.speech.corpus.store import Corpus
from scaling.speech.derived import Frames
from scaling.speech.encoder import Encoder
from scaling.speech.features import make_features, normalisation
from scaling.speech.weights import Weights

REACH = 400 - FRAME_STRIDE
"""Samples behind the last frame of a stretch that its convolutions reach into."""


class Source(Protocol):
    """What makes hidden states of a corpus."""

    counts: np.ndarray

    def states(self, utterance: int, first: int = 0, count: int | None = None) -> torch.Tensor:
        """Return [layers, frames, width], float32 on the CPU."""
        ...


class RawReader:
    """The log-Mel features of a corpus as if they were an encoder's only layer."""

    def __init__(self, corpus: Corpus) -> None:
        """Open them; made where missing."""
        index = Frames(corpus)
        self.counts, self._offsets = index.counts, index.offsets
        self._features = make_features(corpus)

    def states(self, utterance: int, first: int = 0, count: int | None = None) -> torch.Tensor:
        """Return the features of a stretch, [1, frames, 80]."""
        begin = self._offsets[utterance] + first
        end = self._offsets[utterance + 1] if count is None else begin + count
        return torch.from_numpy(self._features[begin:end].astype(np.float32))[None]


class Reader:
    """Reads frames `first` to `first + count` of an utterance for one encoder.

    Attributes:
        encoder: On a GPU where there is one, in evaluation mode.
        counts: Frames of each utterance of the corpus.
    """

    def __init__(self, corpus: Corpus, weights: Weights) -> None:
        """Build the encoder, and open the features that it reads.

        Raises:
            InputError: When the weights and the front end do not belong together.
        """
        logmel = weights.shape.frontend == "logmel"
        if logmel != (weights.input_mean is not None):
            raise InputError(
                "weights of another front end: log-Mel encoders come with the mean and deviation of their inputs, "
                "waveform encoders without",
                where="weights",
                value=weights.shape.frontend,
                remedy="name the folder of a run of this project, or a file that `export` wrote",
            )
        self.corpus = corpus
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.backends.cudnn.allow_tf32 = False
        self.encoder: Encoder = weights.encoder().to(self.device)
        index = Frames(corpus)
        self.counts, self._offsets = index.counts, index.offsets
        self._features = make_features(corpus) if logmel else None
        if logmel:
            assert weights.input_mean is not None
            assert weights.input_deviation is not None
            mean, deviation = normalisation(corpus)
            theirs = weights.input_deviation.numpy()
            # frames are stored normalised by this corpus; the encoder was trained on those of its own
            self._scale, self._shift = deviation / theirs, (mean - weights.input_mean.numpy()) / theirs

    def inputs(self, utterance: int, first: int = 0, count: int | None = None) -> torch.Tensor:
        """Return what the encoder reads: log-Mel frames [1, count, 80], or a waveform [1, samples].

        A whole waveform is read to its end: what lies behind its last frame is what the convolutions need for that.
        """
        last = int(self.counts[utterance]) if count is None else first + count
        if self._features is None:
            stop = None if last == self.counts[utterance] else last * FRAME_STRIDE + REACH
            values = self.corpus.samples(utterance)[first * FRAME_STRIDE : stop].astype(np.float32) / 32768.0
        else:
            begin = self._offsets[utterance]
            values = self._features[begin + first : begin + last].astype(np.float32) * self._scale + self._shift
        return torch.from_numpy(values)[None].to(self.device)

    @torch.inference_mode()
    def states(self, utterance: int, first: int = 0, count: int | None = None) -> torch.Tensor:
        """Return the first layer's input and every layer's output, [layers + 1, frames, width], float32 on the CPU."""
        frames = int(self.counts[utterance]) - first if count is None else count
        layers = self.encoder.hidden_states(self.inputs(utterance, first, count))
        return torch.stack([layer[0, :frames] for layer in layers]).float().cpu()
