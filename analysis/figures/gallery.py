"""All figures: which there are, which a study allows, drawn side by side on all cores, and saved."""

from __future__ import annotations

import multiprocessing
import os
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from analysis.figures import (
    allocation,
    contours,
    corner,
    cost,
    differences,
    drift,
    envelope,
    epochs,
    forecast,
    isoflop,
    laws,
    limits,
    profiles,
    progress,
    ratio,
    recipes,
    residuals,
    transfer,
    ucurve,
    unique,
)
from analysis.figures.drawing import FORMATS, Drawing, Drawn, render
from analysis.figures.paths import paths
from analysis.figures.study import Group, Study
from analysis.figures.style import DEFAULT_VENUE, width_of

DRAWINGS: dict[str, Drawing] = {
    module.FIGURE.name: module.FIGURE
    for module in (
        isoflop, allocation, ratio, envelope, contours, limits, ucurve, transfer, differences, recipes, unique, epochs,
        residuals, forecast, drift, laws, corner, profiles, cost, progress,
    )
}  # fmt: skip
"""By name, in the order of a report."""
FAULT = "could not be drawn, which is a fault of this program"


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One drawing of one study, or of all together: drawn, or why not."""

    name: str
    study: int | None
    """Number of the study; None for a drawing of all of them."""
    reason: str = ""
    drawn: Drawn | None = None

    @property
    def faulty(self) -> bool:
        """Whether it is missing by a fault of this program."""
        return self.reason.startswith(FAULT)


@dataclass(frozen=True, kw_only=True)
class _Task:
    """What a process draws."""

    studies: Sequence[Study]
    unfitted: Sequence[Group]
    venue: str
    column: str
    formats: Sequence[str]

    def draw(self, job: tuple[str, int | None]) -> Picture:
        """Draw one figure, or say why not; a fault in one figure costs no other."""
        name, number = job
        drawing = DRAWINGS[name]
        part = self.studies if number is None else [self.studies[number]]
        if drawing.of_runs:
            part = cast("Sequence[Study]", [*part, *self.unfitted])
        try:
            if reason := drawing.why_not(part):
                return Picture(name=name, study=number, reason=reason)
            drawn = render(drawing, part, venue=self.venue, column=self.column, formats=self.formats)
        except Exception as error:  # told by the caller, with an exit code of its own
            return Picture(name=name, study=number, reason=f"{FAULT} ({type(error).__name__}: {error})")
        return Picture(name=name, study=number, drawn=drawn)


def draw_all(
    studies: Sequence[Study],
    *,
    unfitted: Sequence[Group] = (),
    venue: str = DEFAULT_VENUE,
    column: str = "single",
    formats: Sequence[str] = FORMATS,
    names: Sequence[str] | None = None,
    processes: int | None = None,
) -> list[Picture]:
    """Draw every figure that the studies allow; the others say why not.

    Args:
        studies: Fits with their runs.
        unfitted: Groups that allow no fit, for figures that need none.
        venue: Whose page the figures go on (`analysis.figures.style.VENUES`).
        column: `single` or `double`.
        formats: Of `pdf`, `png` and `svg`.
        names: Which figures; all when not given.
        processes: How many draw; one a core when not given.

    Returns:
        The figures of each study in turn, then those of all together.

    Raises:
        InputError: When there is no such venue or width.
    """
    width_of(venue, column)
    task = _Task(studies=studies, unfitted=unfitted, venue=venue, column=column, formats=formats)
    chosen = [drawing for name, drawing in DRAWINGS.items() if names is None or name in names]
    jobs: list[tuple[str, int | None]] = [(d.name, i) for i in range(len(studies)) for d in chosen if not d.together]
    jobs += [(d.name, None) for d in chosen if d.together and (studies or d.of_runs)]
    count = min(_cores() if processes is None else processes, len(jobs))
    if count < 2 or sys.platform != "linux":
        return [task.draw(job) for job in jobs]
    for study in studies:  # once, and not once a process
        if study.fit.spending is not None:
            paths(study)
    with warnings.catch_warnings():
        # a child that only draws takes no lock that a thread of BLAS could hold
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        context = multiprocessing.get_context("fork")  # shares the studies; a new interpreter would load them anew
        with ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(task,)) as pool:
            return list(pool.map(_draw, jobs))


def write_all(pictures: Sequence[Picture], folders: Sequence[Path], together: Path) -> list[Path]:
    """Write the figures: those of each study into its folder, those of all into theirs; return the files."""
    files = []
    for picture in pictures:
        if picture.drawn is not None:
            files += picture.drawn.write(together if picture.study is None else folders[picture.study])
    return files


_task: _Task | None = None


def _begin(task: _Task) -> None:
    global _task  # of a child, which has no other way to keep what it inherits
    _task = task


def _draw(job: tuple[str, int | None]) -> Picture:
    assert _task is not None
    return _task.draw(job)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
