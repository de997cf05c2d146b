"""The encoder, built from torchaudio's parts, and its masking.

With the waveform front end its state loads into `torchaudio.models.wav2vec2_model` and back.
"""

from __future__ import annotations

import torch
from torch import nn

from scaling.shape import LOGMEL_FEATURES, WAVEFORM_CONVS, Shape
from scaling.speech.audiolib import components


class Encoder(nn.Module):
    """Front end, projection, position convolution and Transformer layers (layer norm after each block).

    Shapes: waveform [batch, samples] or log-Mel [batch, frames, 80] -> [batch, frames, width].
    """

    def __init__(self, shape: Shape, *, dropout: float = 0.0, layer_drop: float = 0.0) -> None:
        """Build the encoder with random weights from torch's current generator."""
        super().__init__()
        self.shape = shape
        self.feature_extractor: nn.Module | None = None
        features = LOGMEL_FEATURES
        if shape.frontend == "waveform":
            convs = list(WAVEFORM_CONVS)
            self.feature_extractor = components._get_feature_extractor("group_norm", convs, bias=False)
            features = convs[-1][0]
        self.encoder = components._get_encoder(
            in_features=features,
            embed_dim=shape.width,
            dropout_input=dropout,
            pos_conv_kernel=shape.position_kernel,
            pos_conv_groups=shape.position_groups,
            num_layers=shape.layers,
            num_heads=shape.heads,
            attention_dropout=dropout,
            ff_interm_features=shape.ffn,
            ff_interm_dropout=0.0,
            dropout=dropout,
            layer_norm_first=False,
            layer_drop=layer_drop,
        )

    def forward(
        self,
        inputs: torch.Tensor,
        *,
        mask: torch.Tensor | None = None,
        mask_vector: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the last layer's output, the masked frames replaced before the position convolution."""
        x = inputs
        if self.feature_extractor is not None:
            x, _ = self.feature_extractor(x, None)
        x = self.encoder.feature_projection(x)
        if mask is not None and mask_vector is not None:
            x = torch.where(mask[..., None], mask_vector.to(x.dtype), x)
        return self.encoder.transformer(x)
