"""Where a law is evaluated: the logarithms of what a run was given."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from analysis.data.table import RunTable

SYMBOLS = {"n": "N", "d": "D", "c": "C", "u": "U", "b": "B"}


@dataclass(frozen=True, kw_only=True)
class Points:
    """Logarithms of N, D, C, the unique data U and the batch B, each [rows], [problems, rows], or None if unknown.

    Example:
        >>> x = Points.of(N=[1e6, 1e7], D=1e9)
        >>> round(float(x.D)), len(x)
        (1000000000, 2)
    """

    log_n: np.ndarray
    log_d: np.ndarray
    log_c: np.ndarray | None = None
    log_u: np.ndarray | None = None
    log_b: np.ndarray | None = None

    @classmethod
    def of(cls, **values: Any) -> Points:
        """Return points at N, D and, where given, C, U, B."""
        return cls(**{f"log_{key.lower()}": np.log(np.asarray(v, dtype=float)) for key, v in values.items()})

    @classmethod
    def of_table(cls, table: RunTable) -> Points:
        """Return the points of a table's runs; a quantity that some row lacks is unknown."""
        runs = table.runs
        found = {}
        for key, symbol in SYMBOLS.items():
            if symbol in runs and runs[symbol].notna().all():
                found[f"log_{key}"] = np.log(runs[symbol].to_numpy(dtype=float))
        # laws of other quantities do not look at what is missing
        return cls(**{"log_n": np.full(len(runs), np.nan), "log_d": np.full(len(runs), np.nan), **found})

    def take(self, rows: np.ndarray) -> Points:
        """Return the points of some rows."""
        logs = {f.name: getattr(self, f.name) for f in fields(self)}
        return Points(**{name: values[rows] for name, values in logs.items() if values is not None})

    def __getattr__(self, symbol: str) -> np.ndarray:
        """Return N, D, C, U or B themselves."""
        if symbol in SYMBOLS.values() and (value := getattr(self, f"log_{symbol.lower()}")) is not None:
            return np.exp(value)
        message = f"the points have no {symbol}"
        raise AttributeError(message)

    def __len__(self) -> int:
        return int(np.broadcast(self.log_n, self.log_d).shape[-1])
