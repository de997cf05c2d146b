"""Every figure of every kind of table, wide and narrow: drawn or not, and nothing lies on anything."""

import pytest

from analysis import fit, load
from analysis.figures.drawing import compose
from analysis.figures.gallery import DRAWINGS
from analysis.figures.study import Study

from .conftest import ODD
from .layout import faults

BOTH = ("neurips", "acl")
WIDE_TOO = ("isoflop", "curve", "factorial")
ALL = set(DRAWINGS)
OF_THE_LAW = {"contours", "limits", "residuals", "forecast", "corner", "profiles"}
JUDGED = {"drift", "laws"}
OF_METRICS = {"transfer", "differences"}
"""Of metrics that were fitted beside the loss."""
OF_GROUPS = {"recipes", "unique"} | OF_METRICS
"""Of several groups, or of several amounts of unique data."""
MISSING = {
    "isoflop": {"epochs", "progress"} | OF_GROUPS,
    "budgets": {"epochs", "progress"} | JUDGED | OF_GROUPS,
    "single": ALL - {"isoflop", "cost", "ucurve"},
    "curve": ALL - {"isoflop", "ucurve"},
    "factorial": {"epochs", "progress", "cost"} | OF_GROUPS,
    "repeated": {"isoflop", "ucurve", "progress", "cost", "recipes"} | OF_METRICS | JUDGED,
    "thousandth": {"epochs", "progress"} | JUDGED | OF_GROUPS,
    "thousand": {"epochs", "progress"} | JUDGED | OF_GROUPS,
}


def all_faults(studies, venue):
    """Return the drawn figures and what is wrong with them."""
    shown = [drawing for drawing in DRAWINGS.values() if not drawing.why_not(studies)]
    return shown, {d.name: found for d in shown if (found := faults(compose(d, studies, venue=venue)))}


@pytest.mark.parametrize(
    ("name", "venue"),
    [(name, venue) for name in MISSING for venue in (BOTH if name in WIDE_TOO else ("acl",))],
)
def test_every_figure_is_drawn_or_says_why_and_no_text_lies_on_another(study_of, name, venue):
    shown, found = all_faults([study_of(name)], venue)
    assert ALL - {drawing.name for drawing in shown} == MISSING[name]
    assert not found


@pytest.mark.parametrize("venue", BOTH)
def test_names_that_are_markup_somewhere_are_shown_as_they_are(odd_studies, venue):
    figure = compose(DRAWINGS["ucurve"], odd_studies, venue=venue)
    assert not faults(figure)
    titles = [ax.get_title("left") for ax in figure.axes if ax.get_title("left")]
    assert [title[:9] for title in titles] == [ODD[0][:9], r"cost in \$"[:9], ODD[2][:9], "□□□の□□ □□"[:9]]


def test_speech_with_such_names_is_drawn_with_hours_and_speed(odd_studies):
    shown, found = all_faults(odd_studies[1:2], "acl")
    assert ALL - {drawing.name for drawing in shown} == {"epochs", "progress"} | JUDGED | OF_GROUPS
    assert not found
    figures = {name: compose(DRAWINGS[name], odd_studies[1:2]) for name in ("allocation", "cost")}
    assert figures["allocation"].axes[1].get_ylabel() == "$D^*$ (hours of audio)"
    assert figures["cost"].axes[1].get_ylabel() == "speed (TFLOP/s)"


def test_a_sweep_that_is_not_over_shows_how_it_stands(sweep_study):
    shown, found = all_faults([sweep_study], "acl")
    assert "progress" in {drawing.name for drawing in shown}
    assert not found
    states = DRAWINGS["progress"].data([sweep_study])["state"].value_counts().to_dict()
    assert states == {"completed": 4, "diverged": 1, "begun": 1, "waiting": 1, "dropped": 1}


@pytest.mark.slow
def test_published_runs_are_drawn_without_a_fault(reference):
    table = load(reference / "data_constrained_train.csv")[0]
    study = Study(fit=fit(table, draws=20, judged=False), table=table)
    shown, found = all_faults([study], "acl")
    assert {"contours", "limits", "allocation", "epochs"} <= {drawing.name for drawing in shown}
    assert not found
