"""U-curves: loss and downstream metrics over model size, objectives beside each other (Liu et al. 2024, 2409.16295)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.data.metrics import is_metric, larger_is_better
from analysis.figures.axes import LONGEST, axes_or_new, letter, loss_label, points, size_axis, y_label
from analysis.figures.drawing import Drawing
from analysis.figures.study import Group, Study
from analysis.figures.style import OKABE_ITO, flops_text, names_apart, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_METRICS, MOST_STUDIES = 4, 6
POINTS = 100
LEAST_SIZES = 3
TITLE, EM, AT, LEFT = 7.5, 0.55 / 72, 8, 0.5
"""Points of a title; inches of a letter over them; letters that a budget takes; inches left of the axes."""


def plot_ucurve(study: Study, ax: Axes | None = None, *, value: str = "loss") -> Axes:
    """Draw one quantity over model size at the largest budget that has a minimum, its curve, and its lowest point.

    The loss's curve is the fit's own, with its verdict; a metric's is a parabola in log N through its runs, and says so
    by being grey.

    Args:
        study: The fit and its runs.
        ax: Where to; new axes when not given.
        value: `loss`, or a column of a metric.

    Returns:
        The axes.
    """
    ax, data = axes_or_new(ax), ucurve_data(study, value)
    runs, line, best, extreme = (data[data["kind"] == kind] for kind in ("run", "curve", "minimum", "best"))
    ax.plot(extreme["N"], extreme["value"], "o", color="0.45", markerfacecolor="white", markersize=6, zorder=4)
    points(ax, runs["N"], runs["value"], color=OKABE_ITO[0])
    ax.plot(line["N"], line["value"], color=OKABE_ITO[0] if value == "loss" else "0.45",
            linestyle="-" if value == "loss" else "--")  # fmt: skip
    for _, row in best.iterrows():
        if row["low"] == row["low"] and row["high"] == row["high"]:
            ax.plot([row["low"], row["high"]], [row["value"]] * 2, "-", color="black", linewidth=0.9, zorder=4)
        ax.plot([row["N"]], [row["value"]], "D", color="black", markerfacecolor="white", zorder=5)
    size_axis(ax)
    ax.set_xlabel("model size $N$")
    y_label(ax, loss_label(study.fit, own=True) if value == "loss" else plain_text(metric_text(value), LONGEST))
    return ax


def ucurve_data(study: Study, value: str = "loss") -> pd.DataFrame:
    """Return {kind, N, value, low, high} at one budget: the runs, a curve through them, and its minimum."""
    chosen, rows = _budget(study)
    runs = study.runs.iloc[rows]
    own = study.fit.scale.own if value == "loss" else np.asarray
    shown = pd.Series(own(pd.to_numeric(runs[value], errors="coerce")), index=runs.index)
    runs, shown = runs[shown.notna()], shown[shown.notna()]
    parts = [pd.DataFrame({"kind": "run", "N": runs["N"], "value": shown})]
    p = study.fit.isoflop.parabolas[chosen]
    if value == "loss" and p.status != "too-few":
        x = np.linspace(p.low, p.high, POINTS)
        parts.append(pd.DataFrame({"kind": "curve", "N": np.exp(x), "value": own(p.predict(x))}))
        if p.status == "bracketed":
            low, high = _ends(study, chosen, p.low, p.high)
            parts.append(
                pd.DataFrame(
                    {"kind": ["minimum"], "N": np.exp(p.log_n), "value": own(p.loss), "low": low, "high": high}
                )
            )
    elif value != "loss" and runs["N"].nunique() > LEAST_SIZES:
        log_n = np.log(runs["N"].to_numpy())
        curve = np.polynomial.Polynomial.fit(log_n, shown.to_numpy(dtype=float), 2)
        x = np.linspace(log_n.min(), log_n.max(), POINTS)
        parts.append(pd.DataFrame({"kind": "curve", "N": np.exp(x), "value": curve(x)}))
        best = _best(curve, value)
        if best is not None and log_n.min() < best < log_n.max():
            parts.append(pd.DataFrame({"kind": ["best"], "N": np.exp(best), "value": curve(best)}))
    return pd.concat(parts, ignore_index=True).reindex(columns=["kind", "N", "value", "low", "high"])


def _best(curve: np.polynomial.Polynomial, metric: str) -> float | None:
    """Return where a parabola is best: its lowest point for an error, its highest for an accuracy; None elsewhere."""
    higher = larger_is_better(metric)
    if higher is None:
        return None
    bend = curve.deriv(2)(0.0) * (-1 if higher else 1)
    return float(curve.deriv().roots()[0].real) if bend > 0 else None


def metrics_of(studies: Sequence[Group]) -> list[str]:
    """Return the columns of downstream metrics that every group has numbers in, at most four."""
    found = []
    for name in map(str, studies[0].runs.columns):
        if is_metric(name) and name != studies[0].table.loss_name:
            numbers = [pd.to_numeric(s.runs[name], errors="coerce") for s in studies if name in s.runs]
            if len(numbers) == len(studies) and all(n.notna().sum() >= LEAST_SIZES for n in numbers):
                found.append(name)
    return found[:MOST_METRICS]


def metric_text(name: str) -> str:
    """Return a metric's column in words.

    Example:
        >>> metric_text("metric_phone_error_rate"), metric_text("asr_wer")
        ('phone error rate', 'ASR WER')
    """
    words = name.removeprefix("metric_").split("_")
    short = {"asr", "asv", "wer", "per", "cer", "eer", "ter", "der", "map", "bleu", "f1", "sid", "pr", "ks"}
    return " ".join(word.upper() if word.lower() in short else word for word in words)


def _budget(study: Study) -> tuple[int, np.ndarray]:
    """Return the number of the curve that is shown, the largest budget with a minimum, and its rows."""
    parabolas = study.fit.isoflop.parabolas
    counting = [i for i, p in enumerate(parabolas) if p.status == "bracketed"]
    chosen = (counting or [i for i, p in enumerate(parabolas) if p.status != "too-few"])[-1]
    return chosen, parabolas[chosen].rows


def _ends(study: Study, i: int, low: float, high: float) -> tuple[float | None, float | None]:
    from analysis.estimates import Estimate

    found = Estimate.of(study.fit.isoflop.parabolas[i].log_n, study.fit.isoflop.log_n_draws(i), study.fit.level)
    if not len(study.fit.isoflop.draws):
        return None, None
    wide = (-np.inf if found.low is None else found.low, np.inf if found.high is None else found.high)
    ends = [float(np.exp(np.clip(end, low, high))) for end in wide]  # what has no bound ends with the sizes
    return ends[0], ends[1]


def _draw(studies: Sequence[Study], figure: Figure) -> None:
    shown = _shown(studies)
    values = ["loss", *metrics_of(shown)]
    names = names_apart([study.name for study in shown])
    width = float(figure.get_size_inches()[0])
    columns = min(len(shown), max(1, int(width / 1.6)))
    blocks = -(-len(shown) // columns)
    letters = (width / columns - LEFT) / (EM * TITLE)
    figure.set_size_inches(width, min(0.8 * width / columns, 2.1) * len(values) * blocks)
    for i, study in enumerate(shown):
        for j, value in enumerate(values):
            row = (i // columns) * len(values) + j
            ax = figure.add_subplot(blocks * len(values), columns, row * columns + i % columns + 1)
            plot_ucurve(study, ax, value=value)
            if j == 0:
                name = plain_text(names[i], int(letters) - (AT if _at(study) else 0))
                ax.set_title(f"{name}{_at(study)}", loc="left", pad=4, fontsize=TITLE)
                if len(shown) > 1:
                    letter(ax, i)
            if j < len(values) - 1:
                ax.set_xlabel("")


def _at(study: Study) -> str:
    budget = study.fit.isoflop.parabolas[_budget(study)[0]].budget
    return f", {flops_text(budget)}" if np.isfinite(budget) else ""


def _shown(studies: Sequence[Study]) -> list[Study]:
    return [study for study in studies if study.has_curves][:MOST_STUDIES]


def _data(studies: Sequence[Study]) -> pd.DataFrame:
    shown = _shown(studies)
    parts = [
        ucurve_data(study, value).assign(study=study.name, quantity=value)
        for study in shown
        for value in ["loss", *metrics_of(shown)]
    ]
    return pd.concat(parts, ignore_index=True)


def _caption(studies: Sequence[Study]) -> str:
    metrics = metrics_of(_shown(studies))
    text = "Points: runs at the largest budget with a minimum. "
    text += "Solid: the fit's curve, its minimum with the interval of N*."
    if metrics:
        text += " Dashed: parabolas in log N through " + ", ".join(map(metric_text, metrics)) + "; circles: their best."
    left = len(studies) - len(_shown(studies))
    return text + (f" {left} more groups are not shown." if left else "")


FIGURE = Drawing(
    name="ucurve",
    title="Loss and downstream metrics over model size",
    together=True,
    why_not=lambda studies: "" if _shown(studies) else "no budget has three sizes",
    caption=_caption,
    data=_data,
    draw=_draw,
)
