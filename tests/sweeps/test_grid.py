"""A grid is read strictly: what is wrong is named with its line, its value and what to do."""

import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling import InputError
from sweeps.gridfile import load_grid
from sweeps.rules import AUTO_BATCH, PEAK_LR

GOOD = textwrap.dedent(
    """\
    name: hubert-isoflop
    objective: hubert
    corpus: {path: corpora/demo}
    model:
      frontend: logmel
      sizes: {from: 8k, to: 1M, count: 6}
      aspect: slim
    budgets: [4e11, 1e12, 2.5e12]
    unique_hours: [10]
    seeds: [0, 1, 2]
    max_epochs: 8
    min_updates: 500
    train:
      batch: auto
      crop_seconds: 4
      peak_lr: {at: 20M, value: 5e-4, exponent: -0.33}
      warmup: 0.08
      schedule: wsd
      precision: bf16
    cluster:
      executor: local
      slots: 2
      slurm: {partition: gpu, timeout: 12h, setup: [module load cuda], array_parallelism: 32}
      resources: [{up_to: 100M, gpus: 1}, {up_to: 1B, gpus: 8, nodes: 1}]
    cap: {gpu_hours: 500, flops: 1e20}
    """
)


def load(tmp_path, text):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    return load_grid(path)


def test_the_grid_of_the_design_is_read(tmp_path):
    grid = load(tmp_path, GOOD)
    assert grid.budgets == (4e11, 1e12, 2.5e12), "YAML reads 4e11 as text"
    assert len(grid.model.sizes) == 6
    assert grid.train.batch == AUTO_BATCH
    assert grid.train.peak_lr.at_size(20e6, 8.0) == 5e-4
    assert grid.cap == {"gpu_hours": 500, "flops": 1e20}
    assert [row["gpus"] for row in grid.cluster.resources] == [1, 8]


def test_the_rules_by_default_are_those_of_the_study(tmp_path):
    grid = load(tmp_path, "corpus: {path: x}\nmodel: {sizes: [20M]}\nbudgets: [1e18]\n")
    assert (grid.train.peak_lr, grid.train.batch) == (PEAK_LR, AUTO_BATCH)
    assert grid.train.batch(17_289) == 155.6
    assert grid.train.peak_lr.at_size(20e6, 155.6) == 5e-4
    assert grid.train.peak_lr.at_size(20e6, 155.6 / 4) == 2.5e-4


@pytest.mark.parametrize(
    ("change", "line", "message"),
    [
        (("budgets:", "budjets:"), 8, "unknown key"),
        (("seeds: [0, 1, 2]", "seeds: [0, 1, 1]"), 10, "a value given twice, got 1"),
        (("seeds: [0, 1, 2]", "seeds: [-1]"), 10, "not a seed, got -1"),
        (("seeds: [0, 1, 2]", "seeds: 3"), 10, "write [3] for one seed, [0, 1, 2] for 3"),
        (("corpus: {path: corpora/demo}", "corpus: corpora/demo"), 3, "write corpus: {path: corpora/demo}"),
        (("budgets: [4e11, 1e12, 2.5e12]", "budgets: [4e11, lots]"), 8, "not a positive number, got 'lots'"),
        (("budgets: [4e11, 1e12, 2.5e12]", "budgets: []"), 8, "an empty list"),
        (("max_epochs: 8", "max_epochs: 0"), 11, "not a positive number, got 0"),
        (("aspect: slim", "aspect: slimm"), 7, "no such aspect, got 'slimm'"),
        (("frontend: logmel", "frontend: mel"), 5, "not one of the known words, got 'mel'"),
        (("count: 6", "count: 1"), 6, "a ladder goes from a smaller to a larger size"),
        (("crop_seconds: 4", "crop_seconds: 4.013"), 15, "not a whole number of frames"),
        (("warmup: 0.08", "warmup: 1.5"), 17, "neither a share of the run nor a number of updates, got 1.5"),
        (("warmup: 0.08", "mask_prob: 0"), 17, "nothing sensible is masked"),
        (("warmup: 0.08", "mask_length: 1000"), 17, "nothing sensible is masked in crops of 200 frames, got 1000"),
        (("schedule: wsd", "schedule: wds"), 18, "not one of the known words"),
        (("timeout: 12h", "timeout: 0"), 23, "not a positive time, got 0"),
        (("executor: local", "executor: pbs"), 21, "not one of the known words"),
        (("  warmup: 0.08", "  warmup: 0.08\n  warmup: 0.1"), 18, "a key given twice"),
        (("  schedule: wsd", "  schedul: wsd"), 18, "unknown key"),
        (("name: hubert-isoflop", "name: ../../etc"), 1, "a name becomes a folder"),
        (("min_updates: 500", "min_updates: 0.5"), 12, "not a whole number"),
        (("partition: gpu", "partitoin: gpu"), 23, "did you mean partition"),
        (("setup: [module load cuda]", "setup: [3]"), 23, "not a text, got 3"),
        (("name: hubert-isoflop", "name: 2020-01-01"), 1, "YAML reads this as date, got '2020-01-01'"),
        (("count: 6", "count: 1e9"), 6, "more sizes than a sweep can have"),
        (("budgets: [4e11, 1e12, 2.5e12]", "budgets: [1e100]"), 8, "beyond any number here"),
        (("seeds: [0, 1, 2]", "seeds: [0, !!bool x]"), 10, "seeds.1: not a usable bool"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path, change, line, message):
    assert change[0] in GOOD
    with pytest.raises(InputError) as error:
        load(tmp_path, GOOD.replace(*change))
    assert f"grid.yaml:{line}" in str(error.value)
    assert message in str(error.value)


def test_an_unknown_key_is_answered_with_the_nearest_known_one(tmp_path):
    with pytest.raises(InputError, match="did you mean max_epochs"):
        load(tmp_path, GOOD.replace("max_epochs", "max_epoch"))


@pytest.mark.parametrize(
    ("remove", "message"),
    [
        ("budgets: [4e11, 1e12, 2.5e12]\n", "nothing says how long runs are"),
        ("corpus: {path: corpora/demo}\n", "no corpus"),
        ("unique_hours: [10]\n", "max_epochs counts passes over unique_hours"),
        ("  sizes: {from: 8k, to: 1M, count: 6}\n", "a model is given by sizes or by shapes"),
    ],
)
def test_what_is_missing_is_named(tmp_path, remove, message):
    with pytest.raises(InputError, match=message):
        load(tmp_path, GOOD.replace(remove, ""))


def test_two_ways_to_say_how_long_are_refused(tmp_path):
    with pytest.raises(InputError, match="said in several ways"):
        load(tmp_path, GOOD + "steps: [100]\n")


@pytest.mark.parametrize("text", ["", "- a\n- b", "just words", "a: [1, 2", "a:\n\t- b", "\x00", "a: &a [*a]"])
def test_what_is_no_grid_at_all_is_refused_with_the_file(tmp_path, text):
    with pytest.raises(InputError, match=r"grid\.yaml"):
        load(tmp_path, text)


def test_a_missing_grid_points_to_init(tmp_path):
    with pytest.raises(InputError, match="scaling-sweep init quickstart"):
        load_grid(tmp_path / "none.yaml")


def test_shapes_and_reference_budgets(tmp_path):
    text = GOOD.replace("frontend: logmel", "frontend: waveform")
    text = text.replace("sizes: {from: 8k, to: 1M, count: 6}", "shapes: [{layers: 3, width: 640, ffn: 2048, heads: 8}]")
    reference = "budgets: [{steps: 400000, of: {layers: 12, width: 384, ffn: 768, heads: 8}}]"
    grid = load(tmp_path, text.replace("budgets: [4e11, 1e12, 2.5e12]", reference))
    assert grid.model.shapes[0]["width"] == 640
    assert grid.budgets[0].steps == 400_000


def test_a_reference_run_has_the_front_end_of_the_grid(tmp_path):
    reference = "budgets: [{steps: 1000, of: {layers: 2, width: 64, ffn: 128, heads: 2}}]"
    of = load(tmp_path, GOOD.replace("budgets: [4e11, 1e12, 2.5e12]", reference)).budgets[0].of
    assert (of.frontend, of.position_kernel, of.position_groups) == ("logmel", 32, 64)
    for wrong, message in (("{steps: 10, of: 5}", "not a mapping"), ("{steps: 10}", "has the keys steps and of")):
        with pytest.raises(InputError, match=message):
            load(tmp_path, GOOD.replace("budgets: [4e11, 1e12, 2.5e12]", f"budgets: [{wrong}]"))


@pytest.mark.parametrize("seconds", ["1.1", "0.28", "2.2"])
def test_a_crop_of_whole_frames_is_read_whatever_binary_fractions_say(tmp_path, seconds):
    assert load(tmp_path, GOOD.replace("crop_seconds: 4", f"crop_seconds: {seconds}")).train.crop_seconds == float(
        seconds
    )


def test_settings_of_the_built_in_trainer_are_refused_for_another(tmp_path):
    own = "trainer: mine:train\nmodel: {sizes: [10, 20]}\nsteps: [5]\n"
    assert load(tmp_path, own).steps == (5,)
    for section in ("train: {batch: 4}", "targets: {clusters: 5}"):
        with pytest.raises(InputError, match="sets the built-in trainer"):
            load(tmp_path, own + section + "\n")


def test_a_wrong_shape_is_named(tmp_path):
    text = GOOD.replace("sizes: {from: 8k, to: 1M, count: 6}", "shapes: [{layers: 3, width: 640, ffn: 2048, heads: 7}]")
    with pytest.raises(InputError, match=r"grid.yaml:6: model.shapes.0: shape.heads: does not divide.* 640, got 7"):
        load(tmp_path, text)


def test_tuned_rules_are_used_and_not_given_twice(tmp_path):
    tuned = "tuned: {peak_lr: {at: 1k, value: 1e-2, exponent: -0.5}, batch: {at: 1, value: 8, exponent: 0}}\n"
    with pytest.raises(InputError, match="given here and by tuned"):
        load(tmp_path, GOOD + tuned)
    lean = GOOD.replace("  batch: auto\n", "").replace("  peak_lr: {at: 20M, value: 5e-4, exponent: -0.33}\n", "")
    grid = load(tmp_path, lean + tuned)
    assert grid.train.peak_lr(4e3) == pytest.approx(5e-3)
    (tmp_path / "grid.tuned.yaml").write_text(tuned.removeprefix("tuned: "))
    assert load(tmp_path, lean + "tuned: grid.tuned.yaml\n").train == grid.train
    assert grid.is_tuned
    with pytest.raises(InputError, match=r"unknown key(.|\n)*did you mean peak_lr"):
        load(tmp_path, lean + tuned.replace("batch:", "peak_Ir: 1, batch:"))
    with pytest.raises(InputError, match="batch is missing"):
        load(tmp_path, lean + "tuned: {peak_lr: 1e-3}\n")
    edge = tuned.replace("exponent: 0}}", "exponent: 0}, evidence: [{bracketed: false}]}")
    assert not load(tmp_path, lean + edge).is_tuned, "a best value at the edge of what was tried is no optimum"


words = st.sampled_from(
    [line.split(":")[0].strip() for line in GOOD.splitlines()]
    + ["x", "", "0", "null", "[", "{a: 1}", "1e18", "-1", "~"]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_to_a_grid_is_refused_or_read_but_never_a_crash(tmp_path, data):
    lines = GOOD.splitlines()
    for _ in range(data.draw(st.integers(1, 4))):
        i = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.sampled_from(["drop", "double", "value", "cut", "indent", "word"]))
        key, _, _ = lines[i].partition(":")
        new = {
            "drop": [],
            "double": [lines[i], lines[i]],
            "value": [f"{key}: {data.draw(st.one_of(words, st.text(max_size=8), st.floats(), st.integers()))}"],
            "cut": [lines[i][: data.draw(st.integers(0, len(lines[i])))]],
            "indent": ["  " + lines[i]],
            "word": [f"{data.draw(words)}: {data.draw(words)}"],
        }[kind]
        lines[i : i + 1] = new or [""]
    (tmp_path / "grid.yaml").write_text("\n".join(lines), encoding="utf-8", errors="replace")
    message = ""
    try:
        load_grid(tmp_path / "grid.yaml")
    except InputError as error:
        message = str(error)
    assert not message or str(tmp_path / "grid.yaml") in message
