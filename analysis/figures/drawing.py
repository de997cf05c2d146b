"""A figure of a paper: what it is called, what it shows, when it cannot be drawn, its data, and how it is drawn."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.figures.axes import lay_out
from analysis.figures.study import Study
from analysis.figures.style import DEFAULT_VENUE, UNKNOWN, rc, width_of
from scaling.files import write_bytes

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

FORMATS = ("pdf", "png", "svg")
DPI = {"pdf": 300, "png": 300, "svg": 150}
"""Of images; very many points are one in a vector file, too."""
METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "ModDate": None}, "png": {"Software": None}, "svg": {"Date": None},
}  # fmt: skip
"""Without dates the same input gives the same bytes."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """One figure, of one study, or of several that stand beside each other."""

    name: str
    """Of its files."""
    title: str
    """What it shows, as a caption begins."""
    why_not: Callable[[Sequence[Study]], str]
    """Why it cannot be drawn; empty where it can."""
    caption: Callable[[Sequence[Study]], str]
    """What the marks mean, with levels and methods."""
    data: Callable[[Sequence[Study]], pd.DataFrame]
    """All that it shows, as a tidy table."""
    draw: Callable[[Sequence[Study], Figure], Any]
    """Draw on an empty figure of the width that counts; its height is the drawing's own."""
    together: bool = False
    """Whether it sets several studies beside each other; else it is drawn of each."""
    of_runs: bool = False
    """Whether it needs no fit, so that groups that allow none are on it too: its functions take any `Group`."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A drawn figure in memory."""

    name: str
    title: str
    caption: str
    files: dict[str, bytes]
    """Format -> bytes; `csv` is the plotted data."""

    def write(self, folder: Path) -> list[Path]:
        """Write the files into a folder and return them."""
        paths = []
        for suffix, content in self.files.items():
            paths.append(folder / f"{self.name}.{suffix}")
            write_bytes(paths[-1], content)
        return paths


def compose(
    drawing: Drawing, studies: Sequence[Study], *, venue: str = DEFAULT_VENUE, column: str = "single"
) -> Figure:
    """Draw a figure, laid out as it is saved.

    Args:
        drawing: What to draw; ask its `why_not` first.
        studies: What of.
        venue: Whose page it goes on (`analysis.figures.style.VENUES`).
        column: `single` or `double`.

    Returns:
        A figure that no window shows.

    Raises:
        InputError: When there is no such venue or width.
    """
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = width_of(venue, column)
    with style.context(["default", rc(width)]):
        figure = Figure(figsize=(width, width * 0.62))
        FigureCanvasAgg(figure)
        drawing.draw(studies, figure)
        lay_out(figure)
        figure.set_layout_engine("none")  # the layout is found once, and is the same in every format
    return figure


def render(
    drawing: Drawing,
    studies: Sequence[Study],
    *,
    venue: str = DEFAULT_VENUE,
    column: str = "single",
    formats: Sequence[str] = FORMATS,
) -> Drawn:
    """Draw a figure once, in several formats, with its data as CSV.

    Args:
        drawing: What to draw; ask its `why_not` first.
        studies: What of.
        venue: Whose page it goes on (`analysis.figures.style.VENUES`).
        column: `single` or `double`.
        formats: Of `pdf`, `png` and `svg`.

    Raises:
        InputError: When there is no such venue or width.
    """
    from matplotlib import style
    from matplotlib.text import Text

    figure = compose(drawing, studies, venue=venue, column=column)
    files = {}
    with style.context(["default", rc(width_of(venue, column))]):
        for suffix in formats:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, dpi=DPI[suffix], metadata=METADATA[suffix])
            files[suffix] = buffer.getvalue()
    files["csv"] = drawing.data(studies).to_csv(index=False).encode()
    caption = drawing.caption(studies)
    if any(UNKNOWN in text.get_text() for text in figure.findobj(Text)):
        caption += f" {UNKNOWN} stands for a sign that the font lacks."
    return Drawn(name=drawing.name, title=drawing.title, caption=caption, files=files)
