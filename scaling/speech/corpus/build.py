"""Making a corpus: shards in any order by several processes, each whole or absent, then one seal.

A shard is done when its JSON exists (it is written after the samples), so a build that was killed goes on where
it stopped. The seal reads the shards in order, drops what a corpus must not hold twice, and writes the manifest.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from scaling.errors import InputError, WorkError
from scaling.files import atomic_file, read_json, write_json
from scaling.progress import progress
from scaling.shape import SAMPLE_RATE
from scaling.speech.corpus.store import (
    MANIFEST,
    ROW,
    SCHEMA,
    SPEAKERS,
    TABLE,
    TRIALS,
    Corpus,
    file_sha256,
    manifest_hash,
)

SPLITS = ("train", "held_out")


@dataclass(kw_only=True)
class Utterance:
    """One stretch of speech by one speaker."""

    samples: np.ndarray
    """int16 at 16 kHz."""
    speaker: str
    text: str = ""
    phones: list[list[Any]] = field(default_factory=list)
    """[first sample, name]."""
    source: str = ""


@dataclass(kw_only=True)
class Shard:
    """What a maker returns for one shard."""

    utterances: list[Utterance]
    excluded: list[dict[str, str]] = field(default_factory=list)
    """{file, reason} of what could not be used."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a corpus is made: enough to make it again, and to tell whether a folder holds the same one."""

    settings: dict[str, Any]
    """Plain values; they go into the manifest."""
    make: Callable[[dict[str, Any], str, int, Any], Shard]
    """(settings, split, number, input) -> shard. A function of a module, run in another process."""
    inputs: dict[str, list[Any]] | None = None
    """Split -> what each of its shards is made from; None makes shards until the hours are reached."""
    hours: dict[str, float] | None = None
    """Split -> hours it is cut to; None keeps all."""
    distinct_text: bool
    """Whether a text that comes twice is dropped the second time."""
    trials: list[tuple[str, str, bool]] | None = None
    """(source of an utterance, of another, whether one speaker speaks in both), kept with the corpus."""


def build(folder: Path, recipe: Recipe, *, workers: int | None = None) -> Corpus:
    """Make a corpus in a folder, or go on with one that was begun, and return it.

    Raises:
        InputError: When the folder holds another corpus, or nothing usable comes of the recipe.
        WorkError: When a shard could not be made.
    """
    if (folder / MANIFEST).exists() or (folder / "recipe.json").exists():
        _same_recipe(folder, recipe)
    elif folder.exists() and any(folder.iterdir()):
        raise InputError("a folder that is not empty", where=folder, remedy="name a new folder for the corpus")
    if (folder / MANIFEST).exists():
        return Corpus(folder)
    write_json(folder / "recipe.json", recipe.settings)
    made = _make_shards(folder, recipe, workers or os.cpu_count() or 1)
    return _seal(folder, recipe, made)


def shard_folder(folder: Path) -> Path:
    """Return where the shards of a corpus lie."""
    return folder / "shards"


def _same_recipe(folder: Path, recipe: Recipe) -> None:
    before = read_json(folder / "recipe.json")
    if before == recipe.settings:
        return
    changed = sorted(k for k in {*before, *recipe.settings} if before.get(k) != recipe.settings.get(k))
    raise InputError(
        "another corpus is in this folder; different: " + ", ".join(changed),
        where=folder,
        value={key: before.get(key) for key in changed},
        remedy="name a new folder, or repeat the settings it was begun with",
    )


def _make_shards(folder: Path, recipe: Recipe, workers: int) -> dict[str, int]:
    """Make shards until every split has its hours; return how many each split has."""
    context = multiprocessing.get_context("spawn")
    if recipe.hours is not None:
        total, unit = sum(recipe.hours.values()), "h"
    else:
        total, unit = float(sum(len(inputs) for inputs in (recipe.inputs or {}).values())), "shards"
    made: dict[str, int] = {}
    before = 0.0
    with (
        progress("corpus", total, unit) as show,
        ProcessPoolExecutor(workers, mp_context=context, initializer=_ignore_interrupt) as pool,
    ):
        try:
            for split in SPLITS:
                wanted = recipe.hours[split] if recipe.hours else float("inf")
                hours = 0.0
                for number, shard_hours in enumerate(_in_order(pool, folder, recipe, split, 2 * workers)):
                    hours += shard_hours
                    made[split] = number + 1
                    show(before + min(hours, wanted) if recipe.hours else sum(made.values()))
                    if hours >= wanted * 1.02:  # repeated texts are dropped by the seal
                        break
                before += min(hours, wanted)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown(wait=True, cancel_futures=True)
    return made


def _in_order(pool: ProcessPoolExecutor, folder: Path, recipe: Recipe, split: str, ahead: int) -> Iterator[float]:
    """Yield the hours of each shard of a split in order, making up to `ahead` shards beside each other."""
    limit = None if recipe.inputs is None else len(recipe.inputs[split])
    pending: dict[Future[float], int] = {}
    finished: dict[int, float] = {}
    submitted = yielded = 0
    while limit is None or yielded < limit:
        while len(pending) < ahead and (limit is None or submitted < limit):
            given = recipe.inputs[split][submitted] if recipe.inputs else None
            task = pool.submit(_make_shard, folder, recipe.make, recipe.settings, split, submitted, given)
            pending[task] = submitted
            submitted += 1
        for task in wait(pending, return_when=FIRST_COMPLETED).done:
            number = pending.pop(task)
            try:
                finished[number] = task.result()
            except (OSError, RuntimeError) as error:
                message = f"shard {split}-{number:05d} could not be made: {error}"
                raise WorkError(message) from error
        while yielded in finished:
            yield finished.pop(yielded)
            yielded += 1


def _make_shard(
    folder: Path,
    make: Callable[[dict[str, Any], str, int, Any], Shard],
    settings: dict[str, Any],
    split: str,
    number: int,
    given: Any,
) -> float:
    """Make one shard unless it exists; return its hours."""
    path = shard_folder(folder) / f"{split}-{number:05d}.i16"
    details = path.with_suffix(".json")
    if not details.exists():
        shard = make(settings, split, number, given)
        rows = [
            {
                "samples": len(u.samples),
                "speaker": u.speaker,
                "text": u.text,
                "phones": u.phones,
                "source": u.source,
            }
            for u in shard.utterances
        ]
        digest = hashlib.sha256()
        with atomic_file(path) as file:
            for utterance in shard.utterances:
                data = utterance.samples.astype("<i2", copy=False).tobytes()
                digest.update(data)
                file.write(data)
        about = {"sha256": digest.hexdigest(), "utterances": rows, "excluded": shard.excluded}
        write_json(details, about, indent=None)
    return sum(row["samples"] for row in read_json(details)["utterances"]) / SAMPLE_RATE / 3600


def _seal(folder: Path, recipe: Recipe, made: dict[str, int]) -> Corpus:
    """Write table, speakers and manifest over the shards that were made."""
    shards: list[dict[str, Any]] = []
    rows: list[tuple[int, int, int, int, bool, int]] = []
    speakers: dict[str, int] = {}
    texts: set[str] = set()
    excluded: list[dict[str, str]] = []
    numbers: dict[str, int] = {}
    for split in SPLITS:
        left = recipe.hours[split] * 3600 * SAMPLE_RATE if recipe.hours else np.inf
        for number in range(made.get(split, 0)):
            name = f"{split}-{number:05d}"
            details = read_json(shard_folder(folder) / f"{name}.json")
            excluded += details["excluded"]
            start = 0
            for utterance in details["utterances"]:
                repeated = recipe.distinct_text and utterance["text"] in texts
                if left > 0 and not repeated:
                    texts.add(utterance["text"])
                    numbers[utterance["source"]] = len(rows)
                    speaker = speakers.setdefault(utterance["speaker"], len(speakers))
                    rows.append((len(shards), start, utterance["samples"], speaker, split == "held_out", 0))
                    left -= utterance["samples"]
                start += utterance["samples"]
            shards.append({"name": name, "samples": start, "sha256": details["sha256"]})
    table = np.array(rows, dtype=ROW)
    for held_out in (False, True):
        if not (table["held_out"] == held_out).any():
            reasons = "; ".join(f"{e['file']}: {e['reason']}" for e in excluded[:3])
            raise InputError(
                f"no usable {'held-out' if held_out else 'training'} audio",
                where=folder,
                value=reasons or "none",
                remedy="give more audio: at least two files, in wav or flac",
            )
    order = np.random.default_rng(recipe.settings["seed"]).permutation(len(table))
    table["rank"] = np.argsort(order)
    with atomic_file(folder / TABLE) as file:
        np.save(file, table, allow_pickle=False)
    write_json(folder / SPEAKERS, list(speakers))
    checksum = file_sha256(folder / TABLE)
    trials = None if recipe.trials is None else _write_trials(folder, recipe.trials, numbers, excluded)
    hours = {h: float(table["samples"][table["held_out"] == h].sum()) / SAMPLE_RATE / 3600 for h in (False, True)}
    manifest = {
        "schema": SCHEMA,
        "recipe": recipe.settings,
        "sample_rate": SAMPLE_RATE,
        "hours": hours[False],
        "held_out_hours": hours[True],
        "utterances": int((~table["held_out"]).sum()),
        "held_out_utterances": int(table["held_out"].sum()),
        "speakers": len(speakers),
        "excluded": excluded,
        "shards": shards,
        "table_sha256": checksum,
        **(trials or {}),
        "hash": manifest_hash(shards, checksum, trials["trials_sha256"] if trials else None),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    write_json(folder / MANIFEST, manifest)
    for path in shard_folder(folder).iterdir():  # shards made ahead, beyond the hours asked for
        if path.stem not in {shard["name"] for shard in shards}:
            path.unlink()
    return Corpus(folder)


def _write_trials(
    folder: Path, trials: list[tuple[str, str, bool]], numbers: dict[str, int], excluded: list[dict[str, str]]
) -> dict[str, Any]:
    """Write the trials whose utterances are in the corpus, as their numbers; return what the manifest says of them."""
    kept = [[numbers[a], numbers[b], same] for a, b, same in trials if a in numbers and b in numbers]
    if {same for _, _, same in kept} != {True, False}:
        raise InputError(
            "a verification needs trials of one speaker and of two",
            where=folder,
            value=f"{len(kept)} usable trials of {len(trials)}",
            remedy="look at the files that could not be read, and at the list of trials",
        )
    if lost := len(trials) - len(kept):
        excluded.append({"file": TRIALS, "reason": f"{lost} trials of {len(trials)}, whose audio could not be used"})
    write_json(folder / TRIALS, kept, indent=None)
    return {"trials": len(kept), "trials_sha256": file_sha256(folder / TRIALS)}


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the parent, which cancels what has not begun."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
