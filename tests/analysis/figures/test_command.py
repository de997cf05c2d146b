"""`scaling-fit --figures`: where files land, what is told, and what a fault costs."""

from dataclasses import replace

import pandas as pd
import pytest

import analysis.fitting
from analysis.cli import main
from analysis.figures.gallery import DRAWINGS

from ..conftest import isoflop_table
from .conftest import ODD

SUFFIXES = (".csv", ".pdf", ".png", ".svg")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Write two groups of one budget each, which allow few figures, and stand beside them."""
    monkeypatch.chdir(tmp_path)
    parts = [
        isoflop_table((1e18,), noise=0.002, sizes=7, seed=i).assign(recipe=name)
        for i, name in enumerate(("first", ODD[0]))
    ]
    pd.concat(parts).to_csv("two.csv", index=False)
    parts[0].to_csv("one.csv", index=False)
    return tmp_path


def run(*arguments):
    return main([*arguments, "--bootstrap", "20", "--json", "fit.json"])


def files_in(folder):
    return {file.name for file in folder.iterdir() if file.is_file()}


def of(*names):
    return {name + suffix for name in names for suffix in SUFFIXES}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--venue", "neurip"], "no such venue, got 'neurip'"),
        (["--venue", "neurip"], "did you mean neurips"),
        (["--column", "doubel"], "did you mean double"),
    ],
)
def test_what_is_no_venue_or_width_is_refused_before_anything_is_fitted(here, capsys, monkeypatch, arguments, message):
    monkeypatch.setattr(analysis.fitting, "fit", lambda *_, **__: pytest.fail("it was fitted first"))
    assert main(["one.csv", "--figures", "f", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert files_in(here) == {"one.csv", "two.csv"}


def test_figures_of_one_table_land_in_the_folder_and_the_others_say_why(here, capsys):
    assert run("one.csv", "--figures", "f", "--venue", "acl") == 0
    assert files_in(here / "f") == of("isoflop", "cost", "ucurve")
    out = capsys.readouterr().out
    assert "wrote 12 files in f: cost, isoflop, ucurve (.pdf .png .svg .csv)" in out
    refused = next(line for line in out.splitlines() if line.startswith("not drawn: "))
    assert "no certified law: residuals, forecast, corner, profiles" in refused
    assert refused.count("no certified law:") == 1
    assert not (here / "fits").exists()


def test_figures_of_each_group_land_in_its_folder_and_those_of_all_beside(here, capsys):
    assert run("two.csv", "--group", "recipe", "--figures", "f") == 0
    folders = [file for file in (here / "f").iterdir() if file.is_dir()]
    assert len(folders) == 2
    assert all(files_in(folder) == of("isoflop", "cost") for folder in folders)
    assert files_in(here / "f") == of("ucurve", "recipes")
    assert set(pd.read_csv(here / "f" / "ucurve.csv")["study"]) == {"first", ODD[0]}
    out = capsys.readouterr().out
    assert f"not drawn of {ODD[0]}: " in out
    assert "\nnot drawn: no column of unique data: unique; the runs come from a table, not from" in out


def test_a_fault_in_one_figure_costs_no_other_and_is_named(here, capsys, monkeypatch):
    def draw(studies, figure):
        raise ZeroDivisionError("of a test")

    monkeypatch.setitem(DRAWINGS, "cost", replace(DRAWINGS["cost"], draw=draw))
    assert run("one.csv", "--figures", "f") == 1
    assert files_in(here / "f") == of("isoflop", "ucurve")
    assert (here / "fit.json").exists()
    told = capsys.readouterr().err
    assert "cost could not be drawn, which is a fault of this program (ZeroDivisionError: of a test)" in told
    assert "Traceback" not in told
