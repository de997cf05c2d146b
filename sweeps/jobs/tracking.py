"""Metrics sent on to a tracker, beside metrics.jsonl: TensorBoard, or a function of one's own."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

from scaling.errors import InputError
from scaling.records import RunSpec
from scaling.run import Tracker
from sweeps.trainers import find_beside

Make = Callable[[RunSpec, Path], Tracker]


def trackers(name: str | None, folder: Path, spec: RunSpec) -> list[Tracker]:
    """Return the trackers of a run.

    Args:
        name: None, `tensorboard` (event files in the run's folder; needs the extra `tensorboard`), or
            `package.module:function`, called as function(spec, folder) and returning tracker(step, metrics). Its
            module may lie beside the grid.
        folder: The run's folder.
        spec: The run.

    Raises:
        InputError: When the extra is not installed or the function is not there.
    """
    return [] if name is None else [find_tracker(name, spec.where.get("trainer"))(spec, folder)]


def find_tracker(name: str, beside: str | None) -> Make:
    """Return what makes the trackers of runs; see `trackers`."""
    if name == "tensorboard":
        if importlib.util.find_spec("tensorboard") is None:
            raise InputError(
                "TensorBoard is not installed",
                where="cluster.tracker",
                value=name,
                remedy="pip install 'scaling-sweep[tensorboard]'",
            )
        return _tensorboard
    find_beside(beside)
    module, _, function = name.partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"no such tracker ({error})",
            where="cluster.tracker",
            value=name,
            remedy="put its module beside the grid or install it, and name package.module:function, or tensorboard",
        ) from None


def _tensorboard(spec: RunSpec, folder: Path) -> Tracker:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"))

    def track(step: int, metrics: dict[str, float]) -> None:
        for key, value in metrics.items():
            writer.add_scalar(key, value, step)
        writer.flush()

    return track
