"""Trainers: any importable `train(spec, run) -> RunRecord`, and what its module may export beside it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from scaling.cost import Cost
from scaling.errors import InputError
from scaling.records import RunRecord, RunSpec
from scaling.run import RunFolder


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A trainer's functions; all but the first are optional."""

    name: str
    train: Callable[[RunSpec, RunFolder], RunRecord | None]
    cost: Callable[[RunSpec], Cost] | None
    """What a step costs; without it a grid gives `steps`, never `budgets`."""
    prepare: Callable[[RunSpec], None] | None
    """Makes what runs share, before the first one starts."""
    measure: Callable[[RunSpec], float] | None
    """Seconds a step on this device."""


def load_trainer(name: str, folder: Path | str | None = None) -> Trainer:
    """Return the trainer `package.module:function`; its module may lie in `folder` (the grid's).

    Raises:
        InputError: When the module or the function is not there.
    """
    module_name, _, function = name.partition(":")
    if folder is not None and str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not module_name.startswith(error.name):
            raise  # the trainer's own import failed: its traceback says where
        raise InputError(
            "no such module", where="trainer", value=name, remedy="put it beside the grid, or install it"
        ) from None
    train = getattr(module, function, None)
    if not callable(train):
        raise InputError(
            f"{module_name} has no function {function}",
            where="trainer",
            value=name,
            remedy="name package.module:function",
        )
    optional = {key: getattr(module, key, None) for key in ("cost", "prepare", "measure")}
    return Trainer(name=name, train=train, **optional)
