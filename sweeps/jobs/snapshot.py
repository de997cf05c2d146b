"""The code that runs, kept as it was when it was submitted, and where it came from.

Python modules that are not installed (the trainer's beside its grid, packages installed for editing) are copied into
`code/<hash>/` of the sweep. A job starts as `python code/<hash> ...`, which puts that folder before all others on the
module path: an edit after the submission changes nothing that was submitted. `code.json` in it names the commit,
what was changed since, and the installed packages.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from scaling.files import TEMPORARY_PREFIX, read_json, write_bytes, write_json
from sweeps.folder import SweepFolder

MAX_FILE = 1_000_000
"""Bytes of a file beyond which it is no code."""
SKIPPED = {"__pycache__", "node_modules", "results", "fits", "corpora", "build", "dist"}
GIT_SECONDS = 10
MAIN = """import sys

from sweeps.jobs.job import main

sys.exit(main())
"""


def take_snapshot(folder: SweepFolder, *, beside: Path | None = None, copy: bool = True) -> str:
    """Keep the code that this process has loaded from outside the installation; return the hash that names it.

    Args:
        folder: The sweep.
        beside: The grid's folder, where its trainer's module may lie.
        copy: Whether to copy it; the provenance is kept in any case.
    """
    files = {**dict(_local_code()), **dict(_modules(beside) if beside else ())} if copy else {}
    digest = hashlib.sha256()
    for name, path in sorted(files.items()):
        digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    repositories, diff = _repositories()
    files_are = digest.hexdigest()[:16]
    about = {
        "copied": copy,
        "files": files_are,
        "repositories": repositories,
        "packages": _packages(),
        "python": sys.version,
    }
    digest.update(repr(about).encode() + diff)
    code = digest.hexdigest()[:16]
    target = code_folder(folder, code)
    if target.exists():
        return code
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=TEMPORARY_PREFIX))
    for name, path in files.items():
        (temporary / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, temporary / name)
    if copy:
        write_bytes(temporary / "__main__.py", MAIN.encode())
    if diff:
        write_bytes(temporary / "changes.diff", diff)
    write_json(temporary / "code.json", about)
    temporary.chmod(0o755)
    try:
        temporary.rename(target)
    except OSError:  # another submission was first
        shutil.rmtree(temporary, ignore_errors=True)
    return code


def files_hash(folder: SweepFolder, code: str) -> str:
    """Return the hash of the modules of a snapshot alone, whatever else was installed or changed beside them."""
    file = code_folder(folder, code) / "code.json"
    return read_json(file).get("files", code) if file.exists() else code


def code_folder(folder: SweepFolder, code: str) -> Path:
    """Return where a snapshot lies."""
    return folder.path.resolve() / "code" / code


def job_command(folder: SweepFolder, code: str, settings: Mapping[str, Any], *, python: str | None = None) -> list[str]:
    """Return the beginning of a job's command line, which runs `sweeps.jobs.job` from a snapshot where there is one.

    Args:
        folder: The sweep.
        code: The snapshot's hash.
        settings: What sweep.json says.
        python: What starts Python instead of this process's interpreter, such as `apptainer exec x.sif python3`.
    """
    copied = settings.get("snapshot", True) and code
    start = shlex.split(python) if python else [sys.executable]
    return [*start, "-u", *([str(code_folder(folder, code))] if copied else ["-m", "sweeps.jobs.job"])]


def _local_code() -> Iterator[tuple[str, Path]]:
    """Yield (name below the snapshot, file) of all code that is not installed: whole packages, and single modules."""
    for top in sorted({name.partition(".")[0] for name in sys.modules}):
        module = sys.modules.get(top)
        if top.startswith("__") or module is None:
            continue
        if hasattr(module, "__path__"):
            for root in map(Path, module.__path__):
                if root.is_dir() and not _installed(root):
                    yield from _tree(root, root.name)
        elif (file := getattr(module, "__file__", None)) and not _installed(Path(file)):
            path = Path(file)
            if path.suffix == ".py" and path.name != "__main__.py":
                yield from _modules(path.parent)


def _tree(root: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    """Yield the files of a package that are small, its subpackages' too."""
    for entry in sorted(os.scandir(root), key=lambda entry: entry.name):
        if entry.name.startswith(".") or entry.name in SKIPPED or entry.name.endswith(".pyc"):
            continue
        if entry.is_dir():
            yield from _tree(Path(entry.path), f"{prefix}/{entry.name}")
        elif entry.is_file() and entry.stat().st_size <= MAX_FILE:
            yield f"{prefix}/{entry.name}", Path(entry.path)


def _modules(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the modules in a folder: one that is loaded may import the others later."""
    for path in sorted(folder.glob("*.py")):
        if path.name != "__main__.py" and path.stat().st_size <= MAX_FILE:
            yield path.name, path


def _installed(path: Path) -> bool:
    """Whether a file belongs to the interpreter or was installed into its environment."""
    places = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    return any(_inside(path, Path(place)) for place in places)


def _inside(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder.resolve()) and folder != Path(folder.anchor)
    except OSError:
        return False


def _repositories() -> tuple[list[dict[str, Any]], bytes]:
    """Return the git repositories that the local code and the working folder are in, and what was changed in them."""
    places = {str(path.parent) for _, path in _local_code()} | {str(Path.cwd())}
    found: dict[str, dict[str, Any]] = {}
    diffs = b""
    for place in sorted(places):
        if any(_inside(Path(place), Path(root)) for root in found):
            continue
        root = _git(place, "rev-parse", "--show-toplevel").decode().strip()
        if not root or root in found:
            continue
        diff = _git(root, "diff", "HEAD")
        diffs += diff
        commit = _git(root, "rev-parse", "HEAD").decode().strip()
        found[root] = {"root": root, "commit": commit, "changed": bool(diff)}
    return list(found.values()), diffs


def _git(folder: str, *arguments: str) -> bytes:
    """Return what git says, empty where it is missing, slow or unwilling."""
    try:
        done = subprocess.run(["git", "-C", folder, *arguments], capture_output=True, timeout=GIT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return b""
    return done.stdout


def _packages() -> dict[str, str]:
    """Return the installed packages and their versions."""
    return dict(sorted({d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}.items()))
