"""Submission: write what shall run, then hand it to an executor. Doing it twice does nothing twice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from scaling.cost import check_shares
from scaling.errors import InputError, WorkError
from scaling.files import plain, read_json, write_bytes, write_json, write_json_lines
from scaling.units import format_flops
from sweeps.folder import SweepFolder
from sweeps.plan import Plan, Point
from sweeps.jobs.status import sweep_status
from sweeps.jobs.tracking import find_tracker

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a submission did."""

    folder: SweepFolder
    new: list[str]
    """Ids that had no record, in the order of the plan."""
    done: int
    going: int = 0
    """Those of the new ones that ran or waited already."""


def submit(plan: Plan, *, results: Path, executor: str | None = None) -> Submission:
    """Write a plan into its sweep's folder and start what has no record yet.

    Args:
        plan: The plan.
        results: Folder of all sweeps.
        executor: `local`, `slurm` or `debug` instead of the grid's.

    Raises:
        InputError: When the plan has refused points, is provisional, or goes beyond its cap.
    """
    grid = plan.grid
    executor = executor or grid.cluster.executor
    check(plan, executor)
    folder = SweepFolder(results / grid.name)
    before = sweep_status(folder) if folder.sweep_file.exists() else []
    new = write_plan(plan, folder, executor)
    going = {run.id for run in before if run.state in ("running", "queued")} & set(new)
    submission = Submission(folder=folder, new=new, done=len(plan.runs) - len(new), going=len(going))
    if not new:
        return submission
    if plan.trainer.prepare is not None:
        for point in _distinct_preparations(plan):
            plan.trainer.prepare(point.spec)
    if executor == "local":
        from sweeps.jobs.local import start_queue

        start_queue(folder)
    elif executor == "slurm":
        from sweeps.jobs.slurm import submit_arrays

        submit_arrays(plan, folder, new)
    else:
        _run_here(folder, new)
    return submission


def _run_here(folder: SweepFolder, ids: list[str]) -> None:
    """Do runs one after another in this process, and end at the first that fails."""
    from sweeps.jobs.worker import run_one

    for run_id in ids:
        try:
            run_one(str(folder.path), run_id)
        except Exception as error:
            message = (
                f"{run_id}: {type(error).__name__}: {error} (scaling-sweep --debug submit ... shows the traceback)"
            )
            raise WorkError(message) from error


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
    if plan.grid.built_in and executor == "slurm":
        _check_shares(plan)


def _check_shares(plan: Plan) -> None:
    """Refuse runs whose batch the processes that SLURM starts cannot share equally."""
    from sweeps.jobs.slurm import resources_of

    for point in plan.runs:
        resources = resources_of(plan, point)
        processes = int(resources["processes"]) * int(resources["nodes"])
        crops, group = point.spec.train["crops"], int(point.spec.objective_args.get("group", 1))
        check_shares(crops, group, processes, where=f"{plan.grid.file}: cluster.resources")


def check_cap(plan: Plan) -> None:
    """Refuse a plan that takes more than the grid's cap."""
    file = plan.grid.file
    for key, cap in plan.grid.cap.items():
        spent = _gpu_hours(plan) if key == "gpu_hours" else plan.totals[key]
        if spent is None:
            raise InputError(
                "a cap in hours, and the time of a step is not known here",
                where=f"{file}: cap.{key}",
                remedy="use cap: {flops: ...}, or plan on the machine that trains",
            )
        if spent > cap:
            raise InputError(
                f"the plan takes {spent:.4g}, more than the cap",
                where=f"{file}: cap.{key}",
                value=cap,
                remedy="raise the cap, or drop budgets, sizes or seeds",
            )


def _gpu_hours(plan: Plan) -> float | None:
    """Return hours times GPUs of all runs; a run whose resources are not said counts as one GPU.

    The time is that of the whole batch on one device: processes that share it take as many device hours together.
    """
    from sweeps.jobs.slurm import resources_of

    hours = 0.0
    for point in plan.runs:
        if point.seconds is None:
            return None
        resources = resources_of(plan, point)
        hours += point.seconds / 3600 * max(1, int(resources["gpus"])) / int(resources["processes"])
    return hours


def write_plan(plan: Plan, folder: SweepFolder, executor: str) -> list[str]:
    """Write sweep.json, plan.jsonl and the specs; return the ids without a record."""
    grid = plan.grid
    for point in plan.runs:
        spec_file = folder.run(point.spec.id) / "spec.json"
        if spec_file.exists():
            _same_science(spec_file, point.spec.science)
        if not spec_file.exists() or read_json(spec_file) != plain(point.spec.to_dict()):  # places and flags may change
            write_json(spec_file, point.spec.to_dict())
    before = folder.sweep() if folder.sweep_file.exists() else {}
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    write_bytes(folder.path / "grid.yaml", grid.file.read_bytes())
    write_json_lines(folder.plan_file, [point.row() for point in plan.points])
    folder.stop_file.unlink(missing_ok=True)
    # the last: a queue that is alive takes a new sweep.json for a new submission
    write_json(
        folder.sweep_file,
        {
            "schema": SCHEMA,
            "name": grid.name,
            "grid": str(grid.file.resolve()),
            "corpus": str(grid.corpus.resolve()) if grid.corpus else None,
            "trainer": grid.trainer,
            "executor": executor,
            "slots": grid.cluster.slots,
            "threads": grid.cluster.threads,
            "save_every": grid.cluster.save_every,
            "keep_weights": grid.cluster.keep_weights,
            "tracker": grid.cluster.tracker,
            "censored": plan.censored,
            "warnings": plan.warnings,
            "tuned": grid.tuned,
            "pilot": plan.pilot,
            "created": before.get("created", now),
            "submitted": now,
        },
    )
    done = set(folder.record_ids())
    return [point.spec.id for point in plan.runs if point.spec.id not in done]


def _same_science(spec_file: Path, science: dict[str, Any]) -> None:
    """Refuse a run folder whose spec is another one under the same id."""
    from scaling.records import RunSpec

    if RunSpec.from_dict(read_json(spec_file)).science != science:
        raise InputError(
            "a run of the same id and another content is there",
            where=spec_file,
            remedy=f"move {spec_file.parent} away",
        )


def _distinct_preparations(plan: Plan) -> list[Point]:
    """Return one point for each kind of features and targets."""
    kinds: dict[Any, Point] = {}
    for point in plan.runs:
        key = (point.spec.model.get("frontend"), str(point.spec.targets), point.spec.objective)
        kinds.setdefault(key, point)
    return list(kinds.values())
