"""Where the labels of logarithmic axes stand: as many as there is room for, at round numbers of the unit shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rcParams
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import Locator, MaxNLocator

ROOM = {"x": 0.5, "y": 0.28}
"""Inches that a label needs along each axis."""
FEWEST = 2
NEAREST = 0.75
"""How close two labels may be, over the room of one."""
DIGIT, POINTS_AN_INCH = 0.5, 72.0
"""Width of a digit over the size of its type, and what that is measured in."""


class LogTicks(Locator):
    """Decades, 1-2-5 within decades, or evenly spaced numbers: the densest that has room.

    Args:
        unit: What one of the shown unit is on the axis (180,000 frames an hour, where hours are shown).
    """

    def __init__(self, unit: float = 1.0) -> None:
        self.unit = unit

    def __call__(self) -> Any:
        """Return the ticks within the view."""
        assert self.axis is not None
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Return the ticks between two ends."""
        low, high = sorted((vmin / self.unit, vmax / self.unit))
        if not low > 0 or not np.isfinite(high):
            return np.array([])
        return self.unit * log_ticks(low, high, self._room())

    def _room(self) -> int:
        """Return how many labels fit along the axis."""
        axis: Any = self.axis
        if not hasattr(axis, "axis_name"):
            return 5
        return max(FEWEST, min(9, int(_inches(axis) / ROOM[axis.axis_name])))


class EvenTicks(Locator):
    """Evenly spaced round numbers along x, as many as have room beside each other with all their digits."""

    def __call__(self) -> Any:
        """Return the ticks within the view."""
        assert self.axis is not None
        return self.tick_values(*self.axis.get_view_interval())

    def tick_values(self, vmin: float, vmax: float) -> Any:
        """Return the ticks between two ends."""
        axis: Any = self.axis
        size = FontProperties(size=rcParams["xtick.labelsize"]).get_size_in_points()
        for most in (4, 3, 2, 1):
            ticks = _even(vmin, vmax, most, steps=(1, 2, 2.5, 3, 4, 5, 6, 8, 10))
            if len(ticks) < 2:
                break
            longest = max(map(len, axis.get_major_formatter().format_ticks(ticks)))
            apart = POINTS_AN_INCH * _inches(axis) * (ticks[1] - ticks[0]) / (vmax - vmin)
            if (longest + 1.5) * DIGIT * size <= apart:
                break
        return ticks


def _inches(axis: Any) -> float:
    """Return the length of an axis."""
    box = axis.axes.get_window_extent()
    return float(box.width if axis.axis_name == "x" else box.height) / axis.axes.figure.dpi


def _even(low: float, high: float, most: int, steps: Sequence[float] = (1, 2, 2.5, 5, 10)) -> np.ndarray:
    """Return evenly spaced round numbers between two ends, in at most so many steps."""
    even = np.asarray(MaxNLocator(most, steps=steps).tick_values(low, high))
    return even[(even >= low) & (even <= high)]


def log_ticks(low: float, high: float, most: int) -> np.ndarray:
    """Return at most `most` round numbers between two ends, nowhere much closer than even ones; two at least.

    Example:
        >>> log_ticks(3e3, 6e4, 5).tolist(), log_ticks(1e17, 1e25, 4).tolist()
        ([5000.0, 10000.0, 20000.0, 50000.0], [1e+17, 1e+20, 1e+23])
    """
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    decades = [float(f"1e{e}") for e in range(first, last + 1)]
    ladders = [[t * sub for t in decades for sub in subs] for subs in ((1, 2, 3, 5), (1, 2, 5), (1, 3), (1,))]
    inside = [[t for t in ladder if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)] for ladder in ladders]
    inside += [inside[-1][::stride] for stride in range(2, len(inside[-1]))]
    enough = [ticks for ticks in inside if len(ticks) >= FEWEST]
    if enough:
        least = NEAREST * np.log(high / low) / most
        fit = (ticks for ticks in enough if len(ticks) <= most and np.diff(np.log(ticks)).min() >= least)
        return np.array(next(fit, _thinned(enough[-1], most)))
    return np.array(_thinned(_even(low, high, max(FEWEST, min(most, 4))).tolist(), most))


def _thinned(ticks: list[float], most: int) -> list[float]:
    """Return every other of the ticks, or every third and so on, where they are too many."""
    return ticks[:: max(1, -(-len(ticks) // most))]
