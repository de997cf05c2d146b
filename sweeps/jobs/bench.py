"""The time of a plan's steps, measured where its runs will run: here, or by an srun on the cluster."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from scaling.errors import InputError, WorkError
from scaling.files import read_json, write_json
from scaling.records import RunSpec
from sweeps.jobs import site
from sweeps.jobs.timing import keep_times, known_times, machine_of, measured, missing_steps
from sweeps.plan import Plan
from sweeps.trainers import load_trainer

PATIENCE = 1800
"""Seconds to wait for a node."""
MINUTES = 30


def measure_steps(plan: Plan, executor: str) -> int:
    """Measure every distinct step of a plan whose time is not known and return how many there were.

    Raises:
        InputError: When the trainer cannot measure its steps.
        WorkError: When the job on the cluster failed or waited too long.
    """
    if plan.trainer.measure is None:
        raise InputError(
            "the trainer measures no steps",
            where=f"{plan.grid.file}: trainer",
            value=plan.trainer.name,
            remedy="export measure(spec) -> seconds beside it, or give cluster.flops_per_second",
        )
    missing = missing_steps(plan, machine_of(plan, executor), known_times())
    if executor != "slurm":
        measured(plan.trainer.measure, missing)
    elif missing:
        keep_times(_on_the_cluster(plan, missing))
    return len(missing)


def measure_here(folder: Path) -> None:
    """Measure the steps that `measure_steps` wrote down; what its job on the cluster does."""
    times = {}
    for key, values in read_json(folder / "steps.json").items():
        spec = RunSpec.from_dict(values)
        measure = load_trainer(spec.trainer, spec.where.get("trainer")).measure
        if measure is not None:
            times[key] = measure(spec)
    write_json(folder / "times.json", times)


def _on_the_cluster(plan: Plan, missing: dict[str, RunSpec]) -> dict[str, float]:
    """Return the times of steps on one device of the partition, measured there."""
    cluster = plan.grid.cluster
    folder = Path(tempfile.mkdtemp(dir=Path.cwd(), prefix=".bench-"))  # where nodes see it
    try:
        write_json(folder / "steps.json", {key: spec.to_dict() for key, spec in missing.items()})
        site.srun(
            ["-m", "sweeps.jobs.job", "measure", str(folder)],
            cluster.slurm,
            gpu=any(row["gpus"] for row in cluster.resources),
            minutes=MINUTES,
            patience=PATIENCE,
            options=[f"--cpus-per-task={cluster.threads}"],
        )
        return read_json(folder / "times.json")
    except site.UnreachableError as error:
        message = f"the steps could not be measured on the cluster: {error.told}"
        raise WorkError(message) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
