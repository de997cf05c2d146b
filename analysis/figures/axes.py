"""What the axes of all figures share: ticks, the grey zone of extrapolation, legends that cover nothing, layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.data.columns import FRAMES_AN_HOUR
from analysis.data.metrics import LOGIT, LOSS
from analysis.figures.style import ZONE, flops_text, plain_text
from scaling.units import format_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.data.table import RunTable
    from analysis.fitting import Fit

IMAGE = 400
"""Runs from which they are drawn as an image inside the vector file, which would be megabytes otherwise."""
MANY = 1500
"""Runs from which they are drawn small."""
LOWEST, HIGHEST = 1.45, 3.6
"""Inches of height that a panel has at least and at most."""
MARGIN = 0.1
"""Inches between the end of a legend and the next panel."""
LETTERS, LONGEST = 18, 24
"""Of a name for which an axis has room, and has with small letters."""
SMALL = 7.5
"""Points of those."""
STACKED = 0.66
"""Height over width of panels that stand on top of each other."""
Panel = Callable[["Axes"], Any]


def axes_or_new(ax: Axes | None) -> Axes:
    """Return the axes, or new ones."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


def side_by_side(
    figure: Figure, panels: Sequence[Panel], *, least: float = 1.7, aspect: float = 0.8, one_legend: bool = False
) -> list[Axes]:
    """Draw panels in rows, as many beside each other as the figure's width has room for, and set its height.

    Legends stand above the axes and make the figure higher, not the axes lower.

    Args:
        figure: Of the width that counts.
        panels: Functions that draw on axes.
        least: Inches that a panel needs.
        aspect: Height of a panel over its width, legends apart.
        one_legend: Whether the panels share one legend, above them all.

    Returns:
        The axes, one a panel.
    """
    width = float(figure.get_size_inches()[0])
    columns = min(len(panels), max(1, int(width / least)))
    if len(panels) % columns and len(panels) % 2 == 0 and columns > 2:
        columns = 2 if len(panels) <= 4 else columns
    rows = -(-len(panels) // columns)
    if columns == 1 and rows > 1:
        aspect = min(aspect, STACKED)
    height = min(max(width / columns * aspect, LOWEST), HIGHEST)
    axes: list[Axes] = []
    for i, panel in enumerate(panels):
        ax = figure.add_subplot(rows, columns, i + 1)
        panel(ax)
        if len(panels) > 1:
            letter(ax, i)
        axes.append(ax)
    if one_legend and len(axes) > 1:
        figure.set_size_inches(width, rows * height + _one_legend(figure, axes))
        return axes
    figure.set_size_inches(width, rows * height + _legends(axes, columns))
    lay_out(figure)
    for ax in axes:  # now that it is known how far from the left the axes begin
        if (own := ax.get_legend()) is not None:
            legend_above(ax, title=own.get_title().get_text())
    figure.set_size_inches(width, rows * height + _legends(axes, columns))
    return axes


def lay_out(figure: Figure) -> None:
    """Give every axes its place, as drawing would."""
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)


def _legends(axes: Sequence[Axes], columns: int) -> float:
    """Return the height in inches of the highest legend of each row, together."""
    rows = (axes[i : i + columns] for i in range(0, len(axes), columns))
    return sum(max(_height(ax.get_legend()) for ax in row) for row in rows)


def _one_legend(figure: Figure, axes: Sequence[Axes]) -> float:
    """Put the entries of all axes into one legend above them; return its height in inches."""
    handles: dict[str, Any] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
        if (own := ax.get_legend()) is not None:
            own.remove()
    for count in range(min(len(handles), 6), 0, -1):
        legend = figure.legend(handles.values(), handles.keys(), loc="outside upper left", ncols=count)
        if legend.get_window_extent().width <= 0.98 * figure.bbox.width or count == 1:
            break
        legend.remove()
    return _height(legend)


def _height(legend: Any) -> float:
    """Return the height of a legend in inches; 0 without one."""
    return 0.0 if legend is None else float(legend.get_window_extent().height) / legend.figure.dpi


def letter(ax: Axes, i: int) -> None:
    """Write (a), (b), ... at the corner left of the axes and above them, where neither a legend nor a tick stands."""
    name = f"({chr(ord('a') + i)})" if i < 26 else ""
    ax.annotate(name, (0, 1), xycoords="axes fraction", xytext=(-5, 4), textcoords="offset points", ha="right",
                va="bottom", fontweight="bold", annotation_clip=False)  # fmt: skip


def size_axis(ax: Axes, side: str = "x") -> None:
    """Make `x` or `y` a logarithmic axis of parameters, with ticks such as 10k and 2M."""
    count_axis(ax, side, "model size $N$ (parameters)")


def flops_axis(ax: Axes, side: str = "x", label: str = "training compute $C$ (FLOPs)") -> None:
    """Make a logarithmic axis of FLOPs, with ticks in powers of ten."""
    _log_axis(ax, side, flops_text, label)


def data_axis(ax: Axes, fit: Fit, side: str = "x") -> None:
    """Make a logarithmic axis of data seen, in the table's unit; frames are shown as hours of audio."""
    if fit.data_unit == "frames":
        hours = "data seen $D$ (hours of audio)"
        _log_axis(ax, side, lambda frames: format_count(frames / FRAMES_AN_HOUR), hours, unit=FRAMES_AN_HOUR)
    else:
        count_axis(ax, side, f"data seen $D$ ({plain_text(fit.data_unit)})")


def quantity_axis(ax: Axes, quantity: str, fit: Fit) -> None:
    """Make x a logarithmic axis of `C`, `D` or `N`."""
    if quantity == "D":
        data_axis(ax, fit)
    else:
        (flops_axis if quantity == "C" else size_axis)(ax)


def count_axis(ax: Axes, side: str, label: str) -> None:
    """Make a logarithmic axis of counts, with ticks such as 10k and 2M."""
    _log_axis(ax, side, format_count, label)


def _log_axis(ax: Axes, side: str, form: Callable[[float], str], label: str, *, unit: float = 1.0) -> None:
    """Make a logarithmic axis with labels at decades, and between them where decades are few."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    from analysis.figures.ticks import LogTicks

    (ax.set_xscale if side == "x" else ax.set_yscale)("log")
    axis = ax.xaxis if side == "x" else ax.yaxis
    axis.set_major_locator(LogTicks(unit))
    axis.set_major_formatter(FuncFormatter(lambda value, _: form(value)))
    axis.set_minor_formatter(NullFormatter())
    axis.set_label_text(label)


def count_bar(ax: Axes, shown: Any, label: str) -> None:
    """Put a colour bar of counts beside the axes."""
    from analysis.figures.ticks import log_ticks

    bar = ax.figure.colorbar(shown, ax=ax, label=label, pad=0.02)
    ticks = log_ticks(shown.norm.vmin, shown.norm.vmax, 6)
    bar.set_ticks(ticks.tolist(), labels=[format_count(tick) for tick in ticks])
    bar.minorticks_off()


def unique_axis(ax: Axes, data_unit: str) -> None:
    """Make x a logarithmic axis of unique data, in the table's unit; frames are shown as hours of audio."""
    if data_unit == "frames":
        hours = "unique audio $U$ (hours)"
        _log_axis(ax, "x", lambda frames: format_count(frames / FRAMES_AN_HOUR), hours, unit=FRAMES_AN_HOUR)
    else:
        count_axis(ax, "x", f"unique data $U$ ({plain_text(data_unit)})")


def loss_label(fit: Fit | RunTable, *, own: bool = False) -> str:
    """Return what the loss axis is called; of a metric `own` says that it is shown in its own unit."""
    if fit.scale != LOSS:
        own = own or fit.scale.plain
        what = "" if own else "odds of " if fit.scale.kind == LOGIT else "error of "
        return what + plain_text((fit.scale.title if own else fit.scale.name).replace("_", " "), LONGEST)
    name = "validation loss" if fit.loss_name == "loss" else plain_text(fit.loss_name.replace("_", " "), LONGEST)
    return f"{name} $L$"


def y_label(ax: Axes, text: str) -> None:
    """Call the y axis something, a long name in smaller letters, since it stands along the short side."""
    label = ax.set_ylabel(text)
    if len(text) > LETTERS:
        label.set_fontsize(SMALL)


def loss_axis(ax: Axes, fit: Fit, *, own: bool = False) -> None:
    """Name the loss axis, and write its ticks without an offset."""
    y_label(ax, loss_label(fit, own=own))
    low, high = ax.get_ylim()
    if ax.get_yscale() == "linear" and max(abs(low), abs(high)) >= 1e-4:
        ax.ticklabel_format(axis="y", useOffset=False, style="plain")


LEAST_MARK = 3.0
"""Points that a mark in a legend measures at least."""
LOG_FROM = 1.6
"""Ratio of the losses from which their axis is logarithmic."""


def loss_scale(ax: Axes, losses: Any, fit: Fit) -> None:
    """Name the loss axis, and make it logarithmic where the losses differ much."""
    low, high = float(np.min(losses)), float(np.max(losses))
    if low > 0 and high / low > LOG_FROM:
        _log_axis(ax, "y", lambda value: f"{value:.4g}", "")
    loss_axis(ax, fit)


def beyond(ax: Axes, largest: float) -> None:
    """Shade what lies beyond the largest run along x, up to where the axis ends now."""
    low, high = ax.get_xlim()
    if np.isfinite(largest) and low < largest < high:
        ax.axvspan(largest, high, color=ZONE, zorder=0, linewidth=0)
        ax.set_xlim(low, high)


def legend_above(ax: Axes, *, title: str | None = None) -> None:
    """Put the legend above the axes, in as many columns as fit, where it covers no data."""
    from matplotlib.lines import Line2D

    found = ax.get_legend_handles_labels()[0]
    if not found:
        return
    subplot = ax.get_subplotspec()
    share = (subplot.colspan.stop / subplot.get_gridspec().ncols) if subplot is not None else 1.0
    end = ax.figure.bbox.x0 + share * ax.figure.bbox.width - MARGIN * ax.figure.dpi
    room = end - ax.get_window_extent().x0
    for count in range(min(len(found), 6), 0, -1):
        legend = ax.legend(
            handles=found, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=count, title=title, alignment="left"
        )
        if legend.get_window_extent().width <= room:
            break
    for handle in legend.legend_handles:
        if isinstance(handle, Line2D):  # of small points, too
            handle.set_markersize(max(handle.get_markersize(), LEAST_MARK))


def points(ax: Axes, x: Any, y: Any, *, of: int | None = None, **style: Any) -> None:
    """Draw runs as points; very many of them as an image inside the vector file.

    Args:
        ax: Where to.
        x: Of the points.
        y: Of the points.
        of: How many runs the figure shows in all, where these are some of them.
        style: As `Axes.plot` takes it.
    """
    count = len(x) if of is None else of
    style = {"linestyle": "none", "marker": "o", "rasterized": count > IMAGE, **style}
    if count > IMAGE:
        style |= {"markersize": 1.6 if count > MANY else 2.4, "markeredgewidth": 0}
    ax.plot(x, y, **style)
