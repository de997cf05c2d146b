"""Draws of two fits of the same runs that belong together, so that what is said of both keeps what they share.

Noise that a run has in loss and metric (its seed, a badly tuned rate) moves both optima alike: independent draws would
widen the interval of N*_metric / N*_loss, and draws of one seed, whose normal numbers are the same, would narrow it to
nothing. Draw i of one fit belongs to draw i of the other:

- isoFLOP minima: errors of a run are normal in two dimensions (`analysis.approaches.pairdraws`);
- the law: both fits are refitted to the same resample: the same rows (`pairs`), residuals of the same rows
  (`residual`), the same signs (`wild`). Where a fit alone would take other draws (random effects, delta), whose numbers
  tell nothing of rows, signs of clusters or residuals of rows are drawn instead.

Supposed: rows (or the clusters that the loss's residuals show) are independent, and laws and curves are those chosen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.approaches.budgets import budget_groups
from analysis.approaches.isoflop import IsoFlop, curves_of
from analysis.approaches.pairdraws import draw_pair
from analysis.approaches.parametric import Parametric
from analysis.asked import VARIANCE, row_weights
from analysis.data.points import Points
from analysis.data.table import RunTable
from analysis.engine.newton import minimise
from analysis.engine.resampling import Sample, rows_of_draws
from analysis.fitting import Fit
from analysis.judgement.intervals import AUTO, scheme_for


def joint_fits(
    first: tuple[RunTable, Fit],
    second: tuple[RunTable, Fit],
    *,
    draws: int,
    rng: np.random.Generator,
    curve: str = AUTO,
    interval: str = AUTO,
    cluster: str = AUTO,
) -> tuple[Fit, Fit]:
    """Return two fits of the same runs with draws that belong together; all else is as it was.

    Args:
        first: Runs and fit of one quantity.
        second: Of the other one, of the same runs in the same order.
        draws: How many.
        rng: Their source.
        curve: Of the isoFLOP minima, as both were fitted.
        interval: How draws of the law are made, as asked.
        cluster: What varies together, as asked.
    """
    pair = (first, second)
    coefficients = draw_pair(curves_of(first[0], curve), curves_of(second[0], curve), draws, rng)
    isoflops = [_with(fit.isoflop, table, own) for (table, fit), own in zip(pair, coefficients, strict=True)]
    laws = [fit.parametric for _, fit in pair]
    if all(law.certified for law in laws) and draws:
        laws = _laws(pair, draws, rng, interval, cluster)
    found = [
        replace(fit, isoflop=isoflop, parametric=law, choices=[])
        for (_, fit), isoflop, law in zip(pair, isoflops, laws, strict=True)
    ]
    return found[0], found[1]


def _with(isoflop: IsoFlop, table: RunTable, draws: np.ndarray) -> IsoFlop:
    """Return the minima of a fit with other draws of the table's curves, of which it may have left some out."""
    rows = [rows for _, rows in budget_groups(table)[0]]
    kept = [next(i for i, own in enumerate(rows) if np.array_equal(own, p.rows)) for p in isoflop.parabolas]
    return replace(isoflop, draws=draws[:, kept])


def _laws(
    pair: tuple[tuple[RunTable, Fit], tuple[RunTable, Fit]],
    draws: int,
    rng: np.random.Generator,
    interval: str,
    cluster: str,
) -> list[Parametric]:
    """Return both laws refitted to the same resamples; of those where both found a certified minimum."""
    samples = [sample_of(table, fit) for table, fit in pair]
    scheme = scheme_for(pair[0][0], samples[0], method=interval, cluster=cluster)
    method = scheme.method
    if method in ("parametric", "delta"):
        clustered = scheme.labels is not None and samples[0].objective.name != "lad"
        method = "wild" if clustered else "residual"
    seed = int(rng.integers(2**63))
    ends = []
    for sample in samples:
        y, w = rows_of_draws(sample, method, np.random.default_rng(seed), scheme.labels)  # the same numbers for both
        y, w = (given(0, draws) if callable(given) else given for given in (y, w))
        start = np.repeat(sample.theta[None], draws, axis=0)
        ends.append(minimise(sample.surface, y, start, sample.refitted, weights=w))
    good = ends[0].converged & ends[1].converged
    return [
        replace(fit.parametric, draws=end.theta[good], failed=int((~good).sum()))
        for (_, fit), end in zip(pair, ends, strict=True)
    ]


def sample_of(table: RunTable, fit: Fit) -> Sample:
    """Return a fit as its objective's derivatives need it; only for a law that is certified."""
    points, weighting = Points.of_table(table), fit.weighting
    column = VARIANCE if weighting.startswith(VARIANCE) else weighting.removeprefix("column ")
    return Sample(
        surface=fit.parametric.law.surface(points),
        log_y=np.log(table.runs["loss"].to_numpy()),
        theta=fit.parametric.theta,
        objective=fit.parametric.objective,
        weights=None if weighting.startswith("none") else row_weights(table, column)[0],
    )
