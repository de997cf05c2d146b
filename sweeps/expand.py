"""From a grid to points: shapes, data, batch, updates and learning rate of each, by the grid's rules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from scaling.cost import Cost, params_kept, updates_for
from scaling.errors import InputError
from scaling.records import RunSpec
from scaling.shape import FRAMES_PER_SECOND, SAMPLE_RATE, Shape
from scaling.sizes import ladder, log_spaced
from scaling.speech.catalogue import CATALOGUE, resolved_settings
from scaling.units import format_count
from sweeps.batches import crops_of, fixed_crops, group_seconds
from sweeps.grid import Grid, ReferenceBudget
from sweeps.recipes import LARGE
from sweeps.rules import PowerRule, by_rule
from sweeps.trainers import Trainer


@dataclass(frozen=True, kw_only=True)
class Corner:
    """One combination of what a grid sweeps but for the seed, before it is resolved."""

    objective: str
    unique_hours: float | None
    budget: float | None = None
    hours: float | None = None
    steps: int | None = None
    reference: ReferenceBudget | None = None
    """The run whose budget this is."""
    model: Mapping[str, Any]

    @cached_property
    def shape(self) -> Shape:
        """The built-in trainer's model."""
        return Shape.from_dict(self.model)


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """A run and its cost a step; `cost` is None for a trainer that does not say it."""

    spec: RunSpec
    cost: Cost | None


def corners(grid: Grid, unique_hours: tuple[float | None, ...]) -> Iterator[Corner]:
    """Yield the combinations of a grid: objectives, subsets, lengths, sizes."""
    for objective in grid.objectives:
        lengths = _lengths(grid, objective)
        budgets = [length["budget"] for length in lengths if "budget" in length]
        for unique in unique_hours:
            for length in lengths:
                for model in models(grid, length.get("budget"), budgets):
                    yield Corner(objective=objective, unique_hours=unique, model=model, **length)


def _lengths(grid: Grid, objective: str) -> list[dict[str, Any]]:
    """Return how long the runs of an objective are: budgets by rising FLOPs, hours of data, steps."""
    budgets: list[dict[str, Any]] = [
        {"budget": reference_flops(grid, b, objective), "reference": b}
        if isinstance(b, ReferenceBudget)
        else {"budget": b}
        for b in grid.budgets
    ]
    return [
        *sorted(budgets, key=lambda length: length["budget"]),
        *({"hours": hours} for hours in grid.data_hours),
        *({"steps": steps} for steps in grid.steps),
    ]


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
        moves = PowerRule(value=window.centre, at=middle, exponent=window.exponent)
        centre = by_rule(lambda: moves(budget), grid.model.where)
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


def with_seeds(grid: Grid, resolved: Resolved) -> list[Resolved]:
    """Return the run of a corner, which has the first seed, with all of them; what it costs is the same."""
    return [resolved, *(replace(resolved, spec=replace(resolved.spec, seed=seed)) for seed in grid.seeds[1:])]


def resolve(grid: Grid, corner: Corner, trainer: Trainer, corpus_hash: str, where: dict[str, str]) -> Resolved:
    """Return the run of a corner with the first seed, with its batch, updates and learning rate.

    For a budget C the data seen is D = C / (FLOPs a frame), whatever the batch; the batch follows D by the grid's
    rule, rounded to whole crops, and the updates are the whole number that comes nearest to C.

    Raises:
        InputError: When a budget is below one step, or is given to a trainer without a cost.
    """
    spec = RunSpec(
        trainer=grid.trainer,
        objective=corner.objective if grid.built_in else "",
        objective_args=_objective_args(grid, corner, 1) if grid.built_in else {},
        model=dict(corner.model),
        corpus={"hash": corpus_hash, "unique_hours": corner.unique_hours} if grid.corpus else {},
        targets=grid.targets[corner.objective] if grid.built_in else {},
        train=_train_settings(grid, corner) if grid.built_in else {},
        updates=corner.steps or 1,
        budget=corner.budget,
        seed=grid.seeds[0],
        threads=grid.cluster.threads,
        trainer_args=dict(grid.trainer_args),
        sweep=grid.name,
        where=where,
        flags=() if grid.is_tuned or not grid.built_in else ("untuned",),
        execution=dict(grid.cluster.execution) if grid.built_in else {},
        probes=grid.probes.to_dict() if grid.probes else {},
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
        crops = crops_of(grid, corner, one)
        rule = grid.train.rate_of(corner.objective)
        rate = by_rule(lambda: rule.at_size(one.params, crops * grid.train.crop_seconds), f"{grid.file}: peak_lr")
        train = {**spec.train, "crops": crops, "peak_lr": _six_digits(rate), "width_base": rule.width}
        spec = replace(spec, train=train, objective_args=_objective_args(grid, corner, crops))
        one = trainer.cost(spec)
    updates = _updates(grid, corner, spec, one)
    train = {**spec.train, "warmup_updates": warmup_updates(grid, updates)} if grid.built_in else {}
    return Resolved(spec=replace(spec, updates=updates, train=train), cost=one)


def _updates(grid: Grid, corner: Corner, spec: RunSpec, cost: Cost) -> int:
    """Return the optimiser steps of a run."""
    if corner.reference is not None:
        # the study's rule: equal FLOPs, layer drop left out, whose share of a step differs by size
        ratio = _full_step(_reference_spec(grid, corner.reference, corner.objective)) / _full_step(spec)
        return max(1, round(corner.reference.steps * ratio))
    if corner.hours is not None:
        return max(1, round(corner.hours * 3600 * FRAMES_PER_SECOND / cost.frames_per_step))
    if corner.budget is None:
        return spec.updates
    try:
        return updates_for(corner.budget, cost.flops_per_step)
    except InputError as error:
        raise InputError(
            f"{error.what} of the model with N = {format_count(cost.params)}",
            where=f"{grid.file}: budgets",
            value=error.value,
            remedy=error.remedy,
        ) from None


def warmup_updates(grid: Grid, updates: int) -> int:
    """Return the steps over which the learning rate of a run of so many rises."""
    warmup = grid.train.warmup
    return int(warmup) if warmup >= 1 else max(1, round(warmup * updates))


def reference_flops(grid: Grid, reference: ReferenceBudget, objective: str) -> float:
    """Return the training FLOPs of a reference run with the grid's crop, batch, head and layer drop."""
    from scaling.speech import cost

    return reference.steps * cost(_reference_spec(grid, reference, objective)).flops_per_step


def _reference_spec(grid: Grid, reference: ReferenceBudget, objective: str) -> RunSpec:
    crops = fixed_crops(grid, reference.where)
    corner = Corner(objective=objective, unique_hours=None, model=reference.of.to_dict())
    return RunSpec(
        objective=objective,
        objective_args=_objective_args(grid, corner, crops),
        model=dict(corner.model),
        targets=grid.targets[objective],
        train={**_train_settings(grid, corner), "crops": crops},
        updates=reference.steps,
    )


def _full_step(spec: RunSpec) -> float:
    """Return the training FLOPs of a step in which no layer is dropped."""
    from scaling.speech import cost

    return cost(replace(spec, train={**spec.train, "layer_drop": 0.0})).flops_per_step


def _objective_args(grid: Grid, corner: Corner, crops: int) -> dict[str, Any]:
    """Return the settings of the objective for a model and batch."""
    given = dict(grid.objective_args.get(corner.objective, {}))
    head = grid.train.large_head if params_kept(corner.shape) >= LARGE else None
    head = head or grid.train.head
    if head is not None and "head" in CATALOGUE[corner.objective].settings:
        given.setdefault("head", head)
    if corner.objective == "wav2vec2":
        given["group_seconds"] = group_seconds(grid)
    return resolved_settings(corner.objective, corner.shape, given, crops, grid.train.crop_seconds)


def _train_settings(grid: Grid, corner: Corner) -> dict[str, Any]:
    """Return how a model trains; batch, learning rate and warm-up are filled in when they are resolved."""
    t = grid.train
    own = t.large if params_kept(corner.shape) >= LARGE else {}
    waveform = corner.model["frontend"] == "waveform"
    return {
        "crops": 1,
        "crop_samples": _crop_samples(grid),
        "peak_lr": 0.0,
        "schedule": t.schedule,
        "precision": t.precision,
        "weight_decay": t.weight_decay,
        "clip": t.clip,
        "dropout": t.dropout,
        "layer_drop": t.layer_drop,
        "mask_prob": CATALOGUE[corner.objective].mask_prob if t.mask_prob is None else t.mask_prob,
        "mask_length": t.mask_length,
        "join": t.join,
        "augment": dict(t.augment),
        "penalty": t.penalty if waveform else 0.0,
        "feature_grad": t.feature_grad if waveform else 1.0,
        "initial": t.initial,
        "eval_hours": t.eval_hours,
        **own,
    }


def _crop_samples(grid: Grid) -> int:
    return round(grid.train.crop_seconds * SAMPLE_RATE)


def _six_digits(value: float) -> float:
    """Return a number rounded to six digits, so that an identity does not hang on the last bit of a power."""
    return float(f"{value:.6g}")
