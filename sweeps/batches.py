"""The batch of a run: crops a step by the grid's rule, shared by all objectives of the grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scaling.cost import Cost
from scaling.errors import InputError
from scaling.shape import FRAMES_PER_SECOND
from scaling.speech.catalogue import crops_together
from sweeps.grid import Grid
from sweeps.rules import AUTO_BATCH, by_rule

if TYPE_CHECKING:
    from sweeps.expand import Corner


def crops_of(grid: Grid, corner: Corner, one: Cost) -> int:
    """Return the crops a step that the batch rule gives for the data seen.

    Raises:
        InputError: Where the rule gives no batch, or where nothing says how much data is seen and it needs that.
    """
    if corner.steps is not None:
        return fixed_crops(grid, str(grid.file))
    if corner.hours is not None:
        hours = corner.hours
    else:
        assert corner.budget is not None
        frames = corner.budget / (one.flops_per_step / one.frames_per_step)
        hours = frames / FRAMES_PER_SECOND / 3600
    seconds = by_rule(lambda: grid.train.batch(hours), f"{grid.file}: batch")
    return _whole_groups(grid, round(seconds / grid.train.crop_seconds))


def fixed_crops(grid: Grid, where: str) -> int:
    """Return the crops a step where nothing says how much data is seen, so no rule can follow it."""
    if grid.train.batch.exponent:
        raise InputError(
            "the batch follows the data seen, and here only steps are given",
            where=where,
            value="train.batch: auto" if grid.train.batch == AUTO_BATCH else "a rule with an exponent",
            remedy="give train.batch in seconds, such as batch: 16",
        )
    return _whole_groups(grid, round(grid.train.batch.value / grid.train.crop_seconds))


def _whole_groups(grid: Grid, crops: int) -> int:
    """Return the crops of a batch: where wav2vec 2.0 is swept, less than one of its groups or a whole number of them.

    All objectives of the grid get the same batch.
    """
    if not grid.built_in or "wav2vec2" not in grid.objectives:
        return max(1, crops)
    seconds = group_seconds(grid)
    together = crops_together(seconds, grid.train.crop_seconds)
    return max(1, crops if crops <= together else round(crops / together) * together)


def group_seconds(grid: Grid) -> float:
    """Return the audio over which wav2vec 2.0's diversity is counted."""
    given = grid.objective_args.get("wav2vec2", {}).get("group_seconds")
    return float(given or grid.train.group_seconds)
