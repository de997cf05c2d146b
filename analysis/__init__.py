"""What the runs say: load, fit, answer.

>>> from analysis import fit, load
>>> print(fit(load("runs.csv")[0]).summary().splitlines()[0])
runs.csv: 15 of 15 runs used (n = params, d = tokens, c = flops, loss = loss)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.comparison.compare import compare
    from analysis.comparison.metrics import MetricFits, fit_metrics
    from analysis.data.loading import load
    from analysis.fitting import Fit, fit
    from analysis.laws import CustomLaw
    from analysis.store import load_fit, save_fit

_HOMES = {
    "CustomLaw": "laws", "Fit": "fitting", "MetricFits": "comparison.metrics", "compare": "comparison.compare",
    "fit": "fitting", "fit_metrics": "comparison.metrics", "load": "data.loading", "load_fit": "store",
    "save_fit": "store",
}  # fmt: skip

__all__ = ["CustomLaw", "Fit", "MetricFits", "compare", "fit", "fit_metrics", "load", "load_fit", "save_fit"]


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that the commands start without pandas and SciPy."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(f"analysis.{_HOMES[name]}"), name)
    message = f"module 'analysis' has no attribute {name!r}"
    raise AttributeError(message)
