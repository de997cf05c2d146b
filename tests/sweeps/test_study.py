"""The seed study's grid plans as it was published; recipes, objectives and their settings in a grid."""

from pathlib import Path

import pytest

from scaling import InputError
from scaling.cost import params_kept
from scaling.speech.schedule import stable_updates
from sweeps.cli import main
from sweeps.gridfile import load_grid
from sweeps.jobs.submit import check
from sweeps.plan import make_plan
from sweeps.recipes import SHAPES, STUDY_RATES

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
UPDATES = {
    "4x192": 550_070,
    "5x320": 499_953,
    "7x384": 454_811,
    "12x384": 400_000,
    "15x528": 297_370,
    "12x768": 187_222,
    "24x1024": 72_234,
    "3x640": 400_000,
}
"""Published updates by shape (arXiv 2409.16295). Small, 3x640, was simply run as long as Slim and is 4 % cheaper."""


@pytest.fixture(scope="module")
def study():
    return make_plan(load_grid(EXAMPLES / "study.yaml"))


def name(point):
    return f"{point.spec.model['layers']}x{point.spec.model['width']}"


def test_the_study_plans_with_its_published_update_counts(study):
    assert len(study.runs) == 8 * 3 * 4
    for point in study.runs:
        expected = UPDATES[name(point)] * (1.0415 if name(point) == "3x640" else 1)
        assert point.spec.updates == pytest.approx(expected, rel=0.003)


def test_the_study_trains_with_its_own_settings(study):
    by = {(p.spec.objective, name(p)): p.spec for p in study.runs}
    for (objective, shape), spec in by.items():
        large = shape == "24x1024"
        train = spec.train
        assert (train["warmup_updates"], train["schedule"], train["clip"]) == (32_000, "linear", 10.0)
        assert (train["dropout"], train["layer_drop"]) == ((0.0, 0.0) if large else (0.1, 0.05))
        assert (train["penalty"], train["feature_grad"], train["initial"]) == (10.0, 0.1, "study")
        assert train["mask_prob"] == (0.65 if objective == "wav2vec2" else 0.8)
        if objective != "tera":
            assert spec.objective_args["head"] == (768 if large else 256)
    rates = {shape: by["wav2vec2", shape].train["peak_lr"] for shape in UPDATES}
    assert rates == {
        **dict.fromkeys(UPDATES, 4e-4),
        "3x640": 5e-4,
        "15x528": 3e-4,
        "12x768": 2e-4,
        "24x1024": 1e-4,
    }
    assert by["tera", "24x1024"].train["peak_lr"] == 5e-5
    assert {spec.train["crops"] for spec in by.values()} == {11}
    assert by["wav2vec2", "12x384"].objective_args["group"] == 11, "diversity of the whole batch"


def test_a_teacher_that_is_not_there_yet_makes_a_plan_provisional(study):
    assert study.provisional
    assert {"no-corpus", "no-teacher"} <= {warning["code"] for warning in study.warnings}
    with pytest.raises(InputError, match="no teacher there yet"):
        check(study)


def test_rates_between_two_sizes_of_a_table_follow_a_power_law():
    rule = STUDY_RATES["hubert"]
    slim, double = params_kept(SHAPES["Small"]), params_kept(SHAPES["200%"])
    assert rule.at_size(double, 1.0) == 4e-4
    assert rule.at_size((slim * double) ** 0.5, 1.0) == pytest.approx((5e-4 * 4e-4) ** 0.5)
    assert rule.at_size(1e3, 1.0) == 5e-4
    assert rule.at_size(1e12, 1.0) == 2e-4


def test_the_small_twin_plans_without_a_refusal(corpus, tmp_path):
    text = (EXAMPLES / "study_small.yaml").read_text().replace("corpora/demo", str(corpus.path))
    (tmp_path / "grid.yaml").write_text(text.replace("unique_hours: [1, 10]", "unique_hours: [0.01, 0.1]"))
    plan = make_plan(load_grid(tmp_path / "grid.yaml"))
    assert {point.status for point in plan.points} == {"run"}
    assert {point.spec.objective for point in plan.runs} == {"hubert", "wav2vec2", "tera", "best_rq"}
    sizes = {name(p): p.cost.params for p in plan.runs if name(p) in ("3x48", "1x72")}
    assert sizes["3x48"] == pytest.approx(sizes["1x72"], rel=0.01), "slim and wide at equal parameters"


BASE = """
corpus: {path: nowhere}
model: {frontend: logmel, sizes: [20k]}
steps: [1000]
objective: [hubert, wav2vec2, tera, best_rq]
train: {batch: 16}
"""


def planned(tmp_path, text):
    (tmp_path / "grid.yaml").write_text(text)
    return {point.spec.objective: point.spec for point in make_plan(load_grid(tmp_path / "grid.yaml")).points}


def test_objectives_have_their_own_targets_and_settings(tmp_path):
    more = "targets: {clusters: 50, codes: 512, normalise: false}\nobjective_args: {wav2vec2: {codes: 64}}\n"
    specs = planned(tmp_path, BASE + more)
    assert specs["hubert"].targets == {"kind": "mfcc-kmeans", "clusters": 50, "fit_hours": 1.0, "seed": 0}
    assert specs["best_rq"].targets == {"kind": "random-projection", "codes": 512, "dim": 16, "seed": 0}
    assert specs["tera"].targets == {"kind": "mfcc", "normalise": False, "fit_hours": 1.0}
    assert specs["wav2vec2"].targets == {}
    assert specs["wav2vec2"].objective_args["codes"] == 64
    assert specs["wav2vec2"].objective_args["head"] == specs["wav2vec2"].model["width"], "no wider than the encoder"


def test_how_a_run_is_run_is_no_part_of_what_it_is(tmp_path):
    plain = planned(tmp_path, BASE)
    more = "cluster: {micro_seconds: 8, compile: true, shard: true, keep_weights: false, tracker: tensorboard}\n"
    other = planned(tmp_path, BASE + more)
    assert other["hubert"].execution == {"micro_seconds": 8.0, "compile": True, "shard": True}
    assert {o: spec.id for o, spec in other.items()} == {o: spec.id for o, spec in plain.items()}


def test_augmentation_and_joined_crops_are_part_of_what_a_run_is(tmp_path):
    plain = planned(tmp_path, BASE)
    settings = "{batch: 16, join: true, augment: {speed: [0.9, 1.1], noise: {share: 1}, specaugment: {}}}"
    other = planned(tmp_path, BASE.replace("{batch: 16}", settings))
    assert other["hubert"].id != plain["hubert"].id
    assert other["hubert"].train["augment"] == {
        "speed": [0.9, 1.1],
        "noise": {"snr_db": [5.0, 25.0], "share": 1.0, "kind": "white"},
        "specaugment": {"time": 2, "time_width": 20, "frequency": 2, "frequency_width": 8},
    }


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{batch: 16}", "{batch: 2}", "a batch that cannot hold one crop of 4 s"),
        ("{batch: 16}", "{batch: 16, share_trunk: true, schedule: cosine}", "use schedule: wsd"),
        ("{batch: 16}", "{batch: auto, share_trunk: true}", "use a batch in seconds"),
        ("{batch: 16}", "{batch: 16, peak_lr: {hubert: 1e-3, wave: 1e-3}}", "no such objective"),
        ("{batch: 16}", "{batch: 16, peak_lr: {table: 3}}", "write {table: {20M: 5e-4, 95M: 3e-4}}"),
        ("{batch: 16}", "{batch: 16, augment: {speed: [1.1, 0.9]}}", "the lowest is above the highest"),
        ("{batch: 16}", "{batch: 16, augment: {speed: [0.1, 1]}}", "not factors of speed"),
        ("{batch: 16}", "{batch: 16, augment: {noise: {kind: pink}}}", "Known: speech, white"),
        ("{batch: 16}", "{batch: 16, augment: {reverb: 1}}", "unknown key"),
        ("{batch: 16}", "{batch: 16}\ntargets: {teacher: results/x/runs/y}", "a run and one of its layers"),
        ("{batch: 16}", "{batch: 16}\nobjective_args: {wav2vec2: {code: 3}}", "did you mean codes?"),
        ("{batch: 16}", "{batch: 16}\nobjective_args: {hubert: {head: 0.5}}", "not a whole number"),
        ("{batch: 16}", "{batch: 16}\nrecipe: studi", "did you mean study?"),
        ("{batch: 16}", "{batch: 16}\ncluster: {tracker: tensorbord}", "write tensorboard, or my_module:function"),
        ("{batch: 16}", "{batch: 16}\nobjective_args: {best_rq: {codes: 64}}", "write targets: {codes: 64}"),
        ("{batch: 16}", "{batch: 16}\ntargets: {teacher: TESTS, layer: 1}", "targets.teacher: no weights here"),
        ("objective: [hubert, wav2vec2, tera, best_rq]", "objective: [tera]\ntargets: {clusters: 5}", "unknown key"),
    ],
)
def test_settings_without_sense_are_refused_with_the_remedy(tmp_path, capsys, old, new, message):
    assert old in BASE
    (tmp_path / "grid.yaml").write_text(BASE.replace(old, new).replace("TESTS", str(Path(__file__).parent)))
    assert main(["plan", str(tmp_path / "grid.yaml"), "--no-measure"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "grid.yaml" in error
    assert "Traceback" not in error


def test_batches_hold_whole_groups_where_wav2vec_2_is_swept(tmp_path):
    """Groups of 21 crops of 4 s: never one of 1 beside one of 15, and the same batch for all objectives."""
    for batch, crops, group in ((16, 4, 4), (84, 21, 21), (92, 21, 21), (160, 42, 21)):
        specs = planned(tmp_path, BASE.replace("{batch: 16}", f"{{batch: {batch}}}"))
        assert {spec.train["crops"] for spec in specs.values()} == {crops}
        assert specs["wav2vec2"].objective_args["group"] == group
    alone = planned(tmp_path, BASE.replace("{batch: 16}", "{batch: 92}").replace("wav2vec2, ", ""))
    assert alone["hubert"].train["crops"] == 23
    smaller = BASE.replace("{batch: 16}", "{batch: 92}") + "objective_args: {wav2vec2: {group_seconds: 16}}\n"
    assert planned(tmp_path, smaller)["wav2vec2"].objective_args["group"] == 4


def test_rates_of_some_objectives_leave_the_others_theirs(tmp_path):
    text = BASE.replace("{batch: 16}", "{batch: 16, peak_lr: {tera: 2e-3}}") + "recipe: study\n"
    rates = {name: spec.train["peak_lr"] for name, spec in planned(tmp_path, text).items()}
    assert rates == {"hubert": 5e-4, "wav2vec2": 4e-4, "tera": 2e-3, "best_rq": 5e-4}


def test_a_batch_that_the_processes_cannot_share_is_refused_before_anything_is_sent(corpus, tmp_path, capsys):
    text = BASE.replace("nowhere", str(corpus.path)) + "unique_hours: [0.1]\n"
    text += "cluster: {executor: slurm, resources: [{up_to: 1G, gpus: 3}]}\n"
    (tmp_path / "grid.yaml").write_text(text)
    assert main(["submit", str(tmp_path / "grid.yaml"), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert "3 processes cannot share a batch of 4 crops" in error
    assert "use 1, 2, 4 processes" in error
    assert "cluster.resources" in error


def test_the_budget_of_a_reference_run_is_met_whatever_the_head_costs(tmp_path):
    """Tiny encoders, whose heads and quantisers outweigh them: the same FLOPs for every size of an objective."""
    text = BASE.replace("steps: [1000]", "budgets: [{steps: 5000, of: {layers: 2, width: 16, ffn: 32, heads: 2}}]")
    (tmp_path / "grid.yaml").write_text(text.replace("sizes: [20k]", "sizes: [4k, 40k]"))
    points = make_plan(load_grid(tmp_path / "grid.yaml")).points
    assert len({point.spec.budget for point in points}) == 4, "each objective's own"
    for point in points:
        assert point.flops == pytest.approx(point.spec.budget, rel=0.01)


TRUNK = """
corpus: {path: nowhere}
model: {frontend: logmel, sizes: [8k, 32k]}
budgets: [1e11, 2e11, 4e11, 8e11]
seeds: [0, 1]
min_updates: 1
train: {batch: 8, share_trunk: true}
"""


def test_budgets_that_share_a_trunk_cost_what_they_add(tmp_path):
    (tmp_path / "grid.yaml").write_text(TRUNK)
    plan = make_plan(load_grid(tmp_path / "grid.yaml"))
    by_id = {point.spec.id: point for point in plan.runs}
    assert len(by_id) == 16
    trunks = [point for point in plan.runs if point.spec.branches]
    assert len(trunks) == 4, "one a size and seed"
    for point in plan.runs:
        if point.spec.branches:
            assert point.spec.budget == 8e11
            assert point.flops_new == point.flops
            continue
        parent = by_id[point.spec.parent["id"]]
        assert parent.spec.model == point.spec.model
        assert parent.spec.seed == point.spec.seed
        assert point.spec.parent["step"] in parent.spec.branches
        assert point.spec.train["warmup_updates"] == parent.spec.train["warmup_updates"]
        assert point.flops_new == pytest.approx(0.2 * point.flops, rel=0.01)
        assert point.flops == pytest.approx(point.spec.budget, rel=0.01), "C is the whole path"
    whole = sum(point.flops for point in plan.runs)
    assert plan.totals["flops"] / whole == pytest.approx((8 + 0.2 * 7) / 15, rel=0.01)


def test_a_trunk_is_one_that_runs(tmp_path):
    """The longest budget repeats its data too often and is dropped: the next one is the trunk."""
    text = TRUNK.replace("sizes: [8k, 32k]", "sizes: [8k]") + "unique_hours: [1]\nmax_epochs: 20\n"
    (tmp_path / "grid.yaml").write_text(text)
    plan = make_plan(load_grid(tmp_path / "grid.yaml"))
    assert any(point.status == "dropped" for point in plan.points)
    running = {point.spec.id for point in plan.runs}
    assert all(point.spec.parent["id"] in running for point in plan.runs if point.spec.parent)
    assert sum(bool(point.spec.branches) for point in plan.runs) == 2, "one a seed"


def test_a_further_budget_leaves_the_others_what_they_are(tmp_path):
    ids = []
    for budgets in ("[1e11, 2e11, 4e11]", "[1e11, 2e11, 4e11, 8e11]"):
        (tmp_path / "grid.yaml").write_text(TRUNK.replace("[1e11, 2e11, 4e11, 8e11]", budgets))
        ids.append({point.spec.id for point in make_plan(load_grid(tmp_path / "grid.yaml")).runs})
    assert ids[0] < ids[1]


def test_a_sweep_that_shares_trunks_runs_locally(corpus, tmp_path, monkeypatch):
    """Children wait for their trunk's state, start from it, and remove it when they are done."""
    from sweeps.folder import SweepFolder

    monkeypatch.chdir(tmp_path)
    text = TRUNK.replace("nowhere", str(corpus.path)).replace("[8k, 32k]", "[8k]").replace("[0, 1]", "[0]")
    text = text.replace("[1e11, 2e11, 4e11, 8e11]", "[2e9, 4e9, 8e9]").replace("batch: 8", "batch: 8, eval_hours: 0.01")
    text += "unique_hours: [0.1]\ntargets: {clusters: 20, fit_hours: 0.05}\ncluster: {slots: 2, save_every: 0.2s}\n"
    (tmp_path / "grid.yaml").write_text(text)
    assert main(["submit", "grid.yaml", "--executor", "local", "--wait"]) == 0
    folder = SweepFolder(tmp_path / "results" / "grid")
    records = sorted((folder.record(i) for i in folder.record_ids()), key=lambda record: record.updates)
    assert [bool(record.parent) for record in records] == [True, True, False]
    for record in records[:2]:
        own = record.updates - stable_updates(record.updates)
        assert record.flops_new == pytest.approx(record.flops * own / record.updates)
    assert not list(folder.path.glob("runs/*/branch-*")), "kept for its children alone"
    assert len(list(folder.path.glob("runs/*/weights.pt"))) == 3
