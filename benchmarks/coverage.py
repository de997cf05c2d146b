"""Coverage and width of nominal 95 % intervals of the law of Chinchilla. Run `python -m benchmarks.coverage`.

On each of `benchmarks.designs`, hundreds of studies are simulated, the law is fitted to each by the default objective
(Huber's loss, delta from the residuals), and intervals of a and of log N* at ten times the largest C are made by
every method. What counts is

    coverage  share of the intervals that hold the truth
    width     mean of high - low, over that of the default
    score     mean of high - low + 2 / 0.05 (distance by which the truth is missed), over that of the default

The interval score (Gneiting and Raftery 2007, JASA 102, 359) is least, on average, for the true quantiles: it rewards
narrow intervals and charges for misses. `default` is what `scaling-fit` does by itself
(`analysis.judgement.intervals`).
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass
from functools import partial

import numpy as np

from analysis.approaches.parametric import fit_points
from analysis.data.points import Points
from analysis.data.table import RunTable
from analysis.engine.objectives import log_mse, tuned_huber
from analysis.engine.profile import profile_interval
from analysis.engine.resampling import METHODS, Sample, draw
from analysis.estimates import Estimate
from analysis.judgement.intervals import scheme_for
from analysis.laws import Chinchilla
from benchmarks.designs import DESIGNS, Design, closed_form

LEVEL = 0.95
LAW = Chinchilla()
DEFAULT, PROFILE, BY_SIZE = "default", "profile", " by size"


@dataclass(frozen=True, kw_only=True)
class Measured:
    """How intervals of a and of log N* did on a design, by method, [2] each."""

    studies: int
    """Certified fits; the others are refused by the product and are neither hits nor misses."""
    refused: int
    coverage: dict[str, np.ndarray]
    width: dict[str, np.ndarray]
    score: dict[str, np.ndarray]
    failed: float
    """Share of the default's draws without a certified minimum."""
    schemes: Counter[str]
    """What the default was, and how often."""


def methods_for(design: Design) -> list[str]:
    """Return every method; those that draw clusters, where runs of one size share noise."""
    clustered = [method + BY_SIZE for method in METHODS] if design.shared == "size" else []
    return [DEFAULT, *METHODS, *clustered, PROFILE]


def measure(design: Design, methods: list[str], *, studies: int, draws: int, seed: int) -> Measured:
    """Return coverage, mean width and mean interval score.

    Args:
        design: What is simulated.
        methods: `default`, those of `resampling.METHODS`, with ` by size` after them for clusters, `profile`.
        studies: How many data sets.
        draws: Draws an interval; the product makes 1,000.
        seed: Of everything.
    """
    rng = np.random.default_rng(seed)
    n, d, _ = design.runs
    x = Points.of(N=n, D=d)
    starts = _starts(x, design)
    ends: dict[str, list[np.ndarray]] = {method: [] for method in methods}
    schemes: Counter[str] = Counter()
    failed: list[float] = []
    certified = 0
    for _ in range(studies):
        loss = design.simulate(rng)
        fitted, sample = fit_points(x, loss, LAW, tuned_huber(), starts=starts)
        if not fitted.certified:
            continue
        certified += 1
        for method in methods:
            if method == PROFILE:
                ends[method].append(_profile(sample, design))
                continue
            kind, by_size, _ = method.partition(BY_SIZE)
            labels = design.sizes if by_size else None
            if method == DEFAULT:
                table = RunTable(runs=design.frame(loss), label="", cost="recorded", source={})
                scheme = scheme_for(table, sample)
                kind, labels = scheme.method, scheme.labels
                schemes[kind + (f" by {scheme.cluster}" if labels is not None else "")] += 1
            found = draw(sample, kind, draws, rng, labels=labels)
            if method == DEFAULT:
                failed.append(found.failed / draws)
            pairs = zip(_quantities(sample.theta, design), _quantities(found.theta, design), strict=True)
            ends[method].append(np.array([_ends(Estimate.of(value, drawn, LEVEL)) for value, drawn in pairs]))
    truth = design.answers
    intervals = {method: np.stack(found) for method, found in ends.items()}
    return Measured(
        studies=certified,
        refused=studies - certified,
        coverage={m: ((e[..., 0] <= truth) & (truth <= e[..., 1])).mean(axis=0) for m, e in intervals.items()},
        width={m: (e[..., 1] - e[..., 0]).mean(axis=0) for m, e in intervals.items()},
        score={m: interval_score(e, truth).mean(axis=0) for m, e in intervals.items()},
        failed=float(np.mean(failed)) if failed else 0.0,
        schemes=schemes,
    )


def interval_score(ends: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the interval score of ends [..., 2] for a truth [...].

    Example:
        >>> interval_score(np.array([[0.0, 1.0], [0.0, 1.0]]), np.array([0.5, 1.1])).tolist()
        [1.0, 5.0]
    """
    low, high = ends[..., 0], ends[..., 1]
    return high - low + 2 / (1 - LEVEL) * (np.maximum(low - truth, 0) + np.maximum(truth - high, 0))


def report(design: Design, measured: Measured) -> str:
    """Return the table of a design."""
    width, score = measured.width[DEFAULT], measured.score[DEFAULT]
    default = ", ".join(f"{name} {count / measured.studies:.0%}" for name, count in measured.schemes.most_common())
    lines = [
        f"{design.name}: {measured.studies} studies, {measured.refused} refused; default: {default}; "
        f"{measured.failed:.1%} of its draws failed; its width: a {width[0]:.3f}, log N* {width[1]:.2f}",
        f"  {'':22}{'coverage':^16}{'width':^16}{'score':^16}",
        "  " + f"{'':22}" + f"{'a':>8}{'log N*':>8}" * 3,
    ]
    for method, (a, log_n) in measured.coverage.items():
        ratios = [*(measured.width[method] / width), *(measured.score[method] / score)]
        lines.append(f"  {method:22}{a:8.1%}{log_n:8.1%}" + "".join(f"{ratio:8.2f}" for ratio in ratios))
    return "\n".join(lines)


def _starts(x: Points, design: Design) -> np.ndarray:
    """Return starts around the fit to the losses without noise."""
    centre = fit_points(x, design.loss, LAW, log_mse())[0].theta
    step = np.array([0.05, 0.5, -0.5, 0.03, -0.03])
    return np.stack([centre, centre + step, centre - step])


def _quantities(theta: np.ndarray, design: Design) -> np.ndarray:
    """Return a and log N* of theta [..., parameters], [2, ...]."""
    return closed_form(theta[..., 1:], design.budget)


def _one(design: Design, which: int, theta: np.ndarray) -> np.ndarray:
    return _quantities(theta, design)[which]


def _profile(sample: Sample, design: Design) -> np.ndarray:
    found = [profile_interval(sample, partial(_one, design, which), LEVEL) for which in range(2)]
    return np.array([_ends(Estimate(value=0.0, low=low, high=high)) for low, high in found])


def _ends(estimate: Estimate) -> tuple[float, float]:
    """Return the ends; an end that is not there lies at infinity."""
    low = -np.inf if estimate.low is None else estimate.low
    return low, np.inf if estimate.high is None else estimate.high


if __name__ == "__main__":
    from benchmarks.timing import machine

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=300, help="simulated data sets a design (default 300)")
    parser.add_argument("--draws", type=int, default=400, help="draws an interval (default 400)")
    parser.add_argument("--design", choices=list(DESIGNS), help="only this one")
    arguments = parser.parse_args()
    print(machine())
    for name, design in DESIGNS.items():
        if arguments.design in (None, name):
            found = measure(design, methods_for(design), studies=arguments.studies, draws=arguments.draws, seed=1)
            print(report(design, found), flush=True)
