"""A sweep's status as text: the table of runs, and the lines that sum them up."""

from __future__ import annotations

from collections import Counter, defaultdict

from scaling.tables import format_table
from scaling.units import format_count, format_flops, format_seconds
from sweeps.folder import SweepFolder
from sweeps.jobs.status import FINAL, STATES, RunStatus, planned_gpu_hours, seconds_left

MANY = 60
"""Rows beyond which runs that are done or have not begun are counted only."""
QUIET = ("completed", "queued", "pending")


def format_status(folder: SweepFolder, runs: list[RunStatus], *, rows: int | None = MANY) -> str:
    """Return a table of runs and the lines that sum them up.

    Args:
        folder: The sweep.
        runs: Its runs.
        rows: Runs beyond which the quiet ones are counted only; None for a row each.
    """
    apart = [
        key for key in ("objective", "unique_hours") if len({run.row.get(key) for run in runs}) > 1
    ]  # told where it differs
    told = runs if rows is None or len(runs) <= rows else [run for run in runs if run.state not in QUIET]
    table = []
    for run in told[: len(told) if rows is None else rows]:
        row = run.row
        table.append(
            [
                run.state,
                *(f"{row[key]:g} h" if isinstance(row[key], float) else str(row[key]) for key in apart),
                format_flops(row["budget"]) if row["budget"] else "-",
                format_count(row["params"]) if row["params"] else "-",
                str(row["seed"]),
                f"{run.progress:.0%}",
                _loss(run),
                _time(run),
                run.id,
                _note(run),
            ]
        )
    header = ["state", *(key.partition("_")[0] for key in apart), "budget", "N", "seed", "done", "loss", "time", "run"]
    header.append("note")
    if not any(row[-1] for row in table):
        header, table = header[:-1], [row[:-1] for row in table]
    left = [header.index(name) for name in ("state", "run", "note") if name in header]
    lines = [format_table(header, table, left=left)] if table else []
    if len(table) < len(runs):
        lines.append(f"({len(runs) - len(table)} more runs, counted below; --all shows them)")
    return "\n".join([*lines, format_counts(folder, runs), *format_failures(folder, runs)])


def format_counts(folder: SweepFolder, runs: list[RunStatus]) -> str:
    """Return one line: how many runs are in each state, and the GPU-hours spent and planned."""
    counts = Counter(run.state for run in runs)
    parts = [f"{counts[state]} {state}" for state in STATES if counts[state]]
    spent, planned = sum(run.gpu_hours for run in runs), planned_gpu_hours(runs)
    gpus = any((run.row.get("resources") or {}).get("gpus") for run in runs)
    say = _gpu_hours if gpus else lambda hours: format_seconds(3600 * hours)
    parts.append(f"{say(spent)} spent" + (f" of {say(planned)} planned" if planned is not None else ""))
    if (left := seconds_left(runs)) is not None:
        parts.append(f"about {format_seconds(left)} to go")
    if repeated := sum(run.steps_repeated for run in runs):
        share = repeated / max(1, sum(run.progress * run.row["updates"] for run in runs))
        parts.append(f"{share:.1%} of the steps were taken twice")
    if asked := folder.stop_asked():
        parts.append(asked)
    return f"{folder.path.name}: {len(runs)} runs: {' · '.join(parts)}"


def format_failures(folder: SweepFolder, runs: list[RunStatus]) -> list[str]:
    """Return a line for every kind of failure, and what to do about it."""
    lines = []
    if (halt := folder.halted()) is not None:
        lines.append(f"! no further run starts: {len(halt['runs'])} failed alike ({halt['error']}); mend it and submit")
    notes = {run.site for run in runs if run.state not in FINAL}
    if "unreachable" in notes:
        lines.append(
            "! SLURM does not answer: what it holds of this sweep is unknown; scaling-sweep doctor looks closer"
        )
    if "unkept" in notes and not folder.stop_asked():
        name = folder.path.name
        lines.append(f"! no keeper waits: what dies is not sent again on its own\n  scaling-sweep retry {name}")
    kinds: dict[tuple[str, str], list[RunStatus]] = defaultdict(list)
    for run in runs:
        if run.state in ("failed", "died"):
            kinds[run.kind, run.error].append(run)
    for (kind, error), alike in list(kinds.items())[:5]:
        lines.append(
            f"! {len(alike)} {alike[0].state}{f' ({kind})' if kind else ''}: {error or 'its job ended before it began'}"
            f"\n  scaling-sweep why {folder.path.name} {alike[0].id}"
        )
    return lines


def _gpu_hours(hours: float) -> str:
    return f"{hours:.3g} GPU-hours"


def _loss(run: RunStatus) -> str:
    """Return the validation loss, or the training loss so far in brackets."""
    if run.loss is None:
        return "-"
    return f"{run.loss:.4f}" if run.state in FINAL else f"({run.loss:.4f})"


def _time(run: RunStatus) -> str:
    if run.seconds is not None:
        return format_seconds(run.seconds)
    return f"{format_seconds(run.left)} left" if run.left is not None else "-"


def _note(run: RunStatus) -> str:
    """Return what else is to be said of a run: its failure, why it waits, how often it was begun."""
    text = run.kind or run.reason
    return f"{text}, {run.attempts} attempts".lstrip(", ") if run.attempts > 1 else text
