"""One HTML page of everything: answers, calculator, figures, checks, runs, provenance, text for a paper.

The page is one file: styles, script and figures are in it, it asks nothing of a network (its own policy forbids it),
and reads without JavaScript but for the calculator and sorting. Everything that comes from the input is escaped by the
template; the calculator's data are JSON without a `<`.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.estimates import level_text
from analysis.figures.gallery import Picture, draw_all
from analysis.latex import latex
from analysis.rendering import render
from analysis.report.calculator import calculator
from analysis.report.words import headline, methods
from analysis.summary import sections
from scaling.files import plain, write_bytes
from scaling.units import format_count, format_flops

if TYPE_CHECKING:
    import pandas as pd

    from analysis.figures.study import Study

HERE = Path(__file__).parent
LETTER = re.compile(r'\s*<path id="((?:STIX|DejaVu|Cmr|Cmmi|Cmsy)[^"]*)"[^>]*/>')
"""The outline of a letter, as matplotlib's SVG defines it."""
CELL = re.compile(r"(?<![^,\n])-?\d+\.\d{6,}(e[+-]?\d+)?(?![^,\n])")
"""A number with more digits than a page needs; never a part of a name."""
MOST_CSV = 60_000
"""Characters of a figure's data from which they are left to its file."""
COLUMNS = {
    "row": "run", "N": "N", "D": "D", "C": "C", "budget": "budget", "loss": "loss", "residual": "residual %",
    "seed": "seed", "seconds": "seconds",
}  # fmt: skip
"""Columns of the table of runs, where the input has them, and their titles."""


def write_report(
    studies: Sequence[Study],
    path: Path,
    *,
    command: Sequence[str] = (),
    failures: Sequence[Exception] = (),
    title: str | None = None,
    pictures: Sequence[Picture] | None = None,
) -> list[Picture]:
    """Write the page and return its figures.

    Args:
        studies: Fits with their runs, a section each.
        path: The file.
        command: How it was called, for the provenance.
        failures: Groups that allowed no fit.
        title: Of the page; the input's name when not given.
        pictures: The figures with their SVG, where they are drawn already; else they are drawn at the usual width.

    Example:
        >>> from analysis import fit, load
        >>> from analysis.figures.study import Study
        >>> table = load("runs.csv")[0]
        >>> pictures = write_report([Study(fit=fit(table, draws=100), table=table)], Path("report.html"))
        >>> Path("report.html").read_text(encoding="utf-8").count("<svg") > sum(p.drawn is not None for p in pictures)
        True
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    pictures = draw_all(studies, formats=("svg",)) if pictures is None else list(pictures)
    letters: dict[str, str] = {}
    shown = [_section(study, i, pictures, letters) for i, study in enumerate(studies)]
    together = [_figure(p, f"all-{p.name}", letters) for p in pictures if p.study is None and p.drawn]
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template("page.html").render(
        title=title or _title(studies),
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        studies=shown,
        together=together,
        letters=Markup("".join(letters[name] for name in sorted(letters))),
        failures=[str(error) for error in failures],
        command=shlex.join(command),
    )
    write_bytes(path, page.encode())
    return pictures


def _title(studies: Sequence[Study]) -> str:
    names = {Path(str(study.fit.source.get("path", "runs"))).name for study in studies}
    return f"Scaling study: {', '.join(sorted(names))}"


def _section(study: Study, i: int, pictures: Sequence[Picture], letters: dict[str, str]) -> dict[str, Any]:
    """Return what the template shows of one study."""
    from markupsafe import Markup

    fit = plain(study.fit.to_dict())
    parts = sections(fit)
    html = {name: Markup(render(blocks, "html")) for name, blocks in parts.items()}
    own = [p for p in pictures if p.study == i]
    known = calculator(study)
    return {
        "id": f"s{i}",
        "name": study.name,
        "headline": headline(fit),
        "html": html,
        "warnings": [warning["message"] for warning in fit["warnings"]],
        "figures": [_figure(p, f"{p.name}-{i}", letters) for p in own if p.drawn],
        "missing": [(p.name, p.reason) for p in own if not p.drawn],
        "calculator": Markup(json.dumps(plain(known)).replace("<", "\\u003c")) if known else None,
        "level": level_text(fit["intervals"]["level"]),
        "runs": _runs(study),
        "excluded": fit["excluded"],
        "latex": latex(fit),
        "methods": methods(study, fit),
        "provenance": _provenance(study, fit),
    }


def _figure(picture: Picture, prefix: str, letters: dict[str, str]) -> dict[str, Any]:
    """Return a figure as inline SVG, its data beside it; the shapes of its letters are added to `letters`."""
    from markupsafe import Markup

    drawn = picture.drawn
    assert drawn is not None
    svg, own = inline_svg(drawn.files["svg"].decode(), prefix, drawn.title)
    letters |= own
    csv = CELL.sub(lambda number: f"{float(number[0]):.6g}", drawn.files["csv"].decode())
    return {
        "name": drawn.name,
        "id": f"figure-{prefix}",
        "title": drawn.title,
        "caption": drawn.caption,
        "svg": Markup(svg),
        "csv": csv if len(csv) <= MOST_CSV else "",
    }


def inline_svg(text: str, prefix: str, label: str) -> tuple[str, dict[str, str]]:
    """Return a figure's SVG to stand within a page, and the shapes of its letters, which all figures of a page share.

    Args:
        text: As matplotlib writes it.
        prefix: What is put before its ids, but for those of letters.
        label: What a screen reader says.

    Returns:
        The SVG without its own headers and size, and id -> path of every letter.

    Example:
        >>> figure = '<defs><path id="STIX-61" d="M 1.2345 2"/></defs><use xlink:href="#STIX-61"/><path id="a"/>'
        >>> svg, letters = inline_svg(f'<?xml?><svg width="9pt" height="9pt">{figure}</svg>', "p", "a & b")
        >>> svg
        '<svg role="img" aria-label="a &amp; b"><use xlink:href="#STIX-61"/><path id="p-a"/></svg>'
        >>> letters
        {'STIX-61': '<path id="STIX-61" d="M 1.23 2"/>'}
    """
    from html import escape

    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", text, count=1)
    text = text.replace("<svg", f'<svg role="img" aria-label="{escape(label)}"', 1)
    text = re.sub(r'\bd="[^"]*"', _shorter, text)
    letters = {found[1]: found[0] for found in LETTER.finditer(text)}
    text = re.sub(r"<defs>\s*</defs>", "", LETTER.sub("", text))
    text = re.sub(r'\bid="([^"]*)"', rf'id="{prefix}-\1"', text)

    def own(found: re.Match[str]) -> str:
        return found[0] if found[2] in letters else f"{found[1]}{prefix}-{found[2]}"

    return re.sub(r'(href="#|url\(#)([^")]*)', own, text), letters


def _shorter(path: re.Match[str]) -> str:
    """Return a path with its numbers to a hundredth of a point, which no screen shows: half of a page is digits."""
    return re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), path[0])


def _runs(study: Study) -> dict[str, Any]:
    """Return the table of runs: titles, and rows of (text, number to sort by)."""
    runs = study.runs.copy()
    if study.law_stands:
        runs["residual"] = 100 * study.log_residuals
    names = [name for name in COLUMNS if name in runs and runs[name].notna().any()]
    show = {"N": format_count, "D": format_count, "C": format_flops, "budget": format_flops}
    rows = [[_cell(value, show.get(name)) for name, value in zip(names, values, strict=True)]
            for values in runs[names].itertuples(index=False, name=None)]  # fmt: skip
    return {"titles": [COLUMNS[name] for name in names], "rows": rows}


def _cell(value: Any, show: Any) -> tuple[str, str]:
    """Return a cell's text, and what it is sorted by; text is sorted as it is."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
        if not np.isfinite(value):
            return "-", ""
        return (show(float(value)) if show else f"{value:.5g}"), f"{float(value):.9g}"
    return str(value), ""


def _provenance(study: Study, fit: dict[str, Any]) -> list[tuple[str, str]]:
    """Return where everything comes from."""
    source, versions = fit["input"], fit["versions"]
    columns = ", ".join(f"{key} = {name}" for key, name in (source.get("columns") or {}).items())
    found = [
        ("input", str(source["path"])),
        ("SHA-256", str(source.get("sha256", ""))),
        ("rows", f"{source['used']} of {source['rows']} used"),
        ("columns", columns),
        ("seed of the draws", str(fit["intervals"]["seed"])),
        ("made with", ", ".join(f"{name} {version}" for name, version in versions.items())),
    ]
    return [*found, *_of_records(study.runs)]


def _of_records(runs: pd.DataFrame) -> list[tuple[str, str]]:
    """Return what the records say of their origin."""
    found = []
    titles = {"sweep": "sweeps", "eval_id": "evaluation", "device": "devices", "objective": "objective"}
    for name, title in titles.items():
        if name in runs and (values := sorted({str(v) for v in runs[name].dropna() if str(v)})):
            more = f" and {len(values) - 8} more" if len(values) > 8 else ""
            found.append((title, ", ".join(values[:8]) + more))
    if {"started", "finished"} <= set(runs) and runs[["started", "finished"]].notna().any().all():
        first, last = (runs[name].dropna().astype(str) for name in ("started", "finished"))
        found.append(("trained", f"{first.min()} to {last.max()}"))
    return found
