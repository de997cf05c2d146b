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
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from analysis.approaches.parametric import fit_points
from analysis.data.points import Points
from analysis.engine.objectives import Objective, huber, log_mse, mse
from analysis.engine.resampling import draw
from analysis.laws import Chinchilla
from benchmarks.timing import machine

ROWS, OUTLIERS, DELTA, DRAWS = 240, 5, 1e-3, 4_000
ROUNDING = 1e-14
"""Parameters in double precision place a sum no better than this, as a share of it."""
LARGE_ROWS, LARGE_DRAWS, COMMAND_DRAWS = 100_000, 1_000, 1_000
RECIPE_DRAWS, OPTISCALE_DRAWS = 200, 400
HOFFMANN = np.array([np.log(406.4), np.log(410.7), np.log(1.69), 0.34, 0.28])
"""(log A, log B, log E, alpha, beta) of Hoffmann et al. 2022: where the recipe's bootstrap starts."""

Parameters = tuple[float, float, float, float, float]
"""E, A, B, alpha, beta."""


@dataclass(frozen=True)
class Data:
    """Runs."""

    n: np.ndarray
    d: np.ndarray
    loss: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Row:
    """One way to fit, ready to be measured."""

    name: str
    minimised: str
    objective: Objective
    fit: Callable[[], Parameters]
    share: float = 1.0
    """Share of its starts that `fit` follows."""
    starts: str
    draws: Callable[[], object] | None = None
    """A bootstrap of `measured` draws."""
    measured: int = DRAWS
    fits_too: bool = False
    """Whether `draws` fits as well."""
    method: str = ""


def simulate(rows: int, seed: int = 0) -> Data:
    rng = np.random.default_rng(seed)
    n, d = np.exp(rng.uniform(18, 23, rows)), np.exp(rng.uniform(20, 26, rows))
    loss = (1.82 + 482 / n**0.3478 + 2085 / d**0.3658) * np.exp(0.01 * rng.standard_normal(rows))
    return Data(n, d, loss)


def read(path: Path) -> Data:
    frame = pd.read_csv(path)
    n, c = frame["Model Size"].to_numpy(), frame["Training FLOP"].to_numpy()
    return Data(n, c / (6 * n), frame["loss"].to_numpy())


def without_outliers(data: Data) -> Data:
    keep = data.loss < np.sort(data.loss)[-OUTLIERS]
    return Data(data.n[keep], data.d[keep], data.loss[keep])


def huber_of_loss(delta: float) -> Objective:
    """Return Huber's loss of L - y, of the loss itself and not of its logarithm."""

    def rho(r: np.ndarray, log_y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        y = np.exp(log_y)
        error, slope = y * np.expm1(r), y * np.exp(r)
        clipped = np.clip(error, -delta, delta)
        return clipped * (error - 0.5 * clipped), clipped * slope, (clipped == error) * slope**2 + clipped * slope

    return Objective("huber of the loss", rho, delta)


def value(objective: Objective, parameters: Parameters, data: Data) -> np.longdouble:
    """Return the sum of an objective over the rows."""
    e, a, b, alpha, beta = map(np.longdouble, parameters)
    n, d, log_y = data.n.astype(np.longdouble), data.d.astype(np.longdouble), np.log(data.loss.astype(np.longdouble))
    return objective.rho(np.log(e + a * n**-alpha + b * d**-beta) - log_y, log_y)[0].sum()


def ours(data: Data, minimised: str, objective: Objective) -> Row:
    law, x = Chinchilla(), Points.of(N=data.n, D=data.d)
    fitted, sample = fit_points(x, data.loss, law, objective)

    def fit() -> Parameters:
        natural = law.natural(fit_points(x, data.loss, law, objective)[0].theta)
        return tuple(float(natural[name]) for name in law.parameters)

    return Row(
        name=f"this engine ({fitted.certificate.status})",
        minimised=minimised,
        objective=objective,
        fit=fit,
        starts=f"{fitted.certificate.starts}",
        draws=lambda: draw(sample, "pairs", DRAWS, np.random.default_rng(0)),
        method="pairs",
    )


def recipe(data: Data, sampled: int) -> Row:
    """Return the code of Besiroglu et al., as their notebook runs it.

    The fit is SciPy's L-BFGS-B with its own finite differences and tolerances from a grid of 4,500 points; the
    bootstrap is BFGS with exact gradients from the parameters of Hoffmann et al. The notebook takes those gradients
    from autograd; here they are written out, which is faster.
    """

    def total(theta: np.ndarray, n: np.ndarray, d: np.ndarray, loss: np.ndarray) -> float:
        a, b, e, alpha, beta = theta
        predicted = np.log(np.exp(a - alpha * np.log(n)) + np.exp(b - beta * np.log(d)) + np.exp(e))
        error = np.log(loss) - predicted
        size = np.abs(error)
        return np.sum(np.where(size <= DELTA, 0.5 * error**2, DELTA * (size - 0.5 * DELTA)))

    def gradient(theta: np.ndarray, n: np.ndarray, d: np.ndarray, loss: np.ndarray) -> np.ndarray:
        a, b, e, alpha, beta = theta
        log_n, log_d = np.log(n), np.log(d)
        of_n, of_d, floor = np.exp(a - alpha * log_n), np.exp(b - beta * log_d), np.exp(e)
        predicted = of_n + of_d + floor
        slope = np.clip(np.log(predicted) - np.log(loss), -DELTA, DELTA) / predicted
        columns = (of_n, of_d, np.full_like(of_n, floor), -log_n * of_n, -log_d * of_d)
        return np.array([(slope * column).sum() for column in columns])

    exponents, floors, amplitudes = np.arange(0, 2.5, 0.5), np.arange(-1, 1.5, 0.5), np.arange(0, 30, 5)
    grid = [
        np.array([a, b, e, alpha, beta], dtype=float)
        for alpha, beta, e, a, b in product(exponents, exponents, floors, amplitudes, amplitudes)
    ]
    picked = np.sort(np.random.default_rng(0).permutation(len(grid))[:sampled])
    columns = (data.n, data.d, data.loss)

    def fit() -> Parameters:
        lowest, best = np.inf, HOFFMANN
        with np.errstate(all="ignore"):
            for i in picked:
                end = minimize(total, grid[i], args=columns, method="L-BFGS-B")
                if end.success and end.fun < lowest:
                    lowest, best = end.fun, end.x
        a, b, e, alpha, beta = best
        return float(np.exp(e)), float(np.exp(a)), float(np.exp(b)), float(alpha), float(beta)

    def draws() -> None:
        rng = np.random.default_rng(0)
        with np.errstate(all="ignore"):
            for _ in range(RECIPE_DRAWS):
                rows = rng.integers(0, len(data.n), len(data.n))
                minimize(total, HOFFMANN, args=tuple(c[rows] for c in columns), jac=gradient, method="BFGS")

    return Row(
        name="recipe of Besiroglu et al. with SciPy",
        minimised=f"Huber {DELTA:g} of log L",
        objective=huber(DELTA),
        fit=fit,
        share=len(picked) / len(grid),
        starts=f"{len(grid):,}" + (f" ({len(picked)} measured)" if len(picked) < len(grid) else ""),
        draws=draws,
        measured=RECIPE_DRAWS,
        method="pairs",
    )


def chinchilla(data: Data, folder: Path) -> list[Row]:
    """Return https://github.com/kyo-takano/chinchilla with the paper's loss and the grid of its README."""
    from chinchilla import Chinchilla as Peer
    from chinchilla._metrics import log_huber

    pd.DataFrame({"C": 6 * data.n * data.d, "N": data.n, "D": data.d, "loss": data.loss}).to_csv(
        folder / "df.csv", index=False
    )
    exponents, amplitudes = np.linspace(0.1, 0.7, 5), np.linspace(1, 10, 5)
    grid = {"E": np.linspace(1, 2, 5), "a": amplitudes, "b": amplitudes, "alpha": exponents, "beta": exponents}
    peer = Peer(str(folder), param_grid=grid, loss_fn=partial(log_huber, delta=DELTA), log_level=50)

    def fit() -> Parameters:
        peer.fit()
        return tuple(peer.params[name] for name in ("E", "A", "B", "alpha", "beta"))

    return [
        Row(
            name=f"chinchilla {version('chinchilla')}, {os.cpu_count()} processes",
            minimised=f"Huber {DELTA:g} of log L",
            objective=huber(DELTA),
            fit=fit,
            starts=f"{5**5:,}",
        )
    ]


def simple_scaling_laws(data: Data, folder: Path) -> list[Row]:
    """Return https://github.com/mmcdermott/simple-scaling-laws with its defaults, one evaluation a run."""
    import polars as pl
    from simple_scaling_laws import fit as fit_peer

    size, seen, target = "model_size__n", "dataset_size__d", "test_loss__loss"
    frame = pl.DataFrame(
        {"training_run_id": [f"run{i}" for i in range(len(data.n))], size: data.n, seen: data.d, target: data.loss}
    )

    def fit() -> Parameters:
        model = fit_peer(frame, n_draws=1)
        found, scales = model.params(target), model.manifest["predictors"]
        a = found["A"] * scales[size]["reference"] ** found["alpha"]
        b = found["B"] * scales[seen]["reference"] ** found["beta"]
        return found["E"], a, b, found["alpha"], found["beta"]

    return [
        Row(
            name=f"simple-scaling-laws {version('simple-scaling-laws')}",
            minimised="squares of L",
            objective=mse(),
            fit=fit,
            starts="36, the best 5 followed",
            draws=lambda: fit_peer(frame, n_draws=DRAWS),
            fits_too=True,
            method="wild",
        )
    ]


def vpnls(data: Data, folder: Path) -> list[Row]:
    """Return https://github.com/Open-Athena/vpnls: its grid as in its README, and its refinements of the grid."""
    from vpnls.api import fit_vpnls
    from vpnls.api import huber as huber_loss

    millions, billions = 1e6, 1e9

    def fit(**options: object) -> Parameters:
        r = fit_vpnls(data.n / millions, data.d / billions, data.loss, **options)
        return r.E, r.A * millions**r.alpha, r.B * billions**r.beta, r.alpha, r.beta

    robust = f"Huber {DELTA:g} of L", huber_of_loss(DELTA), {"loss": huber_loss(DELTA)}
    squares = "squares of L", mse(), {}
    return [
        Row(
            name=f"vpnls {version('vpnls')}, method={method}",
            minimised=minimised,
            objective=objective,
            fit=partial(fit, method=method, **options),
            starts="99 x 99 exponents",
        )
        for (minimised, objective, options), method in product((robust, squares), ("grid", "scipy"))
    ]


def optiscale(data: Data, folder: Path) -> list[Row]:
    """Return https://github.com/Sqlace/optiscale with its grid of first exponents, all else default."""
    from optiscale.fit import fit_chinchilla

    def fit() -> Parameters:
        p = fit_chinchilla(data.n, data.d, data.loss, method="grid").params
        return p.E, p.A, p.B, p.alpha, p.beta

    return [
        Row(
            name=f"optiscale {version('optiscale')}",
            minimised="Huber 0.01 of L",
            objective=huber_of_loss(0.01),
            fit=fit,
            starts="49, the best followed",
            draws=lambda: fit_chinchilla(data.n, data.d, data.loss, method="grid", bootstrap=OPTISCALE_DRAWS),
            measured=OPTISCALE_DRAWS,
            fits_too=True,
            method="pairs",
        )
    ]


PEERS: dict[str, tuple[Callable[[Data, Path], list[Row]], str]] = {
    "chinchilla": (chinchilla, "pip install chinchilla"),
    "simple_scaling_laws": (simple_scaling_laws, "pip install simple-scaling-laws  (Python 3.12 or later)"),
    "vpnls": (vpnls, "pip install 'vpnls[scipy] @ git+https://github.com/Open-Athena/vpnls'  (compiles Cython)"),
    "optiscale": (optiscale, "pip install git+https://github.com/Sqlace/optiscale"),
}


def rows_of(data: Data, folder: Path, sampled: int) -> list[Row]:
    """Return everything that is here, and print what is not."""
    robust = f"Huber {DELTA:g} of log L"
    rows = [ours(data, robust, huber(DELTA)), ours(data, "squares of log L", log_mse()), recipe(data, sampled)]
    for module, (make, line) in PEERS.items():
        if find_spec(module) is None:
            print(f"{module}: not installed; {line}")
        else:
            rows += make(data, folder)
    for minimised, objective in {row.minimised: row.objective for row in rows}.items():
        if minimised not in {row.minimised for row in rows[:2]}:
            rows.append(ours(data, minimised, objective))
    return sorted(rows, key=lambda row: ("log" not in row.minimised, row.minimised, "this engine" not in row.name))


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
