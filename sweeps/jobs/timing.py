"""How long a plan takes here: a measured time per step for every distinct step, kept between calls.

Measurements are kept in the user's cache folder, under a hash of what the time depends on, so planning again is
instant and changes nothing in the sweep.
"""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from scaling.errors import InputError
from scaling.files import read_json, write_json
from scaling.progress import progress
from scaling.records import RunSpec, content_hash
from sweeps.plan import Plan

_IRRELEVANT = ("peak_lr", "warmup_updates", "horizon", "schedule", "weight_decay", "clip", "eval_hours", "width_base")


def with_times(plan: Plan) -> Plan:
    """Return the plan with the expected seconds of every run, measured on this device where not known yet."""
    if plan.trainer.measure is None:
        return plan
    known = _read()
    keys = {point.spec.id: step_key(point.spec) for point in plan.runs}
    missing = {keys[p.spec.id]: p.spec for p in plan.runs if keys[p.spec.id] not in known}
    if missing:
        with progress("time per step", len(missing), "shapes") as show:
            for number, (key, spec) in enumerate(missing.items(), 1):
                known[key] = plan.trainer.measure(spec)
                show(number)
        write_json(_cache_file(), {**_read(), **{key: known[key] for key in missing}})
    points = [
        replace(p, seconds=known[keys[p.spec.id]] * p.updates_new) if p.status == "run" else p for p in plan.points
    ]
    return replace(plan, points=points)


def step_key(spec: RunSpec) -> str:
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
            "machine": [
                platform.node(),
                platform.machine(),
                os.cpu_count(),
                os.environ.get("CUDA_VISIBLE_DEVICES"),
            ],
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


def _read() -> dict[str, float]:
    path = _cache_file()
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except InputError as error:  # a cache: worth a word, not a failure
        print(f"measuring again: {error}", file=sys.stderr)
        return {}
