"""Processes of one job: the first leads, the others wait for its word."""

import threading

import pytest

from sweeps.jobs import place
from sweeps.jobs.place import Place, task_place


def test_a_process_alone_leads_and_tells_nobody(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_NTASKS", raising=False)
    alone = task_place()
    assert (alone.rank, alone.size) == (0, 1)
    alone.tell(tmp_path, go=True)
    assert not list(tmp_path.iterdir())


def test_the_processes_of_a_submitit_job_know_their_places(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "3")
    assert task_place().size == 1, "an allocation that somebody else made is not ours"
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
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


def test_the_word_to_train_is_taken_back_and_the_word_not_to_stays(tmp_path):
    first, late = (Place(rank=rank, size=2, job="7-0") for rank in range(2))
    first.tell(tmp_path, go=True)
    first.take_back(tmp_path)
    assert late.told(tmp_path, lambda: True) is None
    first.tell(tmp_path, go=False)
    first.take_back(tmp_path)
    assert list((tmp_path / "together").iterdir())
