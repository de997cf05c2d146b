"""Nominal 95 % intervals cover what they should, on simulated studies of the size that people run."""

import numpy as np
import pandas as pd
import pytest

from analysis.approaches.isoflop import fit_isoflop
from analysis.data.columns import find_columns
from analysis.data.costmodel import CostModel
from analysis.data.table import clean
from analysis.estimates import Estimate

from .conftest import chinchilla

TRUTHS = {
    "symmetric": {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.35, "beta": 0.35},
    "skewed": {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.25, "beta": 0.45},
}
BUDGETS = (1e17, 1e18, 1e19)


def optimal_log_n(budget, truth):
    """Return log N* of C = 6 N D in closed form."""
    total = truth["alpha"] + truth["beta"]
    g = np.log(truth["alpha"] * truth["A"] / (truth["beta"] * truth["B"]))
    return (g + truth["beta"] * np.log(budget / 6)) / total


def study(rng, truth, noise, sizes=5, span=10.0):
    """Return one simulated isoFLOP study with independent log-normal noise."""
    rows = []
    for budget in BUDGETS:
        n = np.exp(optimal_log_n(budget, truth)) * np.geomspace(span**-0.5, span**0.5, sizes)
        d = budget / (6 * n)
        loss = chinchilla(n, d, truth) * np.exp(noise * rng.normal(size=sizes))
        rows.append(pd.DataFrame({"params": n, "tokens": d, "flops": budget, "budget": budget, "loss": loss}))
    frame = pd.concat(rows, ignore_index=True)
    columns = find_columns(list(frame), {}, where="simulated")
    return clean(frame, columns, label="", source={"path": "simulated", "rows": len(frame)})


def covers(estimate, truth):
    low = -np.inf if estimate.low is None else estimate.low
    high = np.inf if estimate.high is None else estimate.high
    return low <= truth <= high


@pytest.mark.slow
@pytest.mark.parametrize("truth", TRUTHS.values(), ids=TRUTHS)
@pytest.mark.parametrize("noise", [0.001, 0.004])
def test_intervals_of_isoflop_minima_cover(noise, truth):
    """600 studies of 3 budgets x 5 sizes: N*, L* and the exponent a."""
    rng = np.random.default_rng(1)
    hits = {"N": [], "L": [], "a": []}
    for _ in range(600):
        table = study(rng, truth, noise)
        result = fit_isoflop(table, CostModel.of(table), draws=400, rng=rng)
        middle = result.parabolas[1]
        true_n = optimal_log_n(BUDGETS[1], truth)
        true_l = chinchilla(np.exp(true_n), BUDGETS[1] / (6 * np.exp(true_n)), truth)
        hits["N"].append(covers(Estimate.of(middle.log_n, result.log_n_draws(1), 0.95), true_n))
        hits["L"].append(covers(Estimate.of(middle.loss, result.loss_draws(1), 0.95), true_l))
        if (exponents := result.exponents()) is not None and len(result.bracketed) == 3:
            true_a = truth["beta"] / (truth["alpha"] + truth["beta"])
            hits["a"].append(covers(Estimate.of(*exponents["a"], 0.95), true_a))
    for name, found in hits.items():
        assert 0.93 <= np.mean(found) <= 0.995, (name, np.mean(found), len(found))
