"""What a figure is drawn from: a group of runs, mostly with the fit that was made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from analysis.comparison.joint import sample_of
from analysis.data.points import Points
from analysis.engine.resampling import Sample
from analysis.estimates import level_text

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from analysis.data.table import RunTable
    from analysis.fitting import Fit


Result = TypeVar("Result")


def kept(function: Callable[[Study], Result]) -> Callable[[Study], Result]:
    """Let a function of a study work once for each study, which keeps the result as long as it lives."""

    @wraps(function)
    def once(study: Study) -> Result:
        found = study.results
        if function not in found:
            found[function] = function(study)
        return found[function]

    return once


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Runs that belong together, whether or not they allow a fit."""

    table: RunTable
    metrics: Mapping[str, Study] = field(default_factory=dict)
    """Fits of metrics of the same runs."""

    @property
    def runs(self) -> pd.DataFrame:
        """The rows that can be used."""
        return self.table.runs

    @property
    def name(self) -> str:
        """The group's label, or the name of the input."""
        return self.table.label or Path(str(self.table.source.get("path", "runs"))).name


@dataclass(frozen=True, kw_only=True, eq=False)
class Study(Group):
    """A fit and its table; one object is one study, so that what is worked out of it can be kept."""

    fit: Fit

    @cached_property
    def results(self) -> dict[Any, Any]:
        """What `kept` functions have worked out of it."""
        return {}

    @property
    def law_stands(self) -> bool:
        """Whether the law carries its certificate, and costs are known."""
        return self.fit.parametric.certified and self.fit.spending is not None

    @property
    def has_curves(self) -> bool:
        """Whether any budget has sizes enough for a curve."""
        return any(p.status != "too-few" for p in self.fit.isoflop.parabolas)

    @property
    def allocates(self) -> bool:
        """Whether the law splits a budget between size and data."""
        return self.law_stands and self.fit.parametric.law.allocates

    @cached_property
    def points(self) -> Points:
        """The runs' logarithms."""
        return Points.of_table(self.table)

    @cached_property
    def log_residuals(self) -> np.ndarray:
        """Log L - log L_hat of every run, by the law."""
        return np.log(self.runs["loss"].to_numpy()) - self.fit.parametric.log_loss(self.points)

    @cached_property
    def sample(self) -> Sample:
        """The fit as its objective's derivatives need it; only for a law that stands."""
        return sample_of(self.table, self.fit)

    def band_label(self, approach: str) -> str:
        """Return what a band is: its level and how it was made, as `95 % (residual bootstrap)`."""
        method = self.fit.isoflop.intervals if approach == "isoflop" else self.fit.parametric.method
        return f"{level_text(self.fit.level)} ({method})" if method else ""

    def bands(self, approach: str) -> str:
        """Return what a caption says of an approach's bands: nothing where there are no draws."""
        label = self.band_label(approach)
        return f", bands: {label}" if label else ""
