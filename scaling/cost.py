r"""What a model costs: parameters and FLOPs by part, and the updates that a budget buys.

Conventions, the same everywhere:

* A multiply-add is 2 FLOPs. Matrix products and convolutions count; norms, activations, softmax and
  biases do not.
* Training costs 3 x the forward pass (the backward pass is 2 x).
* N is what is kept after pre-training: front end + encoder. The objective's head, quantiser and mask embedding
  are apart. The study's published counts are totals.
* Frames are those that the front end really makes; attention is counted at its quadratic cost. Log-Mel
  features are data preparation, made once and read from disk, so they cost nothing here.
* The head is counted at the masked frames, where its loss is taken.

For d = width, f = ffn, T frames, position kernel k in g groups, one layer:

    forward = 2 T (4 d^2 + 2 d f) + 4 T^2 d              position = 2 (T + [k even]) k d^2 / g

Source: the study's equal-budget rule (arXiv 2409.16295), worked out from its update counts.
"""

from __future__ import annotations

from dataclasses import dataclass

from scaling.errors import InputError
from scaling.shape import WAVEFORM_CONVS, Shape
from scaling.units import format_flops

BACKWARD_FACTOR = 2
"""FLOPs of a backward pass over those of its forward pass."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What an objective adds to the encoder: prediction head, quantiser, mask embedding."""

    params: int
    """Trainable parameters."""
    flops_per_frame: int
    """FLOPs of the forward pass at one masked frame."""

    @classmethod
    def of_classes(cls, shape: Shape, *, dim: int, classes: int) -> Head:
        """Return HuBERT's head: a projection to `dim`, one embedding a class, and the mask embedding.

        Example:
            >>> Head.of_classes(Shape(layers=12, width=384, ffn=768, heads=8), dim=256, classes=500).params
            226944
        """
        d = shape.width
        return cls(params=d * dim + dim + classes * dim + d, flops_per_frame=2 * dim * (d + classes))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a trainer says of one run: the sizes that a plan needs."""

    params: float
    """N."""
    flops_per_step: float
    """Training FLOPs of one optimiser step."""
    frames_per_step: float
    """Units of data (encoder frames, tokens, samples) in one optimiser step."""
    params_by_part: dict[str, int] | None = None
    """Parameters by part, where the trainer knows them."""


def params_by_part(shape: Shape, head: Head | None = None) -> dict[str, int]:
    """Return trainable parameters by part: frontend, projection, position, layers, and head with its mask vector.

    Example:
        >>> slim = Shape(frontend="waveform", layers=12, width=384, ffn=768, heads=8)
        >>> round(sum(params_by_part(slim, Head.of_classes(slim, dim=256, classes=500)).values()) / 1e6, 2)
        20.01
    """
    d, f = shape.width, shape.ffn
    frontend, features = 0, shape.features
    if shape.frontend == "waveform":
        channels_in = 1
        for channels, kernel, _ in WAVEFORM_CONVS:
            frontend += channels * channels_in * kernel
            channels_in = channels
        frontend += 2 * WAVEFORM_CONVS[0][0]  # group norm after the first convolution
    layer = (4 * d * d + 4 * d) + (2 * d * f + f + d) + 4 * d  # attention, feed-forward, two norms
    parts = {
        "frontend": frontend,
        "projection": 2 * features + features * d + d,
        # kernel in weight norm (direction, one gain a tap) and bias, then the norm before or after the layers
        "position": shape.position_kernel * (d * d // shape.position_groups + 1) + d + 2 * d,
        "layers": shape.layers * layer,
    }
    if head is not None:
        parts["head"] = head.params
    return parts


def params_kept(shape: Shape) -> int:
    """Return N: front end + encoder."""
    return sum(params_by_part(shape).values())


def forward_flops(shape: Shape, samples: int, *, head: Head | None = None, masked: int | None = None) -> dict[str, int]:
    """Return FLOPs of one forward pass over one crop, by part.

    Args:
        shape: The encoder.
        samples: Samples in the crop.
        head: The prediction head, if it is to be counted.
        masked: Frames at which the head is computed; all frames when not given.

    Returns:
        FLOPs of frontend, projection, position, linear (attention projections and feed-forward), attention
        (scores and their product with the values), and head where given.

    Raises:
        InputError: When the crop is too short for a single frame.

    Example:
        >>> base = Shape(frontend="waveform", layers=12, width=768, ffn=3072, heads=12)
        >>> round(sum(forward_flops(base, 15 * 16000).values()) / 1e9)
        229
    """
    T, d = shape.frames(samples), shape.width
    if T < 1:
        raise InputError("a crop gives no frame", where="crop", value=samples, remedy="use at least 400 samples")
    frontend, features = 0, shape.features
    if shape.frontend == "waveform":
        channels_in, length = 1, samples
        for channels, kernel, stride in WAVEFORM_CONVS:
            length = (length - kernel) // stride + 1
            frontend += 2 * kernel * channels_in * channels * length
            channels_in = channels
    k = shape.position_kernel
    flops = {
        "frontend": frontend,
        "projection": 2 * T * features * d,
        "position": 2 * (T + (k + 1) % 2) * k * d * d // shape.position_groups,
        "linear": shape.layers * 2 * T * (4 * d * d + 2 * d * shape.ffn),
        "attention": shape.layers * 4 * T * T * d,
    }
    if head is not None:
        flops["head"] = (T if masked is None else masked) * head.flops_per_frame
    return flops


def step_flops(
    shape: Shape,
    samples: int,
    crops: int,
    *,
    head: Head | None = None,
    masked: int | None = None,
    layer_drop: float = 0.0,
) -> int:
    """Return training FLOPs of one step on so many crops: 3 x the forward pass.

    Args:
        shape: The encoder.
        samples: Samples in a crop.
        crops: Crops in a step.
        head: The prediction head, if it is to be counted.
        masked: Frames of a crop at which the head is computed.
        layer_drop: Share of the layers that a step skips on average.

    Example:
        >>> slim = Shape(frontend="waveform", layers=12, width=384, ffn=768, heads=8)
        >>> f"{step_flops(slim, 222_400, 1) * 400_000:.3g}"
        '1.18e+17'
    """
    parts = forward_flops(shape, samples, head=head, masked=masked)
    skipped = round(layer_drop * (parts["linear"] + parts["attention"]))
    return (1 + BACKWARD_FACTOR) * crops * (sum(parts.values()) - skipped)


def updates_for(budget: float, flops_per_step: float) -> int:
    """Return the number of steps whose cost is nearest to a budget.

    Raises:
        InputError: When the budget is below one step.

    Example:
        >>> updates_for(1e12, 3.1e9)
        323
    """
    if budget < flops_per_step:
        raise InputError(
            f"a budget below one step of {format_flops(flops_per_step)} FLOPs",
            where="budget",
            value=format_flops(budget),
            remedy="raise the budget, or use a smaller model, batch or crop",
        )
    return max(1, round(budget / flops_per_step))


def masked_frames(frames: int, prob: float, length: int) -> int:
    """Return how many frames of a crop are masked: T (1 - (1 - p / l)^l), the share that overlapping spans cover.

    Spans of l frames start at a share p / l of the frames (HuBERT: p = 0.8, l = 10, 57 %). The number is the
    same for every crop, so that a run's FLOPs are exact.

    Example:
        >>> masked_frames(200, 0.8, 10)
        113
    """
    return max(1, round(frames * (1 - (1 - prob / length) ** length)))


def check_shares(crops: int, group: int, processes: int, *, where: object = "processes") -> None:
    """Refuse a number of processes that cannot share a batch equally.

    Args:
        crops: Crops of the batch.
        group: Crops that stay on one process, since the objective takes statistics over them.
        processes: Processes that share it.
        where: The place that a message names.

    Raises:
        InputError: With the numbers that can.
    """
    groups = crops // group
    if groups % processes:
        able = [n for n in range(1, groups + 1) if groups % n == 0]
        raise InputError(
            f"{processes} processes cannot share a batch of {crops} crops in groups of {group} equally",
            where=where,
            value=processes,
            remedy=f"use {', '.join(map(str, able[:12]))} processes (GPUs x nodes), another train.batch"
            + (", or a smaller objective_args.wav2vec2.group_seconds" if group > 1 else ""),
        )
