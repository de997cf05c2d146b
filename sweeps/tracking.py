"""Metrics sent on to a tracker, beside metrics.jsonl: TensorBoard, or a function of one's own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.records import RunSpec
from scaling.run import Tracker


def trackers(name: str | None, folder: Path, spec: RunSpec) -> list[Tracker]:
    """Return the trackers of a run.

    Args:
        name: None, `tensorboard` (event files in the run's folder; needs the extra `tensorboard`), or
            `package.module:function`, called as function(spec, folder) and returning tracker(step, metrics).
        folder: The run's folder.
        spec: The run.

    Raises:
        InputError: When the extra is not installed or the function is not there.
    """
    if name is None:
        return []
    if name == "tensorboard":
        return [_tensorboard(folder)]
    module, _, function = name.partition(":")
    try:
        make: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"no such tracker ({error})", where="cluster.tracker", value=name) from None
    return [make(spec, folder)]


def _tensorboard(folder: Path) -> Tracker:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError(
            "TensorBoard is not installed",
            where="cluster.tracker",
            value="tensorboard",
            remedy="pip install 'scaling-sweep[tensorboard]'",
        ) from None
    writer = SummaryWriter(str(folder / "tensorboard"))

    def track(step: int, metrics: dict[str, float]) -> None:
        for key, value in metrics.items():
            writer.add_scalar(key, value, step)
        writer.flush()

    return track
