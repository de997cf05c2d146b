"""What a run is (RunSpec) and what came of it (RunRecord): the contract between sweeps, trainers and fits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from scaling.cost import Cost
from scaling.errors import InputError
from scaling.files import plain, read_json
from scaling.shape import FRAMES_PER_SECOND

SCHEMA = 1
BUILT_IN_TRAINER = "scaling.speech:train"

_NOT_SCIENCE = ("sweep", "where", "flags", "parent", "branches", "execution", "probes")
_ABSENT_WHEN_EMPTY = ("objective_args",)
"""Fields that came later: an empty one leaves the identity as it was."""


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One point of a sweep, fully resolved: what its identity hashes, and nothing about resources.

    Example:
        >>> spec = RunSpec(model={"size": 1000}, updates=10)
        >>> len(spec.id), spec.id == RunSpec(model={"size": 1000}, updates=10, sweep="other").id
        (16, True)
    """

    schema: int = SCHEMA
    trainer: str = BUILT_IN_TRAINER
    """`package.module:function`."""
    objective: str = ""
    objective_args: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the objective: width of its head, codes, negatives."""
    model: Mapping[str, Any]
    """The built-in trainer's Shape; another trainer's own description, such as {"size": 1000}."""
    corpus: Mapping[str, Any] = field(default_factory=dict)
    """`hash` of the corpus's manifest and `unique_hours` of it; empty for a trainer without a corpus."""
    targets: Mapping[str, Any] = field(default_factory=dict)
    """How the training targets are made."""
    train: Mapping[str, Any] = field(default_factory=dict)
    """Batch, crop, learning rate, schedule, precision."""
    updates: int
    """Optimiser steps."""
    budget: float | None = None
    """Training FLOPs that `updates` was planned to meet."""
    seed: int = 0
    threads: int = 1
    """CPU threads; one against two changes a loss in the seventh digit."""
    trainer_args: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a trainer that is not built in."""
    sweep: str = ""
    """Name of the sweep. Not part of the identity."""
    where: Mapping[str, str] = field(default_factory=dict)
    """Places on this machine, such as the corpus's folder. Not part of the identity."""
    flags: tuple[str, ...] = ()
    """What a plan says of the point (short, untuned). Not part of the identity."""
    parent: Mapping[str, Any] = field(default_factory=dict)
    """{id, step} of the run whose state at a step this one may start from, since their first steps are the same.
    Not part of the identity: trained from the beginning it would end the same."""
    branches: tuple[int, ...] = ()
    """Steps whose state other runs start from. Not part of the identity."""
    execution: Mapping[str, Any] = field(default_factory=dict)
    """How it is run: micro-batch, compile, sharding. Results agree to rounding, so not part of the identity."""
    probes: Mapping[str, Any] = field(default_factory=dict)
    """What the finished encoder is judged by besides its loss. Not part of the identity: training does not see it."""

    @property
    def science(self) -> dict[str, Any]:
        """All that decides the result, as plain values."""
        return {
            key: value
            for key, value in self.to_dict().items()
            if key not in _NOT_SCIENCE and (value or key not in _ABSENT_WHEN_EMPTY)
        }

    @cached_property
    def id(self) -> str:
        """Sixteen hex digits of the SHA-256 of the canonical JSON of `science`."""
        return _hash(self.science)

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as plain values."""
        return {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunSpec:
        """Return the spec that `to_dict` wrote."""
        known = cls.__dataclass_fields__
        values = {key: value for key, value in values.items() if key in known}
        return cls(**{**values, **{key: tuple(values.get(key, ())) for key in ("flags", "branches")}})


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What came of a run. Written once, never changed; see DESIGN in docs/formats.md for the columns."""

    schema: int = SCHEMA
    id: str
    sweep: str = ""
    status: str
    """`completed` or `diverged`."""
    flags: tuple[str, ...] = ()
    spec: Mapping[str, Any]
    params: float
    """N: front end + encoder."""
    params_frontend: float | None = None
    params_encoder: float | None = None
    params_head: float | None = None
    params_total: float | None = None
    flops_per_frame: float | None = None
    """Training FLOPs a frame."""
    frames: float
    """D: units of data seen; for speech, encoder frames (50 a second)."""
    hours: float | None = None
    unique_hours: float | None = None
    epochs: float | None = None
    budget: float | None = None
    flops: float
    """C: training FLOPs really spent."""
    flops_total: float | None = None
    """C plus what made the targets: teacher, labelling, clusters."""
    flops_new: float | None = None
    """The part of C that this run spent itself; the rest was spent by its parent."""
    parent: str = ""
    """Id of the run from whose state this one started."""
    updates: int
    batch_frames: float
    eval_id: str = ""
    """What makes two losses comparable; the trainer's name where it says nothing."""
    loss: float | None
    """L; null when the run diverged."""
    loss_unit: str = "nats"
    loss_se: float | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    probe_id: str = ""
    """What makes two downstream metrics comparable: how the encoder was probed. Empty where it was not."""
    curve: list[list[float]] = field(default_factory=list)
    """[FLOPs, training loss averaged since the last point]."""
    reason: str = ""
    """Why the run diverged."""
    seconds: float | None = None
    device: str = ""
    attempts: int | None = None
    """How often it was begun or taken up again."""
    seconds_spent: float | None = None
    """Time of all attempts, start-up and work done twice included; `seconds` is that of the training."""
    steps_repeated: int | None = None
    """Steps that were taken again, since they came after the last checkpoint of an attempt that died."""
    execution: list[dict[str, Any]] = field(default_factory=list)
    """How it ran, from which step on: processes, crops a pass, compiled, sharded."""
    versions: Mapping[str, str] = field(default_factory=dict)
    started: str = ""
    finished: str = ""

    @classmethod
    def of(cls, spec: RunSpec, cost: Cost, *, loss: float | None, **others: Any) -> RunRecord:
        """Return the record of a whole run, its D and C worked out from the cost of a step.

        Args:
            spec: The run.
            cost: Its cost a step.
            loss: Validation loss, None if the run diverged.
            **others: Any further field; it overrides what is worked out here.
        """
        updates = others.pop("updates", spec.updates)
        frames = updates * cost.frames_per_step
        speech = bool(spec.corpus)
        hours = frames / FRAMES_PER_SECOND / 3600 if speech else None
        unique = spec.corpus.get("unique_hours")
        flops = updates * cost.flops_per_step
        parts = cost.params_by_part or {}
        head = parts.get("head")
        values: dict[str, Any] = {
            "id": spec.id,
            "sweep": spec.sweep,
            "status": "diverged" if loss is None else "completed",
            "flags": spec.flags,
            "spec": spec.science,
            "params": cost.params,
            "params_frontend": parts.get("frontend"),
            "params_encoder": cost.params - parts["frontend"] if "frontend" in parts else None,
            "params_head": head,
            "params_total": cost.params + head if head is not None else None,
            "flops_per_frame": cost.flops_per_step / cost.frames_per_step,
            "frames": frames,
            "hours": hours,
            "unique_hours": unique,
            "epochs": hours / unique if hours is not None and unique else None,
            "budget": spec.budget,
            "flops": flops,
            "flops_total": flops,
            "flops_new": flops,
            "eval_id": spec.trainer,
            "updates": updates,
            "batch_frames": cost.frames_per_step,
            "loss": loss,
        }
        return cls(**{**values, **others})

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain values."""
        return {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, where: object = None) -> RunRecord:
        """Return the record that a mapping holds; keys of later schemas are passed over.

        Raises:
            InputError: When the mapping is not a run record.
        """
        known = cls.__dataclass_fields__
        try:
            kept = {key: value for key, value in values.items() if key in known}
            record = cls(**{**kept, "flags": tuple(kept.get("flags", ()))})
        except (TypeError, AttributeError) as error:
            raise InputError(
                f"not a run record ({error})",
                where=where,
                remedy="move files of other programs out of records/",
            ) from None
        if not isinstance(record.spec, Mapping) or not isinstance(record.metrics, Mapping):
            raise InputError("not a run record: its spec and metrics are no mappings", where=where)
        if record.status not in ("completed", "diverged"):
            raise InputError("not a run record: its status is unknown", where=where, value=record.status)
        return record

    @classmethod
    def read(cls, path: Path) -> RunRecord:
        """Return the record in a file."""
        values = read_json(path, finite=True)
        if not isinstance(values, dict):
            raise InputError("not a run record", where=path, remedy="move it out of records/")
        return cls.from_dict(values, where=path)


def content_hash(value: Any, digits: int = 16) -> str:
    """Return hex digits of the SHA-256 of a value's canonical JSON (sorted keys, no spaces, no NaN)."""
    return _hash(plain(value), digits)


def _hash(value: Any, digits: int = 16) -> str:
    """Return the hash of a value that is plain already."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
