"""Downstream metrics as something that a law can be fitted to: which way is better, which bound, which unit.

A law is of a positive quantity q that falls with size, data and compute, and the engine fits log q. A metric v becomes

    error       e = v,  u - v where larger is better and u bounds it,  1 / v where larger is better without a bound
    `floor`     q = e                    the irreducible term E is the floor of the error, in the metric's own unit
    `logit`     q = e / (u - e)          the odds of an error, log q = logit(e / u): never below 0, never above u

with u = 1, or 100 where the values are percent. Error rates of edit distance (WER, PER, CER) count insertions and have
no upper bound: `floor`. Accuracies, purity, F1, BLEU and the equal error rate have both bounds: `logit`, in which a law
near a bound bends as it has to. Everything that is printed is turned back into v.

The curves of isoFLOP minima go through log q, too: the noise of a metric is nearer to a share of q than to a constant.

Source: log-odds of bounded scores in scaling laws of benchmarks: Owen 2024 (arXiv 2401.04757), Ruan et al. 2024 (arXiv
2405.10938).
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling.errors import InputError, did_you_mean

if TYPE_CHECKING:
    pass

FLOOR, LOGIT, AUTO = "floor", "logit", "auto"
SCALES = (AUTO, LOGIT, FLOOR)
AS_IT_IS, COMPLEMENT, RECIPROCAL = "as it is", "complement", "reciprocal"
SHARES = ("accuracy", "acc", "purity", "pnmi", "nmi", "f1", "map", "bleu", "auc", "uar")
"""Larger is better, up to 1 or 100 %."""
GROWING = ("rank", "rankme", "mos", "pesq")
"""Larger is better, without a bound (or with one that nobody nears)."""
BOUNDED_ERRORS = ("eer", "abx")
ERROR_RATES = ("wer", "per", "cer", "ter", "der", "error_rate")
OTHER_ERRORS = ("perplexity", "ppl", "mcd", "dcf")
HIGHER = (*SHARES, *GROWING)
METRIC = re.compile(rf"(^|_)({'|'.join((*HIGHER, *BOUNDED_ERRORS, *ERROR_RATES, *OTHER_ERRORS))})$", re.IGNORECASE)
"""Columns of a table that are downstream metrics by their name; those of records begin with `metric_`."""
PREFIX, ERROR = "metric_", "_se"
"""Of a metric's column in records, and the end of the name of its standard error."""
IN_PERCENT = re.compile(r"(_percent|_pct|[\s_]*\(?%\)?)$", re.IGNORECASE)
NOT_DOWNSTREAM = {"metric_accuracy", "metric_constant_loss", "metric_clips", "metric_skipped_steps",
                  "metric_labels_used", "metric_label_entropy", "metric_code_perplexity"}  # fmt: skip
"""What records say of the objective's own task, `accuracy` at masked frames with it."""
PERCENT_FROM = 1.5
"""Something that 1 bounds, with a value above this, is in percent."""
NEAR = 0.005
"""Sizes whose error is within this share of the best are `near` it."""
WIDEST = 10.0
"""Half a percent more of an error near its bound multiplies the odds without end: by no more than this."""


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How a metric becomes the positive quantity that a law is fitted to, and back.

    Example:
        >>> scale = scale_of("accuracy", np.array([80.0, 90.0]))
        >>> scale.kind, scale.percent, scale.fitted(np.array([80.0, 90.0])).round(4).tolist()
        ('logit', True, [0.25, 0.1111])
        >>> scale.own(scale.fitted(np.array([80.0]))).tolist(), scale.text(80.0)
        ([80.0], '80.00')
    """

    name: str
    column: str
    kind: str = FLOOR
    """`floor` or `logit`."""
    turn: str = AS_IT_IS
    """How the metric becomes an error: `as it is`, `complement` (u - v) or `reciprocal` (1 / v)."""
    percent: bool = False
    bounded: bool = False
    """Whether 0 and u bound it; so it is printed with four digits."""

    @property
    def bound(self) -> float:
        """U: 100 in percent, else 1."""
        return 100.0 if self.percent else 1.0

    @property
    def plain(self) -> bool:
        """Whether what is fitted is the metric itself."""
        return self.kind == FLOOR and self.turn == AS_IT_IS

    @property
    def rises(self) -> bool:
        """Whether the metric grows with the quantity that is fitted."""
        return self.turn == AS_IT_IS

    @property
    def unit(self) -> str:
        """`%`, or nothing."""
        return "%" if self.percent else ""

    @property
    def title(self) -> str:
        """The metric with its unit, as a column's title."""
        return f"{self.name} (%)" if self.percent else self.name

    @property
    def words(self) -> str:
        """What is fitted, in words."""
        turned = {COMPLEMENT: f"{self.bound:g} - {self.name}", RECIPROCAL: f"1/{self.name}"}
        error = turned.get(self.turn, self.name)
        return f"the odds e/({self.bound:g} - e) of e = {error}" if self.kind == LOGIT else error

    @property
    def described(self) -> str:
        """The scale, which way is better, and what the law is of."""
        better = "smaller" if self.rises else "larger"
        return f"{self.kind}: a law of {'the metric itself' if self.plain else self.words}, {better} is better"

    def fitted(self, values: np.ndarray) -> np.ndarray:
        """Return q of metric values; NaN where there is none."""
        v = np.asarray(values, dtype=float)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = {AS_IT_IS: v, COMPLEMENT: self.bound - v, RECIPROCAL: 1 / v}[self.turn]
            q = error / (self.bound - error) if self.kind == LOGIT else error
            return np.where(np.isfinite(q) & (q > 0), q, np.nan)

    def own(self, fitted: Any) -> Any:
        """Return metric values of q; a q below zero, which a curve may foretell, is no error at all."""
        if self.plain:
            return fitted
        q = np.maximum(np.asarray(fitted, dtype=float), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = q if self.kind == FLOOR else np.where(np.isinf(q), self.bound, self.bound * q / (1 + q))
            value = {AS_IT_IS: error, COMPLEMENT: self.bound - error, RECIPROCAL: 1 / error}[self.turn]
        return float(value) if np.ndim(value) == 0 else value

    def near(self, fitted: float) -> float:
        """Return by which share q rises where the error rises by half a percent."""
        if self.kind == FLOOR:
            return NEAR
        error = self.bound * fitted / (1 + fitted)
        more = error * (1 + NEAR)
        return min(float(more / (self.bound - more) / fitted - 1), WIDEST) if more < self.bound else WIDEST

    def text(self, value: float) -> str:
        """Return a value as it is printed, without its unit."""
        if self.percent:
            return f"{value:.2f}"
        return f"{value:.4f}" if self.bounded else f"{value:.4g}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "unit": self.unit}

    @classmethod
    def from_dict(cls, values: dict[str, Any] | None) -> Scale:
        """Return the scale that `to_dict` wrote; that of the loss where there is none."""
        return cls(**{k: v for k, v in values.items() if k != "unit"}) if values else LOSS


LOSS = Scale(name="loss", column="loss", bounded=True)
"""The loss is fitted as it is."""


def scale_of(name: str, values: np.ndarray, asked: str = AUTO, *, column: str | None = None) -> Scale:
    """Return the scale of a metric.

    Args:
        name: The metric; its last word says what it is. An unknown one is taken for an error without a bound.
        values: All that are known, which tell percent from shares.
        asked: `auto`, `logit` or `floor`.
        column: Where they stand; the name when not given.

    Raises:
        InputError: When there is no such scale, or a metric without a bound is asked for by its odds.

    Example:
        >>> [scale_of(name, np.array([12.0])).kind for name in ("asr_wer", "asv_eer", "effective_rank")]
        ['floor', 'logit', 'floor']
    """
    if asked not in SCALES:
        raise InputError("no such scale", where="--scale", value=asked, remedy=did_you_mean(asked, SCALES))
    found = METRIC.search(IN_PERCENT.sub("", name))
    word = found[2].lower() if found else ""
    turn = COMPLEMENT if word in SHARES else RECIPROCAL if word in GROWING else AS_IT_IS
    bounded = word in (*SHARES, *BOUNDED_ERRORS)
    kind = asked if asked != AUTO else LOGIT if bounded else FLOOR
    if kind == LOGIT and (turn == RECIPROCAL or word in OTHER_ERRORS):
        raise InputError(f"{name} has no upper bound, so no odds", where="--scale", value=asked, remedy="write floor")
    finite = values[np.isfinite(values)]
    rate = bounded or kind == LOGIT or word in ERROR_RATES
    percent = rate and (bool(IN_PERCENT.search(name)) or bool(len(finite) and finite.max() > PERCENT_FROM))
    return Scale(name=name, column=column or name, kind=kind, turn=turn, percent=percent, bounded=rate)


def is_metric(column: str) -> bool:
    """Whether a column is a downstream metric by its name; standard errors are none.

    Example:
        >>> [is_metric(name) for name in ("asr_wer", "metric_purity", "metric_purity_se", "metric_clips", "width")]
        [True, True, False, False, False]
    """
    if column in NOT_DOWNSTREAM or column.endswith(ERROR):
        return False
    return column.startswith(PREFIX) or bool(METRIC.search(IN_PERCENT.sub("", column)))


def larger_is_better(column: str) -> bool | None:
    """Whether a larger value is better; None where the name does not tell."""
    named = METRIC.search(IN_PERCENT.sub("", column))
    return None if named is None else named[2].lower() in HIGHER
