"""The section `probes` of grid.yaml: what finished encoders are judged by besides their loss."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.speech.probes.catalogue import PROBES, ProbeSettings
from scaling.units import parse_seconds
from sweeps.yamlfile import Section, number, one_of, several, text, whole


def read_probes(top: Section) -> tuple[ProbeSettings | None, Path | None]:
    """Return how encoders are probed, and the labelled corpus where it is not the runs' own.

    A list of names stands for {tasks: [...]}.

    Raises:
        InputError: For an unknown probe or key, or a quantity without sense.
    """
    names = several(one_of(*PROBES))
    if isinstance(top.values.get("probes"), (list, str)):
        return ProbeSettings(probes=top.take("probes", names)), None
    section = top.section("probes")
    if section is None:
        return None, None
    default = {field.name: field.default for field in fields(ProbeSettings)}
    given: dict[str, Any] = {
        "probes": section.take("tasks", names, default["probes"]),
        "hours": section.take("hours", number, default["hours"]),
        "test_hours": section.take("test_hours", number, default["test_hours"]),
        "epochs": section.take("epochs", whole, default["epochs"]),
        "seeds": section.take("seeds", _heads, default["seeds"]),
        "seconds": section.take("seconds", _seconds, default["seconds"]),
        "cache_gb": section.take("cache_gb", number, default["cache_gb"]),
    }
    corpus = section.section("corpus")
    path = None
    if corpus is not None:
        path = Path(corpus.take("path", text))
        corpus.done()
    section.done()
    return ProbeSettings(**given), path


def _seconds(value: Any, where: str) -> float:
    return parse_seconds(value, where=where)


def _heads(value: Any, where: str) -> int:
    """Return how many heads of each kind learn; a list would name seeds, and here only their number counts."""
    if isinstance(value, list):
        remedy = f"write seeds: {max(1, len(value))}"
        raise InputError("a number of heads, not a list of seeds", where=where, value=value, remedy=remedy)
    return whole(value, where)
