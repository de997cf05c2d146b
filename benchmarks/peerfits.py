"""What the fit engine is measured beside: data, the published recipe, and a call of every peer.

`benchmarks.peers` times them. A peer is called as its documentation shows; `PEERS` has the line that installs each.
"""

import os
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
