"""What a fit says, from its JSON and nothing else: answers, approaches, budgets, law, trust, what was left out."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from analysis import beside
from analysis.data.metrics import LOSS, Scale
from analysis.estimates import level_text
from analysis.laws import LAWS
from analysis.rendering import Block, Line, Table, render
from scaling.shape import FRAMES_PER_SECOND
from scaling.units import format_count, format_flops, format_hours

SHOWN_EXCLUDED = 5
SHOWN_BUDGETS = 20


def summarise(fit: dict[str, Any], form: str = "text", *, details: bool = False, without: Collection[str] = ()) -> str:
    """Return what `scaling-fit` prints for one group, as `text`, `html` or `latex`; `without` some parts."""
    parts = sections(fit)
    shown = [name for name in parts if (details or name != "details") and name not in without]
    if form != "latex":
        return render([block for name in shown for block in parts[name]], form)
    from analysis.latex import latex

    rest = [block for name in shown if name not in ("answers", "law") for block in parts[name]]
    return f"{latex(fit)}\n\n{render(rest, form)}"  # answers and law as a paper sets them, with formulas


def sections(fit: dict[str, Any]) -> dict[str, list[Block]]:
    """Return all that there is to say of a fit, by part, in the order in which it is printed."""
    from analysis.details import detailed

    return {
        "headline": [_headline(fit)],
        "answers": _answers(fit),
        "budgets": _budgets(fit),
        "approaches": _approaches(fit),
        "law": _law(fit),
        "scores": _scores(fit),
        "details": detailed(fit),
        "differences": beside.differences([fit]),
        "transfer": beside.transfer(fit),
        "failed": beside.failed(fit),
        "warnings": [Line(warning["message"], warning=True) for warning in fit["warnings"]],
        "excluded": _excluded(fit),
    }


def _headline(fit: dict[str, Any]) -> Line:
    source = fit["input"]
    label = f" [{fit['label']}]" if fit["label"] else ""
    columns = ", ".join(
        f"{key} = {name}"
        for key, name in source.get("columns", {}).items()
        if key in "ndc" or key in ("loss", "metric")
    )
    scale = scale_in(fit)
    metric = "" if scale == LOSS else f"; {scale.described}"
    return Line(f"{source['path']}{label}: {source['used']} of {source['rows']} runs used ({columns}){metric}")


def _answers(fit: dict[str, Any]) -> list[Block]:
    intervals = fit["intervals"]
    drawn = intervals["draws"] > 0
    how = f"{level_text(intervals['level'])} intervals ({intervals['method']})" if drawn else "without intervals"
    approach = "isoFLOP minima" if fit["headline"] == "isoflop" else fit["law"]["equation"]
    repeats = f", of {data_format(fit)(fit['unique'])} unique data" if fit["unique"] else ""
    wide = any(answer["spanning"] for answer in fit["optimum"])
    scale = scale_in(fit)
    least = "L*" if scale == LOSS else scale.title
    header = ["budget", "N*", *(["over laws and choices"] if wide else []), "D*", least, "within 0.5 %", "reach"]
    rows, notes = [], []
    for answer in fit["optimum"]:
        budget = format_flops(answer["budget"]) if answer["budget"] else "this budget"
        rows.append(
            [
                budget,
                interval_text(answer["N"], format_count, drawn, least="0"),
                *([_ends(answer["spanning"])] if wide else []),
                interval_text(answer["D"], data_format(fit), drawn, least="0") if answer["D"] else "-",
                interval_text(answer["loss"], scale.text, drawn) if answer["loss"] else "-",
                f"{format_count(answer['near'][0])} - {format_count(answer['near'][1])}",
                _times(answer["reach"]) if answer["reach"] else "-",
            ]
        )
        notes += _notes(answer, budget, fit)
    notes += _other_counts(fit)
    for name, symbol in (("a", "N*"), ("b", "D*")):
        if name in fit["exponents"]:
            value = fit["exponents"][name]
            notes.append(f"{symbol} ~ C^{name}   {name} = {interval_text(value, _three, drawn)}")
    title = f"compute-optimal size, by {approach}{repeats}, {how}:"
    return [Table(title, header, rows, left=tuple(range(len(header) - 1)), notes=notes)]


def _notes(answer: dict[str, Any], budget: str, fit: dict[str, Any]) -> list[str]:
    """Return what stands under the answers: local exponent, batch, the limit on N."""
    notes = []
    if answer["local_exponent"] and fit["cost"] and fit["cost"]["spread"] > 1.05:
        by = ", by the law" if fit["headline"] == "isoflop" else ""
        notes.append(f"at {budget} N* grows as C^{answer['local_exponent']['estimate']:.3f}{by}")
    if answer["batch"]:
        notes.append(f"at {budget} the best batch is {interval_text(answer['batch'], format_count, True, least='0')}")
    if answer["limited"]:
        limited = answer["limited"]
        data = data_format(fit)(limited["D"])
        scale = scale_in(fit)
        notes.append(
            f"at {budget} with at most {format_count(limited['limit'])} parameters: D {data}, {scale.name} "
            f"{scale.text(limited['loss'])}, {limited['compute']:.2f}x the compute that the best size needs for it"
        )
    return notes


def _other_counts(fit: dict[str, Any]) -> list[str]:
    """Return N* under the other definitions of the size."""
    names = list(fit["optimum"][0]["sizes"]) if fit["optimum"] else []
    counts = [
        f"{name} " + " / ".join(format_count(answer["sizes"][name]) for answer in fit["optimum"]) for name in names
    ]
    return [f"N* counted otherwise: {', '.join(counts)}"] if counts else []


def _budgets(fit: dict[str, Any]) -> list[Block]:
    """Return the verdict of every budget."""
    isoflop = fit["approaches"]["isoflop"]
    rows = [
        [
            (format_flops(p["budget"]) if p["budget"] else "the curve") + _unique_of(p, fit),
            str(len(p["rows"])),
            f"{format_count(p['sizes'][0])} - {format_count(p['sizes'][1])}",
            p["status"],
            format_count(p["N"]) if p["status"] == "bracketed" else "-",
            p["reason"],
        ]
        for p in isoflop["budgets"]
    ]
    if not rows:
        return [Line("isoFLOP: no budget has three sizes")]
    known = isoflop["sigma"] and scale_in(fit) == LOSS  # of log odds it would tell nobody anything
    noise = f"; deviation around the curves {isoflop['sigma']:.2g}" if known else ""
    curve = f" ({isoflop['curve']})" if isoflop["curve"] else ""
    more = [f"and {len(rows) - SHOWN_BUDGETS} more, in fit.json"] if len(rows) > SHOWN_BUDGETS else []
    header = ["budget", "runs", "sizes", "verdict", "N*", ""]
    return [Table(f"isoFLOP minima{curve}{noise}:", header, rows[:SHOWN_BUDGETS], left=(0, 2, 3, 5), notes=more)]


def _unique_of(curve: dict[str, Any], fit: dict[str, Any]) -> str:
    """Return how much unique data the runs of a budget had, where budgets differ in it."""
    several = len({other["unique"] for other in fit["approaches"]["isoflop"]["budgets"]}) > 1
    return f" of {data_format(fit)(curve['unique'])}" if several and curve["unique"] else ""


def _approaches(fit: dict[str, Any]) -> list[Block]:
    """Return a by all three approaches side by side, with what each misses on a grid like this one."""
    bias = fit["judgement"].get("bias", {})
    rows = []
    for name, title in (("envelope", "envelope"), ("isoflop", "isoFLOP minima"), ("parametric", "law")):
        approach = fit["approaches"][name]
        if "a" not in approach:
            if name == "envelope" and approach.get("reason"):
                rows.append([title, "-", "-", "-", approach["reason"]])
            continue
        drawn = approach["draws"] > 0
        missed = bias.get(name)
        known = missed and missed["bias"] is not None
        rows.append(
            [
                title,
                interval_text(approach["a"], _three, drawn),
                interval_text(approach["b"], _three, drawn),
                f"{missed['bias']:+.3f} +- {missed['sd']:.3f}" if known and missed["sd"] is not None else "-",
                f"at {format_flops(fit['middle_flops'])}" if name == "parametric" else "",
            ]
        )
    if sum(row[1] != "-" for row in rows) < 2 and not bias:
        return []
    title = "approaches, with their bias and noise on simulated runs of this grid:"
    return [Table(title, ["", "a", "b", "bias of a", ""], rows, left=(0, 1, 2, 4))]


def _law(fit: dict[str, Any]) -> list[Block]:
    """Return the law with its parameters and its certificate."""
    certificate = fit["certificate"]
    if certificate["status"] != "converged":
        return []
    objective = fit["objective"]
    name = objective["name"] + (f" (delta {objective['delta']:.3g})" if objective["delta"] else "")
    ends = fit["intervals"]["params"]
    rows = []
    for parameter, value in fit["params"].items():
        rows.append([parameter, f"{value:.4g}", _bounds(*ends.get(parameter, (None, None)))])
    method = fit["approaches"]["parametric"]["method"] or "no draws"
    trust = (
        f"certificate: minimum with positive definite Hessian, expected decrease {certificate['gradient']:.0e}, "
        f"{certificate['agree']:.0%} of {certificate['starts']} starts agree"
    )
    name += "" if fit["weights"].startswith("none") else f", weighted by {fit['weights']}"
    title = f"{fit['law']['equation']}   {name}, sum {objective['value']:.6g} over {objective['n']} runs"
    header = ["", "estimate", f"{level_text(fit['intervals']['level'])} ({method})"]
    scale, notes, known = scale_in(fit), [trust], LAWS.get(fit["law"]["name"])
    if not scale.plain and known is not None and "E" in known.positive:
        notes.insert(
            0, f"L stands for {scale.words}, its E for {scale.title} {scale.text(scale.own(fit['params']['E']))}"
        )
    return [Table(title, header, rows, left=(0, 2), notes=notes)]


def _scores(fit: dict[str, Any]) -> list[Block]:
    """Return how the laws foretold dearer runs."""
    scored = [score for score in fit["holdout"] if score["status"] == "scored"]
    if not scored:
        return []
    rows = [[s["law"], str(s["parameters"]), f"{s['rms']:.4f}", f"{s['mape']:.2f} %", f"{s['r2']:.3f}"] for s in scored]
    title = f"laws by how they foretell dearer runs ({scored[0]['rule']}, {scored[0]['rows']} in all):"
    chosen = f"{fit['law']['name']}: {fit['law']['chosen']}"
    return [Table(title, ["law", "parameters", "rms of log", "mean error", "R2"], rows, notes=[chosen])]


def _excluded(fit: dict[str, Any]) -> list[Block]:
    """Return a line for every reason, with the first rows that it holds for."""
    rows: dict[str, list[str]] = {}
    for item in fit["excluded"]:
        rows.setdefault(item["reason"], []).append(str(item["row"]))
    lines: list[Block] = []
    for reason, names in rows.items():
        more = f" and {len(names) - SHOWN_EXCLUDED} more, named in fit.json" if len(names) > SHOWN_EXCLUDED else ""
        plural = "s" * (len(names) > 1)
        lines.append(Line(f"left out row{plural} {', '.join(names[:SHOWN_EXCLUDED])}{more}: {reason}"))
    return lines


def _bounds(low: float | None, high: float | None) -> str:
    """Return an interval's ends, of which one may have no bound."""
    if low is None and high is None:
        return "-"
    return f"{'-inf' if low is None else f'{low:.4g}'} - {'inf' if high is None else f'{high:.4g}'}"


def _three(value: float) -> str:
    return f"{value:.3f}"


def _ends(estimate: dict[str, Any] | None) -> str:
    if not estimate:
        return "-"
    low, high = estimate["low"], estimate["high"]
    return f"[{'0' if low is None else format_count(low)}, {'inf' if high is None else format_count(high)}]"


def _times(reach: float) -> str:
    """Return a ratio to two digits.

    Example:
        >>> _times(0.164), _times(99.7), _times(80000)
        ('0.16x', '100x', '80,000x')
    """
    return f"{float(f'{reach:.2g}'):,g}x" if reach < 1e6 else f"{reach:.1e}x"


def interval_text(estimate: dict[str, Any], show: Callable[[float], str], drawn: bool, least: str = "-inf") -> str:
    """Return `value [low, high]`, where an end without a bound is what it may reach; the value alone without draws."""
    low, high = estimate["low"], estimate["high"]
    text = show(estimate["estimate"])
    if not drawn:
        return text
    return f"{text} [{show(low) if low is not None else least}, {show(high) if high is not None else 'inf'}]"


def scale_in(fit: dict[str, Any]) -> Scale:
    """Return what the law of a fit is of; the loss in fits that were made before metrics had scales."""
    return Scale.from_dict(fit.get("scale"))


def data_format(fit: dict[str, Any]) -> Any:
    """Return how an amount of data is written: frames as hours of audio, others as counts."""
    if fit["data_unit"] == "frames":
        return lambda frames: format_hours(frames / FRAMES_PER_SECOND / 3600)
    return format_count
