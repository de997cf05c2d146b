"""Comparing recipes recovers known multipliers, covers them, uses pairs, and refuses what means nothing."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import brentq, minimize_scalar

from analysis.comparison.compare import compare
from analysis.comparison.pairing import clusters_of, names_of, pairs_of
from analysis.comparison.recipes import Shared, TotalCost
from analysis.data.columns import find_columns
from analysis.data.points import Points
from analysis.data.table import clean
from analysis.engine.surfaces import JetSurface
from analysis.laws import LAWS
from scaling.errors import InputError, WorkError

from .conftest import TRUTH, chinchilla

BUDGETS = (1e17, 1e18, 1e19)
SAME_RECIPE = {"rho_n": 1.0, "rho_d": 1.0}


def table(frame, label=""):
    columns = find_columns(list(frame), {}, where="simulated")
    return clean(frame, columns, label=label, source={"path": label, "rows": len(frame)})


def grid(budgets=BUDGETS, sizes=5, span=30.0, seeds=1):
    """Return N, D and seed of isoFLOP runs under C = 6 N D."""
    rows = []
    for budget in budgets:
        total = TRUTH["alpha"] + TRUTH["beta"]
        g = np.log(TRUTH["alpha"] * TRUTH["A"] / (TRUTH["beta"] * TRUTH["B"]))
        best = np.exp((g + TRUTH["beta"] * np.log(budget / 6)) / total)
        for n in best * np.geomspace(span**-0.5, span**0.5, sizes):
            rows += [(n, budget / (6 * n), seed) for seed in range(seeds)]
    return np.array(rows).T


def studies(
    rng=None,
    *,
    rho_n=1.0,
    rho_d=1 / 0.7,
    noise=0.0,
    common=0.0,
    loss=chinchilla,
    truth_b=None,
    costs=(6.0, 6.0),
    **kwargs,
):
    """Return tables of A and B, whose noise has a part `common` of its variance in both."""
    n, d, seed = grid(**kwargs)
    rng = rng or np.random.default_rng(0)
    together = rng.normal(size=len(n))
    found = []
    for efficiency, truth, k in (((1.0, 1.0), TRUTH, costs[0]), ((rho_n, rho_d), truth_b or TRUTH, costs[1])):
        e = np.sqrt(common) * together + np.sqrt(1 - common) * rng.normal(size=len(n))
        found.append(
            pd.DataFrame(
                {
                    "params": n,
                    "tokens": d,
                    "flops": k * n * d,
                    "loss": loss(n * efficiency[0], d * efficiency[1], truth) * np.exp(noise * e),
                    "seed": seed,
                    "eval_id": "same",
                }
            )
        )
    return [table(frame, label) for frame, label in zip(found, "AB", strict=True)]


def other_seeds(runs):
    """Return a table whose runs pair with no other."""
    return replace(runs, runs=runs.runs.assign(seed=runs.runs["seed"] + 1000))


def width(estimate):
    return np.log(estimate.high / estimate.low)


@pytest.mark.parametrize(("rho_n", "rho_d"), [(1.0, 1 / 0.7), (1.5, 1.0), (0.8, 2.0), (1.0, 10.0)])
def test_exact_runs_give_the_exact_multiplier(rho_n, rho_d):
    """Under C = 6 N D it is 1 / (rho_N rho_D) at every budget; the data form is right where rho_N is 1."""
    pair = compare(studies(rho_n=rho_n, rho_d=rho_d), draws=20, budget=3e17).pairs[0]
    assert pair.form == "size and data"
    assert pair.compute.value == pytest.approx(1 / (rho_n * rho_d), rel=1e-6)
    assert pair.rho_n.value == pytest.approx(rho_n, rel=1e-6)
    assert pair.rho_d.value == pytest.approx(rho_d, rel=1e-6)
    assert [m.value for _, m in pair.path] == pytest.approx([1 / (rho_n * rho_d)] * 3, rel=1e-6)
    if rho_n == 1:
        assert pair.data.value == pytest.approx(1 / rho_d, rel=1e-6)
    else:
        assert abs(np.log(pair.data.value * rho_d)) > 0.1


@pytest.mark.parametrize("name", ["tied", "skaling", "kaplan"])
def test_other_laws_are_shared_alike(name):
    law = LAWS[name]
    truth = law.theta(
        {
            "tied": {"E": 1.7, "A": 400.0, "B": 900.0, "alpha": 0.33},
            "skaling": {"E": 1.2, "A": 3e4, "B": 2e5, "alpha": 0.6, "beta": 0.6, "k": 0.6},
            "kaplan": {"Nc": 1e14, "Dc": 2e13, "alphaN": 0.08, "alphaD": 0.09},
        }[name]
    )

    def loss(n, d, _):
        return np.exp(law.log_loss(truth, Points.of(N=n, D=d)))

    pair = compare(studies(rho_n=1.2, rho_d=1.1, loss=loss, sizes=7), law=name, draws=20).pairs[0]
    assert pair.compute.value == pytest.approx(1 / (1.2 * 1.1), rel=1e-5)
    assert (pair.tests["one_floor"] is None) == (name == "kaplan")


def brute_force(cost_a, cost_b, budget, rho_n, rho_d):
    """Return m(C) from the truth: the best loss of A at C, and the C_B at which B reaches it."""

    def best(cost, c, rho):
        def along(x):
            return chinchilla(np.exp(x) * rho[0], (c - cost[1]) / cost[0](np.exp(x)) * rho[1])

        return minimize_scalar(along, bounds=(12, 26), method="bounded", options={"xatol": 1e-9}).fun

    target = best(cost_a, budget, (1, 1))
    low, high = np.log(max(cost_b[1] * 1.001, budget / 100)), np.log(budget * 100)
    root = brentq(lambda c: best(cost_b, np.exp(c), (rho_n, rho_d)) - target, low, high, xtol=1e-10)
    return np.exp(root) / budget


def test_each_recipe_pays_its_own_recorded_costs():
    """B's teacher costs the same for every run, its labels the same for every token, and its runs more FLOPs."""
    a, b = studies(rho_n=1.2, rho_d=1.5, sizes=9)

    def charge(runs, per_token, fixed):
        n, d = runs.runs["N"].to_numpy(), runs.runs["D"].to_numpy()
        flops = 6 * n * d * (1 + (2e6 / n) ** 0.5)
        total = flops + per_token * d + fixed
        return replace(runs, runs=runs.runs.assign(C=flops, flops_total=total))

    def cost(per_token, fixed):
        return (lambda n: 6 * n * (1 + (2e6 / n) ** 0.5) + per_token), fixed

    a, b = charge(a, 0.0, 0.0), charge(b, 3e7, 4e16)
    assert TotalCost.charged(b, "flops_total").misfit(b, "flops_total") < 1e-6
    result = compare([a, b], draws=10, budget=1e18).pairs[0]
    assert result.cost == "flops_total"
    assert TotalCost.charged(b, "flops_total").fixed == pytest.approx(4e16, rel=1e-6)
    for budget, m in result.path:  # costs are interpolated between sizes
        assert m.value == pytest.approx(brute_force(cost(0, 0), cost(3e7, 4e16), budget, 1.2, 1.5), rel=2e-3)
    shares = [m.value for _, m in result.path]
    assert shares[0] > 1.1 * shares[-1], "a fixed cost weighs less, the more is spent"
    without = replace(b, runs=b.runs.drop(columns="flops_total"))
    bare = compare([a, without], draws=10, budget=1e18).pairs[0]
    assert bare.cost == "C"
    assert "mixed-cost" in {w["code"] for w in bare.warnings}
    assert bare.compute.value == pytest.approx(brute_force(cost(0, 0), cost(0, 0), 1e18, 1.2, 1.5), rel=2e-3)


def test_costs_that_follow_no_size_are_warned_of():
    """Twice the cost for every second run of a size."""
    a, b = studies(sizes=3, seeds=2)
    odd = replace(b, runs=b.runs.assign(C=b.runs["C"] * (1 + b.runs["seed"])))
    assert "cost-model" in {w["code"] for w in compare([a, odd], draws=10).pairs[0].warnings}
    dearer = replace(b, runs=b.runs.assign(flops_total=1.5 * b.runs["C"]))
    cost = TotalCost.charged(dearer, "flops_total")
    assert (cost.fixed / 1e17, cost.misfit(dearer, "flops_total")) == pytest.approx((0, 0), abs=1e-9)


def test_dearer_flops_make_the_multiplier_dearer():
    """Twice the FLOPs for the same N and D: m doubles, and says that both C were recorded."""
    pair = compare(studies(costs=(6.0, 12.0)), draws=20).pairs[0]
    assert pair.compute.value == pytest.approx(1.4, rel=1e-6)
    assert pair.data.value == pytest.approx(0.7, rel=1e-6)


def test_a_budget_that_does_not_pay_the_fixed_cost_is_refused():
    a, b = studies()
    a = replace(a, runs=a.runs.assign(flops_total=a.runs["C"] + 1e17))
    b = replace(b, runs=b.runs.assign(flops_total=b.runs["C"]))
    with pytest.raises(WorkError, match="no optimum at 1e16"):
        compare([a, b], draws=10, budget=1e16)


@pytest.mark.slow
def test_intervals_cover():
    """150 studies of 3 budgets x 5 sizes, 70 % of the variance of the noise common to both recipes."""
    rng = np.random.default_rng(3)
    hits, reject = [], []
    for i in range(150):
        pair = compare(studies(rng, noise=0.004, common=0.7), draws=150, seed=i, objective="log-mse").pairs[0]
        hits.append([e.low <= 0.7 <= e.high for e in (pair.compute, pair.data)])
        reject.append([p is not None and p < 0.05 for p in pair.tests.values()])
    cover = np.mean(hits, axis=0)
    print(f"cover {cover}, true hypotheses rejected {np.mean(reject, axis=0)}")
    assert np.all((cover >= 0.90) & (cover <= 0.995))
    assert np.all(np.mean(reject, axis=0) < 0.12)


def test_pairs_narrow_the_interval_where_noise_is_shared():
    """15 studies: narrower by a quarter or more than without pairs, and still covering."""
    rng = np.random.default_rng(3)
    ratios, covered = [], []
    for i in range(15):
        a, b = studies(rng, noise=0.004, common=0.7)
        paired, alone = (
            compare(tables, draws=150, seed=i, objective="log-mse").pairs[0] for tables in ([a, b], [a, other_seeds(b)])
        )
        assert (paired.pairs, alone.pairs) == (15, 0)
        assert paired.compute.value == alone.compute.value
        ratios.append(width(alone.compute) / width(paired.compute))
        covered.append(paired.compute.low <= 0.7 <= paired.compute.high)
    assert np.median(ratios) > 1.25
    assert np.mean(covered) > 0.7


def test_pairs_narrow_nothing_where_noise_is_independent():
    rng = np.random.default_rng(4)
    ratios = []
    for i in range(12):
        a, b = studies(rng, noise=0.004, common=0.0, sizes=7)
        ends = [compare(t, draws=200, seed=i, objective="log-mse").pairs[0] for t in ([a, b], [a, other_seeds(b)])]
        ratios.append(width(ends[1].compute) / width(ends[0].compute))
    assert 0.8 < np.median(ratios) < 1.2


def test_one_recipe_twice_needs_the_same():
    """Two studies of one recipe: 1 is covered in most; one study with itself: exactly 1."""
    rng = np.random.default_rng(5)
    covered = []
    for i in range(15):
        pair = compare(studies(rng, noise=0.004, **SAME_RECIPE), draws=150, seed=i).pairs[0]
        covered.append(pair.compute.low <= 1 <= pair.compute.high)
    assert np.mean(covered) > 0.7
    a = studies(rng, noise=0.004)[0]
    pair = compare([a, a], draws=50).pairs[0]
    assert pair.compute.value == pytest.approx(1, abs=1e-9)
    assert width(pair.compute) < 1e-6
    assert set(pair.tests.values()) == {1.0}


def test_swapping_the_recipes_inverts_the_multiplier():
    a, b = studies(np.random.default_rng(6), noise=0.004, common=0.5)
    there, back = (compare(t, draws=1000).pairs[0] for t in ([a, b], [b, a]))
    assert there.compute.value * back.compute.value == pytest.approx(1, rel=1e-6)
    assert np.log(there.compute.low) == pytest.approx(-np.log(back.compute.high), abs=0.15 * width(there.compute))
    assert there.data.value * back.data.value == pytest.approx(1, rel=1e-6)


def test_a_gain_in_size_is_told_from_one_in_data():
    rng = np.random.default_rng(7)
    in_data = compare(studies(rng, noise=0.002, sizes=7), draws=100).pairs[0]
    in_size = compare(studies(rng, noise=0.002, sizes=7, rho_n=1.5, rho_d=1.0), draws=100).pairs[0]
    assert in_data.tests["data_alone"] > 0.01
    assert in_size.tests["data_alone"] < 1e-4
    assert "the gain is not in data alone" in in_size.summary()
    assert in_size.compute.low <= 1 / 1.5 <= in_size.compute.high


@pytest.mark.parametrize(
    ("change", "code"),
    [({"E": 1.5}, "own-floors"), ({"alpha": 0.38, "A": 400.0 * np.exp(0.04 * 17)}, "own-exponents"), ({}, None)],
)
def test_what_is_not_shared_is_warned_of(change, code):
    tables = studies(
        np.random.default_rng(8),
        noise=5e-4,
        common=0.5,
        truth_b={**TRUTH, **change},
        sizes=9,
        budgets=(1e16, *BUDGETS, 1e20),
    )
    pair = compare(tables, draws=50).pairs[0]
    codes = {w["code"] for w in pair.warnings}
    assert codes == set() if code is None else code in codes


def test_runs_that_cannot_tell_size_from_data_get_the_data_form():
    a, b = studies(np.random.default_rng(9), noise=0.001)
    rows = b.runs.iloc[[7] * 3].reset_index(drop=True).assign(seed=[0, 1, 2])
    rows["loss"] *= [1.0, 1.001, 0.999]
    pair = compare([a, replace(b, runs=rows)], draws=100, budget=1e18).pairs[0]
    assert pair.form == "data"
    assert pair.pairs == 1
    assert pair.rows == (15, 3)
    assert "data-form" in {w["code"] for w in pair.warnings}
    assert pair.compute.value == pytest.approx(pair.data.value, rel=1e-6)
    assert pair.compute.low < 0.7 < pair.compute.high
    assert "1 pair and 16 runs without a pair" in pair.method


def with_column(runs, **columns):
    return replace(runs, runs=runs.runs.assign(**columns))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, b: [a], "two tables or more"),
        (lambda a, b: [a, with_column(b, eval_id="other")], "losses that mean different things is meaningless"),
        (lambda a, b: [with_column(a, eval_id=["same"] * 14 + ["odd"]), b], "--metric"),
        (lambda a, b: [with_column(a, loss_unit="nats"), with_column(b, loss_unit="bits")], "different units"),
        (lambda a, b: [a, replace(b, data_unit="frames")], "different units"),
        (lambda a, b: [a, replace(b, cost="none")], "no compute"),
        (lambda a, b: [a, replace(b, runs=b.runs.head(2))], "too few runs"),
        (lambda a, b: [replace(t, runs=t.runs.head(3)) for t in (a, b)], "6 runs for the 7 parameters"),
        (lambda a, b: [replace(a, loss_name="metric_wer"), replace(b, loss_name="metric_per")], "different metrics"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    with pytest.raises(InputError, match=re.escape(message)):
        compare(change(*studies(noise=0.001)), draws=10)


def test_options_are_refused_by_name():
    tables = studies(noise=0.001)
    with pytest.raises(InputError, match="did you mean chinchilla"):
        compare(tables, law="chinchila")
    with pytest.raises(InputError, match="cannot share this law"):
        compare(tables, law="farseer")
    with pytest.raises(InputError, match="no such column to cluster by"):
        compare(tables, cluster="nothing")
    with pytest.raises(InputError, match="too few clusters"):
        compare(tables, cluster="seed")


def test_a_shared_metric_is_compared_whatever_the_losses_mean():
    a, b = studies(noise=0.001)
    tables = [replace(a, loss_name="metric_wer"), replace(with_column(b, eval_id="other"), loss_name="metric_wer")]
    assert compare(tables, draws=50).pairs[0].compute.value == pytest.approx(0.7, rel=0.05)


def test_losses_without_an_eval_id_are_compared_with_a_warning():
    a, b = studies(noise=0.001)
    bare = replace(b, runs=b.runs.drop(columns="eval_id"))
    assert "unchecked-loss" in {w["code"] for w in compare([a, bare], draws=10).pairs[0].warnings}
    assert "unchecked-loss" not in {w["code"] for w in compare([a, b], draws=10).pairs[0].warnings}


def test_runs_that_follow_no_law_are_no_comparison():
    a, b = studies()
    rising = [with_column(t, loss=1 + 0.1 * np.log(t.runs["C"].to_numpy())) for t in (a, b)]
    with pytest.raises(WorkError, match="share no certified fit"):
        compare(rising, draws=10)


def test_compute_that_does_not_meet_is_warned_of():
    a, b = studies(noise=0.001)
    near, far = a.runs["C"] < 5e17, b.runs["C"] > 5e18
    a = replace(a, runs=a.runs[near | (a.runs["C"] < 5e18)].reset_index(drop=True))
    b = replace(b, runs=b.runs[far].reset_index(drop=True))
    assert "no-overlap" in {w["code"] for w in compare([a, b], draws=20).pairs[0].warnings}


def test_text_and_json():
    """The answer is the first line; the same seed gives the same object; several recipes stand against the first."""
    a, b = studies(np.random.default_rng(10), noise=0.003, common=0.5)
    c = studies(np.random.default_rng(11), noise=0.003, rho_d=0.5)[1]
    result = compare([a, b, replace(c, label="C")], draws=100, level=0.9)
    first = result.summary().splitlines()[0]
    pattern = (
        r"B needs 0\.\d+x \[0\.\d+, 0\.\d+\] the compute of A "
        r"\(90 %, wild bootstrap over 15 pairs; on C, at 1e18 FLOPs\)"
    )
    assert re.fullmatch(pattern, first), first
    assert "C needs " in result.summary()
    found = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert found == json.loads(json.dumps(compare([a, b, replace(c, label="C")], draws=100, level=0.9).to_dict()))
    assert [pair["recipe"] for pair in found["pairs"]] == ["B", "C"]
    pair = found["pairs"][1]
    assert pair["multiplier"]["estimate"] == pytest.approx(2, rel=0.05)
    assert pair["multiplier"]["low"] < pair["multiplier"]["estimate"] < pair["multiplier"]["high"]
    params = pair["params"]
    assert params["A"]["E"] == params["C"]["E"]
    ratio = params["C"]["B"] / params["A"]["B"]
    assert pair["rho_D"]["estimate"] == pytest.approx(ratio ** (-1 / params["A"]["beta"]))


def test_recipes_are_called_by_what_tells_them_apart():
    a, b = studies(noise=0.001)
    assert names_of([a, b]) == ["A", "B"]
    files = [replace(t, label="", source={"path": f"results/{name}.csv"}) for t, name in ((a, "old"), (b, "new"))]
    assert names_of(files) == ["old", "new"]
    assert names_of([files[0], files[0]]) == ["recipe 1", "recipe 2"]


def test_rows_pair_within_two_percent_once_and_by_seed():
    first = pd.DataFrame({"N": [100.0, 200.0, 300.0, 400.0], "D": 1e3, "budget": np.nan, "seed": [0, 0, 1, 1.0]})
    second = pd.DataFrame(
        {
            "N": [101.0, 100.4, 205.0, 300.0, 400.0],
            "D": [1e3, 1e3, 1e3, 1e3, 1e4],
            "budget": np.nan,
            "seed": [0, 0, 0, 2, 1],
        }
    )
    assert pairs_of(first, second) == [(0, 1)]
    assert pairs_of(first.drop(columns="seed"), second) == [(0, 1), (2, 3)]
    at_budget = first.assign(budget=7.0), second.assign(budget=7.0)
    assert pairs_of(*at_budget) == [(0, 1), (3, 4)], "one budget, though other data"
    assert pairs_of(first.assign(U=1e3), second.assign(U=2e3)) == []


def test_clusters_join_pairs_and_shared_values():
    first, second = pd.DataFrame({"run": ["x", "x", "y"]}), pd.DataFrame({"run": ["y", None, None]})
    assert len(set(clusters_of(first, second, [], None))) == 6
    labels = clusters_of(first, second, [(0, 1)], "run")
    assert labels[0] == labels[1] == labels[4], "rows of one run, and the pair of one of them"
    assert labels[2] == labels[3], "a run in both tables"
    assert len(set(labels)) == 3


@pytest.mark.parametrize("name", ["chinchilla", "skaling"])
def test_a_shared_law_has_the_derivatives_of_its_values(name):
    """The linear surface agrees with jets, and both with differences."""
    law = LAWS[name]
    rng = np.random.default_rng(12)
    x = Points.of(N=np.exp(rng.uniform(15, 20, 8)), D=np.exp(rng.uniform(20, 24, 8)))
    shared = Shared(law, ("A", "B", "beta"), (np.arange(8) % 2).astype(float))
    natural = {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37, "k": 0.8}
    theta = np.append(law.theta(natural), [0.2, -0.1, 0.02])
    jacobian = shared.surface(x).jacobian(theta)
    jets = JetSurface(lambda t: shared.terms(t, x), 8, len(theta))
    assert np.allclose(jacobian, jets.jacobian(theta), rtol=1e-12)
    steps = 1e-6 * np.eye(len(theta))
    differences = (shared.log_loss(theta + steps, x) - shared.log_loss(theta - steps, x)) / 2e-6
    assert np.allclose(jacobian, differences.T, rtol=1e-6, atol=1e-9)
    assert np.allclose(jacobian[::2, -3:], 0), "A's rows do not know B's parameters"
