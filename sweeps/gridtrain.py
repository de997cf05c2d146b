"""The `train`, `targets` and `objective_args` sections of a grid file: how the built-in trainer trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from scaling.errors import InputError, did_you_mean
from scaling.shape import FRAMES_PER_SECOND
from scaling.speech.catalogue import CATALOGUE
from scaling.speech.schedule import SCHEDULES
from scaling.units import parse_count
from sweeps.grid import TrainSettings
from sweeps.recipes import RECIPES
from sweeps.rules import LearningRate, parse_batch, parse_learning_rate
from sweeps.yamlfile import Section, flag, number, one_of, real, seed, share, text, whole

T = TypeVar("T")

PRECISIONS = ("fp32", "tf32", "bf16")
INITIAL = ("default", "study")


def read_train(top: Section, tuned: Mapping[str, Any] | None) -> TrainSettings:
    """Return how runs train: the recipe's defaults, what the section says, what the pilot tuned.

    Raises:
        InputError: For settings without sense, and for a rule that is given here and by the pilot.
    """
    name = top.take("recipe", one_of(*RECIPES), "default")
    recipe = RECIPES[name]
    section = top.section("train") or Section({}, {}, top.file, "train.")
    crop = section.take("crop_seconds", number, recipe.crop_seconds)
    frames = crop * FRAMES_PER_SECOND
    if round(frames) < 1 or abs(round(frames) - frames) > 1e-6:
        raise InputError(
            "not a whole number of frames of 20 ms",
            where=section.where("crop_seconds"),
            value=crop,
            remedy=f"write {max(1, round(frames)) / FRAMES_PER_SECOND:g}",
        )
    rates = _either(top, section, "peak_lr", _rates, tuned, (recipe.peak_lr, recipe.peak_lr_of))
    if rates[1]:  # objectives that the grid does not name keep the recipe's
        rates = (recipe.peak_lr, {**recipe.peak_lr_of, **rates[1]})
    settings = TrainSettings(
        recipe=name,
        settled=name == "study" and tuned is None and "peak_lr" not in section and "batch" not in section,
        batch=_either(top, section, "batch", parse_batch, tuned, recipe.batch),
        peak_lr=rates[0],
        peak_lr_of=rates[1],
        crop_seconds=crop,
        warmup=section.take("warmup", _warmup, recipe.warmup),
        schedule=section.take("schedule", one_of(*SCHEDULES), recipe.schedule),
        share_trunk=section.take("share_trunk", flag, False),
        precision=section.take("precision", one_of(*PRECISIONS), "fp32"),
        weight_decay=section.take("weight_decay", share, recipe.weight_decay),
        clip=section.take("clip", number, recipe.clip),
        dropout=section.take("dropout", share, recipe.dropout),
        layer_drop=section.take("layer_drop", share, recipe.layer_drop),
        mask_prob=section.take("mask_prob", share, None),
        mask_length=section.take("mask_length", whole, 10),
        join=section.take("join", flag, recipe.join),
        augment=read_augment(section.section("augment")),
        penalty=section.take("penalty", _from_zero, recipe.penalty),
        feature_grad=section.take("feature_grad", _from_zero, recipe.feature_grad),
        initial=section.take("initial", one_of(*INITIAL), recipe.initial),
        large={key: value for key, value in recipe.large.items() if key not in section},
        head=recipe.head,
        large_head=recipe.large_head,
        group_seconds=recipe.group_seconds,
        eval_hours=section.take("eval_hours", number, 0.25),
    )
    section.done()
    _check(settings, section)
    return settings


def _check(settings: TrainSettings, section: Section) -> None:
    """Refuse settings that make no sense together."""
    frames = round(settings.crop_seconds * FRAMES_PER_SECOND)
    if settings.mask_prob == 0 or settings.mask_length > frames:
        key = "mask_prob" if settings.mask_prob == 0 else "mask_length"
        raise InputError(
            f"nothing sensible is masked in crops of {frames} frames",
            where=section.where(key),
            value=getattr(settings, key),
            remedy="HuBERT's are mask_prob: 0.8, mask_length: 10",
        )
    if not settings.batch.exponent and settings.batch.value < settings.crop_seconds:
        raise InputError(
            f"a batch that cannot hold one crop of {settings.crop_seconds:g} s",
            where=section.where("batch"),
            value=settings.batch.value,
            remedy="use a larger batch, or a smaller train.crop_seconds",
        )
    if settings.share_trunk and (settings.schedule != "wsd" or settings.batch.exponent):
        why = "schedule: wsd" if settings.schedule != "wsd" else "a batch in seconds, the same for all budgets"
        raise InputError(
            "budgets share their first steps only where those are the same",
            where=section.where("share_trunk"),
            value=True,
            remedy=f"use {why}",
        )


def read_targets(section: Section | None, objectives: tuple[str, ...]) -> tuple[dict[str, dict[str, Any]], Path | None]:
    """Return objective -> how its targets are made, and the folder of the teacher of HuBERT's second iteration.

    Raises:
        InputError: For a setting that none of the objectives has.
    """
    parsers: dict[str, Callable[[Any, str], Any]] = {
        "clusters": _classes,
        "codes": _classes,
        "fit_hours": number,
        "seed": seed,
        "dim": whole,
        "normalise": flag,
    }
    known = {name: dict(CATALOGUE[name].targets) for name in objectives}
    section = section or Section({}, {}, Path(), "targets.")
    given = {
        key: section.take(key, parse, None)
        for key, parse in parsers.items()
        if any(key in targets for targets in known.values())
    }
    teacher = layer = None
    if "hubert" in known:
        teacher, layer = section.take("teacher", text, None), section.take("layer", whole, None)
        if (teacher is None) != (layer is None):
            raise InputError(
                "a second iteration needs a run and one of its layers",
                where=section.where("teacher" if teacher else "layer"),
                remedy="write {teacher: results/SWEEP/runs/ID, layer: 6, clusters: 500}",
            )
    section.done()
    for targets in known.values():
        targets.update({key: value for key, value in given.items() if value is not None and key in targets})
    if teacher is not None:
        known["hubert"] |= {"kind": "layer-kmeans", "layer": layer}
    return known, Path(teacher) if teacher else None


def read_objective_args(section: Section | None, objectives: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return objective -> the settings that are given for it.

    Raises:
        InputError: For an objective that is not swept, or a setting that it does not have.
    """
    found: dict[str, dict[str, Any]] = {}
    if section is None:
        return found
    for name in objectives:
        of_one = section.section(name)
        if of_one is None:
            continue
        settings = {}
        for key, default in CATALOGUE[name].settings.items():
            parse: Callable[[Any, str], Any] = number if isinstance(default, float) else whole
            settings[key] = of_one.take(key, _three if isinstance(default, list) else parse, None)
        for key in CATALOGUE[name].targets:
            if key in of_one and key not in CATALOGUE[name].settings:
                raise InputError(
                    "how targets are made is said under targets",
                    where=of_one.where(key),
                    value=of_one.values[key],
                    remedy=f"write targets: {{{key}: {of_one.values[key]}}}",
                )
        of_one.done()
        found[name] = {key: value for key, value in settings.items() if value is not None}
    section.done()
    return found


def read_augment(section: Section | None) -> dict[str, Any]:
    """Return the augmentation that is asked for, empty for none.

    Raises:
        InputError: For an interval or a share without sense.
    """
    if section is None:
        return {}
    found: dict[str, Any] = {}
    if (speed := section.take("speed", _interval, None)) is not None:
        found["speed"] = speed
    noise = section.section("noise")
    if noise is not None:
        found["noise"] = {
            "snr_db": noise.take("snr_db", _interval_of_reals, [5.0, 25.0]),
            "share": noise.take("share", _up_to_one, 0.5),
            "kind": noise.take("kind", one_of("white", "speech"), "white"),
        }
        noise.done()
    masks = section.section("specaugment")
    if masks is not None:
        defaults = {"time": 2, "time_width": 20, "frequency": 2, "frequency_width": 8}
        found["specaugment"] = {key: masks.take(key, seed, value) for key, value in defaults.items()}
        masks.done()
    section.done()
    return found


def _either(
    top: Section,
    section: Section,
    key: str,
    parse: Callable[[Any, str], T],
    tuned: Mapping[str, Any] | None,
    default: T,
) -> T:
    """Return a rule from the grid or from what the pilot tuned, refusing both."""
    written = section.take(key, parse, None)
    if tuned is None:
        return default if written is None else written
    if written is not None:
        raise InputError(
            f"{key} is given here and by tuned",
            where=section.where(key),
            remedy="keep one: the pilot's value under tuned, or yours under train without tuned",
        )
    return parse(tuned[key], top.where(f"tuned.{key}"))


def _rates(value: Any, where: str) -> tuple[LearningRate, Mapping[str, LearningRate]]:
    """Return a rule for all objectives, and those of some: {hubert: RULE, wav2vec2: RULE}."""
    if isinstance(value, dict) and set(value) & set(CATALOGUE):
        for key in value:
            if key not in CATALOGUE:
                raise InputError("no such objective", where=where, value=key, remedy=did_you_mean(key, CATALOGUE))
        rules = {name: parse_learning_rate(rule, f"{where}.{name}") for name, rule in value.items()}
        return next(iter(rules.values())), rules
    return parse_learning_rate(value, where), {}


def _warmup(value: Any, where: str) -> float:
    """Return a share of the run, or a whole number of updates."""
    result = real(value, where) if not isinstance(value, str) else parse_count(value, where=where)
    if result < 0 or (result >= 1 and result != int(result)):
        raise InputError(
            "neither a share of the run nor a number of updates",
            where=where,
            value=value,
            remedy="write 0.08, or 32000 for so many updates",
        )
    return result


def _classes(value: Any, where: str) -> int:
    classes = whole(value, where)
    if not 2 <= classes <= 65_536:
        raise InputError("not a number of classes", where=where, value=value, remedy="write 2 to 65536, such as 100")
    return classes


def _from_zero(value: Any, where: str) -> float:
    result = real(value, where)
    if result < 0:
        raise InputError("negative", where=where, value=value, remedy="write 0 or more")
    return result


def _up_to_one(value: Any, where: str) -> float:
    return 1.0 if real(value, where) == 1 else share(value, where)


def _three(value: Any, where: str) -> list[float]:
    """Return three numbers, such as first and last temperature and the share of the run between them."""
    if not isinstance(value, list) or len(value) != 3:
        raise InputError("not three numbers", where=where, value=value, remedy="write [2.0, 0.5, 0.69]")
    return [number(item, where) for item in value]


def _interval_of_reals(value: Any, where: str) -> list[float]:
    if not isinstance(value, list) or len(value) != 2:
        raise InputError("not two numbers", where=where, value=value, remedy="write [lowest, highest]")
    low, high = (real(item, where) for item in value)
    if low > high:
        raise InputError("the lowest is above the highest", where=where, value=value, remedy=f"write [{high}, {low}]")
    return [low, high]


def _interval(value: Any, where: str) -> list[float]:
    """Return an interval of factors around 1."""
    low, high = _interval_of_reals(value, where)
    if not 0.5 <= low <= high <= 2:
        raise InputError("not factors of speed", where=where, value=value, remedy="write [0.9, 1.1]")
    return [low, high]
