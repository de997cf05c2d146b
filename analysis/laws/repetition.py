"""Laws of data that repeat: D seen, of which U is distinct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.data.points import Points
from analysis.engine.jets import Jet
from analysis.laws.base import Law
from analysis.laws.powers import Chinchilla, chinchilla_starts

NEVER = -700.0
"""log of the repeats of a run that saw its data once: exp of it is zero."""


@dataclass(frozen=True)
class DataConstrained(Law):
    """L = E + A / N'^alpha + B / D'^beta, where repeats and excess parameters are worth less and less.

    D' = U + U RD (1 - exp(-R / RD)), R = D/U - 1, and N' = V + V RN (1 - exp(-R' / RN)), R' = N/V - 1, where V is
    the size for which U is the compute-optimal data under C = 6 N D, at most N:
    V = min(N, (U G)^(beta/alpha) G), G = (alpha A / (beta B))^(1/(alpha+beta)).

    Source: Muennighoff et al. 2023 (arXiv 2305.16264), eqs. 5 to 7; with alpha = beta = 0.3527, A 520.8, B 1487.7,
    E 1.869, RD 15.388 and RN 5.310 their published losses come out (tests).
    """

    name = "data-constrained"
    equation = "L = E + A/N'^alpha + B/D'^beta, D' = U + U RD (1 - exp(-(D/U - 1)/RD)), N' likewise"
    latex = r"L = E + A / N'^{\alpha} + B / D'^{\beta},\; D' = U + U R_D^* (1 - e^{-R_D/R_D^*})"
    citation = "Muennighoff et al. 2023, arXiv 2305.16264"
    parameters = ("E", "A", "B", "alpha", "beta", "RD", "RN")
    positive = frozenset(("E", "A", "B", "alpha", "beta", "RD", "RN"))
    vanishing = ("E", "A", "B")
    needs = "NDU"

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return log E, log A - alpha log N', log B - beta log D'."""
        e, a, b, log_alpha, log_beta, log_rd, log_rn = theta
        alpha, beta = np.exp(log_alpha), np.exp(log_beta)
        log_u = _distinct(x)
        log_g = (log_alpha + a - log_beta - b) / (alpha + beta)
        log_v = beta / alpha * (log_u + log_g) + log_g
        return [
            e,
            a - alpha * _effective(log_v, x.log_n, log_rn),
            b - beta * _effective(log_u, x.log_d, log_rd),
        ]

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return the best starts of Chinchilla's law, with several values of a repeat."""
        return np.array(
            [
                [e, a, b, np.log(alpha), np.log(beta), np.log(rd), np.log(rn)]
                for e, a, b, alpha, beta in _chinchilla(x, loss, 8)
                for rd in (2.0, 15.0)
                for rn in (2.0, 20.0)
            ]
        )


def _distinct(x: Points) -> np.ndarray:
    """Return log of the distinct data among those seen."""
    assert x.log_u is not None, "a law that needs U is only asked where it is known"
    return np.minimum(x.log_u, x.log_d)


def _effective(log_base: Any, log_total: np.ndarray, log_scale: Any) -> Any:
    """Return log of base + base s (1 - exp(-(total/base - 1) / s)), or total where it is below base."""
    excess = _positive_part(np.exp(log_total - log_base) - 1.0)
    scale = np.exp(log_scale)
    grown = log_base + np.log1p(scale * (1.0 - np.exp(-(excess / scale))))
    return _where_below(log_total, log_base, grown)


def _positive_part(x: Any) -> Any:
    """Return max(x, 0)."""
    if isinstance(x, Jet):
        return x * (x.value > 0).astype(float)
    return np.maximum(x, 0.0)


def _where_below(log_total: np.ndarray, log_base: Any, grown: Any) -> Any:
    """Return log_total where it is below log_base, else what it has grown to; both meet with one slope."""
    if isinstance(grown, Jet):
        base = log_base.value if isinstance(log_base, Jet) else log_base
        inside = np.broadcast_to((log_total > base).astype(float), grown.value.shape)
        return grown * inside + (1 - inside) * log_total
    return np.where(log_total > log_base, grown, log_total)


@dataclass(frozen=True)
class OverFitting(Law):
    """L = E + A / N^alpha + B / D^beta + P R^delta (N / U)^kappa, R = D/U - 1: repeats cost, large models more.

    Linear in theta, and Chinchilla's law where nothing repeats. Source: Lovelace et al. 2026 (arXiv 2605.01640), with
    all three parameters of the penalty free.
    """

    name = "over-fitting"
    equation = "L = E + A/N^alpha + B/D^beta + P R^delta (N/U)^kappa, R = D/U - 1"
    latex = r"L = E + A / N^{\alpha} + B / D^{\beta} + P R^{\delta} (N/U)^{\kappa}"
    citation = "Lovelace et al. 2026, arXiv 2605.01640"
    parameters = ("E", "A", "B", "P", "alpha", "beta", "delta", "kappa")
    positive = frozenset("EABP")
    exponents = ("alpha", "beta", "delta", "kappa")
    vanishing = ("E", "A", "B", "P")
    needs = "NDU"
    linear = True

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return log E, log A - alpha log N, log B - beta log D, log P + delta log R + kappa log(N/U)."""
        e, a, b, p, alpha, beta, delta, kappa = theta
        log_u = _distinct(x)
        with np.errstate(divide="ignore"):
            repeats = np.maximum(np.log(np.expm1(x.log_d - log_u)), NEVER)
        return [e, a - alpha * x.log_n, b - beta * x.log_d, p + delta * repeats + kappa * (x.log_n - log_u)]

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return the best starts of Chinchilla's law, with penalties of several shapes, a hundredth of the loss."""
        assert x.log_u is not None
        again = x.log_d > x.log_u + 1e-6
        ratio, times = (x.log_n - x.log_u)[again].mean(), np.log(np.expm1((x.log_d - x.log_u)[again])).mean()
        return np.array(
            [
                [e, a, b, np.log(0.01 * loss.mean()) - delta * times - kappa * ratio, alpha, beta, delta, kappa]
                for e, a, b, alpha, beta in _chinchilla(x, loss, 8)
                for delta in (0.5, 1.0, 2.0)
                for kappa in (0.3, 1.0)
            ]
        )


@dataclass(frozen=True)
class Bounded(Law):
    """L = E + (L0 - E) h / (1 + h), h = a / N^alpha + b / D^beta + c N^gamma / U^delta: never above L0.

    Source: Bryant and Liu 2026 (arXiv 2605.09189). There L0, the loss of a model that knows nothing, is given by the
    kind of loss; here it is fitted with the others, since a table does not say it.
    """

    name = "bounded"
    equation = "L = E + (L0 - E) h/(1 + h), h = A/N^alpha + B/D^beta + G N^gamma/U^delta"
    latex = r"L = E + (L_0 - E) \frac{h}{1+h},\; h = A N^{-\alpha} + B D^{-\beta} + G N^{\gamma} U^{-\delta}"
    citation = "Bryant and Liu 2026, arXiv 2605.09189"
    parameters = ("E", "L0", "A", "B", "G", "alpha", "beta", "gamma", "delta")
    positive = frozenset(("E", "L0", "A", "B", "G"))
    exponents = ("alpha", "beta")
    needs = "NDU"

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return log L = log(E + L0 h) - log(1 + h) as the only term."""
        e, top, a, b, g, alpha, beta, gamma, delta = theta
        log_u = _distinct(x)
        h = np.logaddexp(np.logaddexp(a - alpha * x.log_n, b - beta * x.log_d), g + gamma * x.log_n - delta * log_u)
        return [np.logaddexp(e, top + h) - np.logaddexp(0.0 * e, h)]

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return the best starts of Chinchilla's law under several ceilings."""
        assert x.log_u is not None
        found = []
        for e, a, b, alpha, beta in _chinchilla(x, loss, 6):
            for ceiling in (2.0, 5.0):
                top = np.log(ceiling * loss.max())
                room = np.log(np.exp(top) - np.exp(e))
                for gamma, delta in ((0.3, 0.5), (1.0, 1.0)):
                    g = np.log(0.01) - room + np.log(loss.mean()) - (gamma * x.log_n - delta * x.log_u).mean()
                    found.append([e, top, a - room, b - room, g, alpha, beta, gamma, delta])
        return np.array(found)


def _chinchilla(x: Points, loss: np.ndarray, count: int) -> np.ndarray:
    """Return the best starts of Chinchilla's law, over the runs that repeat little where there are enough."""
    assert x.log_u is not None
    fresh = x.log_d <= x.log_u + np.log(4.0)
    rows = fresh if fresh.sum() > 2 * len(Chinchilla.parameters) else np.ones(len(loss), dtype=bool)
    theta, errors = chinchilla_starts(x.take(rows), loss[rows])
    return theta[np.argsort(errors)[:count]]
