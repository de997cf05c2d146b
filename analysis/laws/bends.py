"""Laws in which the terms interact or break: Kaplan's, Skaling, Farseer, and one break in a power."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.data.points import Points
from analysis.engine.jets import exprel
from analysis.laws.base import Law, projected
from analysis.laws.powers import EXPONENTS, chinchilla_starts

REFERENCE = np.log(1e9)
"""Within theta, Farseer's curves over N are given by slope, power and level at this log N: a curve s N^q + S is
nearly a straight line in log N, along which s, q and S are not determined one by one."""


@dataclass(frozen=True)
class Kaplan(Law):
    """L = ((Nc / N)^(alphaN / alphaD) + Dc / D)^alphaD: no floor.

    Source: Kaplan et al. 2020 (arXiv 2001.08361), eq. 1.5.
    """

    name = "kaplan"
    equation = "L = ((Nc/N)^(alphaN/alphaD) + Dc/D)^alphaD"
    latex = r"L = \left[(N_c/N)^{\alpha_N/\alpha_D} + D_c/D\right]^{\alpha_D}"
    citation = "Kaplan et al. 2020, arXiv 2001.08361"
    parameters = ("Nc", "Dc", "alphaN", "alphaD")
    positive = frozenset(("Nc", "Dc", "alphaN", "alphaD"))

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return alphaD log((Nc/N)^(alphaN/alphaD) + Dc/D) as the only term."""
        nc, dc, log_alpha_n, log_alpha_d = theta
        inner = np.logaddexp(np.exp(log_alpha_n - log_alpha_d) * (nc - x.log_n), dc - x.log_d)
        return [np.exp(log_alpha_d) * inner]

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return start points over a grid of exponents, each with both terms alike in the middle of the data."""
        level = np.log(loss).mean()
        found = []
        for alpha_n in EXPONENTS[::3]:
            for alpha_d in EXPONENTS[::3]:
                inner = level / alpha_d - np.log(2)
                found.append(
                    [x.log_n.mean() + inner * alpha_d / alpha_n, x.log_d.mean() + inner, *np.log([alpha_n, alpha_d])]
                )
        return np.array(found)


@dataclass(frozen=True)
class Skaling(Law):
    """L = E + (A / N^alpha + B / D^beta)^k: Chinchilla's law at k = 1; below it more data helps a larger model less.

    Under C = 6 N D the optimum is Chinchilla's, k drops out. Source: Videau et al. 2026 (arXiv 2608.07222).
    """

    name = "skaling"
    equation = "L = E + (A/N^alpha + B/D^beta)^k"
    latex = r"L = E + (A / N^{\alpha} + B / D^{\beta})^{k}"
    citation = "Videau et al. 2026, arXiv 2608.07222"
    parameters = ("E", "A", "B", "alpha", "beta", "k")
    positive = frozenset(("E", "A", "B", "k"))
    exponents = ("alpha", "beta")
    vanishing = ("E", "(A/N^alpha + B/D^beta)")

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return log E, k log(A / N^alpha + B / D^beta)."""
        e, a, b, alpha, beta, log_k = theta
        return [e, np.exp(log_k) * np.logaddexp(a - alpha * x.log_n, b - beta * x.log_d)]

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return the best starts of Chinchilla's law bent to several k."""
        theta, errors = chinchilla_starts(x, loss)
        # the floor of a bent law lies lower
        found = [
            [e + np.log(k), a / k, b / k, alpha / k, beta / k, np.log(k)]
            for e, a, b, alpha, beta in theta[np.argsort(errors)[:5]]
            for k in (0.35, 0.6, 1.0)
        ]
        return np.array(found)


@dataclass(frozen=True)
class Farseer(Law):
    """L = exp(s N^q + S) + exp(B N^b + Q) D^(-exp(A N^a + E)).

    N in parameters, D in tokens: unlike the others, this law is another one in another unit of D. Source: Li et al.
    2025 (arXiv 2506.10972).
    """

    name = "farseer"
    equation = "L = exp(s N^q + S) + exp(B N^b + Q) D^(-exp(A N^a + E))"
    latex = r"L = e^{s N^{q} + S} + e^{B N^{b} + Q} D^{-\exp(A N^{a} + E)}"
    citation = "Li et al. 2025, arXiv 2506.10972"
    parameters = ("s", "q", "S", "B", "b", "Q", "A", "a", "E")
    positive = frozenset()
    vanishing = ("exp(s N^q + S)", "exp(B N^b + Q)")

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return s N^q + S, B N^b + Q - exp(A N^a + E) log D."""
        (s1, s2, s3), (b1, b2, b3), (a1, a2, a3) = theta[:3], theta[3:6], theta[6:]
        n = x.log_n - REFERENCE
        return [_curve(s1, s2, s3, n), _curve(b1, b2, b3, n) - np.exp(_curve(a1, a2, a3, n)) * x.log_d]

    def natural(self, theta: np.ndarray) -> dict[str, np.ndarray]:
        """Return the parameters for N in parameters."""
        found = {}
        for i, (coefficient, power, constant) in enumerate((("s", "q", "S"), ("B", "b", "Q"), ("A", "a", "E"))):
            slope, p, level = (np.asarray(theta)[..., 3 * i + j] for j in range(3))
            with np.errstate(divide="ignore", invalid="ignore"):
                found[coefficient] = slope / p * np.exp(-REFERENCE * p)
                found[power], found[constant] = p, level - slope / p
        return {name: found[name] for name in self.parameters}

    def theta(self, natural: Any) -> np.ndarray:
        """Return theta of printed parameters: for each curve its slope, power and level at N = 1e9."""
        out: list[float] = []
        for coefficient, power, constant in (("s", "q", "S"), ("B", "b", "Q"), ("A", "a", "E")):
            here = natural[coefficient] * np.exp(REFERENCE * natural[power])
            out += [here * natural[power], natural[power], natural[constant] + here]
        return np.array(out, dtype=float)

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return start points in the way of the paper: E_N + B_N D^-beta_N for every size, then curves over N.

        Where too few sizes have three amounts of data, Chinchilla's law stands for them.
        """
        log_n, floor, coefficient, exponent = _by_size(x, loss)
        n = log_n - REFERENCE
        fits = [_power_curves(n, values) for values in (np.log(floor), np.log(coefficient), np.log(exponent))]
        best = [min(fit) for fit in fits]
        # the best of all three curves, and each of them bent the other way
        found = [best, *([*best[:i], max(fits[i]), *best[i + 1 :]] for i in range(3))]
        return np.array([[number for curve in start for number in curve[1:]] for start in found])


def _curve(slope: Any, power: Any, level: Any, n: np.ndarray) -> Any:
    """Return level + slope (e^(power n) - 1) / power, which goes over into a straight line where power is zero."""
    return level + slope * n * exprel(power * n)


def _by_size(x: Points, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return log N, E_N, B_N and beta_N of L = E_N + B_N D^-beta_N for the sizes that fix them."""
    found = []
    grid = tuple(np.geomspace(0.1, 1.2, 15))
    for log_n in np.unique(np.round(x.log_n, 2)):
        rows = np.abs(x.log_n - log_n) < 0.02
        log_d = x.log_d[rows]
        if len(np.unique(np.round(log_d, 3))) < 4:
            continue
        d0 = log_d.mean()
        exponents, logs, errors = projected(
            lambda beta, y=log_d - d0: [np.ones(1), np.exp(-beta * y)],
            (grid,),
            loss[rows],
        )
        best = int(np.argmin(errors))
        beta = exponents[best, 0]
        found.append((log_n, np.exp(logs[best, 0]), np.exp(logs[best, 1] + beta * d0), beta))
    if len(found) >= 4:
        log_n, *rest = np.array(found).T
        return log_n, rest[0], rest[1], rest[2]
    theta, errors = chinchilla_starts(x, loss)
    e, a, b, alpha, beta = theta[np.argmin(errors)]
    log_n = np.linspace(x.log_n.min(), x.log_n.max(), 8)
    ones = np.ones(len(log_n))
    return log_n, np.exp(e) + np.exp(a - alpha * log_n), np.exp(b) * ones, beta * ones


def _power_curves(n: np.ndarray, values: np.ndarray) -> list[tuple[float, ...]]:
    """Return two (squares, slope, power, level) of level + slope (exp(power n) - 1) / power, a bend each way."""
    found: list[tuple[float, ...]] = []
    for side in (-1, 1):
        ends = []
        for power in side * np.geomspace(0.03, 0.6, 12):
            columns = np.stack([n * exprel(power * n), np.ones_like(n)], axis=1)
            solution = np.linalg.lstsq(columns, values, rcond=None)[0]
            ends.append((((columns @ solution - values) ** 2).sum(), solution[0], power, solution[1]))
        found.append(min(ends))
    return found


@dataclass(frozen=True)
class Broken(Law):
    """L = E + b x^-c0 (1 + (x / d)^(1/f))^(-c1 f) in one variable x: a power with one smooth break at d.

    Source: Caballero et al. 2022 (arXiv 2210.14891), eq. 1 with one break.
    """

    variable: str = "C"
    equation = "L = E + b x^-c0 (1 + (x/d)^(1/f))^(-c1 f)"
    latex = r"L = E + b x^{-c_0} (1 + (x/d)^{1/f})^{-c_1 f}"
    citation = "Caballero et al. 2022, arXiv 2210.14891"
    parameters = ("E", "b", "c0", "c1", "d", "f")
    positive = frozenset(("E", "b", "d", "f"))
    vanishing = ("E", "b")

    @property
    def name(self) -> str:  # type: ignore[override]
        """`broken-n`, `broken-d` or `broken-c`."""
        return f"broken-{self.variable.lower()}"

    @property
    def needs(self) -> str:  # type: ignore[override]
        """The variable."""
        return self.variable

    def terms(self, theta: Sequence[Any], x: Points) -> list[Any]:
        """Return log E, log b - c0 log x - c1 f log(1 + (x/d)^(1/f))."""
        e, b, c0, c1, d, log_f = theta
        log_x = getattr(x, f"log_{self.variable.lower()}")
        sharp = np.exp(-log_f)
        bend = np.exp(log_f) * np.logaddexp(0.0 * d, sharp * (log_x - d))
        return [e, b - c0 * log_x - c1 * bend]

    def starts(self, x: Points, loss: np.ndarray) -> np.ndarray:
        """Return start points with a break at several places of the range, each side with its own power."""
        log_x = getattr(x, f"log_{self.variable.lower()}")
        centre = log_x.mean()
        exponents, logs, errors = projected(
            lambda alpha: [np.ones(1), np.exp(-alpha * (log_x - centre))], (EXPONENTS,), loss
        )
        found = []
        for i in np.argsort(errors)[:3]:
            alpha = exponents[i, 0]
            for place in np.quantile(log_x, [0.25, 0.5, 0.75]):
                for bent in (-0.7, 0.7):
                    for width in (0.3, 1.0):
                        c1 = bent * alpha
                        b = logs[i, 1] + alpha * centre
                        found.append([logs[i, 0], b, alpha * (1 - bent / 2), c1, place, np.log(width)])
        return np.array(found)
