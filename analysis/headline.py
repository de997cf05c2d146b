"""Which approach answers: the isoFLOP minima within their budgets, else the law, else the line through the minima."""

from __future__ import annotations

import numpy as np

from analysis.answers import isoflop_exponents, parametric_exponents
from analysis.approaches.isoflop import IsoFlop
from analysis.approaches.optimum import Spending
from analysis.approaches.parametric import Parametric
from analysis.data.table import RunTable
from scaling.errors import InputError, WorkError
from scaling.units import format_flops

MIN_LINE = 3
"""Bracketed budgets from which a straight line through their minima can contradict a law."""
MANY_BUDGETS = 12


def contradicts(
    isoflop: IsoFlop, parametric: Parametric, spending: Spending | None, middle: float, level: float
) -> bool:
    """Whether the law's interval of a lies apart from that of three bracketed minima or more, on a straight line."""
    if not parametric.certified or not parametric.law.allocates or spending is None:
        return False
    if len(isoflop.bracketed) < MIN_LINE or isoflop.no_line():
        return False
    line = isoflop_exponents(isoflop, level)["a"]
    law = parametric_exponents(parametric, spending, middle, level)["a"]
    if None in (line.low, line.high, law.low, law.high):
        return False
    return bool(law.low > line.high or law.high < line.low)  # type: ignore[operator]


def headline(
    isoflop: IsoFlop, parametric: Parametric, asked: list[float], table: RunTable, *, contradicted: bool
) -> tuple[str, list[float]]:
    """Return the approach behind the answers, and the budgets to answer for."""
    bracketed = [isoflop.parabolas[i].budget for i in isoflop.bracketed]
    if table.cost == "none":
        if asked:
            raise InputError(
                "a budget is asked of a curve over N alone, which has none",
                where="--budget",
                value=format_flops(asked[0]),
                remedy="leave --budget away, or name the columns of C or D",
            )
        if not bracketed:
            raise WorkError(no_fit(isoflop, parametric, table))
        return "isoflop", bracketed
    if bracketed and all(isoflop.spans(budget) for budget in asked):
        return "isoflop", asked or bracketed
    if parametric.certified and parametric.law.allocates and not contradicted:
        return "parametric", asked or _recorded_budgets(table)
    if not bracketed:
        raise WorkError(no_fit(isoflop, parametric, table))
    if why := isoflop.no_line():
        raise WorkError(no_answer(isoflop, parametric, why))
    return "isoflop", asked


def no_answer(isoflop: IsoFlop, parametric: Parametric, why: str) -> str:
    """Return why there is no answer beyond the bracketed budgets."""
    bracketed = [isoflop.parabolas[i].budget for i in isoflop.bracketed]
    return (
        f"no answer beyond the bracketed budgets {', '.join(map(format_flops, bracketed))}: {why}, and "
        f"{parametric.law.equation} "
        + (f"has no certificate ({parametric.reason})" if not parametric.certified else "cannot split a budget")
    )


def _recorded_budgets(table: RunTable) -> list[float]:
    """Return the budgets that the runs name, or the largest recorded C."""
    named = table.runs["budget"].dropna().unique()
    return sorted(map(float, named)) if 0 < len(named) <= MANY_BUDGETS else [float(table.runs["C"].max())]


def no_fit(isoflop: IsoFlop, parametric: Parametric, table: RunTable) -> str:
    """Return why nothing could be fitted."""
    reasons = [
        f"{format_flops(p.budget) if np.isfinite(p.budget) else 'the curve'}: {p.status}, {p.reason}"
        for p in isoflop.parabolas
    ]
    law = f"{parametric.law.equation}: {parametric.certificate.status}, {parametric.reason}"
    return f"{table.source['path']}: {table.used} rows allow no fit\n  " + "\n  ".join([*reasons, law])
