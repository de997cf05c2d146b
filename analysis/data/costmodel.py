"""What a unit of data costs at a size: FLOPs a frame (or token) as a function of N, from the runs themselves.

A front end, attention and a head make C / (N D) anything but constant (53 at 6 M to 7.5 at 317 M for speech with a
convolutional front end), so the recorded costs are interpolated along the sizes:

    C = k(N) D,    log k a monotone cubic (PCHIP) in log N through the recorded sizes, beyond them a straight line
    with the slope of the end.

A smooth interpolant matters: at a kink of a piecewise line the optimum would stick. Only a table without C falls
back to k(N) = 6 N.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.data.table import RunTable

if TYPE_CHECKING:
    from scipy.interpolate import PchipInterpolator

SAME_SIZE = 0.02
"""Distance in log N within which sizes share a knot."""


@dataclass(frozen=True)
class CostModel:
    """k(N) through knots, in logarithms."""

    log_n: np.ndarray
    """Knots, ascending."""
    log_k: np.ndarray
    kind: str
    """`recorded` or `assumed`."""

    @classmethod
    def of(cls, table: RunTable) -> CostModel:
        """Return the cost model of a table: the median C / D of every size, or k N.

        Sizes within 2 % of each other are one knot: a jump between two shapes of nearly one size is no slope.
        """
        if table.cost == "assumed":
            ends = np.log(np.array([table.runs["N"].min(), 2 * table.runs["N"].max()]))
            return cls(ends, ends + np.log(table.flops_per_param_token), "assumed")
        log_n = np.log(table.runs["N"].to_numpy())
        log_k = np.log(table.runs["C"].to_numpy() / table.runs["D"].to_numpy())
        order = np.argsort(log_n, kind="stable")
        breaks = np.flatnonzero(np.diff(log_n[order]) > SAME_SIZE) + 1
        knots = np.array([(log_n[rows].mean(), np.median(log_k[rows])) for rows in np.split(order, breaks)])
        return cls(knots[:, 0], knots[:, 1], "recorded")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> CostModel:
        """Return the cost model that `to_dict` wrote."""
        knots = np.array(values["knots"], dtype=float)
        return cls(np.log(knots[:, 0]), np.log(knots[:, 1]), values["kind"])

    def to_dict(self) -> dict[str, Any]:
        """Return kind, knots [N, FLOPs a unit of data], and how far C / (N D) varies."""
        knots = np.exp(np.stack([self.log_n, self.log_k], axis=1))
        return {"kind": self.kind, "knots": knots.tolist(), "spread": self.spread}

    def log_cost(self, log_n: np.ndarray) -> np.ndarray:
        """Return log k at log N."""
        x, y = self.log_n, self.log_k
        log_n = np.asarray(log_n, dtype=float)
        if len(x) == 1:  # one size: the cost a parameter is taken as constant
            return y[0] + (log_n - x[0])
        if len(x) == 2:
            return y[0] + (log_n - x[0]) * (y[1] - y[0]) / (x[1] - x[0])
        low, high = self._slopes
        inside = self._curve(np.clip(log_n, x[0], x[-1]))
        return inside + np.minimum(log_n - x[0], 0) * low + np.maximum(log_n - x[-1], 0) * high

    def log_data(self, log_n: np.ndarray, budget: float) -> np.ndarray:
        """Return log D that a budget buys at log N."""
        return np.log(budget) - self.log_cost(log_n)

    @property
    def spread(self) -> float:
        """Ratio of the largest C / (N D) to the smallest over the sizes: 1 where C = k N D."""
        per_param = self.log_k - self.log_n
        return float(np.exp(per_param.max() - per_param.min()))

    @cached_property
    def _curve(self) -> PchipInterpolator:
        from scipy.interpolate import PchipInterpolator  # a quarter of a second that a table without C does not need

        return PchipInterpolator(self.log_n, self.log_k)

    @cached_property
    def _slopes(self) -> tuple[float, float]:
        """Return the slopes at the two ends."""
        low, high = self._curve.derivative()(self.log_n[[0, -1]])
        return float(low), float(high)
