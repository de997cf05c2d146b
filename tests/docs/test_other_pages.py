"""Pages without a scene of their own: their commands and blocks, from top to bottom, beside a table and a sweep."""

import importlib
from pathlib import Path

from tests.docs.elsewhere import steps_here
from tests.docs.pages import PAGES, changed
from tests.sweeps.conftest import GRID, TOY

SCENES = [importlib.import_module(f"tests.docs.{path.stem}") for path in sorted(Path(__file__).parent.glob("test_*.py"))
          if path.stem != Path(__file__).stem]  # fmt: skip
PLAYED = [page for scene in SCENES for page in getattr(scene, "PAGES_HERE", [])]
OTHERS = [page for page in PAGES if page not in PLAYED and steps_here(page)]


def test_no_page_is_played_twice_and_none_that_is_not_there():
    assert len(set(PLAYED)) == len(PLAYED)
    assert set(PLAYED) <= set(PAGES)


def test_they_run(tables, run, execute):
    """In a folder with runs.csv, mylaw.py, grid.yaml, and results of a sweep named quickstart."""
    (tables / "toy.py").write_text(TOY)
    (tables / "grid.yaml").write_text(changed(GRID, {"name: toy": "name: quickstart"}))
    run("scaling-sweep submit grid.yaml")
    run_id = next((tables / "results" / "quickstart" / "records").glob("*.json")).stem
    for page in OTHERS:
        for step in steps_here(page):
            execute(step, words={"NAME": "quickstart", "RUN": run_id, "ID": run_id})
