"""The checks of a fit as tables, for `scaling-fit --details`."""

from __future__ import annotations

from typing import Any

from analysis.estimates import level_text
from analysis.rendering import Block, Line, Table
from scaling.units import format_count, format_flops


def detailed(fit: dict[str, Any]) -> list[Block]:
    """Return everything that was looked into, beyond the answer."""
    judgement = fit["judgement"]
    blocks: list[Block] = []
    if judgement.get("interval"):
        blocks.append(Line(f"draws: {fit['approaches']['parametric']['method'] or 'none'}; {judgement['interval']}"))
    return [
        *blocks,
        *_intervals(fit),
        *_influence(judgement),
        *_drift(judgement),
        *_identifiability(judgement),
        *_residuals(judgement),
        *_definitions(judgement),
        *_collapse(judgement),
        *_checklist(judgement),
    ]


def _intervals(fit: dict[str, Any]) -> list[Block]:
    rows = []
    kinds = ("bootstrap", "profile", "delta")
    for name, found in fit["judgement"].get("intervals", {}).items():
        rows.append([name, *(_ends(found.get(kind)) for kind in kinds)])
    title = (
        f"{level_text(fit['intervals']['level'])} intervals side by side (profile and delta suppose independent noise):"
    )
    return [Table(title, ["", *kinds], rows, left=(0, 1, 2, 3))] if rows else []


def _influence(judgement: dict[str, Any]) -> list[Block]:
    rows = [
        [item["kind"], item["name"], _number(item["a"], ".3f"), format_count(item["N"]) if item["N"] else "-"]
        for item in judgement.get("influence", [])
    ]
    if not rows:
        return _not_made(judgement, "influence", "influence of single runs")
    return [Table("without:", ["", "", "a", "N*"], rows, left=(0, 1))]


def _drift(judgement: dict[str, Any]) -> list[Block]:
    rows = [
        [
            f"{format_flops(w['low'])} - {format_flops(w['high'])}",
            str(w["rows"]),
            _number(w["a"], ".3f"),
            format_count(w["N"]) if w["N"] else "-",
            "" if w["converged"] else "no certificate",
        ]
        for w in judgement.get("drift", [])
    ]
    if not rows:
        return _not_made(judgement, "drift", "windows of compute")
    return [Table("windows of compute:", ["C", "runs", "a", "N*", ""], rows, left=(0, 4))]


def _not_made(judgement: dict[str, Any], name: str, title: str) -> list[Block]:
    """Return why a judgement could not be made."""
    reason = judgement.get("skipped", {}).get(name)
    return [Line(f"{title}: not looked into ({reason})")] if reason else []


def _identifiability(judgement: dict[str, Any]) -> list[Block]:
    found = judgement.get("identifiability")
    if not found:
        return []
    loads = ", ".join(f"{name} {load:+.2f}" for name, load in found["sloppy"].items() if abs(load) > 0.05)
    return [Line(f"least fixed together: {loads} (sd {found['spread']:.2g}, condition {found['condition']:.1e})")]


def _residuals(judgement: dict[str, Any]) -> list[Block]:
    rows = [
        [check["name"], {True: "passed", False: "FAILED", None: "-"}[check["passed"]], check["message"]]
        for check in judgement.get("residuals", [])
    ]
    blocks: list[Block] = [Table("residuals:", ["check", "", ""], rows, left=(0, 1, 2))] if rows else []
    if variance := judgement.get("variance"):
        covariate, slope, p = variance["covariate"], variance["slope"], variance["p_value"]
        blocks.append(
            Line(f"the variance goes as ({covariate})^{slope:.2f} (p = {p:.2g}): --weights variance heeds it")
        )
    return blocks


def _definitions(judgement: dict[str, Any]) -> list[Block]:
    rows = [
        [item["size"], item["cost"], _number(item["isoflop"], ".3f"), _number(item["parametric"], ".3f")]
        for item in judgement.get("definitions", [])
    ]
    return [Table("a under other definitions:", ["N", "C", "isoFLOP", "law"], rows, left=(0, 1))] if rows else []


def _collapse(judgement: dict[str, Any]) -> list[Block]:
    found = judgement.get("collapse")
    if not found:
        return []
    if found["status"] != "compared":
        return [Line(f"loss curves: {found['reason']}")]
    count = len(found["runs"])
    apart = ", ".join(found["outliers"]) or "none"
    return [
        Line(f"loss curves of {count} runs fall onto one within {found['spread']:.2g}; apart from the rest: {apart}")
    ]


def _checklist(judgement: dict[str, Any]) -> list[Block]:
    rows = [[item["question"], item["answer"] or item["status"]] for item in judgement.get("checklist", [])]
    return [Table("checklist:", ["", ""], rows, left=(0, 1))] if rows else []


def _ends(ends: list[float | None] | None) -> str:
    if not ends:
        return "-"
    return " - ".join("none" if end is None else f"{end:.4g}" for end in ends)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
