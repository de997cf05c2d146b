"""Numbers that carry their first and second derivatives, so that a law is written once, as its equation.

Forward-mode differentiation to second order (Griewank and Walther 2008, chapter 13): with u, v functions of theta,

    (f(u))'  = f'(u) u'            (f(u))'' = f'(u) u'' + f''(u) u' u''^T
    (u v)'   = u v' + v u'         (u v)''  = u v'' + v u'' + u' v'^T + v' u'^T

The derivatives are exact. A jet keeps only the parameters that it depends on, which are few in a term of a law.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from numbers import Real
from typing import Any

import numpy as np


class Jet:
    """A number for every problem and row, with its gradient and Hessian over some of the parameters.

    `value` is [problems, rows or 1], `gradient` [..., k] and `hessian` [..., k, k] over the k parameters whose
    numbers are `active`. Arithmetic, `np.exp`, `np.log`, `np.log1p`, `np.expm1`, `np.sqrt` and `np.logaddexp` work
    with other jets and with arrays.

    Example:
        >>> x = Jet.parameter(np.array([[2.0]]), 0)
        >>> y = np.exp(3 * x) / x
        >>> bool(np.isclose(y.gradient[0, 0, 0], np.exp(6.0) * (3 / 2 - 1 / 4)))
        True
    """

    __slots__ = ("active", "gradient", "hessian", "value")

    def __init__(self, value: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, active: tuple[int, ...]):
        self.value = value
        self.gradient = gradient
        self.hessian = hessian
        self.active = active

    @classmethod
    def parameter(cls, value: np.ndarray, number: int) -> Jet:
        """Return a parameter, [problems, 1], as a jet of itself."""
        shape = np.shape(value)
        return cls(np.asarray(value, dtype=float), np.ones((*shape, 1)), np.zeros((*shape, 1, 1)), (number,))

    def spread(self, active: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Return gradient and Hessian over a larger set of parameters."""
        if active == self.active:
            return self.gradient, self.hessian
        at = np.array([active.index(number) for number in self.active])
        shape = self.value.shape
        gradient, hessian = np.zeros((*shape, len(active))), np.zeros((*shape, len(active), len(active)))
        gradient[..., at] = self.gradient
        hessian[..., at[:, None], at] = self.hessian
        return gradient, hessian

    def _map(self, value: np.ndarray, first: np.ndarray, second: np.ndarray) -> Jet:
        """Return f(self) from f, f' and f'' at its value."""
        outer = self.gradient[..., :, None] * self.gradient[..., None, :]
        hessian = first[..., None, None] * self.hessian + second[..., None, None] * outer
        return Jet(value, first[..., None] * self.gradient, hessian, self.active)

    def exp(self) -> Jet:
        """Return e to this power."""
        value = np.exp(self.value)
        return self._map(value, value, value)

    def log(self) -> Jet:
        """Return the natural logarithm."""
        return self._map(np.log(self.value), 1 / self.value, -1 / self.value**2)

    def softplus(self) -> Jet:
        """Return log(1 + exp(self))."""
        with np.errstate(over="ignore"):  # far below zero the share is zero
            share = 1 / (1 + np.exp(-self.value))
        return self._map(np.logaddexp(0, self.value), share, share * (1 - share))

    def exprel(self) -> Jet:
        """Return (exp(self) - 1) / self, smooth at zero."""
        return self._map(*exprel_derivatives(self.value))

    def reciprocal(self) -> Jet:
        """Return 1 over it."""
        inverse = 1 / self.value
        return self._map(inverse, -(inverse**2), 2 * inverse**3)

    def __neg__(self) -> Jet:
        return Jet(-self.value, -self.gradient, -self.hessian, self.active)

    def __add__(self, other: Any) -> Jet:
        if not isinstance(other, Jet):
            value = self.value + other
            ones = np.ones((*value.shape, 1))
            return Jet(value, self.gradient * ones, self.hessian * ones[..., None], self.active)
        active = tuple(sorted({*self.active, *other.active}))
        (g1, h1), (g2, h2) = self.spread(active), other.spread(active)
        return Jet(self.value + other.value, g1 + g2, h1 + h2, active)

    def __mul__(self, other: Any) -> Jet:
        if not isinstance(other, Jet):
            other = np.asarray(other, dtype=float)
            return Jet(
                self.value * other, self.gradient * other[..., None], self.hessian * other[..., None, None], self.active
            )
        active = tuple(sorted({*self.active, *other.active}))
        (g1, h1), (g2, h2) = self.spread(active), other.spread(active)
        v1, v2 = self.value, other.value
        cross = g1[..., :, None] * g2[..., None, :]
        return Jet(
            v1 * v2,
            v2[..., None] * g1 + v1[..., None] * g2,
            v2[..., None, None] * h1 + v1[..., None, None] * h2 + cross + np.swapaxes(cross, -1, -2),
            active,
        )

    def __pow__(self, power: Any) -> Jet:
        if isinstance(power, Real):
            power, v = float(power), self.value
            if power == 1:
                return self
            return self._map(v**power, power * v ** (power - 1), power * (power - 1) * v ** (power - 2))
        return (self.log() * power).exp()

    def __rpow__(self, base: Any) -> Jet:
        return (self * np.log(base)).exp()

    def __sub__(self, other: Any) -> Jet:
        return self + (-other)

    def __rsub__(self, other: Any) -> Jet:
        return -self + other

    def __truediv__(self, other: Any) -> Jet:
        return self * (other.reciprocal() if isinstance(other, Jet) else 1 / np.asarray(other, dtype=float))

    def __rtruediv__(self, other: Any) -> Jet:
        return self.reciprocal() * other

    __radd__, __rmul__ = __add__, __mul__

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Let NumPy's functions take jets."""
        work = _UFUNCS.get(ufunc.__name__)
        if method != "__call__" or options or work is None:
            return NotImplemented
        return work(*inputs)


def exprel(x: Any) -> Any:
    """Return (exp(x) - 1) / x of a jet or an array, 1 at zero.

    Example:
        >>> exprel(np.array([0.0, 1e-9, 1.0])).round(3).tolist()
        [1.0, 1.0, 1.718]
    """
    return x.exprel() if isinstance(x, Jet) else exprel_derivatives(np.asarray(x))[0]


def exprel_derivatives(x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (e^x - 1) / x and its first two derivatives: by their series near zero, where the quotients cancel."""
    shape, x = np.shape(x), np.atleast_1d(x)
    near = np.abs(x) < 0.05
    far = np.where(near, 1.0, x)
    value = np.expm1(far) / far
    first = (np.exp(far) - value) / far
    second = (np.exp(far) - 2 * first) / far
    if near.any():
        for order, out in enumerate((value, first, second)):
            coefficients = [1 / (factorial(k) * (k + 1 + order)) for k in reversed(range(9))]
            out[near] = np.polyval(coefficients, x[near])
    return value.reshape(shape), first.reshape(shape), second.reshape(shape)


def _logaddexp(a: Any, b: Any) -> Jet:
    return a + _softplus(b - a)


def _softplus(x: Any) -> Any:
    return x.softplus() if isinstance(x, Jet) else np.logaddexp(0, x)


def _reflected(name: str, mirrored: str) -> Callable[[Any, Any], Any]:
    """Return a binary operation of which either side may be the jet."""
    return lambda a, b: getattr(a, name)(b) if isinstance(a, Jet) else getattr(b, mirrored)(a)


_UFUNCS: dict[str, Callable[..., Any]] = {
    "exp": Jet.exp,
    "log": Jet.log,
    "log1p": lambda x: (x + 1.0).log(),
    "expm1": lambda x: x.exp() - 1.0,
    "sqrt": lambda x: x**0.5,
    "negative": Jet.__neg__,
    "logaddexp": _logaddexp,
    "add": _reflected("__add__", "__radd__"),
    "subtract": _reflected("__sub__", "__rsub__"),
    "multiply": _reflected("__mul__", "__rmul__"),
    "divide": _reflected("__truediv__", "__rtruediv__"),
    "power": _reflected("__pow__", "__rpow__"),
}
