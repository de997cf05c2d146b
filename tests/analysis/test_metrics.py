"""Metrics beside the loss: scales, fits in the metric's own unit, ratios of best sizes, the command, bad input."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import fit, fit_metrics, load, load_fit, save_fit
from analysis.approaches.curvechoice import fit_curves
from analysis.approaches.curvedraws import draw_curves
from analysis.approaches.curves import BudgetRuns, minimum
from analysis.approaches.pairdraws import correlation_of, draw_pair
from analysis.cli import main
from analysis.data.measuring import find_metrics, measure
from analysis.data.metrics import LOSS, Scale, is_metric, scale_of
from scaling import InputError

from .conftest import TRUTH, chinchilla, isoflop_table

NAMES = ("asr_wer", "asv_eer", "accuracy", "phone_purity", "effective_rank", "bleu", "perplexity", "something")
OTHER = {**TRUTH, "E": 4.0, "A": 800.0, "B": 2000.0}
"""A metric that asks for larger models: twice the weight of N."""
FACTOR = 2 ** (1 / (TRUTH["alpha"] + TRUTH["beta"]))
"""N* by it over N* by the loss, at every budget under C = 6 N D (Hoffmann et al. 2022, eq. 4)."""


def metric_table(noise=0.003, shared=0.0, seed=0, **options):
    """Return isoFLOP runs with a WER that asks for larger models, its noise shared with the loss's in part."""
    frame = isoflop_table(noise=0.0, span=40.0, sizes=7, **options)
    rng = np.random.default_rng(seed)
    z, own = rng.normal(size=(2, len(frame)))
    frame["asr_wer"] = chinchilla(frame.params, frame.tokens, OTHER) * np.exp(
        noise * (shared * z + np.sqrt(1 - shared**2) * own)
    )
    frame["loss"] *= np.exp(noise * z)
    frame["accuracy"] = 1 / (1 + np.exp(frame["loss"] - 3))
    return frame


# scales


@given(
    st.sampled_from(NAMES),
    st.sampled_from(["auto", "logit", "floor"]),
    st.lists(st.floats(0.01, 0.99), min_size=2, max_size=20),
    st.booleans(),
)
def test_a_scale_turns_back_what_it_turned_and_keeps_the_order(name, asked, values, percent):
    v = np.array(values) * (100 if percent else 1)
    try:
        scale = scale_of(name, v, asked)
    except InputError:
        assert asked == "logit"
        assert name in ("effective_rank", "perplexity")
        return
    v = v[v < scale.bound] if scale.bounded else v
    q = scale.fitted(v)
    assert (q > 0).all()
    assert scale.own(q) == pytest.approx(v, rel=1e-9)
    order = np.argsort(v)
    steps = np.diff(q[order])[np.diff(v[order]) > 1e-9]
    assert (steps > 0).all() if scale.rises else (steps < 0).all()


@given(st.lists(st.floats(0.02, 0.98), min_size=2, max_size=20), st.sampled_from(["accuracy", "asv_eer"]))
def test_percent_and_shares_are_one_thing(values, name):
    v = np.array([*values, 0.5])
    share, percent = scale_of(name, v), scale_of(name, 100 * v)
    assert (share.percent, percent.percent) == (False, True)
    assert percent.fitted(100 * v) == pytest.approx(share.fitted(v), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "kind", "rises"),
    [
        ("asr_wer", "floor", True),
        ("phone_error_rate", "floor", True),
        ("asv_eer", "logit", True),
        ("accuracy", "logit", False),
        ("label_purity", "logit", False),
        ("pnmi", "logit", False),
        ("f1", "logit", False),
        ("effective_rank", "floor", False),
        ("anything", "floor", True),
    ],
)
def test_the_name_says_which_way_is_better_and_what_bounds_it(name, kind, rises):
    scale = scale_of(name, np.array([0.3, 0.4]))
    assert (scale.kind, scale.rises) == (kind, rises)
    assert Scale.from_dict(scale.to_dict()) == scale


def test_a_scale_says_how_far_half_a_percent_of_the_error_is():
    scale = scale_of("asv_eer", np.array([0.2]))
    q = float(scale.fitted(np.array([0.2]))[0])
    assert scale.own(q * (1 + scale.near(q))) == pytest.approx(0.2 * 1.005)
    assert np.isfinite(scale.near(1e6))
    assert LOSS.near(3.0) == 0.005


def test_standard_errors_are_no_metrics():
    assert [is_metric(c) for c in ("metric_purity", "metric_purity_se", "asr_wer_se")] == [True, False, False]
    frame = metric_table().assign(asr_wer_se=0.1)
    found = fit_metrics(load(frame)[0], ["asr_wer"], draws=0, judged=False)
    assert found.loss.beside["metrics"]["asr_wer"]["standard_error"] == pytest.approx(0.1)


# fits


def test_a_noiseless_metric_is_recovered_and_answers_in_its_own_unit():
    table = load(metric_table(noise=0.0), metric="asr_wer")[0]
    result = fit(table, draws=0, judged=False, budgets=[1e21])
    for name, value in result.parametric.law.natural(result.parametric.theta).items():
        assert value == pytest.approx(OTHER[name], rel=1e-4), name
    answer = result.answers[0]
    assert answer.loss.value == pytest.approx(chinchilla(answer.N.value, answer.D.value, OTHER), rel=1e-6)


@pytest.mark.parametrize("unit", [1, 100])
def test_the_law_of_an_accuracy_is_of_its_odds_and_what_is_said_is_an_accuracy(unit, tmp_path):
    frame = metric_table(noise=0.0)
    odds = chinchilla(frame.params, frame.tokens)
    frame["accuracy"] = unit / (1 + odds)
    table = load(frame, metric="accuracy")[0]
    assert table.runs["loss"].to_numpy() == pytest.approx(odds.to_numpy())
    result = fit(table, draws=0, judged=False, budgets=[1e21])
    answer = result.answers[0]
    truth = chinchilla(answer.N.value, answer.D.value)
    assert answer.loss.value == pytest.approx(unit / (1 + truth), rel=1e-6)
    assert result.predict(N=1e8, D=1e9)[0] == pytest.approx(unit / (1 + chinchilla(1e8, 1e9)), rel=1e-6)
    floor = unit / (1 + TRUTH["E"])
    assert f"its E for accuracy{' (%)' if unit > 1 else ''} {floor:.{2 if unit > 1 else 4}f}" in result.summary()
    again = load_fit(save_fit(result, tmp_path / "out"))
    assert again.to_dict() == result.to_dict()
    assert again.optimum(1e20).to_dict() == result.optimum(1e20).to_dict()


def test_intervals_of_what_larger_is_better_stand_the_right_way_round():
    frame = metric_table()
    for budgets in ([1e18], [1e21]):
        result = fit(load(frame, metric="accuracy")[0], draws=100, judged=False, budgets=budgets)
        loss = result.answers[0].loss
        assert 0 < loss.low < loss.value < loss.high < 1


def test_runs_without_the_metric_are_left_out_by_name_and_the_loss_is_compared_on_the_same_runs():
    frame = metric_table()
    frame.loc[[2, 9], "asr_wer"] = [np.nan, -1]
    table = load(frame)[0]
    measured = measure(table, find_metrics([table], ["asr_wer"])[0])
    assert measured.excluded == [
        {"row": "2", "reason": "asr_wer is missing"},
        {"row": "9", "reason": "asr_wer is not above 0 (-1)"},
    ]
    found = fit_metrics(table, ["asr_wer"], draws=50, judged=False)
    row = found.differences[0]["metrics"]["asr_wer"]
    assert found.fits["asr_wer"].used == len(frame) - 2
    assert row["N_loss"] != found.differences[0]["loss"]
    assert row["ratio"]["estimate"] == pytest.approx(row["N"]["estimate"] / row["N_loss"]["estimate"])
    assert "asr_wer is in 19 runs, by whose loss" in found.summary()


# the ratio


def pair_of_curves(rng, shared=0.8, skew=0.0):
    x = np.log(np.geomspace(1e6, 1e8, 8))
    c = x - x.mean()
    z, own = rng.normal(size=(2, 3, len(x)))
    noise = 0.02 * np.array([z, shared * z + np.sqrt(1 - shared**2) * own])
    truth = [0.05 * c**2, 0.1 * (c - 0.4) ** 2]
    points = [[BudgetRuns(log_n=x, loss=y + skew * c**3 + row) for row in n] for y, n in zip(truth, noise, strict=True)]
    return [fit_curves(own, "quadratic" if not skew else "auto") for own in points]


def test_draws_of_a_pair_have_each_ones_own_distribution_and_the_correlation_of_the_residuals():
    first, second = pair_of_curves(np.random.default_rng(3))
    a, b = draw_pair(first, second, 20_000, np.random.default_rng(0))
    for together, curves in ((a, first), (b, second)):
        alone = draw_curves(curves, "normal", 20_000, np.random.default_rng(1))
        for q in (0.05, 0.5, 0.95):
            ours, theirs = (np.quantile(minimum(d)[:, 0], q) for d in (together, alone))
            assert ours == pytest.approx(theirs, abs=0.03)
    r = correlation_of(first, second)
    drawn = np.corrcoef(a[:, 0, 1], b[:, 0, 1])[0, 1]
    assert 0.5 < r < 1
    assert drawn == pytest.approx(r, abs=0.1)


def test_the_ratio_of_paired_curves_covers():
    """Nominal 95 % of the difference of two minima whose noise is shared; independent draws are wider."""
    rng, hits, widths = np.random.default_rng(0), 0, []
    for _ in range(200):
        first, second = pair_of_curves(rng)
        a, b = draw_pair(first, second, 500, rng)
        differences = [(minimum(b) - minimum(other))[:, 0] for other in (a, a[rng.permutation(500)])]
        ends = [np.nanquantile(d + second.center[0] - first.center[0], [0.025, 0.975]) for d in differences]
        hits += ends[0][0] < 0.4 < ends[0][1]
        widths.append([e[1] - e[0] for e in ends])
    assert 180 <= hits <= 198
    paired, independent = np.median(widths, axis=0)
    assert paired < 0.9 * independent


@pytest.mark.parametrize("budgets", [[], [1e21]])
def test_the_ratio_of_the_best_sizes_holds_the_truth(budgets):
    """By isoFLOP minima within the budgets, by the law beyond them."""
    frame = metric_table(shared=0.5, seed=4)
    found = fit_metrics(load(frame)[0], ["asr_wer"], budgets=budgets, draws=200, judged=False)
    assert len(found.differences) == (1 if budgets else 3)
    for row in found.differences:
        own = row["metrics"]["asr_wer"]
        assert own["paired"]
        assert own["ratio"]["low"] < FACTOR < own["ratio"]["high"]
        assert own["ratio"]["high"] / own["ratio"]["low"] < 2


def test_a_metric_that_is_the_loss_differs_by_nothing():
    frame = metric_table(noise=0.01).assign(asr_wer=lambda f: 5 * f.loss)
    found = fit_metrics(load(frame)[0], ["asr_wer"], budgets=[1e21], draws=100, judged=False)
    ratio = found.differences[0]["metrics"]["asr_wer"]["ratio"]
    assert [ratio[key] for key in ("low", "estimate", "high")] == pytest.approx([1, 1, 1], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1e18, 1e21])
def test_the_ratio_covers_over_studies(budget):
    hits = 0
    for seed in range(100):
        frame = metric_table(noise=0.01, shared=0.5, seed=seed)
        found = fit_metrics(load(frame)[0], ["asr_wer"], budgets=[budget], draws=200, judged=False, seed=seed)
        ratio = found.differences[0]["metrics"]["asr_wer"]["ratio"]
        hits += (ratio["low"] or 0) < FACTOR < (ratio["high"] or np.inf)
    assert 89 <= hits <= 100


def test_metrics_of_another_protocol_are_left_out_by_name():
    frame = metric_table().rename(columns={"asr_wer": "metric_phone_error_rate"})
    frame["probe_id"] = ["aaaa"] * (len(frame) - 2) + ["bbbb"] * 2
    table = load(frame)[0]
    measured = measure(table, find_metrics([table], ["phone_error_rate"])[0])
    assert measured.used == table.used - 2
    assert "another protocol (probe_id bbbb, most runs have aaaa)" in measured.excluded[-1]["reason"]


# the command


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metric_table().to_csv("runs.csv", index=False)
    return tmp_path


def test_the_command_fits_metrics_beside_the_loss_and_keeps_them_in_files(here, capsys):
    assert main(["runs.csv", "--metric", "asr_wer", "--metric", "accuracy", "--bootstrap", "50"]) == 0
    out = capsys.readouterr().out
    assert out.index("loss = loss)") < out.index("metric = asr_wer") < out.index("where the best size differs")
    assert "odds" in re.search(r"metric = accuracy.*", out)[0]
    values = json.loads((here / "fits" / "runs" / "fit.json").read_text())
    assert list(values["metrics"]) == ["asr_wer", "accuracy"] == list(values["transfer"])
    assert values["metrics"]["accuracy"]["scale"]["kind"] == "logit"
    assert [set(row["metrics"]) for row in values["differences"]] == [{"asr_wer", "accuracy"}] * 3
    again = load_fit(here / "fits" / "runs")
    assert again.beside["differences"] == values["differences"]
    assert "where the best size differs" in again.summary()
    own = load_fit(here / "fits" / "runs" / "accuracy")
    assert own.scale.name == "accuracy"
    shown = pd.read_csv(here / "fits" / "runs" / "accuracy" / "isoflop.csv")
    assert shown["accuracy"].between(0, 1).all()


def test_groups_have_a_table_of_their_own_and_one_without_a_metric_ends_no_other(here, capsys):
    frame = pd.concat([metric_table(seed=i).assign(kind=name) for i, name in enumerate(("one", "two"))])
    frame.loc[frame.kind == "two", "asr_wer"] = np.nan
    frame.to_csv("two.csv", index=False)
    arguments = ["two.csv", "--group", "kind", "--metric", "asr_wer", "--json", "out.json", "--bootstrap", "50"]
    assert main([*arguments, "--quick"]) == 0
    out = capsys.readouterr().out
    assert out.count("where the best size differs") == 1
    assert "no fit of asr_wer: --metric asr_wer [two]: 0 runs have a value" in out
    groups = json.loads((here / "out.json").read_text())["groups"]
    assert groups["one"]["metrics"]["asr_wer"]["status"] == "fitted"
    assert groups["two"]["metrics"]["asr_wer"]["status"] == "failed"


def test_a_fit_without_metrics_and_one_from_before_there_were_any_are_read(here):
    assert main(["runs.csv", "--bootstrap", "20", "--quick"]) == 0
    path = here / "fits" / "runs" / "fit.json"
    values = json.loads(path.read_text())
    assert (values["metrics"], values["differences"], values["transfer"]) == ({}, [], {})
    for key in ("metrics", "differences", "transfer", "scale"):
        del values[key]
    path.write_text(json.dumps(values))
    assert load_fit(path).scale == LOSS
    assert "compute-optimal" in load_fit(path).summary()


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, ["--metric", "asr_were"], "did you mean asr_wer? Known: accuracy, asr_wer"),
        ({"asr_wer": 3.0}, ["--metric", "asr_wer"], "the same in every run"),
        ({"asr_wer": 0.0}, ["--metric", "asr_wer"], "zero in every run"),
        ({"accuracy": 120.0}, ["--metric", "accuracy"], "accuracy is not between 0 and 100 (120)"),
        ({"accuracy": -1.0}, ["--metric", "accuracy"], "accuracy is not between 0 and 1 (-1)"),
        ({"asr_wer": np.nan}, ["--metric", "asr_wer"], "asr_wer is missing"),
        ({"asr_wer": "bad"}, ["--metric", "asr_wer"], "asr_wer is not a number (bad)"),
        ({"asr_wer_se": 0.1}, ["--metric", "asr_wer_se"], "a standard error is no metric"),
        ({}, ["--metric", "loss"], "that is the loss"),
        ({}, ["--metric", "asr_wer", "--scale", "log"], "no such scale"),
        ({}, ["--scale", "logit"], "a scale is a metric's"),
        ({"effective_rank": 3.0}, ["--metric", "effective_rank", "--scale", "logit"], "no upper bound"),
        ({}, ["--metric", "asr_wer", "--metric", "accuracy", "--compare"], "compared by one metric"),
    ],
)
def test_what_is_wrong_with_a_metric_is_named_before_anything_is_fitted(
    here, capsys, monkeypatch, change, arguments, message
):
    monkeypatch.setattr("analysis.fitting.fit", lambda *_, **__: pytest.fail("it was fitted first"))
    metric_table().assign(**change).to_csv("bad.csv", index=False)
    assert main(["bad.csv", *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert not (here / "fits").exists()


def test_the_published_curve_is_one_command(reference, tmp_path, capsys):
    path = reference / "speech_ssl_budget_curve.csv"
    command = [str(path), "--group", "objective", "--metric", "asr_wer", "--metric", "asv_eer", "--json"]
    assert main([*command, str(tmp_path / "out.json")]) == 0
    told = capsys.readouterr()
    assert "tera" in told.err
    rows = [line for line in told.out.splitlines() if line.startswith(("  hubert", "  wav2vec2"))]
    assert len(rows) == 2
    groups = json.loads((tmp_path / "out.json").read_text())["groups"]
    ratios = {
        (group, name): own["ratio"]
        for group, fitted in groups.items()
        for name, own in fitted["differences"][0]["metrics"].items()
    }
    assert ratios["hubert", "asr_wer"]["low"] < 1 < ratios["hubert", "asr_wer"]["high"]
    assert ratios["wav2vec2", "asv_eer"]["low"] > 1
