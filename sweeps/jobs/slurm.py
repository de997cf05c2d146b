"""SLURM through submitit: one job array a resource shape, and what squeue says of them."""

from __future__ import annotations

import shutil
import subprocess
import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from scaling.errors import InputError, WorkError
from scaling.files import read_json, write_json
from scaling.units import format_count
from sweeps.folder import SweepFolder
from sweeps.plan import Plan, Point
from sweeps.jobs.slurmjob import SlurmRun

DEFAULT_TIMEOUT = 4 * 3600.0
DEFAULT_PARALLELISM = 32
SQUEUE_SECONDS = 20
MEMORY_GB = 4.0
MAX_ARRAY = 1000
"""Jobs in an array; SLURM's own limit by default is 1001."""
MANY = 10_000
"""Times that a job may reach its time limit and be requeued."""


def submit_arrays(plan: Plan, folder: SweepFolder, ids: list[str]) -> None:
    """Submit runs as job arrays and note their job ids beside the intent that was written first.

    Raises:
        InputError: When sbatch is missing or a setting is unknown.
        WorkError: When SLURM refuses.
    """
    import submitit

    if shutil.which("sbatch") is None:
        raise InputError(
            "no sbatch on this machine",
            where="executor",
            value="slurm",
            remedy="use --executor local, or a login node",
        )
    adopt(folder)
    alive = set(jobs_of(folder).values()) & set(queued_jobs())
    waiting = {run_id for run_id, job in jobs_of(folder).items() if job in alive}
    shapes: dict[tuple[bool, tuple[tuple[str, Any], ...]], list[str]] = defaultdict(list)
    wanted = set(ids) - waiting
    for point in plan.runs:
        if point.spec.id in wanted:
            # runs that start from another's state are sent after those
            shapes[bool(point.spec.parent), tuple(sorted(resources_of(plan, point).items()))].append(point.spec.id)
    arrays = [
        (shape, of_shape[first : first + MAX_ARRAY], later)
        for (later, shape), of_shape in sorted(shapes.items(), key=lambda item: item[0][0])
        for first in range(0, len(of_shape), MAX_ARRAY)
    ]
    parents = {point.spec.id: point.spec.parent["id"] for point in plan.runs if point.spec.parent}
    for shape, run_ids, later in arrays:
        intent = folder.submissions / uuid.uuid4().hex
        write_json(intent / "intent.json", {"runs": run_ids, "resources": dict(shape)})
        executor = submitit.AutoExecutor(folder=intent / "%j", cluster="slurm", slurm_max_num_timeout=MANY)
        settings = parameters(plan.grid.cluster.slurm, dict(shape))
        if later and (jobs_before := sorted({j for r, j in jobs_of(folder).items() if r in map(parents.get, run_ids)})):
            settings["slurm_dependency"] = "afterany:" + ":".join(jobs_before)
        executor.update_parameters(name=intent.name, **settings)
        path = str(folder.path.resolve())
        try:
            jobs = executor.map_array(SlurmRun(), [path] * len(run_ids), run_ids)
        except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError, RuntimeError) as error:
            message = f"sbatch refused: {error}"
            raise WorkError(message) from error
        write_json(intent / "ids.json", {r: job.job_id for r, job in zip(run_ids, jobs, strict=True)})


def resources_of(plan: Plan, point: Point) -> dict[str, Any]:
    """Return the resources of a point: the smallest row of cluster.resources that holds its size."""
    size = point.cost.params if point.cost else 0
    for row in plan.grid.cluster.resources:
        if size <= row["up_to"]:
            given = {key: value for key, value in row.items() if key != "up_to" and value is not None}
            processes = max(1, given["gpus"]) if plan.grid.built_in else 1
            return {"cpus": plan.grid.cluster.threads, "processes": processes, **given}
    if plan.grid.cluster.resources:
        raise InputError(
            "no row of cluster.resources holds this size",
            where=f"{plan.grid.file}: cluster.resources",
            value=format_count(size),
            remedy="add a row with a larger up_to",
        )
    return {"gpus": 0, "nodes": 1, "processes": 1, "cpus": plan.grid.cluster.threads}


def parameters(settings: Mapping[str, Any], resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return submitit's parameters for SLURM."""
    named = {f"slurm_{key}": value for key, value in settings.items() if key != "timeout"}
    cpus = int(resources.get("cpus", 1))
    gpus, nodes = int(resources.get("gpus") or 0), int(resources.get("nodes", 1))
    tasks = int(resources.get("processes", 1))
    together = tasks * nodes > 1
    chosen: dict[str, Any] = {
        "timeout_min": int(settings.get("timeout", DEFAULT_TIMEOUT) // 60) or 1,
        "nodes": nodes,
        "tasks_per_node": tasks,
        "cpus_per_task": cpus,
        "mem_gb": float(resources.get("memory_gb", MEMORY_GB)),
        "stderr_to_stdout": True,
        "slurm_array_parallelism": DEFAULT_PARALLELISM,
        # SLURM 22.05 and later: srun does not take over sbatch's cpus-per-task
        # one of several processes that train together cannot go on when another died
        "slurm_srun_args": [f"--cpus-per-task={cpus}", *(["--kill-on-bad-exit=1"] if together else [])],
        "slurm_additional_parameters": {"requeue": True},
        **named,
    }
    if gpus:
        chosen["gpus_per_node"] = gpus
    return chosen


def jobs_of(folder: SweepFolder) -> dict[str, str]:
    """Return run id -> the last job that was submitted for it."""
    found: dict[str, str] = {}
    files = sorted(folder.submissions.glob("*/ids.json"), key=lambda path: path.stat().st_mtime)
    for path in files:
        found.update(read_json(path))
    return found


def adopt(folder: SweepFolder) -> None:
    """Note the jobs of arrays that were sent, but whose sender died before it could."""
    orphans = [path for path in folder.submissions.glob("*/intent.json") if not path.with_name("ids.json").exists()]
    if not orphans:
        return
    names = queued_jobs()
    for intent in orphans:
        # a single run is sent as a plain job, without a number in an array
        jobs = {int(job.partition("_")[2] or 0): job for job, name in names.items() if name == intent.parent.name}
        run_ids = read_json(intent)["runs"]
        write_json(intent.with_name("ids.json"), {run_ids[k]: job for k, job in jobs.items()})


def queued_jobs() -> dict[str, str]:
    """Return this user's jobs that SLURM holds and that are not ending: id, array elements apart -> name.

    Raises:
        WorkError: When SLURM does not answer.
    """
    command = ["squeue", "--me", "--noheader", "--array", "--format=%F_%K %t %j"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SQUEUE_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", "") or str(error)
        message = f"squeue does not answer: {str(told).strip()} (is SLURM up, and this a login node?)"
        raise WorkError(message) from error
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines() if line.strip()]
    return {job.removesuffix("_N/A"): name for job, state, name in rows if state != "CG"}


def cancel_jobs(folder: SweepFolder) -> int:
    """Cancel the jobs of a sweep that SLURM still holds; return how many."""
    adopt(folder)
    alive = sorted(set(jobs_of(folder).values()) & set(queued_jobs()))
    if alive:
        subprocess.run(["scancel", *alive], check=True, timeout=SQUEUE_SECONDS, capture_output=True)
    return len(alive)
