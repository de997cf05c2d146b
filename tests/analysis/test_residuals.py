"""The checks find the defect that is there, and stay silent at their stated level where there is none."""

import numpy as np
import pandas as pd
import pytest

from analysis.judgement.residuals import residual_checks

A, B, E, ALPHA, BETA = 400.0, 2000.0, 1.7, 0.34, 0.37


def study(sizes=7, data=7, seeds=2):
    """Return runs, and the derivatives of the logarithm of a Chinchilla law by its parameters."""
    n, d, seed = map(
        np.ravel, np.meshgrid(np.geomspace(1e7, 1e9, sizes), np.geomspace(2e8, 2e10, data), range(seeds), indexing="ij")
    )
    first, second = A * n**-ALPHA, B * d**-BETA
    columns = [np.ones_like(n), first, second, -first * np.log(n), -second * np.log(d)]
    tangent = np.stack(columns, axis=1) / (E + first + second)[:, None]
    return pd.DataFrame({"N": n, "D": d, "C": 6 * n * d, "seed": seed}), tangent


def fitted(noise, tangent):
    """Return what a least-squares fit leaves of the noise."""
    basis = np.linalg.qr(tangent)[0]
    return noise - basis @ (basis.T @ noise)


def failed(runs, residuals, **options):
    return {check.name for check in residual_checks(runs, residuals, 5, **options) if check.passed is False}


@pytest.mark.parametrize("exact", [False, True])
def test_sound_fits_fail_at_most_at_the_stated_level(exact):
    """300 studies: 5 % of them, give or take three standard errors, fail any of the eleven checks."""
    runs, tangent = study()
    rng = np.random.default_rng(0)
    options = {"tangent": tangent} if exact else {}
    found = [bool(failed(runs, fitted(rng.normal(size=98), tangent), **options)) for _ in range(300)]
    assert 0.005 <= np.mean(found) <= 0.09


def interaction(runs, rng):
    return 0.004 * np.log(runs["N"] / 1e8) * np.log(runs["D"] / 2e9) + 0.01 * rng.normal(size=len(runs))


def unequal(runs, rng):
    return 0.01 * (runs["D"] / runs["N"] / 20) ** -0.3 * rng.normal(size=len(runs))


def heavy(runs, rng):
    return 0.01 * rng.standard_t(2, size=len(runs))


def ripple(runs, rng):
    """A misfit that no polynomial of low degree describes."""
    setting = np.unique(runs["C"] + runs["N"], return_inverse=True)[1]
    return 0.01 * np.sin(5.0 * setting) + 0.005 * rng.normal(size=len(runs))


def shared(runs, rng):
    size = np.unique(runs["N"], return_inverse=True)[1]
    return 0.01 * (rng.normal(size=7)[size] + 0.5 * rng.normal(size=len(runs)))


@pytest.mark.parametrize(
    ("defect", "name"),
    [
        (interaction, "trend in C"),
        (interaction, "trend in N, D and C"),
        (interaction, "lack of fit"),
        (unequal, "variance over D/N"),
        (heavy, "normality"),
        (ripple, "lack of fit"),
        (shared, "autocorrelation in C within sizes"),
    ],
)
def test_each_defect_is_found_by_its_check(defect, name):
    runs, tangent = study()
    rng = np.random.default_rng(1)
    found = [name in failed(runs, fitted(np.asarray(defect(runs, rng)), tangent)) for _ in range(40)]
    assert np.mean(found) >= 0.75


def test_the_tangent_makes_the_trend_tests_stronger():
    """A trend too weak for the conservative test is seen by the exact one."""
    runs, tangent = study()
    rng = np.random.default_rng(2)
    seen = {"exact": 0, "conservative": 0}
    for _ in range(60):
        noise = 0.0012 * np.log(runs["N"] / 1e8) * np.log(runs["D"] / 2e9) + 0.01 * rng.normal(size=98)
        r = fitted(noise.to_numpy(), tangent)
        for kind, options in (("exact", {"tangent": tangent}), ("conservative", {})):
            p = [
                check.p_value for check in residual_checks(runs, r, 5, **options) if check.name == "trend in N, D and C"
            ]
            seen[kind] += p[0] < 0.05
    assert seen["exact"] > seen["conservative"] + 5


def test_what_cannot_be_tested_says_why():
    runs, tangent = study(sizes=3, data=3, seeds=1)
    checks = {c.name: c for c in residual_checks(runs, fitted(np.random.default_rng(3).normal(size=9), tangent), 5)}
    assert checks["normality"].passed is None
    assert "9 rows" in checks["normality"].message
    assert checks["lack of fit"].passed is None
    assert "add a seed" in checks["lack of fit"].message
    assert checks["autocorrelation in C within sizes"].passed is None
    assert all(np.isnan(c.p_value) and np.isnan(c.statistic) for c in checks.values() if c.passed is None)
    assert all(0 <= c.p_value <= 1 and "by Holm" in c.message for c in checks.values() if c.passed is not None)


def test_a_curve_over_sizes_alone_is_tested_over_sizes_alone():
    runs = pd.DataFrame({"N": np.geomspace(1e6, 1e8, 30), "D": np.nan, "C": np.nan})
    z = np.log(runs["N"] / 1e7)
    names = [c.name for c in residual_checks(runs, 0.01 * np.sin(20 * z) + 0.02 * (z**2 - np.mean(z**2)), 3)]
    assert names == ["normality", "variance over N", "trend in N", "lack of fit", "autocorrelation in C within sizes"]
    assert "trend in N" in {
        c.name for c in residual_checks(runs, 0.01 * np.sin(20 * z) + 0.02 * (z**2 - np.mean(z**2)), 3) if not c.passed
    }


def test_residuals_of_nothing_and_of_the_wrong_length():
    runs, _ = study()
    assert not [c for c in residual_checks(runs, np.zeros(98), 5) if c.passed is False]
    twice = np.repeat(np.random.default_rng(3).normal(size=49), 2)  # one run under two seeds
    same = next(c for c in residual_checks(runs, twice, 5) if c.name == "lack of fit")
    assert same.passed is None
    assert "one run twice" in same.message
    with pytest.raises(ValueError, match="98 rows need as many residuals"):
        residual_checks(runs, np.zeros(97), 5)


def test_scale_and_order_do_not_matter():
    runs, tangent = study()
    rng = np.random.default_rng(4)
    r = fitted(rng.standard_t(4, size=98), tangent)
    one = residual_checks(runs, r, 5)
    order = rng.permutation(98)
    two = residual_checks(runs.iloc[order].reset_index(drop=True), 1e-3 * r[order], 5)
    exact = [c.name for c in one if not c.name.startswith("autocorrelation")]  # seeds of one C have no order
    assert [c.p_value for c in one if c.name in exact] == pytest.approx([c.p_value for c in two if c.name in exact])
