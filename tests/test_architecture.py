"""The rules that keep the rooms apart, and what must start fast."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("scaling", "sweeps", "analysis")
MAY_IMPORT = {"scaling": set(), "sweeps": {"scaling"}, "analysis": {"scaling"}}
HEAVY = {"torch", "torchaudio", "numpy", "pandas", "scipy", "matplotlib", "submitit", "yaml", "rich"}


def modules(package):
    return sorted(path for path in (ROOT / package).rglob("*.py") if "examples" not in path.parts)


def imports(path, *, top_only=False):
    """Return the modules that a file imports: all of them, or those at its top level."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_rooms_import_what_the_design_allows(package):
    for path in modules(package):
        for name in imports(path):
            room = name.partition(".")[0]
            if room in PACKAGES and room != package:
                assert room in MAY_IMPORT[package], f"{path.name} imports {name}"
            if package == "analysis":
                assert not name.startswith("scaling.speech"), f"{path.name} imports {name}"


def test_the_root_of_scaling_is_free_of_torch_and_numpy():
    for path in (ROOT / "scaling").glob("*.py"):
        heavy = {name.partition(".")[0] for name in imports(path, top_only=True)} & HEAVY
        assert not heavy, f"{path.name} imports {heavy}"


@pytest.mark.parametrize("command", ["sweeps.cli", "analysis.cli"])
def test_help_starts_without_heavy_imports_and_in_little_time(command):
    """0.2 s of CPU time is the promise; the best of five keeps a busy machine out of the measurement."""
    code = (
        "import resource, sys\n"
        f"from {command} import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "use = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print('cpu', use.ru_utime + use.ru_stime, 'heavy', sorted(set(sys.modules) & " + repr(HEAVY) + "))\n"
    )
    lines = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()[-1]
        for _ in range(5)
    ]
    assert all(line.endswith("heavy []") for line in lines), lines[0]
    assert min(float(line.split()[1]) for line in lines) < 0.2


def test_torchaudio_is_imported_in_one_place():
    importers = {path.name for path in modules("scaling") if any(n.startswith("torchaudio") for n in imports(path))}
    assert importers == {"audiolib.py"}


def test_nothing_is_pickled():
    for package in PACKAGES:
        for path in modules(package):
            assert not imports(path) & {"pickle", "cloudpickle", "dill", "joblib"}, path.name
            assert "weights_only=False" not in path.read_text()


def test_every_name_of_the_glossary_has_one_spelling():
    """The columns of a record are those that docs/formats.md lists."""
    from dataclasses import fields

    from scaling import RunRecord

    text = (ROOT / "docs" / "formats.md").read_text()
    for field in fields(RunRecord):
        assert re.search(rf"`{field.name}`", text), f"docs/formats.md does not name {field.name}"
