"""The shape of an encoder, and the frames that its front end makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scaling.errors import InputError, did_you_mean

SAMPLE_RATE = 16_000
"""Samples a second of every corpus."""
FRAME_STRIDE = 320
"""Samples between two encoder frames, for both front ends."""
FRAMES_PER_SECOND = SAMPLE_RATE // FRAME_STRIDE
"""Encoder frames a second: the unit of D."""

WAVEFORM_CONVS = ((512, 10, 5), *((512, 3, 2),) * 4, *((512, 2, 2),) * 2)
"""(channels, kernel, stride) of the seven convolutions of wav2vec 2.0 and HuBERT."""
LOGMEL_BINS = 40
LOGMEL_STACK = 2
LOGMEL_FEATURES = LOGMEL_BINS * LOGMEL_STACK
"""Two 10 ms frames of 40 log-Mel bins, stacked to one frame of 20 ms (MelHuBERT)."""

FRONTENDS = ("waveform", "logmel")
NORMS = ("post", "pre")

_WORDS = {"frontend": ("no such front end", FRONTENDS), "norm": ("no such place of the layer norm", NORMS)}
_COUNTS = ("layers", "width", "ffn", "heads", "position_kernel", "position_groups")
_MOST = 10**9
"""Beyond it a count is a slip, and FLOPs would leave the range of floating-point numbers."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """An encoder: front end, position convolution, Transformer layers.

    Example:
        >>> Shape(frontend="waveform", layers=12, width=384, ffn=768, heads=8).frames(222_400)
        694
    """

    layers: int
    """Transformer layers."""
    width: int
    """Width d of the residual stream."""
    ffn: int
    """Inner width of a feed-forward block."""
    heads: int
    """Attention heads; they divide the width."""
    frontend: str = "waveform"
    """`waveform`: the seven convolutions of wav2vec 2.0. `logmel`: stacked log-Mel features, no parameters."""
    position_kernel: int = 128
    """Frames that the convolutional position embedding spans."""
    position_groups: int = 16
    """Groups of that convolution; they divide the width."""
    norm: str = "post"
    """Layer norm after each block (`post`: Base of wav2vec 2.0 and HuBERT, the study) or before it (`pre`: Large)."""

    def __post_init__(self) -> None:
        for name in _COUNTS:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
                raise InputError(
                    f"not a whole number from 1 to {_MOST:,}",
                    where=f"shape.{name}",
                    value=value,
                    remedy="give a whole number",
                )
        for name, (what, words) in _WORDS.items():
            value = getattr(self, name)
            if value not in words:
                raise InputError(what, where=f"shape.{name}", value=value, remedy=did_you_mean(value, words))
        for name in ("heads", "position_groups"):
            if self.width % getattr(self, name):
                raise InputError(
                    f"does not divide the width {self.width}",
                    where=f"shape.{name}",
                    value=getattr(self, name),
                    remedy="choose a divisor of the width",
                )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Shape:
        """Return the shape that a mapping describes, refusing unknown and missing keys."""
        known = cls.__dataclass_fields__
        for key in values:
            if key not in known:
                raise InputError("unknown key in a shape", where="shape", value=key, remedy=did_you_mean(key, known))
        for key in ("layers", "width", "ffn", "heads"):
            if key not in values:
                raise InputError(
                    f"a shape lacks {key}",
                    where="shape",
                    value=dict(values),
                    remedy="give layers, width, ffn and heads",
                )
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the shape as plain values."""
        return dict(vars(self))

    def frames(self, samples: int) -> int:
        """Return how many encoder frames a crop of so many samples gives.

        The waveform front end drops the samples that its kernels cannot fill (4 s give 199 frames). A log-Mel
        crop is cut from features of the whole utterance, so it gives one frame a stride (4 s give 200).
        """
        if self.frontend == "logmel":
            return samples // FRAME_STRIDE
        for _, kernel, stride in WAVEFORM_CONVS:
            samples = (samples - kernel) // stride + 1 if samples >= kernel else 0
        return samples

    @property
    def features(self) -> int:
        """Values a frame that the front end gives."""
        return LOGMEL_FEATURES if self.frontend == "logmel" else WAVEFORM_CONVS[-1][0]

    def __str__(self) -> str:
        return f"{self.layers}x{self.width}"
