"""Figures of several groups: means over seeds and their t intervals, and what may stand on one axis."""

import io

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import load
from analysis.cli import main
from analysis.figures import recipes, unique
from analysis.figures.drawing import compose, render
from analysis.figures.gallery import DRAWINGS, draw_all
from analysis.figures.seeds import quantities
from analysis.figures.study import Group
from scaling.units import format_count

from .layout import faults

SIZES = (8_700, 16_200, 38_100)
BUDGETS = (2e11, 1.25e12)
FRAMES_AN_HOUR = 180_000


def table(seed, *, gain=1.0, seeds=3, sizes=SIZES, budgets=BUDGETS, hours=(10.0,), eval_id="same"):
    """Return records of one recipe: every size at every budget and amount of unique data, with two metrics."""
    rng = np.random.default_rng(seed)
    rows = []
    for n in sizes:
        for c in budgets:
            for u in hours:
                for s in range(seeds):
                    loss = (3 + 400 / n**0.9 + 0.2 / u**0.5 + gain * 1e5 / c**0.5) * np.exp(0.003 * rng.normal())
                    rows.append({
                        "params": n, "frames": c / (8 * n + 2e4), "flops": c, "budget": c, "seed": s, "loss": loss,
                        "unique_hours": u, "hours": c / (8 * n + 2e4) / FRAMES_AN_HOUR, "eval_id": eval_id,
                        "metric_frame_phone_accuracy": 0.9 - loss / 9 + 0.01 * rng.normal(),
                        "metric_frame_phone_accuracy_se": 0.01, "metric_accuracy": 0.3, "metric_clips": 40,
                    })  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture
def groups(tmp_path):
    """Return a function that writes a table a name and returns their groups."""

    def make(**tables):
        found = []
        for name, frame in tables.items():
            frame.to_csv(tmp_path / f"{name}.csv", index=False)
            found += [Group(table=part) for part in load(tmp_path / f"{name}.csv")]
        return found

    return make


def by_hand(frame, value, **at):
    """Return the mean of the rows at some values and its 95 % t interval, by scipy.stats."""
    for name, wanted in at.items():
        frame = frame[frame[name] == wanted]
    values = frame[value].to_numpy()
    return values.mean(), *stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))


@pytest.mark.parametrize("value", ["loss", "metric_frame_phone_accuracy"])
def test_recipes_are_means_over_seeds_with_t_intervals(groups, value):
    frames = {"slim": table(0), "wide": table(1, gain=1.1)}
    data = recipes.recipes_data(groups(**frames), value)
    assert len(data) == 2 * len(SIZES) * len(BUDGETS)
    for row in data.itertuples():
        frame = frames[row.group.removesuffix(".csv")]
        expected = by_hand(frame, value, params=row.N, budget=row.budget)
        assert (row.mean, row.low, row.high) == pytest.approx(expected, rel=1e-9)
        assert row.runs == 3


@pytest.mark.parametrize("value", ["loss", "metric_frame_phone_accuracy"])
def test_unique_is_of_one_size_and_compute_at_every_amount(groups, value):
    hours = (0.1, 1.0, 10.0)
    frames = {"plain": table(0, hours=hours, budgets=(5e11,)), "augmented": table(1, hours=hours, budgets=(5e11,))}
    data = unique.unique_data(groups(**frames), value)
    together = pd.concat(frames.values())
    best = together[together["unique_hours"] == 10].groupby("params")["loss"].mean().idxmin()
    assert set(data["N"]) == {best}
    assert len(data) == 2 * len(hours)
    for row in data.itertuples():
        frame = frames[row.group.removesuffix(".csv")]
        expected = by_hand(frame, value, params=best, unique_hours=row.U / FRAMES_AN_HOUR)
        assert (row.mean, row.low, row.high) == pytest.approx(expected, rel=1e-9)


def test_losses_of_different_meaning_share_no_axis_and_metrics_do(groups):
    apart = groups(hubert=table(0, eval_id="a"), tera=table(1, eval_id="b"))
    assert quantities(apart) == ["metric_frame_phone_accuracy"], "nor does what an objective itself predicts"
    assert quantities(groups(slim=table(0), wide=table(1)))[0] == "loss"
    assert "share no axis" in recipes.FIGURE.caption(apart)
    bare = {name: table(0, eval_id=name).filter(regex="^(?!metric)") for name in "xy"}
    told = recipes.FIGURE.why_not(groups(**bare))
    assert told == "the groups' losses mean different things, and no downstream metric is in all of them"


def test_one_run_has_no_interval_and_the_caption_says_so(groups):
    alone = groups(slim=table(0, seeds=1), wide=table(1, seeds=1))
    assert recipes.recipes_data(alone)["low"].isna().all()
    assert "no interval" in recipes.FIGURE.caption(alone)
    mixed = groups(slim=table(0, seeds=1), wide=table(1))
    assert "12 points are one run and have no bar" in recipes.FIGURE.caption(mixed)
    assert "means over 3 runs; bars: 95 % t intervals" in recipes.FIGURE.caption(groups(a=table(0), b=table(1)))


@pytest.mark.parametrize("venue", ["neurips", "acl"])
@pytest.mark.parametrize("name", ["recipes", "unique"])
def test_no_text_lies_on_another_and_the_csv_has_what_is_shown(groups, name, venue):
    pair = groups(slim=table(0, hours=(0.1, 1.0, 10.0)), wide=table(1, hours=(0.1, 1.0, 10.0)))
    figure = compose(DRAWINGS[name], pair, venue=venue)
    assert not faults(figure)
    shown = pd.read_csv(io.BytesIO(render(DRAWINGS[name], pair, formats=()).files["csv"]))
    assert set(shown["quantity"]) == {"loss", "metric_frame_phone_accuracy"}
    assert set(shown["group"]) == {"slim.csv", "wide.csv"}
    if name == "recipes":
        assert len(figure.axes) == 2 * len(BUDGETS)


def test_a_figure_of_ones_own_takes_the_axes(groups):
    from matplotlib.figure import Figure

    pair = groups(slim=table(0, hours=(1.0, 10.0)), wide=table(1, hours=(1.0, 10.0)))
    for plot in (recipes.plot_recipes, unique.plot_unique):
        ax = Figure().add_subplot()
        assert plot(pair, ax) is ax
        assert len(ax.get_lines()) >= 2


def test_groups_that_allow_no_fit_are_drawn_too(groups, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hours = (0.1, 1.0, 10.0)
    groups(plain=table(0, sizes=SIZES[:1], budgets=(5e11,), hours=hours),
           augmented=table(1, sizes=SIZES[:1], budgets=(5e11,), hours=hours))  # fmt: skip
    assert main(["plain.csv", "augmented.csv", "--figures", "f", "--quick", "--bootstrap", "20"]) == 1
    assert {path.stem for path in (tmp_path / "f").iterdir()} == {"unique"}
    told = capsys.readouterr()
    assert "wrote 4 files in f: unique" in told.out
    assert "9 rows allow no fit" in told.err


def test_where_nothing_varies_the_figures_say_why(groups):
    pictures = {p.name: p for p in draw_all([], unfitted=groups(only=table(0)), formats=())}
    assert set(pictures) == {"recipes", "unique"}
    assert pictures["recipes"].reason == "one group, and it sets recipes beside each other"
    assert pictures["unique"].reason == "no size has several amounts of unique data at one budget"
    assert format_count(SIZES[0]) in unique.FIGURE.caption(groups(two=table(0, hours=(1.0, 10.0), sizes=SIZES[:1])))
