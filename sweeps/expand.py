"""From a grid to points: shapes, data, batch, updates and learning rate of each, by the grid's rules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from scaling.cost import Cost, Head, masked_frames, step_flops, updates_for
from scaling.errors import InputError
from scaling.records import RunSpec
from scaling.shape import FRAMES_PER_SECOND, SAMPLE_RATE
from scaling.sizes import ladder, log_spaced
from scaling.units import format_count
from sweeps.grid import Grid, ReferenceBudget
from sweeps.rules import AUTO_BATCH
from sweeps.trainers import Trainer


@dataclass(frozen=True, kw_only=True)
class Corner:
    """One combination of what a grid sweeps, before it is resolved."""

    objective: str
    unique_hours: float | None
    budget: float | None = None
    hours: float | None = None
    steps: int | None = None
    model: Mapping[str, Any]
    seed: int


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A run and its cost a step; `cost` is None for a trainer that does not say it."""

    spec: RunSpec
    cost: Cost | None


def corners(grid: Grid, unique_hours: tuple[float | None, ...]) -> Iterator[Corner]:
    """Yield the combinations of a grid: objectives, subsets, lengths, sizes, seeds."""
    budgets = [reference_flops(grid, b) if isinstance(b, ReferenceBudget) else b for b in grid.budgets]
    lengths: list[dict[str, Any]] = [
        *({"budget": budget} for budget in sorted(budgets)),
        *({"hours": hours} for hours in grid.data_hours),
        *({"steps": steps} for steps in grid.steps),
    ]
    for objective in grid.objectives:
        for unique in unique_hours:
            for length in lengths:
                for model in models(grid, length.get("budget"), budgets):
                    for seed in grid.seeds:
                        yield Corner(objective=objective, unique_hours=unique, model=model, seed=seed, **length)


def models(grid: Grid, budget: float | None, budgets: list[float]) -> list[Mapping[str, Any]]:
    """Return the models of one budget: the built-in trainer's shapes, or another trainer's {"size": N}."""
    if grid.model.shapes:
        return list(grid.model.shapes)
    sizes = list(grid.model.sizes)
    if (window := grid.model.window) is not None:
        if budget is None:
            raise InputError(
                "a window of sizes moves with the budget, and none is given",
                where=grid.model.where,
                remedy="use budgets, or sizes: {from, to, count}",
            )
        middle = window.at or math.sqrt(min(budgets) * max(budgets))
        centre = window.centre * (budget / middle) ** window.exponent
        sizes = log_spaced(centre / math.sqrt(window.span), centre * math.sqrt(window.span), window.count)
    if not grid.built_in:
        return [{"size": round(size)} for size in sizes]
    shapes = ladder(
        sizes,
        aspect=grid.model.aspect,
        frontend=grid.model.frontend,
        position=grid.model.position,
        where=grid.model.where,
    )
    return [shape.to_dict() for shape in shapes]


def resolve(grid: Grid, corner: Corner, trainer: Trainer, corpus_hash: str, where: dict[str, str]) -> Resolved:
    """Return the run of a corner, with its batch, updates and learning rate.

    For a budget C the data seen is D = C / (FLOPs a frame), whatever the batch; the batch follows D by the grid's
    rule, rounded to whole crops, and the updates are the whole number that comes nearest to C.

    Raises:
        InputError: When a budget is below one step, or is given to a trainer without a cost.
    """
    train = _train_settings(grid) if grid.built_in else {}
    spec = RunSpec(
        trainer=grid.trainer,
        objective=corner.objective if grid.built_in else "",
        model=dict(corner.model),
        corpus={"hash": corpus_hash, "unique_hours": corner.unique_hours} if grid.corpus else {},
        targets=grid.targets if grid.built_in else {},
        train=train,
        updates=corner.steps or 1,
        budget=corner.budget,
        seed=corner.seed,
        threads=grid.cluster.threads,
        trainer_args=dict(grid.trainer_args),
        sweep=grid.name,
        where=where,
    )
    if trainer.cost is None:
        if corner.steps is None:
            raise InputError(
                "a trainer without a cost function cannot be given budgets or hours of data",
                where=grid.file,
                value=grid.trainer,
                remedy="export cost(spec) -> scaling.Cost beside it, or give steps: [...]",
            )
        return Resolved(spec=spec, cost=None)
    one = trainer.cost(spec)  # of one crop: FLOPs a frame do not depend on the batch
    if grid.built_in:
        crops = _crops(grid, corner, one)
        peak = _six_digits(grid.train.peak_lr.at_size(one.params, crops * grid.train.crop_seconds))
        spec = replace(spec, train={**train, "crops": crops, "peak_lr": peak})
        one = trainer.cost(spec)
    if corner.budget is not None:
        try:
            updates = updates_for(corner.budget, one.flops_per_step)
        except InputError as error:
            size = format_count(one.params)
            raise InputError(
                f"{error.what} of the model with N = {size}",
                where=f"{grid.file}: budgets",
                value=error.value,
                remedy=error.remedy,
            ) from None
    elif corner.hours is not None:
        updates = max(1, round(corner.hours * 3600 * FRAMES_PER_SECOND / one.frames_per_step))
    else:
        updates = spec.updates
    return Resolved(spec=replace(spec, updates=updates), cost=one)


def reference_flops(grid: Grid, reference: ReferenceBudget) -> float:
    """Return the training FLOPs of a reference run with the grid's crop and batch."""
    crops = _fixed_crops(grid, reference.where)
    head = Head.narrow(reference.of, grid.targets["clusters"])
    samples = _crop_samples(grid)
    masked = masked_frames(reference.of.frames(samples), grid.train.mask_prob, grid.train.mask_length)
    return float(reference.steps * step_flops(reference.of, samples, crops, head=head, masked=masked))


def _train_settings(grid: Grid) -> dict[str, Any]:
    """Return what all runs of a grid share; batch and learning rate are those of one crop until resolved."""
    t = grid.train
    return {
        "crops": 1,
        "crop_samples": _crop_samples(grid),
        "peak_lr": 0.0,
        "warmup": t.warmup,
        "schedule": t.schedule,
        "precision": t.precision,
        "weight_decay": t.weight_decay,
        "clip": t.clip,
        "dropout": t.dropout,
        "layer_drop": t.layer_drop,
        "mask_prob": t.mask_prob,
        "mask_length": t.mask_length,
        "eval_hours": t.eval_hours,
    }


def _crop_samples(grid: Grid) -> int:
    return round(grid.train.crop_seconds * SAMPLE_RATE)


def _crops(grid: Grid, corner: Corner, one: Cost) -> int:
    """Return the crops a step that the batch rule gives for the data seen."""
    if corner.steps is not None:
        return _fixed_crops(grid, str(grid.file))
    if corner.hours is not None:
        hours = corner.hours
    else:
        assert corner.budget is not None
        frames = corner.budget / (one.flops_per_step / one.frames_per_step)
        hours = frames / FRAMES_PER_SECOND / 3600
    return max(1, round(grid.train.batch(hours) / grid.train.crop_seconds))


def _fixed_crops(grid: Grid, where: str) -> int:
    """Return the crops a step where nothing says how much data is seen, so no rule can follow it."""
    if grid.train.batch.exponent:
        raise InputError(
            "the batch follows the data seen, and here only steps are given",
            where=where,
            value="train.batch: auto" if grid.train.batch == AUTO_BATCH else "a rule with an exponent",
            remedy="give train.batch in seconds, such as batch: 16",
        )
    return max(1, round(grid.train.batch.value / grid.train.crop_seconds))


def _six_digits(value: float) -> float:
    """Return a number rounded to six digits, so that an identity does not hang on the last bit of a power."""
    return float(f"{value:.6g}")
