"""What a law is: its equation as terms, its parameters, its source. Value and derivatives follow from the equation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar

import numpy as np

from analysis.data.points import Points
from analysis.engine.jets import Jet
from analysis.engine.surfaces import JetSurface, LinearSurface, Surface, softmax


@dataclass(frozen=True)
class Law(ABC):
    """log L = log sum_k exp(z_k(theta; x)).

    theta holds the logarithms of the `positive` parameters and the others as they are. A law of one's own is one
    `terms` and one `starts`, or, without a class, a `CustomLaw`.
    """

    name: ClassVar[str]
    """Name on the command line."""
    equation: ClassVar[str]
    latex: ClassVar[str]
    citation: ClassVar[str]
    parameters: ClassVar[tuple[str, ...]]
    positive: ClassVar[frozenset[str]]
    """Parameters of which theta holds the logarithm."""
    exponents: ClassVar[tuple[str, ...]] = ()
    """Parameters that lie above zero in a law that falls; one that does not is reported."""
    vanishing: ClassVar[tuple[str, ...]] = ()
    """The coefficient of each term, to name a term that ran to zero."""
    needs: ClassVar[str] = "ND"
    """Which of N, D, C, U (unique data) and B (batch) it is a function of."""
    linear: ClassVar[bool] = False
    """Whether every term is linear in theta: a sum of powers."""

    @property
    def allocates(self) -> bool:
        """Whether it is a law of both size and data, so that a budget has a best split."""
        return "N" in self.needs and bool({"D", "C"} & set(self.needs))

    @abstractmethod
    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return the terms z_k at points; the entries of theta are arrays or jets, [problems, 1] each."""

    @abstractmethod
    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return start points for a fit, [starts, parameters]."""

    def surface(self, x: Points) -> Surface:
        """Return the law over rows, as the optimiser wants it."""
        count = len(self.parameters)
        if not self.linear:
            return JetSurface(lambda theta: self.terms(theta, x), len(x), count)
        zero = np.zeros((1, 1))
        terms = self.terms([Jet.parameter(zero, i) for i in range(count)], x)
        design = np.zeros((len(x), len(terms), count))
        for k, term in enumerate(terms):
            design[:, k, list(term.active)] = term.gradient[0]
        return LinearSurface(design)

    def log_loss(self, theta: np.ndarray, x: Points) -> np.ndarray:
        """Return log L for one theta, [rows], or several, [problems, rows].

        The points are the same for every theta, or each its own: [problems, rows].
        """
        theta = np.asarray(theta, dtype=float)
        given = [np.shape(v) for v in (x.log_n, x.log_d, x.log_c, x.log_u, x.log_b) if v is not None]
        shape = np.broadcast_shapes((*theta.shape[:-1], 1), *given)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            terms = self.terms([theta[..., [i]] for i in range(theta.shape[-1])], x)
            return softmax([np.broadcast_to(term, shape) for term in terms])[1]

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parameters as papers print them, from theta [..., parameters]."""
        theta = np.asarray(theta)
        with np.errstate(over="ignore"):
            return {
                name: np.exp(theta[..., i]) if name in self.positive else theta[..., i]
                for i, name in enumerate(self.parameters)
            }

    def theta(self, natural: Mapping[str, float]) -> np.ndarray:
        """Return theta of printed parameters."""
        return np.array(
            [np.log(natural[name]) if name in self.positive else natural[name] for name in self.parameters], dtype=float
        )

    def vanished(self, theta: np.ndarray, x: Points, least: float) -> list[str]:
        """Return the coefficients of terms whose share of every prediction is below `least`."""
        if not self.vanishing:
            return []
        terms = self.terms([theta[[i]] for i in range(len(theta))], x)
        shares, _ = softmax([np.broadcast_to(term, (len(x),)) for term in terms])
        return [name for name, share in zip(self.vanishing, shares, strict=True) if share.max() < least]


@dataclass(frozen=True, kw_only=True)
class CustomLaw(Law):
    """A law of one's own, from its equation.

    `loss(x, **parameters)` returns L, with `x.N`, `x.D`, `x.C`, `x.U` and `x.B` for what a run was given, and
    arithmetic and NumPy's `exp`, `log`, `log1p`, `expm1`, `sqrt`, `logaddexp` for the rest; derivatives are exact.

    Args:
        name: Its name.
        equation: It as text.
        loss: The function.
        guesses: Start values of every parameter; all combinations are tried, so two or three of each do.
        positive: Parameters that cannot be zero or below.
        needs: Which of N, D, C, U, B it uses.
        latex: It in LaTeX.
        citation: Its source.

    Example:
        >>> law = CustomLaw(
        ...     name="power", equation="L = E + A/N^alpha", loss=lambda x, E, A, alpha: E + A / x.N**alpha,
        ...     guesses={"E": [1.0], "A": [10.0], "alpha": [0.3]}, positive=("E", "A"), needs="N")
        >>> theta = law.theta({"E": 1.0, "A": 100.0, "alpha": 0.5})
        >>> float(np.exp(law.log_loss(theta, Points.of(N=[1e4], D=[1.0]))[0]))
        2.0
    """

    name: str  # type: ignore[misc]
    equation: str  # type: ignore[misc]
    loss: Callable[..., Any]
    guesses: Mapping[str, Sequence[float]]
    positive: frozenset[str] = field(default_factory=frozenset)  # type: ignore[misc]
    needs: str = "ND"  # type: ignore[misc]
    latex: str = ""  # type: ignore[misc]
    citation: str = "own"  # type: ignore[misc]

    @property
    def parameters(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of the parameters."""
        return tuple(self.guesses)

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return log L as the only term."""
        values = {
            name: np.exp(theta[i]) if name in self.positive else theta[i] for i, name in enumerate(self.parameters)
        }
        return [np.log(self.loss(x, **values))]

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return all combinations of the guesses."""
        return np.array([self.theta(dict(zip(self.guesses, c, strict=True))) for c in product(*self.guesses.values())])


def projected(
    columns: Callable[..., Sequence[np.ndarray]], grids: Sequence[Sequence[float]], loss: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return coefficients by variable projection over a grid of exponents.

    Given its exponents a sum of powers is linear in its coefficients: non-negative least squares on relative errors
    gives them (Golub and Pereyra 1973; for scaling laws arXiv 2603.22339).

    Args:
        columns: Function of the exponents that returns the powers, each [rows].
        grids: Values of every exponent.
        loss: [rows].

    Returns:
        Exponents [combinations, exponents], logarithms of the coefficients [combinations, terms], and the sums of
        squared relative errors.
    """
    from scipy.optimize import nnls

    found, logs, errors = [], [], []
    for exponents in product(*grids):
        scaled = np.stack([np.broadcast_to(c, loss.shape) / loss for c in columns(*exponents)])
        # through the triangle of the normal equations: as many rows as coefficients, however many runs there are
        gram = scaled @ scaled.T
        root = np.linalg.cholesky(gram + 1e-13 * np.trace(gram) * np.eye(len(gram)))
        coefficients, _ = nnls(root.T, np.linalg.solve(root, scaled.sum(axis=1)))
        errors.append(float(((coefficients @ scaled - 1) ** 2).sum()))
        coefficients = np.maximum(coefficients, 1e-3 * max(coefficients.max(), 1e-300))
        found.append(exponents)
        logs.append(np.log(coefficients))
    return np.array(found), np.array(logs), np.array(errors)
