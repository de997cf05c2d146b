"""What metrics beside the loss say, as tables: where the best sizes differ, and what the loss foretells of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from analysis.data.metrics import Scale
from analysis.estimates import level_text
from analysis.rendering import Block, Line, Table
from scaling.units import format_count, format_flops

LAST = ("differences", "transfer", "failed")
"""Parts of a fit that are printed after the fits of its metrics."""
MOST_REASONS = 3
"""Lines of a reason that a line gives."""


def differences(fits: Sequence[dict[str, Any]]) -> list[Block]:
    """Return N* by the loss and by each metric, and their ratios: a row a budget, of several groups one table.

    Args:
        fits: `Fit.to_dict()` of each group, with the metrics beside it.
    """
    from analysis.summary import interval_text

    shown = [fit for fit in fits if fit.get("differences")]
    if not shown:
        return []
    names = list(dict.fromkeys(name for fit in shown for row in fit["differences"] for name in row["metrics"]))
    many = len(fits) > 1
    rows, notes = [], []
    for fit in shown:
        drawn = fit["intervals"]["draws"] > 0
        for row in fit["differences"]:
            budget = format_flops(row["budget"]) if row["budget"] else "this budget"
            cells = [*([fit["label"]] if many else []), budget, interval_text(row["loss"], format_count, drawn, "0")]
            for name in names:
                own = row["metrics"].get(name) or {"N": None, "ratio": None, "reason": ""}
                cells.append(interval_text(own["N"], format_count, drawn, "0") if own["N"] else "-")
                text = interval_text(own["ratio"], lambda value: f"{value:.2f}", drawn, "0") if own["ratio"] else "-"
                cells.append(f"{text}{' *' if own['ratio'] and drawn and not own['paired'] else ''}")
                if own["reason"]:
                    notes.append(f"{_of(fit, many)}{name} at {budget}: {_why(own['reason'])}")
                elif own["N_loss"] and own["N_loss"]["estimate"] != row["loss"]["estimate"]:
                    runs = fit["metrics"][name]["runs"]
                    least = format_count(own["N_loss"]["estimate"])
                    notes.append(f"{_of(fit, many)}{name} is in {runs} runs, by whose loss N* at {budget} is {least}")
            rows.append(cells)
    if any(cell.endswith("*") for row in rows for cell in row):
        notes.append("* by other approaches than each other: draws of the two are taken for independent")
    header = [*(["group"] if many else []), "budget", "N* by loss"]
    header += [text for name in names for text in (f"N* by {name}", "times the loss's")]
    level = level_text(shown[0]["intervals"]["level"])
    title = f"where the best size differs, {level} intervals (ratios: by draws that share the noise of the runs):"
    return [Table(title, header, rows, left=tuple(range(len(header))), notes=notes)]


def transfer(fit: dict[str, Any]) -> list[Block]:
    """Return each metric as the loss foretells it at every budget, and how well that has worked."""
    from analysis.summary import interval_text

    blocks: list[Block] = []
    drawn = fit["intervals"]["draws"] > 0
    for name, found in fit.get("transfer", {}).items():
        if found["status"] != "fitted":
            blocks.append(Line(f"no curve of {name} over the loss: {found['reason']}"))
            continue
        scale = Scale.from_dict(fit["metrics"][name]["scale"])
        rows = []
        for row in found["foretold"]:
            budget = format_flops(row["budget"]) if row["budget"] else "this budget"
            texts = [interval_text(row[key], scale.text, drawn) if row[key] else "-" for key in ("mean", "direct")]
            run = row["run"]
            ends = f"{_end(run['low'], scale)} - {_end(run['high'], scale)}" if run and drawn else "-"
            loss = interval_text(row["loss"], lambda value: f"{value:.4f}", drawn) if row["loss"] else "-"
            rows.append([budget, loss, texts[0], ends, texts[1]])
        slope = interval_text(found["k"], lambda value: f"{value:.3g}", drawn)
        title = (
            f"{scale.title} by the loss: {found['equation']} over {found['runs']} runs of {found['budgets']} "
            f"budget{'s' * (found['budgets'] > 1)}, k = {slope}:"
        )
        notes = [*_held_out(found, scale), *found["remarks"]]
        header = ["budget", "L*", f"{scale.title} by the loss", "a new run", f"{scale.title} by its own fit"]
        blocks.append(Table(title, header, rows, left=tuple(range(len(header))), notes=notes))
    return blocks


def failed(fit: dict[str, Any]) -> list[Block]:
    """Return a line for each metric that could not be fitted."""
    rows = fit.get("metrics", {}).items()
    return [
        Line(f"no fit of {name}: {_why(row['reason'])}", warning=True)
        for name, row in rows
        if row["status"] == "failed"
    ]


def _held_out(found: dict[str, Any], scale: Scale) -> list[str]:
    """Return how dearer budgets were foretold from cheaper runs."""
    texts = []
    for row in found["held_out"]:
        errors = [
            f"{scale.text(row[f'{key}_mean'])}{scale.unit and ' ' + scale.unit}" for key in ("two_step", "direct")
        ]
        texts.append(
            f"held out, {format_flops(row['budget'])} from {row['fitted']} cheaper runs: mean error {errors[0]} by the "
            f"loss, {errors[1]} by its own law"
        )
    return texts


def _of(fit: dict[str, Any], many: bool) -> str:
    return f"{fit['label']}, " if many else ""


def _why(text: str) -> str:
    """Return a message on one line: what is wrong, and in brackets what is listed below it."""
    first, *below = text.splitlines()
    return f"{first} ({'; '.join(line.strip() for line in below[:MOST_REASONS])})" if below else first


def _end(value: float | None, scale: Scale) -> str:
    return "inf" if value is None else scale.text(value)
