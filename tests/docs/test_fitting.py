"""The pages on fits: every command and every block of Python, on simulated runs whose law is known."""

import re

import pytest

from analysis import fit, load
from tests.analysis.conftest import TRUTH
from tests.docs.conftest import DRAWS
from tests.docs.elsewhere import steps_here
from tests.docs.pages import each

PAGES_HERE = ["docs/csv.md", "docs/extending.md", "docs/methods.md"]
FEW = {"fit(table": f"fit(table, draws={DRAWS}"}
LONG = ("--figures", "draw_all")


@pytest.mark.parametrize("step", each(steps_here("docs/csv.md"), slow=LONG))
def test_a_step_of_the_page_on_tables(step, tables, execute):
    told = execute(step, FEW)
    if "odd.csv" in step.text:
        assert "C = 6 N D" in told
        assert {path.name for path in (tables / "fits" / "odd").iterdir()} >= {
            "fit.json",
            "fit.draws.npz",
            "isoflop.csv",
        }
    if "--compare" in step.text:
        assert float(re.search(r"b needs (\S+)x", told)[1]) == pytest.approx(1 / 1.25, rel=0.03)
    if "--report" in step.text:
        assert (tables / "report.html").stat().st_size > 100_000
    if any(word in step.text for word in LONG):
        assert {path.suffix for path in (tables / "figures").iterdir()} == {".pdf", ".png", ".svg", ".csv"}
    if "savefig" in step.text:
        assert (tables / "mine.pdf").exists()


@pytest.mark.parametrize("step", each(steps_here("docs/extending.md")))
def test_a_step_of_the_page_on_extending(step, tables, execute):
    told = execute(step)
    if step.language == "console":
        assert "G/(N^alpha D^beta)   huber" in told
        assert "certificate" in told


def test_the_law_of_the_page_on_methods_is_chinchillas(tables, execute):
    (step,) = steps_here("docs/methods.md")
    fitted = fit(load("runs.csv")[0], law=execute(step)["law"], draws=0, judged=False)
    for name, value in TRUTH.items():
        assert fitted.to_dict()["params"][name] == pytest.approx(value, rel=0.1)
