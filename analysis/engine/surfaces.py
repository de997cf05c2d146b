"""A law over the rows of a study, as the optimiser sees it: log L = log sum_k exp(z_k(theta)), and its derivatives.

With softmax weights s_k = exp(z_k) / sum exp(z), and ' for derivatives by theta,

    J = (log L)' = sum_k s_k z_k'
    F'  = sum_i w_i rho'(r_i) J_i
    F'' = sum_i w_i [ (rho'' - rho') J_i J_i^T + rho' sum_k s_k (z_k' z_k'^T + z_k'') ]

Two kinds: terms that are linear in theta (sums of powers), whose products of derivatives are known before the fit, so
that F'' is a few matrix products; and any other terms, as jets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from analysis.engine.jets import Jet


class State(Protocol):
    """A surface at some theta, one row of it for every problem."""

    log_loss: np.ndarray
    """[problems, rows]."""

    def gradient(self, first: np.ndarray) -> np.ndarray:
        """Return F', [problems, parameters], from w rho' [problems, rows]."""
        ...

    def hessian(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return F'', [problems, parameters, parameters], from w rho' and w rho''."""
        ...


class Surface(Protocol):
    """A law over rows."""

    rows: int
    parameters: int
    floats: int
    """Numbers that one problem holds in memory while it is worked on."""

    def at(self, theta: np.ndarray) -> State:
        """Return the surface at theta, [problems, parameters]."""
        ...

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        """Return J at one theta, [rows, parameters]."""
        ...


class LinearSurface:
    """Terms z_k = X_k theta, X_k [rows, parameters]: a sum of powers.

    Args:
        design: X, [rows, terms, parameters].
    """

    def __init__(self, design: np.ndarray):
        self.design = design
        self.rows, terms, self.parameters = design.shape
        self.floats = 8 * self.rows
        self._active = [np.flatnonzero(np.any(design[:, k] != 0, axis=0)) for k in range(terms)]
        self._blocks = [np.ascontiguousarray(design[:, k, active]) for k, active in enumerate(self._active)]
        self._products = []
        for k in range(terms):
            for j in range(k + 1):
                # each entry of F'' that this pair of terms adds to, with the product that it adds
                product = self._blocks[k][:, :, None] * self._blocks[j][:, None, :]
                places = self._active[k][:, None] * self.parameters + self._active[j][None, :]
                self._products.append((k, j, places.ravel(), product.reshape(self.rows, -1)))

    def at(self, theta: np.ndarray) -> LinearState:
        """Return the surface at theta, [problems, parameters]."""
        terms = [theta[:, active] @ block.T for active, block in zip(self._active, self._blocks, strict=True)]
        shares, log_loss = softmax(terms)
        return LinearState(self, shares, log_loss)

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        """Return J at one theta, [rows, parameters]."""
        shares = np.stack([share[0] for share in self.at(theta[None]).shares], axis=1)
        return np.einsum("nk,nkp->np", shares, self.design)


@dataclass
class LinearState:
    """A sum of powers at some theta."""

    surface: LinearSurface
    shares: list[np.ndarray]
    log_loss: np.ndarray

    def gradient(self, first: np.ndarray) -> np.ndarray:
        """Return F', [problems, parameters], from w rho' [problems, rows]."""
        out = np.zeros((len(first), self.surface.parameters))
        for share, active, block in zip(self.shares, self.surface._active, self.surface._blocks, strict=True):
            out[:, active] += (first * share) @ block
        return out

    def hessian(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return F'', [problems, parameters, parameters], from w rho' and w rho''."""
        p = self.surface.parameters
        out = np.zeros((len(first), p * p))
        weighted = [(second - first) * share for share in self.shares]
        for k, j, places, product in self.surface._products:
            weight = weighted[k] * self.shares[j]
            if k == j:
                weight += first * self.shares[k]
            part = weight @ product
            out[:, places] += part
            if k != j:
                out[:, places % p * p + places // p] += part
        return out.reshape(-1, p, p)


class JetSurface:
    """Terms of any form, whose derivatives jets carry.

    Args:
        terms: Function of the parameters, each a jet [problems, 1], that returns the terms.
        rows: How many rows the terms have.
        parameters: How many parameters.
    """

    def __init__(self, terms: Callable[[Sequence[Jet]], list[Jet]], rows: int, parameters: int):
        self._terms = terms
        self.rows = rows
        self.parameters = parameters
        self.floats = 3 * rows * parameters**2

    def at(self, theta: np.ndarray) -> JetState:
        """Return the surface at theta, [problems, parameters]."""
        terms = self._terms([Jet.parameter(theta[:, [i]], i) for i in range(self.parameters)])
        shape = (len(theta), self.rows)
        shares, log_loss = softmax([np.broadcast_to(term.value, shape) for term in terms])
        return JetState(self.parameters, terms, shares, log_loss)

    def jacobian(self, theta: np.ndarray) -> np.ndarray:
        """Return J at one theta, [rows, parameters]."""
        state = self.at(theta[None])
        out = np.zeros((self.rows, self.parameters))
        for share, term in zip(state.shares, state.terms, strict=True):
            out[:, list(term.active)] += share[0][:, None] * term.gradient[0]
        return out


@dataclass
class JetState:
    """Terms of any form at some theta."""

    parameters: int
    terms: list[Jet]
    shares: list[np.ndarray]
    log_loss: np.ndarray

    def gradient(self, first: np.ndarray) -> np.ndarray:
        """Return F', [problems, parameters], from w rho' [problems, rows]."""
        out = np.zeros((len(first), self.parameters))
        for share, term in zip(self.shares, self.terms, strict=True):
            slopes = np.broadcast_to(term.gradient, (*first.shape, len(term.active)))
            out[:, list(term.active)] += np.matmul((first * share)[:, None, :], slopes)[:, 0]
        return out

    def hessian(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return F'', [problems, parameters, parameters], from w rho' and w rho''."""
        out = np.zeros((len(first), self.parameters, self.parameters))
        slopes = [np.broadcast_to(term.gradient, (*first.shape, len(term.active))) for term in self.terms]
        for k, (share, term) in enumerate(zip(self.shares, self.terms, strict=True)):
            at = list(term.active)
            size = len(at)
            curved = np.broadcast_to(term.hessian, (*first.shape, size, size)).reshape(*first.shape, size * size)
            own = np.matmul((first * share)[:, None, :], curved).reshape(-1, size, size)
            out[:, np.array(at)[:, None], at] += own
            for j in range(k + 1):
                weight = (second - first) * share * self.shares[j]
                if k == j:
                    weight += first * share
                other = list(self.terms[j].active)
                part = np.matmul(np.swapaxes(slopes[k], 1, 2) * weight[:, None, :], slopes[j])
                out[:, np.array(at)[:, None], other] += part
                if k != j:
                    out[:, np.array(other)[:, None], at] += np.swapaxes(part, 1, 2)
        return out


def softmax(terms: list[np.ndarray]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return exp(z_k) / sum exp(z) for every term, and log sum exp(z)."""
    top = terms[0]
    for z in terms[1:]:
        top = np.maximum(top, z)
    with np.errstate(under="ignore", invalid="ignore"):
        shares = [np.exp(z - top) for z in terms]
        total = shares[0].copy()
        for share in shares[1:]:
            total += share
        for share in shares:
            share /= total
        return shares, np.log(total) + top
