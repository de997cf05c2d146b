"""The engine against published optima to twelve digits, SciPy, and the rules that rescaling must obey."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad, minimize

from analysis.laws import Chinchilla, law_named, log_predict
from analysis.newton import _derivatives, huber, log_mse, minimise, mse, objective_named
from scaling import InputError

from .conftest import TRUTH, isoflop_table

LAW = Chinchilla()


@pytest.fixture(scope="module")
def epoch(reference):
    """Return the published Chinchilla points without the five highest losses, and the exact targets."""
    frame = pd.read_csv(reference / "epoch_chinchilla.csv")
    frame = frame[frame["loss"] < np.sort(frame["loss"])[-5]]
    n, c = frame["Model Size"].to_numpy(), frame["Training FLOP"].to_numpy()
    log_n, log_d = np.log(n), np.log(c / (6 * n))
    targets = json.loads((reference / "targets.json").read_text())
    return log_n, log_d, frame["loss"].to_numpy(), targets


def fitted(epoch, objective):
    log_n, log_d, loss, _ = epoch
    design = LAW.design(log_n, log_d)
    return design, minimise(design, np.log(loss), LAW.starts(log_n, log_d, loss), objective)


@pytest.mark.parametrize(
    ("objective", "key", "value", "digits"),
    [
        (huber(1e-3), "huber_1e3_n240", "objective_sum", 1e-12),
        (log_mse(), "logmse_n240", "sum_sq", 1e-9),
        (mse(), "rawmse_n240", "rss", 1e-9),
    ],
    ids=["huber", "log-mse", "mse"],
)
def test_published_optima_are_reached(epoch, objective, key, value, digits):
    _, ends = fitted(epoch, objective)
    target = epoch[3][key]
    best = int(np.argmin(ends.value))
    assert ends.value[best] <= float(target[value]) * (1 + digits)
    assert ends.converged[best]
    for name, found in LAW.natural(ends.theta[best]).items():
        assert found == pytest.approx(float(target[name]), rel=2e-5), name


def test_starts_agree_and_none_lies_lower(epoch):
    _, ends = fitted(epoch, huber(1e-3))
    assert np.mean(ends.value <= ends.value.min() * (1 + 1e-9)) > 0.9


def test_published_bootstrap_intervals_are_reproduced_with_their_generator(epoch):
    """4,000 draws of Besiroglu et al.'s seed, NumPy's legacy generator: their intervals to the digits they print."""
    _, _, loss, targets = epoch
    design, ends = fitted(epoch, huber(1e-3))
    rng = np.random.RandomState(42)
    counts = np.stack([np.bincount(rng.randint(0, len(loss), len(loss)), minlength=len(loss)) for _ in range(4000)])
    start = np.repeat(ends.theta[[ends.value.argmin()]], 4000, axis=0)
    draws = minimise(design, np.log(loss), start, huber(1e-3), weights=counts.astype(float))
    assert draws.converged.mean() > 0.999
    for name, values in LAW.natural(draws.theta).items():
        expected = targets["bootstrap4000_pairs_seed42"][name]
        assert np.quantile(values, [0.025, 0.975]) == pytest.approx([expected["q025"], expected["q975"]], rel=5e-4), (
            name
        )


@pytest.mark.parametrize("objective", [huber(0.02), log_mse(), mse()], ids=["huber", "log-mse", "mse"])
def test_derivatives_are_those_of_finite_differences(objective):
    rng = np.random.default_rng(0)
    design = LAW.design(rng.uniform(10, 20, 30), rng.uniform(12, 22, 30))
    theta = LAW.theta(TRUTH)
    log_y = log_predict(design, theta) + 0.05 * rng.normal(size=30)
    at = theta + 0.05 * rng.normal(size=5)

    def value(t):
        return _derivatives(design, log_y, t[None], objective, None)[0][0]

    def gradient(t):
        return _derivatives(design, log_y, t[None], objective, None)[1][0]

    assert check_grad(value, gradient, at) < 1e-4 * np.abs(gradient(at)).max() + 1e-6
    hessian = _derivatives(design, log_y, at[None], objective, None)[2][0]
    steps = 1e-6 * np.eye(5)
    numeric = np.stack([(gradient(at + s) - gradient(at - s)) / 2e-6 for s in steps])
    np.testing.assert_allclose(hessian, numeric, rtol=1e-4, atol=1e-5 * np.abs(hessian).max())


def test_scipy_finds_nothing_lower():
    frame = isoflop_table(noise=0.01, seed=3)
    log_n, log_d, loss = np.log(frame["params"]), np.log(frame["tokens"]), frame["loss"].to_numpy()
    design = LAW.design(log_n.to_numpy(), log_d.to_numpy())
    ends = minimise(design, np.log(loss), LAW.starts(log_n.to_numpy(), log_d.to_numpy(), loss), huber(1e-3))

    def value(t):
        return _derivatives(design, np.log(loss), t[None], huber(1e-3), None)[0][0]

    rng = np.random.default_rng(0)
    for _ in range(20):
        found = minimize(
            value, LAW.theta(TRUTH) + rng.normal(size=5) * 0.3, method="Nelder-Mead", options={"maxiter": 4000}
        )
        assert ends.value.min() <= found.fun * (1 + 1e-9)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 10), st.floats(0.1, 10), st.floats(0.2, 5))
def test_rescaling_n_d_and_l_changes_the_parameters_as_it_must(scale_n, scale_d, scale_l):
    rng = np.random.default_rng(1)
    log_n, log_d = rng.uniform(14, 22, 40), rng.uniform(16, 24, 40)
    theta = LAW.theta(TRUTH)
    log_y = log_predict(LAW.design(log_n, log_d), theta) + 0.01 * rng.normal(size=40)

    def fit(shift_n, shift_d, shift_l):
        x, y = log_n + shift_n, log_d + shift_d
        start = theta + np.array([shift_l, shift_l + theta[3] * shift_n, shift_l + theta[4] * shift_d, 0, 0])
        return minimise(LAW.design(x, y), log_y + shift_l, start[None], log_mse()).theta[0]

    base = fit(0, 0, 0)
    a, b, c = np.log([scale_n, scale_d, scale_l])
    moved = fit(a, b, c)
    expected = base + np.array([c, c + base[3] * a, c + base[4] * b, 0, 0])
    np.testing.assert_allclose(moved, expected, rtol=1e-5, atol=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100))
def test_row_order_changes_nothing_and_weight_two_is_a_row_twice(seed):
    rng = np.random.default_rng(seed)
    log_n, log_d = rng.uniform(14, 22, 25), rng.uniform(16, 24, 25)
    theta = LAW.theta(TRUTH)
    log_y = log_predict(LAW.design(log_n, log_d), theta) + 0.01 * rng.normal(size=25)
    order = rng.permutation(25)

    def fit(rows, weights=None):
        return minimise(LAW.design(log_n[rows], log_d[rows]), log_y[rows], theta[None], huber(5e-3), weights=weights)

    everyone = np.arange(25)
    np.testing.assert_allclose(fit(order).theta, fit(everyone).theta, rtol=1e-7)
    twice = np.concatenate([everyone, [4]])
    weights = np.ones(25)
    weights[4] = 2
    np.testing.assert_allclose(fit(everyone, weights).theta, fit(twice).theta, rtol=1e-7)


def test_names_of_laws_and_objectives_are_checked():
    assert law_named("chinchilla").name == "chinchilla"
    with pytest.raises(InputError, match="did you mean chinchilla"):
        law_named("chinchila")
    with pytest.raises(InputError, match="did you mean huber"):
        objective_named("hubert")
    with pytest.raises(InputError, match="only huber has a delta"):
        objective_named("mse", 0.1)
