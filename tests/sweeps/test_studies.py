"""The shipped studies plan within an hour, and one command runs a study once."""

import shlex
from pathlib import Path

import pytest
import yaml

from analysis.cli import main as fit
from scaling import InputError
from sweeps.cli import main
from sweeps.gridfile import load_grid
from sweeps.plan import make_plan
from sweeps.studies import STUDIES, find_study, read_study, shipped

RATE, SLOTS, HOUR = 1e10, 2, 3600
"""FLOP/s that one core gives such models at the least, and what the demo has of cores."""


def plans(name, *, full=False):
    study = find_study(name)
    return [make_plan(load_grid(path)) for path in (study.full if full else study.grids)]


@pytest.mark.parametrize("name", STUDIES)
def test_a_shipped_study_takes_less_than_an_hour_of_two_cores(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    points = [point for plan in plans(name) for point in plan.runs]
    assert all(point.status == "run" for plan in plans(name) for point in plan.points)
    assert sum(point.flops_new for point in points) / RATE / SLOTS < HOUR
    assert {point.spec.seed for point in points} == {0, 1, 2}
    assert find_study(name).minutes <= 55


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_for_a_cluster_plans_without_data_and_within_its_cap(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for plan in plans(name, full=True):
        assert plan.grid.cluster.executor == "slurm"
        assert plan.provisional
        assert plan.runs
        assert all(point.status == "run" for point in plan.points)
        assert max(point.flops_new for point in plan.runs) >= 1e18, "of the paper's order"


def test_the_studies_ask_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (objectives,) = plans("objectives")
    assert len(objectives.runs) == 4 * 5 * 3
    data, augmented = plans("data")
    assert {p.spec.corpus["unique_hours"] for p in data.runs} == {0.1, 0.3, 1, 3, 10}
    assert [bool(p.spec.train.get("augment")) for p in (data.runs[0], augmented.runs[0])] == [False, True]
    assert len({p.spec.id for p in (*data.runs, *augmented.runs)}) == 90
    (ucurve,) = plans("ucurve")
    assert len(ucurve.runs) == 3 * 5 * 3


@pytest.mark.parametrize("full", [False, True])
def test_slim_and_wide_have_the_same_sizes_and_budgets(tmp_path, monkeypatch, full):
    monkeypatch.chdir(tmp_path)
    slim, wide = ([(p.cost.params, p.flops) for p in plan.runs] for plan in plans("shapes", full=full))
    for (n, c), (other_n, other_c) in zip(slim, wide, strict=True):
        assert other_n == pytest.approx(n, rel=0.01)
        assert other_c == pytest.approx(c, rel=0.01)


def test_the_list_has_every_study_with_its_question_and_time(capsys):
    assert main(["study", "--list"]) == 0
    told = capsys.readouterr().out
    for name in STUDIES:
        study = read_study(shipped(name))
        assert f"{study.question}\n" in told
        assert f"about {study.minutes:.0f} min" in told


def own(toy, **more):
    """Write a study of two toy grids, which differ in nothing that the loss knows of."""
    for name in ("first", "second"):
        toy(name=f"{name}.yaml")
        text = Path(f"{name}.yaml").read_text().replace("name: toy", f"name: {name}")
        Path("mine").mkdir(exist_ok=True)
        steps = 1 if name == "first" else 2
        Path(f"mine/{name}.yaml").write_text(f"{text}\ntrainer_args: {{steps: {steps}}}\n")
    Path("mine/toy.py").write_text(Path("toy.py").read_text())
    values = {"question": "Which is better?", "minutes": 1, "grids": ["first.yaml", "second.yaml"],
              "figures": ["recipes"], "compare": True, **more}  # fmt: skip
    Path("mine/study.yaml").write_text(yaml.safe_dump(values))


def commands(told):
    """Return the arguments of the printed calls of scaling-fit."""
    lines = [line.removeprefix("next:").strip() for line in told.splitlines() if "scaling-fit" in line]
    return [shlex.split(line.partition(" (figures")[0])[1:] for line in lines]


def test_a_study_runs_its_grids_once_and_says_what_answers_it(toy, capsys):
    own(toy)
    assert main(["study", "mine"]) == 0
    told = capsys.readouterr()
    assert "Which is better?" in told.err
    records = sorted(Path("results").glob("*/records/*.json"))
    assert len(records) == 24
    stamps = [path.stat().st_mtime_ns for path in records]
    assert main(["study", "./mine"]) == 0
    assert [path.stat().st_mtime_ns for path in records] == stamps
    again = capsys.readouterr()
    assert "0 runs to do, 12 done before" in again.err
    drawn, compared = commands(again.out)
    assert commands(told.out) == [drawn, compared]
    assert fit([*drawn, "--quick", "--bootstrap", "20"]) == 0
    assert Path("fits/mine/figures/recipes.pdf").exists()
    assert fit([*compared, "--bootstrap", "100"]) == 0
    assert "second needs 1.00x [1.00, 1.00] the compute of first" in capsys.readouterr().out


def test_the_corpus_of_a_study_is_made_where_it_is_missing(toy, monkeypatch):
    own(toy, corpus={"path": "corpora/tiny", "hours": 0.5, "seed": 3})
    asked = []

    def synthesise(path, **settings):
        asked.append((path, settings))
        raise InputError("as far as this test goes")

    monkeypatch.setattr("scaling.speech.corpus.synth.synthesise", synthesise)
    assert main(["study", "mine"]) == 2
    assert asked == [(Path("corpora/tiny"), {"hours": 0.5, "seed": 3})]
    Path("corpora/tiny").mkdir(parents=True)
    Path("corpora/tiny/corpus.json").write_text("{}")
    assert main(["study", "mine"]) == 0
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("more", "arguments", "message"),
    [
        ({}, ["study"], "which study?"),
        ({}, ["study", "ucurves"], "did you mean ucurve"),
        ({}, ["study", "mine", "--full"], "no grids for a cluster"),
        ({"grids": ["third.yaml"]}, ["study", "mine"], "a grid that is not there, got 'third.yaml'"),
        ({"minutes": "soon"}, ["study", "mine"], "minutes"),
        ({"figure": "recipes"}, ["study", "mine"], "did you mean figures"),
    ],
)
def test_what_is_no_study_is_refused(toy, capsys, more, arguments, message):
    own(toy, **more)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_a_study_of_ones_own_begins_with_a_copy(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "shapes"]) == 0
    assert "next: scaling-sweep study shapes" in capsys.readouterr().out
    assert {path.name for path in Path("shapes").iterdir()} == {path.name for path in shipped("shapes").glob("*.yaml")}
    assert find_study("shapes").folder == Path("shapes"), "before the shipped one"
    assert main(["init", "shapes"]) == 2
