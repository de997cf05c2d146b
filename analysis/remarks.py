"""The warnings of a fit: what a careful reader would remark, each with a code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.answers import isoflop_optimum, parametric_optimum
from analysis.approaches.isoflop import SPREAD
from analysis.data.table import RunTable
from analysis.estimates import level_text
from scaling.units import format_count, format_flops

if TYPE_CHECKING:
    from collections.abc import Callable

    from analysis.fitting import Fit

FAR = 10.0
"""An optimum at more than this times the largest recorded C is a guess."""
DISAGREE = 0.2
"""Difference between the approaches' exponents that is worth a warning."""
MAX_FAILED = 0.1
"""Share of failed bootstrap draws that is worth a warning."""
FAR_APART = 1.5
"""Ratio of two approaches' N* that is worth a warning."""
DRIFT = 0.05
"""How far outside its interval an exponent has to drift, in a window of compute, to be worth a warning."""
SHIFTED = 1.0
"""A run without which N* leaves the half-width of its interval is worth a warning."""
SLOPPY = 1e9
"""Condition number from which the direction that the runs fix least is named."""
SMALL = 1e5
"""Where neither N nor D is larger, they are more likely counted in millions and billions."""
MOST_WORDS = 8
KNOWN_WORDS = (
    "row", "run", "status", "flags", "sweep", "device", "started", "finished", "parent", "reason", "censored",
    "eval_id", "loss_unit", "file", "spec", "seed", "curve",
)  # fmt: skip
"""Columns of records, whose meaning is known."""
COPY = "the same in every column"
TELLING = {
    "trend in N, D and C": "misspecified", "lack of fit": "lack-of-fit", "variance over D/N": "unequal-variance",
}  # fmt: skip
"""Checks of the residuals whose failure changes what to do -> code; the others are among the details."""
ODD_UNITS = 1e3
"""C / (6 N D) further from one than this, and it is not one in units that fit each other."""


def remarks(fit: Fit, table: RunTable) -> list[dict[str, str]]:
    """Return {code, message} of everything that is worth a warning."""
    found: list[dict[str, str]] = []

    def warn(code: str, message: str) -> None:
        found.append({"code": code, "message": message})

    _about_input(fit, table, warn)
    _about_budgets(fit, table, warn)
    if fit.spending is not None:
        _about_law(fit, table, warn)
        _about_limit(fit, warn)
        _about_approaches(fit, warn)
        _about_judgement(fit, warn)
    return found


def _about_input(fit: Fit, table: RunTable, warn: Callable[[str, str], None]) -> None:
    runs = table.runs
    if table.cost == "recorded":
        odd = float(np.exp(np.median(np.log(runs["C"] / (6 * runs["N"] * runs["D"])))))
        if not 1 / ODD_UNITS < odd < ODD_UNITS:
            factor = 10.0 ** round(np.log10(odd))
            warn("units", f"C is {odd:.1e} x 6 N D: is a column in another unit (a factor of {factor:.0e})?")
    copies = [item["row"] for item in fit.excluded if item["reason"].startswith(COPY)]
    if copies:
        warn("duplicates", f"{len(copies)} rows stand twice and count once: {', '.join(copies[:6])}")
    same = runs.duplicated([c for c in ("N", "D", "C", "U", "loss") if c in runs], keep=False)
    if same.any():
        names = ", ".join(map(str, runs["row"][same][:6])) + (" ..." if same.sum() > 6 else "")
        warn("same-loss", f"{same.sum()} rows share size, data and loss, and count as runs of their own: rows {names}")
    if (diverged := sum(item["reason"] == "diverged" for item in fit.excluded)) > 0:
        warn(
            "diverged",
            f"{diverged} runs diverged and are left out: if those are the large ones, N* leans to small sizes",
        )
    for name, values in _unused(runs):
        warn("pooled", f"{name} ({', '.join(values)}) tells runs of one size and data apart: --group {name} fits each")
    if table.cost == "assumed" and runs[["N", "D"]].to_numpy().max() < SMALL:
        most = " and ".join(f"{name} at most {runs[name].max():.4g}" for name in "ND")
        warn("units", f"{most}: if in millions or billions, say so in the names, params_millions, tokens_billions")
    if "flags" in runs and runs["flags"].astype(str).str.contains("untuned").any():
        warn("untuned", "learning rates and batches are untuned: N* may move when they are tuned")


def _unused(runs: pd.DataFrame) -> list[tuple[str, list[str]]]:
    """Return columns of a few words that tell apart runs of the same size and data, with their words."""
    found = []
    for name in map(str, runs.columns):
        if name in KNOWN_WORDS or name.startswith(("model_", "metric_")) or runs[name].dtype.kind not in "OUS":
            continue
        words = sorted({str(value) for value in runs[name].dropna() if isinstance(value, str)})
        if 2 <= len(words) <= MOST_WORDS and runs.groupby(["N", "D"])[name].nunique().gt(1).any():
            found.append((name, words))
    return found


def _about_budgets(fit: Fit, table: RunTable, warn: Callable[[str, str], None]) -> None:
    for budget in fit.budgets:
        if budget > FAR * fit.largest:
            reach = budget / fit.largest
            warn("far", f"{format_flops(budget)} lies {reach:.0f}x beyond the largest run: treat it as a guess")
    doubtful = [p for p in fit.isoflop.parabolas if p.status != "bracketed" and np.isfinite(p.budget)]
    if doubtful:
        listing = "; ".join(f"{format_flops(p.budget)} {p.status} ({p.reason})" for p in doubtful[:8])
        more = f"; and {len(doubtful) - 8} more" if len(doubtful) > 8 else ""
        warn("not-bracketed", f"budgets without a minimum that counts: {listing}{more}")
    sizes = table.runs["N"].to_numpy()
    for answer in fit.answers:
        if not 0.9 * sizes.min() <= answer.N.value <= 1.1 * sizes.max():
            low, high = format_count(sizes.min()), format_count(sizes.max())
            where = f" at {format_flops(answer.budget)}" if answer.budget else ""
            warn("outside", f"N*{where} lies outside the sizes that were trained, {low} to {high}")


def _about_limit(fit: Fit, warn: Callable[[str, str], None]) -> None:
    if fit.limit is None or fit.parametric.certified:
        return
    if any(answer.N.value > fit.limit for answer in fit.answers):
        warn("limit", f"what a limit of {format_count(fit.limit)} costs only a certified law can say")


def _about_law(fit: Fit, table: RunTable, warn: Callable[[str, str], None]) -> None:
    parametric = fit.parametric
    law = parametric.law
    if not parametric.certified:
        warn(f"law-{parametric.certificate.status}", f"{law.equation} is not used: {parametric.reason}")
    if parametric.certified and parametric.certificate.bounds:
        names = " and ".join(parametric.certificate.bounds)
        warn("bound", f"{names} ran to zero: the runs show no floor of the loss, and none is foretold")
    parameters = len(law.parameters)
    if parametric.certified and parametric.rows < 2 * parameters:
        warn("few-rows", f"{parametric.rows} runs fix {parameters} parameters: the law bends to their noise")
    drawn = parametric.failed + len(parametric.draws)
    if parametric.failed > MAX_FAILED * max(1, drawn):
        warn(
            "failed-draws",
            f"{parametric.failed} of {drawn} bootstrap draws found no minimum: the intervals rest on the others",
        )
    if fit.weighting.startswith("none: "):
        warn("unweighted", f"no row weighs more than another ({fit.weighting[6:]})")
    beyond = [a for a in fit.answers if fit.unique and a.D and a.D.value > fit.unique * (1 + 1e-6)]
    if beyond and not table.repeats and "U" not in law.needs:
        warn(
            "repeats",
            f"D* is more than the {format_count(fit.unique or 0)} of unique data, which {law.name} does not know",
        )
    if table.repeats and "U" not in law.needs and (fit.headline == "parametric" or fit.unique is not None):
        if "epochs" in table.runs:
            most = float(table.runs["epochs"].max())
        else:
            most = float((table.runs["D"] / table.runs["U"]).max())
        warn("repeats", f"runs repeat their data up to {most:.2g} times, which {law.name} does not know: doubtful")


def _about_approaches(fit: Fit, warn: Callable[[str, str], None]) -> None:
    for budget in fit.budgets:
        if np.isfinite(budget) and (message := _second_opinion(fit, budget)):
            warn("second-opinion", message)
    law = fit.parametric.law
    if fit.contradicted:
        warn(
            "contradicted",
            f"{law.equation} contradicts the isoFLOP minima (a apart from theirs at {level_text(fit.level)}): "
            "beyond the budgets the line through the minima answers, not the law",
        )
    values = {name: fit.exponents(name).get("a") for name in ("isoflop", "parametric", "envelope")}
    given = {name: estimate.value for name, estimate in values.items() if estimate is not None}
    if given and max(given.values()) - min(given.values()) > DISAGREE:
        listing = ", ".join(f"{name} {value:.2f}" for name, value in given.items())
        warn("disagree", f"the approaches disagree on a: {listing}")
    assert fit.spending is not None
    if (spread := fit.spending.cost.spread) > SPREAD:
        warn("cost-spread", f"C/(N D) varies {spread:.2g}-fold over the sizes: N*(C) is no straight line")


def _about_judgement(fit: Fit, warn: Callable[[str, str], None]) -> None:
    windows = [w for w in fit.judgement.get("drift", []) if w["converged"] and w["a"] is not None]
    if len(windows) > 1:
        a = [w["a"] for w in windows]
        own = fit.exponents("parametric").get("a")
        known = own is not None and own.low is not None and own.high is not None
        if known and (min(a) < own.low - DRIFT or max(a) > own.high + DRIFT):  # type: ignore[union-attr, operator]
            low, high = windows[int(np.argmin(a))], windows[int(np.argmax(a))]
            warn(
                "drift",
                f"a drifts with the window of compute: {min(a):.3f} over {_span(low)}, {max(a):.3f} over {_span(high)}",
            )
    strong = [item for item in fit.judgement.get("influence", []) if (item["shift"] or 0) > SHIFTED]
    if strong:
        names = ", ".join(
            f"{item['kind']} {item['name']} ({format_count(item['N'])})" for item in strong[:3] if item["N"]
        )
        warn("influence", f"N* leaves its interval without: {names}")
    direction = fit.judgement.get("identifiability")
    if direction and direction["condition"] and direction["condition"] > SLOPPY:
        loads = sorted(direction["sloppy"].items(), key=lambda item: -abs(item[1]))
        names = ", ".join(f"{name} {load:+.2f}" for name, load in loads[:3])
        warn("sloppy", f"the runs hardly fix {names} together (condition {direction['condition']:.0e})")
    for check in fit.judgement.get("residuals", []):
        if check["passed"] is False and check["name"] in TELLING:
            warn(TELLING[check["name"]], f"residuals, {check['name']}: {check['message']}")
    outliers = (fit.judgement.get("collapse") or {}).get("outliers") or []
    if outliers:
        warn(
            "collapse",
            f"loss curves of another shape than the rest, often a badly tuned size: {', '.join(outliers[:6])}",
        )


def _span(window: dict[str, float]) -> str:
    return f"{format_flops(window['low'])} to {format_flops(window['high'])}"


def _second_opinion(fit: Fit, budget: float) -> str:
    """Return what law and isoFLOP line say beyond the bracketed budgets, where they are far apart."""
    isoflop, parametric = fit.isoflop, fit.parametric
    if not parametric.certified or not parametric.law.allocates or fit.spending is None:
        return ""
    if isoflop.spans(budget) or isoflop.no_line():
        return ""
    law = parametric_optimum(parametric, fit.spending, budget, fit.largest, fit.level).N.value
    line = isoflop_optimum(isoflop, budget, fit.largest, fit.level).N.value
    if abs(np.log(law / line)) < np.log(FAR_APART):
        return ""
    return (
        f"at {format_flops(budget)} the line through the isoFLOP minima says N* = {format_count(line)}, the law "
        f"{format_count(law)}: trust neither without a run there"
    )
