"""The doctor on a real cluster: what it sees from a compute node, and that hung or missing accounting is survived."""

import os
import signal
import sys
import time

import pytest

from sweeps.doctor.examine import examine
from sweeps.jobs import site

from .cluster import daemon, kill, write_grid

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """Require the cluster that `make test-slurm` starts."""
    assert "SLURM_CONF" in os.environ, "run `make test-slurm`, which starts a cluster"


def by_name(checks):
    return {check.name: check for check in checks}


def test_a_compute_node_is_looked_at_by_a_job_that_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = write_grid(tmp_path, partition="low")
    grid.write_text(grid.read_text().replace("  save_every", f"  scratch: {tmp_path}/fast/disk\n  save_every"))
    before = {path.name for path in tmp_path.iterdir()}
    found = by_name(examine(tmp_path / "results", grid=grid, job=True))
    assert not [check for check in found.values() if check.status == "failed"]
    for name in ("node", "node: results", "node: Python", "node: clock", "node: scratch", "request: low"):
        assert found[name].status == "ok", name
    assert found["node"].found.startswith("n"), "the node is named"
    assert found["controller's clock"].status == "ok"
    assert "SIGUSR2 and SIGTERM, then 10 s of grace and 2 s to die" in found["preemption in low"].found
    assert found["sbatch for no GPU"].status == "ok"
    assert found["results"].status == "warning", "a disk of one machine, and a cluster of two"
    assert {path.name for path in tmp_path.iterdir()} - {"__pycache__"} == before
    assert not [job for job in site.queue().values() if job.name.startswith("doctor")]


def test_what_the_site_does_not_have_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = write_grid(tmp_path, partition="mian", more=", setup: ['export HERE=1']")
    found = by_name(examine(tmp_path / "results", grid=grid, job=True))
    assert "did you mean main?" in found["request: mian"].remedy
    assert "invalid partition" in found["sbatch for no GPU"].found
    assert "invalid partition" in found["node"].found
    assert (found["node"].status, found["squeue"].status) == ("failed", "ok")


def test_a_job_goes_through_the_lines_of_set_up(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = write_grid(tmp_path, more=", setup: ['export PATH=$PWD:$PATH'], python: mine")
    (tmp_path / "mine").write_text(f'#!/bin/sh\nexec {os.environ.get("PYTHON", sys.executable)} "$@"\n')
    (tmp_path / "mine").chmod(0o755)
    assert by_name(examine(tmp_path / "results", grid=grid, job=True))["node: Python"].status == "ok"
    (tmp_path / "mine").write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    check = by_name(examine(tmp_path / "results", grid=grid, job=True))["node: Python"]
    assert check.status == "failed"
    assert "scaling (No module named 'scaling')" in check.found


def test_hung_accounting_is_a_warning_and_takes_little_time(tmp_path):
    accounting = daemon("slurmdbd")
    kill(accounting, signal.SIGSTOP)
    try:
        began = time.monotonic()
        found = by_name(examine(tmp_path / "results"))
        assert time.monotonic() - began < 60
    finally:
        kill(accounting, signal.SIGCONT)
    assert found["sacct"].status == "warning"
    assert "status works without it" in found["sacct"].remedy
    assert found["SLURM"].status == found["sbatch"].status == "ok"
