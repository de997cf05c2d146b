"""From a table of runs to an answer: N*, D* and L* at the budgets asked, with intervals and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from analysis.answers import (
    Optimum,
    in_own_unit,
    isoflop_exponents,
    isoflop_optimum,
    limited_optimum,
    parametric_exponents,
    parametric_optimum,
)
from analysis.approaches.envelope import fit_envelope
from analysis.approaches.isoflop import IsoFlop, fit_isoflop
from analysis.approaches.optimum import Spending
from analysis.approaches.parametric import Parametric, with_draws
from analysis.asked import common_batch, refuse_few, row_weights, unique_data
from analysis.data.costmodel import CostModel
from analysis.data.metrics import LOSS, Scale
from analysis.data.points import Points
from analysis.data.table import RunTable
from analysis.engine.objectives import Objective, objective_named
from analysis.engine.resampling import draw
from analysis.estimates import Estimate
from analysis.headline import contradicts, no_answer
from analysis.headline import headline as choose_headline
from analysis.judgement.choices import Choice, alternatives, spanning
from analysis.judgement.definitions import other_sizes, read_off
from analysis.judgement.intervals import AUTO, scheme_for
from analysis.judgement.judge import envelope_dict, judge
from analysis.judgement.selection import Selection, select
from analysis.laws import Law, law_named
from analysis.remarks import remarks
from scaling.errors import InputError, WorkError

LEVEL = 0.95
DRAWS = 1000
ENVELOPE_DRAWS = 300
"""The envelope stands beside the answer, and its draws are the dearest."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """All that was fitted to one table of runs; `to_dict` is what `scaling-fit --json` writes."""

    label: str
    source: dict[str, Any]
    used: int
    excluded: list[dict[str, str]]
    unique: float | None
    """Unique data that the answers are for, in D's unit; None where data do not repeat."""
    data_unit: str
    loss_name: str
    size_name: str
    """Column that counts as N."""
    largest: float
    """Largest recorded C; NaN without costs."""
    middle: float
    """Geometric middle of the recorded C."""
    spending: Spending | None
    isoflop: IsoFlop
    envelope: dict[str, Any]
    """Approach 1 as plain values: status, reason, points, a and b."""
    parametric: Parametric
    chosen: str
    """How the law was chosen."""
    weighting: str
    """What the rows of the law weigh."""
    headline: str
    """`isoflop` or `parametric`: the approach behind the answers."""
    level: float
    seed: int
    budgets: list[float]
    """Budgets answered for; one NaN in a curve over N alone."""
    limit: float | None = None
    """Largest N that can be deployed."""
    contradicted: bool = False
    """Whether the law's exponent contradicts the isoFLOP minima that a straight line describes."""
    choices: list[Choice] = field(default_factory=list)
    """Other laws, objectives and windows, for the interval that spans them."""
    sizes: dict[str, tuple[list[float], list[float]]] = field(default_factory=dict)
    """Other counts of the size: knots of log N and of their logarithm."""
    holdout: list[dict[str, Any]] = field(default_factory=list)
    """Scores of the laws on dearer runs than they were fitted to."""
    judgement: dict[str, Any] = field(default_factory=dict)
    """What speaks for and against the fit, as plain values (`analysis.judgement.judge`)."""
    warnings: list[dict[str, str]] = field(default_factory=list)
    scale: Scale = LOSS
    """What the law is of: the loss itself, or a metric's error or odds."""
    beside: dict[str, Any] = field(default_factory=dict)
    """What other metrics of the runs say, as plain values: metrics, differences, transfer."""

    def __repr__(self) -> str:
        """Return what was fitted and answered in a line; `summary` says it all."""
        found = ", ".join(f"{answer.N.value:.3g} at {answer.budget or 0:.3g}" for answer in self.answers)
        return f"Fit({self.label or self.source.get('path')}: {self.used} runs, by {self.headline}, N* {found})"

    def predict(
        self,
        *,
        N: float | np.ndarray,
        D: float | np.ndarray,
        U: float | np.ndarray | None = None,
        B: float | np.ndarray | None = None,
    ) -> np.ndarray:
        """Return what the law predicts at sizes and data (and unique data and batch, where it knows them).

        Raises:
            WorkError: When the law has no certified fit.
            InputError: When the law needs U or B.
        """
        law = self.parametric.law
        if not self.parametric.certified or self.spending is None:
            message = f"{law.equation} has no certified fit: {self.parametric.reason}"
            raise WorkError(message)
        known = {name: value for name, value in (("N", N), ("D", D), ("U", U), ("B", B)) if value is not None}
        known = dict(zip(known, np.broadcast_arrays(*map(np.atleast_1d, known.values())), strict=True))
        sizes, data = known["N"], known["D"]
        given = {"U": known.get("U"), "B": known.get("B")}
        for symbol, value in given.items():
            if symbol in law.needs and value is None and symbol == "B":
                raise InputError(f"{law.name} is a law of the batch too", where="predict", value=None, remedy="give B=")
        cost = np.exp(self.spending.cost.log_cost(np.log(sizes))) * data
        others = {symbol: value for symbol, value in given.items() if value is not None}
        if "U" in law.needs and U is None:
            others["U"] = data if self.unique is None else np.minimum(data, self.unique)
        return self.scale.own(np.exp(self.parametric.log_loss(Points.of(N=sizes, D=data, C=cost, **others))))

    def approach(self, budget: float) -> str:
        """Return what answers at a budget: `isoflop` or `parametric`."""
        beyond = self.law_answers and not self.isoflop.spans(budget)
        return "isoflop" if self.headline == "isoflop" and not beyond else "parametric"

    @property
    def law_answers(self) -> bool:
        """Whether the law splits budgets, and is to be believed."""
        return self.parametric.certified and self.parametric.law.allocates and not self.contradicted

    def optimum(self, budget: float) -> Optimum:
        """Return N*, D* and L* (a metric in its own unit) at a budget, with intervals, by the headline's approach.

        Where that is isoFLOP and the budget lies beyond the bracketed ones, the law answers if it is certified and
        does not contradict the minima; else the straight line through them, where the costs allow one.

        Raises:
            WorkError: When neither has an answer there.
        """
        if not (np.isnan(budget) or 0 < budget < np.inf) or (np.isnan(budget) and self.spending is not None):
            raise InputError("not a positive number of FLOPs", where="optimum", value=budget, remedy="write 1e21")
        law = self.law_answers
        if self.approach(budget) == "isoflop":
            if not self.isoflop.spans(budget) and (why := self.isoflop.no_line()):
                raise WorkError(no_answer(self.isoflop, self.parametric, why))
            answer = isoflop_optimum(self.isoflop, budget, self.largest, self.level, self.scale)
        else:
            assert self.spending is not None, "a law is certified only with costs"
            known = (self.spending, budget, self.largest, self.level)
            answer = parametric_optimum(self.parametric, *known, limit=self.limit, scale=self.scale)
        if self.limit is not None and answer.limited is None and law and self.spending is not None:
            log_n = float(np.log(answer.N.value))
            answer = replace(answer, limited=limited_optimum(self.parametric, self.spending, budget, log_n, self.limit))
        if answer.local_exponent is None and law and self.spending is not None and np.isfinite(budget):
            # one minimum has no slope: the law through all runs gives that of N* there
            slope = parametric_exponents(self.parametric, self.spending, budget, self.level)["a"]
            answer = replace(answer, local_exponent=slope)
        wide = None
        if self.spending is not None and np.isfinite(budget) and answer.log_n_draws is not None:
            log_n = float(np.log(answer.N.value))
            wide = spanning(self.choices, self.spending, budget, log_n, answer.log_n_draws, self.level)
            wide = wide.covering(answer.N) if wide else None
        return replace(
            in_own_unit(answer, self.scale),
            spanning=wide,
            sizes=read_off(self.sizes, float(np.log(answer.N.value))) if np.isfinite(answer.N.value) else {},
            unique=self.unique,
        )

    @cached_property
    def answers(self) -> list[Optimum]:
        """The answers at the budgets asked."""
        return [self.optimum(budget) for budget in self.budgets]

    def exponents(self, approach: str | None = None) -> dict[str, Estimate]:
        """Return a of N* ~ C^a and b of D* ~ C^b by one approach (the headline's when none is named)."""
        approach = approach or self.headline
        if approach == "envelope":
            return {name: Estimate.from_dict(self.envelope[name]) for name in "ab" if name in self.envelope}
        if approach == "isoflop":
            return isoflop_exponents(self.isoflop, self.level)
        if not self.parametric.certified or not self.parametric.law.allocates or self.spending is None:
            return {}
        return parametric_exponents(self.parametric, self.spending, self.middle, self.level)

    def summary(self, form: str = "text") -> str:
        """Return the fit as `text`, `html` or `latex`."""
        from analysis.summary import summarise

        return summarise(self.to_dict(), form)

    def to_dict(self) -> dict[str, Any]:
        """Return the fit as the contract of `--json` says."""
        from analysis.store import to_dict

        return to_dict(self)


def fit(
    table: RunTable,
    *,
    law: str | Law = AUTO,
    objective: str | Objective = "huber",
    budgets: Sequence[float] = (),
    draws: int = DRAWS,
    level: float = LEVEL,
    interval: str = AUTO,
    cluster: str = AUTO,
    weights: str | None = None,
    unique: float | None = None,
    limit: float | None = None,
    curve: str = AUTO,
    judged: bool = True,
    seed: int = 0,
) -> Fit:
    """Fit a table by all three approaches, and answer for the budgets asked.

    The headline is the isoFLOP minima where every budget asked lies within the bracketed ones; else the law, where
    it carries its certificate; else the isoFLOP minima along a straight line, where the costs allow one.

    Args:
        table: The runs.
        law: A law or its name; `auto` for the one that foretells dearer runs best.
        objective: `huber` (delta from the residuals), `lad`, `log-mse`, `mse`, or an Objective.
        budgets: FLOPs to answer for; the bracketed budgets of the table when none is given.
        draws: Draws that intervals are made of.
        level: Their level.
        interval: How draws of the law are made: `pairs`, `residual`, `wild`, `parametric`, `delta`, or `auto`.
        cluster: What varies together: a column, `size`, `run`, `none`, or `auto` for what the residuals say.
        weights: Column of weights of the law's rows; `variance` for those of a model of the residuals' variance.
        unique: Unique data that the answers are for, in D's unit; the most that any run had when not given.
        limit: Largest N that can be deployed: answers are for the best size up to it, too.
        curve: Curve of the isoFLOP minima: `quadratic`, `skewed`, `local`, or `auto`.
        judged: Whether other laws, influence, drift, biases and residuals are looked into; without, only the answer.
        seed: Of all draws.

    Raises:
        InputError: When there are fewer rows than any fit needs, or an argument is wrong.
        WorkError: When the rows allow no fit.

    Example:
        >>> from analysis import fit, load
        >>> answer = fit(load("runs.csv")[0]).optimum(1e18).N
        >>> answer.low < 86.4e6 < answer.high  # the truth that the runs were drawn from
        True
    """
    if not isinstance(table, RunTable):
        raise InputError(
            "not a table of runs", where="fit", value=type(table).__name__, remedy='write fit(load("runs.csv")[0])'
        )
    named = law if isinstance(law, Law) or law == AUTO else law_named(law)
    chosen = objective_named(objective) if isinstance(objective, str) else objective
    refuse_few(table)
    sources = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(4)]
    unique = unique_data(table, unique)
    spending = None
    if table.cost != "none":
        spending = Spending(CostModel.of(table), None if unique is None else float(np.log(unique)), common_batch(table))
    cost = spending.cost if spending else None
    isoflop = fit_isoflop(table, cost, draws=draws, rng=sources[0], curve=curve).of_unique(unique)
    own_weights, weighting = row_weights(table, weights)
    selection = select(table, named, chosen, weights=own_weights, weigh=judged)
    parametric, reason = _draw(table, selection, draws, sources[1], interval=interval, cluster=cluster)
    middle = float(np.exp(np.log(table.runs["C"]).mean()))
    contradicted = contradicts(isoflop, parametric, spending, middle, level)
    headline, asked = choose_headline(isoflop, parametric, sorted(budgets), table, contradicted=contradicted)
    envelope = fit_envelope(table, cost, draws=min(draws, ENVELOPE_DRAWS) if judged else 0, rng=sources[2])
    result = Fit(
        label=table.label,
        source=table.source,
        used=table.used,
        excluded=[*table.excluded, *isoflop.skipped] if headline == "isoflop" else table.excluded,
        unique=unique,
        data_unit=table.data_unit,
        loss_name=table.loss_name,
        size_name=str(table.source.get("columns", {}).get("n", "N")),
        largest=float(table.runs["C"].max()),
        middle=middle,
        spending=spending,
        isoflop=isoflop,
        envelope=envelope_dict(envelope, level),
        parametric=parametric,
        chosen=selection.chosen,
        weighting=weighting,
        headline=headline,
        level=level,
        seed=seed,
        budgets=asked,
        limit=limit,
        scale=table.scale,
        contradicted=contradicted,
        choices=alternatives(table, selection.fits, selection.weights) if judged and selection.fits else [],
        sizes=other_sizes(table),
        holdout=[score.to_dict() for score in selection.scores],
    )
    if judged:
        result.judgement.update(judge(result, table, selection, sources[3], reason))
    result.warnings.extend([*table.warnings, *remarks(result, table)])
    return result


def _draw(
    table: RunTable, selection: Selection, draws: int, rng: np.random.Generator, *, interval: str, cluster: str
) -> tuple[Parametric, str]:
    """Return the law with its draws, and why they were made so."""
    if selection.sample is None:
        return selection.parametric, ""
    scheme = scheme_for(table, selection.sample, method=interval, cluster=cluster)
    if not draws:
        return selection.parametric, scheme.reason
    found = draw(selection.sample, scheme.method, draws, rng, labels=scheme.labels, cluster=scheme.cluster)
    return with_draws(selection.parametric, found.theta, found.failed, found.method, found.cluster), scheme.reason
