"""The report as text: what is in it, what is escaped, what it weighs; a browser reads it in tests/browser."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from analysis import fit
from analysis.cli import main
from analysis.figures.study import Study
from analysis.latex import latex
from analysis.report.page import write_report
from scaling.units import format_count
from tests.analysis.conftest import isoflop_table

SPECIALS = "<script>alert('x')</script> & 100% $a_b$ #1 {x} ~^ \\input{y}"


@pytest.fixture
def report(table_of, tmp_path):
    """Return a function that writes a frame's report, without figures unless `drawn`, and returns study and page."""

    def make(frame, *, options=None, drawn=False, **asked):
        table = table_of(frame, **(options or {}))
        study = Study(fit=fit(table, **{"draws": 100, **asked}), table=table)
        pictures = write_report(
            [study], tmp_path / "report.html", command=["scaling-fit", "runs.csv"], pictures=None if drawn else []
        )
        assert [picture.reason for picture in pictures if picture.faulty] == []
        return study, (tmp_path / "report.html").read_text(encoding="utf-8")

    return make


def test_the_page_has_every_part(report):
    study, page = report(isoflop_table(noise=2e-3), drawn=True, budgets=[1e20])
    for part in ("Optimum calculator", "Answers", "Figures", "Law, approaches, budgets", "Checks and checklist", "Runs",
                 "For the paper", "Methods", "LaTeX", "Provenance", "scaling-fit runs.csv"):  # fmt: skip
        assert part in page
    assert f"At 1e20 training FLOPs the best size is {format_count(study.fit.answers[0].N.value)} [" in page
    assert study.fit.source["sha256"] in page
    assert page.count("<tr><td") >= len(study.runs)

    allowed = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\s\"'<>)]+", page)) <= allowed
    assert "default-src 'none'" in page


def test_the_same_input_gives_the_same_bytes(report):
    frame = isoflop_table(noise=2e-3)
    assert report(frame)[1] == report(frame)[1]  # those of the figures are held in figures/test_files.py


def test_names_of_the_input_are_escaped_in_html_and_latex(report):
    frame = isoflop_table(noise=2e-3).rename(columns={"loss": SPECIALS})
    study, page = report(frame, options={"loss": SPECIALS})
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    for block in re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL):
        json.loads(block)
    text = latex({**study.fit.to_dict(), "law": {"latex": "", "equation": SPECIALS, "source": SPECIALS}})
    assert r"\input" not in text.replace(r"\textbackslash{}input", "")
    assert r"100\% \$a\_b\$ \#1 \{x\}" in text


def test_a_curve_over_size_alone_has_no_calculator_and_says_so_by_what_it_shows(report):
    frame = isoflop_table(budgets=(1e18,), sizes=7, noise=1e-3)[["params", "loss"]]
    _, page = report(frame, drawn=True)
    assert "Optimum calculator" not in page
    assert "At this budget the best size is" in page
    assert "a curve over N alone has no compute" in page


def test_a_law_that_splits_no_budget_is_reported(report):
    _, page = report(isoflop_table(noise=2e-3), drawn=True, judged=False, law="power-n")
    assert "no certified law that splits a budget" in page


def test_rows_left_out_stand_with_their_reason(report):
    frame = isoflop_table(noise=2e-3)
    frame.loc[3, "loss"] = -1
    _, page = report(frame)
    assert "1 left out" in page
    assert "loss is not positive (-1" in page


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_losses_of_any_scale(report, scale):
    frame = isoflop_table(noise=2e-3)
    study, page = report(frame.assign(loss=scale * frame["loss"]))
    assert f"{study.fit.answers[-1].loss.value:.4g}" in page


@pytest.mark.slow
def test_a_thousand_runs_weigh_less_than_three_megabytes(report):
    rng = np.random.default_rng(0)
    frame = isoflop_table(budgets=np.geomspace(1e17, 1e20, 10), sizes=20, seeds=5, noise=3e-3)
    frame["seconds"] = rng.uniform(1e3, 1e5, len(frame))
    _, page = report(frame, drawn=True, judged=False)
    assert len(frame) == 1000
    assert len(page.encode()) < 3e6


@pytest.mark.slow
def test_the_command_writes_figures_and_report_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    isoflop_table(noise=2e-3).to_csv("runs.csv", index=False)
    arguments = ["runs.csv", "--bootstrap", "50", "--quick"]
    assert main(arguments) == 0
    assert "next  scaling-fit runs.csv --bootstrap 50 --quick --figures" in capsys.readouterr().out
    assert main([*arguments, "--figures", "figures", "--report", "out/report.html", "--venue", "icml"]) == 0
    told = capsys.readouterr().out
    assert "wrote out/report.html" in told
    assert "next" not in told
    assert "scaling-fit runs.csv --bootstrap 50 --quick --figures figures" in (tmp_path / "out/report.html").read_text()


@pytest.mark.slow
def test_several_groups_share_a_page_and_a_failed_one_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    good = isoflop_table(noise=2e-3)
    groups = [
        good.assign(data="a & b"),
        isoflop_table(noise=2e-3, seed=1).assign(data="c"),
        good.head(2).assign(data="few"),
    ]
    pd.concat(groups).to_csv("runs.csv", index=False)
    assert main(["runs.csv", "--group", "data", "--bootstrap", "50", "--quick", "--report", "report.html"]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "2 groups, fitted apart" in page
    assert "<h2>a &amp; b</h2>" in page
    assert "No fit: runs.csv [few]" in page
    assert page.count("Optimum calculator") == 2


def test_a_report_where_a_file_stands_is_refused_before_anything_is_fitted(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    isoflop_table(noise=2e-3).to_csv("runs.csv", index=False)
    (tmp_path / "taken").write_text("a file")
    assert main(["runs.csv", "--bootstrap", "50", "--quick", "--report", "taken/report.html"]) == 2
    assert "a file stands there" in capsys.readouterr().err
    assert not (tmp_path / "fits").exists()


def test_an_interval_without_bounds_is_told_as_one(report):
    frame = isoflop_table(sizes=4, noise=1.2e-2, seed=9)
    study, page = report(frame, judged=False, level=0.99, draws=200)
    N = study.fit.answers[-1].N
    assert N.low is None or N.high is None
    told = re.search(r'class="headline">(.*?)</p>', page)[1]
    assert re.search(r"parameters", told)
    assert "[0, " in told or ", inf]" in told
    assert "99 %" in page


def test_the_calculator_names_the_jumps_of_a_law_and_follows_it_elsewhere(table_of):
    """Half way between its points the cubic gives the API's answer, or the stretch is named."""
    from analysis.data.points import Points
    from analysis.laws import LAWS
    from analysis.report.calculator import calculator, cubic

    n, d = map(np.ravel, np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(1e8, 1e11, 6)))
    law = LAWS["data-constrained"]
    theta = law.theta({"E": 1.7, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37, "RD": 15.4, "RN": 5.3})
    noise = 2e-3 * np.random.default_rng(0).normal(size=36)
    loss = np.exp(law.log_loss(theta, Points.of(N=n, D=d, U=np.minimum(d, 1e9))) + noise)
    table = table_of(pd.DataFrame({"params": n, "tokens": d, "loss": loss, "unique_tokens": 1e9}))
    study = Study(fit=fit(table, law="data-constrained", draws=100, judged=False), table=table)
    (piece,) = calculator(study)["pieces"]
    at = [row["c"] for row in piece["rows"]]
    for x in np.linspace(at[0] + 0.01, at[-1] - 0.01, 30):
        if any(low <= np.exp(x) <= high for low, high in piece["jumps"]):
            continue
        N = sum(weight * piece["rows"][i]["N"][0] for i, weight in cubic(at, x))
        assert np.exp(N) == pytest.approx(study.fit.optimum(float(np.exp(x))).N.value, rel=1e-2)
    wide = sum(np.log(high / low) for low, high in piece["jumps"])
    assert wide < 0.25 * (at[-1] - at[0])


def test_a_table_with_an_end_and_no_beginning_of_its_runs_is_reported(report):
    _, page = report(isoflop_table(noise=2e-3).assign(finished="2026-01-01"), judged=False)
    assert "Provenance" in page
