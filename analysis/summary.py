"""A fit as text, from what its JSON says and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from scaling.shape import FRAMES_PER_SECOND
from scaling.tables import format_table
from scaling.units import format_count, format_flops, format_hours

SHOWN_EXCLUDED = 5


def summarise(fit: dict[str, Any]) -> str:
    """Return the text that `scaling-fit` prints for one group: answers, budgets, law, trust, what was left out."""
    lines = [_headline(fit)]
    lines += _answers(fit)
    lines += _budgets(fit)
    lines += _law(fit)
    lines += [f"! {warning['message']}" for warning in fit["warnings"]]
    lines += _excluded(fit)
    return "\n".join(lines)


def _headline(fit: dict[str, Any]) -> str:
    source = fit["input"]
    label = f" [{fit['label']}]" if fit["label"] else ""
    columns = ", ".join(f"{key} = {name}" for key, name in source.get("columns", {}).items() if key != "row")
    return f"{source['path']}{label}: {source['used']} of {source['rows']} runs used ({columns})"


def _answers(fit: dict[str, Any]) -> list[str]:
    intervals = fit["intervals"]
    drawn = intervals["draws"] > 0
    how = (
        f"{intervals['level']:.0%} intervals ({intervals['method']})" if drawn else "no run is left over for intervals"
    )
    approach = "isoFLOP parabolas" if fit["headline"] == "isoflop" else fit["law"]["equation"]
    lines = [f"compute-optimal size, by {approach}, {how}:"]
    rows = [
        [
            format_flops(answer["budget"]) if answer["budget"] else "this budget",
            _interval(answer["N"], format_count, drawn, least="0"),
            _interval(answer["D"], _data_format(fit), drawn, least="0") if answer["D"] else "-",
            _interval(answer["loss"], lambda value: f"{value:.4f}", drawn),
            f"{format_count(answer['near'][0])} - {format_count(answer['near'][1])}",
            f"{answer['reach']:.2g}x" if answer["reach"] else "-",
        ]
        for answer in fit["optimum"]
    ]
    header = ["budget", "N*", "D*", "L*", "within 0.5 % of L*", "reach"]
    lines.append(_indent(format_table(header, rows, left=(0, 1, 2, 3, 4))))
    for name, symbol in (("a", "N*"), ("b", "D*")):
        if name in fit["exponents"]:
            value = fit["exponents"][name]
            lines.append(f"  {symbol} ~ C^{name}   {name} = {_interval(value, lambda v: f'{v:.3f}', drawn)}")
    return lines


def _budgets(fit: dict[str, Any]) -> list[str]:
    """Return the verdict of every budget."""
    budgets = fit["approaches"]["isoflop"]["budgets"]
    rows = [
        [
            format_flops(p["budget"]) if p["budget"] else "the curve",
            str(len(p["rows"])),
            f"{format_count(p['sizes'][0])} - {format_count(p['sizes'][1])}",
            p["status"],
            format_count(p["N"]) if p["status"] == "bracketed" else "-",
            p["reason"],
        ]
        for p in budgets
    ]
    if not rows:
        return ["isoFLOP: no budget has three sizes"]
    sigma = fit["approaches"]["isoflop"]["sigma"]
    noise = f"; deviation around the parabolas {sigma:.2g}" if sigma else ""
    table = format_table(["budget", "runs", "sizes", "verdict", "N*", ""], rows, left=(0, 2, 3, 5))
    return [f"isoFLOP minima{noise}:", _indent(table)]


def _law(fit: dict[str, Any]) -> list[str]:
    """Return the law with its parameters and its certificate."""
    certificate = fit["certificate"]
    if certificate["status"] != "converged":
        return []
    objective = fit["objective"]
    name = objective["name"] + (f" (delta {objective['delta']:g})" if objective["delta"] else "")
    rows = []
    ends = fit["intervals"]["params"]
    for parameter, value in fit["params"].items():
        low, high = ends.get(parameter, (None, None))
        rows.append([parameter, f"{value:.4g}", f"{low:.4g} - {high:.4g}" if low is not None else "-"])
    method = fit["approaches"]["parametric"]["method"] or "no bootstrap"
    table = format_table(["", "estimate", f"{fit['intervals']['level']:.0%} ({method})"], rows, left=(0, 2))
    exponents = fit["approaches"]["parametric"]
    also = ""
    if "a" in exponents:
        at = format_flops(fit["middle_flops"])
        also = f"  N* ~ C^a   a = {_interval(exponents['a'], lambda v: f'{v:.3f}', exponents['draws'] > 0)} at {at}"
    trust = (
        f"  certificate: minimum with positive definite Hessian, expected decrease {certificate['gradient']:.0e}, "
        f"{certificate['agree']:.0%} of {certificate['starts']} starts agree"
    )
    title = f"{fit['law']['equation']}   {name}, sum {objective['value']:.6g} over {objective['n']} runs"
    return [line for line in (title, _indent(table), also, trust) if line]


def _excluded(fit: dict[str, Any]) -> list[str]:
    """Return a line for every reason, with the first rows that it holds for."""
    rows: dict[str, list[str]] = {}
    for item in fit["excluded"]:
        rows.setdefault(item["reason"], []).append(str(item["row"]))
    lines = []
    for reason, names in rows.items():
        more = f" and {len(names) - SHOWN_EXCLUDED} more, named in fit.json" if len(names) > SHOWN_EXCLUDED else ""
        lines.append(f"left out row{'s' * (len(names) > 1)} {', '.join(names[:SHOWN_EXCLUDED])}{more}: {reason}")
    return lines


def _interval(estimate: dict[str, Any], show: Callable[[float], str], drawn: bool, least: str = "-inf") -> str:
    """Return `value [low, high]`, where an end without a bound is what it may reach; the value alone without draws."""
    low, high = estimate["low"], estimate["high"]
    text = show(estimate["estimate"])
    if not drawn:
        return text
    return f"{text} [{show(low) if low is not None else least}, {show(high) if high is not None else 'inf'}]"


def _data_format(fit: dict[str, Any]) -> Any:
    if fit["data_unit"] == "frames":
        return lambda frames: format_hours(frames / FRAMES_PER_SECOND / 3600)
    return format_count


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
