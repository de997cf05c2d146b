"""Bad input is named or refused, never answered by a silent number."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis import CustomLaw, fit, load_fit, save_fit
from analysis.cli import main
from analysis.summary import summarise
from scaling import InputError, WorkError

from .conftest import isoflop_table


def codes(result):
    return {warning["code"] for warning in result.warnings}


def test_fewer_rows_than_parameters_refuse_the_law_and_say_so(table_of):
    frame = isoflop_table(budgets=(1e18,), noise=0.001)
    result = fit(table_of(frame))
    assert result.headline == "isoflop"
    assert "law-refused" in codes(result)
    assert "5 rows for 5 parameters" in result.summary()
    with pytest.raises(WorkError, match="fewer than two budgets are bracketed"):
        result.optimum(1e20)


def test_one_size_only_has_no_optimum(table_of):
    frame = pd.DataFrame({"params": 1e8, "tokens": np.geomspace(1e8, 1e10, 8), "loss": np.linspace(4, 3, 8)})
    with pytest.raises(WorkError, match=r"fewer than three values of N|8 rows"):
        fit(table_of(frame))


def test_collinear_n_and_d_fix_no_law(table_of):
    """With D = 20 N in every run the law cannot tell size from data."""
    n = np.geomspace(1e7, 1e9, 12)
    frame = pd.DataFrame({"params": n, "tokens": 20 * n, "loss": 1.7 + 400 / n**0.34 + 2000 / (20 * n) ** 0.37})
    with pytest.raises(WorkError, match="N and D are collinear"):
        fit(table_of(frame))


def test_equal_losses_are_refused(table_of):
    with pytest.raises(WorkError, match="all losses are equal"):
        fit(table_of(isoflop_table().assign(loss=2.0)))


def test_a_diverged_run_is_left_out_and_remarked(table_of):
    frame = isoflop_table(noise=0.002).assign(status="completed")
    frame.loc[4, ["status", "loss"]] = ["diverged", 9.9]
    result = fit(table_of(frame), judged=False)
    assert "diverged" in codes(result)
    assert result.used == 14


@pytest.mark.parametrize("factor", [1e-9, 1e9])
def test_units_off_by_a_billion_are_hinted_at(table_of, factor):
    frame = isoflop_table(noise=0.002)
    frame["tokens"] *= factor
    result = fit(table_of(frame), judged=False)
    message = next(warning["message"] for warning in result.warnings if warning["code"] == "units")
    assert "is a column in another unit" in message
    assert "units" not in codes(fit(table_of(isoflop_table(noise=0.002)), judged=False))


def test_a_run_that_stands_twice_is_named(table_of):
    frame = isoflop_table(noise=0.002)
    result = fit(table_of(pd.concat([frame, frame.iloc[[3]]])), judged=False)
    message = next(warning["message"] for warning in result.warnings if warning["code"] == "duplicates")
    assert message.endswith("count once: 17")
    assert result.used == 15
    again = frame.iloc[[3]].assign(seed=7)
    assert "same-loss" in codes(fit(table_of(pd.concat([frame, again])), judged=False))


def test_values_that_are_not_finite_are_left_out_by_name(table_of):
    frame = isoflop_table(noise=0.002)
    frame.loc[2, "loss"] = np.inf
    frame.loc[3, "params"] = -5
    result = fit(table_of(frame), judged=False)
    assert {item["row"] for item in result.excluded} == {"4", "5"}


def test_repeated_data_make_a_plain_law_doubtful(table_of):
    frame = isoflop_table(noise=0.002).assign(unique_tokens=1e9)
    assert (frame["tokens"] > 1e9).any()
    result = fit(table_of(frame), law="chinchilla", budgets=[1e21], judged=False)
    assert "repeats" in codes(result)
    assert result.unique == 1e9


def test_a_law_without_its_columns_is_refused_by_name(table_of):
    table = table_of(isoflop_table(noise=0.002))
    for law, message in (("data-constrained", "unique data U"), ("three-term", "the batch")):
        result = fit(table, law=law, judged=False)
        assert not result.parametric.certified
        assert message in result.parametric.reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--interval", "pair"], "did you mean pairs"),
        (["--curve", "cubic"], "no such curve"),
        (["--weights", "loss_se"], "no such column"),
        (["--unique", "-3"], "not a positive number"),
        (["--unique-hours", "10"], "D is in tokens here, not in frames"),
        (["--max-params", "big"], "not a positive number"),
        (["--size", "heads"], "no such size"),
        (["--size", "total"], "no such column"),
        (["--size", "params", "--n", "params"], "two names for N"),
        (["--law", "none.py:law"], "the law cannot be imported"),
        (["--format", "rtf"], "no such form"),
        (["--compare"], "compar"),
    ],
)
def test_wrong_options_are_named(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    isoflop_table(noise=0.003).to_csv("runs.csv", index=False)
    assert main(["runs.csv", "--quick", "--bootstrap", "20", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err


def test_the_summary_is_one_content_in_three_forms(table_of):
    result = fit(table_of(isoflop_table(noise=0.003)), budgets=[1e18])
    text, html, latex = (result.summary(form) for form in ("text", "html", "latex"))
    assert "<table>" in html
    assert r"\toprule" in latex
    cells = [line.split()[1] for line in text.splitlines() if line.strip().startswith("1e18")]
    for cell in cells:
        assert cell in html
        assert cell in latex
    with pytest.raises(InputError, match="no such form"):
        result.summary("rtf")


def test_a_limit_on_the_size_says_what_it_costs(table_of):
    frame = isoflop_table(noise=0.001, sizes=7, budgets=(1e17, 1e18, 1e19, 1e20))
    result = fit(table_of(frame), budgets=[1e22], limit=1e8, judged=False)
    limited = result.answers[0].limited
    assert limited["N"] == 1e8
    assert limited["loss"] > result.answers[0].loss.value
    assert limited["compute"] > 1.5
    # that much less compute reaches the same loss with the best size
    free = result.optimum(1e22 / limited["compute"])
    assert free.loss.value == pytest.approx(limited["loss"], rel=1e-4)
    assert fit(table_of(frame), budgets=[1e22], limit=1e13, judged=False).answers[0].limited is None
    within = fit(table_of(frame), budgets=[1e19], limit=1e8, judged=False)
    assert within.headline == "isoflop"
    assert within.answers[0].limited["N"] == 1e8


def test_text_among_the_sizes_leaves_the_row_out(table_of):
    frame = isoflop_table(noise=0.002).astype({"params": object})
    frame.loc[6, "params"] = "abc"
    result = fit(table_of(frame), judged=False)
    assert result.used == 14
    assert result.excluded[0]["reason"] == "params is not a number (abc)"


def test_a_law_of_one_variable_splits_no_budget(table_of):
    table = table_of(isoflop_table(noise=0.002))
    result = fit(table, law="power-c", budgets=[1e18])
    assert result.parametric.certified
    assert result.headline == "isoflop"
    assert result.exponents("parametric") == {}
    assert result.predict(N=1e8, D=1e9).shape == (1,)


def test_beyond_the_budgets_a_line_of_minima_foretells_no_loss(table_of):
    frame = isoflop_table(noise=0.001, budgets=(1e17, 1e18, 1e19))
    result = fit(table_of(frame), law="power-c", budgets=[1e20], judged=False)
    answer = result.answers[0]
    assert answer.loss is None
    assert answer.N.value > 0
    assert "1e20" in result.summary()


@pytest.mark.parametrize("budget", [-1, 0, np.inf, np.nan])
def test_an_optimum_is_asked_at_a_budget(table_of, budget):
    with pytest.raises(InputError, match="not a positive number of FLOPs"):
        fit(table_of(isoflop_table(noise=0.002)), judged=False, draws=0).optimum(budget)


def test_what_is_no_table_is_named():
    with pytest.raises(InputError, match="not a table of runs"):
        fit([1, 2, 3])


def test_unique_data_that_no_run_repeated_are_doubtful(table_of):
    result = fit(table_of(isoflop_table(noise=0.002)), budgets=[1e21], unique=1e6, judged=False)
    assert "repeats" in codes(result)


def test_a_curve_over_size_alone_takes_a_law_of_size(table_of):
    n = np.geomspace(1e6, 1e9, 9)
    frame = pd.DataFrame({"params": n, "loss": 2 + 0.05 * np.log(n / 3e7) ** 2})
    result = fit(table_of(frame), law="power-n")
    assert result.headline == "isoflop"
    assert result.parametric.law.name == "power-n"


def test_a_law_of_ones_own_is_not_taken_for_a_built_in(table_of, tmp_path):
    law = CustomLaw(
        name="chinchilla",
        equation="L = E + A/N^a + B/D^a",
        loss=lambda x, E, A, B, a: E + A / x.N**a + B / x.D**a,
        guesses={"E": [1.5], "A": [300.0], "B": [1500.0], "a": [0.3]},
        positive=frozenset("EAB"),
    )
    result = fit(table_of(isoflop_table(noise=0.002, sizes=7, seeds=3)), law=law, draws=20)
    assert set(result.to_dict()["params"]) == {"E", "A", "B", "a"}
    with pytest.raises(InputError, match="another law than the one"):
        load_fit(save_fit(result, tmp_path))
    assert load_fit(tmp_path, law=law).parametric.value == result.parametric.value


def test_a_law_without_a_feasible_start_has_no_certificate(table_of):
    law = CustomLaw(
        name="negative",
        equation="L = -A",
        loss=lambda x, A: -A + 0 * x.N,
        guesses={"A": [1.0]},
        positive=frozenset("A"),
    )
    result = fit(table_of(isoflop_table(noise=0.002)), law=law, judged=False)
    assert "no positive loss" in result.parametric.reason


@pytest.mark.parametrize("rows", [3, 4, 5, 6, 7, 8])
def test_few_runs_end_without_a_traceback(tmp_path, monkeypatch, capsys, rows):
    """Six runs fix the five parameters of a law, but no run can be left out of them: that is said, the fit stands."""
    monkeypatch.chdir(tmp_path)
    frame = isoflop_table(budgets=(1e18, 1e19), sizes=3 if rows == 6 else 4, noise=0.003).iloc[:rows]
    frame.to_csv("runs.csv", index=False)
    code = main(["runs.csv", "--details", "--bootstrap", "20", "--json", "fit.json"])
    assert code == (1 if rows == 3 else 0)
    if rows == 6:
        told = capsys.readouterr().out
        assert "L = E + A/N^alpha + B/D^beta   huber" in told
        assert "influence of single runs: not looked into (6 runs for 5 parameters" in told
        assert "windows of compute: not looked into (6 runs: a window needs 10)" in told
        assert set(json.loads((tmp_path / "fit.json").read_text())["judgement"]["skipped"]) == {"influence", "drift"}
    assert main(["runs.csv", "runs.csv", "--compare", "--bootstrap", "20"]) in (0, 1, 2)


@pytest.mark.parametrize("rows", [5, 6])
@pytest.mark.parametrize("law", ["kaplan", "power-n", "tied", "broken-n"])
@pytest.mark.parametrize("objective", ["huber", "lad", "log-mse"])
def test_few_runs_of_much_noise_end_without_a_traceback(tmp_path, monkeypatch, law, objective, rows):
    """Draws of laws that the runs hardly fix have ends without a bound, and some of their jacobians have none."""
    monkeypatch.chdir(tmp_path)
    isoflop_table(budgets=(1e18, 1e19), sizes=3, noise=0.1).iloc[:rows].to_csv("runs.csv", index=False)
    options = ["--law", law, "--objective", objective, "--interval", "delta", "--details"]
    assert main(["runs.csv", "--bootstrap", "20", "--json", "-", *options]) in (0, 1)


def test_an_interval_without_a_bound_is_printed(table_of):
    result = fit(table_of(isoflop_table(noise=0.003)), law="chinchilla", draws=20).to_dict()
    result["intervals"]["params"] |= {"A": [12.5, None], "alpha": [None, 0.5], "B": [None, None]}
    text = summarise(result)
    assert "12.5 - inf" in text
    assert "-inf - 0.5" in text


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("loss=lambda x, E, A: E + bta / x.N, guesses={'E': [1.0], 'A': [1.0]}", "NameError: name 'bta'"),
        ("loss=lambda x, E, A, B: E + A / x.N, guesses={'E': [1.0], 'A': [1.0]}", "missing 1 required positional"),
        ("loss=lambda x, E, A: E + A / x.M, guesses={'E': [1.0], 'A': [1.0]}", "the points have no M"),
    ],
)
def test_a_law_of_ones_own_with_a_slip_is_told_without_a_traceback(tmp_path, capsys, body, says):
    from analysis.cli import main

    isoflop_table(noise=1e-3).to_csv(tmp_path / "runs.csv", index=False)
    (tmp_path / "mine.py").write_text(
        f"from analysis import CustomLaw\nlaw = CustomLaw(name='m', equation='m', {body})\n"
    )
    assert main([str(tmp_path / "runs.csv"), "--law", f"{tmp_path}/mine.py:law"]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert "its loss takes x and every name of guesses" in told


def test_recipes_that_are_pooled_are_named_and_so_are_sizes_in_millions(table_of):
    recipes = pd.concat([isoflop_table(noise=1e-3, seed=i).assign(recipe=name) for i, name in enumerate("ab")])
    warnings = {w["code"]: w["message"] for w in fit(table_of(recipes), draws=0, judged=False).warnings}
    assert warnings["pooled"].startswith("recipe (a, b) tells runs of one size and data apart: --group recipe")
    small = isoflop_table(noise=1e-3).drop(columns=["flops", "budget"])
    table = table_of(small.assign(params=small["params"] / 1e6, tokens=small["tokens"] / 1e9))
    warnings = {w["code"]: w["message"] for w in fit(table, draws=0, judged=False).warnings}
    assert "params_millions" in warnings["units"]
    one = isoflop_table(noise=1e-3).assign(recipe="a", note=[f"n{i}" for i in range(15)])
    assert "pooled" not in {w["code"] for w in fit(table_of(one), draws=0, judged=False).warnings}
