"""Rules of a grid: quantities that follow a power law, and the defaults of batch and learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from scaling.errors import InputError
from scaling.units import parse_count
from sweeps.yamlfile import real


@dataclass(frozen=True, kw_only=True)
class PowerRule:
    """A quantity that follows a power law: value * (x / at) ** exponent."""

    value: float
    at: float = 1.0
    exponent: float = 0.0

    def __call__(self, x: float) -> float:
        """Return the quantity at x."""
        return self.value * (x / self.at) ** self.exponent


@dataclass(frozen=True, kw_only=True)
class LearningRate(PowerRule):
    """A peak learning rate over N, and over the root of the batch where `batch` names the one it holds at."""

    batch: float | None = None
    """Seconds of audio a step at which the rule holds; the rate does not follow the batch when not given."""
    table: tuple[tuple[float, float], ...] = ()
    """(N, rate), by rising N, instead of a power law: a power law between two rows, the ends' rates beyond them."""
    width: float | None = None
    """Width at which the rate holds for all matrices; at others those that read the width follow 1 / width (muP)."""

    def at_size(self, params: float, batch: float) -> float:
        """Return the rate of a size at a batch, by the square-root rule of Adam (arXiv 2205.10287)."""
        rate = _interpolated(self.table, params) if self.table else self(params)
        return rate * (1.0 if self.batch is None else (batch / self.batch) ** 0.5)


def _interpolated(table: tuple[tuple[float, float], ...], params: float) -> float:
    """Return the rate of a size between the rows of a table, straight in the logarithms."""
    if params <= table[0][0]:
        return table[0][1]
    for (n0, r0), (n1, r1) in pairwise(table):
        if params <= n1:
            share = math.log(params / n0) / math.log(n1 / n0)
            return r1 if params == n1 else r0 * (r1 / r0) ** share
    return table[-1][1]


PEAK_LR = LearningRate(value=5e-4, at=20e6, exponent=-0.33, batch=155.6)
"""The study's peak learning rate: 5e-4 at 20 M and 155.6 s a step, and the exponent of its table by size."""
AUTO_BATCH = PowerRule(value=155.6, at=17_289.0, exponent=0.5)
"""Batch in seconds over hours of audio seen, for `batch: auto`: the study's 155.6 s at the 17,289 h that Slim
saw, shrinking with the root of the data (critical batches grow about so: Zhang et al. 2024, arXiv 2410.21676)."""


def by_rule(rule: Callable[[], float], where: str) -> float:
    """Return what a rule gives, refusing what powers of large numbers come to."""
    try:
        value = parse_count(rule(), where=where)
    except (OverflowError, InputError):
        raise InputError(
            "the rule gives no quantity here",
            where=where,
            remedy="mind at, value and exponent: value * (x / at) ** exponent",
        ) from None
    return value


def parse_rule(value: Any, where: str) -> PowerRule:
    """Return a rule from a number or {at, value, exponent}."""
    return PowerRule(**_rule_keys(value, where, ("at", "value", "exponent")))


def parse_learning_rate(value: Any, where: str) -> LearningRate:
    """Return a rule from a number, {at, value, exponent, batch}, {table: {N: rate}} or {width, value} (muP)."""
    if isinstance(value, dict) and "table" in value:
        if not isinstance(value["table"], dict) or not value["table"] or set(value) - {"table", "batch"}:
            raise InputError(
                "a table gives a rate to each of some sizes",
                where=where,
                value=value,
                remedy="write {table: {20M: 5e-4, 95M: 3e-4}}",
            )
        rows = [(parse_count(n, where=where), parse_count(rate, where=where)) for n, rate in value["table"].items()]
        batch = parse_count(value["batch"], where=where) if "batch" in value else None
        return LearningRate(value=rows[0][1], table=tuple(sorted(rows)), batch=batch)
    rule: dict[str, Any] = _rule_keys(value, where, ("at", "value", "exponent", "batch", "width"))
    return LearningRate(**rule)


def _rule_keys(value: Any, where: str, keys: tuple[str, ...]) -> dict[str, float]:
    if not isinstance(value, dict):
        return {"value": parse_count(value, where=where)}
    if set(value) - set(keys) or "value" not in value:
        raise InputError(
            f"a rule is a number or {{{', '.join(keys)}}}",
            where=where,
            value=value,
            remedy="write {at: 20M, value: 5e-4, exponent: -0.33}",
        )
    parsed = {key: parse_count(value[key], where=where) for key in value if key != "exponent"}
    return {**parsed, "exponent": real(value.get("exponent", 0), where)}


def parse_batch(value: Any, where: str) -> PowerRule:
    """Return a rule from `auto`, a number of seconds or {at, value, exponent}."""
    return AUTO_BATCH if value == "auto" else parse_rule(value, where)
