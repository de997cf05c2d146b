"""`scaling-sweep probe`: finished encoders judged by what they are good for, beside random ones and raw features."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scaling.errors import InputError, WorkError
from scaling.speech.probes.catalogue import METRICS, SE, ProbeSettings
from scaling.tables import format_table
from scaling.units import format_count, format_flops
from sweeps.folder import SweepFolder
from sweeps.outputs import find_run

if TYPE_CHECKING:
    from scaling.speech.corpus.store import Corpus
    from scaling.speech.reading import Source

RAW, RANDOM = "raw", "random"
"""Baselines: the log-Mel features themselves; the encoder before training. No metric takes them for a floor."""
NAMED = "name results/SWEEP, or results/SWEEP/runs/ID"


@dataclass(frozen=True, kw_only=True)
class Probing:
    """One encoder to probe."""

    name: str
    file: Path
    """Where its scores are kept."""
    folder: Path
    """Its run's folder."""
    kind: str = ""
    """Empty for a trained encoder; RAW or RANDOM."""
    about: tuple[str, ...] = ("", "", "")
    """Objective, N and budget, for the table."""


Work = tuple[Probing, ProbeSettings, Path]
"""An encoder, how to probe it, and its labelled corpus."""


def find_probings(names: list[str], *, baselines: bool) -> list[Probing]:
    """Return what to probe: the finished runs of sweeps, or single runs; with their baselines where asked for.

    Raises:
        InputError: When a sweep or a run is not there.
    """
    found: list[Probing] = []
    for name in names:
        for folder, run_id in _runs(name):
            record = folder.record(run_id)
            about = ("", "", "")
            if record is not None:
                budget = format_flops(record.budget or record.flops)
                about = (str(record.spec.get("objective", "")), format_count(record.params), budget)
            path = folder.run(run_id)
            found.append(Probing(name=run_id, file=folder.scores_file(run_id), folder=path, about=about))
            if baselines:
                file = folder.scores_file(f"{RANDOM}-{run_id}")
                found.append(Probing(name=run_id, file=file, folder=path, kind=RANDOM, about=about))
        if baselines:
            found.append(Probing(name=RAW, file=folder.scores_file(RAW), folder=path, kind=RAW))
    return list({one.file: one for one in found}.values())  # a sweep named twice, or several of its runs


def _runs(name: str) -> Iterator[tuple[SweepFolder, str]]:
    """Yield the finished runs of a sweep, or the one run that is named."""
    try:
        folder = SweepFolder.find(name)
    except InputError:
        try:
            path = find_run(name)
        except InputError:
            raise InputError("neither a sweep nor a run", where="SWEEP", value=name, remedy=NAMED) from None
        if path.parent.name != "runs":
            raise InputError("not a run's folder", where="SWEEP", value=name, remedy=NAMED) from None
        yield SweepFolder(path.parent.parent), path.name
        return
    done = [run_id for run_id in folder.record_ids() if _completed(folder, run_id)]
    if not done:
        message = f"{folder.path}: no run has ended well yet"
        raise WorkError(message)
    yield from ((folder, run_id) for run_id in done)


def _completed(folder: SweepFolder, run_id: str) -> bool:
    record = folder.record(run_id)
    return record is not None and record.status == "completed"


def probe_all(
    probings: list[Probing], settings: ProbeSettings, corpus: Path | None, *, workers: int | None = None
) -> tuple[str, bool]:
    """Probe encoders; what is done is passed over. Return a table, and whether all were done.

    Args:
        probings: What to probe.
        settings: How.
        corpus: Labelled audio; each run's own corpus when not given.
        workers: Processes; one a core when not given, and one where there is a GPU.

    Raises:
        InputError: When a run left no weights, its corpus is gone, or labels are missing.
    """
    from scaling.speech.corpus.store import Corpus
    from scaling.speech.features import make_features
    from scaling.speech.probes.needs import check_labels

    corpora = {one: corpus or _corpus_of(one) for one in probings}
    for path in dict.fromkeys(corpora.values()):
        opened = Corpus(path)
        check_labels(opened, settings, where="probe")
        make_features(opened)  # once, before several processes read them
    work = [(one, settings, corpora[one]) for one in probings]
    found: list[tuple[dict[str, float], tuple[str, ...]]] = []
    for one, (metrics, left, seconds) in zip(probings, _each(work, workers), strict=True):
        found.append((metrics, left))
        what = f"{one.name} {one.kind or 'trained'}"
        print(f"[{len(found)}/{len(probings)}] {what}: {seconds:.0f} s", file=sys.stderr, flush=True)
        if left:
            print(f"! {what}: left undone after {settings.seconds:g} s: {', '.join(left)}", file=sys.stderr)
    names = [metric for metric in METRICS if _asked(metric, settings)]
    rows = [
        [one.name, one.kind or "trained", *one.about, *(_shown(metrics, name) for name in names)]
        for one, (metrics, _) in zip(probings, found, strict=True)
    ]
    heads = ["encoder", "", "objective", "N", "budget", *(name.replace("_", " ") for name in names)]
    return format_table(heads, rows), not any(left for _, left in found)


def _each(work: list[Work], workers: int | None) -> Iterator[tuple[dict[str, float], tuple[str, ...], float]]:
    """Yield what came of each piece of work in order, done by several processes with a thread each."""
    import torch

    count = min(workers or (1 if torch.cuda.is_available() else os.cpu_count() or 1), len(work))
    if count == 1:
        yield from map(_probe_one, work)
        return
    with ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_one_thread) as pool:
        yield from pool.map(_probe_one, work)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _probe_one(work: Work) -> tuple[dict[str, float], tuple[str, ...], float]:
    """Return metrics, what was left undone, and seconds; called in a process of its own."""
    from scaling.speech.corpus.store import Corpus
    from scaling.speech.probes.run import probe

    one, settings, path = work
    corpus = Corpus(path)
    found = probe(_source(one, corpus), corpus, settings, one.file)
    return found.metrics, found.left, found.seconds


def _asked(metric: str, settings: ProbeSettings) -> bool:
    from scaling.speech.probes.catalogue import PROBES

    return any(metric in PROBES[name].metrics for name in settings.probes)


def _shown(metrics: dict[str, float], name: str) -> str:
    """Return a value with its standard error, as `0.412 ± 0.011`."""
    if name not in metrics:
        return ""
    error = metrics.get(name + SE)
    return f"{metrics[name]:.3f}" + (f" ± {error:.3f}" if error is not None else "")


def _corpus_of(one: Probing) -> Path:
    spec = SweepFolder(one.folder.parent.parent).spec(one.folder.name)
    if "corpus" not in spec.where:
        raise InputError("a run without a corpus", where=one.folder, remedy="name labelled audio: --corpus DIR")
    return Path(spec.where["corpus"])


def _source(one: Probing, corpus: Corpus) -> Source:
    """Return what makes the states that are probed."""
    from scaling.speech.probes.run import random_weights, trained_source
    from scaling.speech.reading import RawReader
    from scaling.speech.weights import Weights

    if one.kind == RAW:
        return RawReader(corpus)
    weights = Weights.load(one.folder)
    return trained_source(corpus, random_weights(weights) if one.kind == RANDOM else weights)
