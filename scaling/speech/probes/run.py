"""Probing an encoder: each probe once, its scores kept in a file as soon as they are there."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.files import read_json, write_json
from scaling.records import RunSpec, content_hash
from scaling.run import RunFolder
from scaling.speech.corpus.store import Corpus
from scaling.speech.probes.catalogue import PROBES, SE, ProbeSettings
from scaling.speech.probes.labels import Labels
from scaling.speech.probes.tasks import TASKS, Bench, Stopped
from scaling.speech.reading import Reader, Source
from scaling.speech.weights import Weights


@dataclass(frozen=True)
class Probed:
    """What came of probing an encoder."""

    metrics: dict[str, float] = field(default_factory=dict)
    """Metric -> value, and `METRIC_se` -> its standard error."""
    id: str = ""
    """What makes metrics comparable: a hash of how they were measured, and on which audio."""
    left: tuple[str, ...] = ()
    """Probes that the time did not suffice for, or that a stop came before."""
    seconds: float = 0.0


def probe_id(corpus: Corpus, settings: ProbeSettings) -> str:
    """Return eight hex digits of the protocol and the audio: metrics of different ids are never compared."""
    return content_hash({**settings.protocol, "corpus": corpus.hash}, 8)


def probe(
    source: Source,
    corpus: Corpus,
    settings: ProbeSettings,
    file: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Probed:
    """Do the probes that a file does not hold yet, and return the metrics of all that are asked for.

    Args:
        source: The encoder's states over the corpus.
        corpus: Labelled audio.
        settings: Which probes, and how.
        file: Where scores are kept, under their `probe_id`; each is there as soon as its probe is done.
        stop: Asked between steps whether to stop.

    Raises:
        InputError: When labels are missing.
    """
    begun = time.monotonic()
    of = probe_id(corpus, settings)
    bench = Bench(source, Labels(corpus), settings, stop)
    metrics: dict[str, float] = {}
    left: list[str] = []
    for name in (name for name in PROBES if name in settings.probes):
        kept = scores_in(file, of).get(name)
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
            _keep(file, of, {**settings.protocol, "corpus": corpus.hash}, name, kept)
        metrics |= kept
    return Probed(metrics=metrics, id=of, left=tuple(left), seconds=time.monotonic() - begun)


def scores_in(file: Path, of: str) -> dict[str, dict[str, float]]:
    """Return probe -> metrics that a file holds for the settings of an id."""
    return read_json(file).get(of, {}).get("scores", {}) if file.exists() else {}


def _keep(file: Path, of: str, protocol: dict[str, Any], name: str, metrics: dict[str, float]) -> None:
    whole = read_json(file) if file.exists() else {}
    entry: dict[str, Any] = whole.setdefault(of, {"protocol": protocol, "scores": {}})
    entry["scores"][name] = metrics
    write_json(file, whole)


def probe_in_run(spec: RunSpec, weights: Weights, corpus: Corpus, run: RunFolder) -> Probed | None:
    """Probe the encoder that a run has just trained; None when told to stop.

    Args:
        spec: The run; its `probes` say which, and `where["probes"]` names their corpus if it is not the run's.
        weights: What it learned.
        corpus: The run's corpus.
        run: Its folder; `run.scores` keeps what is done.
    """
    settings = ProbeSettings.from_dict(spec.probes)
    if "probes" in spec.where:
        corpus = Corpus(spec.where["probes"])
    found = probe(Reader(corpus, weights), corpus, settings, run.scores, stop=lambda: run.should_stop)
    if found.left and run.stop_asked:
        return None
    if found.left:
        message = f"probes left undone after {found.seconds:.0f} s: {', '.join(found.left)}"
        print(f"{message} (`scaling-sweep probe` does them)", file=sys.stderr)
    return found


def random_weights(weights: Weights) -> Weights:
    """Return the weights that a run began with: those of the same shape and seed before any training."""
    from scaling.speech.model import Model

    spec = RunSpec.from_dict(weights.spec)
    model = Model(replace(spec, model=weights.shape.to_dict()))
    return replace(weights, encoder_state=model.encoder.state_dict())


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
            value=str(weights.shape),
            remedy="name the folder of a finished run",
        ) from None
