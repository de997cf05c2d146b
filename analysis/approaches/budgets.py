"""Which runs share a budget: by its name, else by C, and by unique data where some repeat it."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.approaches.curves import MIN_SIZES
from analysis.data.table import RunTable

BUDGET_TOLERANCE = 0.1
"""Runs whose log C lies within this of its neighbours' are one budget, where the table names none."""
REPEATED = 1 + 1e-6
"""D over U from which a run repeats data."""


def budget_groups(table: RunTable) -> tuple[list[tuple[float, np.ndarray]], list[dict[str, str]]]:
    """Return (budget, row numbers) in ascending order, and rows that share their budget with too few others.

    Runs that name their budget are grouped by it. Otherwise runs whose C follow each other within 10 % are one
    budget; a curve over N alone is one. A budget falls apart by unique data U where runs repeat it.
    """
    groups, skipped = _by_cost(table)
    return [(budget, part) for budget, rows in groups for part in _by_unique(table.runs, rows)], skipped


def _by_cost(table: RunTable) -> tuple[list[tuple[float, np.ndarray]], list[dict[str, str]]]:
    """Return (budget, row numbers), and rows in none."""
    runs = table.runs
    if table.cost == "none":
        return [(float("nan"), np.arange(len(runs)))], []
    if runs["budget"].notna().all():
        budgets = runs["budget"].to_numpy()
        return [(float(b), np.flatnonzero(budgets == b)) for b in np.unique(budgets)], []
    log_c, names, sizes = np.log(runs["C"].to_numpy()), runs["row"].to_numpy(), runs["N"].to_numpy()
    order = np.argsort(log_c, kind="stable")
    breaks = np.flatnonzero(np.diff(log_c[order]) > BUDGET_TOLERANCE) + 1
    groups, skipped = [], []
    for rows in np.split(order, breaks):
        wide = log_c[rows].max() - log_c[rows].min() > 3 * BUDGET_TOLERANCE
        if wide or len(np.unique(sizes[rows])) < MIN_SIZES:
            reason = (
                "in no parabola: its C runs into its neighbours'"
                if wide
                else "in no parabola: fewer than three sizes share its C"
            )
            skipped += [{"row": name, "reason": reason} for name in names[rows]]
        else:
            groups.append((float(runs["C"].iloc[rows].median()), np.sort(rows)))
    return groups, skipped


def _by_unique(runs: pd.DataFrame, rows: np.ndarray) -> list[np.ndarray]:
    """Return the row numbers of one budget by unique data, most first; rows whose data never repeat are together."""
    if "U" not in runs:
        return [rows]
    unique = runs["U"].to_numpy(dtype=float)[rows]
    key = np.where(np.isin(unique, unique[repeating(runs.iloc[rows])]), unique, np.inf)
    return [rows[key == value] for value in np.unique(key)[::-1]]


def repeating(runs: pd.DataFrame) -> np.ndarray:
    """Return which runs saw some of their data more than once; none of those whose unique data U is not known."""
    if "U" not in runs:
        return np.zeros(len(runs), dtype=bool)
    return runs["D"].to_numpy() > runs["U"].to_numpy(dtype=float) * REPEATED
