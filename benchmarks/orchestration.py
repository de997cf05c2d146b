"""What a large sweep waits for beside training: `python -m benchmarks.orchestration [--repeats 5] [--only collect]`.

A measurement is a function that takes an empty folder and the number of repeats and returns a `Measured`; it is in
`MEASUREMENTS`. Files are in the page cache, and imports are not counted.
"""

import argparse
import functools
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timing import call_seconds, machine
from scaling import sizes
from scaling.files import plain
from scaling.records import RunRecord
from scaling.results import read_records
from scaling.tables import format_table
from sweeps.collect import write_table
from sweeps.folder import SweepFolder
from sweeps.gridfile import load_grid
from sweeps.jobs import site
from sweeps.jobs.intents import intents_of
from sweeps.jobs.status import sweep_status
from sweeps.jobs.submit import submit, write_plan
from sweeps.jobs.table import format_status
from sweeps.jobs.worker import run_one
from sweeps.plan import Plan, make_plan

REPEATS = 5
CURVE = 64
"""Points of a record's training curve: what the built-in trainer writes, about."""

TRAINER = """
from scaling import Cost, RunRecord

def cost(spec):
    return Cost(params=spec.model["size"], flops_per_step=60 * spec.model["size"], frames_per_step=10)

def train(spec, run):
    return RunRecord.of(spec, cost(spec), loss=2.5)
"""
OWN = """
name: own
trainer: benchmark_trainer:train
model: {{sizes: {{from: 1k, to: 1M, count: {ladder}}}}}
budgets: {budgets}
seeds: {seeds}
"""
BUILT_IN = """
name: speech
corpus: {{path: no-such-corpus}}
model: {{frontend: logmel, sizes: {{from: 8k, to: 100M, count: {ladder}}}}}
budgets: {budgets}
seeds: {seeds}
allow_short: true
"""


@dataclass(frozen=True)
class Measured:
    """Seconds of the repeats of one thing, and what they shall stay under."""

    what: str
    goal: float
    seconds: list[float]

    def row(self) -> list[str]:
        """Return the row of the table."""
        median = statistics.median(self.seconds)
        spread = f"{min(self.seconds):.3g} to {max(self.seconds):.3g}"
        return [self.what, f"{self.goal:g}", f"{median:.3g}", spread, "yes" if median <= self.goal else "NO"]


def write_grid(folder: Path, grid: str, *, ladder: int = 50, budgets: int = 10, seeds: int = 20) -> Path:
    """Write a grid of so many points, and the trainer of `OWN` beside it; returns the grid's path."""
    lowest = 1e9 if grid == OWN else 1e15
    (folder / "benchmark_trainer.py").write_text(TRAINER)
    path = folder / "grid.yaml"
    path.write_text(
        grid.format(ladder=ladder, budgets=[lowest * (i + 1) for i in range(budgets)], seeds=list(range(seeds)))
    )
    return path


def plan(what: str, grid: str, folder: Path, repeats: int, **counts: int) -> Measured:
    """Time reading a grid and planning it."""
    path = write_grid(folder, grid, **counts)
    points = len(make_plan(load_grid(path)).points)

    def run() -> None:
        for remembered in (sizes._nearest, sizes._params_of_width, sizes._widths):  # as in a new process
            remembered.cache_clear()
        make_plan(load_grid(path))

    return Measured(f"plan of {points:,} points, {what}", 1.0, call_seconds(run, repeats))


def write_records(made: Plan, folder: Path) -> None:
    """Write the files of a sweep whose runs are all done, without syncing any."""
    (folder / "records").mkdir(parents=True)
    (folder / "sweep.json").write_text("{}")
    (folder / "plan.jsonl").write_text("".join(json.dumps(plain(point.row())) + "\n" for point in made.points))
    for point in made.points:
        assert point.cost is not None
        flops = point.cost.flops_per_step * point.spec.updates
        record = RunRecord.of(
            point.spec,
            point.cost,
            loss=2.5,
            loss_se=0.01,
            seconds=60.0,
            metrics={"constant_loss": 4.6, "accuracy": 0.3, "clips": 200.0},
            curve=[[flops * (i + 1) / CURVE, 4.6 - 2 * i / CURVE] for i in range(CURVE)],
            versions={"python": "3", "torch": "2", "scaling-sweep": "0"},
        )
        (folder / "records" / f"{record.id}.json").write_text(json.dumps(record.to_dict(), indent=1))


def collect(folder: Path, repeats: int) -> Measured:
    """Time reading records and writing them as CSV, as `collect` does."""
    made = make_plan(load_grid(write_grid(folder, BUILT_IN)))
    sweep = folder / "sweep"
    write_records(made, sweep)

    def run() -> None:
        rows, excluded = read_records(sweep, curves=False)
        assert len(rows) == len(made.points)
        assert not excluded
        write_table(rows, folder / "runs.csv")

    return Measured(f"collect of {len(made.points):,} records", 2.0, call_seconds(run, repeats))


def sweep_status_of(folder: Path, repeats: int) -> Measured:
    """Time the status of a sweep in its middle: most runs done, some training, some not begun; and its table."""
    made = make_plan(load_grid(write_grid(folder, BUILT_IN)))
    sweep = SweepFolder(folder / "sweep")
    write_records(made, sweep.path)
    for number, point in enumerate(made.points):
        if number % 10 == 0:
            sweep.record_file(point.spec.id).unlink()
        if number % 20 == 0:
            run = sweep.run(point.spec.id)
            (run / "attempts" / "1").mkdir(parents=True)
            (run / "attempts" / "1" / "start.json").write_text(json.dumps({"began": time.time(), "job": "1_0"}))
            (run / "lease.json").write_text(json.dumps({"host": "elsewhere", "pid": 1, "token": "t"}))
            (run / "metrics.jsonl").write_text('{"step": 3, "time": 1.0, "loss": 2.5}\n' * 20)

    def look() -> None:
        runs = sweep_status(sweep)
        assert len(runs) == len(made.points)
        format_status(sweep, runs)

    return Measured(f"status of {len(made.points):,} runs", 1.0, call_seconds(look, repeats))


def worker(folder: Path, repeats: int) -> Measured:
    """Time a run of a trainer that does nothing: lease, attempt, record and the rest, imports aside."""
    grid = write_grid(folder, OWN, ladder=10, budgets=1, seeds=10 * repeats)
    sys.modules.pop("benchmark_trainer", None)
    made = make_plan(load_grid(grid))
    sweep = SweepFolder(folder / "sweep")
    ids = write_plan(made, sweep, "slurm")
    seconds = []
    for run_id in ids:
        start = time.perf_counter()
        assert run_one(str(sweep.path), run_id) == "completed"
        seconds.append(time.perf_counter() - start)
    return Measured("the worker's own time a run", 0.1, seconds[1:])


def submission(folder: Path, repeats: int) -> Measured:
    """Time the submission of 1,000 points to the cluster of SLURM_CONF, cancelled afterwards."""
    seconds = []
    for number in range(repeats):
        grid = write_grid(folder, OWN, ladder=20, budgets=5, seeds=10)
        grid.write_text(grid.read_text() + "cluster: {slurm: {options: {hold: true}}}\n")
        sys.modules.pop("benchmark_trainer", None)
        made = make_plan(load_grid(grid))
        start = time.perf_counter()
        sent = submit(made, results=folder / str(number), executor="slurm")
        seconds.append(time.perf_counter() - start)
        assert len(sent.new) == 1000
        intents = intents_of(sent.folder)
        assert len(intents) <= 2, "calls of sbatch: the runs, and the keeper"
        site.cancel(sorted({job.partition("_")[0] for intent in intents for job in (intent.jobs or {}).values()}))
    return Measured("submission of 1,000 points to SLURM, two calls of sbatch", 5.0, seconds)


MEASUREMENTS: dict[str, Callable[[Path, int], Measured]] = {
    "plan-own": functools.partial(plan, "own trainer", OWN),
    "plan-built-in": functools.partial(plan, "built-in trainer", BUILT_IN),
    "plan-one-seed": functools.partial(plan, "built-in trainer, one seed", BUILT_IN, budgets=200, seeds=1),
    "collect": collect,
    "status": sweep_status_of,
    "worker": worker,
    "submission": submission,
}
NEEDS_SLURM = ("submission",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--only", choices=MEASUREMENTS, nargs="+", default=list(MEASUREMENTS))
    args = parser.parse_args()
    rows = []
    for name in args.only:
        if name in NEEDS_SLURM and not site.here():
            print(f"{name}: no SLURM here; tests/slurm/cluster.sh starts one")
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows.append(MEASUREMENTS[name](Path(folder), args.repeats).row())
    print(f"{machine()}; medians of {args.repeats}")
    print(format_table(["what", "goal, s", "median, s", "min to max", "met"], rows))


if __name__ == "__main__":
    main()
