"""Every test begins on a whole cluster, and one that fails says how the cluster stood."""

import os
import subprocess

import pytest

from .cluster import start_cluster


@pytest.fixture(autouse=True)
def whole_cluster(request):
    """Bring back a node that an earlier test left down or drained: half of a cluster fails tests that are not at fault.

    SLURM drains a node whose job came back before its last step was dead, as a chaos of requeues can bring about.
    """
    if request.node.get_closest_marker("slurm"):
        assert "SLURM_CONF" in os.environ, "run `make test-slurm`, which starts a cluster"
        start_cluster()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Add to the report of a failed test why nodes are out, and what is in the queue."""
    report = yield
    if report.failed and "SLURM_CONF" in os.environ:
        for command in (["sinfo", "-R"], ["sinfo", "-N", "-l"], ["squeue"]):
            out = subprocess.run(["timeout", "10", *command], check=False, capture_output=True, text=True)
            report.sections.append((" ".join(command), out.stdout + out.stderr))
    return report
