"""The pilot: a small learning-rate x batch grid at two sizes, so that a sweep compares sizes and not settings.

The second smallest and the second largest size of the grid are trained at its cheapest budget with the grid's
learning rate and batch, each halved and doubled; a best value at the end of what was tried moves the range.

The best learning rate grows about as the root of the batch (Malladi et al. 2022, arXiv 2205.10287), so all trials of
a size share one parabola over u = log(lr / sqrt(batch)), with a constant of its own for every batch:

    loss = c_batch + p u + q u^2,    u* = -p / (2 q)

A batch is as good as the best when its own best loss is within 0.5 % of the lowest; the largest such batch is the
fastest. Two sizes give the power law of the rate over N. The batch is known to a factor of two only, which tells no
exponent, so the grid's batch rule keeps its own and is scaled, as far up as both sizes allow.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from scaling.errors import InputError, WorkError
from scaling.files import write_bytes
from scaling.tables import format_table
from scaling.units import format_count, format_flops
from sweeps.folder import SweepFolder
from sweeps.grid import Grid, ModelGrid
from sweeps.jobs.submit import submit
from sweeps.jobs.timing import with_times
from sweeps.jobs.watch import watch
from sweeps.plan import Plan, Point, make_plan
from sweeps.rules import LearningRate, PowerRule

FACTOR = 2.0
EXTENSIONS = 3
"""How often the range may move."""
AS_GOOD = 0.005
"""Relative difference of losses that does not count."""
FAR_OFF = 0.05
"""Trials this much above the best, such as diverged ones, say nothing about where the bottom is."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One learning rate and batch at one size."""

    point: Point
    rate: float
    batch: float
    """Seconds of audio a step."""
    loss: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best setting of one size, and what was tried on either side of it."""

    params: float
    hours: float
    rate: float
    """At the chosen batch."""
    rate_bracket: tuple[float, float]
    batch: float
    batch_bracket: tuple[float, float]
    loss: float
    """The lowest one at the chosen batch."""
    beyond: tuple[tuple[float, float], ...]
    """(rate, batch) to try before the best is bracketed; empty when it is."""


def pilot(grid: Grid, *, results: Path, executor: str, output: Path) -> str:
    """Tune a grid's learning rate and batch, write them, and return what was found as text.

    Args:
        grid: The grid; its own rules are the middle of the first range.
        results: Folder of sweeps; the pilot's is NAME-pilot.
        executor: `local` or `debug`.
        output: File for the tuned rules, which the grid then names: `tuned: FILE`.

    Raises:
        InputError: When the grid has no budgets or its trainer is not the built-in one.
        WorkError: When a run failed.
    """
    if not grid.built_in or not grid.budgets:
        raise InputError(
            "a pilot tunes the built-in trainer at a budget",
            where=grid.file,
            remedy="give budgets: [...]; a trainer of your own is tuned through its trainer_args",
        )
    if len(grid.objectives) > 1:
        raise InputError(
            "a pilot tunes one objective",
            where=f"{grid.file}: objective",
            value=list(grid.objectives),
            remedy="pilot a grid of each, and write train.peak_lr: {hubert: RULE, wav2vec2: RULE}",
        )
    budget, models = _two_sizes(grid)
    base = replace(
        grid,
        name=f"{grid.name}-pilot",
        budgets=(budget,),
        seeds=grid.seeds[:1],
        unique_hours=grid.unique_hours[-1:],
        max_epochs=None,
        allow_short=True,
        tuned=None,
    )
    folder = SweepFolder(results / base.name)
    trials: list[list[Trial]] = [[], []]
    wanted = [_first_range(base, model) for model in models]
    for _ in range(1 + EXTENSIONS):
        for of_size, model, settings in zip(trials, models, wanted, strict=True):
            of_size += [_trial(base, model, rate, batch) for rate, batch in settings]
        plan = with_times(_plan(base, [t.point for of_size in trials for t in of_size]))
        submission = submit(plan, results=results, executor=executor)
        if submission.new and executor == "local":
            try:
                watch(folder)
            except KeyboardInterrupt:
                folder.ask_to_stop()
                raise
        trials = [[_with_loss(folder, trial) for trial in of_size] for of_size in trials]
        best = [find_best(of_size, base.train.crop_seconds) for of_size in trials]
        wanted = [list(b.beyond) for b in best]
        if not any(wanted):
            break
    tuned = _rules(grid, best, trials, budget)
    text = f"# Written by `scaling-sweep pilot {grid.file.name}`. In the grid: tuned: {_beside(output, grid.file)}\n"
    write_bytes(output, (text + yaml.safe_dump(tuned, sort_keys=False, width=100, default_flow_style=None)).encode())
    return _report(tuned, best, output, grid.file)


def find_best(trials: Sequence[Trial], smallest_batch: float) -> Best:
    """Return the best setting of one size from its trials.

    Raises:
        WorkError: When every trial diverged.
    """
    lowest = min(trial.loss for trial in trials)
    if not math.isfinite(lowest):
        message = "every trial of the pilot diverged: lower train.peak_lr"
        raise WorkError(message)
    near = [trial for trial in trials if trial.loss <= lowest * (1 + FAR_OFF)]
    by_batch: dict[float, list[Trial]] = defaultdict(list)
    for trial in near:
        by_batch[trial.batch].append(trial)
    batch = max(b for b, ts in by_batch.items() if min(t.loss for t in ts) <= lowest * (1 + AS_GOOD))
    here = min(by_batch[batch], key=lambda trial: trial.loss)
    rates = sorted(trial.rate for trial in trials if trial.batch == batch)
    batches = sorted({trial.batch for trial in trials})
    bottom = _bottom(by_batch)
    rate = here.rate if bottom is None else math.exp(bottom) * math.sqrt(batch)
    rate = min(max(rate, rates[0]), rates[-1])
    beyond = []
    if here.rate == rates[0]:
        beyond.append((here.rate / FACTOR, batch))
    if here.rate == rates[-1]:
        beyond.append((here.rate * FACTOR, batch))
    if batch == batches[-1]:
        beyond.append((here.rate * math.sqrt(FACTOR), batch * FACTOR))
    if batch == batches[0] and batch / FACTOR >= smallest_batch:
        beyond.append((here.rate / math.sqrt(FACTOR), batch / FACTOR))
    point = here.point
    assert point.cost is not None
    assert point.hours is not None
    return Best(
        params=point.cost.params,
        hours=point.hours,
        rate=rate,
        rate_bracket=_around(rate, rates),
        batch=batch,
        batch_bracket=_around(batch, batches),
        loss=here.loss,
        beyond=tuple(beyond),
    )


def _bottom(by_batch: dict[float, list[Trial]]) -> float | None:
    """Return u* of the shared parabola, or None where the trials do not bend upward."""
    rows, losses = [], []
    for i, (batch, trials) in enumerate(by_batch.items()):
        for trial in trials:
            u = math.log(trial.rate / math.sqrt(batch))
            rows.append([float(i == j) for j in range(len(by_batch))] + [u, u * u])
            losses.append(trial.loss)
    design = np.array(rows)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    *_, p, q = np.linalg.lstsq(design, np.array(losses), rcond=None)[0]
    return float(-p / (2 * q)) if q > 0 else None


def _around(value: float, tried: Sequence[float]) -> tuple[float, float]:
    """Return the nearest values that were tried below and above; the value's own end where there is none."""
    below = [t for t in tried if t < value * 0.999]
    above = [t for t in tried if t > value * 1.001]
    return (max(below, default=tried[0]), min(above, default=tried[-1]))


def _two_sizes(grid: Grid) -> tuple[float, list[ModelGrid]]:
    """Return the cheapest budget, and the second smallest and second largest model of the whole grid."""
    points = make_plan(replace(grid, allow_short=True, max_epochs=None)).points
    sizes = sorted({p.cost.params: p.spec.model for p in points if p.cost}.items())
    if len(sizes) < 2:
        raise InputError("a pilot needs two sizes", where=grid.file, value=len(sizes))
    inner = 1 if len(sizes) > 3 else 0
    chosen = [sizes[inner][1], sizes[-1 - inner][1]]
    budget = min(p.spec.budget for p in points if p.spec.budget)
    return budget, [replace(grid.model, sizes=(), window=None, shapes=(dict(model),)) for model in chosen]


def _first_range(grid: Grid, model: ModelGrid) -> list[tuple[float, float]]:
    """Return (rate, batch) around the grid's own rules."""
    point = make_plan(replace(grid, model=model)).points[0]
    rate = point.spec.train["peak_lr"]
    crop = grid.train.crop_seconds
    middle = point.spec.train["crops"] * crop
    steps = (1 / FACTOR, 1.0, FACTOR)
    batches = sorted({max(1, round(middle * step / crop)) * crop for step in steps})
    return [(rate * step * math.sqrt(batch / middle), batch) for step in steps for batch in batches]


def _trial(grid: Grid, model: ModelGrid, rate: float, batch: float) -> Trial:
    rules = replace(
        grid.train,
        peak_lr=LearningRate(value=rate, width=grid.train.rate_of(grid.objectives[0]).width),
        peak_lr_of={},
        batch=PowerRule(value=batch),
        share_trunk=False,
    )
    point = make_plan(replace(grid, model=model, train=rules)).points[0]
    return Trial(point=point, rate=rate, batch=point.spec.train["crops"] * grid.train.crop_seconds)


def _plan(grid: Grid, points: list[Point]) -> Plan:
    return replace(make_plan(grid), points=points, warnings=[], censored=[], pilot=True)


def _with_loss(folder: SweepFolder, trial: Trial) -> Trial:
    record = folder.record(trial.point.spec.id)
    if record is None:
        message = f"the pilot's run {trial.point.spec.id} has no result: scaling-sweep status {folder.path}"
        raise WorkError(message)
    return replace(trial, loss=math.inf if record.loss is None else record.loss)


def _rules(grid: Grid, best: Sequence[Best], trials: Sequence[Sequence[Trial]], budget: float) -> dict[str, Any]:
    """Return the tuned block: the rules, and what they rest on."""
    small, large = best
    batch = grid.train.batch
    scale = min(b.batch / batch(b.hours) for b in best)
    reference = math.sqrt(small.batch * large.batch)
    unit = [b.rate * math.sqrt(reference / b.batch) for b in best]
    exponent = min(0.0, math.log(unit[1] / unit[0]) / math.log(large.params / small.params))
    middle = math.sqrt(small.params * large.params)
    value = math.sqrt(unit[0] * unit[1])
    return {
        "peak_lr": {
            "at": _round(middle),
            "value": _round(value),
            "exponent": _round(exponent),
            "batch": _round(reference),
        },
        "batch": {"at": batch.at, "value": _round(batch.value * scale), "exponent": batch.exponent},
        "evidence": [
            {
                "params": round(b.params),
                "budget": budget,
                "hours": _round(b.hours),
                "peak_lr": _round(b.rate),
                "peak_lr_bracket": [_round(x) for x in b.rate_bracket],
                "batch_seconds": _round(b.batch),
                "batch_bracket": [_round(x) for x in b.batch_bracket],
                "loss": _round(b.loss, 5),
                "bracketed": not b.beyond,
                "trials": [
                    [_round(t.rate), _round(t.batch), _round(t.loss, 5) if math.isfinite(t.loss) else None]
                    for t in sorted(of_size, key=lambda t: (t.batch, t.rate))
                ],
            }
            for b, of_size in zip(best, trials, strict=True)
        ],
    }


def _round(value: float, digits: int = 4) -> float:
    return float(f"{value:.{digits}g}")


def _report(tuned: dict[str, Any], best: Sequence[Best], output: Path, grid: Path) -> str:
    """Return the findings as text."""
    rows = [
        [
            format_count(b.params),
            f"{b.rate:.3g}",
            f"{b.rate_bracket[0]:.3g} - {b.rate_bracket[1]:.3g}",
            f"{b.batch:g} s",
            f"{b.batch_bracket[0]:g} - {b.batch_bracket[1]:g} s",
            f"{b.loss:.4f}",
            "at the edge of what was tried" if b.beyond else "bracketed",
        ]
        for b in best
    ]
    budget = format_flops(tuned["evidence"][0]["budget"])
    table = format_table(["N", "peak lr", "bracket", "batch", "bracket", "loss", ""], rows, left=(6,))
    rules = "\n".join(f"{key}: {tuned[key]}" for key in ("peak_lr", "batch"))
    line = f"tuned: {_beside(output, grid)}"
    next_step = f"next: add `{line}` to {grid}, instead of train.batch and train.peak_lr"
    return f"pilot at {budget} FLOPs\n{table}\n{rules}\nwrote {output}\n{next_step}"


def _beside(output: Path, grid: Path) -> str:
    """Return a path as the grid names it: relative to the grid's folder."""
    return os.path.relpath(output.resolve(), grid.resolve().parent)
