"""The compute multiplier between two recipes, as numbers and as a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.approaches.parametric import Parametric
from analysis.comparison.recipes import Shared
from analysis.estimates import Estimate
from scaling.units import format_flops

BOTH, DATA = "size and data", "data"
"""The forms of `analysis.comparison.compare`."""
DOUBTFUL = 0.05
"""A p-value below this speaks against what was supposed."""
MAX_FAILED = 0.1
"""Share of failed draws that is worth a warning."""
OUTSIDE = 1.5
"""Compute beyond the recorded by more than this factor is worth a warning."""
MANY_PLACES = 4


@dataclass(frozen=True, kw_only=True)
class Multiplier:
    """What recipe B needs of what A needs, for the same loss."""

    names: tuple[str, str]
    """A, B."""
    compute: Estimate
    """m(C), the headline."""
    data: Estimate | None
    """m of the data form; None where that has no certified fit."""
    rho_n: Estimate
    rho_d: Estimate
    form: str
    """Behind the headline: `size and data`, or `data` where only that is certified."""
    budget: float
    """C, FLOPs of A."""
    path: list[tuple[float, Estimate]]
    """m at the ends of the shared compute range, and at C."""
    cost: str
    """What C counts."""
    tests: dict[str, float | None]
    """p-values: `data_alone` (rho_N = 1), `one_floor`, `one_set_of_exponents`; None where no fit could tell."""
    pairs: int
    rows: tuple[int, int]
    method: str
    level: float
    failed: int
    fitted: Parametric
    """The shared law, with its draws."""
    warnings: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        law, theta = self.fitted.law, self.fitted.theta
        assert isinstance(law, Shared)
        recipes = {
            name: law.base.natural(law.of(theta, second=b)) for name, b in zip(self.names, (False, True), strict=True)
        }
        return {
            "reference": self.names[0],
            "recipe": self.names[1],
            "multiplier": self.compute.to_dict(),
            "form": self.form,
            "budget": self.budget,
            "cost": self.cost,
            "path": [{"budget": budget, **estimate.to_dict()} for budget, estimate in self.path],
            "data_multiplier": self.data.to_dict() if self.data else None,
            "rho_N": self.rho_n.to_dict(),
            "rho_D": self.rho_d.to_dict(),
            "tests": dict(self.tests),
            "pairs": self.pairs,
            "rows": list(self.rows),
            "intervals": {
                "level": self.level, "method": self.method, "draws": len(self.fitted.draws), "failed": self.failed,
            },
            "law": law.name,
            "equation": law.equation,
            "objective": {
                "name": self.fitted.objective.name, "delta": self.fitted.objective.delta,
                "value": self.fitted.value, "n": self.fitted.rows,
            },
            "params": {name: {key: float(v) for key, v in values.items()} for name, values in recipes.items()},
            "certificate": self.fitted.certificate.to_dict(),
            "warnings": self.warnings,
        }  # fmt: skip

    def summary(self) -> str:
        """Return the multiplier as text, the answer in its first line."""
        a, b = self.names
        lines = [
            f"{b} needs {_times(self.compute)} the compute of {a} ({100 * self.level:g} %, {self.method}; on "
            f"{self.cost}, at {format_flops(self.budget)} FLOPs)"
        ]
        if len({round(estimate.value, 2) for _, estimate in self.path}) > 1:
            lines.append("  along the compute: " + ", ".join(f"{_times(m)} at {format_flops(c)}" for c, m in self.path))
        if self.data:
            verdict = {None: "", True: ": a gain in data alone suffices", False: ": but the gain is not in data alone"}
            p = self.tests["data_alone"]
            lines.append(
                f"  at the same size {b} needs {_times(self.data)} the data"
                + verdict[None if p is None else p >= DOUBTFUL]
                + said(p)
            )
        lines.append(f"  efficiencies: rho_N {_times(self.rho_n, '')}, rho_D {_times(self.rho_d, '')}")
        lines += [f"  warning: {warning['message']}" for warning in self.warnings]
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Recipes against the first of them."""

    pairs: list[Multiplier]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {"pairs": [pair.to_dict() for pair in self.pairs]}

    def summary(self) -> str:
        """Return all multipliers as text."""
        return "\n".join(pair.summary() for pair in self.pairs)


def cautions(
    found: Multiplier, ranges: Sequence[tuple[float, float]], *, reason: str, costs: Mapping[str, str]
) -> list[dict[str, str]]:
    """Return what to beware of, {code, message} each.

    Args:
        found: The multiplier.
        ranges: Least and most compute of each recipe's runs.
        reason: Why the form of size and data has no certified fit.
        costs: What to beware of in the costs, code -> message.
    """
    a, b = found.names
    noticed: dict[str, str] = {}
    if found.form != BOTH:
        noticed["data-form"] = f"the multiplier supposes a gain in data alone, the runs fix no other: {reason}"
    for test, what, on in (("one_floor", "floors", "loss"), ("one_set_of_exponents", "exponents", "scale")):
        if (p := found.tests[test]) is not None and p < DOUBTFUL:
            noticed[f"own-{what}"] = (
                f"{a} and {b} seem to have {what} of their own{said(p)}: the multiplier depends on the {on}"
            )
    if max(least for least, _ in ranges) > min(most for _, most in ranges):
        noticed["no-overlap"] = f"no compute lies within the runs of both: {a} or {b} is extrapolated"
    else:
        for name, spent, (least, most) in zip(found.names, (1.0, found.compute.value), ranges, strict=True):
            if not least / OUTSIDE <= found.budget * spent <= most * OUTSIDE:
                noticed["outside"] = f"{format_flops(found.budget * spent)} FLOPs lie outside the runs of {name}"
    noticed.update(costs)
    if found.failed > MAX_FAILED * (found.failed + len(found.fitted.draws)):
        noticed["failed-draws"] = f"{found.failed} draws found no minimum: the interval leaves them out"
    return [{"code": code, "message": message} for code, message in noticed.items()]


def drawn_over(pairs: int, rows: int, cluster: str | None) -> str:
    """Return how the draws were made, as it is printed."""
    single = rows - 2 * pairs
    over = [f"{pairs} pair{'s' * (pairs > 1)}"] * (pairs > 0)
    over += [f"{single} run{'s' * (single > 1)}" + " without a pair" * (pairs > 0)] * (single > 0)
    return f"wild bootstrap over {' and '.join(over)}" + (f" clustered by {cluster}" if cluster else "")


def _times(estimate: Estimate, sign: str = "x") -> str:
    """Return an estimate with its interval, to as many places as its width allows.

    Example:
        >>> _times(Estimate(value=0.7217, low=0.6611, high=0.79)), _times(Estimate(value=0.7, low=0.69, high=None), "")
        ('0.72x [0.66, 0.79]', '0.70 [0.69, open]')
    """
    places = 2
    if estimate.low is not None and estimate.high is not None and estimate.high - estimate.low > 10**-MANY_PLACES:
        places = int(np.clip(1 + np.ceil(-np.log10(estimate.high - estimate.low)), 2, MANY_PLACES))
    low, high = ("open" if end is None else f"{end:.{places}f}" for end in (estimate.low, estimate.high))
    return f"{estimate.value:.{places}f}{sign} [{low}, {high}]"


def said(p: float | None) -> str:
    """Return a p-value in brackets, or nothing."""
    return "" if p is None else f" (p = {p:.2g})"
