"""A plan as text: the table, the totals and the warnings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from scaling.tables import format_table
from scaling.units import format_count, format_flops, format_hours, format_seconds
from sweeps.plan import Plan, Point


def format_plan(plan: Plan) -> str:
    """Return the plan as a table of budget and size, seeds folded together, then totals and warnings."""
    header = [
        "budget",
        "N",
        "shape",
        "seeds",
        "updates",
        "batch",
        "audio",
        "epochs",
        "lr",
        "flops off",
        "time",
        "verdict",
    ]
    groups: dict[tuple[str, ...], list[Point]] = defaultdict(list)
    for point in plan.points:
        spec = point.spec
        key = (
            spec.objective,
            str(spec.corpus.get("unique_hours")),
            str(spec.budget),
            str(dict(spec.model)),
            str(spec.updates),
        )
        groups[key].append(point)
    rows = [_row(points) for points in groups.values()]
    told = [i for i in range(len(header)) if any(row[i] != "-" for row in rows)]  # a trainer may know no audio
    header, rows = [header[i] for i in told], [[row[i] for i in told] for row in rows]
    left = [header.index(name) for name in ("shape", "verdict")]
    several = len({key[:2] for key in groups}) > 1
    lines: list[str] = []
    if several:
        for group in dict.fromkeys(key[:2] for key in groups):
            lines.append(f"\n{group[0]}, {group[1]} h of distinct audio")
            lines.append(
                format_table(header, [r for r, key in zip(rows, groups, strict=True) if key[:2] == group], left=left)
            )
    else:
        lines.append(format_table(header, rows, left=left))
    return "\n".join([*lines, format_totals(plan), *format_warnings(plan)])


def format_totals(plan: Plan, executor: str | None = None) -> str:
    """Return one line: runs, FLOPs and time in all, by the grid's executor or another."""
    totals = plan.totals
    cluster = plan.grid.cluster
    text = f"{plan.grid.name}: {totals['runs']} runs, {format_flops(totals['flops'])} FLOPs"
    if totals["device_hours"] is not None:
        whole = totals["device_hours"] * 3600
        if (executor or cluster.executor) == "slurm":
            text += f", {format_seconds(whole)} of one device"
        else:
            text += f", {format_seconds(whole)} of one slot here"
            if cluster.slots > 1:
                text += f", about {format_seconds(whole / cluster.slots)} on {cluster.slots} slots"
    for name in ("dropped", "refused"):
        if totals[name]:
            text += f", {totals[name]} {name}"
    if plan.grid.probes:
        text += f"; each is probed afterwards, which the time leaves out: {', '.join(plan.grid.probes.probes)}"
    return text


def format_warnings(plan: Plan) -> list[str]:
    """Return the warnings, one line each."""
    return [f"! {warning['message']}" for warning in plan.warnings]


def _row(points: list[Point]) -> list[str]:
    point = points[0]
    spec, cost = point.spec, point.cost
    model = spec.model
    return [
        format_flops(spec.budget) if spec.budget else "-",
        format_count(cost.params) if cost else "-",
        f"{model['layers']}x{model['width']}" if "layers" in model and "width" in model else _short(model),
        str(len(points)),
        f"{spec.updates:,}",
        f"{cost.frames_per_step / 50:.3g} s"
        if cost and spec.corpus
        else (f"{cost.frames_per_step:g}" if cost else "-"),
        format_hours(point.hours) if point.hours else "-",
        f"{point.epochs:.2g}" if point.epochs else "-",
        f"{spec.train['peak_lr']:.2g}" if "peak_lr" in spec.train else "-",
        f"{point.flops_off:+.2%}" if point.flops_off is not None else "-",
        format_seconds(point.seconds) if point.seconds is not None else "-",
        point.status if not point.reason else f"{point.status}: {point.reason}",
    ]


def _short(model: Mapping[str, Any]) -> str:
    text = ", ".join(f"{key} {value}" for key, value in model.items())
    return text if len(text) <= 24 else text[:21] + "..."
