import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling import Cost, InputError, RunRecord, RunSpec
from scaling.files import write_json


def spec(**changes):
    return RunSpec(**{"model": {"size": 100}, "updates": 10, "budget": 1e6, **changes})


def test_identity_holds_all_science_and_nothing_else():
    assert spec().id == spec(sweep="a", where={"corpus": "/x"}, flags=("short",)).id
    different = [spec(seed=1), spec(updates=11), spec(budget=2e6), spec(threads=2), spec(model={"size": 101})]
    different += [spec(train={"peak_lr": 1e-3}), spec(trainer="a:b"), spec(corpus={"hash": "x"}), spec(objective="x")]
    assert len({spec().id, *(s.id for s in different)}) == len(different) + 1


def test_identity_does_not_change_from_release_to_release():
    """A released id is a promise: this one was written down with schema 1."""
    assert spec().id == "4b294d1818c7e44b"


@given(st.dictionaries(st.text(min_size=1), st.integers() | st.floats(allow_nan=False) | st.text(), max_size=5))
def test_a_spec_survives_its_dictionary(args):
    original = spec(trainer_args=args, flags=("untuned",))
    again = RunSpec.from_dict(original.to_dict())
    assert again == original or again.to_dict() == original.to_dict()
    assert again.id == original.id


def test_a_record_works_out_what_the_cost_says():
    record = RunRecord.of(spec(), Cost(params=100, flops_per_step=6e4, frames_per_step=100), loss=1.5)
    assert (record.flops, record.frames, record.flops_per_frame) == (6e5, 1000, 600)
    assert record.hours is None, "frames of a trainer without a corpus are not audio"
    assert record.status == "completed"


def test_a_speech_record_counts_hours_and_epochs():
    speech = spec(corpus={"hash": "x", "unique_hours": 2.0})
    record = RunRecord.of(speech, Cost(params=1, flops_per_step=1, frames_per_step=50 * 3600), loss=1.0)
    assert (record.hours, record.epochs) == (10.0, 5.0)


def test_a_diverged_record_says_why_and_reads_back(tmp_path):
    cost = Cost(params=1, flops_per_step=1, frames_per_step=1)
    record = RunRecord.of(spec(), cost, loss=None, reason="loss nan at step 3 of 10", updates=3)
    write_json(tmp_path / "r.json", record.to_dict())
    again = RunRecord.read(tmp_path / "r.json")
    assert (again.status, again.loss, again.reason, again.updates) == ("diverged", None, "loss nan at step 3 of 10", 3)


@pytest.mark.parametrize("foreign", [{}, {"id": "x"}, [], {"status": "completed"}, {"loss": 1, "params": 2}])
def test_a_foreign_file_is_no_record(tmp_path, foreign):
    write_json(tmp_path / "r.json", foreign)
    with pytest.raises(InputError, match="not a run record"):
        RunRecord.read(tmp_path / "r.json")


@pytest.mark.parametrize("field", ["spec", "metrics"])
def test_a_record_whose_spec_or_metrics_are_none_is_no_record(tmp_path, field):
    record = RunRecord.of(spec(), Cost(params=1, flops_per_step=1, frames_per_step=1), loss=1.0)
    write_json(tmp_path / "r.json", {**record.to_dict(), field: [1]})
    with pytest.raises(InputError, match="not a run record"):
        RunRecord.read(tmp_path / "r.json")


def test_not_a_number_in_a_record_of_another_program_is_null(tmp_path):
    record = RunRecord.of(spec(), Cost(params=1, flops_per_step=1, frames_per_step=1), loss=1.0)
    values = {**record.to_dict(), "loss_se": float("nan"), "curve": [[1.0, float("inf")]]}
    (tmp_path / "r.json").write_text(json.dumps(values))
    again = RunRecord.read(tmp_path / "r.json")
    assert (again.loss_se, again.curve) == (None, [[1.0, None]])


def test_a_changed_spec_has_its_own_identity_though_the_first_was_asked_before():
    first = spec()
    assert first.id == spec().id
    assert replace(first, seed=5).id == spec(seed=5).id != first.id


def test_keys_of_a_later_schema_are_passed_over():
    record = RunRecord.of(spec(), Cost(params=1, flops_per_step=1, frames_per_step=1), loss=1.0)
    assert RunRecord.from_dict({**record.to_dict(), "from_the_future": 1}).id == record.id
