"""The quickstart's commands, on a corpus of minutes; `make demo` does the same."""

import re

import pytest

from tests.docs.elsewhere import steps_here
from tests.docs.pages import ROOT, changed

PAGE = "docs/quickstart.md"
PAGES_HERE = [PAGE]
HOURS = {"--hours 10": "--hours 0.05"}
TINY = {"centre: 14k, at: 5e11": "centre: 8k, at: 1e9", "[2e11, 5e11, 1.25e12]": "[4e8, 1e9, 2.5e9]", "[10]": "[0.05]"}
SHORT = "min_updates: 1\ntargets: {clusters: 20, fit_hours: 0.02}\n"


def test_the_demo_is_what_the_page_says():
    """The same commands in the same order; the demo's grid lies in the checkout, the page's is a copy of it."""
    recipe = re.search(r"^demo:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)[1]
    demo = [line.strip().removeprefix("$(BIN)/").replace("examples/", "") for line in recipe.splitlines()]
    page = [step.text for step in steps_here(PAGE)]
    assert [command for command in page if command in demo] == demo


@pytest.mark.slow
def test_the_quickstart_in_small(tmp_path, monkeypatch, run, execute):
    monkeypatch.chdir(tmp_path)
    for step in steps_here(PAGE):
        if "synth" in step.text:
            run(changed(step.text, HOURS))
            continue
        told = execute(step)
        if " init " in step.text:
            grid = tmp_path / "quickstart.yaml"
            grid.write_text(changed(grid.read_text(), TINY) + SHORT)
        if " --wait" in step.text:
            assert "15 completed" in told
    assert (tmp_path / "fits" / "quickstart" / "report.html").exists()
