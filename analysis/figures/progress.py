"""How a sweep stands: its points by state, and compute spent over time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures.axes import axes_or_new, flops_axis, legend_above, side_by_side, size_axis
from analysis.figures.drawing import Drawing
from analysis.figures.study import Study, kept
from scaling.errors import InputError
from scaling.files import read_json_lines
from scaling.results import read_records

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STATES = {
    "completed": {"marker": "o", "color": "#0072B2"},
    "diverged": {"marker": "X", "color": "#D55E00"},
    "begun": {"marker": "D", "color": "#E69F00"},
    "waiting": {"marker": "o", "color": "0.45", "markerfacecolor": "white"},
    "dropped": {"marker": "x", "color": "0.65"},
}
HOUR = 3600.0


def plot_plan(path: Path | str, ax: Axes | None = None) -> Axes:
    """Draw the points of the sweeps under a folder over compute and size, by state.

    Args:
        path: A results folder, or one sweep's.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    return _plan(progress_data(path), axes_or_new(ax))


def _plan(data: pd.DataFrame, ax: Axes) -> Axes:
    for state, style in STATES.items():
        part = data[data["state"] == state]
        if len(part):
            label = f"{state} ({len(part)})"
            ax.plot(part["flops"], part["params"], label=label, linestyle="none", markersize=3.6, **style)  # type: ignore[arg-type]
    flops_axis(ax)
    size_axis(ax, "y")
    ax.set_ylabel("model size $N$")
    legend_above(ax)
    return ax


def plot_spent(path: Path | str, ax: Axes | None = None) -> Axes:
    """Draw the FLOPs of finished runs over the hours since the first began, and what the plan holds in all.

    Args:
        path: A results folder, or one sweep's.
        ax: Where to; new axes when not given.

    Returns:
        The axes.
    """
    return _spent(progress_data(path), axes_or_new(ax))


def _spent(data: pd.DataFrame, ax: Axes) -> Axes:
    planned = data.loc[data["state"] != "dropped", "new_flops"].sum()
    done = data[data["finished"].notna()].sort_values("finished", kind="stable")
    start = done["started"].min()
    hours = (done["finished"] - start).dt.total_seconds() / HOUR
    unit, scale = ("hours", 1.0) if hours.max() > 2 else ("minutes", 60.0)
    share = 100 * done["new_flops"].cumsum() / planned
    ax.step(np.append(0.0, scale * hours), np.append(0.0, share), where="post", color="#0072B2")
    ax.axhline(100.0, color="black", linestyle=":", linewidth=0.9)
    ax.set_ylim(0, 106)
    ax.set_xlim(left=0)
    ax.set_xlabel(f"{unit} since the first run began")
    ax.set_ylabel("compute spent (% of the plan)")
    return ax


def progress_data(path: Path | str) -> pd.DataFrame:
    """Return {sweep, id, state, params, flops, new_flops, started, finished} of every planned point under a folder."""
    rows = []
    for plan in sorted(Path(path).rglob("plan.jsonl")) if Path(path).is_dir() else []:
        sweep = plan.parent
        records = {}
        if (sweep / "records").is_dir():
            records = {row["id"]: row for row in read_records(sweep, curves=False)[0]}
        for point in read_json_lines(plan):
            if point.get("status") == "refused" or not point.get("flops"):
                continue
            record = records.get(point["id"], {})
            begun = (sweep / "runs" / point["id"] / "metrics.jsonl").exists()
            state = record.get("status") or (
                "dropped" if point["status"] == "dropped" else "begun" if begun else "waiting"
            )
            rows.append({
                "sweep": sweep.name, "id": point["id"], "state": state, "params": point["params"],
                "flops": point["flops"], "new_flops": point.get("flops_new") or point["flops"],
                "started": record.get("started"), "finished": record.get("finished"),
            })  # fmt: skip
    columns = ["sweep", "id", "state", "params", "flops", "new_flops", "started", "finished"]
    frame = pd.DataFrame(rows, columns=columns)
    for name in ("started", "finished"):
        frame[name] = pd.to_datetime(frame[name], utc=True, errors="coerce")
    return frame


def _path(study: Study) -> Path:
    return Path(str(study.fit.source.get("path", "")))


@kept
def _of(study: Study) -> pd.DataFrame:
    """Return what `progress_data` gives, read once a study: the folder may be filling up."""
    return progress_data(_path(study))


def _panels(data: pd.DataFrame) -> list:
    return [partial(_plan, data), *([partial(_spent, data)] if data["finished"].notna().any() else [])]


def _why_not(studies: Sequence[Study]) -> str:
    if not _path(studies[0]).is_dir():
        return "the runs come from a table, not from a sweep's folder"
    try:
        return "" if len(_of(studies[0])) else "no plan lies in the folder, or it says no costs"
    except (InputError, KeyError, OSError) as error:
        return f"the plan cannot be read ({error})"


FIGURE = Drawing(
    name="progress",
    title="How the sweep stands",
    together=True,
    why_not=_why_not,
    caption=lambda _: (
        "(a) The plan's points by state; 'begun' is a run without a result yet. (b) Compute of finished runs over time."
    ),
    data=lambda studies: _of(studies[0]),
    draw=lambda studies, figure: side_by_side(figure, _panels(_of(studies[0])), least=2.4, aspect=0.8),
)
