"""Exponents of 15 published configurations (Porian et al. 2024, arXiv 2406.19146), whatever sizes are looked at.

Their 95 % intervals come from interpolated minima with bootstrapped seeds. What is asserted here was measured, also
for parabolas, which the default has to beat wherever the window is wide.
"""

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.curvechoice import fit_curves
from analysis.approaches.curves import BudgetRuns
from analysis.approaches.isoflop import fit_isoflop
from analysis.data.columns import find_columns
from analysis.data.costmodel import CostModel
from analysis.data.table import clean

CONFIGURATION = ["file", "dataset", "hparams", "warmup", "decay", "param_count", "val"]


@pytest.fixture(scope="module")
def published(reference):
    """Return (fit, points) of every configuration."""
    points = pd.read_csv(reference / "porian_isoflop_points.csv")
    fits = pd.read_csv(reference / "porian_published_fits.csv")
    return [(fit, points[(points[CONFIGURATION] == fit[CONFIGURATION]).all(axis=1)]) for _, fit in fits.iterrows()]


def within(points, window):
    """Return the points of each budget within a factor of the size of the lowest loss, which is an inner one."""
    found = []
    for _, part in points.groupby("flops"):
        best = part["n"][part["loss"].idxmin()]
        part = part[np.abs(np.log(part["n"] / best)) <= np.log(window) + 1e-3].sort_values("n")
        if part["n"].iloc[0] < best < part["n"].iloc[-1]:
            found.append(part)
    return found


def exponents(published, window, curve):
    """Return the slope of log N* over log C for every configuration."""
    slopes = []
    for _, points in published:
        parts = within(points, window)
        curves = fit_curves(
            [BudgetRuns(log_n=np.log(part["n"].to_numpy()), loss=part["loss"].to_numpy()) for part in parts], curve
        )
        inside = [i for i in range(len(parts)) if curves.encloses(i)]
        log_c = np.log([parts[i]["flops"].iloc[0] for i in inside])
        slopes.append(np.polyfit(log_c, curves.minima()[inside], 1)[0])
    return np.array(slopes)


@pytest.mark.parametrize(("window", "least", "parabola"), [(2, 15, 15), (4, 12, 11), (8, 13, 10), (20, 13, 8)])
def test_published_exponents_are_held_at_every_window(published, window, least, parabola):
    low, high = (np.array([fit[name] for fit, _ in published]) for name in ("a_lo95", "a_hi95"))
    held = {}
    for curve in ("auto", "quadratic"):
        found = exponents(published, window, curve)
        held[curve] = int(((low <= found) & (found <= high)).sum())
    assert held["auto"] >= least
    assert held["quadratic"] <= parabola


def test_exponents_hardly_move_with_the_window(published):
    reported = np.array([fit["a_reported"] for fit, _ in published])
    spread, distance = {}, {}
    for curve in ("auto", "quadratic"):
        found = np.stack([exponents(published, window, curve) for window in (2, 4, 8, 20)])
        spread[curve] = np.ptp(found, axis=0).mean()
        distance[curve] = np.abs(found - reported).mean()
    assert spread["auto"] < 0.6 * spread["quadratic"]
    assert distance["auto"] < 0.01 < distance["quadratic"]


def test_a_whole_table_needs_no_window(published):
    """All sizes, hundredfold and more apart, with verdicts, as a user would."""
    held = {"auto": 0, "quadratic": 0}
    for fit, points in published:
        frame = points.rename(columns={"n": "params"}).assign(budget=points["flops"])
        frame = frame[["params", "tokens", "flops", "budget", "loss"]].reset_index(drop=True)
        columns = find_columns(list(frame), {}, where="published")
        table = clean(frame, columns, label="", source={"path": "published", "rows": len(frame)})
        cost, rng = CostModel.of(table), np.random.default_rng(0)
        for curve in held:
            result = fit_isoflop(table, cost, draws=0, rng=rng, curve=curve)
            held[curve] += fit["a_lo95"] <= result.exponents()["a"][0] <= fit["a_hi95"]
    assert held["auto"] >= 13
    assert held["quadratic"] <= 6
