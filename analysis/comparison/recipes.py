"""Two recipes under one law: what they share, what each costs, and the compute multiplier that follows.

B turns what it is given into more or less of it (arXiv 2602.07712):

    L_B(N, D) = L_A(rho_N N, rho_D D)

so floor and exponents are shared and the coefficients of N and D are a recipe's own: A_B = A_A rho_N^-alpha,
B_B = B_A rho_D^-beta. The compute multiplier at a budget C of A is

    m(C) = C_B / C    with    min over N of L_B at C_B = min over N of L_A at C,    m < 1: B is better

each minimum under the recipe's own cost. Where C = k N D for both, N' = rho_N N and D' = rho_D D turn B's problem at C
into A's at rho_N rho_D C: then m = 1 / (rho_N rho_D) at every budget. Under recorded costs it is solved for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize

from analysis.approaches.optimum import Spending, optimal_log_n, path_loss
from analysis.data.costmodel import CostModel
from analysis.data.points import Points
from analysis.data.table import RunTable
from analysis.laws import Law

TOTAL = "flops_total"
"""Column of the compute that includes what made the targets."""
MISFIT = 0.1
"""A run that costs more or less by this share than the model of costs says is worth a warning."""
STEPS = 30
EXACT = 1e-9
LONGEST = 3.0
"""Largest step in log C."""
SLOPE_STEP = 1e-4


class Role(NamedTuple):
    """Which parameters of a law belong to the size, the data and the floor; no exponent: the coefficient is a scale."""

    size: str
    size_exponent: str
    data: str
    data_exponent: str
    floor: str
    exponents: tuple[str, ...]


ROLES = {
    "chinchilla": Role("A", "alpha", "B", "beta", "E", ("alpha", "beta")),
    "tied": Role("A", "alpha", "B", "alpha", "E", ("alpha",)),
    "skaling": Role("A", "alpha", "B", "beta", "E", ("alpha", "beta")),
    "kaplan": Role("Nc", "", "Dc", "", "", ("alphaN", "alphaD")),
}
"""Laws whose coefficients are efficiencies in N and in D."""


@dataclass(frozen=True, eq=False)
class Shared(Law):
    """A law that two recipes share but for some parameters: theta_B = theta_A + shift there.

    theta is the law's for A, then the shifts; of a positive parameter that is log(B's / A's). Linear where the law is.

    Args:
        base: The law.
        own: Parameters that each recipe has of its own.
        second: 1 for the rows of B, 0 for those of A, [rows].

    Example:
        >>> from analysis.laws import Chinchilla
        >>> law = Shared(Chinchilla(), ("B",), np.array([0.0, 1.0]))
        >>> theta = np.append(law.base.theta({"E": 1.0, "A": 1e-9, "B": 100.0, "alpha": 0.5, "beta": 0.5}), np.log(2))
        >>> np.exp(law.log_loss(theta, Points.of(N=[1e6, 1e6], D=[1e4, 1e4]))).round(6).tolist()
        [2.0, 3.0]
    """

    base: Law
    own: tuple[str, ...]
    second: np.ndarray

    @property
    def name(self) -> str:  # type: ignore[override]
        """The law's."""
        return self.base.name

    @property
    def equation(self) -> str:  # type: ignore[override]
        """The law's, and what is not shared."""
        return f"{self.base.equation}, own {', '.join(self.own)}"

    @property
    def latex(self) -> str:  # type: ignore[override]
        """The law's."""
        return self.base.latex

    @property
    def citation(self) -> str:  # type: ignore[override]
        """The law's, and that of sharing it."""
        return f"{self.base.citation}; shared as in Volkova et al. 2026, arXiv 2602.07712"

    @property
    def parameters(self) -> tuple[str, ...]:  # type: ignore[override]
        """The law's, then the shifts."""
        return (*self.base.parameters, *(f"{name}_shift" for name in self.own))

    @property
    def positive(self) -> frozenset[str]:  # type: ignore[override]
        """The law's."""
        return self.base.positive

    @property
    def exponents(self) -> tuple[str, ...]:  # type: ignore[override]
        """The law's."""
        return self.base.exponents

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """As the law."""
        return self.base.linear

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return the law's terms, each row's with the parameters of its recipe."""
        count = len(self.base.parameters)
        values = list(theta[:count])
        for name, shift in zip(self.own, theta[count:], strict=True):
            i = self.base.parameters.index(name)
            values[i] = values[i] + shift * self.second
        return self.base.terms(values, x)

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return the law's start points for all runs, without a shift."""
        return self.unshifted(self.base.starts(x, loss))

    def unshifted(self, theta: np.ndarray) -> np.ndarray:
        """Return thetas of the law, [problems, parameters], as those of two recipes that are alike."""
        return np.concatenate([theta, np.zeros((len(theta), len(self.own)))], axis=1)

    def of(self, theta: np.ndarray, *, second: bool) -> np.ndarray:
        """Return the law's own theta for a recipe, [..., parameters of the law]."""
        count = len(self.base.parameters)
        found = np.array(theta[..., :count])
        if second:
            found[..., [self.base.parameters.index(name) for name in self.own]] += theta[..., count:]
        return found

    def vanished(self, theta: np.ndarray, x: Points, least: float) -> list[str]:
        """Return the coefficients of terms that ran to zero in either recipe."""
        recipes = [(self.of(theta, second=b), x.take(np.flatnonzero(self.second == b))) for b in (False, True)]
        return sorted({name for values, rows in recipes for name in self.base.vanished(values, rows, least)})

    def shift(self, theta: np.ndarray, name: str) -> np.ndarray:
        """Return a parameter's shift, zero where it is shared, for theta [..., parameters]."""
        if name not in self.own:
            return np.zeros(np.shape(theta)[:-1])
        return theta[..., len(self.base.parameters) + self.own.index(name)]

    def widened(self, theta: np.ndarray, own: Sequence[str]) -> np.ndarray:
        """Return one theta for the law with other parameters of their own; a shift that is new is zero."""
        return np.append(self.of(theta, second=False), [self.shift(theta, name) for name in own])

    def log_rho(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return log rho_N and log rho_D, for theta [..., parameters]: -shift / exponent."""
        role, natural = ROLES[self.base.name], self.natural(theta)
        size = natural[role.size_exponent] if role.size_exponent else 1.0
        data = natural[role.data_exponent] if role.data_exponent else 1.0
        return -self.shift(theta, role.size) / size, -self.shift(theta, role.data) / data


class TotalCost(NamedTuple):
    """C = k(N) D + F: what is spent once whatever the run, such as a teacher's training, is F, in FLOPs."""

    per_unit: CostModel
    fixed: float = 0.0

    @classmethod
    def charged(cls, table: RunTable, column: str) -> TotalCost:
        """Return the cost of a table's runs as a column has it.

        What the column has beyond C is taken apart by non-negative least squares into F, a part that grows with D,
        as labelling does, and one that grows with C; the last two go into k(N).
        """
        if column == "C":
            return cls(CostModel.of(table))
        total, data, flops = (table.runs[name].to_numpy(dtype=float) for name in (column, "D", "C"))
        extra = np.maximum(total - flops, 0.0)
        columns = np.stack([np.ones(len(data)), data / data.mean(), flops / flops.mean()], axis=1)
        solution = optimize.nnls(columns / total[:, None], extra / total)[0]
        fixed = min(float(solution[0]), float(extra.min()))
        return cls(CostModel.of(replace(table, cost="recorded", runs=table.runs.assign(C=total - fixed))), fixed)

    def misfit(self, table: RunTable, column: str) -> float:
        """Return the largest relative distance between what a run cost and k(N) D + F."""
        modelled = np.exp(self.per_unit.log_cost(np.log(table.runs["N"]))) * table.runs["D"] + self.fixed
        return float(np.abs(modelled / table.runs[column] - 1).max())


def known_total(table: RunTable) -> bool:
    """Whether every run says what it cost with all that made its targets."""
    if TOTAL not in table.runs:
        return False
    total = pd.to_numeric(table.runs[TOTAL], errors="coerce")
    return bool((np.isfinite(total) & (total > 0)).all())


def cost_cautions(tables: Sequence[RunTable], column: str, costs: Sequence[TotalCost]) -> dict[str, str]:
    """Return what to beware of in costs, code -> message."""
    noticed = {}
    if len({known_total(table) for table in tables}) > 1:
        noticed["mixed-cost"] = f"only one recipe says `{TOTAL}`: what made the targets is left out of both"
    elif column != TOTAL and len({table.cost for table in tables}) > 1:
        noticed["mixed-cost"] = "C is recorded for one recipe and worked out from C = k N D for the other"
    if (most := max(cost.misfit(table, column) for cost, table in zip(costs, tables, strict=True))) > MISFIT:
        noticed["cost-model"] = f"runs cost up to {most:.0%} more or less than k(N) D + F, as which costs are taken"
    return noticed


def log_multiplier(law: Shared, theta: np.ndarray, costs: tuple[TotalCost, TotalCost], budget: float) -> np.ndarray:
    """Return log m(C) for theta [draws, parameters]; NaN where a recipe has no minimum over N or B never gets there.

    C e^u buys e^u times the data at every size, which is C with the coefficient of the data divided by e^(beta u). So
    log L*_B(C e^u) = log L*_A(C) is solved over u, by Newton's method from e^u = 1 / (rho_N rho_D), with fixed costs
    added afterwards; by the envelope theorem the slope of log L* is that at fixed N.

    Args:
        law: The shared law.
        theta: [draws, parameters].
        costs: Of A and of B.
        budget: C, FLOPs of A.

    Example:
        >>> from analysis.laws import Chinchilla
        >>> law = Shared(Chinchilla(), ("A", "B"), np.empty(0))
        >>> theta = law.base.theta({"E": 1.8, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37})
        >>> cost = TotalCost(CostModel(np.log([1e7, 1e9]), np.log([6e7, 6e9]), "assumed"))
        >>> shifts = np.array([-0.34 * np.log(1.1), -0.37 * np.log(1.3)])  # rho_N = 1.1, rho_D = 1.3
        >>> m = np.exp(log_multiplier(law, np.append(theta, shifts), (cost, cost), 1e19))
        >>> bool(np.isclose(m[0], 1 / (1.1 * 1.3)))
        True
    """
    theta = np.atleast_2d(theta)
    first, second = (law.of(theta, second=b) for b in (False, True))
    a, b = (Spending(cost.per_unit) for cost in costs)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.log(1 - costs[0].fixed / np.full(len(theta), budget))  # of A's budget, for its data
    target = _best(law, first, a, budget, left)[0]
    u = left - sum(law.log_rho(theta))
    step = np.full(len(theta), np.nan)
    for _ in range(STEPS):
        loss, slope = _best(law, second, b, budget, u)
        with np.errstate(divide="ignore", invalid="ignore"):
            step = np.clip((target - loss) / slope, -LONGEST, LONGEST)
        u = u + step
        if not np.any(np.abs(step) > EXACT):
            break
    return np.where(np.abs(step) <= EXACT, np.log(np.exp(u) + costs[1].fixed / budget), np.nan)


def _best(
    law: Shared, theta: np.ndarray, spending: Spending, budget: float, u: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return log L* at C e^u, for the law's own theta [draws, parameters] and u [draws], and its slope over u."""
    role, natural = ROLES[law.name], law.base.natural(theta)
    exponent = natural[role.data_exponent] if role.data_exponent else 1.0
    place = law.base.parameters.index(role.data)

    def at(log_data: np.ndarray) -> np.ndarray:
        moved = np.array(theta)
        moved[:, place] -= exponent * log_data
        return moved

    log_n = optimal_log_n(law.base, at(u), spending, budget)
    low, loss, high = (
        np.log(path_loss(law.base, at(u + h), spending, budget, log_n)) for h in (-SLOPE_STEP, 0.0, SLOPE_STEP)
    )
    return loss, (high - low) / (2 * SLOPE_STEP)
