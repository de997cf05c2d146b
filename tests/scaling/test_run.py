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
