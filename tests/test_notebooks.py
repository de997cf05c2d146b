"""The notebooks are kept without outputs, and each runs from top to bottom: its cells assert what its text says."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
A_PATH = re.compile(r"(?<![\w.:/~])/(?:home|Users|root|tmp|work|mnt|var|opt|data)/|\b[A-Za-z]:\\\\|~/|file://")
LIMIT = 240
"""Seconds for a cell, several times what a whole notebook takes."""


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_there_are_notebooks_and_the_readme_names_each():
    assert len(NOTEBOOKS) >= 4
    told = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert [name for name in NOTEBOOKS if f"{name}.ipynb" not in told] == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_clean(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert cell.metadata == {}, cell.id
        assert not A_PATH.search(cell.source), cell.source
        if cell.cell_type == "code":
            assert cell.outputs == [], cell.id
            assert cell.execution_count is None, cell.id


@pytest.mark.notebooks
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name, tmp_path, monkeypatch):
    """In a copy, with a kernel that knows no settings of the user: no cell fails, none warns, and no file is left."""
    import matplotlib.font_manager  # noqa: F401  # where there is no cache of fonts yet, making one would be a line on stderr

    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    from nbclient import NotebookClient

    folder = tmp_path / "notebooks"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns(".*"))
    before = sorted(folder.rglob("*"))
    notebook = nbformat.read(folder / f"{name}.ipynb", as_version=4)
    NotebookClient(
        notebook, timeout=LIMIT, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"] == []
    figures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert 2 <= len(figures) <= 4
    assert sorted(folder.rglob("*")) == before
