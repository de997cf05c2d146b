"""How N*, D*, L* and D*/N* go with compute, by each approach, as tables with bands; and how such a path is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.answers import isoflop_optimum
from analysis.approaches.optimum import optimal_log_n, path_loss
from analysis.estimates import Estimate
from analysis.figures.study import Study, kept
from analysis.figures.style import DASHES, EXTRAPOLATED, category

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes

BUDGETS = 25
AHEAD = 10.0
"""How far beyond the largest run a path goes, where no answer was asked for further off."""
FAR, FAR_LOSS = 30.0, 1.5
"""Times the estimate up to which an interval without a bound is drawn."""
QUANTITIES = ("N", "D", "loss", "ratio")
STYLES = {"law": category(0), "isoflop": {**category(1), "linestyle": DASHES[3]}, "envelope": category(2)}
NAMES = {"law": "law", "isoflop": "line through the minima", "envelope": "envelope"}


def budgets_of(study: Study) -> np.ndarray:
    """Return budgets from the cheapest run to beyond the dearest, which is one of them."""
    fit, recorded = study.fit, study.runs["C"].to_numpy()
    asked = [budget for budget in fit.budgets if np.isfinite(budget)]
    low, high = min([recorded.min(), *asked]), max([AHEAD * fit.largest, *[1.5 * budget for budget in asked]])
    within = np.geomspace(low, fit.largest, BUDGETS) if low < fit.largest else np.empty(0)
    return np.unique(np.concatenate([within, np.geomspace(fit.largest, high, BUDGETS // 2)]))


@kept
def law_table(study: Study) -> pd.DataFrame:
    """Return N*, D*, L* and D*/N* of the law over the budgets, each with `_low` and `_high` of its draws."""
    fit, spending = study.fit, study.fit.spending
    assert spending is not None
    law, theta, draws = fit.parametric.law, fit.parametric.theta[None], fit.parametric.draws
    rows = []
    for budget in budgets_of(study):
        best, drawn = (optimal_log_n(law, t, spending, budget) if len(t) else np.empty(0) for t in (theta, draws))
        data, data_draws = (spending.cost.log_data(x, budget) for x in (best, drawn))
        loss = path_loss(law, theta, spending, budget, best)[0]
        loss_draws = path_loss(law, draws, spending, budget, drawn) if len(draws) else np.empty(0)
        found = {
            "N": Estimate.of(best[0], drawn, fit.level).exp(),
            "D": Estimate.of(data[0], data_draws, fit.level).exp(),
            "loss": Estimate.of(loss, loss_draws, fit.level),
            "ratio": Estimate.of(data[0] - best[0], data_draws - drawn, fit.level).exp(),
        }
        rows.append(_row("law", budget, found, drawn=len(draws) > 0))
    return pd.DataFrame(rows)


@kept
def line_path(study: Study) -> pd.DataFrame:
    """Return the same of the straight line through the isoFLOP minima; empty where they give none."""
    fit = study.fit
    if fit.isoflop.no_line():
        return pd.DataFrame()
    rows = []
    own = [fit.isoflop.parabolas[i].budget for i in fit.isoflop.bracketed]
    for budget in budgets_of(study):
        if np.abs(np.log(budget / np.array(own))).min() < 2e-3:
            # a bracketed budget answers by its own minimum, and not by the line
            budget *= 0.995 if budget >= 0.999 * fit.largest else 1.005
        answer = isoflop_optimum(fit.isoflop, budget, fit.largest, fit.level)
        found = {"N": answer.N, "D": answer.D, "loss": answer.loss}
        cost = fit.isoflop.cost
        if answer.log_n_draws is not None and cost is not None:
            x = np.log(answer.N.value)
            ratio, drawn = (cost.log_data(v, budget) - v for v in (np.array(x), answer.log_n_draws))
            found["ratio"] = Estimate.of(float(ratio), drawn, fit.level).exp()
        rows.append(_row("isoflop", budget, found, drawn=len(fit.isoflop.draws) > 0))
    return pd.DataFrame(rows)


def minima(study: Study) -> pd.DataFrame:
    """Return the bracketed isoFLOP minima, the envelope's points and the answers asked for, as rows of a kind."""
    fit = study.fit
    rows = []
    for i in fit.isoflop.bracketed:
        p = fit.isoflop.parabolas[i]
        if np.isfinite(p.budget):
            answer = isoflop_optimum(fit.isoflop, p.budget, fit.largest, fit.level)
            rows.append({**_row("isoflop", p.budget, _of(answer), drawn=len(fit.isoflop.draws) > 0), "kind": "minimum"})
    for point in fit.envelope.get("points", []):
        if point["status"] == "bracketed":
            found = {name: Estimate(value=point[name]) for name in ("N", "D", "loss")}
            found["ratio"] = Estimate(value=point["D"] / point["N"])
            rows.append({**_row("envelope", point["flops"], found), "kind": "envelope"})
    for answer in fit.answers:
        if answer.budget and answer.budget > 1.001 * fit.largest:
            row = _row(fit.headline, answer.budget, _of(answer), drawn=answer.log_n_draws is not None)
            rows.append({**row, "kind": "answer"})
    return pd.DataFrame(rows, columns=["kind", "approach", "C", *_columns()])


@kept
def paths(study: Study) -> pd.DataFrame:
    """Return law, line and their points as one table."""
    parts = [minima(study)]
    for kind, frame in (("path", line_path(study)), ("path", law_table(study) if study.allocates else pd.DataFrame())):
        if len(frame):
            parts.append(frame.assign(kind=kind))
    return pd.concat([part for part in parts if len(part)], ignore_index=True) if any(map(len, parts)) else parts[0]


def exponent_text(study: Study, approach: str, name: str) -> str:
    """Return `a = 0.50 [0.47, 0.53]` of an approach, or nothing."""
    found = study.fit.exponents("parametric" if approach == "law" else approach).get(name)
    if found is None:
        return ""
    ends = f" [{found.low:.2f}, {found.high:.2f}]" if found.low is not None and found.high is not None else ""
    return f"${name}={found.value:.2f}${ends}"


def draw_path(ax: Axes, frame: pd.DataFrame, quantity: str, largest: float, *, label: str, **style: Any) -> None:
    """Draw one quantity over C: a line, dashed beyond the largest run, and its band."""
    style = {key: value for key, value in style.items() if key != "marker"}
    inside = frame[frame["C"] <= largest * 1.0001]
    outside = frame[frame["C"] >= (inside["C"].max() if len(inside) else 0.0)]
    ax.plot(inside["C"], inside[quantity], label=label, zorder=3, **style)
    ax.plot(outside["C"], outside[quantity], zorder=3, **{**style, "linestyle": EXTRAPOLATED})
    low, high = _shown_ends(frame, quantity)
    if np.isfinite(low).any():
        ax.fill_between(frame["C"], low, high, color=style["color"], alpha=0.16, linewidth=0, zorder=2)


def draw_points(ax: Axes, frame: pd.DataFrame, quantity: str) -> None:
    """Draw isoFLOP minima as open diamonds with their intervals, the envelope as dots, answers as filled diamonds."""
    for kind, style, label in (
        ("envelope", {"marker": ".", "color": STYLES["envelope"]["color"], "markersize": 3}, "envelope"),
        ("minimum", {"marker": "D", "color": "black", "markerfacecolor": "white"}, "isoFLOP minima"),
        ("answer", {"marker": "D", "color": "black"}, "answer"),
    ):
        part = frame[(frame["kind"] == kind) & frame[quantity].notna()]
        if part.empty:
            continue
        value = part[quantity].to_numpy(dtype=float)
        low, high = _shown_ends(part, quantity)
        bars = np.abs(np.nan_to_num(np.stack([value - low, high - value])))
        ax.errorbar(part["C"], value, yerr=bars if bars.any() else None, linestyle="none", elinewidth=0.8,
                    ecolor="black", zorder=5, label=label, **style)  # fmt: skip


def _shown_ends(frame: pd.DataFrame, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of intervals as far as they are drawn: an end without a bound runs far, and does not vanish."""
    value, low, high = (frame[f"{quantity}{end}"].to_numpy(dtype=float) for end in ("", "_low", "_high"))
    reach = FAR_LOSS if quantity == "loss" else FAR
    return np.maximum(low, value / reach), np.minimum(high, value * reach)


def _of(answer: Any) -> dict[str, Estimate | None]:
    ratio = Estimate(value=answer.D.value / answer.N.value) if answer.D else None
    if answer.D:  # D falls as N rises at one budget, so that the ends of the ratio are those of both
        low = None if None in (answer.D.low, answer.N.high) else answer.D.low / answer.N.high
        high = None if None in (answer.D.high, answer.N.low) else answer.D.high / answer.N.low
        ratio = Estimate(value=answer.D.value / answer.N.value, low=low, high=high)
    return {"N": answer.N, "D": answer.D, "loss": answer.loss, "ratio": ratio}


def _row(approach: str, budget: float, found: Mapping[str, Estimate | None], *, drawn: bool = False) -> dict[str, Any]:
    """Return a row of a path; with draws an end without a bound is 0 or infinite, without them there is none."""
    row: dict[str, Any] = {"approach": approach, "C": budget}
    for name in QUANTITIES:
        estimate = found.get(name)
        row[name] = estimate.value if estimate else np.nan
        for side, none in (("low", 0.0), ("high", np.inf)):
            end = getattr(estimate, side) if estimate else None
            row[f"{name}_{side}"] = end if end is not None else none if drawn and estimate else np.nan
    return row


def _columns() -> list[str]:
    return [f"{name}{end}" for name in QUANTITIES for end in ("", "_low", "_high")]
