"""A plan: every run of a grid with its cost, what is left out and why, and warnings. Planning changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from scaling.cost import Cost
from scaling.errors import InputError
from scaling.records import RunSpec
from scaling.shape import FRAMES_PER_SECOND
from sweeps.expand import Resolved, corners, resolve, with_seeds
from sweeps.grid import Grid
from sweeps.remarks import censored_budgets, remarks
from sweeps.sources import PROVISIONAL, check_probed, find_corpus, find_teacher, with_teacher
from sweeps.trainers import Trainer, load_trainer
from sweeps.trunk import share_trunks


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
        return self.cost.flops_per_step * self.updates_new if self.cost else None

    @property
    def updates_new(self) -> int:
        """Steps that this run takes itself."""
        return self.spec.updates - int(self.spec.parent.get("step", 0))

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
    try:
        return _plan_of(grid)
    except InputError as error:  # of a trainer, a corpus, a shape: they do not know of the grid
        if str(grid.file) in str(error.where):
            raise
        raise error.at(f"{grid.file}: {error.where}") from error.__cause__


def _plan_of(grid: Grid) -> Plan:
    trainer = load_trainer(grid.trainer, grid.file.resolve().parent)
    warnings: list[dict[str, str]] = []
    corpus_hash, unique_hours = find_corpus(grid, warnings)
    where = {"trainer": str(grid.file.resolve().parent)}
    if grid.corpus:
        where["corpus"] = str(grid.corpus.resolve())
    if grid.probes_corpus:
        where["probes"] = str(grid.probes_corpus.resolve())
    check_probed(grid)
    teacher = find_teacher(grid, warnings)
    if teacher:
        where["teacher"] = str(grid.teacher.resolve()) if grid.teacher else ""
    resolved = [
        seeded
        for corner in corners(grid, unique_hours)
        for seeded in with_seeds(grid, resolve(grid, corner, trainer, corpus_hash, where))
    ]
    if teacher:
        resolved = [with_teacher(one, teacher) for one in resolved]
    points = [_point(grid, one) for one in resolved]
    if grid.built_in and grid.train.share_trunk:  # of those that run: a trunk that is dropped would carry nothing
        kept = [one for one, point in zip(resolved, points, strict=True) if point.status != "dropped"]
        tied = iter(share_trunks(grid, kept))
        points = [point if point.status == "dropped" else _point(grid, next(tied)) for point in points]
    _refuse_repeats(grid, points)
    censored = censored_budgets(points)
    warnings += remarks(grid, points, censored)
    return Plan(
        grid=grid,
        trainer=trainer,
        points=points,
        warnings=warnings,
        censored=censored,
        provisional=PROVISIONAL in (corpus_hash, teacher),
    )


def _point(grid: Grid, resolved: Resolved) -> Point:
    """Return a point with its verdict: run, dropped or refused."""
    spec = resolved.spec
    point = Point(spec=spec, cost=resolved.cost)
    status, reason = "run", ""
    after = spec.updates - spec.train.get("warmup_updates", 0)
    if after < grid.min_updates:
        warmup = f"warm-up ({spec.train['warmup_updates']:,} of {spec.updates:,})" if spec.train else "warm-up"
        short = f"{max(0, after)} updates after {warmup}, fewer than min_updates {grid.min_updates}"
        if grid.allow_short:
            spec = replace(spec, flags=(*spec.flags, "short"))
        else:
            status, reason = "refused", short
    if grid.max_epochs and point.epochs and point.epochs > grid.max_epochs:
        status = "dropped"
        reason = f"{point.epochs:.3g} epochs, more than max_epochs {grid.max_epochs:g}"
    return replace(point, spec=spec, status=status, reason=reason)


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
