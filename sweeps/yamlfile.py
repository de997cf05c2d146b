"""YAML read strictly: every value knows its line, every unknown key is refused with the nearest known one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from scaling.errors import InputError, did_you_mean
from sweeps.yamltext import parse_yaml

T = TypeVar("T")
_REQUIRED = object()


class Section:
    """A mapping of a YAML file whose keys are taken one by one.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "g.yaml"
        >>> _ = path.write_text("name: demo")
        >>> section = read_yaml(path)
        >>> section.take("name", text), section.take("seeds", text, None)
        ('demo', None)
        >>> section.done()
    """

    def __init__(self, values: Mapping[str, Any], lines: Mapping[str, int], file: Path, prefix: str = "") -> None:
        """Wrap a mapping; `lines` maps dotted keys to line numbers."""
        self.values, self._lines, self.file, self._prefix = values, lines, file, prefix
        self._known: set[str] = set()

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def where(self, key: str = "") -> str:
        """Return `file:line: dotted.key` for a message; the line is that of the section where the key has none."""
        dotted = f"{self._prefix}{key}".rstrip(".")
        known = dotted
        while known and known not in self._lines:
            known = known.rpartition(".")[0]
        place = f"{self.file}:{self._lines[known]}" if known else str(self.file)
        return f"{place}: {dotted}" if dotted else place

    def take(self, key: str, parse: Callable[[Any, str], T], default: Any = _REQUIRED) -> T:
        """Return `parse(value, where)`, or the default where the key is absent or null.

        Raises:
            InputError: When a required key is absent, or from `parse`.
        """
        self._known.add(key)
        if self.values.get(key) is None:
            if default is _REQUIRED:
                raise InputError(f"{key} is missing", where=self.where(), remedy=f"add {key}: ...")
            return default
        return parse(self.values[key], self.where(key))

    def section(self, key: str) -> Section | None:
        """Return the mapping under a key, or None where it is absent."""
        self._known.add(key)
        value = self.values.get(key)
        if value is None:
            return None
        mapping(value, self.where(key))
        return Section(value, self._lines, self.file, f"{self._prefix}{key}.")

    def rows(self, key: str) -> list[Section]:
        """Return the mappings of the list under a key, or of the one mapping there; none where it is absent."""
        self._known.add(key)
        value = self.values.get(key)
        if value is None:
            return []
        names = [f"{key}.{i}" for i in range(len(value))] if isinstance(value, list) else [key]
        rows = value if isinstance(value, list) else [value]
        return [
            Section(mapping(row, self.where(name)), self._lines, self.file, f"{self._prefix}{name}.")
            for name, row in zip(names, rows, strict=True)
        ]

    def done(self) -> None:
        """Refuse keys that nobody took."""
        for key in self.values:
            if key not in self._known:
                raise InputError("unknown key", where=self.where(str(key)), remedy=did_you_mean(key, self._known))


def read_yaml(path: Path) -> Section:
    """Return the top mapping of a YAML file.

    Raises:
        InputError: When the file is missing, not YAML, not a mapping, or gives a key twice.
    """
    return Section(*parse_yaml(path), path)


def text(value: Any, where: str) -> str:
    """Return a string that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise InputError("not a text", where=where, value=value, remedy="write a word")
    return value.strip()


def flag(value: Any, where: str) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise InputError("not true or false", where=where, value=value, remedy="write true or false")
    return value


def whole(value: Any, where: str) -> int:
    """Return a whole number of at least 1; `400k` and `1e5` are understood."""
    from scaling.units import parse_count

    number = parse_count(value, where=where)
    if number != int(number):
        raise InputError("not a whole number", where=where, value=value, remedy="write a whole number")
    return int(number)


def seed(value: Any, where: str) -> int:
    """Return a seed: a whole number of at least 0."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**31:
        raise InputError("not a seed", where=where, value=value, remedy="write a whole number from 0 on")
    return value


def number(value: Any, where: str) -> float:
    """Return a positive number."""
    from scaling.units import parse_count

    return parse_count(value, where=where)


def real(value: Any, where: str) -> float:
    """Return any finite number; text such as `-1e-1`, which YAML leaves as a string, is understood."""
    import math

    try:
        result = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        result = math.nan
    if not math.isfinite(result):
        raise InputError("not a number", where=where, value=value, remedy="write a number")
    return result


def share(value: Any, where: str) -> float:
    """Return a number from 0 to below 1."""
    result = real(value, where)
    if not 0 <= result < 1:
        raise InputError("not a share", where=where, value=value, remedy="write a number from 0 to below 1")
    return result


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Return a mapping."""
    if not isinstance(value, dict):
        raise InputError("not a mapping", where=where, value=value, remedy="write {key: value, ...}")
    return value


def one_of(*names: str) -> Callable[[Any, str], str]:
    """Return a parser that takes one of some words."""

    def parse(value: Any, where: str) -> str:
        if value not in names:
            raise InputError("not one of the known words", where=where, value=value, remedy=did_you_mean(value, names))
        return value

    return parse


def several(parse: Callable[[Any, str], T]) -> Callable[[Any, str], tuple[T, ...]]:
    """Return a parser of one value or a list of them, refusing an empty list and repeats."""

    def parse_all(value: Any, where: str) -> tuple[T, ...]:
        items = value if isinstance(value, list) else [value]
        if not items:
            raise InputError("an empty list", where=where, remedy="give at least one value")
        parsed = tuple(parse(item, where) for item in items)
        for i, item in enumerate(parsed):
            if item in parsed[:i]:
                raise InputError("a value given twice", where=where, value=items[i], remedy="keep one of them")
        return parsed

    return parse_all
