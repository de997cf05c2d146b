"""Files that are whole or absent, whatever dies and when.

A write goes to a unique temporary beside its target, is synced, and takes the name in one step. Readers
ignore temporaries (their names start with `.tmp-`). Nothing here is ever removed and then renamed.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import IO, Any

from scaling.errors import InputError
from scaling.once import name_once

TEMPORARY_PREFIX = ".tmp-"
_ATOMS = frozenset((str, int, bool, type(None)))


@contextlib.contextmanager
def atomic_file(path: Path, *, once: bool = False) -> Iterator[IO[bytes]]:
    """Open a binary file that takes its name only when the block ends well.

    Args:
        path: The final name. Its folder is made where missing.
        once: Keep an existing file instead of replacing it (write-once).

    Yields:
        The open temporary.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY_PREFIX, suffix="-" + path.name)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(PermissionError):  # a file system that knows no such modes, as FAT
            temporary.chmod(0o644)
        if once:
            with contextlib.suppress(FileExistsError):
                name_once(temporary, path)
        else:
            temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes, *, once: bool = False) -> None:
    """Write a whole file atomically; with `once`, an existing file stays as it is."""
    with atomic_file(path, once=once) as file:
        file.write(data)


def write_json(path: Path, value: Any, *, once: bool = False, indent: int | None = 1) -> None:
    """Write a JSON file atomically; NaN and infinities become null."""
    text = json.dumps(plain(value), indent=indent, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode(), once=once)


def write_json_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object a line, atomically."""
    lines = [json.dumps(plain(row), allow_nan=False, ensure_ascii=False) for row in rows]
    write_bytes(path, ("\n".join(lines) + "\n" if lines else "").encode())


def read_json(path: Path, *, finite: bool = False) -> Any:
    """Return the value in a JSON file; with `finite`, NaN and infinities, which JSON does not know, as null.

    Raises:
        InputError: When the file is missing, unreadable, truncated or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=(lambda _: None) if finite else None)
    except FileNotFoundError:
        raise InputError("no such file", where=path, remedy="check the path") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"not a readable JSON file ({error})",
            where=path,
            remedy="restore it, or move it out of this folder",
        ) from None


def read_json_lines(path: Path) -> list[Any]:
    """Return the objects of a JSON-lines file, passing over a last line that was cut in the middle.

    Raises:
        InputError: When a line before the last is not JSON.
    """
    rows = []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):  # no newline after it: its writer died in the middle
                break
            raise InputError(
                f"not JSON ({error.msg})",
                where=f"{path}:{number}",
                value=line,
                remedy="remove or mend the line",
            ) from None
    return rows


def plain(value: Any, *, finite: bool = True) -> Any:
    """Return a value made of what JSON knows: arrays as lists, paths as text, dataclasses and mappings as objects.

    Numbers that are not finite are null.
    With `finite=False` those stay, as Python's own JSON writes and reads them.
    """
    kind = type(value)  # nearly all values are of these types, and the identity of every run passes here
    if kind in _ATOMS:
        return value
    if kind is float:
        return value if not finite or math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): plain(item, finite=finite) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, finite=finite) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):  # NumPy scalars and arrays, without importing NumPy
        return plain(value.tolist(), finite=finite)
    if finite and isinstance(value, float) and not math.isfinite(value):
        return None
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name), finite=finite) for field in fields(value)}
    return value


def _sync_folder(folder: Path) -> None:
    """Make a new name durable; file systems that cannot sync a folder are left as they are."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
