"""The envelope finds the exponents of a known surface, says where the sizes end, and its intervals cover."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import load
from analysis.approaches.envelope import fit_envelope
from analysis.data.columns import find_columns
from analysis.data.costmodel import CostModel
from analysis.data.table import clean
from analysis.estimates import Estimate

from .conftest import TRUTH, chinchilla, isoflop_table

SYMMETRIC = {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.35, "beta": 0.35}
"""Here a parabola in log N has no bias of its own."""


def optimum(c, truth):
    """Return N* of C = 6 N D in closed form."""
    ratio = truth["alpha"] * truth["A"] / (truth["beta"] * truth["B"])
    return (ratio * (c / 6) ** truth["beta"]) ** (1 / (truth["alpha"] + truth["beta"]))


def table_from(frame):
    return clean(
        frame, find_columns(list(frame), {}, where="simulated"), label="", source={"path": "simulated", "rows": 0}
    )


def factorial(truth=TRUTH, sizes=7, data=6, low=1e7, high=1e9, noise=0.0, rng=None, shared=0.0):
    """Return runs of every size on every amount of data, with log-normal noise and noise that a size shares."""
    n, d = map(np.ravel, np.meshgrid(np.geomspace(low, high, sizes), np.geomspace(2e8, 2e10, data), indexing="ij"))
    error = np.zeros(len(n))
    if rng is not None:
        error = noise * rng.normal(size=len(n)) + np.repeat(shared * rng.normal(size=sizes), data)
    return pd.DataFrame({"params": n, "tokens": d, "loss": chinchilla(n, d, truth) * np.exp(error)})


def envelope_of(frame, draws=0, rng=None):
    table = table_from(frame)
    return fit_envelope(table, CostModel.of(table), draws=draws, rng=rng or np.random.default_rng(0))


def covers(value, draws, truth):
    found = Estimate.of(value, draws, 0.95)
    return (found.low is None or found.low <= truth) and (found.high is None or truth <= found.high)


@pytest.mark.parametrize("ratio", [1.3, 2.0, 3.0])
@pytest.mark.parametrize(("alpha", "beta"), [(0.34, 0.37), (0.30, 0.40), (0.42, 0.33)])
def test_the_exponents_of_a_noiseless_surface_are_recovered(alpha, beta, ratio):
    truth = {"E": 1.7, "A": 400.0 * 1e8 ** (alpha - 0.34), "B": 2000.0 * 2e9 ** (beta - 0.37)}
    truth |= {"alpha": alpha, "beta": beta}
    found = envelope_of(factorial(truth, sizes=round(np.log(1e3) / np.log(ratio)) + 1, data=8, low=3e6, high=3e9))
    assert found.status == "fitted"
    assert found.exponents()["a"][0] == pytest.approx(beta / (alpha + beta), rel=0.015)
    assert found.exponents()["b"][0] == pytest.approx(alpha / (alpha + beta), rel=0.015)
    for i in found.bracketed:
        assert found.points[i]["N"] == pytest.approx(optimum(found.points[i]["flops"], truth), rel=0.08)
        assert 6 * found.points[i]["N"] * found.points[i]["D"] == pytest.approx(found.points[i]["flops"])


def test_points_whose_lowest_size_ends_the_sizes_are_censored():
    """Sizes far below the optimum: the largest is the lowest everywhere; and far above it, the smallest."""
    for low, high, end, bound in ((1e5, 1e6, "largest", "least"), (3e9, 3e10, "smallest", "most")):
        found = envelope_of(factorial(low=low, high=high))
        assert found.status == "censored"
        assert found.exponents() is None
        assert "bracketed" in found.reason
        assert {point["status"] for point in found.points} == {"censored"}
        assert all(f"is the {end} that" in p["reason"] and f"at {bound} this" in p["reason"] for p in found.points)
        for point in found.points:  # and the bound holds
            below = point["N"] < optimum(point["flops"], TRUTH)
            assert below == (end == "largest")


def test_censored_points_do_not_move_the_line():
    """Off one end of a wide C the sizes run out: with those points the line would bend, without them it does not."""
    found = envelope_of(factorial(SYMMETRIC, low=1e7, high=1e8, data=12))
    statuses = [point["status"] for point in found.points]
    assert statuses.count("censored") > 3
    assert found.exponents()["a"][0] == pytest.approx(0.5, abs=0.001)
    log_c = np.log([point["flops"] for point in found.points])
    everything = np.polyfit(log_c, np.log([point["N"] for point in found.points]), 1)[0]
    assert abs(everything - 0.5) > 0.01


def test_designs_without_curves_are_refused_with_their_reason(table_of):
    found = envelope_of(isoflop_table(noise=1e-3))
    assert (found.status, found.reason) == ("refused", "no size has three runs at different C")
    assert (found.exponents(), found.points, found.failed) == (None, [], 0)
    assert len(found.skipped) == 15

    again = factorial(sizes=3)
    again = pd.concat([again.iloc[:6], again.iloc[6:12], again.iloc[12:14]])
    assert envelope_of(again).reason.startswith("2 of the sizes have three runs")

    seeds = pd.concat([factorial(data=2).assign(seed=s) for s in range(3)])  # three runs, two different C
    assert envelope_of(seeds).status == "refused"

    apart = factorial(sizes=3, data=3, low=1e6, high=1e12)  # ranges of C that hardly overlap
    assert "at no C" in envelope_of(apart).reason

    table = table_of(factorial().assign(params=1e7 * np.arange(1, 43))[["params", "loss"]])
    assert fit_envelope(table, None, draws=10, rng=np.random.default_rng(0)).reason == "a curve over N alone has no C"


def test_an_isoflop_ladder_shared_by_three_budgets_has_an_envelope():
    """Not the name of a design counts but what it holds: the same sizes at three budgets are three runs a size."""
    n, c = map(np.ravel, np.meshgrid(np.geomspace(3e6, 3e8, 9), [1e17, 3e17, 1e18], indexing="ij"))
    d = c / (6 * n)
    found = envelope_of(pd.DataFrame({"params": n, "tokens": d, "loss": chinchilla(n, d, SYMMETRIC)}))
    assert found.exponents()["a"][0] == pytest.approx(0.5, abs=0.005)


def test_intervals_cover_what_they_should():
    """120 factorial studies with 0.3 % of independent noise; nominal 95 %."""
    rng = np.random.default_rng(1)
    hits = []
    for _ in range(120):
        exponents = envelope_of(factorial(SYMMETRIC, noise=0.003, rng=rng), draws=200, rng=rng).exponents()
        hits.append([covers(*exponents[name], 0.5) for name in "ab"])
    assert 0.88 <= np.mean(hits) <= 0.995


def test_noise_that_a_size_shares_widens_the_intervals():
    """Half of the variance shared by a size: without what `size_noise` adds, coverage would be about 60 %."""
    rng = np.random.default_rng(2)
    hits, widths = [], {0.0: [], 0.003: []}
    for _ in range(80):
        for shared, seen in widths.items():
            found = envelope_of(factorial(SYMMETRIC, noise=0.003, shared=shared, rng=rng), draws=200, rng=rng)
            value, draws = found.exponents()["a"]
            seen.append(np.nanstd(draws))
            if shared:
                hits.append(covers(value, draws, 0.5))
    assert np.mean(hits) >= 0.78
    assert np.median(widths[0.003]) > 1.15 * np.median(widths[0.0])


def test_noise_levels_are_found():
    rng = np.random.default_rng(3)
    found = [envelope_of(factorial(SYMMETRIC, sizes=15, data=8, noise=0.004, shared=0.008, rng=rng), draws=100, rng=rng)
             for _ in range(20)]  # fmt: skip
    assert np.median([f.run_noise for f in found]) == pytest.approx(0.004, rel=0.15)
    assert np.median([f.size_noise for f in found]) == pytest.approx(0.008, rel=0.25)
    quiet = envelope_of(factorial(SYMMETRIC), draws=100)
    assert quiet.run_noise < 1e-4
    assert np.isnan(envelope_of(factorial(SYMMETRIC)).run_noise)


def test_draws_without_a_line_are_counted():
    rng = np.random.default_rng(4)
    found = envelope_of(factorial(SYMMETRIC, sizes=5, data=4, noise=0.04, rng=rng), draws=300, rng=rng)
    assert found.status == "fitted"
    a = found.exponents()["a"][1]
    assert 0 < found.failed == np.isnan(a).sum() < 300
    assert len(found.draws) == 300


def test_the_same_seed_gives_the_same_draws_whatever_the_order_of_rows():
    frame = factorial(noise=0.003, rng=np.random.default_rng(5))
    one, two = (envelope_of(frame, draws=50, rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(one.draws, two.draws)
    mixed = envelope_of(frame.sample(frac=1, random_state=0), draws=0)
    assert mixed.exponents()["a"][0] == pytest.approx(one.exponents()["a"][0], rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 10), st.floats(0.2, 5), st.integers(0, 50))
def test_units_do_not_matter(scale_n, scale_loss, seed):
    """Other units of N and of the loss move the points as they must and leave the exponents alone."""
    frame = factorial(noise=0.002, rng=np.random.default_rng(seed))
    moved = frame.assign(params=frame["params"] * scale_n, loss=frame["loss"] * scale_loss)
    one, two = envelope_of(frame), envelope_of(moved)
    assert [p["status"] for p in one.points] == [p["status"] for p in two.points]
    for p, q in zip(one.points, two.points, strict=True):
        assert q["N"] == pytest.approx(p["N"] * scale_n, rel=1e-6)
        assert q["loss"] == pytest.approx(p["loss"] * scale_loss, rel=1e-6)
    if one.status == "fitted":
        assert two.exponents()["a"][0] == pytest.approx(one.exponents()["a"][0], abs=1e-6)


def test_sizes_within_two_percent_are_one():
    frame = factorial(noise=0.001, rng=np.random.default_rng(6))
    jitter = frame.assign(params=frame["params"] * (1 + 0.001 * np.arange(len(frame)) % 0.006))
    assert envelope_of(jitter).sizes == envelope_of(frame).sizes == 7


def test_farseer_and_chinchilla_give_exponents_near_a_half(reference):
    """404 and 240 published runs; approach 3 gives .514 on the latter."""
    table = load(reference / "farseer_train.csv")[0]
    found = fit_envelope(table, CostModel.of(table), draws=300, rng=np.random.default_rng(0))
    a = Estimate.of(*found.exponents()["a"], 0.95)
    assert (found.sizes, found.smoother) == (25, "an exponent a size")
    assert 0.50 < a.low < 0.522 < a.high < 0.54
    raw = pd.read_csv(reference / "epoch_chinchilla.csv")
    raw = raw[raw["loss"] < np.sort(raw["loss"])[-5]]
    found = envelope_of(raw[["Model Size", "Training FLOP", "loss"]], draws=300)
    a = Estimate.of(*found.exponents()["a"], 0.95)
    assert a.low < 0.55 < a.high
    assert a.low > 0.4
    assert a.high < 0.65
