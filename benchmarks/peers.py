"""The fit engine beside what else fits L = E + A/N^alpha + B/D^beta. Run `python -m benchmarks.peers`.

`--points FILE` takes Epoch's reconstruction of the runs of Chinchilla (Besiroglu et al. 2024, arXiv 2404.10102), a CSV
with the columns `Model Size`, `Training FLOP` and `loss`, without its five largest losses as in that paper: 240 rows.
Without it, as many rows are simulated on that paper's truth with 1 % log-normal noise.

Peers are packages that need not be here: those that are missing are named with the line that installs them. Each runs
as its documentation shows, with its own defaults, starts and tolerances. Peers minimise different things, so each is
held against the lowest value of its own objective that anything reached, evaluated here at the parameters it returns,
in extended precision. Every number is a median, after one call that does not count; seconds of CPU time, those of a
peer's own processes included, say what a busy machine hides. Peak memory is that of a process of its own.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.approaches.parametric import fit_points
from analysis.data.points import Points
from analysis.engine.objectives import huber
from analysis.engine.resampling import draw
from analysis.laws import Chinchilla
from benchmarks.peerfits import (
    COMMAND_DRAWS,
    DELTA,
    DRAWS,
    LARGE_DRAWS,
    LARGE_ROWS,
    OUTLIERS,
    ROUNDING,
    ROWS,
    Data,
    Row,
    read,
    rows_of,
    simulate,
    value,
    without_outliers,
)
from benchmarks.timing import machine


@dataclass(frozen=True)
class Cost:
    """Seconds of a call."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.3g} ({self.cpu:.3g})"


def clocks() -> Cost:
    """Return the time, and the CPU time that this process and those it waited for have used."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Cost(time.perf_counter(), sum(u.ru_utime + u.ru_stime for u in used))


def measure(function: Callable[[], object], repeats: int) -> Cost:
    """Return the median cost of a call, after one that does not count."""
    function()
    costs = []
    for _ in range(repeats):
        start = clocks()
        function()
        end = clocks()
        costs.append(Cost(end.wall - start.wall, end.cpu - start.cpu))
    return Cost(statistics.median(c.wall for c in costs), statistics.median(c.cpu for c in costs))


def compare(rows: list[Row], data: Data, repeats: int) -> None:
    results: list[tuple[Row, Cost, str, np.longdouble]] = []
    for row in rows:
        cost, draws = measure(row.fit, repeats), "none"
        if row.draws is not None:
            spent, once = measure(row.draws, repeats), cost if row.fits_too else Cost(0, 0)
            many = DRAWS / row.measured
            draws = str(Cost((spent.wall - once.wall) * many, (spent.cpu - once.cpu) * many))
            draws += f", {row.method}" + (f", {row.measured} measured" if row.measured != DRAWS else "")
        fit = Cost(cost.wall / row.share, cost.cpu / row.share)
        results.append((row, fit, draws, value(row.objective, row.fit(), data)))
    lowest = {row.minimised: min(v for r, *_, v in results if r.minimised == row.minimised) for row in rows}
    print(f"| fit | minimises | starts | fit, s (CPU) | above the lowest | {DRAWS:,} draws, s (CPU) |")
    print("|---|---|---|---|---|---|")
    for row, cost, draws, reached in results:
        above = float(reached / lowest[row.minimised] - 1)
        above_text = f"{above:.1e}" if above > ROUNDING else f"< {ROUNDING:.0e}"
        print(f"| {row.name} | {row.minimised} | {row.starts} | {cost} | {above_text} | {draws} |")
    print()
    for minimised, least in lowest.items():
        print(f"lowest sum of {minimised}: {np.format_float_scientific(least, precision=16)}")


def peak() -> float:
    """Return the most memory that this process has held, in MiB.

    `ru_maxrss` of a process counts what its parent held when it was forked, hence Linux's own number where there is
    one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line) / 2**10
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (2**20 if sys.platform == "darwin" else 2**10)


def alone(data: Data, draws: int) -> dict[str, float]:
    """Return seconds and peak memory of a fit and its draws, for the process that does nothing else."""
    memory, times = [peak()], [clocks()]
    _, sample = fit_points(Points.of(N=data.n, D=data.d), data.loss, Chinchilla(), huber(DELTA))
    memory.append(peak())
    times.append(clocks())
    draw(sample, "pairs", draws, np.random.default_rng(0))
    memory.append(peak())
    times.append(clocks())
    found = dict(zip(("imports", "fit", "all"), memory, strict=True))
    for what, start, end in zip(("fit", "draws"), times[:-1], times[1:], strict=True):
        found |= {f"{what} s": end.wall - start.wall, f"{what} CPU": end.cpu - start.cpu}
    return found


def in_process(data: Data, draws: int, repeats: int, folder: Path) -> None:
    path = folder / "data.npz"
    np.savez(path, n=data.n, d=data.d, loss=data.loss)
    command = [sys.executable, "-m", "benchmarks.peers", "--alone", str(path), "--draws", str(draws)]
    runs = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(repeats)]
    m = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    fit, drawn = Cost(m["fit s"], m["fit CPU"]), Cost(m["draws s"], m["draws CPU"])
    print(
        f"{len(data.n):,} rows x {draws:,} draws: fit {fit} s (CPU), draws {drawn} s (CPU); most memory held "
        f"{m['imports']:.0f} MiB with the imports, {m['fit']:.0f} MiB with the fit, {m['all']:.0f} MiB with all"
    )


def command(data: Data, repeats: int, folder: Path) -> None:
    """Print what the whole command costs, from its start to its last byte."""
    frame = pd.DataFrame({"params": data.n, "tokens": data.d, "flops": 6 * data.n * data.d, "loss": data.loss})
    frame.to_csv(folder / "runs.csv", index=False)
    line = ["scaling-fit", "runs.csv", "--json", "-", "--bootstrap", str(COMMAND_DRAWS)]
    program = str(Path(sys.executable).with_name(line[0]))

    def run() -> None:
        subprocess.run([program, *line[1:]], cwd=folder, capture_output=True, text=True, check=True)

    try:
        print(f"{' '.join(line)}, {len(data.n)} rows, whole process: {measure(run, repeats)} s (CPU)")
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(line)}: exit code {error.returncode}: {(error.stderr.splitlines() or ['no message'])[-1]}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.partition("\n")[0])
    parser.add_argument("--points", type=Path, metavar="FILE", help="Epoch's points (default: simulated rows)")
    parser.add_argument("--repeats", type=int, default=5, help="measurements to a median (default: %(default)s)")
    parser.add_argument("--starts", type=int, default=100, help="of the recipe's 4,500 (default: %(default)s)")
    parser.add_argument("--skip-large", action="store_true", help=f"leave the {LARGE_ROWS:,} rows out")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--draws", type=int, default=DRAWS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        with np.load(args.alone) as file:
            print(json.dumps(alone(Data(file["n"], file["d"], file["loss"]), args.draws)))
        return

    os.environ.setdefault("MPLBACKEND", "Agg")  # a peer draws as it fits
    print(f"{machine()}, NumPy {np.__version__}, SciPy {version('scipy')}")
    every = read(args.points) if args.points else simulate(ROWS + OUTLIERS)
    data = without_outliers(every)
    print(f"{len(data.n)} rows, {args.points.name if args.points else 'simulated'}; medians of {args.repeats}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        compare(rows_of(data, folder, args.starts), data, args.repeats)
        print()
        in_process(data, DRAWS, args.repeats, folder)
        command(every, args.repeats, folder)
        if not args.skip_large:
            in_process(simulate(LARGE_ROWS), LARGE_DRAWS, args.repeats, folder)


if __name__ == "__main__":
    main()
