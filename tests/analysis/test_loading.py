"""Anybody's table becomes runs: names guessed, units understood, bad rows named and the good ones used."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis import load
from analysis.data.columns import find_columns
from scaling import Cost, InputError, RunRecord, RunSpec
from scaling.files import write_json
from tests.analysis.conftest import isoflop_table


def csv(tmp_path, text):
    (tmp_path / "runs.csv").write_text(text)
    return tmp_path / "runs.csv"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["params", "tokens", "flops", "loss"], ["params", "tokens", "flops", "loss"]),
        (["Model Size", "Training FLOP", "loss"], ["Model Size", None, "Training FLOP", "loss"]),
        (["N", "D", "C", "L"], ["N", "D", "C", "L"]),
        (
            ["size", "params_millions", "valid_loss", "train_loss"],
            ["params_millions (x 1e+06)", None, None, "valid_loss"],
        ),
        (["n_params", "tokens_b", "val loss"], ["n_params", "tokens_b (x 1e+09)", None, "val loss"]),
        (["Params (M)", "Tokens (B)", "Loss"], ["Params (M) (x 1e+06)", "Tokens (B) (x 1e+09)", None, "Loss"]),
    ],
)
def test_columns_are_guessed_from_common_names(names, expected):
    found = find_columns(names, {}, where="t")
    assert [str(found[q]) if q in found else None for q in ("n", "d", "c", "loss")] == expected


def test_a_missing_loss_is_refused_with_the_option_that_names_it():
    with pytest.raises(InputError, match=r"no column for the loss(.|\n)*--loss COLUMN"):
        find_columns(["params", "tokens"], {}, where="t")
    with pytest.raises(InputError, match="did you mean wer"):
        find_columns(["params", "wer"], {"loss": "were"}, where="t")


def test_bad_rows_are_named_and_the_good_ones_used(tmp_path):
    path = csv(
        tmp_path,
        "params,tokens,flops,loss\n1e6,1e8,6e14,3\n,1e8,6e14,3\n0,1e8,6e14,3\n1e6,-1,6e14,3\n1e6,1e8,6e14,nan\n"
        "1e6,1e8,6e14,inf\n1e6,1e8,abc,3\n2e6,1e8,12e14,2.9\n1e6,1e8,6e14,0\n",
    )
    table = load(path)[0]
    assert table.used == 2
    reasons = {e["row"]: e["reason"] for e in table.excluded}
    assert reasons == {
        "3": "params is missing",
        "4": "params is not positive (0.0)",
        "5": "tokens is not positive (-1.0)",
        "6": "loss is missing",
        "7": "loss is not finite",
        "8": "flops is not a number (abc)",
        "10": "loss is not positive (0.0)",
    }


def test_diverged_and_short_runs_are_left_out(tmp_path):
    path = csv(
        tmp_path, "params,tokens,loss,status,flags\n1,2,3,completed,\n1,2,3,diverged,\n1,2,3,completed,short;untuned\n"
    )
    table = load(path)[0]
    assert [e["reason"] for e in table.excluded] == ["diverged", "starved of updates (flag `short`)"]


def test_numbers_are_read_as_people_write_them(tmp_path):
    path = csv(tmp_path, 'params,tokens,loss\n7B,"1,400,000",3\n8.165M,2e9,3.1\n12 apples,1e9,3\n1e6,1e9,"2,345"\n')
    table = load(path)[0]
    assert table.runs["N"].tolist() == pytest.approx([7e9, 8.165e6])
    assert table.runs["D"].tolist() == [1.4e6, 2e9]
    with pytest.raises(InputError, match="semicolons"):
        load(csv(tmp_path, "params;tokens;loss\n1;2;3\n"))


def test_without_c_or_d_the_cost_is_assumed_and_said(tmp_path):
    no_c = load(csv(tmp_path, "params,tokens,loss\n10,20,3\n10,40,2\n"))[0]
    assert no_c.runs["C"].tolist() == [1200.0, 2400.0]
    no_d = load(csv(tmp_path, "params,flops,loss\n10,1200,3\n"), flops_per_param_token=2)[0]
    assert no_d.runs["D"].tolist() == [60.0]
    for table in (no_c, no_d):
        assert table.cost == "assumed"
        assert [w["code"] for w in table.warnings] == ["assumed-cost"]
    recorded = load(csv(tmp_path, "params,tokens,flops,loss\n10,20,9999,3\n"))[0]
    assert (recorded.cost, recorded.warnings) == ("recorded", [])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("params,loss\n", "a table without rows"),
        ("a,b\n1,2\n", "no column for the loss and no column"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        load(csv(tmp_path, content))


def test_missing_paths_foreign_kinds_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        load(tmp_path / "none.csv")
    (tmp_path / "a.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match="not a table that can be read"):
        load(tmp_path / "a.xlsx")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no records here"):
        load(tmp_path / "empty")
    (tmp_path / "b.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "b.parquet")


def record(size, eval_id="e1", **changes):
    spec = RunSpec(model={"size": size}, updates=10, budget=1e6, objective="hubert", seed=changes.pop("seed", 0))
    return RunRecord.of(
        spec, Cost(params=size, flops_per_step=6 * size, frames_per_step=1), loss=3.0, eval_id=eval_id, **changes
    )


def write_records(folder, records):
    for r in records:
        write_json(folder / "records" / f"{r.id}.json", r.to_dict())


def test_records_of_different_eval_ids_are_never_put_together(tmp_path):
    write_records(tmp_path / "a", [record(10), record(20)])
    write_records(tmp_path / "b", [record(30), record(40, "e2")])
    tables = load(tmp_path)
    assert sorted((t.label, t.used) for t in tables) == [("hubert e1", 3), ("hubert e2", 1)]
    assert load(tmp_path / "a")[0].label == ""


def test_unique_hours_are_unique_frames_of_one_table(tmp_path):
    write_records(tmp_path, [record(10, unique_hours=1.0), record(20, unique_hours=10.0)])
    (table,) = load(tmp_path)
    assert sorted(table.runs["U"]) == [180_000, 1_800_000]


def test_a_table_with_eval_ids_is_split_as_records_are_and_a_group_splits_further(tmp_path):
    frame = pd.DataFrame(
        {"params": range(1, 9), "tokens": 10, "loss": 2.0, "eval_id": list("aaaabbbb"), "x": [0, 1] * 4}
    )
    frame.to_csv(tmp_path / "runs.csv", index=False)
    assert [(t.label, t.used) for t in load(tmp_path / "runs.csv")] == [("a", 4), ("b", 4)]
    assert [t.label for t in load(tmp_path / "runs.csv", group="x")] == ["a 0", "a 1", "b 0", "b 1"]


def test_pilots_superseded_runs_and_second_copies_are_left_out_by_name(tmp_path):
    sweep, pilot, copy = tmp_path / "s", tmp_path / "s-pilot", tmp_path / "copy"
    write_records(sweep, [record(10), record(20), record(30)])
    (sweep / "plan.jsonl").write_text("".join(json.dumps({"id": record(n).id}) + "\n" for n in (10, 20)))
    write_records(pilot, [record(40), record(50)])
    write_json(pilot / "sweep.json", {"pilot": True, "censored": []})
    write_records(copy, [record(10)])
    table = load(tmp_path)[0]
    assert sorted(table.runs["N"]) == [10, 20]
    reasons = " ".join(e["reason"] for e in table.excluded)
    assert "no longer in its sweep's plan" in reasons
    assert reasons.count("a trial of a pilot") == 2
    assert reasons.count("a second copy of a run") == 1
    assert load(pilot)[0].used == 2, "a pilot's own folder shows its trials"


def test_of_two_copies_the_one_that_counts_is_kept(tmp_path):
    write_records(tmp_path / "a", [record(10), record(20)])
    (tmp_path / "a" / "plan.jsonl").write_text(json.dumps({"id": "another"}) + "\n")
    write_records(tmp_path / "b", [record(10), record(20)])
    assert load(tmp_path)[0].used == 2


def test_rows_that_cannot_be_used_make_no_group(tmp_path):
    write_records(
        tmp_path, [record(10, unique_hours=1.0), record(20, unique_hours=10.0), record(30, unique_hours=10.0)]
    )
    (tmp_path / "plan.jsonl").write_text("".join(json.dumps({"id": record(n).id}) + "\n" for n in (20, 30)))
    (table,) = load(tmp_path)
    assert (table.label, table.used, len(table.excluded)) == ("", 2, 1)


def test_a_truncated_and_a_foreign_record_are_named_and_the_rest_used(tmp_path):
    write_records(tmp_path, [record(10), record(20)])
    (tmp_path / "records" / "torn.json").write_text('{"id": "torn", "lo')
    (tmp_path / "records" / "notes.txt").write_text("hello")
    (tmp_path / "records" / "other.json").write_text("[1, 2]")
    (tmp_path / "records" / ".tmp-x-half.json").write_text("{")
    table = load(tmp_path)[0]
    assert table.used == 2
    assert {e["row"] for e in table.excluded} == {"torn.json", "notes.txt", "other.json"}


def test_a_folder_of_foreign_files_only_is_refused(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "a.json").write_text("{}")
    with pytest.raises(InputError, match="no file in records/ is a run record"):
        load(tmp_path)


def test_the_design_of_a_sweep_tells_which_budgets_were_cut(tmp_path):
    write_records(tmp_path, [record(10, unique_hours=2.0)])
    cut = {"objective": "hubert", "unique_hours": 2.0, "budget": 1e6, "side": "left", "sizes": [5]}
    write_json(tmp_path / "sweep.json", {"censored": [cut]})
    assert load(tmp_path)[0].runs["censored"].tolist() == ["left"]


def test_metrics_can_be_fitted_instead_of_the_loss(tmp_path):
    write_records(tmp_path, [record(10, metrics={"phone_error": 0.4}), record(20, metrics={"phone_error": 0.3})])
    assert load(tmp_path, loss="phone_error")[0].runs["loss"].tolist() in ([0.4, 0.3], [0.3, 0.4])


def test_where_keeps_rows_and_names_the_others(tmp_path):
    path = csv(tmp_path, "params,tokens,loss,kind\n1,2,3,a\n1,2,4,a\n1,2,5,b\n")
    table = load(path, where="loss < 4.5 and kind == 'a'")[0]
    assert table.used == 2
    assert table.excluded == [{"row": "4", "reason": "left out by --where loss < 4.5 and kind == 'a'"}]
    for wrong in ("loss <", "no_such > 1", "loss + 1", "__import__('os')"):
        with pytest.raises(InputError, match="not a condition on the columns"):
            load(path, where=wrong)


def test_json_lines_are_a_table_too(tmp_path):
    lines = [json.dumps({"params": n, "tokens": 10, "loss": 2.0}) for n in (1, 2, 3)]
    (tmp_path / "runs.jsonl").write_text("\n".join(lines))
    assert load(tmp_path / "runs.jsonl")[0].used == 3


cells = st.one_of(st.floats(), st.integers(-10, 10**9), st.sampled_from(["", "nan", "abc", "1e18", "-", "1,5", "inf"]))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(cells, cells, cells, cells), min_size=1, max_size=12))
def test_no_cell_whatever_is_used_unless_it_is_a_positive_number(tmp_path, rows):
    pd.DataFrame(rows, columns=["params", "tokens", "flops", "loss"]).to_csv(tmp_path / "r.csv", index=False)
    table = load(tmp_path / "r.csv")[0]
    assert table.used + len(table.excluded) == len(rows)
    for column in ("N", "loss") if table.cost == "none" else ("N", "D", "C", "loss"):
        values = table.runs[column].to_numpy()
        assert np.isfinite(values).all()
        assert (values > 0).all()


def test_a_table_in_memory_is_read_as_its_file_is(table_of):
    frame = isoflop_table(noise=1e-3)
    read, own = table_of(frame), load(frame)[0]
    for column in ("N", "D", "C", "loss", "budget"):
        assert np.allclose(read.runs[column], own.runs[column], rtol=1e-14)
    assert own.source["path"] == "table"
    assert list(own.runs["row"]) == [str(i) for i in range(len(frame))]
    assert "row" not in frame


def test_a_table_in_memory_may_have_any_index_and_names(table_of):
    frame = isoflop_table().set_index(pd.Index([f"run {i}" for i in range(15)])).rename(columns={"seed": 7})
    frame.loc["run 3", "loss"] = -1.0
    assert [item["row"] for item in load(frame)[0].excluded] == ["run 3"]
    with pytest.raises(InputError, match="without rows"):
        load(frame.head(0))
