"""Records as rows: what a sweep's own files add to them, and what may be left away."""

from scaling import Cost, RunRecord, RunSpec
from scaling.files import write_json, write_json_lines
from scaling.results import read_records

COST = Cost(params=100, flops_per_step=600, frames_per_step=10)


def write_sweep(folder, **about):
    """Write two records of a sweep, the first with what its plan has."""
    specs = [RunSpec(model={"size": 100}, updates=10, seed=seed, train={"peak_lr": 0.1}) for seed in (0, 1)]
    for spec in specs:
        record = RunRecord.of(spec, COST, loss=1.5, metrics={"accuracy": 0.5}, curve=[[600.0, 2.0], [6000.0, 1.5]])
        write_json(folder / "records" / f"{spec.id}.json", record.to_dict())
    write_json(folder / "sweep.json", about)
    write_json_lines(folder / "plan.jsonl", [{"id": specs[0].id}])
    return specs


def test_a_row_holds_a_record_flat_with_what_its_sweep_says(tmp_path):
    kept, gone = write_sweep(tmp_path, pilot=True)
    rows, excluded = read_records(tmp_path)
    by_id = {row["id"]: row for row in rows}
    assert not excluded
    row = by_id[kept.id]
    assert (row["model_size"], row["metric_accuracy"], row["peak_lr"], row["seed"]) == (100, 0.5, 0.1, 0)
    assert row["curve"] == [[600.0, 2.0], [6000.0, 1.5]]
    assert "spec" not in row
    assert (row["flags"], by_id[gone.id]["flags"]) == ("pilot", "superseded;pilot")


def test_rows_without_curves_are_otherwise_the_same(tmp_path):
    write_sweep(tmp_path)
    whole, _ = read_records(tmp_path)
    lean, _ = read_records(tmp_path, curves=False)
    assert lean == [{key: value for key, value in row.items() if key != "curve"} for row in whole]
