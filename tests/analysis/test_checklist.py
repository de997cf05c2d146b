"""Every question has an answer that the records or the caller gave, or is called missing."""

import numpy as np
import pandas as pd
import pytest

from analysis.judgement.checklist import QUESTIONS, checklist

from .conftest import isoflop_table


def answers(table, facts=None):
    """Return fact -> (answer, status)."""
    items = checklist(table, facts)
    return {key: (item.answer, item.status) for key, item in zip(QUESTIONS, items, strict=False)}


def records(**columns):
    """Return what a folder of the built-in trainer's records holds."""
    n = np.repeat([1e6, 4e6], 3)
    frame = pd.DataFrame({"params": n, "frames": [1e7, 2e7, 4e7] * 2, "flops_per_frame": 6 * n, "updates": 1000})
    frame["flops"] = frame["flops_per_frame"] * frame["frames"]
    frame = frame.assign(
        loss=np.linspace(3.0, 2.5, 6), eval_id="abc", loss_unit="nats", seed=0, flags="", hours=1.0,
        epochs=[0.5, 1, 2] * 2, peak_lr=[1e-3] * 3 + [5e-4] * 3, batch_frames=2000.0, model_layers=[1] * 3 + [3] * 3,
        model_heads=2,
    )  # fmt: skip
    return frame.assign(**columns)


def test_a_bare_table_answers_little_and_says_what_is_missing(table_of):
    found = answers(table_of(pd.DataFrame({"N": [1e6, 2e6, 3e6], "D": [1e8, 2e8, 3e8], "loss": [3.0, 2.9, 2.8]})))
    missing = {key for key, (_, status) in found.items() if status == "missing"}
    assert missing == set(QUESTIONS) - {"variables", "runs", "spans", "cost", "excluded"}
    assert found["cost"] == ("not recorded: C = 6 N D is assumed", "answered")
    assert found["runs"] == ("3 runs of 3 sizes", "answered")
    assert found["excluded"] == ("none", "answered")


def test_records_answer_for_themselves(table_of):
    found = answers(table_of(records()))
    assert found["variables"][0].startswith("N = params, D = frames, C = flops")
    assert found["repetition"] == ("2 of 6 runs see data more than once, at most 2 times", "answered")
    assert found["metric"] == ("validation loss in nats, evaluation abc", "answered")
    assert found["unit"] == ("encoder frames of 20 ms", "answered")
    assert "head is apart" in found["size"][0]
    assert found["tuning"][0].startswith("0 of 6 runs are flagged untuned; peak learning rate 0.0005 to 0.001")
    assert found["shape"] == ("layers 1 to 3", "answered")
    assert found["seeds"] == ("1 seed; 0 of 6 runs repeat a setting", "answered")
    assert [found[key][1] for key in ("schedule", "points", "modified")] == ["answered"] * 3
    assert found["data"][1] == "missing"


def test_flags_exclusions_and_seeds_are_counted(table_of):
    frame = pd.concat([records(seed=0), records(seed=1)], ignore_index=True)
    frame.loc[:3, "flags"] = "untuned"
    frame.loc[11, "flags"] = "short"
    frame.loc[10, "loss"] = np.nan
    found = answers(table_of(frame))
    assert found["tuning"][0].startswith("4 of 10 runs are flagged untuned")
    assert found["excluded"][0].startswith("2 rows: 1: ")
    assert "flag `short`" in found["excluded"][0]
    assert found["seeds"][0] == "2 seeds; 4 of 10 runs repeat a setting"


def test_what_another_trainer_counts_is_not_guessed(table_of):
    frame = records().rename(columns={"frames": "tokens"})
    found = answers(table_of(frame))
    assert [found[key][1] for key in ("size", "cost", "schedule", "tuning", "points")] == ["missing"] * 5
    assert "what it counts is not recorded" in found["cost"][0]
    assert found["unit"] == ("tokens, as its column is named", "answered")
    checkpoints = answers(table_of(isoflop_table().assign(run=np.arange(15) // 4)))
    assert checkpoints["points"] == ("up to 4 checkpoints of one run", "answered")


def test_budgets_and_spans(table_of):
    found = answers(table_of(isoflop_table(seeds=2, noise=1e-3)))
    assert found["runs"][0] == "30 runs of 15 sizes at 3 budgets (1e17 to 1e19 FLOPs)"
    assert "C 1e17 to 1e19 (100 x)" in found["spans"][0]
    assert found["seeds"][0] == "2 seeds; 15 of 30 runs repeat a setting"


def test_a_curve_over_sizes_alone_has_no_data_to_count(table_of):
    found = answers(table_of(pd.DataFrame({"params": [1e6, 2e6, 3e6], "loss": [3.0, 2.9, 3.0]})))
    assert {key for key, (_, status) in found.items() if status == "not-applicable"} == {"unit", "cost", "repetition"}
    assert found["spans"][0] == "N 1M to 3M (3 x)"


def test_the_callers_facts_stand_before_the_records(table_of):
    table = table_of(records())
    facts = {
        "law": "chinchilla", "objective": "huber", "delta": 1e-3, "starts": 300, "agree": 0.5, "status": "converged",
        "intervals": "pairs bootstrap", "draws": 1000, "seed": 7, "holdout": ["kaplan", "chinchilla"],
        "tuning": "at all",
    }  # fmt: skip
    found = answers(table, facts)
    assert all(found[key][1] == "answered" for key in ("law", "objective", "starts", "intervals", "holdout", "tuning"))
    assert found["objective"][0] == "huber, delta = 0.001"
    assert found["starts"][0] == "300 starts, 50 % of them end at this minimum: converged"
    assert found["intervals"][0] == "pairs bootstrap, 1000 draws, seed 7"
    assert found["holdout"][0] == "scored on runs held out: kaplan, chinchilla"
    assert found["tuning"][0] == "at all"


@pytest.mark.parametrize("nothing", [None, "", [], (), {}])
def test_empty_facts_answer_nothing(table_of, nothing):
    assert answers(table_of(records()), {"holdout": nothing})["holdout"] == ("not recorded", "missing")


def test_facts_that_no_question_asks_for_are_kept(table_of):
    items = checklist(table_of(records()), {"weather": "rain", "code": True})
    assert [(item.section, item.question, item.answer) for item in items][-1] == ("further", "weather", "rain")
    assert len(items) == len(QUESTIONS) + 1
    assert {item.status for item in items} <= {"answered", "missing", "not-applicable"}
