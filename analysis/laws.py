"""Laws as sums of power terms: what the fit engine needs of one, and the law of Chinchilla.

A law is L = sum_k exp(z_k) with every z_k linear in the parameters theta, so log L is a log-sum-exp, and value,
gradient and Hessian are exact for all such laws at once (`analysis.newton`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from scaling.errors import InputError, did_you_mean


class Law(Protocol):
    """A sum of power terms in N and D."""

    @property
    def name(self) -> str:
        """Name on the command line."""
        ...

    @property
    def equation(self) -> str:
        """The law as text."""
        ...

    @property
    def latex(self) -> str:
        """The law in LaTeX."""
        ...

    @property
    def citation(self) -> str:
        """Its source."""
        ...

    @property
    def parameters(self) -> tuple[str, ...]:
        """Names of the entries of theta, in its order: a coefficient for each term, then the exponents."""
        ...

    def design(self, log_n: np.ndarray, log_d: np.ndarray) -> np.ndarray:
        """Return X with z = X theta, shape [rows, terms, parameters]."""
        ...

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parameters as papers print them, from theta [..., parameters]."""
        ...

    def theta(self, natural: Mapping[str, float]) -> np.ndarray:
        """Return theta of printed parameters."""
        ...

    def starts(self, log_n: np.ndarray, log_d: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Return start points, [starts, parameters]."""
        ...


def log_predict(design: np.ndarray, theta: np.ndarray) -> np.ndarray:
    """Return log L of every row, for one theta or a batch: [rows] or [batch, rows]."""
    z = np.einsum("nkp,...p->...nk", design, theta)
    top = z.max(axis=-1, keepdims=True)
    return np.log(np.exp(z - top).sum(axis=-1)) + top[..., 0]


@dataclass(frozen=True)
class Chinchilla:
    """L = E + A / N^alpha + B / D^beta.

    theta = (log E, log A, log B, alpha, beta). Source: Hoffmann et al. 2022 (arXiv 2203.15556), eq. 2, fitted as in
    its appendix D.3 and by Besiroglu et al. 2024 (arXiv 2404.10102).

    Example:
        >>> law = Chinchilla()
        >>> theta = law.theta({"E": 1.817, "A": 477.8, "B": 2143.4, "alpha": 0.3473, "beta": 0.3672})
        >>> X = law.design(np.log([70e9]), np.log([1.4e12]))
        >>> round(float(np.exp(log_predict(X, theta))[0]), 2)
        1.97
    """

    name: str = "chinchilla"
    equation: str = "L = E + A/N^alpha + B/D^beta"
    latex: str = r"L = E + A / N^{\alpha} + B / D^{\beta}"
    citation: str = "Hoffmann et al. 2022, arXiv 2203.15556"
    parameters: tuple[str, ...] = ("E", "A", "B", "alpha", "beta")

    def design(self, log_n: np.ndarray, log_d: np.ndarray) -> np.ndarray:
        """Return X with z = (log E, log A - alpha log N, log B - beta log D)."""
        X = np.zeros((len(log_n), 3, 5))
        X[:, 0, 0] = X[:, 1, 1] = X[:, 2, 2] = 1.0
        X[:, 1, 3] = -log_n
        X[:, 2, 4] = -log_d
        return X

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Return E, A, B, alpha, beta."""
        theta = np.asarray(theta)
        return {name: np.exp(theta[..., i]) if i < 3 else theta[..., i] for i, name in enumerate(self.parameters)}

    def theta(self, natural: Mapping[str, float]) -> np.ndarray:
        """Return theta of printed parameters."""
        return np.array([np.log(natural[name]) if i < 3 else natural[name] for i, name in enumerate(self.parameters)])

    def starts(self, log_n: np.ndarray, log_d: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Return start points by variable projection over a grid of exponents.

        Given alpha and beta the law is linear in E, A and B: non-negative least squares on relative errors gives the
        three (Golub and Pereyra 1973). The grid spans 0.05 to 1.6 in both.
        """
        from scipy.optimize import nnls

        exponents = 0.05 * 2.0 ** np.arange(0, 5.5, 0.5)
        found = []
        n0, d0 = log_n.mean(), log_d.mean()
        for alpha in exponents:
            for beta in exponents:
                columns = np.stack([np.ones_like(log_n), np.exp(-alpha * (log_n - n0)), np.exp(-beta * (log_d - d0))])
                coefficients, _ = nnls((columns / loss).T, np.ones_like(loss))
                coefficients = np.maximum(coefficients, 1e-3 * coefficients.max())
                e, a, b = np.log(coefficients)
                found.append([e, a + alpha * n0, b + beta * d0, alpha, beta])
        return np.array(found)


LAWS: dict[str, Law] = {"chinchilla": Chinchilla()}


def law_named(name: str) -> Law:
    """Return a law by its name on the command line.

    Raises:
        InputError: When there is no such law.
    """
    if name not in LAWS:
        raise InputError("no such law", where="--law", value=name, remedy=did_you_mean(name, LAWS))
    return LAWS[name]
