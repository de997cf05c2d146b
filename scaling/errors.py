"""The two grades of failure that the commands know.

`InputError` is bad input (exit 2), `WorkError` is work that failed on good input (exit 1).
A doubtful result is neither: it is a result with a status that every output prints.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_NO_VALUE = object()


class InputError(ValueError):
    r"""Bad input, said as what - where - value - do this.

    Args:
        what: What is wrong, as a sentence without its subject's place or value.
        where: File and line, column, key or option.
        value: The offending value, shown by `repr` and cut at 80 characters.
        remedy: What to do about it, in the imperative.

    Example:
        >>> str(InputError("not a number of FLOPs", where="grid.yaml:7: budgets", value="x", remedy="write 1e18"))
        "grid.yaml:7: budgets: not a number of FLOPs, got 'x'\n  write 1e18"
    """

    def __init__(
        self, what: str, *, where: object = None, value: object = _NO_VALUE, remedy: str | None = None
    ) -> None:
        self.what, self.where, self.remedy = what, where, remedy
        self.value = None if value is _NO_VALUE else value
        self._given = value
        text = f"{where}: {what}" if where is not None else what
        if value is not _NO_VALUE:
            shown = repr(value)
            text += f", got {shown if len(shown) <= 80 else shown[:77] + '...'}"
        if remedy:
            text += f"\n  {remedy}"
        super().__init__(text)

    def at(self, where: object) -> InputError:
        """Return the same message at another place."""
        return InputError(self.what, where=where, value=self._given, remedy=self.remedy)


class WorkError(RuntimeError):
    """Work that failed although its input was right: a run that crashed, a fit that no row allows."""


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """Return a remedy for a misspelt name: the nearest known one, else all of them.

    Example:
        >>> did_you_mean("budjets", ["budgets", "seeds"])
        'did you mean budgets? Known: budgets, seeds'
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(word), names, n=1)
    listing = "Known: " + ", ".join(names) if names else "it has no keys here: leave it away"
    return f"did you mean {near[0]}? {listing}" if near else listing
