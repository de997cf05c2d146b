"""Probing an encoder: each probe once, its scores kept in a file as soon as they are there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from scaling.errors import InputError, did_you_mean
from scaling.files import read_json, write_json
from scaling.records import RunSpec
from scaling.shape import Shape
from scaling.speech.corpus.store import Corpus
from scaling.speech.probes.catalogue import PROBES, ProbeSettings
from scaling.speech.probes.labels import Labels
from scaling.speech.probes.tasks import TASKS, Bench, Stopped
from scaling.speech.reading import RawReader, Reader, Source
from scaling.speech.weights import Weights

SE = "_se"
"""Ending of the name of a metric's standard error."""


@dataclass(frozen=True)
class Probed:
    """What came of probing an encoder."""

    metrics: dict[str, float]
    """Metric -> value, and `METRIC_se` -> its standard error."""
    left: tuple[str, ...] = ()
    """Probes that the time did not suffice for, or that a stop came before."""
    seconds: float = 0.0


def check_probes(corpus: Corpus, settings: ProbeSettings, *, where: object = "probes") -> None:
    """Refuse probes that there are not, or that the corpus has no labels for.

    Raises:
        InputError: With the probe and what is missing.
    """
    labels = Labels(corpus)
    for name in settings.probes:
        if name not in PROBES:
            raise InputError("no such probe", where=where, value=name, remedy=did_you_mean(name, PROBES))
        labels.require(PROBES[name].needs, where=f"{where}: {name}")
        if name == "speakers":
            labels.known_voices()
        if name == "verification":
            labels.other_voices()


def probe(
    source: Source,
    corpus: Corpus,
    settings: ProbeSettings,
    file: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    show: Callable[[str, dict[str, float]], None] = lambda name, metrics: None,
) -> Probed:
    """Do the probes that a file does not hold yet, and return the metrics of all that are asked for.

    Args:
        source: The encoder's states over the corpus.
        corpus: Labelled audio.
        settings: Which probes, and how.
        file: Where scores are kept, under `settings.id`; each is there as soon as its probe is done.
        stop: Asked between steps whether to stop.
        show: Told each probe's metrics as they come.

    Raises:
        InputError: When labels are missing.
    """
    begun = time.monotonic()
    check_probes(corpus, settings, where=file.name)
    bench = Bench(source, Labels(corpus), settings, file.parent, stop)
    metrics: dict[str, float] = {}
    left: list[str] = []
    try:
        for name in (name for name in PROBES if name in settings.probes):
            kept = scores_in(file, settings.id).get(name)
            if kept is None:
                if stop() or time.monotonic() - begun > settings.seconds:
                    left.append(name)
                    continue
                try:
                    scores = TASKS[name](bench)
                except Stopped:
                    left.append(name)
                    continue
                kept = {metric: value for metric, (value, _) in scores.items()}
                kept |= {metric + SE: error for metric, (_, error) in scores.items() if error == error}  # not NaN
                _keep(file, settings, name, kept)
                show(name, kept)
            metrics |= kept
    finally:
        bench.close()
    return Probed(metrics=metrics, left=tuple(left), seconds=time.monotonic() - begun)


def scores_in(file: Path, of: str) -> dict[str, dict[str, float]]:
    """Return probe -> metrics that a file holds for the settings of an id."""
    return read_json(file).get(of, {}).get("scores", {}) if file.exists() else {}


def _keep(file: Path, settings: ProbeSettings, name: str, metrics: dict[str, float]) -> None:
    whole = read_json(file) if file.exists() else {}
    entry: dict[str, Any] = whole.setdefault(settings.id, {"settings": settings.protocol, "scores": {}})
    entry["scores"][name] = metrics
    write_json(file, whole)


def probe_in_run(
    spec: RunSpec, weights: Weights, corpus: Corpus, folder: Path, stop: Callable[[], bool]
) -> Probed | None:
    """Probe the encoder that a run has just trained; None when told to stop.

    Args:
        spec: The run; its `probes` say which.
        weights: What it learned.
        corpus: The run's corpus; `spec.where["probes"]` names another one, if labels come of that.
        folder: The run's folder, whose `probes.json` keeps what is done.
        stop: Asked whether to stop.
    """
    settings = ProbeSettings.from_dict(spec.probes)
    if "probes" in spec.where:
        corpus = Corpus(spec.where["probes"])
    found = probe(Reader(corpus, weights), corpus, settings, folder / "probes.json", stop=stop)
    if found.left and stop():
        return None
    if found.left:
        message = f"probes left undone after {found.seconds:.0f} s: {', '.join(found.left)}"
        print(f"{message} (scaling-sweep probe does them)", file=sys.stderr)
    return found


def random_weights(weights: Weights) -> Weights:
    """Return the weights that a run began with: those of the same shape and seed before any training."""
    from scaling.speech.model import Model

    spec = RunSpec.from_dict(weights.spec)
    model = Model(replace(spec, model=weights.shape.to_dict()))
    return replace(weights, encoder_state=model.encoder.state_dict())


def raw_source(corpus: Corpus) -> Source:
    """Return the log-Mel features of a corpus as a source of states."""
    return RawReader(corpus)


def trained_source(corpus: Corpus, weights: Weights) -> Source:
    """Return a run's encoder as a source of states.

    Raises:
        InputError: When the weights do not fit their shape, or belong to another front end.
    """
    try:
        return Reader(corpus, weights)
    except RuntimeError as error:
        raise InputError(
            f"weights of another shape than they say ({str(error).splitlines()[0]})",
            where="weights",
            value=str(Shape.from_dict(weights.shape.to_dict())),
            remedy="name the folder of a finished run",
        ) from None


def use_cores(threads: int | None) -> None:
    """Let probes use so many threads; all cores when not given."""
    if threads is not None:
        torch.set_num_threads(threads)
