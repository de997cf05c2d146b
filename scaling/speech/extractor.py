"""A trained encoder as a feature extractor: waveforms in, hidden states of every layer out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from scaling.errors import InputError
from scaling.shape import FRAME_STRIDE, LOGMEL_BINS, LOGMEL_FEATURES, LOGMEL_STACK
from scaling.speech.audiolib import kaldi
from scaling.speech.weights import Weights

FULL_SCALE = 32768.0
"""Kaldi's features are of samples as 16-bit numbers."""


class FeatureExtractor(nn.Module):
    """A trained encoder over waveforms at 16 kHz, ready for a downstream model, frozen or not.

    Example:
        >>> from scaling import load_encoder
        >>> extractor = load_encoder("results/demo/runs/0123456789abcdef")  # doctest: +SKIP
        >>> states = extractor(torch.randn(2, 16_000))  # doctest: +SKIP

    Attributes:
        width: Values a frame of a hidden state.
        layers: Transformer layers; there is one hidden state more.
        stride: Samples between two frames.
    """

    def __init__(self, weights: Weights) -> None:
        """Build the encoder with these weights."""
        super().__init__()
        self.encoder = weights.encoder()
        self.width, self.layers, self.stride = weights.shape.width, weights.shape.layers, FRAME_STRIDE
        self.spec = dict(weights.spec)
        self.mean: torch.Tensor | None
        self.deviation: torch.Tensor | None
        self.register_buffer("mean", weights.input_mean)
        self.register_buffer("deviation", weights.input_deviation)

    def forward(self, waves: torch.Tensor | Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Return the first layer's input and the output of every layer.

        Args:
            waves: Samples in [-1, 1] at 16 kHz: [batch, samples], or waveforms of their own lengths.

        Returns:
            layers + 1 tensors [batch, frames, width]. Waveforms of their own lengths go through one by one, so that no
            padding is heard; shorter ones end in zeros, and `frames_of` says where.
        """
        _check(waves)
        if isinstance(waves, torch.Tensor):
            return self.encoder.hidden_states(self.inputs(waves))
        each = [self.encoder.hidden_states(self.inputs(wave[None])) for wave in waves]
        return [pad_sequence([states[k][0] for states in each], batch_first=True) for k in range(self.layers + 1)]

    def frames_of(self, samples: int) -> int:
        """Return how many frames a waveform of so many samples gives.

        The log-Mel front end needs whole windows of 25 ms, two for a frame.
        """
        if self.mean is None:
            return self.encoder.shape.frames(samples)
        return max(0, (samples - 400) // 160 + 1) // LOGMEL_STACK

    def inputs(self, waves: torch.Tensor) -> torch.Tensor:
        """Return what the encoder reads: the waveform, or normalised log-Mel frames [batch, frames, 80].

        Raises:
            InputError: When the waveforms are too short for a frame.
        """
        if self.frames_of(waves.shape[1]) < 1:
            raise InputError(
                "a waveform too short for a frame",
                where="waves",
                value=waves.shape[1],
                remedy="give at least 400 samples (25 ms) to a waveform encoder, 560 to a log-Mel one",
            )
        if self.mean is None or self.deviation is None:
            return waves
        bins = [kaldi.fbank(wave[None] * FULL_SCALE, num_mel_bins=LOGMEL_BINS, dither=0.0) for wave in waves]
        frames = torch.stack([b[: len(b) // LOGMEL_STACK * LOGMEL_STACK].reshape(-1, LOGMEL_FEATURES) for b in bins])
        return (frames - self.mean) / self.deviation

    def get_downsample_rates(self, key: str = "hidden_states") -> int:
        """Return the samples between two frames, as S3PRL asks for them."""
        return self.stride


def _check(waves: torch.Tensor | Sequence[torch.Tensor]) -> None:
    """Refuse what are not waveforms."""
    batch = isinstance(waves, torch.Tensor)
    each = [waves] if batch else list(waves)
    if not each or not all(isinstance(w, torch.Tensor) and w.is_floating_point() and w.ndim == 1 + batch for w in each):
        raise InputError(
            "not waveforms",
            where="waves",
            value=[tuple(getattr(w, "shape", ())) for w in each],
            remedy="give a float tensor [batch, samples] in [-1, 1] at 16 kHz, or a list of tensors [samples]",
        )


def load(path: str | Path) -> FeatureExtractor:
    """Return the feature extractor of a finished run; see `scaling.load_encoder`."""
    path = Path(path)
    if path.suffix == ".safetensors":
        from scaling.speech.export import read_safetensors

        return FeatureExtractor(read_safetensors(path)).eval()
    return FeatureExtractor(Weights.load(path)).eval()
