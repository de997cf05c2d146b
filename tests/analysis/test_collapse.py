"""A size whose training curve is bent is named, and sound studies are left alone."""

import json

import numpy as np
import pandas as pd
import pytest

from analysis.data.columns import find_columns
from analysis.data.table import clean
from analysis.judgement.collapse import collapse, collapse_of

FLOOR = 1.7
X = np.linspace(1 / 64, 1, 64)
ANNEALED = 1 - 0.06 * np.clip((X - 0.8) / 0.2, 0, 1)
"""The drop of the loss while the learning rate falls to zero."""


def curve(n, d, bend=0.0, noise=0.0, rng=None):
    """Return [FLOPs, loss] of a run on a Chinchilla surface; the bend leaves both ends where they are."""
    left = (400 / n**0.34 + 2000 / (d * X) ** 0.37) * ANNEALED * (1 + bend * np.sin(np.pi * X))
    loss = FLOOR + left
    if rng is not None:
        loss = loss * np.exp(noise * rng.normal(size=len(X)))
    return np.column_stack([6 * n * d * X, loss])


def ladder(sizes=9, ratio=20.0, bent=(), **options):
    """Return curves of sizes that are trained on the same number of units of data a parameter."""
    n = np.geomspace(1e6, 1e9, sizes)
    return {f"run{i}": curve(size, ratio * size, 0.15 * (i in bent), **options) for i, size in enumerate(n)}, n


def isoflop(bend=0.0, noise=0.005, rng=None):
    """Return curves, N and D/N of 3 budgets x 5 sizes, the second size of the largest budget bent."""
    curves, n, ratios = {}, [], []
    for budget in (1e17, 1e18, 1e19):
        for k, size in enumerate(1e7 * np.sqrt(budget / 1e17) * np.geomspace(0.25, 4, 5)):
            data = budget / 6 / size
            odd = budget > 5e18 and k == 1
            curves[f"{budget:.0e}-{k}"] = curve(size, data, bend * odd, noise, rng)
            n.append(size)
            ratios.append(data / size)
    return curves, np.array(n), np.array(ratios)


def test_one_bent_size_is_named():
    curves, n = ladder(bent=(3,), noise=0.003, rng=np.random.default_rng(0))
    found = collapse(curves, n, FLOOR)
    assert found.status == "compared"
    assert found.outliers == ["run3"]
    assert found.badly_tuned == pytest.approx([n[3]])
    assert [item.deviation > 0.05 for item in found.runs] == [i == 3 for i in range(9)]


def test_a_size_of_three_seeds_is_badly_tuned_when_most_of_them_are():
    rng = np.random.default_rng(1)
    n = np.repeat(np.geomspace(1e6, 1e9, 6), 3)
    bends = np.zeros(18)
    bends[[3, 4]] = 0.15  # two seeds of the second size
    bends[9] = 0.15  # one of the fourth
    curves = {f"run{i}": curve(n[i], 20 * n[i], bends[i], 0.003, rng) for i in range(18)}
    found = collapse(curves, n, FLOOR)
    assert found.outliers == ["run3", "run4", "run9"]
    assert found.badly_tuned == pytest.approx([n[3]])


def test_sound_ladders_are_left_alone():
    rng = np.random.default_rng(2)
    found = [collapse(*ladder(noise=0.003, rng=rng), FLOOR) for _ in range(100)]
    assert np.mean([bool(item.outliers) for item in found]) <= 0.06


def test_curves_of_other_ratios_are_compared_at_their_own():
    """In an isoFLOP design the bend of a badly tuned size drowns in that of D/N, unless D/N is taken out."""
    rng = np.random.default_rng(3)
    hits, false = {"ratio": 0, "none": 0}, 0
    for _ in range(60):
        curves, n, ratios = isoflop(0.1, rng=rng)
        hits["none"] += "1e+19-1" in collapse(curves, n, FLOOR).outliers
        with_ratio = collapse(curves, n, FLOOR, ratios=ratios).outliers
        hits["ratio"] += "1e+19-1" in with_ratio
        false += bool(set(with_ratio) - {"1e+19-1"})
    assert hits["ratio"] >= 50
    assert hits["none"] <= 10
    assert false <= 10


def test_the_common_factor_and_length_of_the_runs_do_not_matter():
    curves, n = ladder(bent=(3,), noise=0.003, rng=np.random.default_rng(4))
    one = collapse(curves, n, FLOOR)
    scaled = {k: np.column_stack([7.0 * c[:, 0], FLOOR + 3.0 * (c[:, 1] - FLOOR)]) for k, c in curves.items()}
    two = collapse(scaled, n, FLOOR)
    assert [r.deviation for r in two.runs] == pytest.approx([r.deviation for r in one.runs], abs=1e-9)
    finer = {k: np.column_stack([np.interp(np.linspace(1 / 64, 1, 127), X, c[:, j]) for j in range(2)])
             for k, c in curves.items()}  # fmt: skip
    assert collapse(finer, n, FLOOR).outliers == one.outliers


def test_curves_that_cannot_be_compared_are_passed_over_with_their_reason():
    curves, n = ladder()
    curves["run0"] = curves["run0"][:4]
    curves["run1"] = np.column_stack([curves["run1"][:, 0], curves["run1"][:, 1] - 6.0])
    curves["run2"] = curves["run2"][40:]
    curves["run3"] = curves["run3"][::-1]
    found = collapse(curves, n, FLOOR)
    reasons = {item["row"]: item["reason"] for item in found.skipped}
    assert list(reasons) == ["run0", "run1", "run2", "run3"]
    for row, part in (("run0", "4 points"), ("run1", "floor"), ("run2", "second half"), ("run3", "ascend")):
        assert part in reasons[row]
    assert [item.run for item in found.runs] == ["run4", "run5", "run6", "run7", "run8"]
    assert [item.N for item in found.runs] == pytest.approx(n[4:])
    del curves["run4"]
    few = collapse(curves, np.delete(n, 4), FLOOR)
    assert (few.status, few.badly_tuned, few.runs) == ("not-compared", [], [])
    assert "4 runs have a curve" in few.reason


def table_of_records(**columns):
    curves, n = ladder(sizes=8, bent=(2,))
    frame = pd.DataFrame({"params": n, "frames": 20 * n, "flops": 120 * n**2, "loss": 3.0, "row": list(curves)})
    frame["curve"] = [c.tolist() for c in curves.values()]
    frame = frame.assign(**columns)
    return clean(frame, find_columns(list(frame), {}, where="t"), label="", source={"path": "t", "rows": len(frame)})


def test_records_bring_their_curves():
    found = collapse_of(table_of_records(), FLOOR)
    assert found["outliers"] == ["run2"]
    assert json.loads(json.dumps(found))["badly_tuned"] == found["badly_tuned"]
    table = table_of_records()
    text = table.runs.assign(curve=table.runs["curve"].map(json.dumps))
    table.runs["curve"] = text["curve"]
    assert collapse_of(table, FLOOR)["outliers"] == ["run2"]


def test_tables_without_curves_say_so():
    table = table_of_records()
    assert "no training curves" in collapse_of(type(table)(**{**vars(table), "runs": table.runs.drop(columns="curve")}),
                                               FLOOR)["reason"]  # fmt: skip
    empty = collapse_of(table_of_records(curve=[[]] * 8), FLOOR)
    assert empty["status"] == "not-compared"
    assert {item["reason"] for item in empty["skipped"]} == {"0 points in its curve, and 5 are needed"}
    broken = collapse_of(
        table_of_records(curve=["[[1, 2", None, 3.0, "x", [[1, 2, 3]], [[1, 2], [3]], {}, [1, 2]]), FLOOR
    )
    assert len(broken["skipped"]) == 8


def test_cool_downs_are_not_compared():
    found = collapse_of(table_of_records(parent=["", "", "run0", None, "", "", "", ""]), FLOOR)
    assert [item["run"] for item in found["runs"]] == ["run0", "run1", "run3", "run4", "run5", "run6", "run7"]
