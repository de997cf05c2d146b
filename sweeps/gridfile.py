"""grid.yaml, read strictly into a Grid.

Paths in a grid are relative to the folder that the command runs in. A trainer's module is looked for beside the
grid first, then among the installed packages.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeVar

from scaling.errors import InputError
from scaling.records import BUILT_IN_TRAINER
from scaling.shape import Shape
from scaling.speech import OBJECTIVES
from scaling.units import parse_count
from sweeps.grid import Grid, ModelGrid, ReferenceBudget
from sweeps.gridcluster import read_cap, read_cluster
from sweeps.gridmodel import read_model, read_shape
from sweeps.gridprobes import read_probes
from sweeps.gridtrain import read_objective_args, read_targets, read_train
from sweeps.yamlfile import (
    Section,
    flag,
    mapping,
    number,
    one_of,
    read_yaml,
    seed,
    several,
    text,
    whole,
)

T = TypeVar("T")

TUNED = ("peak_lr", "batch")
"""Rules that a pilot finds."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def load_grid(path: Path) -> Grid:
    """Return the grid in a file.

    Raises:
        InputError: For anything that is not as `docs/formats.md` says, with the line, the value and the remedy.
    """
    top = read_yaml(path)
    trainer = top.take("trainer", _trainer, BUILT_IN_TRAINER)
    built_in = trainer == BUILT_IN_TRAINER
    if isinstance(top.values.get("corpus"), str):
        raise InputError(
            "a corpus is named by its path",
            where=top.where("corpus"),
            value=top.values["corpus"],
            remedy=f"write corpus: {{path: {top.values['corpus']}}}",
        )
    corpus = top.section("corpus")
    tuned = _tuned(top)
    model = read_model(top.section("model"), built_in, top)
    budgets = top.take("budgets", several(lambda value, where: _budget(value, where, model)), ())
    data_hours = _data_hours(top.section("data"))
    steps = top.take("steps", several(whole), ())
    objectives = top.take("objective", several(one_of(*OBJECTIVES) if built_in else text), OBJECTIVES[:1])
    made, settings = top.section("targets"), top.section("objective_args")
    targets, teacher = read_targets(made, objectives) if built_in else ({}, None)
    probes, probes_corpus = read_probes(top)
    grid = Grid(
        name=top.take("name", _name, path.stem),
        file=path,
        trainer=trainer,
        objectives=objectives,
        corpus=_corpus(corpus) if corpus else None,
        model=model,
        unique_hours=top.take("unique_hours", several(number), ()),
        seeds=top.take("seeds", _seeds, (0,)),
        max_epochs=top.take("max_epochs", number, None),
        min_updates=top.take("min_updates", whole, 500 if built_in else 1),
        allow_short=top.take("allow_short", flag, False),
        train=read_train(top, tuned),
        targets=targets,
        teacher=teacher,
        objective_args=read_objective_args(settings, objectives) if built_in else {},
        probes=probes,
        probes_corpus=probes_corpus,
        tuned=tuned,
        trainer_args=top.take("trainer_args", mapping, {}),
        cluster=read_cluster(top.section("cluster")),
        cap=read_cap(top.section("cap")),
        budgets=budgets,
        data_hours=data_hours,
        steps=steps,
    )
    top.done()
    for key in ("train", "targets", "tuned", "objective_args", "recipe", "probes"):
        if not built_in and key in top:
            raise InputError(
                f"{key} sets the built-in trainer, and another trains here",
                where=top.where(key),
                value=trainer,
                remedy="give your trainer's settings under trainer_args",
            )
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
    if "specaugment" in grid.train.augment and model.frontend != "logmel":
        raise InputError(
            "SpecAugment masks log-Mel features, and the front end reads the waveform",
            where=top.where("train"),
            value=model.frontend,
            remedy="use model.frontend: logmel, or augment: {speed: [0.9, 1.1], noise: {}}",
        )
    if grid.max_epochs and not grid.unique_hours:
        raise InputError(
            "max_epochs counts passes over unique_hours, and they are not given",
            where=top.where("max_epochs"),
            remedy="add unique_hours: [10], the hours of distinct audio",
        )
    return grid


def _tuned(top: Section) -> dict[str, Any] | None:
    """Return the pilot's rules, written here or in a file beside the grid."""
    if isinstance(top.values.get("tuned"), str):
        file = top.file.parent / top.take("tuned", text)
        if not file.is_file():
            raise InputError(
                "no such file beside the grid",
                where=top.where("tuned"),
                value=top.values["tuned"],
                remedy="`scaling-sweep pilot` writes it; or leave tuned away",
            )
        section: Section | None = read_yaml(file)
    else:
        section = top.section("tuned")
    if section is None:
        return None
    rules: dict[str, Any] = {key: section.take(key, lambda rule, _: rule) for key in TUNED}
    rules["evidence"] = [row.values for row in section.rows("evidence")]
    section.done()
    return rules


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
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", name):
        raise InputError(
            "a trainer is named package.module:function",
            where=where,
            value=value,
            remedy="write my_module:train",
        )
    return name


def _seeds(value: Any, where: str) -> tuple[int, ...]:
    """Return a list of seeds; a bare number may mean one seed or so many of them, so it is refused."""
    if not isinstance(value, list):
        count = value if isinstance(value, int) and 0 < value < 100 else 3
        raise InputError(
            "seeds are a list",
            where=where,
            value=value,
            remedy=f"write [{value}] for one seed, {list(range(count))} for {count}",
        )
    return several(seed)(value, where)


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


def _budget(value: Any, where: str, model: ModelGrid) -> float | ReferenceBudget:
    """Return FLOPs, or a reference run {steps: 400000, of: {layers: ..., ...}}."""
    if not isinstance(value, dict):
        return parse_count(value, where=where)
    remedy = "write {steps: 400000, of: {layers: 12, width: 384, ffn: 768, heads: 8}}"
    if set(value) != {"steps", "of"}:
        raise InputError("a reference run has the keys steps and of", where=where, value=value, remedy=remedy)
    shape = read_shape(mapping(value["of"], where), model.frontend, model.position, where)
    return ReferenceBudget(steps=whole(value["steps"], where), of=Shape.from_dict(shape), where=where)
