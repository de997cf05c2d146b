"""README's commands, on a sweep that takes no time and on a table of runs."""

import pytest

from tests.docs.elsewhere import steps_here
from tests.docs.pages import changed, each
from tests.sweeps.conftest import GRID, TOY

PAGES_HERE = ["README.md"]


@pytest.mark.parametrize("step", each([s for s in steps_here("README.md") if "runs.csv" in s.text], slow=["--figures"]))
def test_a_table_of_runs_gives_figures_and_a_report(step, tables, execute):
    execute(step)
    assert len(list((tables / "figures").glob("*.pdf"))) > 10
    assert "<svg" in (tables / "report.html").read_text()


def test_daily_use(tmp_path, monkeypatch, execute):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "grid.yaml").write_text(
        changed(GRID, {"[100, 300, 1k]": "{from: 1k, to: 100k, count: 6}", "[1e7, 1e8]": "[1e9, 1e10, 1e11]"})
    )
    daily = [step for step in steps_here("README.md") if "runs.csv" not in step.text]
    told = {step.text: execute(step, words={"NAME": "toy"}) for step in daily}
    assert "36 completed" in told["scaling-sweep status NAME"]
    assert "1e20" in told["scaling-fit results/NAME --budget 1e20"]
