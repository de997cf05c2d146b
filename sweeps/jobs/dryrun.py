"""What a submission would do: the runs, the scripts that sbatch would get, and when SLURM expects a start."""

from __future__ import annotations

import tempfile
from pathlib import Path

from scaling.units import format_count, format_hours, format_seconds
from sweeps.folder import SweepFolder
from sweeps.jobs import site
from sweeps.jobs.intents import RUNS, Intent
from sweeps.jobs.resources import resources_of
from sweeps.jobs.script import KEEPER_SECONDS, script
from sweeps.jobs.slurm import DEFAULT_PARALLELISM
from sweeps.plan import Plan, Point


def dry_run(plan: Plan, folder: SweepFolder, executor: str | None) -> tuple[str, bool]:
    """Return as text what `submit` would start, and whether SLURM would take it; nothing of the sweep is written."""
    executor = executor or plan.grid.cluster.executor
    new = [point for point in plan.runs if not folder.record_file(point.spec.id).exists()]
    lines = [f"{len(new)} runs would start, {len(plan.runs) - len(new)} are done"]
    if executor != "slurm":
        return lines[0], True
    taken = True
    shapes: dict[tuple[tuple[str, object], ...], list[Point]] = {}
    for point in new:
        shapes.setdefault(tuple(sorted(resources_of(plan, point).items())), []).append(point)
    slurm = dict(plan.grid.cluster.slurm)
    cluster = plan.grid.cluster
    settings = {"executor": executor, "slurm": slurm, "threads": cluster.threads, "snapshot": cluster.snapshot}
    width = int(slurm.get("array_parallelism", DEFAULT_PARALLELISM))
    for shape, points in shapes.items():
        intent = Intent(
            path=folder.submissions.resolve() / "INTENT",
            kind=RUNS,
            runs=[point.spec.id for point in points],
            resources=dict(shape),
            code="CODE",
            by="submit",
            time=0.0,
            jobs=None,
        )
        text = script(folder, intent, settings, max(1, round(width * len(points) / len(new))), {})
        sizes = [point.cost.params for point in points if point.cost]
        ends = [format_count(size) for size in (min(sizes, default=0), max(sizes, default=0))]
        of = f" of N {ends[0]}" + (f" to {ends[1]}" if ends[1] != ends[0] else "") if sizes else ""
        lines += ["", f"--- {len(points)} runs{of}, {_time(points, dict(shape))}", text.rstrip()]
        if site.here():
            estimate = _estimate(text)
            taken = taken and "to start at" in estimate
            lines.append(f"--- {estimate}")
    if not taken:
        lines += ["", f"! sbatch refuses: scaling-sweep doctor {plan.grid.file} says what this site has"]
    if slurm.get("keeper", True) is not False and new:
        every = slurm["keeper"].get("every") if isinstance(slurm.get("keeper"), dict) else None
        lines += [
            "",
            f"and a keeper, a job of a second every {format_seconds(every or KEEPER_SECONDS)} until all is done",
        ]
    return "\n".join(lines), taken


def _time(points: list[Point], resources: dict[str, object]) -> str:
    asked = f"{format_hours(float(str(resources['timeout'])) / 3600)} each asked for"
    known = [point.seconds for point in points if point.seconds is not None]
    if len(known) < len(points):
        return f"{asked}; how long they take is not known: scaling-sweep doctor GRID --bench measures it"
    return f"{asked}, up to {format_hours(max(known) / 3600)} of one device expected"


def _estimate(text: str) -> str:
    """Return what SLURM says of a script's start."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(text)
        file.flush()
        return site.start_estimate(Path(file.name))
