"""The pilot finds the bottom of a known valley, says when it has not, and its rules are used by the grid."""

import math
import textwrap

import pytest

from scaling import Cost, RunSpec, WorkError
from sweeps.cli import main
from sweeps.gridfile import load_grid
from sweeps.pilot import Trial, find_best
from sweeps.plan import Point, make_plan

CROP = 2.0


def trial(rate, batch, loss):
    spec = RunSpec(
        model={"size": 1}, updates=100, corpus={"hash": "x", "unique_hours": 1}, train={"crop_samples": 32_000}
    )
    point = Point(spec=spec, cost=Cost(params=1000, flops_per_step=1, frames_per_step=50 * batch))
    return Trial(point=point, rate=rate, batch=batch, loss=loss)


def valley(rate, batch, best=3e-3, at=4.0):
    """A loss whose best rate grows as the root of the batch, and that is worse for batches other than 4 s."""
    u = math.log(rate / math.sqrt(batch)) - math.log(best / math.sqrt(at))
    return 3.0 + 0.1 * u * u + 0.05 * math.log2(batch / at) ** 2


def test_the_bottom_is_found_between_the_rates_that_were_tried():
    trials = [trial(r, b, valley(r, b)) for b in (2.0, 4.0, 8.0) for r in (1e-3, 2e-3, 4e-3, 8e-3)]
    best = find_best(trials, CROP)
    assert best.rate == pytest.approx(3e-3, rel=1e-6)
    assert best.batch == 4.0
    assert best.rate_bracket == (2e-3, 4e-3)
    assert best.batch_bracket == (2.0, 8.0)
    assert best.beyond == ()


def test_of_batches_as_good_the_largest_is_taken():
    trials = [
        trial(r, b, 3.0 + 0.001 * b / 2 + 0.1 * math.log(r / 2e-3) ** 2) for b in (2.0, 4.0) for r in (1e-3, 2e-3, 4e-3)
    ]
    trials.append(trial(2e-3, 8.0, 3.2))
    assert find_best(trials, CROP).batch == 4.0


def test_an_edge_asks_for_more():
    trials = [trial(r, b, valley(r, b)) for b in (4.0, 8.0) for r in (4e-3, 8e-3, 16e-3)]
    beyond = find_best(trials, CROP).beyond
    assert (2e-3, 4.0) in beyond
    assert any(batch == 2.0 for _, batch in beyond)
    smallest = [trial(r, 2.0, 3 + math.log(r / 2e-3) ** 2) for r in (1e-3, 2e-3, 4e-3)] + [trial(2e-3, 4.0, 4.0)]
    assert find_best(smallest, CROP).beyond == (), "a batch below one crop is none"


def test_diverged_trials_say_nothing_about_the_bottom():
    trials = [trial(r, b, valley(r, b)) for b in (2.0, 4.0, 8.0) for r in (1e-3, 2e-3, 4e-3, 8e-3)]
    trials += [trial(64e-3, 4.0, math.inf), trial(32e-3, 4.0, 30.0)]
    assert find_best(trials, CROP).rate == pytest.approx(3e-3, rel=1e-6)
    with pytest.raises(WorkError, match="every trial of the pilot diverged"):
        find_best([trial(1.0, 2.0, math.inf)], CROP)


@pytest.mark.slow
def test_a_pilot_runs_writes_its_rules_and_the_grid_uses_them(tmp_path, corpus, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    grid = textwrap.dedent(
        f"""\
        name: small
        corpus: {{path: {corpus.path}}}
        model: {{frontend: logmel, sizes: [4k, 8k]}}
        budgets: [1.5e9]
        unique_hours: [0.1]
        min_updates: 5
        train: {{crop_seconds: 1, batch: 4, peak_lr: 2e-3, eval_hours: 0.01}}
        targets: {{clusters: 20, fit_hours: 0.05}}
        """
    )
    (tmp_path / "grid.yaml").write_text(grid)
    assert main(["pilot", "grid.yaml", "--executor", "debug"]) == 0
    assert "next: add `tuned: grid.tuned.yaml` to grid.yaml, instead of" in capsys.readouterr().out
    (tmp_path / "grid.yaml").write_text(grid.replace(" batch: 4, peak_lr: 2e-3,", "") + "tuned: grid.tuned.yaml\n")
    tuned = load_grid(tmp_path / "grid.yaml")
    assert tuned.tuned is not None
    assert len(tuned.tuned["evidence"]) == 2
    assert tuned.train.peak_lr.exponent <= 0
    rates = [point.spec.train["peak_lr"] for point in make_plan(tuned).points]
    for evidence, rate in zip(tuned.tuned["evidence"], rates, strict=True):
        assert evidence["peak_lr"] / 4 < rate < evidence["peak_lr"] * 4
    assert all("untuned" not in point.spec.flags for point in make_plan(tuned).points)


def test_a_pilot_of_another_trainer_is_refused(toy, capsys):
    assert main(["pilot", str(toy())]) == 2
    assert "through its trainer_args" in capsys.readouterr().err
    assert main(["pilot", str(toy(budgets=None, steps="[5]"))]) == 2
    assert "at a budget" in capsys.readouterr().err
