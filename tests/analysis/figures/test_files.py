"""What is saved: widths of the venues, fonts, size, and bytes that repeat."""

import io
import re
import struct
import zlib

import pandas as pd
import pytest

from analysis.figures.drawing import FORMATS, render
from analysis.figures.gallery import DRAWINGS, draw_all
from analysis.figures.style import COLUMNS, VENUES, width_of
from scaling.errors import InputError

CHEAP = "ucurve"
VARIED = ("isoflop", "contours", "corner", "ucurve")
"""Markers, contours with labels, bands with dashes, images inside vectors, a figure of all studies."""


def width_of_pdf(content):
    """Return the width of a page in inches."""
    return float(re.search(rb"/MediaBox \[ ?0 0 ([\d.]+) [\d.]+ ?\]", content)[1]) / 72


def fonts_of_pdf(content):
    """Return the kinds of the fonts."""
    return set(re.findall(rb"/Subtype /(\w+)", content)) - {b"XML", b"Image", b"Form"}


def pixels_across(content):
    return struct.unpack(">I", content[16:20])[0]


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("venue", VENUES)
def test_a_page_is_as_wide_as_the_venue_says(study_of, venue, column):
    drawn = render(DRAWINGS[CHEAP], [study_of("curve")], venue=venue, column=column, formats=("pdf",))
    page = VENUES[venue]
    assert width_of_pdf(drawn.files["pdf"]) == pytest.approx(page.column or page.text, abs=0.01) or column == "double"
    assert width_of_pdf(drawn.files["pdf"]) == pytest.approx(width_of(venue, column), abs=0.01)


@pytest.mark.parametrize(("column", "inches"), [("single", 3.25), ("double", 6.75)])
def test_every_format_has_the_same_width(study_of, column, inches):
    files = render(DRAWINGS[CHEAP], [study_of("isoflop")], venue="icml", column=column).files
    assert set(files) == {*FORMATS, "csv"}
    assert pixels_across(files["png"]) == int(300 * inches)
    assert float(re.search(rb'<svg [^>]*width="([\d.]+)pt"', files["svg"])[1]) == pytest.approx(72 * inches, abs=0.7)
    assert width_of_pdf(files["pdf"]) == pytest.approx(inches, abs=0.01)


@pytest.mark.parametrize(
    ("venue", "column", "message"),
    [("neurip", "single", "did you mean neurips"), ("acl", "doubel", "did you mean double")],
)
def test_what_is_no_venue_or_width_is_refused_with_the_nearest(study_of, venue, column, message):
    with pytest.raises(InputError, match=message):
        draw_all([study_of("curve")], venue=venue, column=column)


def test_the_same_study_gives_the_same_bytes_from_one_process_and_from_two(study_of):
    studies = [study_of("isoflop")]
    one, two = (draw_all(studies, names=VARIED, processes=count) for count in (1, 2))
    assert [picture.name for picture in one] == [picture.name for picture in two] == list(VARIED)
    for a, b in zip(one, two, strict=True):
        assert set(a.drawn.files) == {"pdf", "png", "svg", "csv"}
        assert [suffix for suffix in a.drawn.files if a.drawn.files[suffix] != b.drawn.files[suffix]] == []


def test_fonts_are_embedded_as_outlines_that_journals_take(study_of):
    content = render(DRAWINGS["contours"], [study_of("isoflop")], formats=("pdf",)).files["pdf"]
    assert fonts_of_pdf(content) <= {b"Type0", b"CIDFontType2", b"TrueType"}
    assert b"/FontFile2" in content
    assert b"/Type3" not in content
    streams = re.findall(rb"/FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    assert not any(b"/Type3" in zlib.decompressobj().decompress(stream) for stream in streams)


@pytest.mark.slow
def test_five_thousand_runs_are_an_image_inside_a_small_file(study_of):
    pictures = draw_all([study_of("many")], formats=("svg",))
    sizes = {picture.name: len(picture.drawn.files["svg"]) for picture in pictures if picture.drawn}
    assert {"envelope", "contours", "limits", "residuals", "forecast"} <= set(sizes)
    assert max(sizes.values()) < 1e6
    assert not any(picture.faulty for picture in pictures)


def test_a_font_without_a_sign_is_told_in_the_caption(odd_studies, study_of):
    drawn = render(DRAWINGS["ucurve"], odd_studies, formats=())
    assert "□ stands for a sign that the font lacks" in drawn.caption
    assert r"\$" not in drawn.caption
    assert "□" not in render(DRAWINGS["ucurve"], [study_of("single")], formats=()).caption
    assert "日本語の音声 模型" in set(pd.read_csv(io.BytesIO(drawn.files["csv"]))["study"])
