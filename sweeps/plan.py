"""A plan: every run of a grid with its cost, what is left out and why, and warnings. Planning changes nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from scaling.cost import Cost
from scaling.errors import InputError
from scaling.records import RunSpec
from scaling.shape import FRAMES_PER_SECOND, SAMPLE_RATE
from scaling.units import format_count, format_flops, format_hours
from sweeps.expand import Resolved, corners, resolve
from sweeps.grid import Grid
from sweeps.trainers import Trainer, load_trainer
from sweeps.trunk import share_trunks

PROVISIONAL = "provisional"
"""Stands for the corpus's hash where there is no corpus yet; such a plan cannot be submitted."""
SMALL_LAYERS = 0.5
"""Share of N in the layers under which a plan warns: the front end then decides what N means."""
FLOPS_OFF = 0.01
UNUSED = 0.02
"""Share of the audio in utterances shorter than a crop over which a plan warns."""
MIN_SIZES = 4


@dataclass(frozen=True, kw_only=True)
class Point:
    """One run of a plan."""

    spec: RunSpec
    cost: Cost | None
    status: str = "run"
    """`run`; `dropped` (beyond max_epochs) or `refused` (starved of updates)."""
    reason: str = ""
    seconds: float | None = None
    """Expected time on the measured device."""

    @property
    def flops(self) -> float | None:
        """C."""
        return self.cost.flops_per_step * self.spec.updates if self.cost else None

    @property
    def flops_new(self) -> float | None:
        """The part of C that this run spends itself, beyond the steps that its parent takes."""
        inherited = self.spec.parent.get("step", 0)
        return self.cost.flops_per_step * (self.spec.updates - inherited) if self.cost else None

    @property
    def frames(self) -> float | None:
        """D."""
        return self.cost.frames_per_step * self.spec.updates if self.cost else None

    @property
    def hours(self) -> float | None:
        """D in hours of audio."""
        return self.frames / FRAMES_PER_SECOND / 3600 if self.frames and self.spec.corpus else None

    @property
    def epochs(self) -> float | None:
        """Passes over the distinct audio."""
        unique = self.spec.corpus.get("unique_hours")
        return self.hours / unique if self.hours and unique else None

    @property
    def flops_off(self) -> float | None:
        """Relative difference of C from the budget."""
        return self.flops / self.spec.budget - 1 if self.flops and self.spec.budget else None

    def row(self) -> dict[str, Any]:
        """Return the point as the contract of `plan --json` says."""
        return {
            "id": self.spec.id,
            "status": self.status,
            "reason": self.reason,
            "objective": self.spec.objective,
            "params": self.cost.params if self.cost else None,
            "model": dict(self.spec.model),
            "budget": self.spec.budget,
            "flops": self.flops,
            "flops_new": self.flops_new,
            "parent": dict(self.spec.parent) or None,
            "updates": self.spec.updates,
            "batch_frames": self.cost.frames_per_step if self.cost else None,
            "frames": self.frames,
            "hours": self.hours,
            "unique_hours": self.spec.corpus.get("unique_hours"),
            "epochs": self.epochs,
            "peak_lr": self.spec.train.get("peak_lr"),
            "seed": self.spec.seed,
            "device_hours": self.seconds / 3600 if self.seconds is not None else None,
            "flags": list(self.spec.flags),
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All points of a grid."""

    grid: Grid
    trainer: Trainer
    points: list[Point]
    warnings: list[dict[str, str]] = field(default_factory=list)
    """{code, message}."""
    censored: list[dict[str, Any]] = field(default_factory=list)
    """{budget, unique_hours, side, sizes}: budgets whose left arm was cut."""
    provisional: bool = False
    pilot: bool = False
    """Whether its runs are trials of settings, which no fit of a results folder uses."""

    @property
    def runs(self) -> list[Point]:
        """The points that will run."""
        return [point for point in self.points if point.status == "run"]

    @property
    def refused(self) -> list[Point]:
        """The points for which `submit` refuses the plan."""
        return [point for point in self.points if point.status == "refused"]

    @property
    def totals(self) -> dict[str, Any]:
        """Runs, FLOPs and device hours of all that will run."""
        seconds = [point.seconds for point in self.runs]
        known = None not in seconds and bool(seconds)
        return {
            "runs": len(self.runs),
            "dropped": sum(point.status == "dropped" for point in self.points),
            "refused": len(self.refused),
            "flops": sum(point.flops_new or 0.0 for point in self.runs),
            "device_hours": sum(s or 0.0 for s in seconds) / 3600 if known else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as `plan --json` writes it."""
        return {
            "name": self.grid.name,
            "points": [point.row() for point in self.points],
            "totals": self.totals,
            "censored": self.censored,
            "warnings": self.warnings,
        }


def make_plan(grid: Grid) -> Plan:
    """Return the plan of a grid, without times.

    Raises:
        InputError: When a rule of the grid cannot be met: a size without a shape, a budget below one step, more
            hours than the corpus has, a corpus without an utterance as long as a crop.
    """
    trainer = load_trainer(grid.trainer, grid.file.resolve().parent)
    warnings: list[dict[str, str]] = []
    corpus_hash, unique_hours = _corpus(grid, warnings)
    where = {"trainer": str(grid.file.resolve().parent)}
    if grid.corpus:
        where["corpus"] = str(grid.corpus.resolve())
    teacher = _teacher(grid, warnings)
    if teacher:
        where["teacher"] = str(grid.teacher.resolve()) if grid.teacher else ""
    resolved = [resolve(grid, corner, trainer, corpus_hash, where) for corner in corners(grid, unique_hours)]
    if teacher:
        resolved = [_with_teacher(one, teacher) for one in resolved]
    if grid.built_in and grid.train.share_trunk:
        resolved = share_trunks(grid, resolved)
    points = [_point(grid, one) for one in resolved]
    _refuse_repeats(grid, points)
    censored = _censored(points)
    warnings += _warnings(grid, points, censored)
    return Plan(
        grid=grid,
        trainer=trainer,
        points=points,
        warnings=warnings,
        censored=censored,
        provisional=PROVISIONAL in (corpus_hash, teacher),
    )


def _corpus(grid: Grid, warnings: list[dict[str, str]]) -> tuple[str, tuple[float | None, ...]]:
    """Return the corpus's hash and the subsets swept, checked against the corpus where there is one."""
    if grid.corpus is None:
        return "", (None,)
    if not grid.corpus.exists():
        message = f"no corpus at {grid.corpus} yet: ids are provisional, and submit will refuse"
        warnings.append({"code": "no-corpus", "message": message})
        return PROVISIONAL, grid.unique_hours or (None,)
    from scaling.speech.corpus.store import Corpus

    corpus = Corpus(grid.corpus)
    for hours in grid.unique_hours:
        corpus.subset(hours, where=f"{grid.file}: unique_hours")
    if grid.built_in and not grid.train.join:
        _warn_unused(grid, corpus, warnings)
        for held_out in (False, True):
            longest = corpus.longest_crop(held_out=held_out)
            if longest < grid.train.crop_seconds:
                raise InputError(
                    f"no {'held-out' if held_out else 'training'} utterance of {grid.corpus} is as long as a crop "
                    f"(the longest gives {longest:.2f} s)",
                    where=f"{grid.file}: train.crop_seconds",
                    value=grid.train.crop_seconds,
                    remedy="use a shorter crop, train.join: true, or a corpus of longer utterances",
                )
    return corpus.hash, grid.unique_hours or (_rounded(corpus.hours),)


def _warn_unused(grid: Grid, corpus: Any, warnings: list[dict[str, str]]) -> None:
    """Warn when much of the training audio lies in utterances that are shorter than a crop."""
    import numpy as np

    chosen = ~corpus.table["held_out"]
    samples = corpus.table["samples"][chosen]
    short = samples < grid.train.crop_seconds * SAMPLE_RATE
    share = float(samples[short].sum()) / float(np.maximum(1, samples.sum()))
    if share > UNUSED:
        warnings.append(
            {
                "code": "unused-audio",
                "message": f"{share:.0%} of the training audio lies in utterances shorter than a crop of "
                f"{grid.train.crop_seconds:g} s and is never seen: use train.join: true, or a shorter crop",
            }
        )


def _rounded(hours: float) -> float:
    return float(f"{hours:.4g}")


def _point(grid: Grid, resolved: Resolved) -> Point:
    """Return a point with its verdict: run, dropped or refused."""
    spec = resolved.spec
    flags = [] if grid.is_tuned or not grid.built_in else ["untuned"]
    point = Point(spec=spec, cost=resolved.cost)
    status, reason = "run", ""
    after = spec.updates - spec.train.get("warmup_updates", 0)
    if after < grid.min_updates:
        short = f"{max(0, after)} updates after warm-up, fewer than min_updates {grid.min_updates}"
        if grid.allow_short:
            flags.append("short")
        else:
            status, reason = "refused", short
    if grid.max_epochs and point.epochs and point.epochs > grid.max_epochs:
        status = "dropped"
        reason = f"{point.epochs:.3g} epochs, more than max_epochs {grid.max_epochs:g}"
    return replace(point, spec=replace(spec, flags=tuple(flags)), status=status, reason=reason)


def _teacher(grid: Grid, warnings: list[dict[str, str]]) -> str:
    """Return the hash of the weights of the run whose layer gives the labels, empty where there is no such run."""
    if grid.teacher is None:
        return ""
    if not grid.teacher.exists():
        message = f"no teacher at {grid.teacher} yet: ids are provisional, and submit will refuse"
        warnings.append({"code": "no-teacher", "message": message})
        return PROVISIONAL
    from scaling.speech.targets.teacher import check_layer
    from scaling.speech.weights import Weights, weights_hash

    check_layer(Weights.load(grid.teacher), grid.targets["hubert"]["layer"], f"{grid.file}: targets.layer")
    return weights_hash(grid.teacher)


def _with_teacher(resolved: Resolved, teacher: str) -> Resolved:
    """Return a run whose labels come of a teacher, named by its weights."""
    spec = resolved.spec
    if spec.targets.get("kind") != "layer-kmeans":
        return resolved
    return replace(resolved, spec=replace(spec, targets={**spec.targets, "teacher": teacher}))


def _refuse_repeats(grid: Grid, points: list[Point]) -> None:
    """Refuse a grid in which two points are the same run."""
    seen: set[str] = set()
    for point in points:
        if point.spec.id in seen:
            raise InputError(
                "two points are the same run",
                where=grid.file,
                value={"model": dict(point.spec.model), "budget": point.spec.budget},
                remedy="remove the repeated size, budget or seed",
            )
        seen.add(point.spec.id)


def _censored(points: list[Point]) -> list[dict[str, Any]]:
    """Return the budgets whose smallest sizes were dropped: their U has no left arm to speak of."""
    dropped: dict[tuple[str, float | None, float | None], set[float]] = defaultdict(set)
    for point in points:
        if point.status == "dropped" and point.spec.budget and point.cost:
            key = (point.spec.objective, point.spec.corpus.get("unique_hours"), point.spec.budget)
            dropped[key].add(point.cost.params)
    return [
        {
            "objective": objective,
            "unique_hours": unique,
            "budget": budget,
            "side": "left",
            "sizes": sorted(sizes),
        }
        for (objective, unique, budget), sizes in dropped.items()
    ]


def _warnings(grid: Grid, points: list[Point], censored: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Return what a careful reader of the plan would remark."""
    found: list[dict[str, str]] = []

    def warn(code: str, message: str) -> None:
        found.append({"code": code, "message": message})

    runs = [point for point in points if point.status == "run"]
    refused = [point for point in points if point.status == "refused"]
    if refused:
        first = refused[0]
        size = format_count(first.cost.params) if first.cost else str(dict(first.spec.model))
        warn(
            "starved",
            f"{len(refused)} points are refused (the first: {size} at "
            f"{format_flops(first.spec.budget or 0)}, {first.reason}). Use a smaller batch, drop the size, lower "
            "min_updates, or set allow_short: true to run them flagged and leave them out of fits",
        )
    for cut in censored:
        sizes = ", ".join(format_count(size) for size in cut["sizes"])
        warn(
            "censored",
            f"{format_flops(cut['budget'])}: max_epochs drops {sizes}, so the left arm of its U is cut. Use more "
            "unique hours or a larger max_epochs to see it",
        )
    if not grid.is_tuned and grid.built_in and runs:
        why = "the pilot's best lies at the edge of what it tried" if grid.tuned else "run `scaling-sweep pilot` first"
        warn("untuned", f"learning rate and batch are untuned rules: {why}")
    thin = {
        point.cost.params: point.cost.params_by_part["layers"] / point.cost.params
        for point in runs
        if point.cost and point.cost.params_by_part and "layers" in point.cost.params_by_part
    }
    thin = {size: part for size, part in thin.items() if part < SMALL_LAYERS}
    if thin:
        listing = ", ".join(f"{format_count(size)} ({part:.0%})" for size, part in sorted(thin.items()))
        warn("layers", f"the layers are under half of N at {listing}: what grows there is not the Transformer")
    repeated = [point for point in runs if point.epochs and point.epochs > 4 and not grid.max_epochs]
    if repeated:
        worst = max(repeated, key=lambda point: point.epochs or 0)
        warn(
            "epochs",
            f"{len(repeated)} points repeat their audio more than 4 times (up to {worst.epochs:.3g}). Set "
            "max_epochs to drop them, or make more audio",
        )
    off = [point for point in runs if abs(point.flops_off or 0) > FLOPS_OFF]
    if off:
        worst = max(off, key=lambda point: abs(point.flops_off or 0))
        warn("flops-off", f"{len(off)} points miss their budget by up to {worst.flops_off:+.1%}: few updates")
    if grid.budgets:
        by_budget: dict[float | None, set[str]] = defaultdict(set)
        for point in runs:
            by_budget[point.spec.budget].add(str(point.spec.model))
        few = [budget for budget, models in by_budget.items() if len(models) < MIN_SIZES]
        if few:
            listing = ", ".join(format_flops(budget or 0) for budget in few)
            warn(
                "few-sizes",
                f"fewer than {MIN_SIZES} sizes at {listing}: a parabola has nothing left to check it",
            )
    unique = [point.hours for point in runs if point.hours]
    if unique and not grid.unique_hours:
        warn(
            "unique-hours",
            f"unique_hours is not given: all of the corpus is used, up to {format_hours(max(unique))} seen",
        )
    return found
