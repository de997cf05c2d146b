"""The command: exit codes, outputs, bytes that repeat, and no traceback whatever the input."""

import json
import subprocess
import sys

import numpy as np
import pytest

from analysis.cli import main

from .conftest import isoflop_table


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    isoflop_table(noise=0.003).to_csv("runs.csv", index=False)
    return tmp_path


def test_a_fit_writes_what_it_names(here, capsys):
    assert main(["runs.csv", "--budget", "1e18", "--bootstrap", "100"]) == 0
    out = capsys.readouterr().out
    for name in ("fit.json", "isoflop.pdf", "isoflop.png", "isoflop.csv"):
        assert f"fits/runs/{name}" in out
        assert (here / "fits" / "runs" / name).stat().st_size > 200
    values = json.loads((here / "fits" / "runs" / "fit.json").read_text())
    assert values["optimum"][0]["budget"] == 1e18
    assert values["input"]["used"] == 15


def test_json_on_standard_output_is_all_there_is(here, capsys):
    assert main(["runs.csv", "--json", "-", "--bootstrap", "50"]) == 0
    values = json.loads(capsys.readouterr().out)
    contract = {"headline", "cost", "cluster", "law", "objective", "params", "certificate", "intervals", "exponents"}
    contract |= {"optimum", "approaches", "holdout", "warnings", "excluded", "input", "versions"}
    assert contract <= set(values)
    assert not (here / "fits").exists()


def test_figures_and_files_are_the_same_bytes_again(here):
    for folder in ("a", "b"):
        assert main(["runs.csv", "--out", folder, "--bootstrap", "50"]) == 0
    for name in ("fit.json", "isoflop.pdf", "isoflop.png", "isoflop.csv"):
        assert (here / "a" / name).read_bytes() == (here / "b" / name).read_bytes(), name


def test_groups_are_fitted_apart_and_one_that_fails_does_not_end_the_others(here, capsys):
    frame = isoflop_table(noise=0.003).assign(kind="good")
    bad = frame.iloc[:4].assign(kind="bad/../x", loss=np.nan)
    import pandas as pd

    pd.concat([frame, bad]).to_csv("two.csv", index=False)
    assert main(["two.csv", "--group", "kind", "--json", "two.json", "--bootstrap", "50", "--out", "o"]) == 0
    captured = capsys.readouterr()
    assert "2 groups, fitted apart" in captured.out
    assert "bad/../x" in captured.err
    values = json.loads((here / "two.json").read_text())
    assert list(values["groups"]) == ["good"]
    assert len(values["failed"]) == 1
    assert (here / "o" / "good" / "fit.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.csv"], 2, "no such file or folder"),
        (["runs.csv", "--budget", "much"], 2, "not a positive number, got 'much'"),
        (["runs.csv", "--budget", "-1"], 2, "--budget"),
        (["runs.csv", "--law", "chinchila"], 2, "did you mean chinchilla"),
        (["runs.csv", "--objective", "hubert"], 2, "did you mean huber"),
        (["runs.csv", "--loss", "los"], 2, "did you mean loss"),
        (["runs.csv", "--group", "sead"], 2, "did you mean seed"),
        (["runs.csv", "--cluster", "sead"], 2, "did you mean seed"),
        (["runs.csv", "--level", "95"], 2, "a level lies between 0 and 1"),
        (["runs.csv", "--bootstrap", "-5"], 2, "cannot be negative"),
        (["runs.csv", "--bootstrap", "1"], 2, "too few draws"),
        (["runs.csv", "--out", "runs.csv"], 2, "runs.csv"),
        (["runs.csv", "--seed", "-1"], 2, "a seed cannot be negative"),
        (["runs.csv", "--delta", "0"], 2, "a delta lies above zero"),
        (["runs.csv", "--flops-per-param-token", "0"], 2, "not a positive number"),
        (["runs.csv", "--cluster", "budget"], 2, "too few clusters to draw from: 3"),
        (["runs.csv", "--where", "nothing > 3"], 2, "not a condition"),
        (["runs.csv", "--where", "loss < 0"], 2, "0 usable rows"),
        (["runs.csv", "--where", "budget == 1e18", "--budget", "1e21", "--bootstrap", "0"], 1, "no answer beyond"),
    ],
)
def test_errors_are_messages_with_an_exit_code(here, capsys, arguments, code, message):
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert not (here / "fits").exists()


def test_several_tables_are_told_apart(here, capsys):
    isoflop_table(noise=0.003, seed=1).to_csv("other.csv", index=False)
    assert main(["runs.csv", "other.csv", "--out", "o", "--json", "j.json", "--bootstrap", "20"]) == 0
    assert list(json.loads((here / "j.json").read_text())["groups"]) == ["runs", "other"]
    assert (here / "o" / "runs" / "fit.json").read_bytes() != (here / "o" / "other" / "fit.json").read_bytes()


def test_two_rows_only_are_refused(here, capsys):
    isoflop_table().iloc[:2].to_csv("few.csv", index=False)
    assert main(["few.csv"]) == 2
    assert "2 usable rows, and the smallest fit (a parabola) needs 3" in capsys.readouterr().err


def test_help_needs_no_heavy_import():
    code = (
        "import sys; from analysis.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"numpy", "pandas", "scipy", "matplotlib", "torch"} & set(out.split())
