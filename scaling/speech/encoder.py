"""The encoder of wav2vec 2.0 and HuBERT: front end, projection, position convolution, Transformer layers.

Parameters are named and shaped as in `torchaudio.models.wav2vec2_model`: with the waveform front end its state
loads here and ours there. Forward passes are written for speed and give the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scaling.shape import LOGMEL_FEATURES, WAVEFORM_CONVS, Shape
from scaling.speech.frontend import FrontEnd, linear, on_cpu


@dataclass(frozen=True)
class Encoded:
    """What a pass of the encoder gives."""

    hidden: Tensor
    """Output of the last layer, [crops, frames, width]."""
    features: Tensor
    """What the projection reads, layer-normed: [crops, frames, 512], or 80 values with log-Mel."""
    penalty: Tensor
    """Mean square of the convolutions' output in float32, a scalar; zero with log-Mel."""


class Encoder(nn.Module):
    """Waveform [crops, samples] or log-Mel [crops, frames, 80] -> hidden [crops, frames, width]."""

    def __init__(self, shape: Shape, *, dropout: float = 0.0, feature_grad: float = 1.0) -> None:
        """Build the encoder with random weights from torch's current generator.

        Args:
            shape: Sizes, front end and order of the norms.
            dropout: Of the projection, the attention weights and the output of every block.
            feature_grad: Factor of the gradient that flows into the front end.
        """
        super().__init__()
        self.shape, self.feature_grad = shape, feature_grad
        waveform = shape.frontend == "waveform"
        self.feature_extractor = FrontEnd() if waveform else None
        self.encoder = _Body(shape, WAVEFORM_CONVS[-1][0] if waveform else LOGMEL_FEATURES, dropout)

    def forward(
        self, inputs: Tensor, *, mask: Tensor | None = None, mask_vector: Tensor | None = None, skip: Sequence[int] = ()
    ) -> Encoded:
        """Encode a batch.

        Args:
            inputs: Waveform or log-Mel features.
            mask: [crops, frames] bool, the frames that `mask_vector` stands for from the position convolution on.
            mask_vector: [width].
            skip: Numbers of the layers that this pass leaves out.
        """
        features, penalty = self._features(inputs)
        features, x = self.encoder.feature_projection(features)
        if mask is not None and mask_vector is not None:
            x = torch.where(mask[..., None], mask_vector.to(x.dtype), x)
        return Encoded(hidden=self.encoder.transformer(x, skip)[-1], features=features, penalty=penalty)

    def hidden_states(self, inputs: Tensor) -> list[Tensor]:
        """Return the first layer's input and every layer's output, nothing masked: layers + 1 tensors."""
        _, x = self.encoder.feature_projection(self._features(inputs)[0])
        return self.encoder.transformer(x)[:-1]

    def _features(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        if self.feature_extractor is None:
            return inputs, inputs.new_zeros(())
        features = self.feature_extractor(inputs)
        if self.feature_grad != 1.0 and features.requires_grad:
            features = _ScaleGradient.apply(features, self.feature_grad)
        return features, features.float().square().mean()


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None


class _Body(nn.Module):
    """Holds what torchaudio calls the encoder: all but the front end."""

    def __init__(self, shape: Shape, features: int, dropout: float) -> None:
        super().__init__()
        self.feature_projection = Projection(features, shape.width, dropout)
        self.transformer = Transformer(shape, dropout)


class Projection(nn.Module):
    """Features -> (layer-normed features, [crops, frames, width])."""

    def __init__(self, features: int, width: int, dropout: float) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(features)
        self.projection = nn.Linear(features, width)
        self.dropout = dropout

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the normed features and their projection."""
        normed = self.layer_norm(x)
        return normed, F.dropout(linear(normed, self.projection), self.dropout, self.training)


class PositionConv(nn.Module):
    """The convolutional position embedding: [crops, frames, width] -> the same."""

    def __init__(self, width: int, kernel: int, groups: int) -> None:
        super().__init__()
        conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=groups)
        self.conv = nn.utils.parametrizations.weight_norm(conv, dim=2)

    def forward(self, x: Tensor) -> Tensor:
        """Return what is added to every frame."""
        frames = x.shape[1]
        x = x.transpose(1, 2)
        by_channel = self.conv.groups == self.conv.in_channels
        x = self._transformed(x) if by_channel and on_cpu(x) else self.conv(x)[..., :frames]
        return F.gelu(x).transpose(1, 2)

    def _transformed(self, x: Tensor) -> Tensor:
        """Convolve channel by channel with Fourier transforms, 2 to 5 times as fast as a CPU's convolution."""
        frames, (kernel,) = x.shape[2], self.conv.kernel_size
        length, start = frames + kernel, kernel - 1 - kernel // 2
        weight = torch.fft.rfft(self.conv.weight[:, 0].flip(1).float(), n=length)
        y = torch.fft.irfft(torch.fft.rfft(x.float(), n=length) * weight, n=length)[..., start : start + frames]
        return y.to(x.dtype) + self.conv.bias[:, None].to(x.dtype)


class Transformer(nn.Module):
    """Position embedding and layers; the norm stands before the layers, or after them where they norm first."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.norm_first = shape.norm == "pre"
        self.dropout = dropout
        self.pos_conv_embed = PositionConv(shape.width, shape.position_kernel, shape.position_groups)
        self.layer_norm = nn.LayerNorm(shape.width)
        self.layers = nn.ModuleList(Layer(shape, dropout) for _ in range(shape.layers))

    def forward(self, x: Tensor, skip: Sequence[int] = ()) -> list[Tensor]:
        """Return the first layer's input, the output of every layer that is not skipped, and the result."""
        x = x + self.pos_conv_embed(x)
        if not self.norm_first:
            x = self.layer_norm(x)
        x = F.dropout(x, self.dropout, self.training)
        states = [x]
        for number, layer in enumerate(self.layers):
            if number not in skip:
                x = layer(x)
                states.append(x)
        states.append(self.layer_norm(x) if self.norm_first else x)
        return states


class Layer(nn.Module):
    """Self-attention and feed-forward, each with a residual and a norm: [crops, frames, width] -> the same."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.norm_first = shape.norm == "pre"
        self.dropout = dropout
        self.attention = SelfAttention(shape.width, shape.heads, dropout)
        self.layer_norm = nn.LayerNorm(shape.width)
        self.feed_forward = FeedForward(shape.width, shape.ffn, dropout)
        self.final_layer_norm = nn.LayerNorm(shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        if self.norm_first:
            x = x + F.dropout(self.attention(self.layer_norm(x)), self.dropout, self.training)
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(x + F.dropout(self.attention(x), self.dropout, self.training))
        return self.final_layer_norm(x + self.feed_forward(x))


class SelfAttention(nn.Module):
    """Multi-head self-attention over all frames of a crop."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.q_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [crops, frames, width] -> the same."""
        parts = (self.q_proj, self.k_proj, self.v_proj)
        q, k, v = (linear(x, part).unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)
        x = F.scaled_dot_product_attention(q, k, v, dropout_p=self.dropout if self.training else 0.0)
        return linear(x.transpose(1, 2).flatten(2), self.out_proj)


class FeedForward(nn.Module):
    """Linear, GELU, linear."""

    def __init__(self, width: int, ffn: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.intermediate_dense = nn.Linear(width, ffn)
        self.output_dense = nn.Linear(ffn, width)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [crops, frames, width] -> the same."""
        x = linear(F.gelu(linear(x, self.intermediate_dense)), self.output_dense)
        return F.dropout(x, self.dropout, self.training)
