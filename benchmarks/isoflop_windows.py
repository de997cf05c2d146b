"""Exponents of N* ~ C^a by ways to find minima, over windows of sizes: `python -m benchmarks.isoflop_windows FOLDER`.

FOLDER holds what Porian et al. 2024 (arXiv 2406.19146, MIT) published, as `porian_isoflop_points.csv` and
`porian_published_fits.csv`. A window of 4 keeps the sizes between a fourth and four times that of a budget's lowest
loss. For every window: how many of the 15 configurations lie in the published 95 % interval, and the mean distance of a
from the published one; last, how far a moves over the windows. The published minima are interpolated (Akima), so that
interpolation is at home here; on noisy losses it is the worst of all, as simulated studies show below.
"""

import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.interpolate import Akima1DInterpolator, CubicSpline, PchipInterpolator

from analysis.approaches.curvechoice import CURVES, fit_curves, minima_gradient
from analysis.approaches.curves import BudgetRuns

CONFIGURATION = ["file", "dataset", "hparams", "warmup", "decay", "param_count", "val"]
WINDOWS = (2, 4, 8, 20, 1e9)
TRUTHS = {"alpha .34, beta .37": (1.7, 400, 2000, 0.34, 0.37), "alpha .25, beta .45": (1.7, 400, 2000, 0.25, 0.45)}
STUDIES = 50

Minima = tuple[np.ndarray, np.ndarray]
"""log N*, NaN where there is none inside the sizes, and their variance over that of the losses."""


def ours(curve: str) -> Callable[[list[BudgetRuns]], Minima]:
    def minima(runs: list[BudgetRuns]) -> Minima:
        curves = fit_curves(runs, curve)
        inside = np.array([curves.encloses(i) for i in range(len(runs))])
        return np.where(inside, curves.minima(), np.nan), (minima_gradient(curves) ** 2).sum(1)

    return minima


def polynomial(degree: int, *, log: bool = False, nearest: int | None = None) -> Callable[[list[BudgetRuns]], Minima]:
    def one(part: BudgetRuns) -> tuple[float, float]:
        x, y = part.log_n - part.log_n.mean(), np.log(part.loss) if log else part.loss
        if nearest:
            kept = np.argsort(np.abs(x - x[np.argmin(y)]), kind="stable")[:nearest]
            kept = np.unique([*kept, *(np.argmin(y) + np.array([-1, 0, 1]))])
            x, y = x[kept], y[kept]
        for power in range(min(degree, len(x) - 1), 1, -1):  # a cubic without a minimum leaves its place to a parabola
            solve = np.linalg.pinv(np.vander(x, power + 1, increasing=True))
            fitted = np.polynomial.Polynomial(solve @ y)
            roots = fitted.deriv().roots()
            roots = np.real(roots[np.abs(np.imag(roots)) < 1e-9])
            inside = [r for r in roots if fitted.deriv(2)(r) > 0 and x.min() < r < x.max()]
            if inside:
                best = min(inside, key=fitted)
                slope = np.array([0, *(j * best ** (j - 1) for j in range(1, power + 1))]) @ solve
                return best + part.log_n.mean(), float(slope @ slope) / fitted.deriv(2)(best) ** 2
        return np.nan, np.nan

    return lambda runs: tuple(np.array([one(part) for part in runs]).T)


def interpolation(kind: type) -> Callable[[list[BudgetRuns]], Minima]:
    def one(part: BudgetRuns) -> float:
        grid = np.linspace(part.log_n[0], part.log_n[-1], 4001)
        at = int(np.argmin(kind(part.log_n, part.loss)(grid)))
        return grid[at] if 0 < at < len(grid) - 1 else np.nan

    return lambda runs: (np.array([one(part) for part in runs]), polynomial(2)(runs)[1])


ESTIMATORS = {
    "parabola": polynomial(2),
    "parabola of log loss": polynomial(2, log=True),
    "cubic": polynomial(3),
    "quartic": polynomial(4),
    "parabola, 3 nearest": polynomial(2, nearest=3),
    "parabola, 5 nearest": polynomial(2, nearest=5),
    "cubic, 5 nearest": polynomial(3, nearest=5),
    "Akima": interpolation(Akima1DInterpolator),
    "PCHIP": interpolation(PchipInterpolator),
    "spline": interpolation(CubicSpline),
    **{f"analysis: {curve}": ours(curve) for curve in CURVES},
}


def line(flops: np.ndarray, minima: Minima, *, weighted: bool) -> float:
    """Return the slope of log N* over log C."""
    x, y = np.log(flops), minima[0]
    kept = np.isfinite(y) & (minima[1] > 0)
    if kept.sum() < 2:
        return np.nan
    weights = 1 / np.sqrt(minima[1][kept]) if weighted else None
    return float(np.polyfit(x[kept], y[kept], 1, w=weights)[0])


def within(points: pd.DataFrame, window: float) -> tuple[np.ndarray, list[BudgetRuns]]:
    """Return the budgets whose lowest loss is an inner one, and their runs in the window."""
    flops, runs = [], []
    for budget, part in points.sort_values("n").groupby("flops"):
        log_n, loss = np.log(part["n"].to_numpy()), part["loss"].to_numpy()
        near = np.abs(log_n - log_n[np.argmin(loss)]) <= np.log(window) + 1e-3
        found = BudgetRuns(log_n=log_n[near], loss=loss[near])
        if found.inner:
            flops.append(budget)
            runs.append(found)
    return np.array(flops), runs


def published(folder: Path) -> None:
    fits, points = (pd.read_csv(folder / f"porian_{name}.csv") for name in ("published_fits", "isoflop_points"))
    parts = [points[(points[CONFIGURATION] == fit[CONFIGURATION]).all(axis=1)] for _, fit in fits.iterrows()]
    studies = [[within(part, window) for window in WINDOWS] for part in parts]
    print(
        f"{'of 15 within, by window':28s}"
        + "".join(f"{w:>6g}" if w < 1e6 else "   all" for w in WINDOWS)
        + "   |a - published|"
    )
    low, high, reported = (fits[name].to_numpy()[:, None] for name in ("a_lo95", "a_hi95", "a_reported"))
    for name, minima in ESTIMATORS.items():
        for weighted in (False, True):
            a = np.array([[line(flops, minima(runs), weighted=weighted) for flops, runs in row] for row in studies])
            held = "".join(f"{count:6d}" for count in ((low <= a) & (a <= high)).sum(0))
            away = " ".join(f"{value:.4f}" for value in np.nanmean(np.abs(a - reported), axis=0))
            moved = np.nanmean(np.ptp(a[:, :4], axis=1))
            print(f"{name + (', weighted' if weighted else ''):28s}{held}   {away}   moves {moved:.4f} over 2 to 20")


def simulated() -> None:
    rng = np.random.default_rng(0)
    for label, (floor, n_scale, d_scale, alpha, beta) in TRUTHS.items():
        print(f"\n{label}: bias and root mean square error of log N*, and the latter of a")
        for budgets, sizes, span, noise in (
            (3, 5, 16, 0.001),
            (3, 5, 100, 0.005),
            (5, 7, 16, 0.005),
            (5, 7, 100, 0.001),
        ):
            flops = np.geomspace(1e17, 1e19, budgets)
            best = (np.log(alpha * n_scale / (beta * d_scale)) + beta * np.log(flops / 6)) / (alpha + beta)
            found: dict[str, list[tuple[np.ndarray, float]]] = {name: [] for name in ESTIMATORS}
            for _ in range(STUDIES):
                runs = []
                shift = rng.uniform(-0.5, 0.5) * np.log(span) / (sizes - 1)  # no size sits on the minimum but by chance
                for c, middle in zip(flops, best, strict=True):
                    x = middle + shift + np.linspace(-0.5, 0.5, sizes) * np.log(span)
                    loss = floor + n_scale * np.exp(-alpha * x) + d_scale * np.exp(-beta * (np.log(c / 6) - x))
                    runs.append(BudgetRuns(log_n=x, loss=loss * np.exp(noise * rng.standard_normal(sizes))))
                inner = np.array([part.inner for part in runs])
                if inner.sum() < 2:
                    continue
                for name, minima in ESTIMATORS.items():
                    values = minima([part for part, kept in zip(runs, inner, strict=True) if kept])
                    slope = line(flops[inner], values, weighted=False)
                    found[name].append((values[0] - best[inner], slope - beta / (alpha + beta)))
            print(f"  {budgets} budgets x {sizes} sizes over {span}x, noise {noise}")
            for name, pairs in found.items():
                error, slopes = np.concatenate([e for e, _ in pairs]), np.array([s for _, s in pairs])
                rms = [np.sqrt(np.nanmean(values**2)) for values in (error, slopes)]
                print(f"    {name:26s} {np.nanmean(error):+.3f}  {rms[0]:.3f}  {rms[1]:.4f}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a study may lose all its minima
        published(Path(sys.argv[1]))
        simulated()
