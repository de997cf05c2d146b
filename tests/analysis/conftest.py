"""Tables with a known truth."""

import numpy as np
import pandas as pd
import pytest

TRUTH = {"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37}


def chinchilla(n, d, truth=TRUTH):
    return truth["E"] + truth["A"] / n ** truth["alpha"] + truth["B"] / d ** truth["beta"]


def isoflop_table(budgets=(1e17, 1e18, 1e19), sizes=5, span=16.0, noise=0.0, seed=0, seeds=1, cost=lambda n: 6 * n):
    """Return isoFLOP runs of the truth: sizes around each budget's optimum, with log-normal noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for budget in budgets:
        grid = np.exp(np.linspace(np.log(1e4), np.log(1e13), 20_000))
        center = grid[np.argmin(chinchilla(grid, budget / cost(grid)))]
        for n in center * np.geomspace(1 / np.sqrt(span), np.sqrt(span), sizes):
            for s in range(seeds):
                d = budget / cost(n)
                loss = chinchilla(n, d) * np.exp(noise * rng.normal())
                rows.append({"params": n, "tokens": d, "flops": budget, "budget": budget, "loss": loss, "seed": s})
    return pd.DataFrame(rows)


@pytest.fixture
def table_of(tmp_path):
    """Return a function that writes a frame as CSV and loads it."""
    from analysis import load

    def make(frame, **options):
        frame.to_csv(tmp_path / "runs.csv", index=False)
        return load(tmp_path / "runs.csv", **options)[0]

    return make
