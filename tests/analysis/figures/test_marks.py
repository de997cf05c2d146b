"""What is drawn is what was fitted, and what was not seen looks another way."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analysis import fit
from analysis.engine.profile import profile_interval
from analysis.figures import (
    allocation,
    contours,
    corner,
    cost,
    drift,
    envelope,
    epochs,
    forecast,
    isoflop,
    laws,
    limits,
    profiles,
    progress,
    ratio,
    residuals,
    ucurve,
)
from analysis.figures.drawing import render
from analysis.figures.gallery import DRAWINGS
from analysis.figures.study import Study
from analysis.figures.style import ZONE

PLOTS = {
    "isoflop": isoflop.plot_isoflop,
    "allocation": allocation.plot_allocation,
    "ratio": ratio.plot_ratio,
    "envelope": envelope.plot_envelope,
    "contours": contours.plot_contours,
    "law cuts": contours.plot_law_cuts,
    "limit": lambda s, **to: limits.plot_limit(s, **to, quantity="D"),
    "ucurve": ucurve.plot_ucurve,
    "residuals": lambda s, **to: residuals.plot_residuals(s, **to, quantity="N"),
    "histogram": residuals.plot_residual_histogram,
    "forecast": forecast.plot_forecast,
    "forecast error": forecast.plot_forecast_error,
    "drift": drift.plot_drift,
    "scores": laws.plot_scores,
    "laws": laws.plot_laws,
    "pair": lambda s, **to: corner.plot_pair(s, **to, x="alpha", y="beta"),
    "marginal": lambda s, **to: corner.plot_marginal(s, **to, name="alpha"),
    "profile": lambda s, **to: profiles.plot_profile(s, **to, name="alpha"),
}


def csv_of(name, studies):
    """Return the table that is saved with a figure."""
    return pd.read_csv(io.BytesIO(render(DRAWINGS[name], studies, formats=()).files["csv"]))


def new_axes():
    """Return axes of a figure without a window, whose canvas can save nothing."""
    return Figure().add_subplot()


def draws(figure):
    """Return whether a figure can be saved."""
    figure.savefig(io.BytesIO(), format="svg")
    return True


@pytest.mark.parametrize("name", PLOTS)
def test_a_figure_of_ones_own_takes_any_of_them(study_of, name):
    ax = new_axes()
    assert PLOTS[name](study_of("factorial"), ax=ax) is ax
    assert draws(ax.figure)


def test_without_axes_new_ones_are_made(study_of, sweep_study):
    made = [cost.plot_cost(study_of("speech")), epochs.plot_worth(study_of("repeated")),
            progress.plot_plan(sweep_study.fit.source["path"]), cost.plot_speed(study_of("speech"))]  # fmt: skip
    try:
        assert len({id(ax.figure) for ax in made}) == 4
    finally:
        plt.close("all")


def test_a_folder_that_fills_up_is_read_again(tmp_path):
    from .conftest import sweep_folder

    folder = sweep_folder(tmp_path)
    before = progress.progress_data(folder)["state"].tolist()
    next((folder / "records").iterdir()).unlink()
    assert progress.progress_data(folder)["state"].tolist() != before
    assert progress.plot_spent(folder, new_axes()).get_xlim()[0] == 0


@pytest.mark.parametrize(
    ("plot", "quantity"),
    [
        (allocation.plot_allocation, "C"),
        (lambda study, ax: allocation.plot_allocation(study, ax, quantity="D"), "C"),
        (ratio.plot_ratio, "C"),
        (laws.plot_laws, "C"),
        (contours.plot_contours, "C"),
        (lambda study, ax: limits.plot_limit(study, ax, quantity="C"), "C"),
        (lambda study, ax: limits.plot_limit(study, ax, quantity="N"), "N"),
    ],
)
@pytest.mark.parametrize("name", ["isoflop", "factorial"])
def test_beyond_the_largest_run_lines_are_dashed_on_grey(study_of, name, plot, quantity):
    study = study_of(name)
    largest = study.runs[quantity].max()
    ax = plot(study, new_axes())
    paths = [line for line in ax.lines if line.get_linestyle() != "None" and len(line.get_xdata()) > 2]
    beyond = [line for line in paths if np.max(line.get_xdata()) > 1.001 * largest]
    assert beyond
    assert all(line.get_linestyle() != "-" for line in beyond)
    own = [line for line in paths if np.min(line.get_xdata()) > 0.999 * largest]
    assert own, "the law's own line is cut where the runs end"
    zones = [patch for patch in ax.patches if to_hex(patch.get_facecolor()) == to_hex(ZONE)]
    box = zones[0].get_window_extent().transformed(ax.transData.inverted())
    assert len(zones) == 1
    assert box.x0 == pytest.approx(largest, rel=1e-6)
    assert box.x1 == pytest.approx(ax.get_xlim()[1], rel=1e-6)


def test_saved_minima_are_those_of_the_fit(study_of):
    fitted = study_of("seeds").fit.isoflop
    saved = csv_of("isoflop", [study_of("seeds")])
    minima = saved[saved["kind"] == "minimum"]
    counting = [fitted.parabolas[i] for i in fitted.bracketed]
    assert len(counting) == 3
    assert minima["budget"].tolist() == [p.budget for p in counting]
    assert minima["N"].to_numpy() == pytest.approx(np.exp([p.log_n for p in counting]))
    assert minima["loss"].to_numpy() == pytest.approx([p.loss for p in counting])
    assert (minima["low"] < minima["N"]).all()
    assert (minima["high"] > minima["N"]).all()
    for i, p in zip(fitted.bracketed, counting, strict=True):
        assert study_of("seeds").fit.optimum(p.budget).N.low == pytest.approx(minima["low"].iloc[i])
    assert (saved["kind"] == "run").sum() == len(study_of("seeds").runs)


def test_the_saved_path_is_the_answer_of_the_law(study_of):
    table = study_of("factorial").table
    study = Study(fit=fit(table, budgets=[1e22], draws=60, judged=False), table=table)
    assert study.fit.headline == "parametric"
    saved = csv_of("allocation", [study])
    path = saved[(saved["kind"] == "path") & (saved["approach"] == "law")]
    assert len(path) > 20
    for _, row in path.iloc[[0, len(path) // 2, -1]].iterrows():
        answer = study.fit.optimum(row["C"])
        for name in ("N", "D", "loss"):
            expected = getattr(answer, name)
            found = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
            assert found == pytest.approx([expected.value, expected.low, expected.high], rel=1e-6)
    asked = saved[saved["kind"] == "answer"]
    assert asked["C"].tolist() == [1e22]
    assert asked["N"].iloc[0] == pytest.approx(study.fit.optimum(1e22).N.value)
    ratios = csv_of("ratio", [study])
    assert ratios["ratio"].to_numpy()[: len(saved)] == pytest.approx((saved["D"] / saved["N"])[: len(ratios)], rel=1e-6)


def test_cuts_show_the_laws_own_minimum(study_of):
    study = study_of("factorial")
    saved = csv_of("contours", [study])
    minima = saved[saved["kind"] == "minimum"]
    for _, row in minima.iterrows():
        line = saved[(saved["kind"] == "law") & (saved["C"] == row["C"])]
        assert row["loss"] <= line["loss"].min() * (1 + 1e-9)
        assert line["N"].min() < row["N"] < line["N"].max()


def test_a_profile_crosses_its_threshold_where_the_interval_ends(study_of):
    study = study_of("factorial")
    saved = csv_of("profiles", [study])
    law = study.fit.parametric.law
    assert set(saved["parameter"]) == set(law.parameters)
    for i, name in enumerate(law.parameters):
        part = saved[saved["parameter"] == name]
        theta, height = part["theta"].to_numpy(), np.sqrt(part["rise"].to_numpy())
        lowest = int(height.argmin())
        low = np.interp(-1, -height[: lowest + 1], theta[: lowest + 1])
        high = np.interp(1, height[lowest:], theta[lowest:])
        ends = profile_interval(study.sample, lambda t, i=i: np.atleast_2d(t)[:, i], study.fit.level)
        assert [low, high] == pytest.approx(list(ends), abs=0.03 * (ends[1] - ends[0]))


def test_no_run_is_better_than_the_lowest_loss_so_far(study_of):
    study = study_of("many")
    best = envelope.envelope_points(study)
    assert set(best["kind"]) == {"lowest"}
    at = best["loss"].to_numpy()[np.searchsorted(best["C"], study.runs["C"], side="right") - 1]
    assert (study.runs["loss"] >= at).all()
    assert set(envelope.envelope_points(study_of("factorial"))["kind"]) == {"envelope"}


def test_repeated_data_are_worth_less_than_fresh(study_of):
    worth = epochs.worth_data(study_of("repeated"))
    assert worth["worth"].iloc[0] == pytest.approx(1, abs=1e-3)
    assert (np.diff(worth["worth"]) > 0).all()
    assert (worth["worth"] <= worth["epochs"] * (1 + 1e-9)).all()
    assert worth["worth"].iloc[-1] < 0.5 * worth["epochs"].iloc[-1]
    saved = csv_of("epochs", [study_of("repeated")])
    assert set(saved["kind"]) == {"run", "law", "worth"}


def test_residuals_and_draws_are_saved_whole(study_of):
    study = study_of("factorial")
    assert csv_of("residuals", [study])["log_residual"].to_numpy() == pytest.approx(study.log_residuals)
    saved = csv_of("corner", [study])
    assert len(saved) == len(study.fit.parametric.draws)
    natural = study.fit.parametric.law.natural(study.fit.parametric.draws)
    assert saved["alpha"].to_numpy() == pytest.approx(natural["alpha"])
