"""Ladders of encoder sizes: shapes that hit given parameter counts along one aspect."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from scaling.cost import params_by_part
from scaling.errors import InputError, did_you_mean
from scaling.shape import Shape
from scaling.units import format_count, parse_count

ASPECTS = {"slim": (32.0, 2.0), "wide": (213.0, 3.2)}
"""Name -> (width / layers, ffn / width): the study's Slim (12 x 384, 768) and Small (3 x 640, 2048)."""
HEAD_WIDTH = 48
"""Target width of an attention head (Slim's)."""
MAX_LAYERS, MAX_WIDTH = 96, 65_536
LARGEST = 1e12
"""Sizes beyond it are taken for a slip in the unit."""
WIDTH_STEPS = ((32, 2), (128, 4), (256, 8), (float("inf"), 16))
"""(below, step): the widths that a ladder tries."""
SIZE_TOLERANCE = 0.12
"""Relative error of N within which a shape counts as the size asked for."""

POSITION = {"waveform": (128, 16), "logmel": (32, 0)}
"""Front end -> (kernel, groups) of the position convolution in a ladder; 0 groups is one a channel (depthwise),
which keeps the convolution from outweighing the layers of a tiny model."""

Family = tuple[str, float, int, int]
"""Front end, ffn / width, kernel and groups of the position convolution."""


def parse_aspect(value: object, *, where: object = None) -> tuple[float, float]:
    """Return (width / layers, ffn / width) from `slim`, `wide` or a ratio of width to depth.

    A ratio given as a number keeps Slim's feed-forward factor of 2.
    """
    if isinstance(value, str) and value in ASPECTS:
        return ASPECTS[value]
    if isinstance(value, str) and not value[:1].isdigit():
        raise InputError(
            "no such aspect",
            where=where,
            value=value,
            remedy=did_you_mean(value, ASPECTS) + ", or a ratio of width to depth such as 64",
        )
    return parse_count(value, where=where), ASPECTS["slim"][1]


def log_spaced(low: float, high: float, count: int) -> list[float]:
    """Return `count` values from low to high at equal ratios.

    Example:
        >>> [round(x) for x in log_spaced(1, 100, 3)]
        [1, 10, 100]
    """
    if count == 1:
        return [math.sqrt(low * high)]
    return [low * (high / low) ** (i / (count - 1)) for i in range(count)]


def shape_for(
    size: float,
    *,
    aspect: object = "slim",
    frontend: str = "waveform",
    position: tuple[int, int] | None = None,
    where: object = None,
) -> Shape:
    """Return the shape of one family whose N is nearest to a size.

    Among depths and widths (even up to 32, multiples of 4 up to 128, of 8 up to 256, of 16 above, as far as the
    groups of the position convolution allow), takes the least `|log(width / layers / aspect)| + 4 |log(N / size)|`.

    Args:
        size: Target N (front end + encoder).
        aspect: `slim`, `wide` or a ratio of width to depth.
        frontend: `waveform` or `logmel`.
        position: Kernel and groups of the position convolution, 0 groups for depthwise.
        where: The place that a message names.

    Raises:
        InputError: When no shape comes within 12 % of the size: below the smallest, as a rule.

    Example:
        >>> str(shape_for(20e6))
        '12x384'
    """
    ratio, ffn_factor = parse_aspect(aspect, where=where)
    if size > LARGEST:
        raise InputError("beyond any shape", where=where, value=format_count(size), remedy="mind the unit: 20M, 1.5G")
    kernel, groups = position or POSITION[frontend]
    family = (frontend, ffn_factor, kernel, groups)
    shape = _nearest(family, ratio, size)
    if shape is None:
        if not _widths(groups or 1):
            raise InputError(
                "no width of a ladder has so many groups", where=where, value=groups, remedy="use fewer in position"
            )
        smallest = sum(_params_of_width(family, _widths(groups or 1)[0]))
        raise InputError(
            f"no {frontend} shape of this size",
            where=where,
            value=format_count(size),
            remedy=f"the smallest has {format_count(smallest)} parameters: ask for more"
            + (", or use frontend: logmel" if frontend == "waveform" else ""),
        )
    return shape


@lru_cache(maxsize=4096)
def _nearest(family: Family, ratio: float, size: float) -> Shape | None:
    """Return the shape of a family that is nearest to a size, None where all are too far."""
    widths = _widths(family[3] or 1)

    def params(layers: int, width: int) -> int:
        fixed, layer = _params_of_width(family, width)
        return fixed + layers * layer

    best: tuple[float, int, int] | None = None
    for layers in range(1, MAX_LAYERS + 1):
        # N grows with the width: begin at the first one that is not too small
        first = bisect_left(widths, size * math.exp(-SIZE_TOLERANCE), key=lambda width: params(layers, width))
        for width in widths[first:]:
            error = math.log(params(layers, width) / size)
            if error > SIZE_TOLERANCE:
                break
            score = abs(math.log(width / layers / ratio)) + 4 * abs(error)
            if best is None or score < best[0]:
                best = score, layers, width
    if best is None:
        return None
    _, layers, width = best
    return replace(_one_layer(family, width), layers=layers, heads=_heads(width))


@lru_cache(maxsize=65_536)
def _params_of_width(family: Family, width: int) -> tuple[int, int]:
    """Return the parameters of a width that do not depend on the depth, and those of a layer."""
    parts = params_by_part(_one_layer(family, width))
    return sum(parts.values()) - parts["layers"], parts["layers"]


def _one_layer(family: Family, width: int) -> Shape:
    frontend, ffn_factor, kernel, groups = family
    return Shape(
        frontend=frontend,
        layers=1,
        width=width,
        ffn=round(ffn_factor * width),
        heads=1,
        position_kernel=kernel,
        position_groups=groups or width,
    )


@lru_cache(maxsize=16)
def _widths(groups: int) -> tuple[int, ...]:
    """Return the widths that a ladder tries, as far as so many groups divide them."""
    widths = [WIDTH_STEPS[0][1]]
    while widths[-1] < MAX_WIDTH:
        widths.append(widths[-1] + next(step for below, step in WIDTH_STEPS if widths[-1] < below))
    return tuple(width for width in widths if width % groups == 0)


def ladder(
    sizes: Sequence[float],
    *,
    aspect: object = "slim",
    frontend: str = "waveform",
    position: tuple[int, int] | None = None,
    where: object = None,
) -> list[Shape]:
    """Return one shape for each size, refusing sizes that fall on the same shape.

    Raises:
        InputError: When a size has no shape, or two sizes give one shape.

    Example:
        >>> [str(shape) for shape in ladder([8e3, 64e3, 512e3], frontend="logmel")]
        ['1x24', '2x60', '4x124']
    """
    shapes: list[Shape] = []
    for size in sizes:
        shape = shape_for(size, aspect=aspect, frontend=frontend, position=position, where=where)
        if shape in shapes[-1:]:
            raise InputError(
                f"two sizes give one shape, {shape}",
                where=where,
                value=format_count(size),
                remedy="use fewer sizes, or a wider span",
            )
        shapes.append(shape)
    return shapes


def _heads(width: int) -> int:
    """Return the divisor of the width that brings a head nearest to HEAD_WIDTH."""
    divisors = [h for h in range(1, width + 1) if width % h == 0]
    return min(divisors, key=lambda h: (abs(math.log(width / h / HEAD_WIDTH)), h))
