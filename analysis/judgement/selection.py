"""Which laws a study can choose between, and the fit of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.approaches.parametric import Parametric, fit_parametric
from analysis.data.table import RunTable
from analysis.engine.objectives import Objective
from analysis.engine.resampling import Sample
from analysis.judgement.backtest import Score, backtest, choose, weights_of
from analysis.laws import LAWS, Law

AUTO = "auto"
SURFACES = ("chinchilla", "skaling", "kaplan", "farseer")
"""Laws of N and D that leave the exponent of N* to the data."""
REPEATING = ("data-constrained", "over-fitting", "bounded")
"""Laws of data that repeat."""
ROWS_PER_PARAMETER = 8
"""Rows that a law beside the incumbent needs for each of its parameters: fewer cannot tell laws apart."""
BATCH_SPREAD = 0.3
"""Standard deviation of log batch around its own trend in N and D from which the batch is a variable of its own."""
MOST_ROWS = 5_000
"""Rows above which only the incumbent is fitted by default: the other laws would take minutes."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The law that was chosen, and what it was chosen from."""

    parametric: Parametric
    sample: Sample | None
    """None without a certificate."""
    scores: list[Score]
    """Best first."""
    weights: dict[str, float]
    """Of the scored laws; of the chosen law alone where none was scored."""
    fits: list[tuple[Parametric, Sample]]
    """Certified fits of all laws that were weighed."""
    chosen: str
    """How the law was chosen, as a sentence."""


def select(
    table: RunTable, law: Law | str, objective: Objective, *, weights: np.ndarray | None, weigh: bool = True
) -> Selection:
    """Return a fit by the law that is named, or by the one that foretells best.

    Args:
        table: The runs.
        law: A law, or `auto`.
        objective: What to minimise.
        weights: Of the rows.
        weigh: Whether laws that are not chosen are fitted and scored too, for the interval that spans them.
    """
    given = law if isinstance(law, Law) else None
    incumbent = given or LAWS[incumbent_of(table)]
    laws = candidates(table) if weigh and table.cost != "none" else []
    usual = [incumbent] if given else [incumbent, LAWS["chinchilla"]]
    laws = list({other.name: other for other in (*usual, *laws, *usual)}.values())  # the first name, the given law
    fits = {other.name: fit_parametric(table, other, objective, weights=weights) for other in laws}
    scored = table.cost != "none" and (len(laws) > 1 or given is not None)
    # one delta for all laws and cuts: it stands for the noise, which is the runs' and not the law's
    scores = backtest(table, laws, fits[incumbent.name][0].objective) if scored else []
    preferred = incumbent.name if given else choose(scores, incumbent.name)
    # a law without a certificate answers nothing: the next one does, and Chinchilla's is the last resort
    order = [preferred] if given else [preferred, incumbent.name, "chinchilla"]
    name = next((other for other in order if fits[other][1] is not None), preferred)
    parametric, sample = fits[name]
    certified = [(fitted, its) for fitted, its in fits.values() if its is not None]
    shares = weights_of([score for score in scores if fits[score.law][1] is not None])
    return Selection(
        parametric=parametric,
        sample=sample,
        scores=scores,
        weights=shares if name in shares else {name: 1.0},
        fits=certified,
        chosen="as --law says" if given else _why(scores, name, preferred, incumbent.name),
    )


def incumbent_of(table: RunTable) -> str:
    """Return the law that stays unless another one foretells better."""
    known = "U" in table.runs and table.runs["U"].notna().all()
    return "data-constrained" if table.repeats and known else "chinchilla"


def candidates(table: RunTable) -> list[Law]:
    """Return the laws that a table's runs can choose between."""
    if table.used > MOST_ROWS:
        return []
    names: Sequence[str] = SURFACES
    if incumbent_of(table) == "data-constrained":
        names = (*names, *REPEATING)
    if _batch_varies(table):
        names = (*names, "three-term")
    return [LAWS[name] for name in names if table.used >= ROWS_PER_PARAMETER * len(LAWS[name].parameters)]


def _batch_varies(table: RunTable) -> bool:
    """Whether the batch varies on its own, beside N and D."""
    runs = table.runs
    if "B" not in runs or runs["B"].isna().any():
        return False
    logs = np.log(runs[["N", "D", "B"]].to_numpy(dtype=float))
    columns = np.column_stack([np.ones(len(logs)), logs[:, :2]])
    rest = logs[:, 2] - columns @ np.linalg.lstsq(columns, logs[:, 2], rcond=None)[0]
    return bool(rest.std() > BATCH_SPREAD)


def _why(scores: list[Score], name: str, preferred: str, incumbent: str) -> str:
    if name != preferred:
        return f"{preferred} has no certified minimum on these runs"
    scored = [score for score in scores if np.isfinite(score.rms)]
    if name != incumbent:
        return f"it foretells dearer runs better than {incumbent}, by more than two standard errors"
    if not scores:  # none but it had the runs, so that nothing was held back to choose by
        return f"the usual law; another is weighed from {ROWS_PER_PARAMETER} runs for each of its parameters on"
    if not any(score.law == incumbent for score in scored):
        return "the usual law; too few runs to hold some back"
    if scored[0].law == incumbent:
        return "it foretells dearer runs best"
    return f"the usual law; {scored[0].law} foretells dearer runs no better within two standard errors"
