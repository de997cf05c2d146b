"""What a plan must know of the probes, without torch: their names, what labels they need, what they measure.

The protocol is SUPERB's (Yang et al. 2021, arXiv 2105.01051): the encoder is frozen, a head reads the sum of all layers
with softmax weights that are learned with it. The heads are lighter, and the audio is less, so that a probe takes a
small part of a run's time; so numbers compare within one `probe_id`, never with a leaderboard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

VERSION = 1
"""Of the protocol: part of `probe_id`."""


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One question to an encoder."""

    needs: tuple[str, ...]
    """Labels that the corpus must have: `phones`, `text`, `words`, `known speakers`, `other speakers`."""
    metrics: tuple[str, ...]
    """What it measures; the first is the one that it is known by."""
    about: str
    """In a few words, for the command line."""


PROBES: Mapping[str, Probe] = MappingProxyType(
    {
        "frames": Probe(
            needs=("phones",),
            metrics=("frame_phone_accuracy",),
            about="phone of every frame: linear, cross entropy",
        ),
        "phones": Probe(
            needs=("phones",),
            metrics=("phone_error_rate",),
            about="phone recognition: linear, CTC, greedy",
        ),
        "characters": Probe(
            needs=("text",),
            metrics=("word_error_rate", "character_error_rate"),
            about="speech recognition: LSTM, character CTC, greedy, no language model",
        ),
        "keywords": Probe(
            needs=("words",),
            metrics=("keyword_accuracy",),
            about="keyword spotting: mean over a clip, linear",
        ),
        "speakers": Probe(
            needs=("known speakers",),
            metrics=("speaker_accuracy",),
            about="speaker identification: mean over a clip, linear",
        ),
        "verification": Probe(
            needs=("other speakers",),
            metrics=("speaker_eer",),
            about="speaker verification: linear embedding, cosine, unseen speakers",
        ),
        "rank": Probe(
            needs=(),
            metrics=("effective_rank",),
            about="RankMe: effective rank of the last layer's frames, without labels",
        ),
        "clusters": Probe(
            needs=("phones",),
            metrics=("phone_purity", "cluster_purity", "pnmi"),
            about="k-means of a layer against the phones",
        ),
    }
)
"""Name -> probe, in the order in which they are done: those that share audio one after another."""
METRICS = tuple(metric for probe in PROBES.values() for metric in probe.metrics)
SE = "_se"
"""Ending of the name of a metric's standard error."""
DEFAULT = ("frames", "phones", "speakers", "verification", "rank")
"""What `scaling-sweep probe` does where nothing is named; dear or scarce ones are left to be asked for."""


@dataclass(frozen=True, kw_only=True)
class ProbeSettings:
    """How encoders are probed. Hours, epochs and seeds decide the numbers.

    Example:
        >>> ProbeSettings(probes=("rank",)).protocol == ProbeSettings(probes=("rank", "frames"), cache_gb=9).protocol
        True
    """

    probes: tuple[str, ...] = DEFAULT
    hours: float = 0.5
    """Labelled audio that heads of whole utterances learn from; the first of the corpus by rank."""
    test_hours: float = 0.2
    """Held-out audio that they are judged on."""
    epochs: int = 10
    """Passes of the heads over their audio."""
    seeds: int = 3
    """Heads of each kind, from different first weights and in different order."""
    seconds: float = 600.0
    """Time after which no further probe is begun."""
    cache_gb: float = 2.0
    """Disk for an encoder's states; what does not fit is computed again at every pass."""

    @property
    def protocol(self) -> dict[str, Any]:
        """What decides the numbers, apart from which probes are done."""
        kept = {key: value for key, value in asdict(self).items() if key not in ("probes", "seconds", "cache_gb")}
        return {"version": VERSION, **kept}

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {**asdict(self), "probes": list(self.probes)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ProbeSettings:
        """Return the settings that `to_dict` wrote."""
        known = {key: value for key, value in values.items() if key in cls.__dataclass_fields__}
        return cls(**{**known, "probes": tuple(known.get("probes", DEFAULT))})
