"""The sections `cluster` (where runs run, what they ask of the machines) and `cap` of grid.yaml."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.units import parse_seconds
from sweeps.grid import EXECUTORS, SAME_ERROR, TRIES, Cluster
from sweeps.yamlfile import Section, flag, mapping, number, one_of, seed, several, text, whole

OURS = ("array", "begin", "dependency", "error", "job-name", "open-mode", "output", "signal", "time")
"""Options of sbatch that a sweep relies on."""


def read_cluster(section: Section | None) -> Cluster:
    """Return the section `cluster`."""
    if section is None:
        return Cluster()
    cluster = Cluster(
        executor=section.take("executor", one_of(*EXECUTORS), "local"),
        slots=section.take("slots", whole, 1),
        threads=section.take("threads", whole, 1),
        save_every=section.take("save_every", _seconds, 600.0),
        keep_weights=section.take("keep_weights", flag, True),
        keep_checkpoints=section.take("keep_checkpoints", flag, False),
        scratch=section.take("scratch", _folder, None),
        scratch_gb=section.take("scratch_gb", number, None),
        snapshot=section.take("snapshot", flag, True),
        tries=section.take("tries", whole, TRIES),
        same_error=section.take("same_error", whole, SAME_ERROR),
        flops_per_second=section.take("flops_per_second", number, None),
        tracker=section.take("tracker", _tracker, None),
        execution=_execution(section),
        slurm=_slurm(section.section("slurm")),
        resources=_resources(section.rows("resources")),
    )
    section.done()
    return cluster


def _execution(section: Section) -> dict[str, Any]:
    """Return how runs are run, what is not given left out."""
    settings = {
        "micro_seconds": section.take("micro_seconds", number, None),
        "compile": section.take("compile", flag, False) or None,
        "shard": section.take("shard", flag, False) or None,
    }
    return {key: value for key, value in settings.items() if value is not None}


def _tracker(value: Any, where: str) -> str:
    name = text(value, where)
    if name != "tensorboard" and not re.fullmatch(r"\w+(\.\w+)*:\w+", name):
        raise InputError("no such tracker", where=where, value=value, remedy="write tensorboard, or my_module:function")
    return name


def _seconds(value: Any, where: str) -> float:
    return parse_seconds(value, where=where)


def _slurm(section: Section | None) -> dict[str, Any]:
    """Return SLURM's settings that are given."""
    if section is None:
        return {}
    parsers: dict[str, Callable[[Any, str], Any]] = {
        **dict.fromkeys(("partition", "account", "qos", "constraint", "reservation", "exclude", "nodelist"), text),
        "python": _python,
        "timeout": _minutes,
        "warning": _seconds,
        "setup": _lines,
        "srun_args": _lines,
        "options": _options,
        "array_parallelism": whole,
    }
    settings = {key: section.take(key, parse, None) for key, parse in parsers.items()}
    settings["keeper"] = _keeper(section)
    section.done()
    return {key: value for key, value in settings.items() if value is not None}


def _lines(value: Any, where: str) -> list[str]:
    return list(several(text)(value, where))


def _options(value: Any, where: str) -> dict[str, Any]:
    """Return further options of sbatch by their long names; true for one without a value, `requeue: false` for none."""
    options = dict(mapping(value, where))
    for key, given in options.items():
        if key in OURS:
            raise InputError(
                "the sweep sets this option itself",
                where=f"{where}.{key}",
                value=given,
                remedy="use the settings of cluster.slurm and cluster.resources",
            )
        wrong = not isinstance(given, (str, int, float)) or (given is False and key != "requeue")
        if wrong:
            raise InputError(
                "not an option of sbatch", where=f"{where}.{key}", value=given, remedy="write mail-type: END"
            )
    if options.get("requeue") is False:
        del options["requeue"]
        options["no-requeue"] = True
    return options


def _python(value: Any, where: str) -> str:
    command = text(value, where)
    try:
        shlex.split(command)
    except ValueError as error:
        raise InputError(
            f"not a command line ({error})", where=where, value=value, remedy="write apptainer exec x.sif python3"
        ) from None
    return command


def _minutes(value: Any, where: str) -> float:
    """Return a time limit in seconds."""
    seconds = _seconds(value, where)
    if seconds < 60:
        raise InputError("SLURM's time limits are minutes", where=where, value=value, remedy="write at least 1m")
    return seconds


def _keeper(section: Section) -> bool | dict[str, Any] | None:
    """Return whether a keeper is sent, or where to and how often; None where nothing is said."""
    if not isinstance(section.values.get("keeper"), dict):
        return section.take("keeper", _yes, None)
    keeper = section.section("keeper")
    assert keeper is not None
    given: dict[str, Any] = {k: keeper.take(k, text, None) for k in ("partition", "account", "qos", "constraint")}
    given["every"] = keeper.take("every", _seconds, None)
    keeper.done()
    return {key: value for key, value in given.items() if value is not None}


def _yes(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        remedy = "write {every: 30m, partition: cpu}, or false"
        raise InputError("not the settings of a keeper", where=where, value=value, remedy=remedy)
    return value


def _folder(value: Any, where: str) -> Path:
    """Return a folder; ~ and variables of the shell are understood."""
    path = os.path.expanduser(os.path.expandvars(text(value, where)))  # noqa: PTH111 - Path knows no variables
    if "$" in path:
        raise InputError("a variable that is not set", where=where, value=value, remedy="set it, or write the path out")
    return Path(path)


def _resources(sections: list[Section]) -> tuple[Mapping[str, Any], ...]:
    """Return resources by size, smallest first: [{up_to: 100M, gpus: 1}, ...]."""
    rows = []
    for section in sections:
        rows.append(
            {
                "up_to": section.take("up_to", number),
                "gpus": section.take("gpus", seed, 0),
                "nodes": section.take("nodes", whole, 1),
                "processes": section.take("processes", whole, None),
                "cpus": section.take("cpus", whole, None),
                "memory_gb": section.take("memory_gb", number, None),
                "timeout": section.take("timeout", _minutes, None),
            }
        )
        section.done()
    return tuple(sorted(rows, key=lambda row: row["up_to"]))


def read_cap(section: Section | None) -> dict[str, float]:
    """Return the section `cap`."""
    if section is None:
        return {}
    cap = {key: section.take(key, number, None) for key in ("gpu_hours", "device_hours", "flops")}
    section.done()
    return {key: value for key, value in cap.items() if value is not None}
