"""A fit as files: fit.json (the contract of `--json`) and fit.draws.npz beside it, and back."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.approaches.isoflop import IsoFlop, Parabola
from analysis.approaches.optimum import Spending
from analysis.approaches.parametric import Certificate, Parametric
from analysis.data.columns import FRAMES_AN_HOUR
from analysis.data.costmodel import CostModel
from analysis.data.metrics import Scale
from analysis.engine.objectives import OBJECTIVES, Objective, log_mse, objective_named
from analysis.judgement.choices import Choice
from analysis.laws import LAWS, Law, law_named
from scaling import __version__
from scaling.errors import InputError
from scaling.files import atomic_file, plain, read_json, write_json

if TYPE_CHECKING:
    from analysis.fitting import Fit

SCHEMA = 2
BESIDE: dict[str, Any] = {"metrics": {}, "differences": [], "transfer": {}}
"""What other metrics of the runs say, and what stands where none was asked for."""


def to_dict(fit: Fit) -> dict[str, Any]:
    """Return a fit as plain values."""
    law, parametric = fit.parametric.law, fit.parametric
    natural = {name: float(value) for name, value in law.natural(parametric.theta).items()}
    with np.errstate(invalid="ignore"):  # between draws that have no bound
        ends = {
            name: np.quantile(values, [(1 - fit.level) / 2, (1 + fit.level) / 2]).tolist()
            for name, values in (law.natural(parametric.draws).items() if len(parametric.draws) else ())
        }
    return plain(
        {
            "schema": SCHEMA,
            "label": fit.label,
            "headline": fit.headline,
            "cost": fit.spending.cost.to_dict() if fit.spending else None,
            "batch": float(np.exp(fit.spending.log_b)) if fit.spending and fit.spending.log_b is not None else None,
            "largest_flops": fit.largest,
            "middle_flops": fit.middle,
            "unique": fit.unique,
            "unique_hours": _hours(fit),
            "limit": fit.limit,
            "data_unit": fit.data_unit,
            "loss": fit.loss_name,
            "scale": fit.scale.to_dict(),
            "size": fit.size_name,
            "sizes": {name: list(knots) for name, knots in fit.sizes.items()},
            "cluster": parametric.cluster,
            "weights": fit.weighting,
            "law": {
                "name": law.name,
                "equation": law.equation,
                "latex": law.latex,
                "source": law.citation,
                "chosen": fit.chosen,
            },
            "objective": {
                "name": parametric.objective.name,
                "delta": parametric.objective.delta,
                "value": parametric.value,
                "n": parametric.rows,
            },
            "params": natural,
            "theta": parametric.theta,
            "certificate": parametric.certificate.to_dict(),
            "intervals": {
                "level": fit.level,
                "method": fit.isoflop.intervals if fit.headline == "isoflop" else parametric.method,
                "cluster": parametric.cluster if fit.headline == "parametric" else "none",
                "draws": len(fit.isoflop.draws) if fit.headline == "isoflop" else len(parametric.draws),
                "failed": parametric.failed if fit.headline == "parametric" else 0,
                "seed": fit.seed,
                "params": ends,
            },
            "exponents": _exponents(fit, None),
            "optimum": [{**answer.to_dict(), "unique_hours": _hours(fit)} for answer in fit.answers],
            "approaches": {
                "envelope": fit.envelope,
                "isoflop": {
                    **_exponents(fit, "isoflop"),
                    "curve": fit.isoflop.method,
                    "method": fit.isoflop.intervals,
                    "draws": len(fit.isoflop.draws),
                    "sigma": fit.isoflop.sigma,
                    "degrees": fit.isoflop.degrees,
                    "budgets": [_budget(fit, i) for i in range(len(fit.isoflop.parabolas))],
                },
                "parametric": {
                    **_exponents(fit, "parametric"),
                    "method": parametric.method,
                    "draws": len(parametric.draws),
                    "status": parametric.certificate.status,
                    "failed": parametric.failed,
                },
            },
            "holdout": fit.holdout,
            "choices": [
                {
                    "law": choice.law.name,
                    "objective": choice.objective,
                    "window": choice.window,
                    "weight": choice.weight,
                    "theta": choice.theta,
                }
                for choice in fit.choices
            ],
            "judgement": fit.judgement,
            "contradicted": fit.contradicted,
            **{part: fit.beside.get(part, empty) for part, empty in BESIDE.items()},
            "warnings": fit.warnings,
            "excluded": fit.excluded,
            "input": {**fit.source, "used": fit.used},
            "versions": {
                "scaling-sweep": __version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
        }
    )


def save_fit(fit: Fit, folder: Path | str) -> Path:
    """Write fit.json and fit.draws.npz into a folder and return the first."""
    folder = Path(folder)
    write_json(folder / "fit.json", fit.to_dict())
    with atomic_file(folder / "fit.draws.npz") as file:
        np.savez(file, isoflop=fit.isoflop.draws, parametric=fit.parametric.draws)
    return folder / "fit.json"


def load_fit(path: Path | str, *, law: Law | None = None) -> Fit:
    """Return the fit that `save_fit` wrote: it predicts, answers for any budget with intervals, and summarises.

    Args:
        path: fit.json, or its folder.
        law: The law object, where the fit was made with one of the user's own.

    Raises:
        InputError: When there is no fit of this version there, or it needs a law that is not given.

    Example:
        >>> from analysis import fit, load
        >>> fitted = fit(load("runs.csv")[0])
        >>> load_fit(save_fit(fitted, Path("fits"))).optimum(1e18) == fitted.optimum(1e18)
        True
    """
    from analysis.fitting import Fit

    path = Path(path)
    if path.is_dir():
        path = path / "fit.json"
    values = read_json(path)
    if values.get("schema") != SCHEMA:
        raise InputError(
            "not a fit of this version", where=path, value=f"schema {values.get('schema')}", remedy="fit again"
        )
    draws_file = path.with_name("fit.draws.npz")
    if not draws_file.exists():
        raise InputError("the draws beside the fit are missing", where=draws_file, remedy="fit again")
    with np.load(draws_file, allow_pickle=False) as archive:
        isoflop_draws, parametric_draws = archive["isoflop"], archive["parametric"]
    cost = CostModel.from_dict(values["cost"]) if values["cost"] else None
    isoflop, certificate, objective = (values["approaches"]["isoflop"], values["certificate"], values["objective"])
    laws = {**LAWS, **({law.name: law} if law else {})}
    name = values["law"]["name"]
    if name not in laws and ":" not in name:
        raise InputError("made with a law of one's own", where=path, value=name, remedy="load_fit(path, law=...)")
    own = laws[name] if name in laws else law_named(name)
    if set(own.parameters) != set(values["params"]):
        raise InputError(
            "another law than the one that was fitted", where=path, value=name, remedy="load_fit(path, law=...)"
        )
    fitted = certificate["status"] != "refused"
    spending = None
    if cost is not None:
        logs = [None if values[key] is None else float(np.log(values[key])) for key in ("unique", "batch")]
        spending = Spending(cost, logs[0], logs[1])
    return Fit(
        label=values["label"],
        source=values["input"],
        used=values["input"]["used"],
        excluded=values["excluded"],
        unique=values["unique"],
        data_unit=values["data_unit"],
        loss_name=values["loss"],
        size_name=values["size"],
        largest=_number(values["largest_flops"]),
        middle=_number(values["middle_flops"]),
        spending=spending,
        isoflop=_isoflop(isoflop, isoflop_draws, cost),
        envelope=values["approaches"]["envelope"],
        parametric=Parametric(
            law=own,
            objective=_objective(objective),
            theta=np.array(values["theta"], dtype=float) if fitted else np.full(len(own.parameters), np.nan),
            value=_number(objective["value"]),
            rows=objective["n"],
            certificate=_certificate(certificate),
            draws=parametric_draws,
            failed=values["approaches"]["parametric"]["failed"],
            method=values["approaches"]["parametric"]["method"],
            cluster=values["cluster"],
        ),
        chosen=values["law"]["chosen"],
        weighting=values["weights"],
        headline=values["headline"],
        level=values["intervals"]["level"],
        seed=values["intervals"]["seed"],
        budgets=[_number(answer["budget"]) for answer in values["optimum"]],
        limit=values["limit"],
        contradicted=values["contradicted"],
        choices=[
            Choice(
                law=laws[choice["law"]],
                objective=choice["objective"],
                window=choice["window"],
                weight=choice["weight"],
                theta=np.array(choice["theta"], dtype=float),
            )
            for choice in values["choices"]
            if choice["law"] in laws
        ],
        sizes={name: (knots[0], knots[1]) for name, knots in values["sizes"].items()},
        holdout=values["holdout"],
        judgement=values["judgement"],
        warnings=values["warnings"],
        scale=Scale.from_dict(values.get("scale")),
        beside={part: values[part] for part in BESIDE if values.get(part)},
    )


def _hours(fit: Fit) -> float | None:
    """Return the unique data in hours, where D counts frames."""
    return fit.unique / FRAMES_AN_HOUR if fit.unique is not None and fit.data_unit == "frames" else None


def _objective(values: dict[str, Any]) -> Objective:
    """Return the objective; of one of the caller's own only the name is known, and nothing is fitted any more."""
    if values["name"] in OBJECTIVES:
        return objective_named(values["name"], values["delta"])
    return Objective(values["name"], log_mse().rho, values["delta"])


def _certificate(values: dict[str, Any]) -> Certificate:
    return Certificate(
        status=values["status"],
        reason=values["reason"],
        gradient=_number(values["gradient"]),
        positive=values["positive_definite"],
        starts=values["starts"],
        agree=values["agree"],
        moved=values["moved"],
        bounds=values["bounds"],
    )


def _isoflop(values: dict[str, Any], draws: np.ndarray, cost: CostModel | None) -> IsoFlop:
    return IsoFlop(
        parabolas=[_parabola(row) for row in values["budgets"]],
        degrees=values["degrees"],
        sigma=_number(values["sigma"]),
        draws=draws,
        cost=cost,
        method=values["curve"],
        intervals=values["method"],
    )


def _exponents(fit: Fit, approach: str | None) -> dict[str, Any]:
    return {name: estimate.to_dict() for name, estimate in fit.exponents(approach).items()}


def _budget(fit: Fit, i: int) -> dict[str, Any]:
    """Return one parabola."""
    p = fit.isoflop.parabolas[i]
    log_d = fit.spending.cost.log_data(np.array(p.log_n), p.budget) if fit.spending else np.array(np.nan)
    return {
        "budget": p.budget,
        "flops": p.flops,
        "N": np.exp(p.log_n),
        "D": np.exp(log_d),
        "loss": p.loss,
        "status": p.status,
        "reason": p.reason,
        "censored": p.censored,
        "unique": p.unique if np.isfinite(p.unique) else None,
        "rows": p.rows,
        "center": p.center,
        "coefficients": p.coefficients,
        "log": p.log,
        "sizes": [np.exp(p.low), np.exp(p.high)],
    }


def _parabola(row: dict[str, Any]) -> Parabola:
    return Parabola(
        budget=_number(row["budget"]),
        flops=_number(row["flops"]),
        rows=np.array(row["rows"], dtype=int),
        center=row["center"],
        coefficients=np.array([_number(c) for c in row["coefficients"]]),
        status=row["status"],
        reason=row["reason"],
        low=float(np.log(row["sizes"][0])),
        high=float(np.log(row["sizes"][1])),
        censored=row["censored"],
        unique=float("inf") if row["unique"] is None else float(row["unique"]),
        log=row.get("log", False),
    )


def _number(value: float | None) -> float:
    """Return a number; JSON's null stands for NaN."""
    return float("nan") if value is None else float(value)
