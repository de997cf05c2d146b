"""`scaling-sweep doctor`: what this machine, its SLURM and the file systems are like, and what of it to change.

It changes nothing: what it makes below `results` and scratch it removes, and the one job of `--job` ends by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.doctor.files import check_folder
from sweeps.doctor.finding import Check, Status, collect, failed, ok, warning
from sweeps.doctor.machine import check_machine
from sweeps.doctor.node import check_node
from sweeps.doctor.request import check_request, sbatch_check
from sweeps.doctor.slurm import Facts, check_site, read_facts
from sweeps.grid import Cluster
from sweeps.jobs import site

if TYPE_CHECKING:
    from sweeps.plan import Plan

MARKS: Mapping[Status, str] = {"ok": "ok", "warning": "!", "failed": "x"}
MACHINE_SECONDS, GRID_SECONDS, FOLDER_SECONDS = 180.0, 300.0, 60.0


def examine(results: Path, *, grid: Path | None = None, job: bool = False, bench: bool = False) -> list[Check]:
    """Return what was looked at, one check after the other; none raises, and none takes for ever.

    Args:
        results: The folder of sweeps.
        grid: A grid, to check what it asks for as well.
        job: Whether to look from a compute node, by a job of a moment.
        bench: Whether to measure the time of the grid's steps where its runs will run.
    """
    checks = collect("this machine", check_machine, seconds=MACHINE_SECONDS)
    plans: list[Plan] = []
    if grid is not None:
        of_grid = collect("grid", lambda: _grid(grid, plans), seconds=GRID_SECONDS)
        if bench:  # before the rest, which needs the times
            checks += collect("bench", lambda: _bench(plans[0] if plans else None, given=True), seconds=None)
            plans.clear()
            of_grid = collect("grid", lambda: _grid(grid, plans), seconds=GRID_SECONDS)
        checks += of_grid
    elif bench:
        checks += collect("bench", lambda: _bench(None, given=False), seconds=None)
    plan = plans[0] if plans else None
    facts = read_facts() if site.here() else Facts()
    checks += collect("SLURM", lambda: _slurm(facts, plan), seconds=None)
    checks += _folders(results, plan, facts.nodes)
    if job:
        checks += collect("node", lambda: _node(facts, plan, results), seconds=None)
    return checks


def format_checks(checks: Sequence[Check]) -> str:
    """Return checks as lines: mark, name, what was found, and below it what to do; at the end how many are not well."""
    width = max((len(check.name) for check in checks), default=0)
    lines = []
    for check in checks:
        lines.append(f"{MARKS[check.status]:<2}  {check.name:<{width}}  {'; '.join(check.found.splitlines())}")
        if check.remedy:
            lines += [f"{'':<{width + 6}}{line.strip()}" for line in check.remedy.splitlines()]
    count = Counter(check.status for check in checks)
    told: Mapping[Status, str] = {"ok": "ok", "warning": "to know about", "failed": "failed"}
    summary = ", ".join(f"{count[status]} {word}" for status, word in told.items() if count[status])
    return "\n".join([*lines, "", f"{len(checks)} checks: {summary}"])


def _grid(file: Path, plans: list[Plan]) -> Iterator[Check]:
    """Yield what a grid asks for; imported here, since trainers import torch."""
    from sweeps.doctor.grid import check_grid

    return check_grid(file, plans)


def _slurm(facts: Facts, plan: Plan | None) -> Iterator[Check]:
    """Yield what SLURM is like here, and whether it has what a plan asks for."""
    asked = plan is not None and plan.grid.cluster.executor == "slurm"
    if not site.here():
        if asked:
            yield failed("SLURM", "no sbatch on this machine", "use a login node, or --executor local")
        else:
            yield ok("SLURM", "none here: the local executor runs everything on this machine")
        return
    slurm = plan.grid.cluster.slurm if plan is not None else {}
    yield from check_site(facts, chosen=slurm.get("partition"), runs=len(plan.runs) if plan is not None else 0)
    if not facts.config:
        return
    if plan is not None and asked:
        from sweeps.doctor.grid import shapes_of

        yield from check_request(facts, slurm, [shape for shape, _ in shapes_of(plan)])
        return
    check = sbatch_check("sbatch", ["--time=1"])
    remedy = "a site may want an account or a partition: `scaling-sweep doctor GRID` asks with those of a grid"
    yield check if check.status == "ok" else warning(check.name, check.found, remedy)


def _folders(results: Path, plan: Plan | None, nodes: int) -> list[Check]:
    """Look at the folder of sweeps and, where a grid names one, at scratch, which then takes the checkpoints."""
    scratch = filled = None
    if plan is not None:
        from sweeps.doctor.grid import checkpoint_gb

        scratch, filled = plan.grid.cluster.scratch, checkpoint_gb(plan)
    look = partial(check_folder, "results", results, nodes=nodes, needs_gb=None if scratch else filled)
    checks = collect("results", look, seconds=FOLDER_SECONDS)
    if scratch:
        look = partial(check_folder, "scratch", scratch, nodes=nodes, needs_gb=filled)
        checks += collect("scratch", look, seconds=FOLDER_SECONDS)
    return checks


def _node(facts: Facts, plan: Plan | None, results: Path) -> Iterator[Check]:
    """Look from a compute node, as a plan's jobs would."""
    if not facts.config:
        yield warning("node", "no SLURM answers here: no job was sent", "try --job on a login node")
        return
    cluster = plan.grid.cluster if plan is not None else Cluster()
    gpu = any(row["gpus"] for row in cluster.resources)
    torch = plan is None or plan.grid.built_in
    yield from check_node(results, slurm=cluster.slurm, gpu=gpu, torch=torch, scratch=cluster.scratch)


def _bench(plan: Plan | None, *, given: bool) -> Iterator[Check]:
    """Measure the time of a plan's steps."""
    if plan is None:
        remedy = "mend the grid first" if given else "name one: scaling-sweep doctor GRID --bench"
        yield failed("bench", "no grid whose steps could be measured", remedy)
        return
    from sweeps.doctor.grid import check_bench

    yield from check_bench(plan)
