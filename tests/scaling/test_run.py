import subprocess
import sys

import torch

from scaling.run import RunFolder


def test_a_checkpoint_holds_tensors_and_numbers(tmp_path):
    run = RunFolder(tmp_path)
    run.save({"step": 3, "weights": torch.arange(3.0), "curve": [[1.0, 2.0]]})
    state = RunFolder(tmp_path).load()
    assert state is not None
    assert state["step"] == 3
    assert torch.equal(state["weights"], torch.arange(3.0))


def test_loading_drops_the_metrics_logged_after_the_checkpoint(tmp_path):
    run = RunFolder(tmp_path)
    run.log(1, loss=2.0)
    run.save({"step": 1})
    run.log(2, loss=1.0)
    again = RunFolder(tmp_path)
    again.load()
    again.log(2, loss=1.0)
    assert [line.split(",")[0] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [
        '{"step": 1',
        '{"step": 2',
    ]


def test_metrics_of_a_run_that_never_saved_begin_anew(tmp_path):
    RunFolder(tmp_path).log(1, loss=2.0)
    assert RunFolder(tmp_path).load() is None
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def test_temporaries_of_a_killed_writer_are_swept_out(tmp_path):
    (tmp_path / ".tmp-abc-checkpoint.pt").write_bytes(b"half")
    RunFolder(tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_other_writers_have_in_hand_stays(tmp_path):
    (tmp_path / ".tmp-abc-lease.json").write_bytes(b"{}")
    RunFolder(tmp_path)
    assert (tmp_path / ".tmp-abc-lease.json").exists()


def test_a_run_that_was_taken_over_saves_nothing(tmp_path):
    RunFolder(tmp_path).save({"step": 5})
    RunFolder(tmp_path, owned=lambda: False).save({"step": 2})
    assert RunFolder(tmp_path).load() == {"step": 5}


def test_a_state_without_torch_keeps_its_infinities(tmp_path):
    code = (
        "import sys; from pathlib import Path; from scaling.run import RunFolder; path = Path(sys.argv[1])\n"
        "RunFolder(path).save({'best': float('inf'), 'x': [1.5]}); state = RunFolder(path).load()\n"
        "assert state == {'best': float('inf'), 'x': [1.5]}, state; assert (path / 'checkpoint-000001.json').exists()"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)


def test_saving_is_due_after_the_interval(tmp_path):
    assert not RunFolder(tmp_path, save_every=3600).save_due
    assert RunFolder(tmp_path, save_every=0).save_due


def test_stop_is_asked_for_and_remembered(tmp_path):
    answers = iter([True])
    run = RunFolder(tmp_path, stop=lambda: next(answers))
    assert run.should_stop
    assert run.should_stop


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_last_two_checkpoints_are_kept(tmp_path):
    run = RunFolder(tmp_path)
    for step in range(1, 5):
        run.save({"step": step})
    assert names(tmp_path) == ["checkpoint-000003.pt", "checkpoint-000004.pt"]
    RunFolder(tmp_path).save({"step": 5})  # another attempt goes on counting
    assert names(tmp_path) == ["checkpoint-000004.pt", "checkpoint-000005.pt"]
    assert RunFolder(tmp_path).load() == {"step": 5}
    run.discard_checkpoint()
    assert names(tmp_path) == []


def test_a_checkpoint_that_cannot_be_read_falls_back_to_the_one_before(tmp_path, capsys):
    """The metrics go back to the same moment, so that no step is logged twice."""
    run = RunFolder(tmp_path)
    for step in (1, 2, 3):
        run.log(step, loss=1.0)
        run.save({"step": step})
    whole = (tmp_path / "checkpoint-000003.pt").read_bytes()
    (tmp_path / "checkpoint-000003.pt").write_bytes(whole[: len(whole) // 2])
    again = RunFolder(tmp_path)
    assert again.load() == {"step": 2}
    assert "checkpoint-000003.pt cannot be read" in capsys.readouterr().err
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
    again.save({"step": 3})
    assert RunFolder(tmp_path).load() == {"step": 3}
    good = ["checkpoint-000002.pt", "checkpoint-000004.pt"]
    assert {*good, "checkpoint-000003.pt"} < set(names(tmp_path)), "two that can be read; the third may be the disk"


def test_when_no_checkpoint_can_be_read_the_run_begins_anew(tmp_path, capsys):
    run = RunFolder(tmp_path)
    for step in (1, 2):
        run.log(step, loss=1.0)
        run.save({"step": step})
    for path in tmp_path.glob("checkpoint*"):
        path.write_bytes(b"")
    assert RunFolder(tmp_path).load() is None
    assert (tmp_path / "metrics.jsonl").read_text() == ""
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_checkpoint_of_version_0_1_is_the_oldest(tmp_path):
    torch.save({"state": {"step": 1}, "metrics_size": 0}, tmp_path / "checkpoint.pt")
    run = RunFolder(tmp_path)
    assert run.load() == {"step": 1}
    run.save({"step": 2})
    assert run.load() == {"step": 2}
    run.save({"step": 3})
    assert names(tmp_path) == ["checkpoint-000001.pt", "checkpoint-000002.pt"]


def test_a_branch_is_what_another_run_starts_from(tmp_path):
    parent, child = RunFolder(tmp_path / "parent"), RunFolder(tmp_path / "child")
    parent.save_branch(7, {"step": 7, "weights": torch.arange(2.0)})
    parent.save({"step": 9})
    state = child.load_branch("parent", 7)
    assert state is not None
    assert torch.equal(state["weights"], torch.arange(2.0))
    assert child.load_branch("parent", 8) is None
    assert child.load_branch("nobody", 7) is None
    assert child.load() is None
    parent.discard_checkpoint()  # the branch outlives the run's own checkpoints
    assert names(tmp_path / "parent") == ["branch-7.pt"]
    (tmp_path / "parent" / ".tmp-x-branch-8.pt").write_bytes(b"half")
    RunFolder(tmp_path / "parent")
    assert names(tmp_path / "parent") == ["branch-7.pt"]


def test_a_run_that_was_taken_over_keeps_no_branch(tmp_path):
    RunFolder(tmp_path, owned=lambda: False).save_branch(7, {"step": 7})
    assert names(tmp_path) == []


def test_a_follower_writes_nothing_and_reads_all(tmp_path):
    """Of several processes one writes; the others see its checkpoints and leave its files as they are."""
    leader = RunFolder(tmp_path)
    leader.log(1, loss=2.0)
    leader.save({"step": 1})
    leader.log(2, loss=1.0)
    (tmp_path / ".tmp-abc-checkpoint-000002.pt").write_bytes(b"in the leader's hand")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    told = []
    follower = RunFolder(tmp_path, leader=False, save_every=0.0, trackers=[lambda step, metrics: told.append(step)])
    assert follower.load() == {"step": 1}
    follower.log(3, loss=0.5)
    follower.save({"step": 3})
    follower.save_branch(3, {"step": 3})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert told == []


def test_trackers_are_told_every_line(tmp_path):
    told, again = [], []
    trackers = [lambda step, metrics: told.append((step, metrics)), lambda step, metrics: again.append(step)]
    run = RunFolder(tmp_path, trackers=trackers)
    run.log(1, loss=2.0, peak=0.1)
    run.log(5, loss=1.0)
    assert told == [(1, {"loss": 2.0, "peak": 0.1}), (5, {"loss": 1.0})]
    assert again == [1, 5]
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
