"""Curves against NumPy and closed forms, verdicts that are right, and intervals that agree with Fieller's."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.approaches.budgets import budget_groups
from analysis.approaches.curvechoice import contradiction, fit_curves, minima_gradient
from analysis.approaches.curves import BudgetRuns, basis, lowest, minimum
from analysis.approaches.isoflop import fit_isoflop
from analysis.data.costmodel import CostModel
from analysis.estimates import Estimate
from scaling.errors import InputError

from .conftest import TRUTH, chinchilla, isoflop_table

ASYMMETRIC = {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.25, "beta": 0.45}


def frame_of(losses, sizes=None, **columns):
    sizes = np.geomspace(1e5, 1.6e6, len(losses)) if sizes is None else np.asarray(sizes)
    return pd.DataFrame(
        {"params": sizes, "tokens": 1e15 / (6 * sizes), "flops": 1e15, "budget": 1e15, "loss": losses} | columns
    )


def isoflop_of(table_of, frame, draws=2000, **options):
    table = table_of(frame)
    return fit_isoflop(table, CostModel.of(table), draws=draws, rng=np.random.default_rng(0), **options)


def optimal_log_n(budget, truth):
    """Return log N* of C = 6 N D in closed form."""
    g = np.log(truth["alpha"] * truth["A"] / (truth["beta"] * truth["B"]))
    return (g + truth["beta"] * np.log(budget / 6)) / (truth["alpha"] + truth["beta"])


def surface(truth, budgets, sizes, span, off=1.0, noise=0.0, seed=0):
    """Return the runs of each budget on the truth, with sizes off their optimum by a factor."""
    rng, found = np.random.default_rng(seed), []
    for budget in budgets:
        log_n = optimal_log_n(budget, truth) + np.log(off) + np.linspace(-0.5, 0.5, sizes) * np.log(span)
        loss = chinchilla(np.exp(log_n), budget / (6 * np.exp(log_n)), truth)
        found.append(BudgetRuns(log_n=log_n, loss=loss * np.exp(noise * rng.standard_normal(sizes))))
    return found


def test_the_minimum_is_that_of_numpys_parabola(table_of):
    frame = isoflop_table(noise=0.003, seed=2)
    result = isoflop_of(table_of, frame, curve="quadratic")
    assert result.method == "parabolas"
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


@settings(max_examples=50, deadline=None)
@given(st.floats(-1.5, 1.5), st.floats(-0.3, 0.3), st.floats(0.01, 1))
def test_minimum_and_lowest_loss_are_those_of_the_curve(skew, slope, curvature):
    curve = np.array([3.0, slope * curvature, curvature, skew])
    grid = np.linspace(-1, 1, 20_001)
    loss = basis(grid, skew) @ curve[:3]
    assert minimum(curve) == pytest.approx(grid[np.argmin(loss)], abs=2e-4)
    assert lowest(curve) == pytest.approx(loss.min(), abs=1e-7)
    series = np.polynomial.Polynomial.fit(grid, loss, 9)
    assert series.deriv(3)(minimum(curve)) == pytest.approx(skew * series.deriv(2)(minimum(curve)), abs=1e-3)


@pytest.mark.parametrize(("off", "close"), [(1, 0.01), (3, 0.08)])
def test_a_skew_halves_the_bias_of_a_parabola_at_least(off, close):
    """Noiseless and wide: a parabola is off by 14 % where alpha and beta are 0.2 apart, a skewed curve by 1 %."""
    budgets = (1e17, 1e18, 1e19)
    truth = np.array([optimal_log_n(budget, ASYMMETRIC) for budget in budgets])
    runs = surface(ASYMMETRIC, budgets, 7, 30.0, off)
    error = {kind: np.abs(fit_curves(runs, kind).minima() - truth).max() for kind in ("quadratic", "skewed", "auto")}
    assert error["skewed"] < close
    assert error["skewed"] < error["quadratic"] / (5 if off == 1 else 1.1)
    assert error["auto"] <= error["skewed"] * 1.001


def test_the_skew_is_the_difference_of_the_exponents():
    for truth in (TRUTH, ASYMMETRIC):
        curves = fit_curves(surface(truth, (1e17, 1e18, 1e19), 7, 16.0), "skewed")
        assert curves.coefficients[:, 3] == pytest.approx(truth["beta"] - truth["alpha"], abs=0.02)


def test_the_gradient_of_the_minima_is_that_of_refits():
    runs = surface(ASYMMETRIC, (1e17, 1e18, 1e19), 7, 30.0, noise=1e-4)
    for kind, close in (("quadratic", 1e-6), ("skewed", 0.02), ("local", 0.02)):
        gradient = minima_gradient(fit_curves(runs, kind))
        moved, column = np.zeros_like(gradient), 0
        for i, part in enumerate(runs):
            for j in range(len(part.loss)):
                ends = []
                for sign in (1, -1):
                    loss = part.loss.copy()
                    loss[j] += sign * 1e-5
                    other = [*runs[:i], BudgetRuns(log_n=part.log_n, loss=loss), *runs[i + 1 :]]
                    ends.append(fit_curves(other, kind).minima())
                moved[:, column] = (ends[0] - ends[1]) / 2e-5
                column += 1
        assert np.abs(gradient - moved).max() <= close * np.abs(moved).max()


def test_the_contradiction_is_found_as_often_as_its_level_says():
    """200 studies of 5 budgets x 7 sizes on a surface that one skew describes: 5 % of the tests may fire."""
    found = []
    for seed in range(200):
        runs = surface(TRUTH, np.geomspace(1e17, 1e19, 5), 7, 16.0, noise=0.003, seed=seed)
        found.append(contradiction(fit_curves(runs, "skewed"), [part.near() for part in runs], [0, 1, 2, 3, 4]))
    assert 0.01 <= np.mean(np.array(found) < 0.05) <= 0.11


def test_budgets_that_bend_apart_get_a_skew_each():
    x = np.linspace(-2.5, 2.5, 11)
    rng = np.random.default_rng(0)
    runs = []
    for skew in (-0.8, 0.8, -0.8, 0.8):
        loss = 3 + basis(x - 0.3, skew) @ np.array([0.0, 0.0, 0.05]) + 3e-4 * rng.standard_normal(len(x))
        runs.append(BudgetRuns(log_n=x, loss=loss))
    curves = fit_curves(runs)
    assert (curves.kind, len(curves.groups)) == ("local", 4)
    assert curves.p_value < 1e-3
    assert curves.minima() == pytest.approx(0.3, abs=0.05)
    assert np.abs(fit_curves(runs, "skewed").minima() - 0.3).max() > 0.1


def test_few_degrees_of_freedom_leave_a_parabola(table_of):
    assert isoflop_of(table_of, frame_of([3.0, 2.9, 2.85, 2.9, 3.0])).method == "parabolas"
    assert isoflop_of(table_of, isoflop_table(noise=0.002)).method.startswith("one skew for all budgets")


def test_a_curve_that_there_is_not_is_refused(table_of):
    with pytest.raises(InputError, match="no such curve"):
        isoflop_of(table_of, isoflop_table(noise=0.002), curve="cubik")
    with pytest.raises(InputError, match="no such way"):
        isoflop_of(table_of, isoflop_table(noise=0.002), intervals="bootstrap")


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
    frame = isoflop_table(noise=noise, seed=5)
    sizes = [part["params"].to_numpy() for _, part in frame.groupby("budget")]
    result = isoflop_of(table_of, frame, draws=40_000, curve="quadratic")
    quantile = stats.t.ppf(0.975, result.degrees)
    for i, p in enumerate(result.parabolas):
        _, c1, c2, _ = p.coefficients
        design = basis(np.log(sizes[i]) - p.center, 0.0)
        covariance = result.sigma**2 * np.linalg.inv(design.T @ design)
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
    from analysis.data.columns import find_columns
    from analysis.data.table import clean

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


def test_a_budget_falls_apart_by_unique_data_where_runs_repeat_it(table_of):
    """Of two curves at one budget that with the most unique data answers."""
    frame = isoflop_table(budgets=(1e17, 1e18), noise=0.001)
    low, high = frame["tokens"].min() / 2, frame["tokens"].max() * 2
    both = pd.concat(
        [frame.assign(unique=high), frame[frame["budget"] == 1e18].assign(unique=low, loss=lambda f: f["loss"] + 0.1)]
    )
    table = table_of(both)
    table.runs["U"] = table.runs["unique"]
    result = fit_isoflop(table, CostModel.of(table), draws=100, rng=np.random.default_rng(0))
    assert [(p.budget, len(p.rows), p.unique) for p in result.parabolas] == [
        (1e17, 5, np.inf),
        (1e18, 5, np.inf),
        (1e18, 5, low),
    ]
    assert result.bracketed == [0, 1]
    table.runs["U"] = np.nan
    assert len(budget_groups(table)[0]) == 2
