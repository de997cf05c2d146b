"""YAML text as plain values, with the line of each; what no grid can mean is refused where it stands.

PyYAML by itself keeps the last of two equal keys, makes dates of words and bytes of `!!binary`, unfolds aliases without
end, and fails without a line where a tag does not fit its value.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import InputError

if TYPE_CHECKING:
    import yaml

MAX_DEPTH = 50
MAX_VALUES = 100_000
"""Values of a file with its aliases written out: a few lines of aliases of aliases can stand for billions."""
QUOTE = "put it in quotes to make it a text"


def parse_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the mapping in a file, and dotted key -> line; items of a list have their number as key.

    Raises:
        InputError: When the file is missing, not YAML, not a mapping, gives a key twice, or holds what is neither
            text, number, true, false, null, list nor mapping.
    """
    import yaml

    text = _read_text(path)
    lines: dict[str, int] = {}
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        _Survey(loader, path, lines).visit(node, "", 0)
        values = loader.construct_document(node) if node else None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1 + text.count("\n", 0, getattr(error, "position", 0))
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise _not_yaml(problem, f"{path}:{line}") from None
    except RecursionError:
        raise _not_yaml("nested too deeply", str(path)) from None
    if not isinstance(values, dict):
        raise InputError("not a mapping of keys to values", where=path, remedy="begin with `name: my-sweep`")
    return values, lines


def _read_text(path: Path) -> str:
    """Return the text of a file."""
    try:
        data = path.read_bytes()
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = 1 + data.count(b"\n", 0, error.start)
        raise InputError("cannot be read (not UTF-8 text)", where=f"{path}:{line}", remedy="save it as UTF-8") from None
    except (OSError, ValueError) as error:  # ValueError: a path that no system knows
        raise InputError(
            f"cannot be read ({getattr(error, 'strerror', None) or error})",
            where=path,
            remedy="`scaling-sweep init quickstart` writes a grid to start from",
        ) from None


class _Survey:
    """A walk through a file's nodes before they become values."""

    def __init__(self, loader: yaml.SafeLoader, path: Path, lines: dict[str, int]) -> None:
        self.loader, self.path, self.lines = loader, path, lines
        self.count = 0

    def visit(self, node: yaml.Node | None, prefix: str, depth: int) -> None:
        """Note the lines of a node's keys and items, and refuse what cannot be a value."""
        import yaml

        self.count += 1
        if self.count > MAX_VALUES or depth > MAX_DEPTH:
            many = f"more than {MAX_VALUES:,} values" if depth <= MAX_DEPTH else f"nested more than {MAX_DEPTH} deep"
            raise InputError(many, where=self._place(node, prefix), remedy="mind aliases (*name) that hold each other")
        if isinstance(node, yaml.ScalarNode):
            self._value(node, prefix)
        elif isinstance(node, yaml.SequenceNode):
            self._refuse_tag(node, prefix, "seq")
            for i, item in enumerate(node.value):
                self.lines[f"{prefix}{i}"] = item.start_mark.line + 1
                self.visit(item, f"{prefix}{i}.", depth + 1)
        elif isinstance(node, yaml.MappingNode):
            self._refuse_tag(node, prefix, "map")
            self._mapping(node, prefix, depth)

    def _mapping(self, node: yaml.MappingNode, prefix: str, depth: int) -> None:
        import yaml

        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise InputError("a key that is no word", where=self._place(key, prefix), remedy="write key: value")
            merge = key.tag == "tag:yaml.org,2002:merge"
            name = "<<" if merge else str(self._value(key, prefix))
            if not name or name in seen:
                what, remedy = (
                    ("a key given twice", "keep one") if name else ("a key without a name", "write key: value")
                )
                raise InputError(what, where=self._place(key, f"{prefix}{name}."), remedy=remedy)
            seen.add(name)
            self.lines[f"{prefix}{name}"] = key.start_mark.line + 1
            self.visit(value, f"{prefix}{name}.", depth + 1)

    def _value(self, node: yaml.ScalarNode, prefix: str) -> Any:
        """Return the value of a scalar."""
        import yaml

        place = self._place(node, prefix)
        try:
            value = self.loader.construct_object(node)
            if isinstance(value, int):
                float(value)
            elif isinstance(value, str):
                value.replace("\0", "\ud800").encode()  # half characters and zero bytes are in no path
        except yaml.YAMLError:
            raise
        except (ValueError, LookupError, AttributeError, ArithmeticError):  # what PyYAML lets through
            kind = node.tag.rpartition(":")[2]
            raise InputError(f"not a usable {kind}", where=place, value=node.value, remedy=QUOTE) from None
        if value is not None and not isinstance(value, (str, int, float)):
            kind = type(value).__name__
            raise InputError(f"YAML reads this as {kind}", where=place, value=node.value, remedy=QUOTE)
        return value

    def _refuse_tag(self, node: yaml.Node, prefix: str, kind: str) -> None:
        if node.tag != f"tag:yaml.org,2002:{kind}":
            raise InputError(
                "not a plain list or mapping", where=self._place(node, prefix), value=node.tag, remedy="remove the tag"
            )

    def _place(self, node: yaml.Node | None, prefix: str) -> str:
        line = f":{node.start_mark.line + 1}" if node else ""
        return f"{self.path}{line}: {prefix}".rstrip(".: ")


def _not_yaml(problem: str, where: str) -> InputError:
    return InputError(f"not YAML: {problem}", where=where, remedy="mind the indentation and the colons")
