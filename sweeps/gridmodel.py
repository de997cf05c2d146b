"""The `model` section of a grid file: which sizes, and how a size becomes a shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scaling.errors import InputError
from scaling.shape import FRONTENDS, Shape
from scaling.sizes import POSITION, log_spaced, parse_aspect
from scaling.units import parse_count
from sweeps.grid import ModelGrid, Window
from sweeps.yamlfile import Section, mapping, number, one_of, real, several, whole

MOST_SIZES = 1000


def read_model(section: Section | None, built_in: bool, top: Section) -> ModelGrid:
    """Return the sizes and shapes that the section asks for.

    Raises:
        InputError: For a missing section, for none or two of sizes and shapes, or for a shape that cannot be built.
    """
    if section is None:
        raise InputError(
            "model is missing", where=top.where(), remedy="add model: {sizes: {from: 8k, to: 1M, count: 6}}"
        )
    frontend = section.take("frontend", one_of(*FRONTENDS), "waveform")
    position = section.section("position")
    kernel, groups = POSITION[frontend]
    if position is not None:
        kernel = position.take("kernel", whole, kernel)
        groups = position.take("groups", _groups, groups)
        position.done()
    aspect = section.take("aspect", lambda value, where: (parse_aspect(value, where=where), value)[1], "slim")
    shapes = section.take("shapes", several(mapping), ())
    sizes, window = _sizes(section)
    if (bool(sizes) + bool(shapes) + (window is not None)) != 1:
        raise InputError(
            "a model is given by sizes or by shapes, one of them",
            where=section.where(),
            remedy="write sizes: {from: 8k, to: 1M, count: 6}, sizes: [6M, 20M] or shapes: [{layers: 12, ...}]",
        )
    section.done()
    if built_in:
        position_of = (kernel, groups)
        shapes = tuple(read_shape(s, frontend, position_of, section.where(f"shapes.{i}")) for i, s in enumerate(shapes))
    return ModelGrid(
        frontend=frontend,
        aspect=aspect,
        position=(kernel, groups),
        sizes=sizes,
        window=window,
        shapes=shapes,
        where=section.where("sizes" if not shapes else "shapes"),
    )


def _groups(value: Any, where: str) -> int:
    """Return groups of the position convolution; 0 stands for `depthwise`, one a channel."""
    return 0 if value == "depthwise" else whole(value, where)


def read_shape(values: Mapping[str, Any], frontend: str, position: tuple[int, int], where: str) -> dict[str, Any]:
    """Return a shape written in a grid, with the grid's front end and position convolution where it names none."""
    try:
        defaults = {
            "frontend": frontend,
            "position_kernel": position[0],
            "position_groups": position[1] or values.get("width", 1),
        }
        return Shape.from_dict({**defaults, **values}).to_dict()
    except InputError as error:
        raise InputError(f"{error.where}: {error.what}", where=where, value=error.value, remedy=error.remedy) from None


def _sizes(section: Section) -> tuple[tuple[float, ...], Window | None]:
    """Return sizes, or a window that gives them for each budget."""
    if not isinstance(section.values.get("sizes"), dict):
        return tuple(sorted(section.take("sizes", several(number), ()))), None
    sizes = section.section("sizes")
    assert sizes is not None
    window = sizes.section("window")
    if window is None:
        low, high, count = sizes.take("from", number), sizes.take("to", number), sizes.take("count", _count)
        sizes.done()
        if low >= high or count < 2:
            raise InputError(
                "a ladder goes from a smaller to a larger size in at least two steps",
                where=sizes.where(),
                value={"from": low, "to": high, "count": count},
                remedy="write {from: 8k, to: 1M, count: 6}",
            )
        return tuple(log_spaced(low, high, count)), None
    sizes.done()
    result = Window(
        centre=window.take("centre", number),
        span=window.take("span", _span),
        count=window.take("count", _count),
        at=window.take("at", number, None),
        exponent=window.take("exponent", real, 0.5),
    )
    window.done()
    return (), result


def _count(value: Any, where: str) -> int:
    """Return how many sizes a ladder has."""
    count = whole(value, where)
    if count > MOST_SIZES:
        raise InputError("more sizes than a sweep can have", where=where, value=value, remedy="write 6")
    return count


def _span(value: Any, where: str) -> float:
    """Return a ratio, written 16x or 16."""
    ratio = parse_count(value[:-1] if isinstance(value, str) and value.endswith("x") else value, where=where)
    if ratio <= 1:
        raise InputError("a span is the ratio of the largest size to the smallest", where=where, value=value)
    return ratio
