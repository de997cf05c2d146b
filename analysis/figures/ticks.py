"""Where the labels of logarithmic axes stand: as many as there is room for, at round numbers of the unit shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.ticker import Locator, MaxNLocator

ROOM = {"x": 0.5, "y": 0.28}
"""Inches that a label needs along each axis."""
FEWEST = 2


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
        box = axis.axes.get_window_extent()
        inches = (box.width if axis.axis_name == "x" else box.height) / axis.get_figure(root=True).dpi
        return max(FEWEST, min(9, int(inches / ROOM[axis.axis_name])))


def log_ticks(low: float, high: float, most: int) -> np.ndarray:
    """Return at most `most` round numbers between two ends, and two at least.

    Example:
        >>> log_ticks(3e3, 6e4, 5).tolist(), log_ticks(1e17, 1e25, 4).tolist()
        ([5000.0, 10000.0, 20000.0, 50000.0], [1e+17, 1e+20, 1e+23])
    """
    first, last = int(np.floor(np.log10(low))), int(np.ceil(np.log10(high)))
    decades = [
        [float(f"1e{e}") for e in range(first, last + 1) if (e - first) % stride == 0] for stride in range(1, 40)
    ]
    ladders = [[t * sub for t in decades[0] for sub in subs] for subs in ((1, 2, 3, 5), (1, 2, 5), (1, 3))] + decades
    inside = [[t for t in ladder if low * (1 - 1e-9) <= t <= high * (1 + 1e-9)] for ladder in ladders]
    enough = [ticks for ticks in inside if len(ticks) >= FEWEST]
    if enough:
        return np.array(next((ticks for ticks in enough if len(ticks) <= most), enough[-1]))
    even = np.asarray(MaxNLocator(max(FEWEST, min(most, 4)), steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
    return even[(even >= low) & (even <= high)]
