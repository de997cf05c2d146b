"""A number with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


def level_text(level: float) -> str:
    """Return the level of an interval in percent.

    Example:
        >>> level_text(0.95), level_text(0.999)
        ('95 %', '99.9 %')
    """
    return f"{100 * level:.6g} %"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its interval; an end is None where it is unbounded or unknown.

    Example:
        >>> Estimate(value=2.0, low=1.5, high=2.5).to_dict()
        {'estimate': 2.0, 'low': 1.5, 'high': 2.5}
    """

    value: float
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, value: float, draws: np.ndarray, level: float) -> Estimate:
        """Return an estimate with the percentile interval of its draws.

        A draw without a value (a parabola that opens downward has no minimum) counts as beyond the end in question
        at both ends, as in Fieller's interval for a ratio: too many of them make the interval unbounded instead of
        too narrow.
        """
        if not len(draws):
            return cls(value=float(value))
        lost = ~np.isfinite(draws)
        tail = (1 - level) / 2
        low = np.quantile(np.where(lost, -np.inf, draws), tail, method="higher" if lost.any() else "linear")
        high = np.quantile(np.where(lost, np.inf, draws), 1 - tail, method="lower" if lost.any() else "linear")
        return cls(value=float(value), low=_finite(low), high=_finite(high))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Estimate:
        """Return the estimate that `to_dict` wrote."""
        return cls(value=values["estimate"], low=values["low"], high=values["high"])

    def exp(self) -> Estimate:
        """Return the estimate of the quantity whose logarithm this is."""
        ends = [None if end is None else float(np.exp(end)) for end in (self.low, self.high)]
        return Estimate(value=float(np.exp(self.value)), low=ends[0], high=ends[1])

    def covering(self, other: Estimate) -> Estimate:
        """Return the estimate with an interval that holds another one, too."""
        low = None if self.low is None or other.low is None else min(self.low, other.low)
        high = None if self.high is None or other.high is None else max(self.high, other.high)
        return Estimate(value=self.value, low=low, high=high)

    def to_dict(self) -> dict[str, Any]:
        """Return estimate, low and high."""
        return {"estimate": self.value, "low": self.low, "high": self.high}


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
