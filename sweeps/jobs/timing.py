"""How long a plan takes: a measured time per step for every distinct step, kept between calls.

Measurements are kept in the user's cache folder, under a hash of what the time depends on, so planning again is
instant and changes nothing in the sweep.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from scaling.errors import InputError
from scaling.files import read_json, write_json
from scaling.progress import progress
from scaling.records import RunSpec, content_hash
from sweeps.plan import Plan, Point

Machine = tuple[object, ...]

_IRRELEVANT = ("peak_lr", "warmup_updates", "horizon", "schedule", "weight_decay", "clip", "eval_hours", "width_base")


def with_times(plan: Plan, executor: str = "local", *, measure: bool = True) -> Plan:
    """Return the plan with the expected seconds of every run, on one device.

    Args:
        plan: The plan.
        executor: Where it shall run. Steps are measured on this machine for `local` and `debug`; for `slurm`
            `scaling-sweep doctor GRID --bench` measured them before.
        measure: Whether to measure what is not known yet. What then is still not known follows from the FLOPs and
            `cluster.flops_per_second`, where the grid says that.
    """
    machine = machine_of(plan, executor)
    known = known_times() if plan.trainer.measure is not None else {}
    if measure and executor != "slurm" and plan.trainer.measure is not None:
        missing = missing_steps(plan, machine, known)
        known |= measured(plan.trainer.measure, missing)
    points = [_timed(point, known, machine, plan.grid.cluster.flops_per_second) for point in plan.points]
    return replace(plan, points=points)


def _timed(point: Point, known: dict[str, float], machine: Machine, rate: float | None) -> Point:
    if point.status != "run":
        return point
    step = known.get(step_key(point.spec, machine)) if known else None
    if step is not None:
        return replace(point, seconds=step * point.updates_new)
    if rate is not None and point.flops_new is not None:
        return replace(point, seconds=point.flops_new / rate)
    return point


def measured(measure: Callable[[RunSpec], float], steps: Mapping[str, RunSpec]) -> dict[str, float]:
    """Return key -> seconds of steps measured here and now, and keep them."""
    if not steps:
        return {}
    times = {}
    with progress("time per step", len(steps), "shapes") as show:
        for number, (key, spec) in enumerate(steps.items(), 1):
            times[key] = measure(spec)
            show(number)
    keep_times(times)
    return times


def missing_steps(plan: Plan, machine: Machine, known: Mapping[str, float]) -> dict[str, RunSpec]:
    """Return key -> run for every distinct step whose time on a machine is not known."""
    keys = {step_key(point.spec, machine): point.spec for point in plan.runs}
    return {key: spec for key, spec in keys.items() if key not in known}


def machine_of(plan: Plan, executor: str) -> Machine:
    """Return what names the machine that runs a plan: this one, or the partition of a cluster."""
    if executor == "slurm":
        slurm = plan.grid.cluster.slurm
        return ("slurm", slurm.get("partition"), slurm.get("constraint"))
    return (platform.node(), platform.machine(), os.cpu_count(), os.environ.get("CUDA_VISIBLE_DEVICES"))


def step_key(spec: RunSpec, machine: Machine) -> str:
    """Return the hash of all that the time of a step depends on: model, batch, precision, threads, machine."""
    train = {key: value for key, value in spec.train.items() if key not in _IRRELEVANT}
    return content_hash(
        {
            "trainer": [spec.trainer, spec.objective, spec.objective_args],
            "model": spec.model,
            "targets": spec.targets,
            "train": train,
            "args": spec.trainer_args,
            "threads": spec.threads,
            "execution": spec.execution,
            "machine": machine,
            "torch": _torch_version(),
        }
    )


def _torch_version() -> str:
    try:
        return version("torch")
    except PackageNotFoundError:
        return ""


def _cache_file() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "scaling-sweep" / "seconds-per-step.json"


def keep_times(times: Mapping[str, float]) -> None:
    """Keep measured times for later plans."""
    write_json(_cache_file(), {**known_times(), **times})


def known_times() -> dict[str, float]:
    """Return key -> seconds of every step that was measured by this user."""
    path = _cache_file()
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except InputError as error:  # a cache: worth a word, not a failure
        print(f"measuring again: {error}", file=sys.stderr)
        return {}
