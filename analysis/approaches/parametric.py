"""Approach 3: a law through all runs, from many starts, with a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.data.points import Points
from analysis.data.table import RunTable
from analysis.engine.newton import DECREMENT, Minima, derivatives, minimise
from analysis.engine.objectives import SMALLEST_DELTA, TUNING, Objective, huber, log_mse, robust_scale
from analysis.engine.resampling import Sample
from analysis.engine.surfaces import Surface
from analysis.engine.vertex import MOST_ROWS, descend
from analysis.laws import Law

VANISHED = 1e-6
"""A term whose share of every prediction is below this has run to zero."""
FLOOR = "E"
"""The coefficient of the term that may be zero."""
AGREE = 1e-9
"""Starts agree when they end within this relative distance of the lowest value."""
SECOND = 3
"""So many of the starts that are lowest in the objective itself are followed beside the minima of least squares."""
SAME_END = 1e-7
CORNERS = 4
"""Smoothed minima from which least absolute deviations go on to a vertex."""
DELTA_ROUNDS = 6
NAMES = {"N": "N", "D": "D", "C": "C", "U": "the unique data U (column `unique_hours` or `--u`)",
         "B": "the batch (column `batch_frames` or `--b`)"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """Why a minimum is to be believed, or why not."""

    status: str
    """`converged`: a certified minimum. `unidentified`: the data do not fix all parameters. `not-converged`: no start
    ended at a minimum. `refused`: no fit was tried."""
    reason: str = ""
    gradient: float = float("nan")
    """Decrease that Newton's model still expects, over the objective: the scaled gradient."""
    positive: bool = False
    """Whether the Hessian is positive definite (for least absolute deviations: on the directions that are free)."""
    starts: int = 0
    agree: float = 0.0
    """Share of the starts that end at this minimum."""
    moved: bool = False
    """Whether the minimum is none of the start points."""
    bounds: list[str] = field(default_factory=list)
    """Parameters at the edge of what makes sense: a term that ran to zero, an exponent that is not above zero."""

    def to_dict(self) -> dict[str, object]:
        """Return the certificate as the contract of `--json` says."""
        return {
            "gradient": self.gradient,
            "positive_definite": self.positive,
            "starts": self.starts,
            "agree": self.agree,
            "moved": self.moved,
            "bounds": self.bounds,
            "status": self.status,
            "reason": self.reason,
        }


@dataclass(frozen=True, kw_only=True)
class Parametric:
    """A fitted law; its certificate says whether to believe it."""

    law: Law
    objective: Objective
    """With the delta that was used."""
    theta: np.ndarray
    value: float
    """The SUM of the objective over the rows."""
    rows: int
    certificate: Certificate
    draws: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    """theta of every successful draw."""
    failed: int = 0
    method: str = ""
    cluster: str = "none"

    @property
    def certified(self) -> bool:
        """Whether the fit carries its certificate."""
        return self.certificate.status == "converged"

    @property
    def reason(self) -> str:
        """Why it carries none."""
        return self.certificate.reason

    def log_loss(self, x: Points) -> np.ndarray:
        """Return log L at points."""
        return self.law.log_loss(self.theta, x)


def fit_parametric(
    table: RunTable, law: Law, objective: Objective, *, weights: np.ndarray | None = None
) -> tuple[Parametric, Sample | None]:
    """Fit a law from many starts and certify the lowest minimum.

    Args:
        table: The runs, with what the law is a function of, and the loss.
        law: What to fit.
        objective: What to minimise.
        weights: Of the rows, [rows].

    Returns:
        The fit, and the sample that draws are made from where it is certified.
    """
    if reason := cannot(table, law):
        refused = Certificate(status="refused", reason=reason)
        theta = np.full(len(law.parameters), np.nan)
        return Parametric(
            law=law, objective=objective, theta=theta, value=np.nan, rows=table.used, certificate=refused
        ), None
    fitted, sample = fit_points(Points.of_table(table), table.runs["loss"].to_numpy(), law, objective, weights=weights)
    return fitted, sample if fitted.certified else None


def fit_points(
    x: Points,
    loss: np.ndarray,
    law: Law,
    objective: Objective,
    *,
    weights: np.ndarray | None = None,
    starts: np.ndarray | None = None,
    second: int = SECOND,
) -> tuple[Parametric, Sample]:
    """Fit a law to losses at points, from the law's own starts or from given ones.

    Least squares from every start comes first: it is smooth, and its minima are good starts for the objective. Where
    Huber's delta is to follow from the residuals, it does so from the best of them: delta and fit in turn until
    delta stands still. Then the objective is minimised from every distinct minimum of least squares, and from those
    start points themselves that lie lowest in it.

    Example:
        >>> from analysis.laws import Chinchilla
        >>> law, rng = Chinchilla(), np.random.default_rng(0)
        >>> x = Points.of(N=np.exp(rng.uniform(18, 24, 60)), D=np.exp(rng.uniform(21, 26, 60)))
        >>> truth = law.theta({"E": 1.8, "A": 400.0, "B": 2000.0, "alpha": 0.34, "beta": 0.37})
        >>> loss = np.exp(law.log_loss(truth, x) + 0.01 * rng.standard_normal(60))
        >>> fit_points(x, loss, law, log_mse())[0].certificate.status
        'converged'
    """
    surface, log_y = law.surface(x), np.log(loss)
    starts = law.starts(x, loss) if starts is None else starts
    if not np.isfinite(derivatives(surface, log_y, starts, log_mse(), weights)[0]).any():
        nowhere = Certificate(status="not-converged", reason="the law gives no positive loss at any of its starts")
        theta = starts[0]
        fitted = Parametric(
            law=law, objective=objective, theta=theta, value=np.inf, rows=len(loss), certificate=nowhere
        )
        return fitted, Sample(surface=surface, log_y=log_y, theta=theta, objective=objective, weights=weights)
    squares = minimise(surface, log_y, starts, log_mse(), weights=weights)
    if objective.tuned:
        objective = huber(tuned_delta(surface, log_y, squares.theta[squares.value.argmin()], weights))
    if objective.name == "log-mse":
        ends, counts = squares, np.ones(len(starts))
    else:
        distinct, counts = _distinct(squares)
        near = _lowest(surface, log_y, starts, objective, weights)[:second]
        ends = minimise(surface, log_y, np.concatenate([distinct, near]), objective, weights=weights)
        counts = np.concatenate([counts, np.ones(len(near))])
    best = int(np.argmin(ends.value))
    theta, value = ends.theta[best], float(ends.value[best])
    agree = float(counts[ends.value <= ends.value[best] * (1 + AGREE) + 1e-300].sum() / counts.sum())
    converged, positive = bool(ends.converged[best]), bool(ends.positive[best])
    gradient = float(ends.decrement[best])
    if objective.name == "lad" and len(loss) <= MOST_ROWS:
        lowest = ends.theta[np.argsort(ends.value, kind="stable")[:CORNERS]]
        corners = [descend(surface, log_y, near, weights) for near in lowest]
        corner = min(corners, key=lambda end: end.value)
        theta, value, gradient, positive = corner.theta, corner.value, corner.gradient, corner.positive
        converged = positive and gradient < AGREE
        agree = float(np.mean([end.value <= value * (1 + AGREE) for end in corners]))
    certificate = Certificate(
        **_status(converged, positive, gradient, law, theta, x),  # type: ignore[arg-type]
        gradient=gradient,
        positive=positive,
        starts=len(starts),
        agree=agree,
        moved=bool(np.abs(starts - theta).max(axis=1).min() > 1e-6),
    )
    fitted = Parametric(law=law, objective=objective, theta=theta, value=value, rows=len(loss), certificate=certificate)
    return fitted, Sample(surface=surface, log_y=log_y, theta=theta, objective=objective, weights=weights)


def tuned_delta(surface: Surface, log_y: np.ndarray, theta: np.ndarray, weights: np.ndarray | None) -> float:
    """Return Huber's delta, 1.345 x the robust scale of the residuals at the fit that it gives itself.

    Args:
        surface: The law over the rows.
        log_y: [rows].
        theta: Where to start, [parameters].
        weights: [rows].
    """
    delta = 0.0
    for _ in range(DELTA_ROUNDS):
        residuals = surface.at(theta[None]).log_loss[0] - log_y
        new = max(TUNING * robust_scale(residuals, len(theta)), SMALLEST_DELTA)
        if abs(new - delta) < 1e-2 * new:
            break
        delta = new
        theta = minimise(surface, log_y, theta[None], huber(delta), weights=weights).theta[0]
    return delta


def refit(sample: Sample, kept: Sequence[np.ndarray]) -> Minima:
    """Return fits of one sample to some of its rows, each from the minimum of all.

    Args:
        sample: What was fitted.
        kept: Rows of every fit, bool [rows] or numbers.
    """

    def weights(first: int, last: int) -> np.ndarray:
        out = np.zeros((last - first, len(sample.log_y)))
        for problem, rows in zip(out, kept[first:last], strict=True):
            problem[rows] = 1.0 if sample.weights is None else sample.weights[rows]
        return out

    start = np.repeat(sample.theta[None], len(kept), axis=0)
    return minimise(sample.surface, sample.log_y, start, sample.refitted, weights=weights)


def with_draws(fitted: Parametric, theta: np.ndarray, failed: int, method: str, cluster: str) -> Parametric:
    """Return the fit with its draws."""
    return replace(fitted, draws=theta, failed=failed, method=method, cluster=cluster)


def cannot(table: RunTable, law: Law) -> str:
    """Return why a law cannot be fitted to a table, or nothing."""
    runs = table.runs
    x_known = [symbol for symbol in "NDCUB" if symbol in runs and runs[symbol].notna().all()]
    if missing := [symbol for symbol in law.needs if symbol not in x_known]:
        return "the table lacks " + " and ".join(NAMES[symbol] for symbol in missing)
    if len(runs) <= len(law.parameters):
        return f"{len(runs)} rows for {len(law.parameters)} parameters"
    for symbol in (s for s in law.needs if s != "U"):
        if runs[symbol].nunique() < 3:
            return f"fewer than three values of {symbol}"
    if "U" in law.needs and not (runs["D"] > runs["U"] * (1 + 1e-6)).any():
        return "no run repeats its data"
    if np.ptp(runs["loss"].to_numpy()) == 0:
        return "all losses are equal"
    if {"N", "D"} <= set(law.needs):
        logs = np.log(runs[["N", "D"]].to_numpy())
        if abs(np.corrcoef(logs.T)[0, 1]) > 1 - 1e-9:
            return "N and D are collinear: one follows from the other in every run"
    return ""


def _distinct(ends: Minima) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct ends, lowest first, and how many starts each has."""
    order = np.argsort(ends.value, kind="stable")
    values = ends.value[order]
    with np.errstate(invalid="ignore"):
        new = np.concatenate([[True], np.diff(values) > SAME_END * np.abs(values[1:])])
    firsts = order[new]
    counts = np.diff(np.append(np.flatnonzero(new), len(order))).astype(float)
    fine = np.isfinite(ends.value[firsts])
    return ends.theta[firsts[fine]], counts[fine]


def _lowest(
    surface: Surface, log_y: np.ndarray, starts: np.ndarray, objective: Objective, weights: np.ndarray | None
) -> np.ndarray:
    """Return the start points that lie lowest in the objective."""
    total = np.empty(len(starts))
    with np.errstate(all="ignore"):
        for i, start in enumerate(starts):  # one by one: with many rows all starts at once fill the memory
            value = objective.rho(surface.at(start[None]).log_loss[0] - log_y, log_y)[0]
            total[i] = (value if weights is None else value * weights).sum()
    order = np.argsort(np.where(np.isfinite(total), total, np.inf), kind="stable")
    return starts[order]


def _status(
    converged: bool, positive: bool, gradient: float, law: Law, theta: np.ndarray, x: Points
) -> dict[str, object]:
    """Return status, reason and the bounds that were hit.

    A floor of zero is a minimum at the bound, since F falls all the way to it: the law then stands without its floor,
    and the bound is named.
    """
    gone = law.vanished(theta, x, VANISHED) if np.isfinite(theta).all() else []
    natural = law.natural(theta)
    wrong = [name for name in law.exponents if not natural[name] > 0]
    bounds = [*gone, *wrong]
    if set(gone) - {FLOOR}:
        reason = f"{' and '.join(gone)} ran to zero: the runs do not fix the law"
        return {"status": "unidentified", "reason": reason, "bounds": bounds}
    if converged and not wrong:
        return {"status": "converged", "reason": "", "bounds": bounds}
    if wrong and converged:
        reason = f"{' and '.join(wrong)} not above zero: the loss does not fall as the law says"
        return {"status": "unidentified", "reason": reason, "bounds": bounds}
    if not positive and gradient < DECREMENT:
        reason = "the Hessian is not positive definite: the runs do not fix all parameters of the law"
        return {"status": "unidentified", "reason": reason, "bounds": bounds}
    reason = f"no start ended at a minimum (expected decrease {gradient:.1e} of the objective)"
    return {"status": "not-converged", "reason": reason, "bounds": bounds}
