"""Progress on standard error: a bar on a terminal, a few lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(title: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
    """Show how far a long step is; yields a function that takes the amount done so far.

    Example:
        >>> with progress("labels", total=2, unit="h") as show:
        ...     show(1.0)
    """
    started = time.monotonic()
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn(f"{{task.completed:.3g}}/{{task.total:.3g}} {unit}"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(title, total=total)
            yield lambda done: bar.update(task, completed=min(done, total))
    else:
        shown = 0

        def show(done: float) -> None:
            nonlocal shown
            quarter = int(4 * min(1.0, done / total)) if total else 4
            if quarter > shown:
                shown = quarter
                print(f"{title}: {min(done, total):.3g} of {total:.3g} {unit}", file=sys.stderr, flush=True)

        yield show
    print(f"{title}: done in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
