"""From a table of runs to an answer: N*, D* and L* at the budgets asked, with intervals and warnings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.answers import (
    Optimum,
    isoflop_exponents,
    isoflop_optimum,
    parametric_exponents,
    parametric_optimum,
)
from analysis.costmodel import CostModel
from analysis.estimates import Estimate
from analysis.isoflop import SPREAD, IsoFlop, fit_isoflop
from analysis.laws import LAWS, law_named
from analysis.newton import Objective, objective_named
from analysis.parametric import Parametric, fit_parametric
from analysis.table import RunTable
from scaling.errors import InputError, WorkError, did_you_mean
from scaling.units import format_count, format_flops

LEVEL = 0.95
DRAWS = 1000
MIN_ROWS = 3
MIN_CLUSTERS = 5
MIN_LINE = 3
"""Bracketed budgets from which a straight line through their minima can contradict a law."""
FAR = 10.0
"""An optimum at more than this times the largest recorded C is a guess."""
DISAGREE = 0.2
"""Difference between the approaches' exponents that is worth a warning."""
MAX_FAILED = 0.1
"""Share of failed bootstrap draws that is worth a warning."""
MANY_BUDGETS = 12
FAR_APART = 1.5
"""Ratio of two approaches' N* that is worth a warning."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """All that was fitted to one table of runs; `to_dict` is what `scaling-fit --json` writes."""

    label: str
    source: dict[str, Any]
    used: int
    excluded: list[dict[str, str]]
    unique_hours: float | None
    """Hours of distinct audio that the runs share."""
    data_unit: str
    loss_name: str
    largest: float
    """Largest recorded C; NaN without costs."""
    middle: float
    """Geometric middle of the recorded C."""
    cost: CostModel | None
    isoflop: IsoFlop
    parametric: Parametric
    headline: str
    """`isoflop` or `parametric`: the approach behind the answers."""
    level: float
    seed: int
    budgets: list[float]
    """Budgets answered for; one NaN in a curve over N alone."""
    contradicted: bool = False
    """Whether the law's exponent contradicts the isoFLOP minima that a straight line describes."""
    warnings: list[dict[str, str]] = field(default_factory=list)

    def predict(self, *, N: float | np.ndarray, D: float | np.ndarray) -> np.ndarray:
        """Return the loss that the law predicts at sizes and data.

        Raises:
            WorkError: When the law has no certified fit.
        """
        if not self.parametric.certified:
            message = f"{self.parametric.law.equation} has no certified fit: {self.parametric.reason}"
            raise WorkError(message)
        sizes, data = np.broadcast_arrays(np.atleast_1d(N), np.atleast_1d(D))
        return np.exp(self.parametric.log_loss(np.log(sizes), np.log(data)))

    def optimum(self, budget: float) -> Optimum:
        """Return N*, D* and L* at a budget, with intervals, by the headline's approach.

        Where that is isoFLOP and the budget lies beyond the bracketed ones, the law answers if it is certified and
        does not contradict the minima; else the straight line through them, where the costs allow one.

        Raises:
            WorkError: When neither has an answer there.
        """
        beyond = not self.isoflop.spans(budget)
        law = self.parametric.certified and not self.contradicted
        if self.headline == "isoflop" and not (beyond and law):
            if beyond and (why := self.isoflop.no_line()):
                raise WorkError(_no_answer(self.isoflop, self.parametric, why))
            return isoflop_optimum(self.isoflop, budget, self.largest, self.level)
        assert self.cost is not None, "a law is certified only with costs"
        return parametric_optimum(self.parametric, self.cost, budget, self.largest, self.level)

    @property
    def answers(self) -> list[Optimum]:
        """The answers at the budgets asked."""
        return [self.optimum(budget) for budget in self.budgets]

    def exponents(self, approach: str | None = None) -> dict[str, Estimate]:
        """Return a of N* ~ C^a and b of D* ~ C^b by one approach (the headline's when none is named)."""
        if (approach or self.headline) == "isoflop":
            return isoflop_exponents(self.isoflop, self.level)
        if not self.parametric.certified or self.cost is None:
            return {}
        return parametric_exponents(self.parametric, self.cost, self.middle, self.level)

    def summary(self) -> str:
        """Return the fit as text."""
        from analysis.summary import summarise

        return summarise(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the fit as the contract of `--json` says."""
        from analysis.store import to_dict

        return to_dict(self)


def fit(
    table: RunTable,
    *,
    law: str = "chinchilla",
    objective: str | Objective = "huber",
    budgets: Sequence[float] = (),
    draws: int = DRAWS,
    level: float = LEVEL,
    cluster: str | None = None,
    seed: int = 0,
) -> Fit:
    """Fit a table by isoFLOP parabolas and a law, and answer for the budgets asked.

    The headline is the isoFLOP minima where every budget asked lies within the bracketed ones; else the law, where
    it carries its certificate; else the isoFLOP minima along a straight line, where the costs allow one.

    Args:
        table: The runs.
        law: Name of the parametric law.
        objective: `huber` (delta 1e-3), `log-mse`, `mse`, or an Objective.
        budgets: FLOPs to answer for; the bracketed budgets of the table when none is given.
        draws: Draws that intervals are made of.
        level: Their level.
        cluster: Column whose values a pairs bootstrap draws together.
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
    chosen_law = law_named(law)
    chosen = objective_named(objective) if isinstance(objective, str) else objective
    _refuse_few(table)
    if cluster is not None:
        _check_clusters(table, cluster)
    rng = np.random.default_rng(seed)
    cost = CostModel.of(table) if table.cost != "none" else None
    isoflop = fit_isoflop(table, cost, draws=draws, rng=rng)
    parametric = fit_parametric(table, chosen_law, chosen, draws=draws, rng=rng, cluster=cluster)
    largest = float(table.runs["C"].max())
    middle = float(np.exp(np.log(table.runs["C"]).mean()))
    contradicted = _contradicts(isoflop, parametric, cost, middle, level)
    headline, asked = _headline(isoflop, parametric, sorted(budgets), table, contradicted=contradicted)
    result = Fit(
        label=table.label,
        source=table.source,
        used=table.used,
        excluded=[*table.excluded, *isoflop.skipped] if headline == "isoflop" else table.excluded,
        unique_hours=table.unique_hours,
        data_unit=table.data_unit,
        loss_name=table.loss_name,
        largest=largest,
        middle=middle,
        cost=cost,
        isoflop=isoflop,
        parametric=parametric,
        headline=headline,
        level=level,
        seed=seed,
        budgets=asked,
        contradicted=contradicted,
    )
    result.warnings.extend([*table.warnings, *_warnings(result, table)])
    return result


def _refuse_few(table: RunTable) -> None:
    """Refuse a table that no fit can use."""
    if table.used >= MIN_ROWS:
        return
    reasons = "; ".join(f"row {e['row']}: {e['reason']}" for e in table.excluded[:3])
    raise InputError(
        f"{table.used} usable rows, and the smallest fit (a parabola) needs {MIN_ROWS}",
        where=table.source["path"] + (f" [{table.label}]" if table.label else ""),
        value=reasons or f"{table.source['rows']} rows",
        remedy="add runs, or mend the rows that were left out",
    )


def _check_clusters(table: RunTable, cluster: str) -> None:
    """Refuse a column that cannot tell which runs vary together."""
    if cluster not in table.runs:
        known = [str(name) for name in table.runs.columns]
        raise InputError("no such column", where="--cluster", value=cluster, remedy=did_you_mean(cluster, known))
    values = table.runs[cluster]
    if values.isna().any():
        row = table.runs["row"][values.isna()].iloc[0]
        raise InputError(
            "a run without a cluster", where=f"--cluster {cluster}", value=f"row {row}", remedy="fill it in"
        )
    if values.nunique() < MIN_CLUSTERS:
        raise InputError(
            f"too few clusters to draw from: {values.nunique()}, and {MIN_CLUSTERS} are the least",
            where="--cluster",
            value=cluster,
            remedy="leave --cluster away, or name a column with more values",
        )


def _contradicts(isoflop: IsoFlop, parametric: Parametric, cost: CostModel | None, middle: float, level: float) -> bool:
    """Whether the law's interval of a lies apart from that of three bracketed minima or more, on a straight line."""
    if not parametric.certified or cost is None or len(isoflop.bracketed) < MIN_LINE or isoflop.no_line():
        return False
    line = isoflop_exponents(isoflop, level)["a"]
    law = parametric_exponents(parametric, cost, middle, level)["a"]
    if None in (line.low, line.high, law.low, law.high):
        return False
    return bool(law.low > line.high or law.high < line.low)  # type: ignore[operator]


def _headline(
    isoflop: IsoFlop, parametric: Parametric, asked: list[float], table: RunTable, *, contradicted: bool
) -> tuple[str, list[float]]:
    """Return the approach behind the answers, and the budgets to answer for."""
    bracketed = [isoflop.parabolas[i].budget for i in isoflop.bracketed]
    if table.cost == "none":
        if asked:
            raise InputError(
                "a budget is asked of a curve over N alone, which has none",
                where="--budget",
                value=format_flops(asked[0]),
                remedy="leave --budget away, or name the columns of C or D",
            )
        if not bracketed:
            raise WorkError(_no_fit(isoflop, parametric, table))
        return "isoflop", bracketed
    if bracketed and all(isoflop.spans(budget) for budget in asked):
        return "isoflop", asked or bracketed
    if parametric.certified and not contradicted:
        return "parametric", asked or _recorded_budgets(table)
    if not bracketed:
        raise WorkError(_no_fit(isoflop, parametric, table))
    if why := isoflop.no_line():
        raise WorkError(_no_answer(isoflop, parametric, why))
    return "isoflop", asked


def _no_answer(isoflop: IsoFlop, parametric: Parametric, why: str) -> str:
    bracketed = [isoflop.parabolas[i].budget for i in isoflop.bracketed]
    return (
        f"no answer beyond the bracketed budgets {', '.join(map(format_flops, bracketed))}: {why}, and "
        f"{parametric.law.equation} has no certificate ({parametric.reason})"
    )


def _second_opinion(result: Fit, budget: float) -> str:
    """Return what law and isoFLOP line say beyond the bracketed budgets, where they are far apart."""
    isoflop, parametric = result.isoflop, result.parametric
    if not parametric.certified or result.cost is None or isoflop.spans(budget) or isoflop.no_line():
        return ""
    law = parametric_optimum(parametric, result.cost, budget, result.largest, result.level).N.value
    line = isoflop_optimum(isoflop, budget, result.largest, result.level).N.value
    if abs(np.log(law / line)) < np.log(FAR_APART):
        return ""
    return (
        f"at {format_flops(budget)} the line through the isoFLOP minima says N* = {format_count(line)}, the law "
        f"{format_count(law)}: trust neither without a run there"
    )


def _recorded_budgets(table: RunTable) -> list[float]:
    """Return the budgets that the runs name, or the largest recorded C."""
    named = table.runs["budget"].dropna().unique()
    return sorted(map(float, named)) if 0 < len(named) <= MANY_BUDGETS else [float(table.runs["C"].max())]


def _no_fit(isoflop: IsoFlop, parametric: Parametric, table: RunTable) -> str:
    reasons = [
        f"{format_flops(p.budget) if np.isfinite(p.budget) else 'the curve'}: {p.status}, {p.reason}"
        for p in isoflop.parabolas
    ]
    law = f"{parametric.law.equation}: {parametric.status}, {parametric.reason}"
    return f"{table.source['path']}: {table.used} rows allow no fit\n  " + "\n  ".join([*reasons, law])


def _warnings(result: Fit, table: RunTable) -> list[dict[str, str]]:
    """Return what a careful reader of the fit would remark."""
    found: list[dict[str, str]] = []

    def warn(code: str, message: str) -> None:
        found.append({"code": code, "message": message})

    isoflop, parametric, runs = result.isoflop, result.parametric, table.runs
    for budget in result.budgets:
        if budget > FAR * result.largest:
            reach = budget / result.largest
            warn("far", f"{format_flops(budget)} lies {reach:.0f}x beyond the largest run: treat it as a guess")
    doubtful = [p for p in isoflop.parabolas if p.status != "bracketed" and np.isfinite(p.budget)]
    if doubtful:
        listing = "; ".join(f"{format_flops(p.budget)} {p.status} ({p.reason})" for p in doubtful)
        warn("not-bracketed", f"budgets without a minimum that counts: {listing}")
    if "flags" in runs and runs["flags"].astype(str).str.contains("untuned").any():
        warn("untuned", "learning rates and batches are untuned: N* may move when they are tuned")
    if "epochs" in runs and result.headline == "parametric" and (runs["epochs"] > 1).any():
        most = runs["epochs"].max()
        warn(
            "repeats",
            f"runs repeat their audio up to {most:.2g} times, which the law does not know: doubtful",
        )
    if result.cost is None:
        return found
    if not parametric.certified:
        warn(f"law-{parametric.status}", f"{parametric.law.equation} is not used: {parametric.reason}")
    parameters = len(parametric.law.parameters)
    if parametric.certified and parametric.rows < 2 * parameters:
        warn("few-rows", f"{parametric.rows} runs fix {parameters} parameters: the law bends to their noise")
    drawn = parametric.failed + len(parametric.draws)
    if parametric.failed > MAX_FAILED * max(1, drawn):
        warn(
            "failed-draws",
            f"{parametric.failed} of {drawn} bootstrap draws found no minimum: intervals are too narrow",
        )
    for budget in result.budgets:
        if np.isfinite(budget) and (message := _second_opinion(result, budget)):
            warn("second-opinion", message)
    sizes = runs["N"].to_numpy()
    for answer in result.answers:
        if not 0.9 * sizes.min() <= answer.N.value <= 1.1 * sizes.max():
            low, high = format_count(sizes.min()), format_count(sizes.max())
            where = f" at {format_flops(answer.budget)}" if answer.budget else ""
            warn("outside", f"N*{where} lies outside the sizes that were trained, {low} to {high}")
    by_approach = [result.exponents(name).get("a") for name in ("isoflop", "parametric")]
    if result.contradicted:
        warn(
            "contradicted",
            f"{parametric.law.equation} contradicts the isoFLOP minima (a apart from theirs at {result.level:.0%}): "
            "beyond the budgets the line through the minima answers, not the law",
        )
    if by_approach[0] and by_approach[1] and abs(by_approach[0].value - by_approach[1].value) > DISAGREE:
        warn(
            "disagree",
            f"the approaches disagree on a: isoFLOP {by_approach[0].value:.2f}, law {by_approach[1].value:.2f}",
        )
    if result.cost.spread > SPREAD:
        warn(
            "cost-spread",
            f"C/(N D) varies {result.cost.spread:.2g}-fold over the sizes: N*(C) is no straight line",
        )
    return found


__all__ = ["DRAWS", "LAWS", "LEVEL", "Fit", "fit"]
