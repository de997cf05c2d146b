"""The curves of loss over C: exact where they should be, falling always, and resistant to a bad size."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import least_squares

from analysis.approaches.losscurves import LossCurves, sizes_with_curves

from .conftest import chinchilla


def curves_of(loss, sizes=6, data=6, low=1e7, high=1e9, spread=100.0):
    """Return runs of a factorial design and the curves through them."""
    n, d = map(
        np.ravel, np.meshgrid(np.geomspace(low, high, sizes), 2e8 * np.geomspace(1, spread, data), indexing="ij")
    )
    runs = pd.DataFrame({"N": n, "D": d, "C": 6 * n * d, "loss": loss(n, d), "row": np.arange(len(n))})
    return runs, LossCurves(runs, sizes_with_curves(runs)[0])


def test_an_additive_law_is_met():
    runs, curves = curves_of(chinchilla)
    assert not curves.own
    fitted, residuals = curves.fitted()
    np.testing.assert_allclose(fitted, runs["loss"], rtol=2e-5)  # between two exponents of the grid
    assert np.abs(residuals).max() < 5e-5


def test_one_exponent_is_the_least_squares_solution():
    """Against SciPy on all 13 parameters at once."""
    rng = np.random.default_rng(0)
    runs, curves = curves_of(lambda n, d: chinchilla(n, d) * np.exp(0.01 * rng.normal(size=len(n))))
    fitted, _ = curves.fitted()
    ours = (((runs["loss"] - fitted) / runs["loss"]) ** 2).sum()
    size, x = np.repeat(np.arange(6), 6), np.log(runs["C"] / 1e18)

    def residuals(p):
        return (p[size] + p[6 + size] * np.exp(-p[12] * x) - runs["loss"]) / runs["loss"]

    start = np.concatenate([np.full(6, 2.0), np.full(6, 1.0), [0.3]])
    assert ours == pytest.approx(2 * least_squares(residuals, start, xtol=1e-14, ftol=1e-14).cost, rel=1e-3)


def test_sizes_with_exponents_of_their_own_get_them_only_when_the_runs_say_so():
    def steep(n, d):  # the exponent of D changes with N, as in Farseer's law
        return 1.7 + 400 / n**0.34 + 2000 / d ** (0.37 + 0.05 * np.log10(n / 1e8))

    rng = np.random.default_rng(1)
    noise = 0.001 * rng.normal(size=64)
    assert curves_of(lambda n, d: steep(n, d) * np.exp(noise), sizes=8, data=8, spread=1e3)[1].own
    assert not curves_of(lambda n, d: chinchilla(n, d) * np.exp(noise), sizes=8, data=8, spread=1e3)[1].own
    few = 0.001 * rng.normal(size=32)
    assert not curves_of(lambda n, d: steep(n, d) * np.exp(few), sizes=8, data=4, spread=1e3)[1].own


def test_curves_never_rise():
    """A size whose losses rise with C gets a level line, the others their own."""

    def odd(n, d):
        loss = chinchilla(n, d)
        first = n == n.min()
        return np.where(first, 3.0 + 0.1 * np.log(d / d.min()), loss)

    runs, curves = curves_of(odd)
    grid = np.linspace(np.log(runs["C"].min()), np.log(runs["C"].max()), 50)
    smooth = curves.smooth(runs["loss"].to_numpy()[None], grid)[0]
    assert (np.diff(smooth, axis=1) <= 1e-12).all()
    assert np.ptp(smooth[0]) == 0
    assert (np.ptp(smooth[1:], axis=1) > 0.1).all()


def test_many_sets_of_losses_are_smoothed_as_one_at_a_time():
    rng = np.random.default_rng(2)
    runs, curves = curves_of(chinchilla)
    losses = runs["loss"].to_numpy() * np.exp(0.01 * rng.normal(size=(5, 36)))
    grid = curves.grid()
    together = curves.smooth(losses, grid)
    for i in range(5):
        np.testing.assert_allclose(together[i], curves.smooth(losses[i : i + 1], grid)[0], rtol=1e-12)


def test_a_size_is_defined_within_its_own_runs_only():
    runs, curves = curves_of(chinchilla, spread=10.0)
    grid = curves.grid()
    defined = curves.defined(grid)
    assert (defined.sum(axis=0) >= 3).all()
    for s, (_, part) in enumerate(runs.groupby("N")):
        inside = (grid >= np.log(part["C"].min()) - 1e-6) & (grid <= np.log(part["C"].max()) + 1e-6)
        np.testing.assert_array_equal(defined[s], inside)


def test_leverage_makes_residuals_of_their_true_size():
    """Residuals over sqrt(1 - leverage) have the variance of the noise, where plain ones are too small."""
    rng = np.random.default_rng(3)
    plain, scaled = [], []
    for _ in range(60):
        runs, curves = curves_of(lambda n, d: chinchilla(n, d) * np.exp(0.003 * rng.normal(size=len(n))), data=4)
        fitted, residuals = curves.fitted()
        plain.append(np.mean((runs["loss"] / fitted - 1) ** 2))
        scaled.append(np.mean(residuals**2))
    assert np.sqrt(np.mean(scaled)) == pytest.approx(0.003, rel=0.08)
    assert np.sqrt(np.mean(plain)) < 0.0025
