"""A trainer of your own: any importable train(spec, run), and cost(spec) beside it if budgets shall be met.

This one learns a linear function of many inputs by one pass of SGD. Input i has variance i^-1.5, and a model of size
N sees the first N inputs, so the loss has a floor, a part that falls with N and one that falls with the samples seen:
a scaling law in a second, without a GPU.
"""

import numpy as np

from scaling import Cost, RunRecord

INPUTS, NOISE = 100_000, 0.1
VARIANCE = np.arange(1, INPUTS + 1) ** -1.5


def cost(spec):
    """Say what a step costs: N multiply-adds forward and twice that backward, for each sample."""
    size, batch = spec.model["size"], spec.trainer_args["batch"]
    return Cost(params=size, flops_per_step=6 * size * batch, frames_per_step=batch)


def train(spec, run):
    """Train one model; log, save, resume and stop when asked; return its record."""
    size, batch = spec.model["size"], spec.trainer_args["batch"]
    unseen = VARIANCE[size:].sum() + NOISE**2
    state = run.load() or {"step": 0, "weights": [0.0] * size}
    weights = np.array(state["weights"])
    for step in range(state["step"], spec.updates):
        rng = np.random.default_rng((spec.seed, step))
        x = rng.standard_normal((batch, size)) * np.sqrt(VARIANCE[:size])
        error = x @ (weights - 1) + rng.standard_normal(batch) * np.sqrt(unseen)
        weights -= spec.trainer_args["rate"] * (1 - step / spec.updates) * x.T @ error / batch
        if (step + 1) % max(1, spec.updates // 100) == 0:
            run.log(step + 1, loss=float((error**2).mean()))
        if (stop := run.should_stop) or run.save_due:
            run.save({"step": step + 1, "weights": weights.tolist()})
        if stop:
            return None
    loss = float((VARIANCE[:size] * (weights - 1) ** 2).sum() + unseen)
    return RunRecord.of(spec, cost(spec), loss=loss, loss_unit="squared error")
