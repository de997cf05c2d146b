"""The code that runs is the code that was submitted, and where it came from is kept."""

import subprocess
import sys

from scaling.files import read_json
from sweeps.folder import SweepFolder
from sweeps.jobs.snapshot import code_folder, take_snapshot
from sweeps.jobs.status import sweep_status
from sweeps.jobs.watch import watch
from tests.sweeps.helpers import submitted


def test_an_edit_after_the_submission_changes_nothing(toy):
    grid = toy(trainer_args="{steps: 10, seconds: 0.05}", seeds="[0]", cluster="{executor: local, slots: 1}")
    folder = submitted(grid, "local").folder
    trainer = grid.parent / "toy.py"
    trainer.write_text(trainer.read_text().replace("1.7 + 40", "9.9 + 40"))
    watch(folder)
    assert all(folder.record(run_id).loss < 99 for run_id in folder.record_ids())
    assert {run.state for run in sweep_status(folder)} == {"completed"}
    text = (code_folder(folder, folder.sweep()["code"]) / "toy.py").read_text()
    assert "1.7 + 40" in text


def test_it_can_be_left_out_and_its_provenance_is_kept(toy):
    folder = submitted(toy(cluster="{executor: local, slots: 2, snapshot: false}", seeds="[0]"), "local").folder
    watch(folder)
    code = code_folder(folder, folder.sweep()["code"])
    assert [path.name for path in code.glob("*.py")] == []
    assert {run.state for run in sweep_status(folder)} == {"completed"}
    about = read_json(code / "code.json")
    assert about["copied"] is False
    assert "numpy" in about["packages"]
    start = next(folder.path.glob("runs/*/attempts/1/start.json"))
    assert read_json(start)["code"] == folder.sweep()["code"]


def test_the_same_code_is_copied_once_and_another_beside_it(tmp_path):
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "mine.py").write_text("x = 1\n")
    folder = SweepFolder(tmp_path / "sweep")
    first = take_snapshot(folder, beside=tmp_path / "beside")
    assert take_snapshot(folder, beside=tmp_path / "beside") == first
    (tmp_path / "beside" / "mine.py").write_text("x = 2\n")
    assert take_snapshot(folder, beside=tmp_path / "beside") != first
    assert len(list((folder.path / "code").iterdir())) == 2


def test_commit_and_changes_are_kept(tmp_path):
    """A process of its own: what is copied follows from what it has loaded."""
    repository = tmp_path / "mine"
    repository.mkdir()
    (repository / "trainer.py").write_text("x = 1\n")
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True)
    (repository / "trainer.py").write_text("x = 2\n")
    code = (
        "import pathlib, sys; sys.path.insert(0, '.'); import trainer\n"
        "from sweeps.folder import SweepFolder; from sweeps.jobs.snapshot import take_snapshot\n"
        f"print(take_snapshot(SweepFolder(pathlib.Path({str(tmp_path / 'sweep')!r}))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    place = code_folder(SweepFolder(tmp_path / "sweep"), done.stdout.strip())
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    ours = [one for one in read_json(place / "code.json")["repositories"] if one["root"] == str(repository)]
    assert ours == [{"root": str(repository), "commit": commit, "changed": True}]
    assert "+x = 2" in (place / "changes.diff").read_text()
    assert (place / "trainer.py").read_text() == "x = 2\n"
