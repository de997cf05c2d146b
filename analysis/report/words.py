"""A fit in sentences: the headline of the page, and the paragraph for a paper's methods section."""

from __future__ import annotations

from typing import Any

from analysis.estimates import level_text
from analysis.figures.study import Study
from analysis.summary import data_format, interval_text
from scaling import __version__
from scaling.units import format_count, format_flops

OBJECTIVES = {
    "huber": "Huber's loss of the residuals of log L",
    "lad": "the sum of absolute residuals of log L",
    "log-mse": "the mean squared residual of log L",
    "mse": "the mean squared residual of L",
}
SOFTWARE = "scaling-sweep"


def headline(fit: dict[str, Any]) -> str:
    """Return the answer at the largest budget asked, as a sentence.

    Args:
        fit: `Fit.to_dict()`.
    """
    answer = fit["optimum"][-1]
    drawn = fit["intervals"]["draws"] > 0
    size = interval_text(answer["N"], format_count, drawn, least="0")
    at = f"At {format_flops(answer['budget'])} training FLOPs" if answer["budget"] else "At this budget"
    parts = [f"{at} the best size is {size} parameters"]
    if answer["D"]:
        show = data_format(fit)
        unit = " of audio" if fit["data_unit"] == "frames" else f" {fit['data_unit']}"
        parts.append(f"trained on {interval_text(answer['D'], show, drawn, least='0')}{unit}")
    if answer["loss"]:
        name = "validation loss" if fit["loss"] == "loss" else fit["loss"]
        parts.append(f"for a {name} of {answer['loss']['estimate']:.4g}")
    sentence = ", ".join(parts) + "."
    if "a" in fit["exponents"]:
        a = fit["exponents"]["a"]
        sentence += f" N* grows as C^{interval_text(a, lambda value: f'{value:.3f}', drawn)}."
    return sentence


def methods(study: Study, fit: dict[str, Any]) -> str:
    """Return the paragraph that says how the fit was made, in plain text.

    Args:
        study: The fit with its runs.
        fit: `Fit.to_dict()`.
    """
    sentences = [_runs(study, fit)]
    isoflop, law = fit["approaches"]["isoflop"], fit["law"]
    counting = [p for p in isoflop["budgets"] if p["status"] == "bracketed"]
    if isoflop["budgets"]:
        drawn = f" (intervals: {isoflop['method']})" if isoflop["method"] else ""
        curve = (isoflop["curve"] or "parabolas").partition(", which")[0].partition(": one for all")[0]
        through = "" if counting and not counting[0]["budget"] else f" at each of {len(isoflop['budgets'])} budgets"
        sentences.append(
            f"Loss over log N{through} was described by a curve ({curve}), and "
            f"{len(counting)} of the minima, those inside the sizes with a curvature above zero, were used{drawn}."
        )
    if fit["certificate"]["status"] == "converged":
        certificate, objective = fit["certificate"], fit["objective"]
        delta = f" with delta = {objective['delta']:.3g}" if objective["delta"] else ""
        method = fit["approaches"]["parametric"]["method"]
        draws = fit["approaches"]["parametric"]["draws"]
        sentences.append(
            f"The law {law['equation']} ({law['source']}), {_chosen(law['chosen'])}, was fitted by minimising "
            f"{OBJECTIVES.get(objective['name'], objective['name'])}{delta} with exact derivatives from "
            f"{certificate['starts']} start points, of which {certificate['agree']:.0%} ended at the minimum reported"
            + (f"; its intervals come from {draws} draws ({method})." if method else ".")
        )
    if fit["cost"]:
        kind = "recorded FLOPs, interpolated along the sizes"
        if fit["cost"]["kind"] != "recorded":
            kind = f"the assumption that C = {study.table.flops_per_param_token:g} N D"
        by = "the isoFLOP minima" if fit["headline"] == "isoflop" else "the law"
        level = level_text(fit["intervals"]["level"])
        sentences.append(f"Compute-optimal sizes are those of {by} under {kind}; intervals are at {level}.")
    sentences.append(f"Fits were made with {SOFTWARE} {__version__}.")
    return " ".join(sentences)


def _runs(study: Study, fit: dict[str, Any]) -> str:
    """Return the sentence about the runs."""
    runs = study.runs
    sizes = f"{format_count(runs['N'].min())} to {format_count(runs['N'].max())} parameters"
    spread = ""
    if fit["cost"]:
        spread = f" and {format_flops(runs['C'].min())} to {format_flops(runs['C'].max())} training FLOPs"
    left = len(fit["excluded"])
    return f"We used {fit['input']['used']} runs of {sizes}{spread}" + (
        f"; {left} {'was' if left == 1 else 'were'} left out." if left else "."
    )


def _chosen(reason: str) -> str:
    """Return why the law was chosen, as part of a sentence."""
    if reason.startswith("as --law"):
        return "chosen beforehand"
    front, _, rest = reason.partition("; ")
    return f"chosen {'as' if front.startswith('the ') else 'since'} {front}" + (f" ({rest})" if rest else "")
