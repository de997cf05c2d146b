"""What docs/own-trainer.md shows runs as it stands there: its module, its grid, its commands."""

import re
import shlex
from itertools import count
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own-trainer.md"


def blocks(language):
    """Return the page's blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """Return a folder with the page's module and its grid."""
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_trainer.py").write_text("\n\n".join(blocks("python")))
    (grid,) = blocks("yaml")
    (tmp_path / "mine.yaml").write_text(grid)
    return tmp_path


def test_the_page_on_trainers_of_ones_own_runs(page, capsys):
    from analysis.cli import main as fit
    from sweeps.cli import main as sweep

    (console,) = blocks("console")
    for line in console.splitlines():
        command, *arguments = shlex.split(line)
        if arguments[0] == "submit":
            arguments += ["--executor", "debug"]
        code = {"scaling-sweep": sweep, "scaling-fit": fit}[command](arguments)
        told = capsys.readouterr()
        assert code == 0, (line, told)
        if arguments[0] == "status":
            assert "10 completed" in told.out


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


def test_the_links_of_the_page_lead_somewhere():
    text = PAGE.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert (PAGE.parent / target).exists(), target
