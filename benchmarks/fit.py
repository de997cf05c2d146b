"""The law of Chinchilla: many starts and a bootstrap, against SciPy's L-BFGS. Run `python -m benchmarks.fit`.

The data are simulated on the truth of Besiroglu et al. (arXiv 2404.10102) with log-normal noise. The peer minimises
the same sum of Huber losses from the same starts with SciPy's L-BFGS-B and exact gradients, one start after another,
as published replications do; for the bootstrap it starts at the fitted parameters, as ours does.
"""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize

from analysis import load
from analysis.laws import Chinchilla
from analysis.newton import huber, minimise
from analysis.parametric import fit_parametric
from benchmarks.timing import machine, median_seconds

ROWS, DELTA, DRAWS, PEER_DRAWS, REPEATS = 240, 1e-3, 4_000, 200, 5


def simulate(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n, d = np.exp(rng.uniform(18, 23, ROWS)), np.exp(rng.uniform(20, 26, ROWS))
    loss = (1.82 + 482 / n**0.3478 + 2085 / d**0.3658) * np.exp(0.01 * rng.standard_normal(ROWS))
    return pd.DataFrame({"params": n, "tokens": d, "flops": 6 * n * d, "loss": loss})


def peer(design: np.ndarray, log_y: np.ndarray, start: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the lowest value that L-BFGS-B reaches from a start, and where."""

    def value(theta: np.ndarray) -> tuple[float, np.ndarray]:
        terms = design @ theta
        top = terms.max(1, keepdims=True)
        weights = np.exp(terms - top)
        total = weights.sum(1, keepdims=True)
        residual = (top + np.log(total))[:, 0] - log_y
        size = np.abs(residual)
        rho = np.where(size <= DELTA, 0.5 * residual**2, DELTA * (size - 0.5 * DELTA))
        slope = np.clip(residual, -DELTA, DELTA)
        return rho.sum(), np.einsum("r,rt,rtp->p", slope, weights / total, design)

    # SciPy's default tolerances stop far from the minimum of so small a sum
    end = minimize(value, start, jac=True, method="L-BFGS-B", options={"maxiter": 5_000, "ftol": 1e-15, "gtol": 1e-12})
    return float(end.fun), end.x


if __name__ == "__main__":
    print(machine())
    frame = simulate()
    with tempfile.TemporaryDirectory() as folder:
        frame.to_csv(Path(folder) / "runs.csv", index=False)
        table = load(Path(folder) / "runs.csv")[0]
    law, objective = Chinchilla(), huber(DELTA)
    log_n, log_d, loss = (
        np.log(table.runs["N"].to_numpy()),
        np.log(table.runs["D"].to_numpy()),
        table.runs["loss"].to_numpy(),
    )
    design, log_y = law.design(log_n, log_d), np.log(loss)
    starts = law.starts(log_n, log_d, loss)

    ours = minimise(design, log_y, starts, objective)
    theirs = [peer(design, log_y, start) for start in starts]
    lowest = min(ours.value.min(), min(value for value, _ in theirs))
    seconds = median_seconds(lambda: minimise(design, log_y, starts, objective), REPEATS)
    peer_seconds = median_seconds(lambda: [peer(design, log_y, start) for start in starts], 1)
    reached = [np.mean(np.array(values) < lowest * (1 + 1e-9)) for values in (ours.value, [v for v, _ in theirs])]
    print(f"{len(starts)} starts, {ROWS} rows")
    print(f"  batched Newton  {seconds:7.3f} s   {reached[0]:4.0%} of the starts within 1e-9 of the lowest value")
    print(f"  L-BFGS-B        {peer_seconds:7.3f} s   {reached[1]:4.0%}")

    rng = np.random.default_rng(0)
    whole = median_seconds(lambda: fit_parametric(table, law, objective, draws=DRAWS, rng=rng), REPEATS)
    best = ours.theta[np.argmin(ours.value)]
    picks = rng.integers(0, ROWS, (PEER_DRAWS, ROWS))
    peer_draws = median_seconds(lambda: [peer(design[p], log_y[p], best) for p in picks], 1)
    print(f"bootstrap, {DRAWS:,} draws")
    print(f"  batched Newton  {whole - seconds:7.3f} s")
    print(f"  L-BFGS-B        {peer_draws * DRAWS / PEER_DRAWS:7.1f} s   ({PEER_DRAWS} draws measured)")
