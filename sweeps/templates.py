"""Grids and studies to start from, shipped inside the package: `scaling-sweep init NAME`."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from scaling.errors import InputError
from scaling.files import write_bytes
from sweeps.studies import FILE, STUDIES, shipped

__all__ = ["STUDIES", "TEMPLATES", "write_study", "write_template"]

TEMPLATES = {
    "quickstart": ("quickstart.yaml",),
    "own-trainer": ("own_trainer.yaml", "own_trainer.py"),
    "study": ("study.yaml", "study_teacher.yaml"),
    "study-small": ("study_small.yaml",),
}
"""Name -> its files under examples/ (a link to it lies in this package), the first of them the grid."""


def write_template(name: str, output: Path | None = None) -> list[Path]:
    """Write the files of a template beside each other and return them.

    Args:
        name: The template.
        output: Where the grid goes; the current folder under its own name when not given.

    Raises:
        InputError: When a file is there already.
    """
    grid, *others = TEMPLATES[name]
    target = output or Path(grid)
    examples = Path(str(resources.files("sweeps"))) / "examples"
    return _copy([(examples / grid, target), *((examples / other, target.parent / other) for other in others)])


def write_study(name: str, output: Path | None = None) -> list[Path]:
    """Write the files of a study into a folder and return them, study.yaml first.

    Args:
        name: One of STUDIES.
        output: The folder; one of the study's name when not given.

    Raises:
        InputError: When a file is there already.
    """
    folder = output or Path(name)
    files = sorted(shipped(name).glob("*.yaml"), key=lambda path: (path.name != FILE, path.name))
    return _copy([(path, folder / path.name) for path in files])


def _copy(files: list[tuple[Path, Path]]) -> list[Path]:
    for _, path in files:
        if path.exists():
            raise InputError("a file is there already", where=path, remedy="move it away, or use another folder")
    for source, path in files:
        write_bytes(path, source.read_bytes())
    return [path for _, path in files]
