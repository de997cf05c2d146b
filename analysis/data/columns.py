"""Which column of somebody's table is N, D, C, U, the batch or the loss, and in which unit."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scaling.errors import InputError, did_you_mean
from scaling.shape import FRAMES_PER_SECOND

NAMES = {
    "n": ("params", "n", "modelsize", "nparams", "numparams", "paramcount", "parameters", "nonembparams", "size"),
    "d": ("frames", "d", "tokens", "ntokens", "numtokens", "trainingtokens", "tokensseen", "samples", "datasize"),
    "c": ("flops", "c", "trainingflop", "trainingflops", "compute", "computeflops", "totalflops", "flop"),
    "u": ("uniqueframes", "uniquehours", "uniquetokens", "unique", "u", "uniquedata"),
    "b": ("batchframes", "batchtokens", "batch", "b", "batchsize"),
    "loss": (
        "loss", "l", "validloss", "valloss", "validationloss", "evalloss", "testloss", "devloss", "finalloss",
        "trainloss", "trainingloss",
    ),
}  # fmt: skip
"""Quantity -> known names, best first; compared without case, blanks, dashes and underscores."""
UNITS = {
    "thousands": 1e3, "thousand": 1e3, "millions": 1e6, "million": 1e6, "billions": 1e9, "billion": 1e9,
    "trillions": 1e12, "trillion": 1e12, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12, "pflops": 1e15, "eflops": 1e18,
}  # fmt: skip
"""Ending of a column's name, after an underscore or in brackets -> factor."""
QUANTITIES = {
    "n": "model size N", "d": "data seen D", "c": "training FLOPs C", "u": "unique data U", "b": "batch",
    "loss": "loss",
}  # fmt: skip
OPTIONAL = ("u", "b")
"""Quantities that only some laws need: a row without them is used."""
FRAMES_AN_HOUR = 3600 * FRAMES_PER_SECOND


@dataclass(frozen=True)
class Column:
    """A column and what to multiply it by."""

    name: str
    factor: float = 1.0

    def __str__(self) -> str:
        return self.name if self.factor == 1 else f"{self.name} (x {self.factor:g})"


def find_columns(names: Sequence[str], given: dict[str, str | None], *, where: object) -> dict[str, Column]:
    """Return quantity -> column for those of n, d, c, u, b and loss that a table has.

    Args:
        names: The table's columns.
        given: Quantity -> column named by the user, or None.
        where: The table, for messages.

    Raises:
        InputError: When a named column is missing, there is no loss, or neither N with C nor N with D is there and
            N alone is missing too.
    """
    found: dict[str, Column] = {}
    for quantity, known in NAMES.items():
        column = given.get(quantity)
        if column is not None:
            if column not in names:
                raise InputError(
                    f"no such column for the {QUANTITIES[quantity]}",
                    where=where,
                    value=column,
                    remedy=did_you_mean(column, names),
                )
            found[quantity] = Column(column, _split_unit(column)[1])
        elif (guess := _guess(names, known)) is not None:
            found[quantity] = guess
    if "u" in found and _squeeze(found["u"].name) == "uniquehours":  # D is in frames beside it
        found["u"] = Column(found["u"].name, FRAMES_AN_HOUR)
    missing = [q for q in ("loss", "n") if q not in found]
    if missing:
        options = {"n": "--n", "loss": "--loss"}
        raise InputError(
            " and ".join(f"no column for the {QUANTITIES[q]}" for q in missing),
            where=where,
            value=list(names),
            remedy="name it: " + " ".join(f"{options[q]} COLUMN" for q in missing),
        )
    return found


def _guess(names: Sequence[str], known: Sequence[str]) -> Column | None:
    """Return the column whose name stands first among the known ones; exact names before names with a unit."""
    ranked = []
    for name in names:
        base, factor = _split_unit(name)
        if _squeeze(name) in known:
            ranked.append((known.index(_squeeze(name)), 0, Column(name)))
        elif _squeeze(base) in known:
            ranked.append((known.index(_squeeze(base)), 1, Column(name, factor)))
    return min(ranked, key=lambda item: item[:2])[2] if ranked else None


def _split_unit(name: str) -> tuple[str, float]:
    """Return a name without its unit, and the unit's factor.

    Example:
        >>> _split_unit("params_millions"), _split_unit("Tokens (B)"), _split_unit("loss")
        (('params', 1000000.0), ('Tokens', 1000000000.0), ('loss', 1.0))
    """
    match = re.fullmatch(r"(.+?)(?:[_\s-]+\(?|\s*\()([A-Za-z]+)\)?", name.strip())
    if match and match[2].lower() in UNITS:
        return match[1], UNITS[match[2].lower()]
    return name, 1.0


def _squeeze(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()
