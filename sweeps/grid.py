"""grid.yaml: what a sweep is, read strictly into frozen dataclasses.

Paths in a grid are relative to the folder that the command runs in. A trainer's module is looked for beside the
grid first, then among the installed packages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from scaling.errors import InputError
from scaling.records import BUILT_IN_TRAINER
from scaling.shape import FRAMES_PER_SECOND, FRONTENDS, Shape
from scaling.sizes import POSITION, log_spaced, parse_aspect
from scaling.speech import OBJECTIVES
from scaling.units import parse_count, parse_seconds
from sweeps.yamlfile import (
    Section,
    flag,
    mapping,
    number,
    one_of,
    read_yaml,
    real,
    seed,
    several,
    share,
    text,
    whole,
)

T = TypeVar("T")

EXECUTORS = ("local", "slurm", "debug")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, kw_only=True)
class PowerRule:
    """A quantity that follows a power law: value * (x / at) ** exponent."""

    value: float
    at: float = 1.0
    exponent: float = 0.0

    def __call__(self, x: float) -> float:
        """Return the quantity at x."""
        return self.value * (x / self.at) ** self.exponent


@dataclass(frozen=True, kw_only=True)
class LearningRate(PowerRule):
    """A peak learning rate over N, and over the root of the batch where `batch` names the one it holds at."""

    batch: float | None = None
    """Seconds of audio a step at which the rule holds; the rate does not follow the batch when not given."""

    def at_size(self, params: float, batch: float) -> float:
        """Return the rate of a size at a batch, by the square-root rule of Adam (arXiv 2205.10287)."""
        return self(params) * (1.0 if self.batch is None else (batch / self.batch) ** 0.5)


PEAK_LR = LearningRate(value=5e-4, at=20e6, exponent=-0.33, batch=155.6)
"""The study's peak learning rate: 5e-4 at 20 M and 155.6 s a step, and the exponent of its table by size."""
AUTO_BATCH = PowerRule(value=155.6, at=17_289.0, exponent=0.5)
"""Batch in seconds over hours of audio seen, for `batch: auto`: the study's 155.6 s at the 17,289 h that Slim
saw, shrinking with the root of the data (critical batches grow about so: Zhang et al. 2024, arXiv 2410.21676)."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Sizes around a centre that moves with the budget."""

    centre: float
    span: float
    count: int
    at: float | None
    """Budget at which `centre` holds; the geometric middle of the budgets when not given."""
    exponent: float
    """The centre grows as budget ** exponent."""


@dataclass(frozen=True, kw_only=True)
class ModelGrid:
    """Which sizes, and how a size becomes a shape."""

    frontend: str
    aspect: object
    position: tuple[int, int]
    sizes: tuple[float, ...] = ()
    window: Window | None = None
    shapes: tuple[Mapping[str, Any], ...] = ()
    where: str = ""
    """Place in the file, for messages."""


@dataclass(frozen=True, kw_only=True)
class ReferenceBudget:
    """A budget given as that of a run: so many steps of a shape."""

    steps: int
    of: Shape
    where: str


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How the built-in trainer trains."""

    batch: PowerRule
    """Seconds of audio a step over hours seen."""
    crop_seconds: float
    peak_lr: LearningRate
    warmup: float
    schedule: str
    precision: str
    weight_decay: float
    clip: float
    dropout: float
    layer_drop: float
    mask_prob: float
    mask_length: int
    eval_hours: float


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where runs run. None of it is part of a run's identity."""

    executor: str = "local"
    slots: int = 1
    threads: int = 1
    """CPU threads a run. This one is part of the identity: sums differ in the last digits."""
    save_every: float = 600.0
    """Seconds between checkpoints."""
    slurm: Mapping[str, Any] = field(default_factory=dict)
    resources: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A sweep, as its file says it."""

    name: str
    file: Path
    trainer: str
    objectives: tuple[str, ...]
    corpus: Path | None
    model: ModelGrid
    budgets: tuple[float | ReferenceBudget, ...] = ()
    data_hours: tuple[float, ...] = ()
    steps: tuple[int, ...] = ()
    unique_hours: tuple[float, ...] = ()
    seeds: tuple[int, ...] = (0,)
    max_epochs: float | None = None
    min_updates: int = 500
    allow_short: bool = False
    train: TrainSettings
    targets: Mapping[str, Any]
    tuned: Mapping[str, Any] | None = None
    """What `pilot` measured; its rules are already in `train`."""
    trainer_args: Mapping[str, Any] = field(default_factory=dict)
    cluster: Cluster
    cap: Mapping[str, float] = field(default_factory=dict)

    @property
    def built_in(self) -> bool:
        """Whether the project's own trainer runs."""
        return self.trainer == BUILT_IN_TRAINER


def load_grid(path: Path) -> Grid:
    """Return the grid in a file.

    Raises:
        InputError: For anything that is not as `docs/formats.md` says, with the line, the value and the remedy.
    """
    top = read_yaml(path)
    trainer = top.take("trainer", _trainer, BUILT_IN_TRAINER)
    built_in = trainer == BUILT_IN_TRAINER
    corpus = top.section("corpus")
    tuned = top.take("tuned", lambda value, where: _tuned(value, where, path), None)
    budgets = top.take("budgets", several(_budget), ())
    data_hours = _data_hours(top.section("data"))
    steps = top.take("steps", several(whole), ())
    grid = Grid(
        name=top.take("name", _name, path.stem),
        file=path,
        trainer=trainer,
        objectives=top.take("objective", several(one_of(*OBJECTIVES) if built_in else text), OBJECTIVES[:1]),
        corpus=_corpus(corpus) if corpus else None,
        model=_model(top.section("model"), built_in, top),
        unique_hours=top.take("unique_hours", several(number), ()),
        seeds=top.take("seeds", several(seed), (0,)),
        max_epochs=top.take("max_epochs", number, None),
        min_updates=top.take("min_updates", whole, 500 if built_in else 1),
        allow_short=top.take("allow_short", flag, False),
        train=_train(top, tuned),
        targets=_targets(top.section("targets")),
        tuned=tuned,
        trainer_args=top.take("trainer_args", mapping, {}),
        cluster=_cluster(top.section("cluster")),
        cap=_cap(top.section("cap")),
        budgets=budgets,
        data_hours=data_hours,
        steps=steps,
    )
    top.done()
    given = [key for key, values in (("budgets", budgets), ("data", data_hours), ("steps", steps)) if values]
    if not given:
        raise InputError(
            "nothing says how long runs are",
            where=top.where(),
            remedy="give one of budgets: [1e18], data: {hours: [10]}, steps: [10000]",
        )
    if len(given) > 1:
        raise InputError(
            "how long runs are is said in several ways",
            where=top.where(given[1]),
            value=given,
            remedy="keep one of budgets, data and steps",
        )
    if built_in and grid.corpus is None:
        raise InputError(
            "no corpus",
            where=top.where(),
            remedy="add corpus: {path: corpora/demo}, made by `scaling-sweep corpus synth corpora/demo --hours 10`",
        )
    if grid.max_epochs and not grid.unique_hours:
        raise InputError(
            "max_epochs counts passes over unique_hours, and they are not given",
            where=top.where("max_epochs"),
            remedy="add unique_hours: [10], the hours of distinct audio",
        )
    return grid


def _tuned(value: Any, where: str, grid: Path) -> dict[str, Any]:
    """Return the pilot's rules, written here or in a file beside the grid."""
    if isinstance(value, str):
        return dict(read_yaml(grid.parent / value).values)
    return mapping(value, where)


def _name(value: Any, where: str) -> str:
    name = text(value, where)
    if not NAME.fullmatch(name):
        raise InputError(
            "a name becomes a folder",
            where=where,
            value=value,
            remedy="use letters, digits, dot, dash, underscore",
        )
    return name


def _trainer(value: Any, where: str) -> str:
    name = text(value, where)
    if not re.fullmatch(r"[\w.]+:\w+", name):
        raise InputError(
            "a trainer is named package.module:function",
            where=where,
            value=value,
            remedy="write my_module:train",
        )
    return name


def _corpus(section: Section) -> Path:
    path = Path(section.take("path", text))
    section.done()
    return path


def _data_hours(section: Section | None) -> tuple[float, ...]:
    if section is None:
        return ()
    hours = section.take("hours", several(number))
    section.done()
    return hours


def _budget(value: Any, where: str) -> float | ReferenceBudget:
    """Return FLOPs, or a reference run {steps: 400000, of: {layers: ..., ...}}."""
    if not isinstance(value, dict):
        return parse_count(value, where=where)
    try:
        steps = whole(value.pop("steps"), where)
        shape = Shape.from_dict(value.pop("of"))
    except KeyError as missing:
        raise InputError(
            f"a reference run lacks {missing}",
            where=where,
            remedy="write {steps: 400000, of: {layers: 12, ...}}",
        ) from None
    if value:
        raise InputError("unknown key in a reference run", where=where, value=sorted(value)[0])
    return ReferenceBudget(steps=steps, of=shape, where=where)


def _model(section: Section | None, built_in: bool, top: Section) -> ModelGrid:
    if section is None:
        raise InputError(
            "model is missing", where=top.where(), remedy="add model: {sizes: {from: 8k, to: 1M, count: 6}}"
        )
    frontend = section.take("frontend", one_of(*FRONTENDS), "waveform")
    position = section.section("position")
    kernel, groups = POSITION[frontend]
    if position is not None:
        kernel = position.take("kernel", whole, kernel)
        groups = position.take("groups", _groups, groups)
        position.done()
    aspect = section.take("aspect", lambda value, where: (parse_aspect(value, where=where), value)[1], "slim")
    shapes = section.take("shapes", several(mapping), ())
    sizes, window = _sizes(section)
    if (bool(sizes) + bool(shapes) + (window is not None)) != 1:
        raise InputError(
            "a model is given by sizes or by shapes, one of them",
            where=section.where(),
            remedy="write sizes: {from: 8k, to: 1M, count: 6}, sizes: [6M, 20M] or shapes: [{layers: 12, ...}]",
        )
    section.done()
    if built_in:
        shapes = tuple(_shape(s, frontend, kernel, groups, section.where("shapes")) for s in shapes)
    return ModelGrid(
        frontend=frontend,
        aspect=aspect,
        position=(kernel, groups),
        sizes=sizes,
        window=window,
        shapes=shapes,
        where=section.where("sizes" if not shapes else "shapes"),
    )


def _groups(value: Any, where: str) -> int:
    """Return groups of the position convolution; 0 stands for `depthwise`, one a channel."""
    return 0 if value == "depthwise" else whole(value, where)


def _shape(values: Mapping[str, Any], frontend: str, kernel: int, groups: int, where: str) -> dict[str, Any]:
    try:
        defaults = {
            "frontend": frontend,
            "position_kernel": kernel,
            "position_groups": groups or values.get("width", 1),
        }
        return Shape.from_dict({**defaults, **values}).to_dict()
    except InputError as error:
        raise InputError(f"{error.where}: {error.what}", where=where, value=error.value, remedy=error.remedy) from None


def _sizes(section: Section) -> tuple[tuple[float, ...], Window | None]:
    """Return sizes, or a window that gives them for each budget."""
    if not isinstance(section.values.get("sizes"), dict):
        return tuple(sorted(section.take("sizes", several(number), ()))), None
    sizes = section.section("sizes")
    assert sizes is not None
    window = sizes.section("window")
    if window is None:
        low, high, count = sizes.take("from", number), sizes.take("to", number), sizes.take("count", whole)
        sizes.done()
        if low >= high or count < 2:
            raise InputError(
                "a ladder goes from a smaller to a larger size in at least two steps",
                where=sizes.where(),
                value={"from": low, "to": high, "count": count},
                remedy="write {from: 8k, to: 1M, count: 6}",
            )
        return tuple(log_spaced(low, high, count)), None
    sizes.done()
    result = Window(
        centre=window.take("centre", number),
        span=window.take("span", _span),
        count=window.take("count", whole),
        at=window.take("at", number, None),
        exponent=window.take("exponent", real, 0.5),
    )
    window.done()
    return (), result


def _span(value: Any, where: str) -> float:
    """Return a ratio, written 16x or 16."""
    ratio = parse_count(value[:-1] if isinstance(value, str) and value.endswith("x") else value, where=where)
    if ratio <= 1:
        raise InputError("a span is the ratio of the largest size to the smallest", where=where, value=value)
    return ratio


def _rule(value: Any, where: str) -> PowerRule:
    """Return a constant, or {at, value, exponent}."""
    return PowerRule(**_rule_keys(value, where, ("at", "value", "exponent")))


def _learning_rate(value: Any, where: str) -> LearningRate:
    """Return a constant, or {at, value, exponent, batch}."""
    return LearningRate(**_rule_keys(value, where, ("at", "value", "exponent", "batch")))


def _rule_keys(value: Any, where: str, keys: tuple[str, ...]) -> dict[str, float]:
    if not isinstance(value, dict):
        return {"value": parse_count(value, where=where)}
    if set(value) - set(keys) or "value" not in value:
        raise InputError(
            f"a rule is a number or {{{', '.join(keys)}}}",
            where=where,
            value=value,
            remedy="write {at: 20M, value: 5e-4, exponent: -0.33}",
        )
    parsed = {key: parse_count(value[key], where=where) for key in value if key != "exponent"}
    return {**parsed, "exponent": real(value.get("exponent", 0), where)}


def _batch(value: Any, where: str) -> PowerRule:
    return AUTO_BATCH if value == "auto" else _rule(value, where)


def _either(section: Section, key: str, parse: Callable[[Any, str], T], tuned: Mapping[str, Any], default: T) -> T:
    """Return a rule from the grid or from what the pilot tuned, refusing both."""
    written = section.take(key, parse, None)
    if key not in tuned:
        return default if written is None else written
    if written is not None:
        raise InputError(
            f"{key} is given here and by tuned",
            where=section.where(key),
            remedy="keep one: the pilot's value under tuned, or yours under train without tuned",
        )
    return parse(tuned[key], f"{section.file}: tuned.{key}")


def _train(top: Section, tuned: Mapping[str, Any] | None) -> TrainSettings:
    section = top.section("train") or Section({}, {}, top.file, "train.")
    crop = section.take("crop_seconds", number, 4.0)
    if round(crop * FRAMES_PER_SECOND) != crop * FRAMES_PER_SECOND:
        raise InputError(
            "not a whole number of frames of 20 ms",
            where=section.where("crop_seconds"),
            value=crop,
            remedy=f"write {max(1, round(crop * FRAMES_PER_SECOND)) / FRAMES_PER_SECOND:g}",
        )
    settings = TrainSettings(
        batch=_either(section, "batch", _batch, tuned or {}, AUTO_BATCH),
        peak_lr=_either(section, "peak_lr", _learning_rate, tuned or {}, PEAK_LR),
        crop_seconds=crop,
        warmup=section.take("warmup", share, 0.08),
        schedule=section.take("schedule", one_of("wsd", "linear", "cosine"), "wsd"),
        precision=section.take("precision", one_of("fp32", "bf16"), "fp32"),
        weight_decay=section.take("weight_decay", share, 0.01),
        clip=section.take("clip", number, 1.0),
        dropout=section.take("dropout", share, 0.0),
        layer_drop=section.take("layer_drop", share, 0.0),
        mask_prob=section.take("mask_prob", share, 0.8),
        mask_length=section.take("mask_length", whole, 10),
        eval_hours=section.take("eval_hours", number, 0.25),
    )
    section.done()
    return settings


def _targets(section: Section | None) -> dict[str, Any]:
    if section is None:
        return {"clusters": 100, "fit_hours": 1.0, "seed": 0}
    targets = {
        "clusters": section.take("clusters", whole, 100),
        "fit_hours": section.take("fit_hours", number, 1.0),
        "seed": section.take("seed", seed, 0),
    }
    section.done()
    return targets


def _cluster(section: Section | None) -> Cluster:
    if section is None:
        return Cluster()
    slurm = section.take("slurm", mapping, {})
    for key in ("timeout", "time"):
        if key in slurm:
            parse_seconds(slurm[key], where=section.where(f"slurm.{key}"))
    cluster = Cluster(
        executor=section.take("executor", one_of(*EXECUTORS), "local"),
        slots=section.take("slots", whole, 1),
        threads=section.take("threads", whole, 1),
        save_every=section.take("save_every", lambda v, w: parse_seconds(v, where=w), 600.0),
        slurm=slurm,
        resources=section.take("resources", _resources, ()),
    )
    section.done()
    return cluster


def _resources(value: Any, where: str) -> tuple[Mapping[str, Any], ...]:
    """Return resources by size, smallest first: [{up_to: 100M, gpus: 1}, ...]."""
    rows = []
    for row in value if isinstance(value, list) else [value]:
        section = Section(mapping(row, where), {}, Path(where.partition(":")[0]), "cluster.resources.")
        rows.append(
            {
                "up_to": section.take("up_to", number),
                "gpus": section.take("gpus", whole, 0),
                "nodes": section.take("nodes", whole, 1),
                "cpus": section.take("cpus", whole, 1),
                "memory_gb": section.take("memory_gb", number, None),
            }
        )
        section.done()
    return tuple(sorted(rows, key=lambda row: row["up_to"]))


def _cap(section: Section | None) -> dict[str, float]:
    if section is None:
        return {}
    cap = {key: section.take(key, number, None) for key in ("gpu_hours", "device_hours", "flops")}
    section.done()
    return {key: value for key, value in cap.items() if value is not None}
