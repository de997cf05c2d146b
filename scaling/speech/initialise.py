"""The weights that a run starts from: those of fairseq's and torchaudio's HuBERT pre-training."""

from __future__ import annotations

import math

import torch
from torch import nn

from scaling.speech.encoder import Encoder
from scaling.speech.frontend import ConvLayer

LINEAR_STD = 0.02
"""Standard deviation of the Transformer's matrices, as in BERT."""


@torch.no_grad()
def initialise(encoder: Encoder) -> None:
    """Draw an encoder's weights from torch's current generator.

    Convolutions: normal, std sqrt(2 / fan-in). Projection: torch's default. Position convolution: normal, std
    sqrt(4 / (width kernel)), before its weight norm. The Transformer's matrices: normal, std 0.02. Biases zero.
    """
    for module in encoder.modules():
        if isinstance(module, nn.LayerNorm | nn.GroupNorm | nn.Linear):
            module.reset_parameters()
        elif isinstance(module, ConvLayer):
            nn.init.kaiming_normal_(module.conv.weight)
    transformer = encoder.encoder.transformer
    conv = transformer.pos_conv_embed.conv
    std = math.sqrt(4 / (conv.out_channels * conv.kernel_size[0]))
    conv.weight = torch.empty_like(conv.weight).normal_(0.0, std)  # weight norm splits it into direction and gain
    conv.bias.zero_()
    for module in transformer.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, LINEAR_STD)
            module.bias.zero_()
