"""Processes of one job: the first leads, the others wait for its word."""

import threading

import pytest

from sweeps import place
from sweeps.place import Place, task_place


def test_a_process_alone_leads_and_tells_nobody(tmp_path, monkeypatch):
    for name in ("WORLD_SIZE", "RANK", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    alone = task_place()
    assert (alone.rank, alone.size) == (0, 1)
    alone.tell(tmp_path, go=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "rank"), [("WORLD_SIZE", "RANK"), ("SLURM_NTASKS", "SLURM_PROCID")])
def test_the_variables_of_slurm_and_torchrun_are_understood(monkeypatch, size, rank):
    for name in ("WORLD_SIZE", "RANK", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(size, "4")
    monkeypatch.setenv(rank, "3")
    assert (task_place().rank, task_place().size) == (3, 4)


@pytest.mark.parametrize("go", [True, False])
def test_the_others_hear_what_the_first_says(tmp_path, go):
    first, second = (Place(rank=rank, size=2, job="7-0") for rank in range(2))
    threading.Timer(0.3, lambda: first.tell(tmp_path, go=go)).start()
    assert second.told(tmp_path, lambda: False) is go


def test_the_word_of_an_earlier_start_of_the_job_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(place, "WAIT_SECONDS", 0.5)
    Place(rank=0, size=2, job="7-0").tell(tmp_path, go=True)
    assert not Place(rank=1, size=2, job="7-1").told(tmp_path, lambda: False)


def test_a_stop_ends_the_waiting(tmp_path):
    assert not Place(rank=1, size=2, job="7-0").told(tmp_path, lambda: True)
