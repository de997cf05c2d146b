"""The seven convolutions of wav2vec 2.0 and HuBERT, and the matrix products that a CPU does fast.

On a CPU the crops of a batch, padded to whole frames, stand one after another as one long matrix of rows (time) and
columns (channels), in which a convolution is one or two matrix products without any copy:

    kernel 3, stride 2:  y[t] = [x[2t], x[2t+1]] W01 + x[2t+2] W2

The rows between two crops are computed and thrown away (1 frame a crop). The first layer's norm goes into its kernel,
since the mean and variance of a channel follow from those of the 10 samples under the kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scaling.shape import FRAME_STRIDE, WAVEFORM_CONVS

FAST_PRODUCT = 2**18
"""Multiply-adds from which a product in float32 is worth a call of our own: below, the call's overhead counts."""


def on_cpu(x: Tensor) -> bool:
    """Return whether to go the way written for CPUs; a compiler or tracer is given the plain operators."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.jit.is_tracing()


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return a @ b + bias; float32 through oneDNN, twice as fast as MKL where that knows no AVX-512 (AMD)."""
    if a.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        if not (b.is_contiguous() or b.t().is_contiguous()):
            b = b.contiguous()  # oneDNN has no fast kernel for a part of a matrix on this side
        return torch.ops.mkldnn._linear_pointwise(a, b.t(), bias, "none", [], "")
    return a @ b if bias is None else torch.addmm(bias, a, b)


def linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """Return what the layer makes of [crops, frames, features], by our product where that is faster."""
    weight = layer.weight
    large = x.dtype == weight.dtype == torch.float32 and x.numel() * len(weight) >= FAST_PRODUCT
    if large and on_cpu(x) and not torch.is_autocast_enabled("cpu"):
        return _Linear.apply(x.flatten(0, 1), weight, layer.bias).unflatten(0, x.shape[:2])
    return layer(x)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight.t(), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return product(grad, weight) if ctx.needs_input_grad[0] else None, product(grad.t(), x), grad.sum(0)


class _ConvGelu(torch.autograd.Function):
    """gelu(convolution): [rows, channels], [channels_out, kernel * channels] -> [rows / stride, channels_out]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        width = stride * x.shape[1]
        y = product(x.view(-1, width), weight[:, :width].t())
        if weight.shape[1] > width:  # one tap more than the stride; the last row has no successor and is thrown away
            y[:-1] += product(x[stride::stride], weight[:, width:].t())
        ctx.save_for_backward(x, weight, y)
        ctx.stride = stride
        return F.gelu(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, y = ctx.saved_tensors
        stride, width = ctx.stride, ctx.stride * x.shape[1]
        grad = torch.ops.aten.gelu_backward(grad, y)
        dx = product(grad, weight[:, :width]).view_as(x)
        dw = product(grad.t(), x.view(-1, width))
        if weight.shape[1] > width:
            dx[stride::stride] += product(grad[:-1], weight[:, width:])
            dw = torch.cat([dw, product(grad[:-1].t(), x[stride::stride])], dim=1)
        return dx, dw, None


class ConvLayer(nn.Module):
    """One convolution without bias, group norm by channel in the first, GELU."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int, *, norm: bool) -> None:
        super().__init__()
        self.layer_norm = nn.GroupNorm(channels, channels) if norm else None
        self.conv = nn.Conv1d(channels_in, channels, kernel, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Shapes: [crops, channels_in, frames] -> [crops, channels, frames]."""
        x = self.conv(x)
        return F.gelu(x if self.layer_norm is None else self.layer_norm(x))


class FrontEnd(nn.Module):
    """Waveform [crops, samples] -> features [crops, frames, 512]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_layers = nn.ModuleList()
        channels_in = 1
        for channels, kernel, stride in WAVEFORM_CONVS:
            self.conv_layers.append(ConvLayer(channels_in, channels, kernel, stride, norm=channels_in == 1))
            channels_in = channels

    def forward(self, waves: Tensor) -> Tensor:
        """Return the features of every frame."""
        if on_cpu(waves):
            return self._rows(waves)
        x = waves[:, None]
        for layer in self.conv_layers:
            x = layer(x)
        return x.transpose(1, 2)

    def _rows(self, waves: Tensor) -> Tensor:
        crops, length = len(waves), waves.shape[1]
        for _, kernel, stride in WAVEFORM_CONVS:
            length = (length - kernel) // stride + 1
        x = self._first(waves, length + 1)
        rest: Any = self.conv_layers[1:]
        for layer in rest:
            x = _ConvGelu.apply(x, layer.conv.weight.transpose(1, 2).flatten(1).to(x.dtype), layer.conv.stride[0])
        return x.unflatten(0, (crops, -1))[:, :-1]

    def _first(self, waves: Tensor, frames: int) -> Tensor:
        """Return the first layer's rows of crops padded to so many frames."""
        layer: Any = self.conv_layers[0]
        (kernel,), (stride,) = layer.conv.kernel_size, layer.conv.stride
        rows = frames * FRAME_STRIDE // stride
        taps = waves.unfold(1, kernel, stride).double()  # [crops, rows, kernel]
        mean = taps.mean(1, keepdim=True)
        covariance = (taps - mean).transpose(1, 2) @ (taps - mean) / taps.shape[1]
        weight = layer.conv.weight.squeeze(1)  # [channels, kernel]
        variance = ((weight.double() @ covariance) * weight).sum(2)  # [crops, channels]
        scale = layer.layer_norm.weight / (variance + layer.layer_norm.eps).sqrt()
        padded = F.pad(waves, (0, max(0, (rows - 1) * stride + kernel - waves.shape[1])))
        taps = padded.unfold(1, kernel, stride)[:, :rows] - mean
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else waves.dtype
        folded = (weight * scale[..., None]).transpose(1, 2)  # [crops, kernel, channels]
        bias = layer.layer_norm.bias.to(dtype)
        y = torch.baddbmm(bias, taps.to(dtype), folded.to(dtype))
        return F.gelu(y).flatten(0, 1)
