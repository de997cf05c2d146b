"""Sums of powers: every term is linear in theta, so fits of these laws are the fastest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.data.points import Points
from analysis.laws.base import Law, projected

EXPONENTS = tuple(0.05 * 2.0 ** np.arange(0, 5.5, 0.5))
"""0.05 to 1.6: the grid of exponents that fits start from."""


@dataclass(frozen=True)
class Chinchilla(Law):
    """L = E + A / N^alpha + B / D^beta.

    theta = (log E, log A, log B, alpha, beta). Source: Hoffmann et al. 2022 (arXiv 2203.15556), eq. 2, fitted as in
    its appendix D.3 and by Besiroglu et al. 2024 (arXiv 2404.10102).

    Example:
        >>> law = Chinchilla()
        >>> theta = law.theta({"E": 1.817, "A": 477.8, "B": 2143.4, "alpha": 0.3473, "beta": 0.3672})
        >>> round(float(np.exp(law.log_loss(theta, Points.of(N=[70e9], D=[1.4e12]))[0])), 2)
        1.97
    """

    name = "chinchilla"
    equation = "L = E + A/N^alpha + B/D^beta"
    latex = r"L = E + A / N^{\alpha} + B / D^{\beta}"
    citation = "Hoffmann et al. 2022, arXiv 2203.15556"
    parameters = ("E", "A", "B", "alpha", "beta")
    positive = frozenset("EAB")
    exponents = ("alpha", "beta")
    vanishing = ("E", "A", "B")
    linear = True

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return log E, log A - alpha log N, log B - beta log D."""
        e, a, b, alpha, beta = theta
        return [e, a - alpha * x.log_n, b - beta * x.log_d]

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return start points by variable projection over a grid of exponents, 0.05 to 1.6 in both."""
        return chinchilla_starts(x, loss)[0]


def chinchilla_starts(x: Points, loss: np.ndarray, grid: Sequence[float] = EXPONENTS) -> tuple[np.ndarray, np.ndarray]:
    """Return theta of Chinchilla's law over a grid of exponents, and the sum of squared relative errors of each."""
    n0, d0 = x.log_n.mean(), x.log_d.mean()

    def columns(alpha: float, beta: float) -> list[np.ndarray]:
        return [np.ones(1), np.exp(-alpha * (x.log_n - n0)), np.exp(-beta * (x.log_d - d0))]

    exponents, logs, errors = projected(columns, (grid, grid), loss)
    shifts = np.stack([np.zeros(len(exponents)), exponents[:, 0] * n0, exponents[:, 1] * d0], axis=1)
    return np.concatenate([logs + shifts, exponents], axis=1), errors


@dataclass(frozen=True)
class Tied(Law):
    """L = E + A / N^alpha + B / D^alpha: Chinchilla's law with one exponent, so that N* ~ C^(1/2) under C = k N D.

    Source: the first stage of Muennighoff et al. 2023 (arXiv 2305.16264), who tie the exponents.
    """

    name = "tied"
    equation = "L = E + A/N^alpha + B/D^alpha"
    latex = r"L = E + A / N^{\alpha} + B / D^{\alpha}"
    citation = "Muennighoff et al. 2023, arXiv 2305.16264"
    parameters = ("E", "A", "B", "alpha")
    positive = frozenset("EAB")
    exponents = ("alpha",)
    vanishing = ("E", "A", "B")
    linear = True

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return log E, log A - alpha log N, log B - alpha log D."""
        e, a, b, alpha = theta
        return [e, a - alpha * x.log_n, b - alpha * x.log_d]

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return start points by variable projection over the exponent."""
        n0, d0 = x.log_n.mean(), x.log_d.mean()
        exponents, logs, _ = projected(
            lambda alpha: [np.ones(1), np.exp(-alpha * (x.log_n - n0)), np.exp(-alpha * (x.log_d - d0))],
            (EXPONENTS,),
            loss,
        )
        alpha = exponents[:, 0]
        return np.concatenate([logs + np.stack([0 * alpha, alpha * n0, alpha * d0], axis=1), exponents], axis=1)


@dataclass(frozen=True)
class OverTraining(Law):
    """L = E + (A M^eta + B M^-eta) C^-eta with M = D / N: Chinchilla's law with one exponent, over C and the ratio.

    Where C = 6 N D it is the tied law with alpha = 2 eta; with recorded costs it differs. Source: Gadre et al. 2024
    (arXiv 2403.08540), eq. 4.
    """

    name = "over-training"
    equation = "L = E + (A M^eta + B M^-eta) C^-eta, M = D/N"
    latex = r"L = E + (A M^{\eta} + B M^{-\eta}) C^{-\eta},\; M = D/N"
    citation = "Gadre et al. 2024, arXiv 2403.08540"
    parameters = ("E", "A", "B", "eta")
    positive = frozenset("EAB")
    exponents = ("eta",)
    vanishing = ("E", "A", "B")
    needs = "NDC"
    linear = True

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return log E, log A + eta (log M - log C), log B - eta (log M + log C)."""
        e, a, b, eta = theta
        ratio = x.log_d - x.log_n
        return [e, a + eta * (ratio - x.log_c), b - eta * (ratio + x.log_c)]

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return start points by variable projection over the exponent."""
        ratio, log_c = x.log_d - x.log_n, x.log_c
        assert log_c is not None
        up, down = ratio - log_c, -ratio - log_c
        u0, d0 = up.mean(), down.mean()
        exponents, logs, _ = projected(
            lambda eta: [np.ones(1), np.exp(eta * (up - u0)), np.exp(eta * (down - d0))], (EXPONENTS,), loss
        )
        eta = exponents[:, 0]
        return np.concatenate([logs - np.stack([0 * eta, eta * u0, eta * d0], axis=1), exponents], axis=1)


@dataclass(frozen=True)
class ThreeTerm(Law):
    """L = E + A / N^alpha + B / M^beta + G / K^gamma: model size N, batch M, and optimiser steps K = D / M.

    At fixed D the best batch is M* = (beta B / (gamma G))^(1/(beta+gamma)) D^(gamma/(beta+gamma)), whatever N.
    Source: Schaipp 2026 (arXiv 2607.01487).
    """

    name = "three-term"
    equation = "L = E + A/N^alpha + B/M^beta + G/K^gamma, M batch, K = D/M"
    latex = r"L = E + A / N^{\alpha} + B / M^{\beta} + G / K^{\gamma}"
    citation = "Schaipp 2026, arXiv 2607.01487"
    parameters = ("E", "A", "B", "G", "alpha", "beta", "gamma")
    positive = frozenset("EABG")
    exponents = ("alpha", "beta", "gamma")
    vanishing = ("E", "A", "B", "G")
    needs = "NDB"
    linear = True

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return log E, log A - alpha log N, log B - beta log M, log G - gamma log K."""
        e, a, b, g, alpha, beta, gamma = theta
        return [e, a - alpha * x.log_n, b - beta * x.log_b, g - gamma * (x.log_d - x.log_b)]

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return start points by variable projection over a grid of exponents."""
        assert x.log_b is not None
        axes = [x.log_n, x.log_b, x.log_d - x.log_b]
        centres = np.array([axis.mean() for axis in axes])
        exponents, logs, _ = projected(
            lambda *powers: [
                np.ones(1),
                *(np.exp(-q * (axis - c)) for q, axis, c in zip(powers, axes, centres, strict=True)),
            ],
            (EXPONENTS[1::2],) * 3,
            loss,
        )
        logs[:, 1:] += exponents * centres
        return np.concatenate([logs, exponents], axis=1)

    def best_log_batch(self, theta: np.ndarray, log_d: np.ndarray) -> np.ndarray:
        """Return log M* at data seen, for theta [..., parameters]."""
        _, _, b, g, _, beta, gamma = np.moveaxis(np.asarray(theta)[..., None], -2, 0)
        with np.errstate(divide="ignore", invalid="ignore"):  # exponents of two signs have no best batch
            return (np.log(beta / gamma) + b - g + gamma * log_d) / (beta + gamma)


@dataclass(frozen=True)
class Power(Law):
    """L = E + A / x^alpha in one variable x: N, D or C.

    Source: Hestness et al. 2017 (arXiv 1712.00409), with the floor of Henighan et al. 2020 (arXiv 2010.14701).
    """

    variable: str = "N"
    equation = "L = E + A/x^alpha"
    latex = r"L = E + A / x^{\alpha}"
    citation = "Hestness et al. 2017, arXiv 1712.00409; Henighan et al. 2020, arXiv 2010.14701"
    parameters = ("E", "A", "alpha")
    positive = frozenset("EA")
    exponents = ("alpha",)
    vanishing = ("E", "A")
    linear = True

    @property
    def name(self) -> str:  # type: ignore[override]
        """`power-n`, `power-d` or `power-c`."""
        return f"power-{self.variable.lower()}"

    @property
    def needs(self) -> str:  # type: ignore[override]
        """The variable."""
        return self.variable

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return log E, log A - alpha log x."""
        e, a, alpha = theta
        return [e, a - alpha * getattr(x, f"log_{self.variable.lower()}")]

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return start points by variable projection over the exponent."""
        log_x = getattr(x, f"log_{self.variable.lower()}")
        centre = log_x.mean()
        exponents, logs, _ = projected(
            lambda alpha: [np.ones(1), np.exp(-alpha * (log_x - centre))], (EXPONENTS,), loss
        )
        logs[:, 1] += exponents[:, 0] * centre
        return np.concatenate([logs, exponents], axis=1)
