"""Tails and quantiles of the distributions that tests need, straight from `scipy.special`.

The same numbers as those of `scipy.stats`, whose import takes longer than a fit.
"""

from __future__ import annotations

from scipy import special


def t_tail(value: float, degrees: float) -> float:
    """Return P(t > value).

    Example:
        >>> round(t_tail(2.571, 5), 3)
        0.025
    """
    return float(special.stdtr(degrees, -value))


def t_quantile(level: float, degrees: float) -> float:
    """Return the value that t stays below with a probability.

    Example:
        >>> round(t_quantile(0.975, 5), 3)
        2.571
    """
    return float(special.stdtrit(degrees, level))


def f_tail(value: float, above: float, below: float) -> float:
    """Return P(F > value), with the degrees of freedom above and below the line.

    Example:
        >>> round(f_tail(4.965, 1, 10), 3)
        0.05
    """
    return float(special.fdtrc(above, below, value))


def chi2_tail(value: float, degrees: float) -> float:
    """Return P(chi^2 > value).

    Example:
        >>> round(chi2_tail(3.841, 1), 3)
        0.05
    """
    return float(special.chdtrc(degrees, value))


def normal_tail(value: float) -> float:
    """Return P(z > value).

    Example:
        >>> round(normal_tail(1.96), 3)
        0.025
    """
    return float(special.ndtr(-value))
