"""Trackers: TensorBoard reads what was logged, a function of one's own is called, an unknown one is refused."""

import sys
import warnings

import pytest

from scaling import InputError, RunFolder, RunSpec
from sweeps.cli import main
from sweeps.jobs.tracking import trackers

SPEC = RunSpec(model={"size": 1000}, updates=10)

OWN = '''
def make(spec, folder):
    """Write what it is told beside the run."""
    def track(step, metrics):
        with (folder / "own.txt").open("a") as file:
            file.write(f"{spec.updates} {step} {sorted(metrics)}\\n")
    return track
'''


def scalars(folder):
    """Return name -> [(step, value)] as TensorBoard reads it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorBoard's own
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(folder))
        events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_no_tracker_is_none(tmp_path):
    assert trackers(None, tmp_path, SPEC) == []
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_reads_what_was_logged(tmp_path):
    run = RunFolder(tmp_path, trackers=trackers("tensorboard", tmp_path, SPEC))
    run.log(1, loss=2.5, norm=1.0)
    run.log(4, loss=1.5)
    assert scalars(tmp_path / "tensorboard") == {"loss": [(1, 2.5), (4, 1.5)], "norm": [(1, 1.0)]}


def test_a_resumed_run_goes_on_in_tensorboard(tmp_path):
    for steps in ((1, 2), (3, 4)):
        run = RunFolder(tmp_path, trackers=trackers("tensorboard", tmp_path, SPEC))
        run.load()
        for step in steps:
            run.log(step, loss=float(step))
        run.save({"step": step})
    assert scalars(tmp_path / "tensorboard")["loss"] == [(step, float(step)) for step in (1, 2, 3, 4)]


def test_a_tracker_of_ones_own_is_called(tmp_path, monkeypatch):
    (tmp_path / "mytracker_one.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "run").mkdir()
    run = RunFolder(tmp_path / "run", trackers=trackers("mytracker_one:make", tmp_path / "run", SPEC))
    run.log(3, loss=1.0, peak=0.5)
    assert (tmp_path / "run" / "own.txt").read_text() == "10 3 ['loss', 'peak']\n"


@pytest.mark.parametrize("name", ["nowhere:make", "mytracker_two:missing", "mytracker_two", "wandb"])
def test_an_unknown_tracker_is_refused(tmp_path, monkeypatch, name):
    (tmp_path / "mytracker_two.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="no such tracker") as told:
        trackers(name, tmp_path, SPEC)
    assert "cluster.tracker" in str(told.value)
    assert repr(name) in str(told.value)


def test_a_refused_tracker_comes_with_what_to_do(tmp_path):
    with pytest.raises(InputError) as told:
        trackers("nowhere:make", tmp_path, SPEC)
    assert told.value.remedy


def test_an_unknown_tracker_is_refused_before_any_run_starts(toy, tmp_path):
    """Not by every run of the sweep, one after another."""
    grid = toy(cluster="{executor: debug, slots: 2, save_every: 0.1s, tracker: 'nowhere:make'}")
    assert main(["submit", str(grid)]) == 2
    assert not list((tmp_path / "results").glob("*/runs/*/attempts"))


def test_tensorboard_must_be_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match="TensorBoard is not installed") as told:
        trackers("tensorboard", tmp_path, SPEC)
    assert told.value.remedy == "pip install 'scaling-sweep[tensorboard]'"


def test_a_sweep_calls_the_tracker_of_its_grid(toy, tmp_path, monkeypatch, capsys):
    (tmp_path / "mytracker_three.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    grid = toy(cluster="{executor: debug, slots: 2, save_every: 0.1s, tracker: 'mytracker_three:make'}")
    assert main(["submit", str(grid)]) == 0
    told = list((tmp_path / "results" / "toy" / "runs").glob("*/own.txt"))
    assert len(told) == len(list((tmp_path / "results" / "toy" / "records").glob("*.json"))) > 0
