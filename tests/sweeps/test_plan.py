"""Plans: the rules of a grid as points, what is left out and why, and the study's update counts."""

import csv
import textwrap

import pytest

from scaling import InputError
from sweeps.gridfile import load_grid
from sweeps.jobs.submit import check
from sweeps.jobs.timing import with_times
from sweeps.plan import make_plan
from sweeps.show import format_plan

SPEECH = textwrap.dedent(
    """\
    name: iso
    corpus: {path: CORPUS}
    model: {frontend: logmel, sizes: [8k, 16k, 32k, 64k]}
    budgets: [2e9, 8e9]
    unique_hours: [0.1]
    min_updates: 20
    train: {crop_seconds: 1, batch: 2, eval_hours: 0.01}
    targets: {clusters: 20, fit_hours: 0.05}
    """
)


def plan(tmp_path, text, corpus=None):
    path = tmp_path / "grid.yaml"
    path.write_text(text.replace("CORPUS", str(corpus.path if corpus else tmp_path / "none")))
    return make_plan(load_grid(path))


def test_every_point_meets_its_budget(tmp_path, corpus):
    points = plan(tmp_path, SPEECH, corpus).points
    assert len(points) == 8
    for point in points:
        assert point.flops == pytest.approx(point.spec.budget, rel=0.5 / point.spec.updates)
        assert point.cost.frames_per_step == 100
        assert point.epochs == pytest.approx(point.hours / 0.1)


def test_planning_twice_gives_the_same_ids_and_changes_nothing(tmp_path, corpus):
    before = sorted(corpus.path.rglob("*"))
    first = [p.spec.id for p in plan(tmp_path, SPEECH, corpus).points]
    assert [p.spec.id for p in plan(tmp_path, SPEECH, corpus).points] == first
    assert sorted(corpus.path.rglob("*")) == before
    assert not (tmp_path / "results").exists()


def test_the_batch_follows_the_data_seen_by_its_rule(tmp_path, corpus):
    text = SPEECH.replace("batch: 2", "batch: {at: 0.1, value: 4, exponent: 0.5}").replace(
        "min_updates: 20", "min_updates: 1"
    )
    for point in plan(tmp_path, text, corpus).points:
        wanted = 4 * (point.hours / 0.1) ** 0.5
        assert abs(point.spec.train["crops"] - wanted) <= 0.51 or point.spec.train["crops"] == 1


def test_a_starved_point_is_refused_or_flagged(tmp_path, corpus):
    starving = SPEECH.replace("min_updates: 20", "min_updates: 100")
    refused = plan(tmp_path, starving, corpus)
    assert {p.status for p in refused.points} == {"run", "refused"}
    starved = [p.spec.updates * 0.92 for p in refused.refused]
    assert max(starved) < 100 + 1
    with pytest.raises(InputError, match="starved of updates"):
        check(refused)
    allowed = plan(tmp_path, starving + "allow_short: true\n", corpus)
    assert not allowed.refused
    assert {p.spec.id for p in allowed.points if "short" in p.spec.flags} == {p.spec.id for p in refused.refused}
    check(allowed)


def test_a_size_dropped_by_max_epochs_marks_its_budget_censored(tmp_path, corpus):
    made = plan(tmp_path, SPEECH + "max_epochs: 1\n", corpus)
    dropped = [p for p in made.points if p.status == "dropped"]
    assert dropped
    assert all(p.epochs > 1 for p in dropped)
    cut = {c["budget"]: c["sizes"] for c in made.censored}
    for budget, sizes in cut.items():
        assert sizes == sorted(p.cost.params for p in dropped if p.spec.budget == budget)
    assert any(w["code"] == "censored" for w in made.warnings)
    assert made.totals["dropped"] == len(dropped)


def test_an_untuned_sweep_says_so_and_a_tuned_one_does_not(tmp_path, corpus):
    assert "untuned" in {w["code"] for w in plan(tmp_path, SPEECH, corpus).warnings}
    tuned = SPEECH.replace(", batch: 2", "") + "tuned: {peak_lr: {value: 1e-3}, batch: {value: 2}}\n"
    made = plan(tmp_path, tuned, corpus)
    assert "untuned" not in {w["code"] for w in made.warnings}
    assert all(p.spec.flags == () for p in made.points)
    assert made.points[0].spec.train["peak_lr"] == 1e-3


def test_layers_under_half_of_the_size_are_remarked(tmp_path, corpus):
    text = SPEECH.replace("sizes: [8k, 16k, 32k, 64k]", "sizes: [3k, 16k, 32k, 64k]")
    warning = next(w for w in plan(tmp_path, text, corpus).warnings if w["code"] == "layers")
    assert "%" in warning["message"]


def test_without_a_corpus_the_plan_is_provisional(tmp_path):
    made = plan(tmp_path, SPEECH)
    assert made.provisional
    assert made.points[0].spec.corpus["hash"] == "provisional"
    with pytest.raises(InputError, match="no corpus there yet"):
        check(made)


def test_a_crop_longer_than_the_corpus_and_hours_beyond_it_are_refused(tmp_path, corpus):
    with pytest.raises(InputError, match="as long as a crop"):
        plan(tmp_path, SPEECH.replace("crop_seconds: 1, batch: 2", "crop_seconds: 40, batch: 40"), corpus)
    with pytest.raises(InputError, match="more hours than the corpus has"):
        plan(tmp_path, SPEECH.replace("unique_hours: [0.1]", "unique_hours: [0.1, 3]"), corpus)


def test_a_budget_below_one_step_and_a_size_below_the_smallest_are_refused(tmp_path, corpus):
    with pytest.raises(InputError, match="below one step"):
        plan(tmp_path, SPEECH.replace("budgets: [2e9, 8e9]", "budgets: [1000]"), corpus)
    with pytest.raises(InputError, match="no logmel shape of this size, got '100'"):
        plan(tmp_path, SPEECH.replace("8k, 16k", "100, 16k"), corpus)


def test_a_cap_refuses_before_anything_is_written(tmp_path, corpus):
    made = plan(tmp_path, SPEECH + "cap: {flops: 1e10}\n", corpus)
    with pytest.raises(InputError, match=r"more than the cap, got 10000000000\.0"):
        check(made)


def test_a_window_moves_with_the_budget(tmp_path, corpus):
    text = SPEECH.replace(
        "sizes: [8k, 16k, 32k, 64k]", "sizes: {window: {centre: 16k, at: 4e9, span: 8x, count: 3, exponent: 0.5}}"
    )
    points = plan(
        tmp_path, text.replace("[2e9, 8e9]", "[1e9, 4e9]").replace("min_updates: 20", "min_updates: 1"), corpus
    ).points
    middle = {p.spec.budget: sorted(q.cost.params for q in points if q.spec.budget == p.spec.budget)[1] for p in points}
    assert middle[4e9] == pytest.approx(16e3, rel=0.12)
    assert middle[1e9] == pytest.approx(8e3, rel=0.12)


def test_data_and_steps_instead_of_budgets(tmp_path, corpus):
    data = plan(tmp_path, SPEECH.replace("budgets: [2e9, 8e9]", "data: {hours: [0.05, 0.2]}"), corpus)
    assert {round(p.hours, 3) for p in data.points} == {0.05, 0.2}
    assert all(p.spec.budget is None for p in data.points)
    steps = plan(tmp_path, SPEECH.replace("budgets: [2e9, 8e9]", "steps: [50]"), corpus)
    assert {p.spec.updates for p in steps.points} == {50}


def test_the_study_plans_with_its_published_update_counts(tmp_path, reference):
    """Slim's 400,000 updates at 13.9 s a crop give every size of the study's sweep its own update count."""
    with (reference / "speech_ssl_shapes.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["size"] != "Small"]
    shapes = [{key: int(row[key]) for key in ("layers", "width", "ffn", "heads")} for row in rows]
    text = textwrap.dedent(
        f"""\
        corpus: {{path: none}}
        model: {{shapes: {shapes}}}
        budgets: [{{steps: 400k, of: {{layers: 12, width: 384, ffn: 768, heads: 8}}}}]
        targets: {{clusters: 500}}
        train: {{crop_seconds: 13.9, batch: 152.9}}
        """
    )
    points = plan(tmp_path, text).points
    for row, point in zip(rows, points, strict=True):
        assert point.spec.updates == pytest.approx(int(row["updates_at_full_budget"]), rel=0.003), row["size"]
        assert point.spec.train["crops"] == 11


def test_the_table_shows_every_point_and_hours_from_a_measured_step(tmp_path, corpus):
    made = with_times(plan(tmp_path, SPEECH, corpus))
    text = format_plan(made)
    assert text.count("2e9") == 4
    assert "of one slot here" in text
    assert all(point.seconds and point.seconds > 0 for point in made.runs)
    ratio = made.points[4].seconds / made.points[0].seconds
    assert ratio == pytest.approx(made.points[4].spec.updates / made.points[0].spec.updates), "same shape, same step"
    again = with_times(made)
    assert [p.seconds for p in again.points] == [p.seconds for p in made.points], "measured once, then remembered"


def test_a_trainer_without_a_cost_cannot_be_given_budgets(toy):
    grid = toy()
    module = grid.parent / "free.py"
    module.write_text("def train(spec, run): ...")
    with pytest.raises(InputError, match="without a cost function"):
        make_plan(load_grid(toy(trainer="free:train")))
    steps = make_plan(load_grid(toy(trainer="free:train", budgets=None, steps="[5, 10]")))
    assert {p.spec.updates for p in steps.points} == {5, 10}
    assert steps.totals["flops"] == 0


def test_one_size_twice_is_refused(toy):
    with pytest.raises(InputError, match="two points are the same run"):
        make_plan(load_grid(toy(model="{sizes: [100, 100.4]}")))
