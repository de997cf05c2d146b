"""The page on clusters: its commands on a small sweep of this machine, whose largest model runs out of memory."""

import pytest

from sweeps.folder import SweepFolder
from sweeps.jobs import site, watch, why
from sweeps.jobs.status import sweep_status
from tests.docs.elsewhere import steps_here
from tests.docs.pages import changed
from tests.sweeps.conftest import GRID, TOY

PAGE = "docs/cluster.md"
PAGES_HERE = [PAGE]
GREEDY = '    if spec.model["size"] == 1000:\n        raise MemoryError("the batch does not fit")\n'
STARTING = ("submit", "resume", "retry")
MEASURE = "\n\ndef measure(spec):\n    return 1e-3\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return where the page's sweep will be, beside its grid; SLURM is hidden where it is installed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(site, "here", lambda: False)
    monkeypatch.setattr(why, "LAST_SECONDS", 0.0)
    monkeypatch.setattr(watch, "LOCAL_SECONDS", 0.1)
    before, train, after = TOY.partition("def train(spec, run):\n")
    (tmp_path / "greedy.py").write_text(before + train + GREEDY + after + MEASURE)
    cluster = "{executor: local, slots: 3, tries: 1}\ncap: {gpu_hours: 500}"
    grid = changed(GRID[: GRID.index("seeds:")], {"toy": "greedy", "1e7, 1e8": "1e7"})
    (tmp_path / "grid.yaml").write_text(f"{grid}min_updates: 1\ncluster: {cluster}\n")
    return SweepFolder(tmp_path / "results" / "greedy")


@pytest.mark.slow
def test_the_commands_from_the_first_look_to_the_last_try(folder, run):
    """Each is given when the queue has come to rest, so that it finds the failed run and not one that runs."""
    told, words = {}, {"NAME": "greedy"}
    for step in steps_here(PAGE):
        for command in step.variants():
            told[command] = run(command, **words)
            if command.split()[1] in STARTING:
                watch.watch(folder)
                words["RUN"] = next(run.id[:8] for run in sweep_status(folder) if run.row["params"] == 1000)
    assert "measured" in told["scaling-sweep doctor grid.yaml --bench"]
    assert "2 completed" in told["scaling-sweep status NAME --watch"]
    assert "memory" in told["scaling-sweep why RUN"]
    assert "1 runs are tried again" in told["scaling-sweep retry NAME --class memory --run RUN"]
    failed = next(run for run in sweep_status(folder) if run.row["params"] == 1000)
    assert (failed.state, failed.kind) == ("failed", "memory")
