"""The tutorial from a folder of audio to a report: as it stands there, but tiny, and on this machine."""

from dataclasses import replace

import pytest

from sweeps.gridfile import load_grid
from sweeps.jobs import site
from sweeps.jobs.checks import check
from sweeps.jobs.timing import with_times
from sweeps.plan import make_plan
from tests.docs.conftest import record
from tests.docs.elsewhere import steps_here
from tests.docs.pages import changed, grid_of

PAGE = "docs/tutorial.md"
PAGES_HERE = [PAGE]
TINY = {
    "objective: hubert": "objective: best_rq",  # its U-curves are smooth after seconds
    "window: {centre: 10M, at: 1e17, exponent: 0.5, span: 16x, count: 5}": "{from: 2k, to: 32k, count: 5}",
    "budgets: [2.5e16, 1e17, 4e17]": "budgets: [3e8, 6e8, 1.2e9]",
    "unique_hours: [5000]": "unique_hours: [0.5]",
    "executor: slurm": "executor: debug",
}
TINIER = {
    **TINY,
    "budgets: [2.5e16, 1e17, 4e17]": "budgets: [1e8, 2e8]",
    "unique_hours: [5000]": "unique_hours: [0.04]",
    "seeds: [0, 1]": "seeds: [0]",
}
"""For all but the fit."""
START = ", batch: 4, peak_lr: 5e-3"
"""Where the pilot starts; `tuned` stands in its place."""
SHORT = f"""
min_updates: 1
train: {{crop_seconds: 1, eval_hours: 0.005{START}}}
targets: {{codes: 32}}
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Return a folder where SLURM is hidden."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(site, "here", lambda: False)
    return tmp_path


def walk(study, execute, changes, without=()):
    """Take the page's steps from top to bottom, its grid changed, and return what they printed, by command."""
    grid, told = study / "mine.yaml", {}
    grid.write_text(changed(grid_of(PAGE), changes) + SHORT)
    for step in steps_here(PAGE):
        if any(word in step.text for word in without):
            continue
        words = {"1e19": "1.2e9"}
        if "RUN" in step.text:
            words["RUN"] = next((study / "results" / "mine" / "records").glob("*.json")).name[:6]
        here = replace(step, text=f"{step.text} --executor debug") if " pilot " in step.text else step
        told[step.text] = execute(here, words=words)
        if here is not step:  # as the page says
            grid.write_text(changed(grid.read_text(), {START: ""}) + "tuned: mine.tuned.yaml\n")
    return told


def test_from_audio_to_results(study, recordings, execute):
    (study / "AUDIO").symlink_to(recordings)
    told = walk(study, execute, TINIER, without=("pilot", "scaling-fit"))
    assert "10 completed" in told["scaling-sweep status mine"]
    assert "untuned" in told["scaling-sweep plan mine.yaml"]


@pytest.mark.slow
def test_from_audio_to_figures_and_a_report_by_way_of_a_pilot(study, execute):
    record(study / "AUDIO", speakers=36)
    told = walk(study, execute, TINY)
    assert "30 completed" in told["scaling-sweep status mine"]
    assert (study / "report.html").exists()
    assert len(list((study / "figures").glob("*.pdf"))) > 10


def test_a_look_at_the_site(study, recordings, run):
    """What `doctor mine.yaml --job` does apart from its job."""
    (study / "mine.yaml").write_text(changed(grid_of(PAGE), TINIER) + SHORT)
    run(f"scaling-sweep corpus import corpora/mine --from {recordings}")
    assert "SLURM" in run("scaling-sweep doctor mine.yaml")


def test_submit_would_take_the_numbers_of_the_page(tmp_path, monkeypatch):
    """Its own sizes, budgets and resources, were the corpus there: no point is dropped, no batch cannot be shared."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(site, "here", lambda: True)
    (tmp_path / "mine.yaml").write_text(grid_of(PAGE))
    plan = with_times(make_plan(load_grid(tmp_path / "mine.yaml")), "slurm")
    assert [point.status for point in plan.points] == ["run"] * 30
    check(replace(plan, provisional=False), "slurm")
