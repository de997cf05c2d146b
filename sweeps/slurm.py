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
from scaling.units import format_count, parse_seconds
from sweeps.folder import SweepFolder
from sweeps.plan import Plan, Point
from sweeps.worker import RequeuedRun

SETTINGS = {
    "partition": "slurm_partition",
    "account": "slurm_account",
    "qos": "slurm_qos",
    "constraint": "slurm_constraint",
    "array_parallelism": "slurm_array_parallelism",
    "setup": "slurm_setup",
    "timeout": None,
}
"""Keys of cluster.slurm and what submitit calls them."""
DEFAULT_TIMEOUT = "4h"
DEFAULT_PARALLELISM = 32
SQUEUE_SECONDS = 20
MEMORY_GB = 4.0


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
    alive = set(jobs_of(folder).values()) & queued_jobs()
    waiting = {run_id for run_id, job in jobs_of(folder).items() if job in alive}
    shapes: dict[tuple[tuple[str, Any], ...], list[str]] = defaultdict(list)
    wanted = set(ids) - waiting
    for point in plan.runs:
        if point.spec.id in wanted:
            shapes[tuple(sorted(resources_of(plan, point).items()))].append(point.spec.id)
    for shape, run_ids in shapes.items():
        intent = folder.submissions / uuid.uuid4().hex
        write_json(intent / "intent.json", {"runs": run_ids, "resources": dict(shape)})
        executor = submitit.AutoExecutor(folder=intent / "%j", cluster="slurm")
        executor.update_parameters(name=intent.name, **parameters(plan.grid.cluster.slurm, dict(shape)))
        path = str(folder.path.resolve())
        try:
            jobs = executor.map_array(RequeuedRun(), [path] * len(run_ids), run_ids)
        except (submitit.core.utils.FailedJobError, subprocess.CalledProcessError, RuntimeError) as error:
            message = f"sbatch refused: {error}"
            raise WorkError(message) from error
        write_json(intent / "ids.json", {r: job.job_id for r, job in zip(run_ids, jobs, strict=True)})


def resources_of(plan: Plan, point: Point) -> dict[str, Any]:
    """Return the resources of a point: the smallest row of cluster.resources that holds its size."""
    size = point.cost.params if point.cost else 0
    for row in plan.grid.cluster.resources:
        if size <= row["up_to"]:
            return {key: value for key, value in row.items() if key != "up_to" and value is not None}
    if plan.grid.cluster.resources:
        raise InputError(
            "no row of cluster.resources holds this size",
            where=f"{plan.grid.file}: cluster.resources",
            value=format_count(size),
            remedy="add a row with a larger up_to",
        )
    return {"gpus": 0, "nodes": 1, "cpus": plan.grid.cluster.threads}


def parameters(settings: Mapping[str, Any], resources: Mapping[str, Any]) -> dict[str, Any]:
    """Return submitit's parameters for SLURM."""
    from scaling.errors import did_you_mean

    for key in settings:
        if key not in SETTINGS:
            raise InputError("unknown key", where=f"cluster.slurm.{key}", remedy=did_you_mean(key, SETTINGS))
    named = {name: settings[key] for key, name in SETTINGS.items() if name is not None and key in settings}
    cpus = int(resources.get("cpus", 1))
    chosen: dict[str, Any] = {
        "timeout_min": int(parse_seconds(settings.get("timeout", DEFAULT_TIMEOUT)) // 60) or 1,
        "nodes": int(resources.get("nodes", 1)),
        "tasks_per_node": 1,
        "cpus_per_task": cpus,
        "mem_gb": float(resources.get("memory_gb", MEMORY_GB)),
        "stderr_to_stdout": True,
        "slurm_array_parallelism": DEFAULT_PARALLELISM,
        # SLURM 22.05 and later: srun does not take over sbatch's cpus-per-task
        "slurm_srun_args": [f"--cpus-per-task={cpus}"],
        "slurm_additional_parameters": {"requeue": True},
        **named,
    }
    if resources.get("gpus"):
        chosen["gpus_per_node"] = int(resources["gpus"])
    return chosen


def jobs_of(folder: SweepFolder) -> dict[str, str]:
    """Return run id -> the last job that was submitted for it."""
    found: dict[str, str] = {}
    files = sorted(folder.submissions.glob("*/ids.json"), key=lambda path: path.stat().st_mtime)
    for path in files:
        found.update(read_json(path))
    return found


def queued_jobs() -> set[str]:
    """Return the ids of this user's jobs that SLURM still holds, array elements apart; raises WorkError if unknown."""
    try:
        done = subprocess.run(
            ["squeue", "--me", "--noheader", "--array", "--format=%F_%K"],
            capture_output=True,
            text=True,
            timeout=SQUEUE_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        message = f"squeue does not answer: {error}"
        raise WorkError(message) from error
    return {line.strip().removesuffix("_N/A") for line in done.stdout.splitlines()}


def cancel_jobs(folder: SweepFolder) -> int:
    """Cancel the jobs of a sweep that SLURM still holds; return how many."""
    alive = sorted(set(jobs_of(folder).values()) & queued_jobs())
    if alive:
        subprocess.run(["scancel", *alive], check=True, timeout=SQUEUE_SECONDS, capture_output=True)
    return len(alive)
