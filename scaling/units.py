"""Quantities as people write them: 8k, 1M, 1e18, 12h.

YAML 1.1 reads `1e18` as a string, so every number of a grid passes through here.
"""

from __future__ import annotations

import math
import re

from scaling.errors import InputError

_COUNT = re.compile(r"\s*([0-9][0-9_]*\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([kKMGBTPE]?)\s*$")
_SCALE = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_LEAST, _MOST = 1e-60, 1e60
"""Beyond them nothing is a quantity, and products of a few would leave the range of floating-point numbers."""
_TIME = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*(s|sec|m|min|h|d)?\s*$")
_SECONDS = {None: 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def parse_count(value: object, *, where: object = None) -> float:
    """Return a positive number from 28000, 28k, 1.5M, 1e18 or "1e18".

    Args:
        value: A number, or a string with an optional suffix k, M, G (or B), T, P, E.
        where: The place that a message names.

    Raises:
        InputError: When the value is not a positive finite number.

    Example:
        >>> parse_count("28k"), parse_count("1e18"), parse_count(5)
        (28000.0, 1e+18, 5.0)
    """
    number = _as_float(value)
    if isinstance(value, str) and (match := _COUNT.match(value)):
        number = float(match[1].replace("_", "")) * _SCALE[match[2]]
    return _positive(number, value, "number", where, "write it as 28000, 28k, 1.5M or 1e18")


def parse_seconds(value: object, *, where: object = None) -> float:
    """Return seconds from 90, "90s", "10m", "12h" or "2d".

    Raises:
        InputError: When the value is not a positive time. Zero is refused, since SLURM takes it as unlimited.

    Example:
        >>> parse_seconds("1.5h")
        5400.0
    """
    seconds = _as_float(value)
    if isinstance(value, str) and (match := _TIME.match(value)):
        seconds = float(match[1]) * _SECONDS[match[2]]
    return _positive(seconds, value, "time", where, "write seconds, or 90s, 10m, 12h, 2d")


def _as_float(value: object) -> float:
    """Return a number as it is, not a number for what is none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _positive(number: float, value: object, kind: str, where: object, remedy: str) -> float:
    """Return a number that is positive and of a size that quantities have."""
    if not math.isfinite(number) or number <= 0:
        raise InputError(f"not a positive {kind}", where=where, value=value, remedy=remedy)
    if not _LEAST <= number <= _MOST:
        raise InputError(f"beyond any {kind} here", where=where, value=value, remedy=remedy)
    return number


def format_count(number: float) -> str:
    """Return a count to three digits with its suffix.

    Example:
        >>> format_count(28012), format_count(1.06e6), format_count(317e6)
        ('28k', '1.06M', '317M')
    """
    if abs(number) >= 0.9995e15:
        return format_flops(number)
    for scale, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= 0.9995 * scale:
            return f"{float(f'{number / scale:.3g}'):g}{suffix}"
    return f"{number:.3g}"


def format_flops(flops: float) -> str:
    """Return FLOPs in powers of ten to three digits.

    Example:
        >>> format_flops(4e11), format_flops(1.0037e12)
        ('4e11', '1e12')
    """
    mantissa, _, exponent = f"{flops:.2e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}" if exponent else mantissa  # inf has none


def format_hours(hours: float) -> str:
    """Return hours of audio with the unit that reads best.

    Example:
        >>> format_hours(0.25), format_hours(27.31), format_hours(17289)
        ('15 min', '27.3 h', '17,289 h')
    """
    if hours < 1:
        return f"{hours * 60:.3g} min"
    return f"{hours:.3g} h" if hours < 1000 else f"{hours:,.0f} h"


def format_seconds(seconds: float) -> str:
    """Return a duration with the unit that reads best.

    Example:
        >>> format_seconds(42), format_seconds(540), format_seconds(30000)
        ('42 s', '9.0 min', '8.3 h')
    """
    if seconds < 100:
        return f"{seconds:.3g} s"
    if seconds < 6000:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:,.1f} h"
