"""What a grid asks of a site, against what the site has: partition, account, QOS, time limits, resources."""

from __future__ import annotations

import re
import shlex
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.errors import did_you_mean
from scaling.units import format_hours
from sweeps.doctor.finding import Check, failed, ok, warning
from sweeps.doctor.slurm import Facts, seconds_of
from sweeps.jobs import site

Resources = Mapping[str, Any]


def check_request(facts: Facts, slurm: Mapping[str, Any], shapes: Sequence[Resources]) -> Iterator[Check]:
    """Yield whether a site has what a grid asks for.

    Args:
        facts: What SLURM says of itself.
        slurm: The grid's `cluster.slurm`.
        shapes: The distinct resources that its runs ask for.
    """
    asked = slurm.get("partition") or facts.default
    if not asked:
        known = f"one of {', '.join(facts.partitions)}" if facts.partitions else "one"
        yield failed("partition", "none named, and the site has no default", f"set cluster.slurm.partition: {known}")
    names = asked.split(",") if asked else []
    wrong = {name: list(_refusals(facts, name, slurm, shapes)) for name in names}
    # a job may go to any of several, unless the site wants it to fit all
    enough = facts.config.get("EnforcePartLimits") != "ALL" and not all(wrong.values())
    for name, refusals in wrong.items():
        for found, remedy in refusals:
            yield (warning if enough else failed)(f"request: {name}", found, remedy)
        if not refusals:
            longest = format_hours(max((shape["timeout"] for shape in shapes), default=0.0) / 3600)
            allowed = facts.partitions.get(name, {}).get("MaxTime", "?")
            yield ok(f"request: {name}", f"up to {longest} asked for, {allowed} allowed")
    yield from _member(facts, "account", slurm.get("account"), (row["Account"] for row in facts.associations))
    of_user = (name for row in facts.associations for name in row["QOS"].split(","))
    yield from _member(facts, "qos", slurm.get("qos"), of_user)
    for shape in shapes:
        title = f"sbatch for {gpus_of(shape)}" + (f" on {shape['nodes']} nodes" if shape["nodes"] > 1 else "")
        yield sbatch_check(title, [*site.named_options(slurm), *_options(slurm, shape)])


def gpus_of(resources: Resources) -> str:
    """Return the GPUs of each node as people say them."""
    count = int(resources["gpus"])
    return f"{count} GPU{'s' if count > 1 else ''}" if count else "no GPU"


def _refusals(
    facts: Facts, name: str, slurm: Mapping[str, Any], shapes: Sequence[Resources]
) -> Iterator[tuple[str, str]]:
    """Yield (found, remedy) of what keeps a grid's jobs from starting in a partition."""
    row = facts.partitions.get(name)
    if row is None:
        if facts.partitions:
            yield f"no such partition: {name}", f"cluster.slurm.partition: {did_you_mean(name, facts.partitions)}"
        return
    limit = seconds_of(row.get("MaxTime", "UNLIMITED"))
    longest = max((shape["timeout"] for shape in shapes), default=0.0)
    if limit is not None and longest > limit:
        found = f"{format_hours(longest / 3600)} asked for, only {row['MaxTime']} allowed: such jobs would never start"
        yield found, "lower timeout: runs save before their limit and go on in the next job"
    nodes = max((shape["nodes"] for shape in shapes), default=1)
    most = row.get("MaxNodes", "UNLIMITED")
    if most.isdigit() and nodes > int(most):
        yield f"{nodes} nodes asked for, {most} allowed", "ask for fewer nodes in cluster.resources"
    for key, allowed in (("account", "AllowAccounts"), ("qos", "AllowQos")):
        names = row.get(allowed, "ALL").split(",")
        if key in slurm and names != ["ALL"] and slurm[key] not in names:
            yield f"{key} {slurm[key]} is not allowed there", f"cluster.slurm.{key}: {did_you_mean(slurm[key], names)}"


def _member(facts: Facts, key: str, asked: str | None, known: Iterable[str]) -> Iterator[Check]:
    """Yield whether an account or QOS is one of the user's, where accounting tells."""
    names = sorted({name for name in known if name})
    if asked is None or not names:
        return
    title = f"request: {key}"
    if asked in names:
        yield ok(title, asked)
        return
    remedy = f"cluster.slurm.{key}: {did_you_mean(asked, names)}"
    needed = {"account": "associations", "qos": "qos"}[key]
    say = failed if needed in facts.config.get("AccountingStorageEnforce", "") else warning
    yield say(title, f"{asked} is none of yours", remedy)


def _options(slurm: Mapping[str, Any], shape: Resources) -> list[str]:
    """Return the options of a job of such resources."""
    return [
        f"--nodes={shape['nodes']}",
        f"--ntasks-per-node={shape['processes']}",
        f"--cpus-per-task={shape['cpus']}",
        f"--mem={int(shape['memory_gb'] * 1024)}M",
        f"--time={max(1, int(shape['timeout'] // 60))}",
        *([f"--gpus-per-node={shape['gpus']}"] if shape["gpus"] else []),
        *(f"--{key}" if value is True else f"--{key}={value}" for key, value in slurm.get("options", {}).items()),
    ]


def sbatch_check(title: str, options: Sequence[str]) -> Check:
    """Ask sbatch whether it would take a job, and when that would start; nothing is submitted."""
    began = time.monotonic()
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write("\n".join(["#!/bin/sh", *(f"#SBATCH {shlex.quote(option)}" for option in options), "true", ""]))
        file.flush()
        told = site.start_estimate(Path(file.name))
    took = time.monotonic() - began
    if start := re.search(r"to start at (\S+)", told):
        return ok(title, f"takes it, answers in {took:.2f} s; a job sent now would start at {start[1]}")
    if told.startswith("unknown"):
        return failed(title, f"does not answer: {told}", "nothing can be submitted until it does")
    told = "; ".join(line.removeprefix("sbatch: ").strip() for line in told.splitlines() if line.strip())
    return failed(title, f"refuses it: {told}", f"change cluster.slurm or cluster.resources ({' '.join(options)})")
