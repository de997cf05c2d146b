"""What docs/own-trainer.md shows runs as it stands there: its module, its grid, its commands."""

from itertools import count

import pytest

from tests.docs.elsewhere import steps_here
from tests.docs.pages import changed, grid_of

PAGE = "docs/own-trainer.md"
PAGES_HERE = [PAGE]


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Return a folder with the page's module; torch keeps to one thread, as in a job."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    module = [step.text for step in steps_here(PAGE) if step.language == "python"]
    (tmp_path / "my_trainer.py").write_text("\n\n".join(module))
    yield tmp_path
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"[3e7, 1e8]": "[3e6, 1e7]"}, id="a tenth of the budgets"),
        pytest.param({}, id="as it stands there", marks=pytest.mark.slow),
    ],
)
def test_the_page_on_trainers_of_ones_own_runs(page, run, changes):
    (page / "mine.yaml").write_text(changed(grid_of(PAGE), changes))
    for step in steps_here(PAGE):
        if step.language == "console":
            told = run(f"{step.text} --executor debug" if " submit " in step.text else step.text)
            assert "10 completed" in told or "status" not in step.text


def test_its_trainer_goes_on_where_it_was_stopped_and_divides_its_batch(page, monkeypatch):
    """Stopped half way, or with smaller passes, it ends with the loss of an undisturbed run."""
    from scaling import RunFolder, RunSpec
    from sweeps.trainers import load_trainer

    trainer = load_trainer("my_trainer:train", page)
    spec = RunSpec(model={"size": 200}, updates=60, trainer_args={"batch": 64, "rate": 0.01}, seed=1)
    whole = trainer.train(spec, RunFolder(page / "whole"))
    monkeypatch.setattr("scaling.run.STOP_CHECK_SECONDS", 0.0)
    looks = count(1)
    assert trainer.train(spec, RunFolder(page / "cut", stop=lambda: next(looks) == 30)) is None
    assert RunFolder(page / "cut").load()["step"] == 30
    assert trainer.train(spec, RunFolder(page / "cut")).loss == whole.loss
    assert trainer.train(spec, RunFolder(page / "small", out_of_memory=2)).loss == pytest.approx(whole.loss, rel=1e-4)
    assert (page / "whole" / "metrics.jsonl").read_text().count('"loss"') == 1
