"""Grids that are broken in ways that people and programs break them, for the test that none makes `plan` fall over.

Each comes as (bytes of the file, what `plan` must do): `line`, refuse it and name the line; `file`, refuse it and name
the file; `open`, refuse it or take it, since the damage may happen to be right.
"""

import datetime
import math

import yaml
from hypothesis import strategies as st

from tests.sweeps.conftest import GRID

SPEECH = """
name: speech
recipe: default
objective: [hubert, wav2vec2]
corpus: {path: no-such-corpus}
model:
  frontend: logmel
  aspect: slim
  position: {kernel: 32, groups: depthwise}
  sizes: {window: {centre: 14k, at: 5e11, exponent: 0.4, span: 10x, count: 3}}
budgets: [2e11, 5e11]
unique_hours: [10]
seeds: [0, 1]
max_epochs: 100
min_updates: 10
allow_short: true
train:
  batch: {at: 12, value: 16, exponent: 0.5}
  crop_seconds: 2
  peak_lr: {at: 15k, value: 8e-3, exponent: -0.1, batch: 18}
  warmup: 0.08
  schedule: wsd
  precision: fp32
  weight_decay: 0.1
  clip: 1.0
  dropout: 0.0
  layer_drop: 0.0
  mask_prob: 0.8
  mask_length: 10
  join: false
  augment:
    speed: [0.9, 1.1]
    noise: {snr_db: [5, 25], share: 0.5, kind: white}
    specaugment: {time: 2, time_width: 20, frequency: 2, frequency_width: 8}
  eval_hours: 0.1
targets: {clusters: 50, fit_hours: 1, seed: 0}
objective_args: {wav2vec2: {codes: 32, negatives: 50, head: 32, temperature: 0.1, gumbel: [2.0, 0.5, 0.69]}}
cluster:
  executor: local
  slots: 2
  threads: 1
  save_every: 30s
  keep_weights: true
  micro_seconds: 64
  compile: false
  tries: 3
  flops_per_second: 1e12
  slurm:
    {partition: gpu, timeout: 12h, warning: 3m, setup: [module load cuda], array_parallelism: 32,
     options: {mail-type: END}, keeper: {partition: cpu, every: 1h}}
  resources: [{up_to: 100M, gpus: 1}, {up_to: 1B, gpus: 8, nodes: 1, cpus: 8, memory_gb: 64}]
cap: {device_hours: 500, flops: 1e20}
"""
SHAPES = (
    SPEECH.replace(
        "sizes: {window: {centre: 14k, at: 5e11, exponent: 0.4, span: 10x, count: 3}}",
        "shapes: [{layers: 1, width: 24, ffn: 48, heads: 1}, {layers: 2, width: 32, ffn: 64, heads: 1, norm: pre}]",
    )
    .replace("budgets: [2e11, 5e11]", "budgets: [{steps: 30k, of: {layers: 1, width: 32, ffn: 64, heads: 1}}]")
    .replace("batch: {at: 12, value: 16, exponent: 0.5}", "batch: 16")
    .replace(
        "peak_lr: {at: 15k, value: 8e-3, exponent: -0.1, batch: 18}",
        "peak_lr: {hubert: {table: {15k: 8e-3, 60k: 5e-3}, batch: 18}, wav2vec2: {value: 2e-3, width: 32}}",
    )
)
TUNED = """
corpus: {path: no-such-corpus}
recipe: study
objective: [hubert, tera, best_rq]
model: {frontend: waveform, aspect: 40, sizes: {from: 6M, to: 300M, count: 3}}
data: {hours: [20000, 50000]}
tuned: {peak_lr: {value: 1e-3, exponent: 0}, batch: {at: 1, value: 160, exponent: 0.1}, evidence: [{bracketed: true}]}
targets: {teacher: no-such-run, layer: 6, clusters: 500, codes: 256, dim: 16, normalise: false}
cluster: {executor: slurm, slurm: {partition: gpu, timeout: 12h}, resources: {up_to: 1B, gpus: 1}}
"""
STEPS = GRID.replace("budgets: [1e7, 1e8]", "steps: [10, 20]") + "trainer_args: {steps: 3, more: [1, {a: b}]}\n"
WHOLE = {"speech": SPEECH, "shapes": SHAPES, "tuned": TUNED, "toy": GRID, "steps": STEPS}

DAY = datetime.date(2020, 1, 1)
NUMBER = ["lots", "", "1 k k", True, {"a": 1}, [[1]], math.nan, math.inf, -math.inf, 0, -1, "-1k", 10**400, 1e300, DAY]
REAL = ["lots", True, [], {}, math.nan, math.inf, DAY, 10**400]
FLAG = ["maybe", 2, 0.5, [], {}, DAY]
WORD = ["", 3, 1.5, [], {}, True, DAY, "\0", ["wsd", "wsd"], b"bytes"]
MAPPING = [3, "text", [1], True, [{"a": 1}], DAY]
TYPES = [  # dotted keys, and values that are certainly wrong there
    (["max_epochs", "budgets", "unique_hours", "steps", "cap.device_hours", "cap.flops"], NUMBER),
    (["train.crop_seconds", "train.clip", "train.eval_hours", "targets.fit_hours"], NUMBER),
    (["cluster.micro_seconds", "cluster.save_every", "cluster.slurm.timeout", "cluster.resources.0.up_to"], NUMBER),
    (["model.sizes.window.centre", "model.sizes.window.at", "model.sizes.window.span"], NUMBER),
    (["train.peak_lr.at", "train.peak_lr.value", "train.batch.at", "train.batch.value"], NUMBER),
    (["objective_args.wav2vec2.temperature"], NUMBER),
    (["min_updates", "train.mask_length", "targets.clusters", "model.position.kernel"], [*NUMBER, 1.5]),
    (["cluster.flops_per_second", "cluster.slurm.warning", "cluster.slurm.keeper.every"], NUMBER),
    (["cluster.slots", "cluster.threads", "cluster.tries", "cluster.resources.1.cpus"], [*NUMBER, 1.5]),
    (["cluster.slurm.keeper"], [3, "text", [1], DAY]),
    (["cluster.slurm.array_parallelism", "model.sizes.window.count"], [*NUMBER, 1.5]),
    (["model.shapes.0.layers", "model.shapes.1.width", "objective_args.wav2vec2.codes"], [*NUMBER, 1.5]),
    (["train.weight_decay", "train.dropout", "train.layer_drop", "train.mask_prob"], [*REAL, -0.1, 1.5]),
    (["train.augment.noise.share"], [*REAL, -0.1, 1.5]),
    (["train.warmup", "model.sizes.window.exponent", "train.peak_lr.exponent", "train.batch.exponent"], REAL),
    (["allow_short", "train.join", "cluster.keep_weights", "cluster.compile"], FLAG),
    (["name", "trainer", "corpus.path", "objective", "recipe", "model.frontend", "cluster.executor"], WORD),
    (["train.schedule", "train.precision", "train.augment.noise.kind"], WORD),
    (["corpus", "model", "model.position", "model.shapes.1", "train", "train.augment", "train.augment.noise"], MAPPING),
    (
        ["targets", "objective_args", "objective_args.wav2vec2", "cluster", "cluster.slurm", "cluster.slurm.options"],
        MAPPING,
    ),
    (["trainer_args", "data", "tuned.evidence.0", "cap"], MAPPING),
    (["tuned"], [3, [1], True, "no-such-file.yaml", "a\\b/c", ".", DAY]),
    (["tuned.evidence"], [3, "text", [1], True, DAY]),
    (["data.hours", "targets.layer", "targets.codes", "targets.dim", "tuned.batch.value"], NUMBER),
    (["train.peak_lr.hubert.table.15k", "train.peak_lr.wav2vec2.width"], NUMBER),
    (["train.peak_lr.hubert.table"], [3, "text", [], {}, {"lots": 1}, {"1k": "lots"}, True]),
    (["seeds"], [3, -1, [-1], ["a"], [1, 1], [], {}, [1.5], [True], [10**400], "0"]),
    (["model.aspect"], ["slimm", -1, 0, True, [], {}, math.nan]),
    (["train.augment.speed"], [1, [1], [1.1, 0.9], ["a", "b"], [0.1, 3], {}, [math.nan, 1]]),
    (["train.augment.noise.snr_db"], [1, [1], [2, 1], ["a", "b"], {}, [math.nan, 1], [0, 10**400]]),
    (["train.augment.specaugment.time"], ["a", -1, 1.5, [], {}, True]),
    (["budgets.0.steps"], ["lots", 0, [], 1.5]),
    (["budgets.0.of"], [3, {}, {1: 2, "a": 3}, {"layers": 1}]),
]
WRONG = {key: values for keys, values in TYPES for key in keys}
REQUIRED = {
    *("model", "corpus", "corpus.path", "budgets", "steps", "model.sizes", "model.shapes", "budgets.0.of"),
    *("model.sizes.window.centre", "model.sizes.window.count", "train.peak_lr.value", "model.shapes.0.layers"),
    *("cluster.resources.0.up_to", "cluster.resources.up_to", "tuned.batch", "targets.layer", "data.hours"),
}
FREE = ("trainer_args", "cluster.slurm.options", "tuned.evidence.")
"""Mappings whose keys are the user's."""
TAGGED = (
    "!!int x",
    "!!int ''",
    "!!float ''",
    "!!bool x",
    "!!timestamp x",
    "!!binary '%'",
    "!!binary aGk=",
    "!!set {a}",
    "!!omap [a: 1]",
    "!!str {a: 1}",
    "!!map x",
    "!!python/object/apply:os.getcwd []",
    "!mine x",
    "2020-13-45",
    "2020-01-01",
    "0x_",
    '"\\0"',
    '"\\ud800"',
    f"0x{'f' * 300}",
    "=",
    "*nowhere",
)

words = st.sampled_from(
    ["x", "8k", "1e18", "-1", "null", "~", "a.b", "<<", "*a", "&a", "!!int x", "{", "]", "%", "é\n"]
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**6), 10**6),
    st.sampled_from([10**30, 10**400, -(10**400), 2**63, 1e-300, 1e60, 5e-324]),
    st.floats(),
    words,
    st.text(max_size=6),
    st.sampled_from([DAY, datetime.datetime(2020, 1, 1, 12), b"\xff"]),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3), max_leaves=5
)


def children(tree):
    return tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()


def paths(tree, prefix=()):
    """Return the ways to all values, as tuples of keys."""
    return [p for key, value in children(tree) for p in [(*prefix, key), *paths(value, (*prefix, key))]]


def get(tree, path):
    for key in path:
        tree = tree[key]
    return tree


def dotted(path):
    return ".".join(map(str, path))


def dump(tree):
    return yaml.safe_dump(tree, sort_keys=False).encode()


@st.composite
def wrong_values(draw):
    """A value of the wrong type or size at a key that says what it takes."""
    tree = yaml.safe_load(draw(st.sampled_from(list(WHOLE.values()))))
    path = draw(st.sampled_from([path for path in paths(tree) if dotted(path) in WRONG]))
    get(tree, path[:-1])[path[-1]] = draw(st.sampled_from(WRONG[dotted(path)]))
    return dump(tree), "line"


@st.composite
def unknown_keys(draw):
    """A key that nothing reads, in any mapping of a grid."""
    tree = yaml.safe_load(draw(st.sampled_from(list(WHOLE.values()))))
    mappings = [path for path in [(), *paths(tree)] if isinstance(get(tree, path), dict)]
    path = draw(st.sampled_from([path for path in mappings if not dotted(path).startswith(FREE)]))
    get(tree, path)[draw(st.sampled_from(["xyzzy", "budjets", 7, None, True, "a.b", "é", ""]))] = draw(scalars)
    return dump(tree), "line"


@st.composite
def missing_keys(draw):
    """A grid without a key that it needs."""
    tree = yaml.safe_load(draw(st.sampled_from(list(WHOLE.values()))))
    path = draw(st.sampled_from([path for path in paths(tree) if dotted(path) in REQUIRED]))
    if draw(st.booleans()):
        del get(tree, path[:-1])[path[-1]]
    else:
        get(tree, path[:-1])[path[-1]] = None
    return dump(tree), "file"


@st.composite
def any_values(draw):
    """Anything at some keys, known or not; it may happen to be right."""
    tree = yaml.safe_load(draw(st.sampled_from(list(WHOLE.values()))))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(paths(tree)))
        get(tree, path[:-1])[path[-1]] = draw(values)
    return dump(tree), "open"


@st.composite
def far_numbers(draw):
    """Numbers far from any that makes sense, of the right type."""
    tree = yaml.safe_load(draw(st.sampled_from(list(WHOLE.values()))))
    numbers = [path for path in paths(tree) if dotted(path) in WRONG and not isinstance(get(tree, path), (dict, bool))]
    for path in draw(st.lists(st.sampled_from(numbers), min_size=1, max_size=3)):
        number = draw(
            st.sampled_from([1, 2, 3, 7, 1000, 65_536, 10**9, 10**12, 10**60, 1e-60, 1e-9, 0.02, 0.5, 1e30, -1e3, -9])
        )
        get(tree, path[:-1])[path[-1]] = [number] if isinstance(get(tree, path), list) else number
    return dump(tree), "open"


@st.composite
def broken_text(draw):
    """Text that is no YAML, or none that a grid can hold."""
    text = draw(st.sampled_from(list(WHOLE.values()))).strip() + "\n"
    data = text.encode()
    at = draw(st.integers(0, len(data)))
    line = draw(st.sampled_from([i for i, c in enumerate(text) if c == "\n"])) + 1
    deep = draw(st.sampled_from([51, 60, 200, 2000]))
    kind = draw(st.sampled_from(["byte", "control", "tab", "twice", "deep", "tag", "alias", "cut", "line", "merge"]))
    return {
        "byte": (data[:at] + draw(st.sampled_from([b"\xff", b"\xfe\xff", b"\xc0\xaf"])) + data[at:], "line"),
        "control": (data[:at] + draw(st.sampled_from([b"\0", b"\x07", b"\x1b", b"\x7f"])) + data[at:], "line"),
        "tab": (data + b"cluster_too:\n\t- 1\n", "line"),
        "twice": (data + draw(st.sampled_from(text.splitlines())).encode().strip() + b"\nname: a\nname: b\n", "line"),
        "deep": (data + b"x: " + draw(st.sampled_from([b"[", b"{a: "])) * deep, "file"),
        "tag": (GRID.encode() + f"trainer_args: {{a: [{draw(st.sampled_from(TAGGED))}]}}\n".encode(), "line"),
        "alias": (GRID.encode() + b"trainer_args: &a {b: [*a]}\n", "line"),
        "cut": (data[:at], "open"),
        "line": (text[:line].encode() + draw(st.text(max_size=20)).encode(errors="replace") + data[line:], "open"),
        "merge": (
            data + draw(st.sampled_from([b"<<: 3\n", b"<<: [{x: 1}, 2]\n", b"[a]: 1\n", b"{a: 1}: 1\n"])),
            "line",
        ),
    }[kind]


anything = st.one_of(st.binary(max_size=40), st.text(max_size=40).map(lambda text: text.encode(errors="replace")))
broken = st.one_of(
    wrong_values(), wrong_values(), unknown_keys(), missing_keys(), any_values(), far_numbers(), far_numbers(),
    broken_text(), broken_text(), anything.map(lambda data: (data, "open")),
)  # fmt: skip
