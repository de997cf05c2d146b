"""Submission: write what shall run, then hand it to an executor. Doing it twice does nothing twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling.errors import InputError, WorkError
from scaling.files import plain, read_json, write_bytes, write_json, write_json_lines
from sweeps.folder import SweepFolder
from sweeps.jobs.attempts import now
from sweeps.jobs.checks import check
from sweeps.jobs.keeper import submitting
from sweeps.jobs.resources import resources_of
from sweeps.jobs.site import RefusedError
from sweeps.jobs.slurm import send
from sweeps.jobs.snapshot import files_hash, take_snapshot
from sweeps.jobs.status import RunStatus, sweep_status
from sweeps.jobs.verdict import give_chance
from sweeps.plan import Plan, Point

SCHEMA = 2
GOING = ("running", "starting", "queued", "held")
"""States of runs that need no submission."""
WRITERS = 16
"""Threads that write specs."""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What a submission did."""

    folder: SweepFolder
    new: list[str]
    """Ids that had no record, in the order of the plan."""
    done: int
    going: int = 0
    """Those of the new ones that ran or waited already."""
    cancelled: int = 0
    """Runs that were cancelled one by one: they stay so until `retry`."""
    remarks: list[str] = field(default_factory=list)
    """What SLURM did not take."""


def submit(plan: Plan, *, results: Path, executor: str | None = None) -> Submission:
    """Write a plan into its sweep's folder and start what has no record yet.

    Args:
        plan: The plan.
        results: Folder of all sweeps.
        executor: `local`, `slurm` or `debug` instead of the grid's.

    Raises:
        InputError: When the plan has refused points, is provisional, or goes beyond its cap.
        WorkError: When another submission to the sweep is at work, or SLURM refuses.
    """
    grid = plan.grid
    executor = executor or grid.cluster.executor
    check(plan, executor)
    folder = SweepFolder(results / grid.name)
    done = set(folder.record_ids())
    if plan.trainer.prepare is not None:
        for point in _distinct_preparations(plan, done):
            plan.trainer.prepare(point.spec)
    with submitting(folder):
        before = sweep_status(folder) if folder.sweep_file.exists() else []
        code = folder.sweep().get("code") if before else None
        new = write_plan(plan, folder, executor)
        alive = {run.id for run in before if run.state in GOING}
        cancelled = [run_id for run_id in new if folder.cancelled_alone(run_id)]
        new = [run_id for run_id in new if run_id not in cancelled]
        for run_id in new:
            if run_id not in alive:
                give_chance(folder, run_id)
        remarks = [*_other_code(folder, code, len(done), len(alive & set(new))), *_no_longer_planned(folder, before)]
        if new and executor == "slurm":
            try:
                remarks += send(folder, new, by="submit").remarks()
            except RefusedError as refusal:
                message = (
                    f"{grid.file}: cluster: {refusal}\n"
                    f"  scaling-sweep doctor {grid.file} says what this site has, and what the grid asks for"
                )
                raise WorkError(message) from refusal
    if new and executor == "local":
        from sweeps.jobs.local import start_queue

        start_queue(folder)
    elif new and executor == "debug":
        _run_here(folder, new)
    return Submission(
        folder=folder,
        new=new,
        done=len(plan.runs) - len(new) - len(cancelled),
        going=len(alive & set(new)),
        cancelled=len(cancelled),
        remarks=remarks,
    )


def _other_code(folder: SweepFolder, before: str | None, done: int, going: int) -> list[str]:
    """Return a remark where runs that are done or under way have other code than those that start now."""
    now = folder.sweep()["code"]
    if before is None or not done + going or files_hash(folder, before) == files_hash(folder, now):
        return []
    return [
        f"! the code has changed since the last submission: {done} runs are done and {going} under way with the "
        f"older one ({before[:8]}, now {now[:8]}); cancel and submit moves what is not done, another name of the "
        "sweep keeps them apart"
    ]


def _no_longer_planned(folder: SweepFolder, before: list[RunStatus]) -> list[str]:
    """Return a remark on runs that are under way and not in the plan any more."""
    planned = {row["id"] for row in folder.plan()}
    left = [run.id for run in before if run.id not in planned and run.state in GOING]
    if not left:
        return []
    command = " ".join(["scaling-sweep cancel", folder.path.name, *(f"--run {run_id}" for run_id in left[:3])])
    return [f"! {len(left)} runs that are no longer in the plan are still under way: {command}"]


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


def write_plan(plan: Plan, folder: SweepFolder, executor: str) -> list[str]:
    """Write sweep.json, plan.jsonl and the specs; return the ids without a record."""
    grid = plan.grid
    cluster = grid.cluster
    with ThreadPoolExecutor(WRITERS) as pool:  # the disk is waited for, not the processor
        list(pool.map(lambda point: _write_spec(folder, point), plan.runs))
    before = folder.sweep() if folder.sweep_file.exists() else {}
    write_bytes(folder.path / "grid.yaml", grid.file.read_bytes())
    write_json_lines(folder.plan_file, [_row(plan, point) for point in plan.points])
    folder.let_go_on()
    folder.forget_errors()
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
            "slots": cluster.slots,
            "threads": cluster.threads,
            "save_every": cluster.save_every,
            "keep_weights": cluster.keep_weights,
            "keep_checkpoints": cluster.keep_checkpoints,
            "scratch": str(cluster.scratch.resolve()) if cluster.scratch else None,
            "tracker": cluster.tracker,
            "tries": cluster.tries,
            "same_error": cluster.same_error,
            "slurm": dict(cluster.slurm),
            "snapshot": cluster.snapshot,
            "code": take_snapshot(
                folder, beside=None if grid.built_in else grid.file.resolve().parent, copy=cluster.snapshot
            ),
            "censored": plan.censored,
            "warnings": plan.warnings,
            "tuned": grid.tuned,
            "pilot": plan.pilot,
            "created": before.get("created", now()),
            "submitted": now(),
        },
    )
    done = set(folder.record_ids())
    return [point.spec.id for point in plan.runs if point.spec.id not in done]


def _row(plan: Plan, point: Point) -> dict[str, Any]:
    """Return a point's line of plan.jsonl, with what it asks of the machines."""
    return {**point.row(), "resources": resources_of(plan, point) if point.status == "run" else None}


def _write_spec(folder: SweepFolder, point: Point) -> None:
    """Write a run's spec where it is not there as it is; places and flags may change, the science may not."""
    file = folder.run(point.spec.id) / "spec.json"
    spec = plain(point.spec.to_dict())
    if file.exists():
        if read_json(file) == spec:
            return
        _same_science(file, point.spec.science)
    write_json(file, spec)


def _same_science(spec_file: Path, science: dict[str, Any]) -> None:
    """Refuse a run folder whose spec is another one under the same id."""
    from scaling.records import RunSpec

    if RunSpec.from_dict(read_json(spec_file)).science != science:
        raise InputError(
            "a run of the same id and another content is there",
            where=spec_file,
            remedy=f"move {spec_file.parent} away",
        )


def _distinct_preparations(plan: Plan, done: set[str]) -> list[Point]:
    """Return one point for each kind of features and targets that runs without a record need."""
    kinds: dict[Any, Point] = {}
    for point in plan.runs:
        if point.spec.id in done:
            continue
        key = (point.spec.model.get("frontend"), str(point.spec.targets), point.spec.objective)
        kinds.setdefault(key, point)
    return list(kinds.values())
