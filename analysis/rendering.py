"""Lines and tables as text, HTML or LaTeX: one content, three forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape

from scaling.errors import InputError, did_you_mean
from scaling.tables import format_table


@dataclass(frozen=True)
class Line:
    """A sentence; a warning is set apart."""

    text: str
    warning: bool = False
    indent: bool = False


@dataclass(frozen=True)
class Table:
    """A table under its title; columns are aligned right but for those in `left`."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: tuple[int, ...] = (0,)
    notes: Sequence[str] = field(default_factory=tuple)
    """Lines under it."""


Block = Line | Table


def render(blocks: Sequence[Block], form: str) -> str:
    """Return blocks as `text`, `html` or `latex`.

    Raises:
        InputError: When there is no such form.

    Example:
        >>> print(render([Table("sizes:", ["budget", "N*"], [["1e18", "80M"]])], "text"))
        sizes:
          budget   N*
          1e18    80M
    """
    if form not in FORMS:
        raise InputError("no such form", where="summary", value=form, remedy=did_you_mean(form, FORMS))
    return FORMS[form](blocks)


def _text(blocks: Sequence[Block]) -> str:
    lines: list[str] = []
    for block in blocks:
        if isinstance(block, Line):
            lines.append(("! " if block.warning else "  " if block.indent else "") + block.text)
            continue
        lines.append(block.title)
        if block.rows:
            table = format_table(list(block.header), block.rows, left=block.left).splitlines()
            lines += [f"  {line}" for line in (table if any(block.header) else table[1:])]
        lines += [f"  {note}" for note in block.notes]
    return "\n".join(lines)


def _html(blocks: Sequence[Block]) -> str:
    parts = []
    for block in blocks:
        if isinstance(block, Line):
            mark = ' class="warning"' if block.warning else ""
            parts.append(f"<p{mark}>{escape(block.text)}</p>")
            continue
        parts.append(f"<table>\n<caption><span>{escape(block.title)}</span></caption>")
        if block.rows:
            sides = ["" if i in block.left else " class=number" for i in range(len(block.header))]
            titles = (f'<th scope="col"{side}>{escape(h)}</th>' for h, side in zip(block.header, sides, strict=True))
            parts.append(f"<thead><tr>{''.join(titles)}</tr></thead>")
            body = [
                "<tr>"
                + "".join(
                    f"<td{'' if i in block.left else ' class=number'}>{escape(cell)}</td>" for i, cell in enumerate(row)
                )
                + "</tr>"
                for row in block.rows
            ]
            parts.append("<tbody>\n" + "\n".join(body) + "\n</tbody>")
        parts.append("</table>")
        parts += [f"<p>{escape(note)}</p>" for note in block.notes]
    return "\n".join(parts)


def _latex(blocks: Sequence[Block]) -> str:
    parts = []
    for block in blocks:
        if isinstance(block, Line):
            parts.append(rf"\paragraph{{Warning.}} {tex(block.text)}" if block.warning else tex(block.text) + r"\par")
            continue
        parts.append(rf"\begin{{table}}{chr(10)}\centering{chr(10)}\caption{{{tex(block.title.rstrip(':'))}.}}")
        if block.rows:
            columns = "".join("l" if i in block.left else "r" for i in range(len(block.header)))
            lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", " & ".join(map(tex, block.header)) + r" \\"]
            lines += [r"\midrule", *(" & ".join(map(tex, row)) + r" \\" for row in block.rows)]
            parts.append("\n".join([*lines, r"\bottomrule", r"\end{tabular}"]))
        parts += [tex(note) + r"\par" for note in block.notes]
        parts.append(r"\end{table}")
    return "\n".join(parts)


_TEX = {"\\": r"\textbackslash{}", "~": r"$\sim$", "^": r"\^{}", "<": r"$<$", ">": r"$>$"} | {
    c: "\\" + c for c in "&%$#_{}"
}


def tex(text: str) -> str:
    r"""Return text with LaTeX's signs escaped.

    Example:
        >>> print(tex("95% of N* ~ C^a"))
        95\% of N* $\sim$ C\^{}a
    """
    return "".join(_TEX.get(c, c) for c in text)


FORMS: dict[str, Callable[[Sequence[Block]], str]] = {"text": _text, "html": _html, "latex": _latex}
