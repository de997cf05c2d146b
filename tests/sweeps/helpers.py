"""What tests of sweeps share: submitting a grid from this process, looking at it, waiting for it."""

import time

from scaling.files import read_json
from sweeps.gridfile import load_grid
from sweeps.jobs.status import sweep_status
from sweeps.jobs.submit import submit
from sweeps.plan import make_plan

PAIR = """
name: pair
objective: hubert
corpus: {{path: {corpus}}}
targets: {{clusters: 20, fit_hours: 0.05}}
model:
  frontend: logmel
  position: {{kernel: 16, groups: depthwise}}
  shapes: [{{layers: 2, width: 24, ffn: 48, heads: 2}}]
steps: [60]
unique_hours: [0.1]
min_updates: 1
train: {{crop_seconds: 1, batch: 8, peak_lr: 3e-3, eval_hours: 0.01}}
cluster: {{executor: {executor}, slurm: {{timeout: 60m}}, resources: [{{up_to: 1G, {together}}}]}}
"""
"""One small run of the speech trainer; `together` says how many processes share it."""


def submitted(grid, executor="debug"):
    """Submit a grid with its results beside it, and return what `submit` says."""
    return submit(make_plan(load_grid(grid)), results=grid.parent / "results", executor=executor)


def states(folder):
    """Return the state of every run."""
    return [run.state for run in sweep_status(folder)]


def outcomes(folder, run_id):
    """Return how the attempts at a run ended: the outcome, or the class of the failure."""
    files = sorted((folder.run(run_id) / "attempts").glob("*/exit.json"), key=lambda path: int(path.parent.name))
    return [end.get("class", end["outcome"]) for end in map(read_json, files)]


def wait_for(condition, seconds=90, pause=0.05, show=str):
    """Wait until a condition holds, and fail when it does not in time, showing how things stand."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited too long: {show()}"
        time.sleep(pause)


def by_name(checks):
    """Return name -> check of what doctor found."""
    return {check.name: check for check in checks}
