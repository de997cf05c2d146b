"""What speaks for and against a fit: leaving out, windows, biases, other choices and definitions, other intervals."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import brentq, minimize

from analysis import fit
from analysis.approaches.optimum import Spending, optimal_log_n
from analysis.approaches.parametric import fit_parametric, fit_points
from analysis.data.costmodel import CostModel
from analysis.data.points import Points
from analysis.engine.objectives import huber, lad, log_mse, tuned_huber
from analysis.engine.profile import delta_interval, profile_interval
from analysis.estimates import Estimate
from analysis.judgement.backtest import backtest, rolling_cuts, weights_of
from analysis.judgement.bias import SIMULATIONS, simulate_bias
from analysis.judgement.choices import alternatives, spanning
from analysis.judgement.definitions import definitions, other_sizes, read_off
from analysis.judgement.intervals import labels_of, scheme_for
from analysis.judgement.stability import drift, influence, sloppiest
from analysis.laws import LAWS, Chinchilla
from scaling import InputError

from .conftest import TRUTH, chinchilla, isoflop_table

LAW = Chinchilla()


def factorial(sizes=8, data=8, noise=0.005, seed=0, truth=TRUTH):
    """Return runs of every size on every amount of data."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        [
            {"params": n, "tokens": d, "flops": 6 * n * d}
            for n in np.geomspace(1e7, 1e9, sizes)
            for d in np.geomspace(1e9, 1e11, data)
        ]
    )
    clean = chinchilla(frame["params"], frame["tokens"], truth)
    return frame.assign(loss=clean * np.exp(noise * rng.normal(size=len(frame))))


@pytest.fixture
def fitted(table_of):
    table = table_of(factorial())
    parametric, sample = fit_parametric(table, LAW, huber(5e-3))
    return table, parametric, sample, Spending(CostModel.of(table))


def test_leaving_a_run_out_is_the_fit_of_the_others(fitted, table_of):
    table, _, sample, spending = fitted
    answer = Estimate(value=1e9, low=5e8, high=2e9)
    found = influence(table, sample, LAW, spending, middle=1e18, budget=1e20, answer=answer)
    assert {item.kind for item in found} == {"run", "size", "budget"}
    assert sum(item.kind == "run" for item in found) == table.used
    shifts = [item.shift for item in found]
    assert shifts == sorted(shifts, reverse=True)
    first = next(item for item in found if item.kind == "run")
    rest = table_of(factorial().drop(index=int(first.name) - 2))
    other, _ = fit_parametric(rest, LAW, huber(5e-3))
    assert first.n == pytest.approx(np.exp(optimal_log_n(LAW, other.theta, spending, 1e20)[0]), rel=1e-6)


def test_an_outlier_is_the_most_influential_run(table_of):
    frame = factorial()
    frame.loc[5, "loss"] *= 1.3
    table = table_of(frame)
    _, sample = fit_parametric(table, LAW, log_mse())
    spending = Spending(CostModel.of(table))
    n = float(np.exp(optimal_log_n(LAW, sample.theta, spending, 1e20)[0]))
    answer = Estimate(value=n, low=n / 2, high=2 * n)
    found = influence(table, sample, LAW, spending, middle=1e18, budget=1e20, answer=answer)
    assert next(item for item in found if item.kind == "run").name == "7"


def test_a_run_that_cannot_be_left_out_is_not(table_of):
    table = table_of(factorial(sizes=3, data=2).assign(loss=lambda runs: runs["loss"] * [1, 1.01, 1, 0.99, 1, 1]))
    everyone = table_of(factorial())
    _, sample = fit_parametric(everyone, LAW, log_mse())
    few = replace(sample, surface=LAW.surface(Points.of_table(table)), log_y=np.log(table.runs["loss"].to_numpy()))
    spending, answer = Spending(CostModel.of(table)), Estimate(value=1e9, low=1e9, high=1e9)
    assert influence(table, few, LAW, spending, middle=1e18, budget=1e20, answer=answer) == []
    assert drift(table, few, LAW, spending, middle=1e18, budget=1e20) == []


def test_windows_agree_where_the_law_holds_and_drift_where_it_does_not(table_of):
    def spread(frame):
        table = table_of(frame)
        _, sample = fit_parametric(table, LAW, log_mse())
        windows = drift(table, sample, LAW, Spending(CostModel.of(table)), middle=1e18, budget=1e20)
        assert windows[0].rows == table.used
        return np.ptp([window.a for window in windows if window.converged])

    frame = factorial(noise=0.0005)
    bent = frame.assign(
        loss=frame["loss"] * np.exp(0.004 * np.log(frame["params"] / 1e8) * np.log(frame["tokens"] / 1e10))
    )
    assert spread(frame) < 0.02
    assert spread(bent) > 0.05


def test_the_direction_that_runs_do_not_fix_is_named(table_of):
    """Sizes within a factor of 1.2 cannot tell E, A and alpha apart."""
    frame = factorial()
    frame["params"] = 1e8 * (frame["params"] / 1e8) ** 0.04
    frame["loss"] = chinchilla(frame["params"], frame["tokens"])
    x = Points.of(N=frame["params"], D=frame["tokens"])
    fitted, sample = fit_points(x, frame["loss"].to_numpy(), LAW, log_mse())
    assert fitted.certificate.status == "unidentified"
    found = sloppiest(sample, LAW)
    assert abs(found.loads["log A"]) > 0.9
    assert found.condition > 1e6
    assert found.eigenvalues == sorted(found.eigenvalues, reverse=True)


def test_profile_intervals_are_those_of_the_likelihood_ratio(fitted):
    """Against SciPy: minimise with a parameter held, and find where the F statistic crosses."""
    table, _, _, _ = fitted
    parametric, sample = fit_parametric(table, LAW, log_mse())
    n, p = table.used, 5
    x_design = sample.surface.design

    def rss(theta):
        z = x_design @ theta
        return float(((np.log(np.exp(z).sum(axis=1)) - sample.log_y) ** 2).sum())

    most = stats.t.ppf(0.975, n - p) ** 2

    def rise(alpha):
        rest = minimize(
            lambda t: rss(np.insert(t, 3, alpha)) * 1e4, np.delete(sample.theta, 3), method="BFGS", tol=1e-10
        )
        return (rest.fun / 1e4 - parametric.value) / (parametric.value / (n - p)) - most

    low, high = profile_interval(sample, lambda t: t[:, 3], 0.95)
    best = sample.theta[3]
    assert low == pytest.approx(brentq(rise, best - 0.05, best, xtol=1e-6), abs=1e-4)
    assert high == pytest.approx(brentq(rise, best, best + 0.05, xtol=1e-6), abs=1e-4)


def test_the_delta_method_and_the_profile_agree_where_the_law_is_nearly_linear(table_of):
    table = table_of(factorial(noise=0.001))
    _, sample = fit_parametric(table, LAW, log_mse())
    profile, delta = (method(sample, lambda t: t[:, 4], 0.95) for method in (profile_interval, delta_interval))
    assert np.ptp(profile) == pytest.approx(np.ptp(delta), rel=0.4)
    assert np.mean(profile) == pytest.approx(np.mean(delta), abs=0.002)


def test_least_absolute_deviations_have_no_profile(fitted):
    table, *_ = fitted
    _, sample = fit_parametric(table, LAW, lad())
    assert profile_interval(sample, lambda t: t[:, 3], 0.95) == (None, None)


def test_biases_are_small_on_a_good_grid_and_seen_on_a_bad_one(table_of):
    def of(frame):
        table = table_of(frame)
        _, sample = fit_parametric(table, LAW, log_mse())
        spending = Spending(CostModel.of(table))
        found = simulate_bias(table, sample, LAW, spending, middle=1e18, rng=np.random.default_rng(0))
        return {item.approach: item for item in found}

    good = of(isoflop_table(noise=0.001, sizes=7, span=8))
    assert set(good) == {"parametric", "isoflop"}
    for item in good.values():
        assert abs(item.mean) < 3 * item.spread / np.sqrt(SIMULATIONS) + 0.01
    assert good["isoflop"].truth == pytest.approx(TRUTH["beta"] / (TRUTH["alpha"] + TRUTH["beta"]), abs=0.01)
    assert "envelope" in of(factorial(noise=0.002))


def test_the_interval_over_choices_holds_the_others_and_the_noise(table_of):
    table = table_of(factorial())
    fits = [fit_parametric(table, LAWS[name], tuned_huber()) for name in ("chinchilla", "skaling")]
    spending = Spending(CostModel.of(table))
    choices = alternatives(table, fits, {"chinchilla": 0.7, "skaling": 0.3})
    assert sum(choice.weight for choice in choices) == pytest.approx(1)
    assert {(c.law.name, c.objective, c.window) for c in choices} >= {("chinchilla", "log-mse", "dear")}
    answer = float(optimal_log_n(LAW, fits[0][0].theta, spending, 1e20)[0])
    draws = answer + 0.01 * np.random.default_rng(0).normal(size=2000)
    wide = spanning(choices, spending, 1e20, answer, draws, 0.95)
    places = [float(optimal_log_n(c.law, c.theta, spending, 1e20)[0]) for c in choices]
    assert np.log(wide.high) > max(places) - 0.02
    assert np.log(wide.low) < min(places) + 0.02
    alone = spanning(choices[:1], spending, 1e20, answer, draws, 0.95)
    assert np.log(alone.high / alone.low) < np.log(wide.high / wide.low)
    assert spanning([], spending, 1e20, answer, draws, 0.95) is None


def test_other_definitions_of_size_and_cost_stand_side_by_side(table_of):
    frame = isoflop_table(noise=0.0005, sizes=7, budgets=(1e17, 3e17, 1e18, 3e18, 1e19))
    frame["params_total"] = frame["params"] + 2e7
    frame["flops_per_frame"] = 6 * frame["params"]
    table = table_of(frame)
    _, sample = fit_parametric(table, LAW, log_mse())
    found = {(item.size, item.cost): item for item in definitions(table, LAW, sample, Spending(CostModel.of(table)))}
    recorded = {size: item for (size, cost), item in found.items() if cost == "recorded"}
    assert set(recorded) == {"params", "total", "flops_per_frame"}
    # a constant part that is counted makes N* grow more slowly with C
    assert recorded["total"].isoflop < recorded["params"].isoflop - 0.02
    assert recorded["flops_per_frame"].isoflop == pytest.approx(recorded["params"].isoflop, abs=1e-6)
    # here C is 6 N D for the params, and another definition of C only for the total, by which runs share no budget
    assert set(found) - {(size, "recorded") for size in recorded} == {("total", "6 N D")}
    assert found["total", "6 N D"].isoflop is None
    fitted, _ = fit_parametric(
        table_of(frame.drop(columns=["params", "flops", "flops_per_frame"]).rename(columns={"params_total": "params"})),
        LAW,
        log_mse(),
    )
    theta = LAW.natural(fitted.theta)
    closed = theta["beta"] / (theta["alpha"] + theta["beta"])
    assert found["total", "6 N D"].parametric == pytest.approx(closed, abs=1e-4)
    sizes = other_sizes(table)
    assert read_off(sizes, np.log(5e7))["total"] == pytest.approx(7e7, rel=0.01)
    alone = table_of(isoflop_table())
    assert definitions(alone, LAW, sample, Spending(CostModel.of(alone))) == []


def test_cuts_hold_whole_budgets_back(table_of):
    flops = np.repeat([1e17, 1e18, 1e19, 1e20], 5) * np.tile([0.99, 1, 1.01, 1, 1], 4)
    for rows in rolling_cuts(flops):
        assert set(flops[rows].round(-16)).isdisjoint(set(flops[~rows].round(-16)))
        assert flops[rows].max() < flops[~rows].min()
    scores = backtest(table_of(factorial()), [LAWS["chinchilla"], LAWS["kaplan"], LAWS["bounded"]], tuned_huber())
    assert scores[0].law == "chinchilla"
    assert scores[0].r2 > 0.98
    assert "lacks the unique data" in scores[-1].status
    assert sum(weights_of(scores).values()) == pytest.approx(1)


@pytest.mark.parametrize(("column", "count"), [("size", 8), ("run", 64), ("seed", 4)])
def test_clusters_are_found_by_their_names(table_of, column, count):
    table = table_of(factorial().assign(seed=np.arange(64) % 4))
    assert len(np.unique(labels_of(table, column))) == count


def test_the_design_decides_how_draws_are_made(table_of):
    def of(frame, **options):
        table = table_of(frame)
        _, sample = fit_parametric(table, LAW, log_mse())
        return scheme_for(table, sample, **options)

    assert (of(factorial(seed=1)).method, of(factorial(seed=1)).cluster) == ("pairs", "none")
    assert of(isoflop_table(noise=0.002)).method == "residual"
    shared = np.repeat(np.random.default_rng(0).normal(size=12), 8)
    frame = factorial(sizes=12)
    clustered = of(frame.assign(loss=frame["loss"] * np.exp(0.02 * shared)))
    assert clustered.cluster == "size"
    assert clustered.correlation > 0.5
    assert "intra-cluster correlation" in clustered.reason
    assert of(factorial(), method="residual", cluster="none").method == "residual"
    table = table_of(factorial())
    with pytest.raises(InputError, match="flipped residuals say nothing"):
        scheme_for(table, fit_parametric(table, LAW, lad())[1], method="wild")
    with pytest.raises(InputError, match="did you mean pairs"):
        of(factorial(), method="pair")


def test_noise_from_the_records_never_weighs_rows(table_of):
    with pytest.raises(InputError, match="loss_se is no weight"):
        fit(table_of(factorial().assign(loss_se=0.01)), weights="loss_se")


def test_a_column_of_weights_weighs(table_of):
    """A row of weight three is three runs of the same size, data and loss."""
    frame = factorial().assign(w=1.0, seed=0)
    frame.loc[:9, "w"] = 3.0
    thrice = pd.concat([frame, *(frame.iloc[:10].assign(seed=seed) for seed in (1, 2))])
    options = {"law": "chinchilla", "objective": "log-mse", "judged": False, "draws": 0}
    weighted, repeated = fit(table_of(frame), weights="w", **options), fit(table_of(thrice), **options)
    np.testing.assert_allclose(weighted.parametric.theta, repeated.parametric.theta, rtol=1e-6)
    plain = fit(table_of(frame), **options)
    assert np.abs(weighted.parametric.theta - plain.parametric.theta).max() > 1e-4
    assert weighted.to_dict()["weights"] == "column w"


def test_cuts_of_runs_without_budgets_are_near_their_shares():
    flops = np.exp(np.random.default_rng(0).uniform(40, 47, 500))
    assert [int(rows.sum()) for rows in rolling_cuts(flops)] == pytest.approx([250, 325, 400], abs=10)
