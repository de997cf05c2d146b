"""What a careful reader of a plan would remark: starved points, cut budgets, repeated audio, thin layers."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from scaling.units import format_count, format_flops, format_hours
from sweeps.grid import Grid

if TYPE_CHECKING:
    from sweeps.plan import Point

SMALL_LAYERS = 0.5
"""Share of N in the layers under which a plan warns: the front end then decides what N means."""
FLOPS_OFF = 0.01
"""Relative difference of C from its budget over which a plan warns."""
MIN_SIZES = 4
"""Sizes a budget needs for a parabola that something checks."""


def censored_budgets(points: list[Point]) -> list[dict[str, Any]]:
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


def remarks(grid: Grid, points: list[Point], censored: list[dict[str, Any]]) -> list[dict[str, str]]:
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
            f"{format_flops(first.spec.budget or 0)}, {first.reason}). Use a smaller batch or train.warmup, "
            "drop the size, lower min_updates, or set allow_short: true to run them flagged and leave them out of fits",
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
        why = (
            "few updates"
            if worst.spec.updates < 1 / FLOPS_OFF
            else "layer drop, which the budget of a reference run leaves out"
        )
        warn("flops-off", f"{len(off)} points miss their budget by up to {worst.flops_off:+.1%}: {why}")
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
