"""What is refused before anything is written: plans that must not run, or not by this executor."""

from __future__ import annotations

import os

from scaling.cost import check_shares
from scaling.errors import InputError
from scaling.units import format_flops
from sweeps.jobs import site
from sweeps.jobs.local import on_this_machine
from sweeps.jobs.resources import gpu_hours, resources_of
from sweeps.jobs.slurm import DEFAULT_PARALLELISM
from sweeps.jobs.tracking import find_tracker
from sweeps.plan import Plan, Point


def check(plan: Plan, executor: str = "local") -> None:
    """Refuse a plan that must not run, or not by this executor."""
    file = plan.grid.file
    teacher = plan.grid.teacher
    if teacher is not None and not teacher.exists():
        raise InputError(
            "no teacher there yet",
            where=f"{file}: targets.teacher",
            value=str(teacher),
            remedy="train it first, and name its folder: results/SWEEP/runs/ID",
        )
    if plan.provisional:
        raise InputError(
            "no corpus there yet",
            where=f"{file}: corpus.path",
            value=str(plan.grid.corpus),
            remedy=f"scaling-sweep corpus synth {plan.grid.corpus} --hours H",
        )
    if plan.refused:
        worst = plan.refused[0]
        raise InputError(
            f"{len(plan.refused)} points are starved of updates (the first: {worst.reason})",
            where=file,
            value=format_flops(worst.spec.budget) if worst.spec.budget else dict(worst.spec.model),
            remedy="use a smaller batch, drop the size, lower min_updates, or set allow_short: true; "
            "`scaling-sweep plan` shows which",
        )
    if not plan.runs:
        raise InputError("nothing to run: every point is dropped", where=file, remedy="`scaling-sweep plan` says why")
    if plan.grid.cluster.tracker is not None:
        find_tracker(plan.grid.cluster.tracker, str(file.resolve().parent))
    check_cap(plan)
    if executor == "slurm" and not site.here():
        raise InputError(
            "no sbatch on this machine", where="executor", value="slurm", remedy="use --executor local, or a login node"
        )
    _check_scratch(plan, executor)
    if plan.grid.built_in:
        _check_shares(plan, executor)


def _check_shares(plan: Plan, executor: str) -> None:
    """Refuse runs whose batch the processes that are started cannot share equally."""
    for point in plan.runs:
        resources = resources_of(plan, point)
        if executor != "slurm":
            resources = on_this_machine(resources)
        processes = int(resources["processes"]) * int(resources["nodes"])
        crops, group = point.spec.train["crops"], int(point.spec.objective_args.get("group", 1))
        check_shares(crops, group, processes, where=f"{plan.grid.file}: cluster.resources")


def check_cap(plan: Plan) -> None:
    """Refuse a plan that takes more than the grid's cap."""
    file = plan.grid.file
    for key, cap in plan.grid.cap.items():
        spent = gpu_hours(plan) if key == "gpu_hours" else plan.totals[key]
        if spent is None:
            raise InputError(
                "a cap in hours, and the time of a step is not known here",
                where=f"{file}: cap.{key}",
                remedy="measure it: scaling-sweep doctor GRID --bench"
                if plan.trainer.measure is not None
                else "export measure(spec) -> seconds a step beside the trainer, or give cluster.flops_per_second",
            )
        if spent > cap:
            raise InputError(
                f"the plan takes {spent:.4g}, more than the cap",
                where=f"{file}: cap.{key}",
                value=cap,
                remedy="raise the cap, or drop budgets, sizes or seeds",
            )


def _check_scratch(plan: Plan, executor: str) -> None:
    """Refuse a scratch that cannot be written, and runs whose checkpoints at a time are more than its quota."""
    cluster = plan.grid.cluster
    if cluster.scratch is not None:
        there = next(place for place in (cluster.scratch, *cluster.scratch.absolute().parents) if place.exists())
        if not there.is_dir() or not os.access(there, os.W_OK):
            raise InputError(
                f"{there} cannot be written",
                where=f"{plan.grid.file}: cluster.scratch",
                value=str(cluster.scratch),
                remedy="name a folder that you may write and all nodes see",
            )
    if cluster.scratch_gb is None:
        return
    at_once = int(cluster.slurm.get("array_parallelism", DEFAULT_PARALLELISM)) if executor == "slurm" else cluster.slots
    largest = sorted((checkpoint_bytes(point) for point in plan.runs), reverse=True)[:at_once]
    needed = sum(largest) / 1e9
    if needed > cluster.scratch_gb:
        raise InputError(
            f"the checkpoints of {len(largest)} runs at once take up to {needed:.3g} GB",
            where=f"{plan.grid.file}: cluster.scratch_gb",
            value=cluster.scratch_gb,
            remedy="train fewer at once (array_parallelism, slots), or use a larger scratch",
        )


def checkpoint_bytes(point: Point) -> float:
    """Return the size of a run's checkpoints: weights and two moments of Adam in fp32, two kept and one being written.

    A state that other runs start from is one more.
    """
    if point.cost is None:
        return 0.0
    parts = point.cost.params_by_part or {}
    return (point.cost.params + parts.get("head", 0.0)) * 12 * (3 + len(point.spec.branches))
