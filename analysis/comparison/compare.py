"""Comparing recipes: 'B needs 0.72 x [0.66, 0.79] the compute of A'.

Two forms of `analysis.comparison.recipes`, fitted to the runs of both at once:

- size and data: L_B(N, D) = L_A(rho_N N, rho_D D), from which m(C) = C_B / C at equal loss, each recipe spending its
  compute in its own best way;
- data: rho_N = 1, L_B(N, D) = L_A(N, D / m): B needs m times the data at the same size. With D' = D / m, any cost
  C = k(N) D that both share gives L*_B(m C) = L*_A(C): the same m is then the compute multiplier, at any budget.

The headline is m(C) of the first: it answers what is asked, compute at equal loss, wherever the gain comes from; the
data form is biased as soon as B uses its parameters better or worse too, and is hardly narrower. It stands beside the
headline, and takes its place only where the runs certify no other. Nested fits test what is supposed: a gain in data
alone; one floor (with two, the multiplier depends on the loss); one set of exponents (with two, on the scale). They are
Wald tests with the covariance of the delete-one jackknife over clusters (Cameron and Miller 2015, section VI).

Noise that runs of both recipes share (of a seed, a size, a choice of data) cancels in the fit where they pair; the
draws flip the residuals of a pair together, so that the interval knows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.approaches.parametric import Parametric, cannot, fit_points, refit
from analysis.comparison.multiplier import BOTH, DATA, Comparison, Multiplier, cautions, drawn_over
from analysis.comparison.pairing import clusters_of, names_of, pairs_of, refuse
from analysis.comparison.recipes import (
    ROLES,
    TOTAL,
    Role,
    Shared,
    TotalCost,
    cost_cautions,
    known_total,
    log_multiplier,
)
from analysis.data.points import Points
from analysis.data.table import RunTable
from analysis.engine.objectives import Objective, objective_named
from analysis.engine.resampling import Sample, draw
from analysis.engine.tails import f_tail
from analysis.estimates import Estimate
from analysis.laws import Law, law_named
from scaling.errors import InputError, WorkError, did_you_mean
from scaling.units import format_flops

NOTHING = 1e-8
"""A shift below this is that of rounding errors."""
MIN_CLUSTERS = 5
FEW = 12
"""Start points of the forms beside the first, besides its minimum."""


def compare(
    tables: Sequence[RunTable],
    *,
    law: Law | str | None = None,
    objective: Objective | str | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    budget: float | None = None,
    cluster: str | None = None,
    names: Sequence[str] | None = None,
) -> Comparison:
    """Compare recipes with the first of them: m(C) = C_B / C at equal loss, L*_B(C_B) = L*_A(C).

    Costs are those of the column `flops_total` (teacher and labelling included) where both tables have it, else C.

    Args:
        tables: One for each recipe, of losses with one meaning.
        law: What they share: `chinchilla` (the default), `tied`, `skaling` or `kaplan`.
        objective: Huber's with its delta tuned when not given.
        draws: Of the wild bootstrap, clustered by pair.
        level: Of the intervals.
        seed: Of the draws.
        budget: C in FLOPs of the first recipe; the geometric middle of the compute that both share when not given.
        cluster: Column whose values are drawn together, beside the pairs.
        names: Of the recipes; the tables' labels or files when not given.

    Raises:
        InputError: When losses differ in meaning or unit, or there is too little to compare.
        WorkError: When neither form has a certified fit.

    Example:
        >>> from analysis.data.loading import load
        >>> runs = load("runs.csv")[0]
        >>> print(compare([runs, runs], draws=100, names=["A", "B"]).summary().splitlines()[0])
        B needs 1.00x [1.00, 1.00] the compute of A (95 %, wild bootstrap over 15 pairs; on C, at 1e18 FLOPs)
    """
    chosen = law_named(law) if isinstance(law, str) else law or law_named("chinchilla")
    if chosen.name not in ROLES:
        raise InputError(
            "recipes cannot share this law", where="--law", value=chosen.name, remedy=did_you_mean(chosen.name, ROLES)
        )
    goal = objective_named(objective) if isinstance(objective, str) else objective or objective_named("huber")
    unsaid = refuse(tables, cluster)
    called = list(names) if names else names_of(tables)
    pairs = []
    for table, name in zip(tables[1:], called[1:], strict=True):
        study = _Study.of(tables[0], table, (called[0], name), chosen, goal, cluster)
        pairs.append(study.multiplier(draws, level, seed, budget, unsaid))
    return Comparison(pairs=pairs)


Forms = dict[str, tuple[Parametric, Sample]]


@dataclass(frozen=True, kw_only=True)
class _Study:
    """The runs of two recipes, fitted."""

    tables: tuple[RunTable, RunTable]
    names: tuple[str, str]
    role: Role
    forms: Forms
    pairs: int
    labels: np.ndarray
    """Cluster of each row of both."""
    method: str
    column: str
    """What costs are counted by."""
    costs: tuple[TotalCost, TotalCost]

    @classmethod
    def of(
        cls, first: RunTable, second: RunTable, names: tuple[str, str], law: Law, goal: Objective, cluster: str | None
    ) -> _Study:
        """Fit the forms to the runs of both."""
        forms = _fit(first, second, law, goal)
        pairs = pairs_of(first.runs, second.runs)
        labels = clusters_of(first.runs, second.runs, pairs, cluster)
        if (number := len(np.unique(labels))) < MIN_CLUSTERS:
            remedy = f"give {MIN_CLUSTERS} pairs, or a --cluster COLUMN with as many values"
            raise InputError("too few clusters to draw from", where="--compare", value=number, remedy=remedy)
        column = TOTAL if known_total(first) and known_total(second) else "C"
        return cls(
            tables=(first, second),
            names=names,
            role=ROLES[law.name],
            forms=forms,
            pairs=len(pairs),
            labels=labels,
            method=drawn_over(len(pairs), first.used + second.used, cluster),
            column=column,
            costs=(TotalCost.charged(first, column), TotalCost.charged(second, column)),
        )

    def multiplier(
        self, draws: int, level: float, seed: int, budget: float | None, unsaid: list[dict[str, str]]
    ) -> Multiplier:
        """Return what the second recipe needs of what the first needs."""
        form = BOTH if self.forms[BOTH][0].certified else DATA
        fitted = self._drawn(form, draws, seed)
        low, high = self._shared_range
        spent = float(budget or np.sqrt(low * high))
        path = [(at, self._at(fitted, at, level)) for at in sorted({low, spent, high} if low < high else {spent})]
        compute = dict(path)[spent]
        if not np.isfinite(compute.value):
            message = f"the law has no optimum at {format_flops(spent)} FLOPs from which to compare {self.names[1]}"
            raise WorkError(message)
        rho_n, rho_d = (_estimate(log_rho, level) for log_rho in _shared(fitted).log_rho(_thetas(fitted)))
        data = None
        if self.forms[DATA][0].certified:
            alone = fitted if form == DATA else self._drawn(DATA, draws, seed)
            data = _estimate(-_shared(alone).log_rho(_thetas(alone))[1], level)
        found = Multiplier(
            names=self.names,
            compute=compute,
            data=data,
            rho_n=rho_n,
            rho_d=rho_d,
            form=form,
            budget=spent,
            path=path,
            cost=self._cost_name,
            tests=self._tests(),
            pairs=self.pairs,
            rows=(self.tables[0].used, self.tables[1].used),
            method=self.method,
            level=level,
            failed=fitted.failed,
            fitted=fitted,
            warnings=list(unsaid),
        )
        found.warnings.extend(
            cautions(
                found,
                self._ranges,
                reason=self.forms[BOTH][0].reason,
                costs=cost_cautions(self.tables, self.column, self.costs),
            )
        )
        return found

    def _drawn(self, form: str, draws: int, seed: int) -> Parametric:
        """Return a form with its draws; those of every form flip the same pairs."""
        fitted, sample = self.forms[form]
        drawn = draw(sample, "wild", draws, np.random.default_rng(seed), labels=self.labels, cluster="pair")
        return replace(fitted, draws=drawn.theta, failed=drawn.failed, method=drawn.method, cluster=drawn.cluster)

    def _at(self, fitted: Parametric, budget: float, level: float) -> Estimate:
        """Return m(C)."""
        return _estimate(log_multiplier(_shared(fitted), _thetas(fitted), self.costs, budget), level)

    @property
    def _ranges(self) -> list[tuple[float, float]]:
        """The least and the most compute of each recipe's runs."""
        return [(float(t.runs[self.column].min()), float(t.runs[self.column].max())) for t in self.tables]

    @property
    def _shared_range(self) -> tuple[float, float]:
        """The compute that both recipes' runs span; its ends are the wrong way round where they do not meet."""
        low, high = zip(*self._ranges, strict=True)
        return max(low), min(high)

    @property
    def _cost_name(self) -> str:
        assumed = self.column != TOTAL and any(table.cost == "assumed" for table in self.tables)
        return f"C = {self.tables[0].flops_per_param_token:g} N D" if assumed else self.column

    def _tests(self) -> dict[str, float | None]:
        """Return the p-values of what is supposed."""
        found = {"data_alone": self._same(BOTH, (self.role.size,)), "one_floor": None}
        if self.role.floor:
            found["one_floor"] = self._same("floor", (self.role.floor,))
        return {**found, "one_set_of_exponents": self._same("exponents", self.role.exponents)}

    def _same(self, form: str, parameters: tuple[str, ...]) -> float | None:
        """Return the p-value of parameters being the same in both recipes; None where no fit can tell."""
        fitted, sample = self.forms[form]
        groups, q = int(self.labels.max()) + 1, len(parameters)
        if not fitted.certified or groups <= q + 1:
            return None
        ends = refit(sample, [self.labels != group for group in range(groups)])
        if not ends.converged.all():
            return None
        shift = np.array([_shared(fitted).shift(fitted.theta, name) for name in parameters])
        if np.abs(shift).max() < NOTHING:
            return 1.0
        apart = np.stack([_shared(fitted).shift(ends.theta, name) for name in parameters], axis=1) - shift
        covariance = (groups - 1) / groups * apart.T @ apart
        wald = float(shift @ np.linalg.pinv(covariance, hermitian=True) @ shift)
        return f_tail(wald / q, q, groups - 1)


def _fit(first: RunTable, second: RunTable, law: Law, goal: Objective) -> Forms:
    """Return the two forms and the wider ones that test them, fitted to all runs."""
    role = ROLES[law.name]
    runs = pd.concat([table.runs[["N", "D", "C", "loss"]] for table in (first, second)], ignore_index=True)
    both = replace(first, runs=runs)
    if len(runs) <= len(law.parameters) + 2:
        raise InputError(
            f"{len(runs)} runs for the {len(law.parameters) + 2} parameters of two recipes",
            where="--compare",
            remedy="give more runs of either recipe",
        )
    if reason := cannot(both, law):
        raise WorkError(f"the recipes cannot be compared: {reason}")
    owned = {BOTH: (role.size, role.data), DATA: (role.data,)}
    owned["exponents"] = (*owned[BOTH], *role.exponents)
    if role.floor:
        owned["floor"] = (*owned[BOTH], role.floor)
    x, loss = Points.of_table(both), runs["loss"].to_numpy()
    mark = np.repeat([0.0, 1.0], [first.used, second.used])
    starts = _lowest(law, x, loss)
    headline = Shared(law, owned.pop(BOTH), mark)
    forms = {BOTH: fit_points(x, loss, headline, goal, starts=headline.unshifted(starts))}
    theta, known = forms[BOTH][0].theta, forms[BOTH][0].certified
    for name, own in owned.items():
        other = Shared(law, own, mark)
        tried = other.unshifted(starts[: FEW if known else None])
        tried = np.concatenate([headline.widened(theta, own)[None], tried]) if known else tried
        forms[name] = fit_points(x, loss, other, goal, starts=tried)
    if not (forms[BOTH][0].certified or forms[DATA][0].certified):
        raise WorkError(f"the recipes share no certified fit of {law.equation}: {forms[BOTH][0].reason}")
    return forms


def _lowest(law: Law, x: Points, loss: np.ndarray) -> np.ndarray:
    """Return the law's start points, those nearest to the losses first."""
    starts = law.starts(x, loss)
    with np.errstate(all="ignore"):
        errors = ((law.log_loss(starts, x) - np.log(loss)) ** 2).sum(axis=1)
    return starts[np.argsort(np.where(np.isfinite(errors), errors, np.inf), kind="stable")]


def _shared(fitted: Parametric) -> Shared:
    """Return the law, which is a shared one."""
    assert isinstance(fitted.law, Shared)
    return fitted.law


def _thetas(fitted: Parametric) -> np.ndarray:
    """Return the estimate, then the draws, [1 + draws, parameters]."""
    return np.concatenate([fitted.theta[None], fitted.draws])


def _estimate(logs: np.ndarray, level: float) -> Estimate:
    """Return the number whose logarithm comes first, with the interval of the rest."""
    return Estimate.of(logs[0], logs[1:], level).exp()
