"""What a run asks of the machines: GPUs, nodes, memory by its size, and time by what the plan expects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scaling.errors import InputError
from scaling.units import format_count
from sweeps.plan import Plan, Point

DEFAULT_TIMEOUT = 4 * 3600.0
MEMORY_GB = 4.0
MARGIN = 1.5
"""Time asked for over time expected."""
START_UP = 600.0
"""Seconds for imports, data, evaluation."""
TIMES = tuple(60.0 * minutes for minutes in (15, 30, 60, 120, 240, 480, 720, 1440, 2880, 4320, 10080))
"""Times that are asked for: few, so that runs of about one length are one array."""


def resources_of(plan: Plan, point: Point) -> dict[str, Any]:
    """Return the resources of a point: the smallest row of cluster.resources that holds its size.

    `gpus`, `processes` and `memory_gb` are for each of `nodes`, `cpus` for each process, `timeout` is in seconds.
    """
    cluster = plan.grid.cluster
    asked: dict[str, Any] = {"gpus": 0, "nodes": 1, "processes": 1, "cpus": cluster.threads, "memory_gb": MEMORY_GB}
    if cluster.resources:
        row = _row(plan, point)
        given = {key: value for key, value in row.items() if key != "up_to" and value is not None}
        asked["processes"] = max(1, given["gpus"]) if plan.grid.built_in else 1
        asked.update(given)
    longest = asked.get("timeout") or cluster.slurm.get("timeout", DEFAULT_TIMEOUT)
    return {**asked, "timeout": _timeout(point, asked, longest)}


def devices(resources: Mapping[str, Any]) -> int:
    """Return how many GPUs a run holds, or as how many it counts where it has none."""
    return max(1, int(resources["gpus"])) * int(resources["nodes"])


def wall_seconds(point: Point, resources: Mapping[str, Any]) -> float | None:
    """Return how long a run is expected to take: its time on one device, shared by its processes."""
    if point.seconds is None:
        return None
    return point.seconds / (int(resources["processes"]) * int(resources["nodes"]))


def gpu_hours(plan: Plan) -> float | None:
    """Return hours times GPUs of all runs, None where the time of a step is not known."""
    hours = 0.0
    for point in plan.runs:
        resources = resources_of(plan, point)
        seconds = wall_seconds(point, resources)
        if seconds is None:
            return None
        hours += seconds / 3600 * devices(resources)
    return hours


def _row(plan: Plan, point: Point) -> Mapping[str, Any]:
    size = point.cost.params if point.cost else 0
    for row in plan.grid.cluster.resources:
        if size <= row["up_to"]:
            return row
    raise InputError(
        "no row of cluster.resources holds this size",
        where=f"{plan.grid.file}: cluster.resources",
        value=format_count(size),
        remedy="add a row with a larger up_to",
    )


def _timeout(point: Point, resources: Mapping[str, Any], longest: float) -> float:
    """Return the time to ask for: what is expected with a margin, in steps, at most the longest allowed."""
    seconds = wall_seconds(point, resources)
    if seconds is None:
        return longest
    wanted = MARGIN * seconds + START_UP + float(point.spec.probes.get("seconds", 0.0))
    return min([*(time for time in TIMES if time >= wanted), longest])
