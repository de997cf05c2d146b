"""The answer at a budget, by either approach: N*, D* and L* with intervals."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analysis.approaches.isoflop import IsoFlop
from analysis.approaches.optimum import Spending, local_exponents, near_optimal, optimal_log_n, path_loss
from analysis.approaches.parametric import Parametric
from analysis.data.metrics import LOGIT, LOSS, RECIPROCAL, Scale
from analysis.estimates import Estimate
from analysis.laws import ThreeTerm
from scaling.errors import WorkError
from scaling.units import format_flops

SAME_BUDGET = 1e-3
"""Budgets whose logarithms differ by less are one."""


@dataclass(frozen=True, kw_only=True)
class Optimum:
    """The answer at one budget."""

    budget: float | None
    """None in a curve over N at one unnamed budget."""
    N: Estimate
    D: Estimate | None
    loss: Estimate | None
    """None where the minima of other budgets alone would have to foretell it."""
    near: tuple[float, float]
    """Smallest and largest size whose loss is within 0.5 % of the best."""
    local_exponent: Estimate | None
    """d log N* / d log C here."""
    reach: float | None
    """The budget over the largest recorded C."""
    unique: float | None = None
    """Unique data that the answer is for, in D's unit."""
    spanning: Estimate | None = None
    """N* with the interval that spans laws, objectives and windows beside the noise."""
    sizes: dict[str, float] = field(default_factory=dict)
    """N* in other counts: `params`, `total`, `encoder`, `flops_per_frame`."""
    batch: Estimate | None = None
    """The best batch, where the law has it as a variable."""
    limited: dict[str, float] | None = None
    """The best size up to a limit, {limit, N, D, loss, compute: times the budget that an unlimited model needs for
    it}."""
    log_n_draws: np.ndarray | None = field(default=None, repr=False, compare=False)
    """Draws of log N*."""
    loss_draws: np.ndarray | None = field(default=None, repr=False, compare=False)
    """Draws of L*."""

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as the contract of `--json` says."""
        return {
            "budget": self.budget,
            "N": self.N.to_dict(),
            "D": self.D.to_dict() if self.D else None,
            "loss": self.loss.to_dict() if self.loss else None,
            "near": list(self.near),
            "local_exponent": self.local_exponent.to_dict() if self.local_exponent else None,
            "reach": self.reach,
            "unique": self.unique,
            "spanning": self.spanning.to_dict() if self.spanning else None,
            "sizes": self.sizes,
            "batch": self.batch.to_dict() if self.batch else None,
            "limited": self.limited,
        }


def in_own_unit(answer: Optimum, scale: Scale) -> Optimum:
    """Return an answer whose loss, the quantity that a law was fitted to, is the metric itself."""
    if scale.plain:
        return answer
    limited = answer.limited
    return replace(
        answer,
        loss=own_estimate(answer.loss, scale) if answer.loss else None,
        loss_draws=None if answer.loss_draws is None else scale.own(answer.loss_draws),
        limited={**limited, "loss": scale.own(limited["loss"])} if limited else None,
    )


def own_estimate(fitted: Estimate, scale: Scale) -> Estimate:
    """Return an estimate in a metric's own unit; an end without a bound is the metric's own, where it has one."""
    least = None if scale.turn == RECIPROCAL else 0.0
    most = np.inf if scale.kind == LOGIT else None
    wide = (least if fitted.low is None else fitted.low, most if fitted.high is None else fitted.high)
    ends = [None if end is None else scale.own(end) for end in wide]
    low, high = ends if scale.rises else ends[::-1]
    return Estimate(value=scale.own(fitted.value), low=low, high=high)


def isoflop_optimum(isoflop: IsoFlop, budget: float, largest: float, level: float, scale: Scale = LOSS) -> Optimum:
    """Return the answer from the isoFLOP minima: that of the budget itself, or a straight line through them.

    Args:
        isoflop: The parabolas.
        budget: FLOPs; NaN for a curve over N alone.
        largest: The largest recorded C.
        level: Of the intervals.
        scale: What half a percent of the error is, of the quantity that was fitted.
    """
    for i in isoflop.bracketed:
        own = isoflop.parabolas[i]
        if not np.isfinite(budget) or abs(np.log(own.budget / budget)) < SAME_BUDGET:
            draws = isoflop.log_n_draws(i)
            data = None
            if isoflop.cost is not None:
                log_d = float(isoflop.cost.log_data(np.array(own.log_n), own.budget))
                data = Estimate.of(log_d, isoflop.cost.log_data(draws, own.budget), level).exp()
            return Optimum(
                budget=own.budget if np.isfinite(own.budget) else None,
                N=Estimate.of(own.log_n, draws, level).exp(),
                D=data,
                loss=Estimate.of(own.loss, isoflop.loss_draws(i), level),
                near=_near(own.log_n, own.loss, own.curvature, scale),
                local_exponent=None,
                reach=own.budget / largest if np.isfinite(own.budget) else None,
                log_n_draws=draws if len(draws) else None,
                loss_draws=isoflop.loss_draws(i) if len(draws) else None,
            )
    return _line_optimum(isoflop, budget, largest, level, scale)


def _line_optimum(isoflop: IsoFlop, budget: float, largest: float, level: float, scale: Scale) -> Optimum:
    """Return the answer between, or just beyond, the bracketed budgets."""
    assert isoflop.cost is not None
    chosen = isoflop.bracketed
    log_c = np.log([isoflop.parabolas[i].budget for i in chosen])
    centered = log_c - log_c.mean()
    weights = 1 / len(chosen) + (np.log(budget) - log_c.mean()) * centered / (centered**2).sum()
    log_n = float(weights @ [isoflop.parabolas[i].log_n for i in chosen])
    n_draws = weights @ np.stack([isoflop.log_n_draws(i) for i in chosen])
    # between the budgets a mere interpolation; beyond them the floor of the loss, which no line knows, would decide
    log_loss = float(weights @ np.log([isoflop.parabolas[i].loss for i in chosen]))
    with np.errstate(invalid="ignore", divide="ignore"):
        loss_draws = np.exp(weights @ np.log(np.stack([isoflop.loss_draws(i) for i in chosen])))
    loss = float(np.exp(log_loss))
    log_d = float(isoflop.cost.log_data(np.array(log_n), budget))
    exponents = isoflop.exponents()
    assert exponents is not None
    return Optimum(
        budget=budget,
        N=Estimate.of(log_n, n_draws, level).exp(),
        D=Estimate.of(log_d, isoflop.cost.log_data(n_draws, budget), level).exp(),
        loss=Estimate.of(loss, loss_draws, level) if isoflop.spans(budget) else None,
        near=_near(log_n, loss, float(np.mean([isoflop.parabolas[i].curvature for i in chosen])), scale),
        local_exponent=Estimate.of(exponents["a"][0], exponents["a"][1], level),
        reach=budget / largest,
        log_n_draws=n_draws if len(n_draws) else None,
        loss_draws=loss_draws if len(n_draws) and isoflop.spans(budget) else None,
    )


def _near(log_n: float, loss: float, curvature: float, scale: Scale) -> tuple[float, float]:
    half = np.sqrt(scale.near(loss) * loss / curvature)
    return float(np.exp(log_n - half)), float(np.exp(log_n + half))


def parametric_optimum(
    parametric: Parametric,
    spending: Spending,
    budget: float,
    largest: float,
    level: float,
    *,
    limit: float | None = None,
    scale: Scale = LOSS,
) -> Optimum:
    """Return the answer from the law, under the true cost.

    Args:
        parametric: The law.
        spending: What a budget buys.
        budget: FLOPs.
        largest: The largest recorded C.
        level: Of the intervals.
        limit: Largest N that can be deployed.
        scale: What half a percent of the error is, of the quantity that was fitted.

    Raises:
        WorkError: When the law has no minimum over N at this budget.
    """
    law, theta, draws = parametric.law, parametric.theta[None], parametric.draws
    best = optimal_log_n(law, theta, spending, budget)
    if not np.isfinite(best[0]):
        message = f"{law.equation} has no minimum over N at {format_flops(budget)} FLOPs"
        raise WorkError(message)
    n_draws, d_draws, loss_draws, slope_draws = (np.empty(0),) * 4
    if len(draws):
        n_draws = optimal_log_n(law, draws, spending, budget)
        d_draws = spending.cost.log_data(n_draws, budget)
        loss_draws = path_loss(law, draws, spending, budget, n_draws)
        slope_draws = local_exponents(law, draws, spending, budget)[0]
    log_d = float(spending.cost.log_data(best, budget)[0])
    batch = None
    if isinstance(law, ThreeTerm):
        value = float(law.best_log_batch(theta, np.array([log_d]))[0, 0])
        drawn = law.best_log_batch(draws, d_draws[:, None])[:, 0] if len(draws) else np.empty(0)
        batch = Estimate.of(value, drawn, level).exp()
    loss = float(path_loss(law, theta, spending, budget, best)[0])
    return Optimum(
        budget=budget,
        N=Estimate.of(best[0], n_draws, level).exp(),
        D=Estimate.of(log_d, d_draws, level).exp(),
        loss=Estimate.of(loss, loss_draws, level),
        near=near_optimal(law, theta, spending, budget, scale.near(loss)),
        local_exponent=Estimate.of(local_exponents(law, theta, spending, budget)[0][0], slope_draws, level),
        reach=budget / largest,
        batch=batch,
        limited=limited_optimum(parametric, spending, budget, float(best[0]), limit),
        log_n_draws=n_draws if len(draws) else None,
        loss_draws=loss_draws if len(draws) else None,
    )


def limited_optimum(
    parametric: Parametric, spending: Spending, budget: float, best: float, limit: float | None
) -> dict[str, float] | None:
    """Return the answer at the limit on N where the best size lies above it."""
    if limit is None or best <= np.log(limit):
        return None
    law, theta, log_n = parametric.law, parametric.theta[None], np.log(np.array([limit]))
    loss = float(path_loss(law, theta, spending, budget, log_n)[0])
    # the budget at which the best size, whatever it is, reaches the same loss: what the limit costs
    low, high = np.log(budget) - 12.0, np.log(budget)
    for _ in range(60):
        middle = (low + high) / 2
        there = float(np.exp(middle))
        free = path_loss(law, theta, spending, there, optimal_log_n(law, theta, spending, there))[0]
        low, high = (low, middle) if not free > loss else (middle, high)
    return {
        "limit": limit,
        "N": limit,
        "D": float(np.exp(spending.cost.log_data(log_n, budget)[0])),
        "loss": loss,
        "compute": float(budget / np.exp((low + high) / 2)),
    }


def isoflop_exponents(isoflop: IsoFlop, level: float) -> dict[str, Estimate]:
    """Return a of N* ~ C^a and b of D* ~ C^b through the bracketed minima; empty with fewer than two."""
    found = isoflop.exponents() or {}
    return {name: Estimate.of(value, draws, level) for name, (value, draws) in found.items()}


def parametric_exponents(
    parametric: Parametric, spending: Spending, middle: float, level: float
) -> dict[str, Estimate]:
    """Return a = d log N* / d log C and b = d log D* / d log C at a budget, under the true cost."""
    values = local_exponents(parametric.law, parametric.theta, spending, middle)
    draws = (np.empty(0), np.empty(0))
    if len(parametric.draws):
        draws = local_exponents(parametric.law, parametric.draws, spending, middle)
    return {
        name: Estimate.of(float(value[0]), drawn, level) for name, value, drawn in zip("ab", values, draws, strict=True)
    }
