"""What a sweep is: the grid as frozen dataclasses, with every default filled in. `sweeps.gridfile` reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scaling.records import BUILT_IN_TRAINER
from scaling.shape import Shape
from scaling.speech.probes.catalogue import ProbeSettings
from sweeps.rules import LearningRate, PowerRule

TRIES, SAME_ERROR = 4, 3
EXECUTORS = ("local", "slurm", "debug")


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

    recipe: str
    settled: bool
    """Whether learning rate and batch are those that a recipe was published with."""
    batch: PowerRule
    """Seconds of audio a step over hours seen."""
    crop_seconds: float
    peak_lr: LearningRate
    peak_lr_of: Mapping[str, LearningRate] = field(default_factory=dict)
    """By objective, before `peak_lr`."""
    warmup: float
    """Share of the run below 1, updates from 1 on."""
    schedule: str
    share_trunk: bool
    """Whether the budgets of a size share their steps before the rate falls."""
    precision: str
    weight_decay: float
    clip: float
    dropout: float
    layer_drop: float
    mask_prob: float | None
    """None for each objective's own."""
    mask_length: int
    join: bool
    """Whether crops run on from one utterance of a speaker to the next."""
    augment: Mapping[str, Any]
    penalty: float
    feature_grad: float
    initial: str
    large: Mapping[str, Any]
    """Settings of sizes from `sweeps.recipes.LARGE` on."""
    head: int | None
    large_head: int | None
    group_seconds: float
    """Audio over which wav2vec 2.0's diversity is counted, unless its own settings say so."""
    eval_hours: float

    def rate_of(self, objective: str) -> LearningRate:
        """Return the rule of an objective's peak learning rate."""
        return self.peak_lr_of.get(objective, self.peak_lr)


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Where runs run. None of it is part of a run's identity."""

    executor: str = "local"
    slots: int = 1
    threads: int = 1
    """CPU threads a run. This one is part of the identity: sums differ in the last digits."""
    save_every: float = 600.0
    """Seconds between checkpoints."""
    keep_weights: bool = True
    """Whether finished runs leave their weights, for `export`, probes and second iterations."""
    keep_checkpoints: bool = False
    """Whether finished runs leave their checkpoints."""
    scratch: Path | None = None
    """Where checkpoints go instead of the run's folder."""
    scratch_gb: float | None = None
    """Quota of scratch."""
    snapshot: bool = True
    """Whether jobs run the code as it was when it was submitted."""
    tries: int = TRIES
    """How often a run may die without a new checkpoint."""
    same_error: int = SAME_ERROR
    """How many runs may fail with the same error before no further one starts."""
    flops_per_second: float | None = None
    """What a device sustains, for the time of runs where none was measured."""
    tracker: str | None = None
    """`tensorboard`, or package.module:function."""
    execution: Mapping[str, Any] = field(default_factory=dict)
    """micro_seconds, compile, shard: how a run is run, equal to rounding."""
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
    targets: Mapping[str, Mapping[str, Any]]
    """Objective -> how its targets are made."""
    teacher: Path | None = None
    """Folder of the run whose layer gives HuBERT's labels."""
    objective_args: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Objective -> settings that differ from its defaults."""
    probes: ProbeSettings | None = None
    """What finished encoders are judged by besides their loss."""
    probes_corpus: Path | None = None
    """Labelled audio for it; None for the runs' own corpus."""
    tuned: Mapping[str, Any] | None = None
    """What `pilot` measured; its rules are already in `train`."""
    trainer_args: Mapping[str, Any] = field(default_factory=dict)
    cluster: Cluster
    cap: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_tuned(self) -> bool:
        """Whether the rules were published, or a pilot found them, each best value between two that were tried."""
        if self.train.settled:
            return True
        return self.tuned is not None and all(size.get("bracketed", True) for size in self.tuned["evidence"])

    @property
    def built_in(self) -> bool:
        """Whether the project's own trainer runs."""
        return self.trainer == BUILT_IN_TRAINER
