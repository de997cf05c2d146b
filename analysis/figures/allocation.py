"""How size and data grow with compute: N*(C) and D*(C) by every approach, with bands and published laws.

Chinchilla's figures 1, 2 and 3 (Hoffmann et al. 2022, arXiv 2203.15556), right-hand panels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.figures.axes import axes_or_new, beyond, data_axis, flops_axis, legend_above, side_by_side, size_axis
from analysis.figures.drawing import Drawing
from analysis.figures.paths import NAMES, STYLES, draw_path, draw_points, exponent_text, paths
from analysis.figures.published import PUBLISHED
from analysis.figures.study import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHORT = {"law": "law", "isoflop": "line"}
SYMBOLS = {"N": "a", "D": "b"}


def plot_allocation(study: Study, ax: Axes | None = None, *, quantity: str = "N", published: bool = True) -> Axes:
    """Draw N* or D* over compute.

    Args:
        study: The fit and its runs.
        ax: Where to; new axes when not given.
        quantity: `N` or `D`.
        published: Whether optima that others published stand beside one's own, where tokens are counted.

    Returns:
        The axes.
    """
    ax, fit, frame = axes_or_new(ax), study.fit, paths(study)
    told = []
    for approach in ("isoflop", "law"):
        part = frame[(frame["kind"] == "path") & (frame["approach"] == approach)]
        if len(part):
            draw_path(ax, part, quantity, fit.largest, label=NAMES[approach], **STYLES[approach])
            text = exponent_text(study, approach, SYMBOLS[quantity])
            told.append((f"{SHORT[approach]}: {text}" if text else "", STYLES[approach]["color"]))
    for i, (text, colour) in enumerate(told):  # both quantities rise, so that this corner is empty
        ax.annotate(text, (0.98, 0.04), xycoords="axes fraction", xytext=(0, 9 * i), textcoords="offset points",
                    ha="right", va="bottom", color=colour, fontsize=7, zorder=6)  # fmt: skip
    draw_points(ax, frame, quantity)
    flops_axis(ax)
    (size_axis if quantity == "N" else partial(data_axis, fit=fit))(ax, side="y")
    ax.set_ylabel(f"${quantity}^*$ ({'parameters' if quantity == 'N' else _unit(study)})")
    if published and _of_text(study):
        _published(ax, quantity)
    beyond(ax, fit.largest)
    legend_above(ax)
    return ax


def _unit(study: Study) -> str:
    return "hours of audio" if study.fit.data_unit == "frames" else study.fit.data_unit


def _of_text(study: Study) -> bool:
    """Whether the study counts tokens, as the published laws do."""
    return study.fit.data_unit == "tokens"


def _published(ax: Axes, quantity: str) -> None:
    """Draw the published laws in grey, and leave the limits as they were."""
    (low, high), limits = ax.get_xlim(), ax.get_ylim()
    C = np.geomspace(low, high, 50)
    for law, dashes in zip(PUBLISHED, (":", "--", "-."), strict=True):
        y = law.size(C) if quantity == "N" else law.data(C)
        ax.plot(C, y, color="0.45", linestyle=dashes, linewidth=0.9, label=law.name, zorder=1)
    ax.set_xlim(low, high)
    ax.set_ylim(limits[0] / 2, limits[1] * 2)


def _data(studies: Sequence[Study]) -> pd.DataFrame:
    frame = paths(studies[0])
    if not _of_text(studies[0]) or frame.empty:
        return frame
    C = np.geomspace(frame["C"].min(), frame["C"].max(), 50)
    added = [
        pd.DataFrame({"kind": "published", "approach": law.name, "C": C, "N": law.size(C), "D": law.data(C)})
        for law in PUBLISHED
    ]
    return pd.concat([frame, *added], ignore_index=True)


def _draw(studies: Sequence[Study], figure: Figure) -> None:
    panels = [partial(plot_allocation, studies[0], quantity=quantity) for quantity in "ND"]
    side_by_side(figure, panels, least=2.4, aspect=0.9, one_legend=True)


def _why_not(studies: Sequence[Study]) -> str:
    if studies[0].fit.spending is None:
        return "a curve over N alone has no compute"
    if not studies[0].allocates and studies[0].fit.isoflop.no_line():
        return "neither a law with a certificate nor a line through isoFLOP minima"
    return ""


def _caption(studies: Sequence[Study]) -> str:
    study, frame = studies[0], paths(studies[0])
    drawn = [name for name in ("law", "isoflop") if ((frame["kind"] == "path") & (frame["approach"] == name)).any()]
    lines = " and ".join({"law": "the law", "isoflop": "the line through the minima"}[name] for name in drawn)
    bands = [label for name in drawn if (label := study.band_label(name))]
    return (
        f"Open diamonds: isoFLOP minima with their intervals. Lines: {lines}"
        + (f"; bands: {', '.join(bands)}" if bands else "")
        + (". Dots: the envelope" if (frame["kind"] == "envelope").any() else "")
        + ". Beyond the largest run (grey) lines are dashed: they foretell, and nothing was seen there."
        + (f" Grey lines: {'; '.join(f'{p.name} ({p.source})' for p in PUBLISHED)}." if _of_text(study) else "")
    )


FIGURE = Drawing(
    name="allocation",
    title="Compute-optimal size and data over compute",
    why_not=_why_not,
    caption=_caption,
    data=_data,
    draw=_draw,
)
