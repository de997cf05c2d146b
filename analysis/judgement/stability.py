"""How much a fit leans on some of its runs: it is made again without each of them, and on windows of compute.

- Influence: without each run, each size and each budget, what a of N* ~ C^a and N* become. All refits are one batch of
  Newton's method from the full fit, exact rather than to first order (Cook 1977 for the idea).
- Drift: the same law on the runs above each cut in C, and below. A law that holds gives one exponent; a drift says that
  it is only a local description (arXiv 2404.10102 finds a = 0.60 below 1e20 and 0.51 on all of Chinchilla's runs).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.approaches.optimum import Spending, local_exponents, optimal_log_n
from analysis.approaches.parametric import refit
from analysis.data.table import RunTable
from analysis.engine.resampling import Sample
from analysis.estimates import Estimate
from analysis.laws import Law
from scaling.units import format_count, format_flops

SAME = 0.02
"""Sizes or budgets whose logarithms differ by less are one."""
MOST_LEFT_OUT = 400
"""With more rows than this, single runs are left out only among those of the largest residuals."""
WINDOWS = (0.25, 0.5, 0.75)
"""Quantiles of log C that windows end or start at."""
LEAST_SPAN = 3.0
"""Ratio of the largest C of a window to the smallest: a single budget tells nothing of growth with C."""
ROWS_PER_PARAMETER = 2


@dataclass(frozen=True, kw_only=True)
class Without:
    """The fit without some runs."""

    kind: str
    """`run`, `size` or `budget`."""
    name: str
    rows: int
    a: float
    """Local exponent of N* in the middle of the recorded C."""
    n: float
    """N* at the budget."""
    shift: float
    """|change of log N*| over the half-width of its interval; NaN without one."""

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return {"kind": self.kind, "name": self.name, "rows": self.rows, "a": self.a, "N": self.n, "shift": self.shift}


@dataclass(frozen=True, kw_only=True)
class Window:
    """The fit on a window of compute."""

    low: float
    high: float
    """Smallest and largest C."""
    rows: int
    a: float
    n: float
    converged: bool

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "low": self.low, "high": self.high, "rows": self.rows, "a": self.a, "N": self.n, "converged": self.converged
        }  # fmt: skip


def influence(
    table: RunTable, sample: Sample, law: Law, spending: Spending, *, middle: float, budget: float, answer: Estimate
) -> list[Without]:
    """Return the fit without each run, size and budget, the largest shift of N* first.

    Args:
        table: The runs.
        sample: The fit.
        law: Its law.
        spending: What a budget buys.
        middle: FLOPs at which a is taken.
        budget: FLOPs at which N* is taken.
        answer: N* there, with its interval.

    Returns:
        Nothing where too few runs would be left, of which `too_few_to_leave_out` says more.
    """
    groups = [group for group in _groups(table, sample) if table.used - len(group[2]) > len(sample.theta)]
    if not groups:
        return []
    everyone = np.arange(table.used)
    ends = refit(sample, [np.delete(everyone, rows) for _, _, rows in groups])
    theta = np.where(ends.converged[:, None], ends.theta, np.nan)
    a, n = local_exponents(law, theta, spending, middle)[0], np.exp(optimal_log_n(law, theta, spending, budget))
    half = np.log(answer.high / answer.low) / 2 if answer.low and answer.high else 0.0
    half = half or float("nan")  # an interval of no width is none to leave
    shift = np.abs(np.log(n / answer.value)) / half
    found = [
        Without(kind=kind, name=name, rows=len(rows), a=float(a[i]), n=float(n[i]), shift=float(shift[i]))
        for i, (kind, name, rows) in enumerate(groups)
    ]
    return sorted(found, key=lambda item: -np.nan_to_num(abs(np.log(item.n / answer.value)), nan=np.inf))


def drift(
    table: RunTable, sample: Sample, law: Law, spending: Spending, *, middle: float, budget: float
) -> list[Window]:
    """Return the fit on all runs, then on windows that start and end at quantiles of log C.

    The arguments are those of `influence`. Nothing is returned where no window has the runs or the span for a fit.
    """
    log_c = np.log(table.runs["C"].to_numpy())
    windows = [np.ones(table.used, dtype=bool)]
    for cut in WINDOWS:
        place = np.quantile(log_c, cut)
        windows += [log_c <= place, log_c >= place]
    kept = [
        rows
        for rows in windows
        if rows.sum() >= ROWS_PER_PARAMETER * len(sample.theta) and np.ptp(log_c[rows]) > np.log(LEAST_SPAN)
    ]
    if not kept:
        return []
    ends = refit(sample, kept)
    a, n = local_exponents(law, ends.theta, spending, middle)[0], optimal_log_n(law, ends.theta, spending, budget)
    return [
        Window(
            low=float(np.exp(log_c[rows].min())),
            high=float(np.exp(log_c[rows].max())),
            rows=int(rows.sum()),
            a=float(a[i]),
            n=float(np.exp(n[i])),
            converged=bool(ends.converged[i]),
        )
        for i, rows in enumerate(kept)
    ]


def too_few_to_leave_out(rows: int, parameters: int) -> str:
    """Return why no run can be left out of a fit, or nothing.

    Example:
        >>> too_few_to_leave_out(6, 5), too_few_to_leave_out(7, 5)
        ('6 runs for 5 parameters: no law can be fitted without one of them', '')
    """
    if rows - 1 > parameters:
        return ""
    return f"{rows} runs for {parameters} parameters: no law can be fitted without one of them"


def no_window(rows: int, parameters: int) -> str:
    """Return why there is no window of compute to fit.

    Example:
        >>> no_window(6, 5), no_window(10, 5)
        ('6 runs: a window needs 10', 'the runs span less than 3 x in C')
    """
    least = ROWS_PER_PARAMETER * parameters
    return f"{rows} runs: a window needs {least}" if rows < least else f"the runs span less than {LEAST_SPAN:g} x in C"


@dataclass(frozen=True, kw_only=True)
class Direction:
    """The combination of parameters that the runs fix least."""

    condition: float
    """Largest over smallest eigenvalue of the scaled Hessian J^T J of log L by theta."""
    eigenvalues: list[float]
    loads: dict[str, float]
    """Its part of each parameter, the largest being 1 or -1."""
    spread: float
    """Standard deviation along it, in units of the largest load's theta."""

    def to_dict(self) -> dict[str, object]:
        """Return plain values."""
        return {
            "condition": self.condition, "eigenvalues": self.eigenvalues, "sloppy": self.loads, "spread": self.spread
        }  # fmt: skip


def sloppiest(sample: Sample, law: Law) -> Direction:
    """Return the direction of theta that the runs fix least (Transtrum et al. 2015, arXiv 1501.07668).

    The eigenvector of J^T J, J = d log L / d theta, of the smallest eigenvalue: moving theta along it changes the
    predictions least. In logarithms of coefficients and plain exponents, as theta holds them.
    """
    jacobian = sample.surface.jacobian(sample.theta) * sample.root[:, None]
    values, vectors = np.linalg.eigh(jacobian.T @ jacobian)
    loads = vectors[:, 0] / vectors[np.argmax(np.abs(vectors[:, 0])), 0]
    rows, parameters = jacobian.shape
    sigma = np.sqrt(((sample.residuals * sample.root) ** 2).sum() / max(1, rows - parameters))
    smallest = max(float(values[0]), 1e-300)
    names = [f"log {name}" if name in law.positive else name for name in law.parameters]
    return Direction(
        condition=float(values[-1]) / smallest,
        eigenvalues=[float(v) for v in values[::-1]],
        loads={name: float(load) for name, load in zip(names, loads, strict=True)},
        spread=float(sigma / np.sqrt(smallest) * np.abs(vectors[:, 0]).max()),
    )


def _groups(table: RunTable, sample: Sample) -> list[tuple[str, str, np.ndarray]]:
    """Return (kind, name, rows) of what is left out in turn."""
    runs = table.runs
    everyone = np.arange(table.used)
    if table.used > MOST_LEFT_OUT:
        everyone = np.argsort(-np.abs(sample.residuals), kind="stable")[:MOST_LEFT_OUT]
    found = [("run", str(runs["row"].iloc[i]), np.array([i])) for i in everyone]
    for kind, column in (("size", "N"), ("budget", "C")):
        values = np.log(runs[column].to_numpy())
        order = np.argsort(values, kind="stable")
        parts = np.split(order, np.flatnonzero(np.diff(values[order]) > SAME) + 1)
        if 2 <= len(parts) <= len(runs) / 2:
            show = format_count if kind == "size" else format_flops
            found += [(kind, show(float(np.exp(values[rows].mean()))), rows) for rows in parts]
    return found
