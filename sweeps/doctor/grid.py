"""A grid before it is submitted: whether it can be planned, what its runs ask for, and how long they take."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from scaling.units import format_count, format_flops, format_hours, format_seconds
from sweeps.doctor.finding import Check, ok, warning
from sweeps.doctor.request import gpus_of
from sweeps.gridfile import load_grid
from sweeps.jobs.checks import check, checkpoint_bytes
from sweeps.jobs.resources import gpu_hours, resources_of
from sweeps.jobs.slurm import DEFAULT_PARALLELISM
from sweeps.jobs.timing import with_times
from sweeps.plan import Plan, Point, make_plan

BENCH = "`scaling-sweep doctor GRID --bench` measures it where the runs will run"
NO_MEASURE = "export measure(spec) -> seconds a step beside the trainer, or give cluster.flops_per_second"


def check_grid(file: Path, plans: list[Plan]) -> Iterator[Check]:
    """Yield what a grid asks for; its plan is added to a list.

    Raises:
        InputError: When it cannot be planned, or `submit` would refuse it.
    """
    grid = load_grid(file)
    plan = with_times(make_plan(grid), grid.cluster.executor, measure=False)
    shapes = shapes_of(plan)
    plans.append(plan)
    flops = f", {format_flops(plan.totals['flops'])} FLOPs" if plan.totals["flops"] else ""
    yield ok("grid", f"{grid.name}: {len(plan.runs)} runs{flops}, executor {grid.cluster.executor}")
    for resources, points in shapes:
        yield ok("resources", f"{_sizes(points)}: {_asked(resources)}")
    if grid.cluster.executor != "slurm":
        yield _slots(plan)
    yield time_check(plan)
    check(plan, grid.cluster.executor)


def check_bench(plan: Plan) -> Iterator[Check]:
    """Measure the steps of a plan that are not known and yield what that says of its time.

    Raises:
        InputError: When the trainer cannot measure its steps.
        WorkError: When the job on the cluster failed or waited too long.
    """
    from sweeps.jobs.bench import measure_steps

    executor = plan.grid.cluster.executor
    count = measure_steps(plan, executor)
    yield ok("measured", f"the step of {count} shapes" if count else "nothing: every step is known")
    yield time_check(with_times(plan, executor, measure=False))


def shapes_of(plan: Plan) -> list[tuple[dict[str, Any], list[Point]]]:
    """Return the distinct resources that runs ask for and the runs, smallest first."""
    shapes: dict[tuple[tuple[str, Any], ...], list[Point]] = {}
    for point in plan.runs:
        shapes.setdefault(tuple(sorted(resources_of(plan, point).items())), []).append(point)
    return sorted(((dict(shape), points) for shape, points in shapes.items()), key=lambda item: _largest(item[1]))


def checkpoint_gb(plan: Plan) -> float | None:
    """Return the size of the checkpoints of all runs that train at once, None where the model's size is not known."""
    cluster = plan.grid.cluster
    slurm = cluster.executor == "slurm"
    at_once = int(cluster.slurm.get("array_parallelism", DEFAULT_PARALLELISM)) if slurm else cluster.slots
    return sum(sorted(map(checkpoint_bytes, plan.runs), reverse=True)[:at_once]) / 1e9 or None


def time_check(plan: Plan) -> Check:
    """Say how many hours of GPUs (or of processors) a plan takes, where the time of its steps is known."""
    with_gpus = any(resources["gpus"] for resources, _ in shapes_of(plan))
    hours = gpu_hours(plan)
    if hours is None:
        missing = sum(point.seconds is None for point in plan.runs)
        remedy = BENCH if plan.trainer.measure is not None else NO_MEASURE
        return warning("time", f"not known for {missing} of {len(plan.runs)} runs", remedy)
    longest = max((point.seconds or 0.0 for point in plan.runs), default=0.0)
    unit = "GPU-hours" if with_gpus else "hours of one device"
    return ok("time", f"{hours:.3g} {unit} in all, the longest run {format_seconds(longest)} of one device")


def _slots(plan: Plan) -> Check:
    """Compare the threads of all runs at once with this machine's cores."""
    cluster = plan.grid.cluster
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = f"{cluster.slots} runs at once of {cluster.threads} threads, {cores} cores here"
    if cluster.slots * cluster.threads > cores:
        return warning("slots", found, "they slow each other down: lower cluster.slots or cluster.threads")
    return ok("slots", found)


def _asked(resources: Mapping[str, Any]) -> str:
    """Return resources as people say them."""
    nodes, processes = int(resources["nodes"]), int(resources["processes"])
    parts = [f"{nodes} nodes of" if nodes > 1 else "", f"{gpus_of(resources)},"]
    parts += [f"{processes} processes of" if processes > 1 else "", f"{resources['cpus']} CPUs,"]
    parts += [f"{resources['memory_gb']:g} GB,", f"at most {format_hours(resources['timeout'] / 3600)}"]
    return " ".join(part for part in parts if part)


def _sizes(points: list[Point]) -> str:
    sizes = [point.cost.params for point in points if point.cost]
    if not sizes:
        return f"{len(points)} runs"
    span = dict.fromkeys((format_count(min(sizes)), format_count(max(sizes))))
    return f"{len(points)} runs of N {' to '.join(span)}"


def _largest(points: list[Point]) -> float:
    return max((point.cost.params for point in points if point.cost), default=0.0)
