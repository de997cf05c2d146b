"""N* under the true cost: the closed form where there is one, brute force elsewhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.approaches.optimum import Spending, local_exponents, near_optimal, optimal_log_n, path_loss
from analysis.data.costmodel import CostModel
from analysis.laws import LAWS, Chinchilla

LAW = Chinchilla()
SIX = Spending(CostModel(np.log([1e6, 1e9]), np.log([6e6, 6e9]), "assumed"))


def speech_cost(n):
    """FLOPs a frame with a convolutional front end: C / (N D) runs from about 53 at 6 M to 7.5 at 317 M."""
    return 6 * n + 2.8e8


SPEECH = Spending(
    CostModel(np.log(np.geomspace(5e6, 3e8, 8)), np.log(speech_cost(np.geomspace(5e6, 3e8, 8))), "recorded")
)

thetas = st.builds(
    lambda e, a, b, alpha, beta: LAW.theta({"E": e, "A": a, "B": b, "alpha": alpha, "beta": beta}),
    st.floats(0.5, 3),
    st.floats(50, 2000),
    st.floats(50, 5000),
    st.floats(0.15, 0.6),
    st.floats(0.15, 0.6),
)


@settings(max_examples=50, deadline=None)
@given(thetas, st.floats(1e18, 1e22))
def test_with_six_n_d_the_closed_form_is_met(theta, budget):
    """N* = G (C / 6)^a with G = (alpha A / (beta B))^(1 / (alpha + beta)), a = beta / (alpha + beta)."""
    p = {k: float(v) for k, v in LAW.natural(theta).items()}
    total = p["alpha"] + p["beta"]
    log_n = (np.log(p["alpha"] * p["A"] / (p["beta"] * p["B"])) + p["beta"] * np.log(budget / 6)) / total
    if np.log(1e6) - 11.5 < log_n < np.log(1e9) + 11.5:
        assert optimal_log_n(LAW, theta, SIX, budget)[0] == pytest.approx(log_n, abs=1e-7)
        a, b = local_exponents(LAW, theta, SIX, budget)
        assert (a[0], b[0]) == pytest.approx((p["beta"] / total, p["alpha"] / total), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(thetas, st.floats(1e17, 1e21))
def test_with_a_front_end_brute_force_finds_nothing_better(theta, budget):
    best = optimal_log_n(LAW, theta, SPEECH, budget)
    knots = SPEECH.cost.log_n
    grid = np.linspace(knots[0] - 11, knots[-1] + 11, 20_001)
    losses = np.exp(SPEECH.log_loss(LAW, theta, budget, grid))
    if np.isfinite(best[0]):
        assert path_loss(LAW, theta, SPEECH, budget, best)[0] <= losses.min() * (1 + 1e-9)
    else:
        assert losses.argmin() in (0, len(grid) - 1) or abs(grid[losses.argmin()] - knots.mean()) > 9


def test_sizes_near_the_optimum_lose_at_most_half_a_percent():
    theta = LAW.theta({"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37})
    low, high = near_optimal(LAW, theta, SIX, 1e20)
    best = optimal_log_n(LAW, theta, SIX, 1e20)
    least = path_loss(LAW, theta, SIX, 1e20, best)[0]
    for n in (low, high):
        assert path_loss(LAW, theta, SIX, 1e20, np.log([n]))[0] == pytest.approx(1.005 * least, rel=1e-4)
    assert low < np.exp(best[0]) < high


def test_the_cost_passes_through_the_recorded_sizes_and_goes_on_smoothly(table_of):
    from .conftest import isoflop_table

    table = table_of(isoflop_table(budgets=(1e17, 1e18), cost=speech_cost))
    cost = CostModel.of(table)
    np.testing.assert_allclose(np.exp(cost.log_cost(cost.log_n)), speech_cost(np.exp(cost.log_n)), rtol=1e-9)
    fine = np.linspace(cost.log_n[0] - 3, cost.log_n[-1] + 3, 5000)
    slope = np.gradient(cost.log_cost(fine), fine)
    assert np.abs(np.diff(slope)).max() < 0.1, "no kink at which an optimum would stick"
    assert np.abs(np.exp(cost.log_cost(fine[2000:3000])) / speech_cost(np.exp(fine[2000:3000])) - 1).max() < 0.02
    assert cost.spread > 2
    again = CostModel.from_dict(cost.to_dict())
    np.testing.assert_allclose(again.log_cost(fine), cost.log_cost(fine), rtol=1e-12)


def test_one_size_is_a_constant_cost_a_parameter(table_of):
    import pandas as pd

    table = table_of(
        pd.DataFrame({"params": [100.0] * 3, "tokens": [1, 2, 3.0], "flops": [700, 1400, 2100.0], "loss": [3, 2, 1.0]})
    )
    assert np.exp(CostModel.of(table).log_cost(np.log([100.0, 1000.0]))) == pytest.approx([700, 7000])


@pytest.mark.parametrize(("name", "symbol"), [("data-constrained", "U"), ("over-fitting", "U"), ("three-term", "B")])
def test_unique_data_and_batch_are_part_of_the_answer(name, symbol):
    """Brute force over N (and over the batch) finds nothing better, and less unique data never help."""
    from .test_laws import TRUTHS

    law, budget = LAWS[name], 1e20
    theta = law.theta(TRUTHS[name])
    cost = SIX.cost
    spending = Spending(cost, log_u=np.log(1e9)) if symbol == "U" else SIX
    best = optimal_log_n(law, theta, spending, budget)
    least = path_loss(law, theta, spending, budget, best)[0]
    grid = np.linspace(15, 26, 4001)
    assert least <= np.exp(spending.log_loss(law, theta, budget, grid)).min() * (1 + 1e-9)
    if symbol == "U":
        plenty = Spending(cost, log_u=np.log(1e13))
        best_fresh = optimal_log_n(law, theta, plenty, budget)
        assert path_loss(law, theta, plenty, budget, best_fresh)[0] < least
        assert best[0] != pytest.approx(best_fresh[0], abs=0.01)
    else:
        for log_b in np.linspace(5, 20, 16):
            fixed = Spending(cost, log_b=log_b)
            assert path_loss(law, theta, fixed, budget, optimal_log_n(law, theta, fixed, budget))[0] >= least
