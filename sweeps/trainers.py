"""Trainers: any importable `train(spec, run) -> RunRecord`, and what its module may export beside it."""

from __future__ import annotations

import importlib
import math
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

from scaling.cost import Cost
from scaling.errors import InputError
from scaling.records import RunRecord, RunSpec
from scaling.run import RunFolder

SNAPSHOT = sys.path[0] if sys.argv and Path(sys.argv[0]).is_dir() else ""
"""The folder of code that this process was started from, as jobs are (`python results/NAME/code/HASH ...`)."""


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """A trainer's functions; all but the first are optional."""

    name: str
    train: Callable[[RunSpec, RunFolder], RunRecord | None]
    cost: Callable[[RunSpec], Cost] | None
    """What a step costs, whatever the seed; without it a grid gives `steps`, never `budgets`."""
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
    find_beside(folder)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not module_name.startswith(error.name):
            raise _broken(module_name, error) from error
        raise InputError(
            "no such module", where="trainer", value=name, remedy="put it beside the grid, or install it"
        ) from None
    except Exception as error:
        raise _broken(module_name, error) from error
    train = getattr(module, function, None)
    if not callable(train):
        raise InputError(
            f"{module_name} has no function {function}",
            where="trainer",
            value=name,
            remedy="name package.module:function",
        )
    optional = {key: getattr(module, key, None) for key in ("prepare", "measure")}
    cost = getattr(module, "cost", None)
    return Trainer(name=name, train=train, cost=_checked_cost(cost, module_name) if cost else None, **optional)


def find_beside(folder: Path | str | None) -> None:
    """Let modules that lie in a folder be imported: before all others, but after a snapshot of the code."""
    if folder is None or str(folder) in sys.path:
        return
    if SNAPSHOT:
        sys.path.append(str(folder))
    else:
        sys.path.insert(0, str(folder))


def _checked_cost(cost: Callable[[RunSpec], Cost], module: str) -> Callable[[RunSpec], Cost]:
    """Return a cost function whose mistakes are named."""

    def checked(spec: RunSpec) -> Cost:
        try:
            result = cost(spec)
        except InputError:
            raise
        except Exception as error:
            raise _broken(f"{module}.cost", error) from error
        if not isinstance(result, Cost) or not all(
            isinstance(value, Real) and 0 < value < math.inf
            for value in (result.params, result.flops_per_step, result.frames_per_step)
        ):
            raise InputError(
                "not a scaling.Cost of positive numbers",
                where=f"{module}.cost",
                value=result,
                remedy="return Cost(params=..., flops_per_step=..., frames_per_step=...)",
            )
        return result

    return checked


def _broken(place: str, error: Exception) -> InputError:
    """Return what failed in a trainer's module, and in which line."""
    trace = traceback.extract_tb(error.__traceback__)
    where = f"{trace[-1].filename}:{trace[-1].lineno}" if trace else place
    if isinstance(error, SyntaxError):
        where = f"{error.filename}:{error.lineno}"
    return InputError(f"{place} fails: {type(error).__name__}: {error}", where=where, remedy="--debug shows more")
