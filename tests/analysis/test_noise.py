"""Correlation within clusters, unequal variances and the spread of seeds, on noise of a known make."""

import numpy as np
import pandas as pd
import pytest

from analysis.judgement.noise import (
    cluster_labels,
    groups_within,
    pure_error,
    variance_model,
)


def design(sizes=8, data=5, seeds=1):
    n, d, seed = map(
        np.ravel, np.meshgrid(np.geomspace(1e7, 1e9, sizes), np.geomspace(1e9, 1e11, data), range(seeds), indexing="ij")
    )
    return pd.DataFrame({"N": n, "D": d, "C": 6 * n * d, "seed": seed})


def test_cool_downs_belong_to_their_trunk():
    runs = pd.DataFrame({"N": 1e6, "row": ["a", "b", "c", "d"], "parent": ["", "a", "a", None]}, index=range(4))
    assert cluster_labels(runs, "run").tolist() == ["a", "a", "a", "d"]


def test_pure_error_is_the_variance_within_settings():
    rng = np.random.default_rng(5)
    runs = design(seeds=3)
    r = rng.normal(size=len(runs))
    variance, degrees = pure_error(runs, r)
    assert degrees == 80
    assert variance == pytest.approx(r.reshape(40, 3).var(axis=1, ddof=1).mean())
    assert pure_error(runs.assign(D=runs["D"] * (1 + 1e-9 * runs["seed"])), r)[1] == 80  # rounding
    assert pure_error(runs.assign(D=runs["D"] * (1 + 1e-3 * runs["seed"])), r)[1] == 0
    assert np.isnan(pure_error(design(), r[:40])[0])


@pytest.mark.parametrize("column", ["U", "B", "peak_lr"])
def test_runs_that_differ_in_a_setting_are_no_replicates(column):
    runs = design(seeds=3)
    assert pure_error(runs.assign(**{column: 1.0 + runs["seed"]}), np.zeros(len(runs)))[1] == 0
    assert pure_error(runs.assign(**{column: 1.0}), np.zeros(len(runs)))[1] == 80
    unknown = runs.assign(**{column: np.where(runs["seed"] == 0, np.nan, 1.0)})  # a known and an unknown value differ
    assert pure_error(unknown, np.zeros(len(runs)))[1] == 40


def test_a_curve_over_sizes_alone_has_replicates_too():
    runs = pd.DataFrame({"N": [1e6, 1e6, 2e6], "D": np.nan, "C": np.nan, "peak_lr": [{}, {}, {}]})
    assert pure_error(runs, [1.0, 2.0, 5.0]) == (0.5, 1)


@pytest.mark.parametrize(("covariate", "slope"), [("D/N", -0.5), ("D/N", 0.7), ("C", -0.5)])
def test_the_variance_model_finds_its_slope(covariate, slope):
    rng = np.random.default_rng(6)
    runs = design(sizes=10, data=10)
    x = runs["C"] / 6e18 if covariate == "C" else runs["D"] / runs["N"] / 100
    found = [variance_model(runs, 0.01 * x.to_numpy() ** (slope / 2) * rng.normal(size=100), 5) for _ in range(40)]
    assert sum(model is not None for model in found) >= 36
    models = [model for model in found if model is not None]
    assert np.mean([model.covariate == covariate for model in models]) >= 0.9
    right = [model for model in models if model.covariate == covariate]
    assert np.mean([model.slope for model in right]) == pytest.approx(slope, rel=0.1)
    model = right[0]
    assert model.weights.mean() == pytest.approx(1)
    assert np.polyfit(np.log(x), np.log(model.weights), 1)[0] == pytest.approx(-model.slope)


def test_equal_variances_and_heavy_tails_need_no_model():
    rng = np.random.default_rng(7)
    runs = design()
    normal = np.mean([variance_model(runs, rng.normal(size=40), 5) is not None for _ in range(400)])
    heavy = np.mean([variance_model(runs, rng.standard_t(3, size=40), 5) is not None for _ in range(400)])
    assert normal <= 0.08
    assert heavy <= 0.08


def test_the_variance_model_says_what_seeds_and_residuals_spread():
    rng = np.random.default_rng(8)
    runs = design(seeds=2)
    scale = (runs["D"] / runs["N"] / 100).to_numpy() ** -0.25
    misfit, noise = np.repeat(0.02 * rng.normal(size=40), 2), 0.01 * rng.normal(size=80)
    model = variance_model(runs, scale * (misfit + noise), 5)
    assert model.seed_degrees == 40
    assert model.seed_variance == pytest.approx(1e-4 * np.mean(scale**2), rel=0.6)
    assert model.variance > 2 * model.seed_variance
    assert variance_model(design(), np.zeros(40), 5) is None
    assert variance_model(runs[["N"]], noise, 5) is None
    exact = noise.copy()
    exact[:5] = 0  # a fit of least absolute deviations goes through as many rows as it has parameters
    assert np.isfinite(variance_model(runs, exact, 5).weights).all()


def test_groups_follow_each_other_within_the_distance():
    values = np.array([3.0, 1.0, 1.05, 9.0, 1.12])
    assert groups_within(values, 0.1).tolist() == [1, 0, 0, 2, 0]
