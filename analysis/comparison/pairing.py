"""Which tables may be compared with each other, and which of their runs pair."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from analysis.data.table import RunTable
from scaling.errors import InputError, did_you_mean

SAME = 0.02
"""Sizes, data and budgets whose logarithms differ by less are one."""
MIN_ROWS = 3
METRIC = "metric_"
"""What the columns of downstream metrics start with; the other losses mean what `eval_id` says."""


def refuse(tables: Sequence[RunTable], cluster: str | None = None) -> list[dict[str, str]]:
    """Refuse tables that say different things, and return warnings about what they do not say.

    Args:
        tables: One for each recipe.
        cluster: Column that all of them must have.

    Raises:
        InputError: When there are fewer than two tables, their losses differ in meaning or unit, their data in unit,
            or one has no compute, too few runs, or no such column.

    Example:
        >>> from analysis.data.loading import load
        >>> refuse(load("runs.csv"))
        Traceback (most recent call last):
        ...
        scaling.errors.InputError: --compare: a comparison takes two tables or more, got 1
          name the results of each recipe, or split one table by --group COLUMN
    """
    if len(tables) < 2:
        raise InputError(
            "a comparison takes two tables or more",
            where="--compare",
            value=len(tables),
            remedy="name the results of each recipe, or split one table by --group COLUMN",
        )
    warnings = _losses(tables)
    if len(units := {table.data_unit for table in tables} - {"units"}) > 1:
        raise InputError(
            "data counted in different units",
            where="--compare",
            value=sorted(units),
            remedy="bring D to one unit, and name its column by --d",
        )
    for table in tables:
        where = table.label or table.source.get("path", "--compare")
        if table.cost == "none":
            raise InputError("no compute in the table", where=where, remedy="name the column of D or C: --d, --c")
        if table.used < MIN_ROWS:
            raise InputError(
                "too few runs to compare", where=where, value=table.used, remedy=f"give {MIN_ROWS} usable runs or more"
            )
        if cluster is not None and cluster not in table.runs:
            raise InputError(
                "no such column to cluster by",
                where=where,
                value=cluster,
                remedy=did_you_mean(cluster, map(str, table.runs.columns)),
            )
    return warnings


def _losses(tables: Sequence[RunTable]) -> list[dict[str, str]]:
    """Refuse losses of different meanings."""
    metrics = {table.loss_name for table in tables if table.loss_name.startswith(METRIC)}
    if metrics:
        if len(metrics | {table.loss_name for table in tables}) > 1:
            raise InputError(
                "different metrics",
                where="--compare",
                value=sorted({table.loss_name for table in tables}),
                remedy="name one that all have: --metric NAME",
            )
        return []
    for column, what in (("eval_id", "losses that mean different things"), ("loss_unit", "losses of different units")):
        said = {
            str(v) for table in tables if column in table.runs for v in table.runs[column].dropna().unique() if v != ""
        }
        if len(said) > 1:
            raise InputError(
                f"a multiplier between {what} is meaningless",
                where=f"--compare: {column}",
                value=sorted(said),
                remedy="compare a shared downstream metric: --metric NAME, or --loss metric_NAME",
            )
    if all("eval_id" in table.runs and table.runs["eval_id"].notna().all() for table in tables):
        return []
    message = "the tables do not say whether their losses mean the same (no eval_id in every row)"
    return [{"code": "unchecked-loss", "message": message}]


def names_of(tables: Sequence[RunTable]) -> list[str]:
    """Return what to call the recipes: their labels or files where these tell them apart, else numbers."""
    labels = [table.label for table in tables]
    files = [Path(str(table.source.get("path", ""))).stem for table in tables]
    for found in (labels, files):
        if all(found) and len(set(found)) == len(found):
            return found
    return [f"recipe {number}" for number in range(1, len(tables) + 1)]


def pairs_of(first: pd.DataFrame, second: pd.DataFrame) -> list[tuple[int, int]]:
    """Return the rows of two tables that pair, each row at most once, the nearest first.

    A pair has the same size, the same data or budget, and, where both tables say them, the same seed and the same
    unique data; the same is within 2 %.
    """

    def apart(column: str) -> np.ndarray:
        if column not in first or column not in second:
            return np.full((len(first), len(second)), np.nan)
        a, b = (np.log(runs[column].to_numpy(dtype=float)) for runs in (first, second))
        return np.abs(a[:, None] - b[None, :])

    size, data, budget, unique = (apart(column) for column in ("N", "D", "budget", "U"))
    fits = (size <= SAME) & ((data <= SAME) | (budget <= SAME)) & ~(unique > SAME)
    if "seed" in first and "seed" in second:
        # a column with gaps holds its whole numbers as 0.0
        a, b = (runs["seed"].astype(str).str.removesuffix(".0").to_numpy() for runs in (first, second))
        fits &= a[:, None] == b[None, :]
    distance = np.where(fits, size + np.nan_to_num(data), np.inf)
    found: dict[int, int] = {}
    taken: set[int] = set()
    for place in np.argsort(distance, axis=None, kind="stable")[: int(fits.sum())]:
        i, j = divmod(int(place), len(second))
        if i not in found and j not in taken:
            found[i] = j
            taken.add(j)
    return sorted(found.items())


def clusters_of(
    first: pd.DataFrame, second: pd.DataFrame, pairs: Sequence[tuple[int, int]], column: str | None
) -> np.ndarray:
    """Return the number of each row's cluster, [rows of both]: pairs, and rows that share a column's value."""
    rows = len(first) + len(second)
    links = [(i, len(first) + j) for i, j in pairs]
    if column is not None:
        values = pd.Series(np.concatenate([runs[column].to_numpy(dtype=object) for runs in (first, second)]))
        links += [(int(group[0]), int(i)) for group in values.groupby(values).indices.values() for i in group]
    a, b = np.array(links, dtype=int).reshape(-1, 2).T
    return connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(rows, rows)), directed=False)[1]
