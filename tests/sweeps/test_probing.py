"""`scaling-sweep probe` and `probes:` in a grid: metrics beside the loss, once each, with their baselines."""

import shutil

import pytest

from scaling import InputError
from scaling.files import read_json
from scaling.results import read_records
from sweeps.cli import main
from sweeps.folder import SweepFolder
from sweeps.gridfile import load_grid
from sweeps.plan import make_plan

from .helpers import PAIR, submitted

SHORT = ["--task", "frames", "--task", "rank", "--hours", "0.02", "--test-hours", "0.01"]
SHORT += ["--epochs", "1", "--seeds", "1"]


@pytest.fixture
def grid(tmp_path, monkeypatch, corpus):
    """Return a function that writes a grid of one small run with more lines, and returns its path."""
    monkeypatch.chdir(tmp_path)

    def write(more="", name="grid.yaml", corpus_path=corpus.path):
        text = PAIR.format(corpus=corpus_path, executor="debug", together="processes: 1").replace("[60]", "[20]")
        (tmp_path / name).write_text(text + more)
        return tmp_path / name

    return write


@pytest.fixture
def sweep(grid):
    """Return the folder of a sweep of one run that was not probed."""
    return submitted(grid()).folder


def rows_of(folder):
    return read_records(folder.path)[0]


def test_a_sweep_is_probed_later_and_its_rows_have_the_metrics(sweep, capsys, monkeypatch):
    (run_id,) = sweep.record_ids()
    record = sweep.record_file(run_id).read_bytes()
    assert main(["probe", "pair", "--baselines", "--workers", "1", *SHORT]) == 0
    out = capsys.readouterr().out.splitlines()
    assert "frame phone accuracy" in out[0]
    assert [line.split()[1] for line in out[1:]] == ["trained", "random", "raw"]
    (row,) = rows_of(sweep)
    assert 0 < row["metric_frame_phone_accuracy"] < 1
    assert row["metric_frame_phone_accuracy_se"] > 0
    assert len(row["probe_id"]) == 8
    assert sweep.record_file(run_id).read_bytes() == record, "a record is written once"
    assert sorted(p.name for p in (sweep.path / "probes").iterdir()) == sorted(
        [f"{run_id}.json", f"random-{run_id}.json", "raw.json"]
    )
    monkeypatch.setattr("scaling.speech.probes.run.TASKS", {})
    assert main(["probe", f"pair/{run_id[:6]}", "--workers", "1", *SHORT]) == 0, "what is done is not done again"


def test_a_grids_probes_are_metrics_of_its_records_and_the_same_as_later(grid, sweep):
    more = "probes: {tasks: [frames, rank], hours: 0.02, test_hours: 0.01, epochs: 1, seeds: 1}\n"
    path = grid(more.replace("\n", "") + "\nname: probed\n", "probed.yaml")
    path.write_text(path.read_text().replace("name: pair\n", "", 1))
    probed = submitted(path).folder
    assert probed.record_ids() == sweep.record_ids(), "probes are no part of what a run is"
    assert main(["probe", str(sweep.path), "--workers", "1", *SHORT]) == 0
    now, later = rows_of(probed)[0], rows_of(sweep)[0]
    metrics = [key for key in now if key.startswith("metric_")]
    assert {key: now[key] for key in metrics} == {key: later[key] for key in metrics}
    assert (now["probe_id"], now["loss"]) == (later["probe_id"], later["loss"])
    assert probed.record(probed.record_ids()[0]).metrics["effective_rank"] == now["metric_effective_rank"]


def test_another_protocol_replaces_all_metrics_of_the_first(sweep):
    assert main(["probe", "pair", "--workers", "1", *SHORT]) == 0
    before = rows_of(sweep)[0]
    assert main(["probe", "pair", "--workers", "1", *SHORT, "--hours", "0.03", "--task", "rank"]) == 0
    after = rows_of(sweep)[0]
    assert before["probe_id"] != after["probe_id"]
    (run_id,) = sweep.record_ids()
    kept = read_json(sweep.scores_file(run_id))
    assert list(kept) == [before["probe_id"], after["probe_id"]]
    assert kept[before["probe_id"]]["protocol"]["hours"] == 0.02


def test_metrics_are_those_of_the_protocol_that_most_runs_have(grid):
    sweep = submitted(grid("seeds: [0, 1]\n")).folder
    first, _ = sweep.record_ids()
    again = ["--workers", "1", *SHORT, "--task", "rank", "--hours", "0.03"]
    assert main(["probe", "pair", "--workers", "1", *SHORT]) == 0
    before = {row["probe_id"] for row in rows_of(sweep)}
    assert len(before) == 1
    assert main(["probe", f"pair/{first}", *again]) == 0
    assert {row["probe_id"] for row in rows_of(sweep)} == before, "one run that was probed otherwise stays comparable"
    assert main(["probe", "pair", *again]) == 0
    after = {row["probe_id"] for row in rows_of(sweep)}
    assert len(after) == 1
    assert after != before, "of equals the newest"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing-here"], "neither a sweep nor a run"),
        (["pair", "--task", "phone"], "did you mean phones"),
        (["pair", "--seeds", "1.5"], "not a whole number"),
        (["pair", "--workers", "0"], "at least one process"),
        (["pair", "--hours", "many"], "--hours"),
        (["pair", "--corpus", "nowhere"], "no corpus here"),
        (["pair", "--task", "speakers"], "fewer than two speakers"),
    ],
)
def test_what_cannot_be_probed_is_named(sweep, capsys, arguments, said):
    assert main(["probe", *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_a_run_without_weights_is_named_also_from_another_process(sweep, capsys):
    (run_id,) = sweep.record_ids()
    (sweep.run(run_id) / "weights.pt").unlink()
    assert main(["probe", "pair", "--baselines", "--workers", "2", *SHORT]) == 2
    assert "no weights here" in capsys.readouterr().err


def test_a_sweep_that_is_not_done_says_so(grid, capsys, sweep):
    shutil.rmtree(sweep.path / "records")
    assert main(["probe", "pair"]) == 1
    assert "no run has ended well yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("probes: [frame]", "did you mean frames"),
        ("probes: {tasks: [frames], hour: 1}", "did you mean hours"),
        ("probes: {tasks: [frames], seeds: [0, 1]}", "write seeds: 2"),
        ("probes: {tasks: [frames], hours: 0}", "hours"),
        ("probes: {tasks: [keywords]}", "fewer than two words"),
        ("probes: {tasks: [frames], corpus: {path: nowhere}}", "no corpus here"),
    ],
)
def test_a_wrong_section_is_refused_before_anything_is_trained(grid, section, said):
    path = grid(section + "\n")
    with pytest.raises(InputError, match=said) as caught:
        make_plan(load_grid(path))
    assert "grid.yaml" in str(caught.value)


def test_probes_of_another_trainer_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").write_text("trainer: mine:train\nmodel: {sizes: [10]}\nsteps: [1]\nprobes: [rank]\n")
    with pytest.raises(InputError, match="probes sets the built-in trainer"):
        load_grid(tmp_path / "grid.yaml")


def test_scores_are_kept_apart_from_records(sweep):
    assert SweepFolder(sweep.path).scores_file("abc") == sweep.path / "probes" / "abc.json"
