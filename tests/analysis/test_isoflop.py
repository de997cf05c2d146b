"""Parabolas against NumPy, verdicts that are right, and intervals that agree with Fieller's."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.costmodel import CostModel
from analysis.estimates import Estimate
from analysis.isoflop import budget_groups, fit_isoflop

from .conftest import isoflop_table


def frame_of(losses, sizes=None, **columns):
    sizes = np.geomspace(1e5, 1.6e6, len(losses)) if sizes is None else np.asarray(sizes)
    return pd.DataFrame(
        {"params": sizes, "tokens": 1e15 / (6 * sizes), "flops": 1e15, "budget": 1e15, "loss": losses} | columns
    )


def isoflop_of(table_of, frame, draws=2000):
    table = table_of(frame)
    return fit_isoflop(table, CostModel.of(table), draws=draws, rng=np.random.default_rng(0))


def test_the_minimum_is_that_of_numpys_parabola(table_of):
    frame = isoflop_table(noise=0.003, seed=2)
    result = isoflop_of(table_of, frame)
    for p, (_, part) in zip(result.parabolas, frame.groupby("budget"), strict=True):
        c2, c1, _ = np.polyfit(np.log(part["params"]), part["loss"], 2)
        assert p.log_n == pytest.approx(-c1 / (2 * c2), rel=1e-7)
        assert p.loss == pytest.approx(np.polyval(np.polyfit(np.log(part["params"]), part["loss"], 2), p.log_n))
        assert p.status == "bracketed"


def test_exponents_of_a_noiseless_truth_are_recovered(table_of):
    """With alpha = beta the parabola is symmetric and approach 2 has no bias: a = b = 0.5."""
    truth = {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.35, "beta": 0.35}
    rows = []
    for budget in (1e17, 1e18, 1e19):
        n = 5e6 * np.sqrt(budget / 1e17) * np.geomspace(0.25, 4, 7)
        d = budget / (6 * n)
        rows.append(pd.DataFrame({"params": n, "tokens": d, "flops": budget, "budget": budget}))
    frame = pd.concat(rows)
    frame["loss"] = truth["E"] + truth["A"] / frame["params"] ** 0.35 + truth["B"] / frame["tokens"] ** 0.35
    found = isoflop_of(table_of, frame).exponents()
    assert found["a"][0] == pytest.approx(0.5, abs=0.005)
    assert found["b"][0] == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize(
    ("losses", "status", "reason"),
    [
        ([3.0, 2.9, 2.85, 2.9, 3.0], "bracketed", ""),
        ([3.0, 2.9, 2.82, 2.76, 2.72], "edge", "largest size"),
        ([2.72, 2.76, 2.82, 2.9, 3.0], "edge", "smallest size"),
        ([2.9, 2.95, 2.97, 2.95, 2.9], "edge", "curvature is not above zero"),
        ([2.91, 2.89, 2.90, 2.89, 2.91], "flat", "curvature is not above zero"),
        ([2.95, 2.90, 2.96, 2.91, 2.955], "flat", "curvature is not above zero"),
    ],
)
def test_verdicts_are_right(table_of, losses, status, reason):
    p = isoflop_of(table_of, frame_of(losses)).parabolas[0]
    assert p.status == status, p.reason
    assert reason in p.reason


def test_two_sizes_are_too_few_and_three_alone_are_untested(table_of):
    two = isoflop_of(table_of, frame_of([3.0, 2.9]))
    assert two.parabolas[0].status == "too-few"
    three = isoflop_of(table_of, frame_of([3.0, 2.9, 3.0]))
    assert three.parabolas[0].status == "untested"
    assert (three.degrees, len(three.draws), three.bracketed) == (0, 0, [])


def test_a_cut_left_arm_is_said(table_of):
    frame = frame_of([2.72, 2.76, 2.82, 2.9, 3.0], censored=["left"] * 5)
    p = isoflop_of(table_of, frame).parabolas[0]
    assert p.censored
    assert p.status == "edge"
    assert "more unique hours" in p.reason


@pytest.mark.parametrize("noise", [0.002, 0.02])
def test_intervals_agree_with_fiellers(table_of, noise):
    """x* = -c1 / (2 c2) is a ratio of normal variables; Fieller (1954) gives its exact interval."""
    result = isoflop_of(table_of, isoflop_table(noise=noise, seed=5), draws=40_000)
    quantile = stats.t.ppf(0.975, result.degrees)
    for i, p in enumerate(result.parabolas):
        _, c1, c2 = p.coefficients
        covariance = result.sigma**2 * p.inverse
        # |c1 + 2 c2 x| <= t sqrt(v11 + 4 x v12 + 4 x^2 v22)
        coefficients = (
            4 * (c2**2 - quantile**2 * covariance[2, 2]),
            4 * (c1 * c2 - quantile**2 * covariance[1, 2]),
            c1**2 - quantile**2 * covariance[1, 1],
        )
        if coefficients[0] <= 0:
            continue  # unbounded
        low, high = np.sort(np.roots(coefficients)) + p.center
        drawn = Estimate.of(p.log_n, result.log_n_draws(i), 0.95)
        close, wide = 0.04 * (high - low), 0.12 * (high - low)  # where the curvature is weak, ours is the wider
        assert low - wide <= drawn.low <= low + close
        assert high - close <= drawn.high <= high + wide


def test_budgets_are_found_where_the_table_names_none(table_of):
    frame = isoflop_table(budgets=(1e17, 2e17, 1e18)).drop(columns="budget")
    rng = np.random.default_rng(0)
    frame["flops"] *= np.exp(0.02 * rng.uniform(-1, 1, len(frame)))
    frame.loc[len(frame)] = {"params": 1e6, "tokens": 1e9, "flops": 6e15, "loss": 3.0, "seed": 0}
    groups, skipped = budget_groups(table_of(frame))
    assert [len(rows) for _, rows in groups] == [5, 5, 5]
    assert [budget for budget, _ in groups] == pytest.approx([1e17, 2e17, 1e18], rel=0.03)
    assert len(skipped) == 1
    assert "fewer than three sizes" in skipped[0]["reason"]


@settings(max_examples=25, deadline=None)
@given(st.floats(0.2, 5), st.floats(0.5, 2), st.integers(0, 50))
def test_rescaling_sizes_and_losses_moves_the_minimum_as_it_must(scale_n, scale_l, seed):
    from analysis.columns import find_columns
    from analysis.table import clean

    def fit(frame):
        table = clean(
            frame, find_columns(list(frame), {}, where="t"), label="", source={"path": "t", "rows": len(frame)}
        )
        return fit_isoflop(table, None, draws=0, rng=np.random.default_rng(0)).parabolas[1]

    frame = isoflop_table(noise=0.002, seed=seed)
    moved = frame.assign(params=frame["params"] * scale_n, loss=frame["loss"] * scale_l)
    a, b = fit(frame), fit(moved)
    assert b.log_n == pytest.approx(a.log_n + np.log(scale_n), abs=1e-6)
    assert b.loss == pytest.approx(a.loss * scale_l, rel=1e-9)
    assert b.status == a.status
