"""Colours that grey can read, ticks, texts of others, and what was published."""

import warnings
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from analysis.figures.published import PUBLISHED
from analysis.figures.style import MARKERS, OKABE_ITO, category, ordered_colours, plain_text, rc
from analysis.figures.ticks import log_ticks

BUDGET = 5.76e23
"""Chinchilla's, FLOPs."""


def luminance(colour):
    """Return the relative luminance (WCAG 2) of a colour."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("count", [2, 3, 6, 10, 30])
def test_ordered_colours_become_lighter_in_grey(count):
    assert (np.diff([luminance(colour) for colour in ordered_colours(count)]) > 0).all()


def test_categories_differ_in_marker_and_dashes_and_not_in_colour_alone():
    styles = [category(i) for i in range(len(MARKERS))]
    assert len({style["marker"] for style in styles}) == len(styles)
    for a, b in combinations(styles[:5], 2):
        assert a["linestyle"] != b["linestyle"]
        assert a["color"] != b["color"]
    pairs = {(str(style["linestyle"]), style["color"]) for style in styles}
    assert len(pairs) == len(styles)
    assert all(category(i)["color"] in OKABE_ITO for i in range(30))


@settings(max_examples=300, deadline=None)
@given(st.floats(-20, 30), st.floats(1e-3, 30), st.integers(2, 9))
def test_log_ticks_lie_inside_and_are_two_at_least_and_no_more_than_there_is_room_for(start, span, most):
    low, high = 10.0**start, 10.0 ** (start + span)
    ticks = log_ticks(low, high, most)
    assert (np.diff(ticks) > 0).all()
    assert ticks[0] >= low * (1 - 1e-8)
    assert ticks[-1] <= high * (1 + 1e-8)
    assert 2 <= len(ticks) <= most


@given(st.text(max_size=80), st.integers(5, 40))
@settings(max_examples=60, deadline=None)
def test_any_text_is_shown_within_its_room_and_is_no_formula(text, most):
    plain = plain_text(text, most)
    assert len(plain.replace(r"\$", "$")) <= most
    assert plain.count("$") == plain.count(r"\$")
    figure = Figure(figsize=(2, 1))
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.text(0, 0, plain, **_font())
        figure.text(0, 0.5, f"{plain} $L$", **_font())
        figure.canvas.draw()


def _font():
    return {"family": rc(5.5)["font.family"]}


def test_published_laws_give_their_papers_numbers():
    laws = {law.name.split(" ")[0]: law for law in PUBLISHED}
    assert laws["Besiroglu"].size(np.array(BUDGET)) == pytest.approx(73.19e9, rel=0.03)
    C = np.array([1e18, 1e22])
    assert np.diff(np.log10(laws["Kaplan"].size(C)))[0] / 4 == pytest.approx(0.73)
    assert np.diff(np.log10(laws["Kaplan"].data(C)))[0] / 4 == pytest.approx(0.27)
    assert np.diff(np.log10(laws["Hoffmann"].size(C)))[0] / 4 == pytest.approx(0.46, abs=0.01)  # table 2, approach 3
    for name in ("Hoffmann", "Besiroglu"):
        assert 6 * laws[name].size(C) * laws[name].data(C) == pytest.approx(C)
