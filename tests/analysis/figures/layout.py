"""Where the texts and legends of a composed figure lie, in points."""

from itertools import combinations

from matplotlib import style
from matplotlib.contour import ContourSet
from matplotlib.legend import Legend
from matplotlib.transforms import Bbox

from analysis.figures.style import rc

SLACK = 0.5
"""Points by which boxes may meet: a text's box is higher than its letters."""


def faults(figure):
    """Return what lies on something else, or outside the canvas; labels inside contours may lie on each other."""
    canvas, texts = in_points(figure, figure.bbox), drawn_texts(figure)
    inside_contours = {id(t) for ax in figure.axes for c in ax.collections for t in _contour_labels(c)}
    found = [f"{name!r} leaves the canvas" for name, box in _named(figure, texts) if not _within(box, canvas)]
    named = _named(figure, [text for text in texts if id(text) not in inside_contours])
    found += [f"{a!r} lies on {b!r}" for (a, x), (b, y) in combinations(named, 2) if area(x, y)]
    areas = [(ax, in_points(figure, ax.bbox)) for ax in figure.axes]
    for text in texts:
        box = in_points(figure, text.get_window_extent())
        found += [f"{text.get_text()!r} lies on other axes" for ax, place in areas
                  if text.axes is not ax and area(box, place)]  # fmt: skip
    for legend in figure.findobj(Legend):
        box = in_points(figure, legend.get_window_extent())
        found += ["a legend covers data" for _, place in areas if area(box, place)]
        found += [] if _within(box, canvas) else ["a legend leaves the canvas"]
    return found


def drawn_texts(figure):
    """Return the texts that are really drawn: ticks outside the view are not."""
    renderer, texts = figure.canvas.get_renderer(), []
    inner = renderer.draw_text

    def note(gc, x, y, s, prop, angle, ismath=False, mtext=None):
        assert mtext is not None, f"{s!r} has several lines, and no box of its own"
        texts.append(mtext)
        inner(gc, x, y, s, prop, angle, ismath=ismath, mtext=mtext)

    renderer.draw_text = note
    try:
        with style.context(["default", rc(figure.get_size_inches()[0])]):  # ticks are made while drawing
            figure.draw(renderer)
    finally:
        del renderer.draw_text
    return texts


def in_points(figure, box):
    """Return a box of pixels in points."""
    return Bbox(box.get_points() * 72 / figure.dpi)


def area(a, b):
    """Return the area that two boxes share, in square points, each made smaller by the slack."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0) - SLACK
    height = min(a.y1, b.y1) - max(a.y0, b.y0) - SLACK
    return max(0.0, width) * max(0.0, height)


def _named(figure, texts):
    return [(text.get_text(), in_points(figure, text.get_window_extent())) for text in texts]


def _within(box, canvas):
    return (box.x0 > canvas.x0 - SLACK and box.y0 > canvas.y0 - SLACK
            and box.x1 < canvas.x1 + SLACK and box.y1 < canvas.y1 + SLACK)  # fmt: skip


def _contour_labels(collection):
    return collection.labelTexts if isinstance(collection, ContourSet) and hasattr(collection, "labelTexts") else []
