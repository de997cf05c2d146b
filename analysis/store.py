"""A fit as files: fit.json (the contract of `--json`) and fit.draws.npz beside it, and back."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.costmodel import CostModel
from analysis.isoflop import IsoFlop, Parabola
from analysis.laws import law_named
from analysis.newton import objective_named
from analysis.parametric import Parametric
from scaling import __version__
from scaling.errors import InputError
from scaling.files import atomic_file, plain, read_json, write_json

if TYPE_CHECKING:
    from analysis.fitting import Fit

SCHEMA = 1


def to_dict(fit: Fit) -> dict[str, Any]:
    """Return a fit as plain values."""
    law, parametric = fit.parametric.law, fit.parametric
    natural = {name: float(value) for name, value in law.natural(parametric.theta).items()}
    ends = {
        name: np.quantile(values, [(1 - fit.level) / 2, (1 + fit.level) / 2]).tolist()
        for name, values in (law.natural(parametric.draws).items() if len(parametric.draws) else ())
    }
    isoflop_method = "normal draws, variance pooled over the budgets" if len(fit.isoflop.draws) else ""
    return plain(
        {
            "schema": SCHEMA,
            "label": fit.label,
            "headline": fit.headline,
            "cost": fit.cost.to_dict() if fit.cost else None,
            "largest_flops": fit.largest,
            "middle_flops": fit.middle,
            "unique_hours": fit.unique_hours,
            "data_unit": fit.data_unit,
            "loss": fit.loss_name,
            "cluster": parametric.cluster or "none",
            "law": {"name": law.name, "equation": law.equation, "latex": law.latex, "source": law.citation},
            "objective": {
                "name": parametric.objective.name,
                "delta": parametric.objective.delta,
                "value": parametric.value,
                "n": parametric.rows,
            },
            "params": natural,
            "certificate": {
                "gradient": parametric.decrement,
                "positive_definite": parametric.positive,
                "starts": parametric.starts,
                "agree": parametric.agree,
                "status": parametric.status,
                "reason": parametric.reason,
            },
            "intervals": {
                "level": fit.level,
                "method": isoflop_method if fit.headline == "isoflop" else parametric.method,
                "cluster": parametric.cluster or "none" if fit.headline == "parametric" else "none",
                "draws": len(fit.isoflop.draws) if fit.headline == "isoflop" else len(parametric.draws),
                "failed": parametric.failed if fit.headline == "parametric" else 0,
                "seed": fit.seed,
                "params": ends,
            },
            "exponents": _exponents(fit, None),
            "optimum": [{**answer.to_dict(), "unique_hours": fit.unique_hours} for answer in fit.answers],
            "approaches": {
                "isoflop": {
                    **_exponents(fit, "isoflop"),
                    "method": isoflop_method,
                    "draws": len(fit.isoflop.draws),
                    "sigma": fit.isoflop.sigma,
                    "degrees": fit.isoflop.degrees,
                    "budgets": [_budget(fit, i) for i in range(len(fit.isoflop.parabolas))],
                },
                "parametric": {
                    **_exponents(fit, "parametric"),
                    "method": parametric.method,
                    "draws": len(parametric.draws),
                    "status": parametric.status,
                    "failed": parametric.failed,
                },
            },
            "holdout": [],
            "contradicted": fit.contradicted,
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


def save_fit(fit: Fit, folder: Path) -> Path:
    """Write fit.json and fit.draws.npz into a folder and return the first."""
    write_json(folder / "fit.json", fit.to_dict())
    with atomic_file(folder / "fit.draws.npz") as file:
        np.savez(file, isoflop=fit.isoflop.draws, parametric=fit.parametric.draws)
    return folder / "fit.json"


def load_fit(path: Path | str) -> Fit:
    """Return the fit that `save_fit` wrote: it predicts, answers for any budget with intervals, and summarises.

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
        raise InputError("not a fit of this version", where=path, value=values.get("schema"))
    draws_file = path.with_name("fit.draws.npz")
    if not draws_file.exists():
        raise InputError("the draws beside the fit are missing", where=draws_file, remedy="fit again")
    with np.load(draws_file, allow_pickle=False) as archive:
        isoflop_draws, parametric_draws = archive["isoflop"], archive["parametric"]
    cost = CostModel.from_dict(values["cost"]) if values["cost"] else None
    isoflop, certificate, objective = (
        values["approaches"]["isoflop"],
        values["certificate"],
        values["objective"],
    )
    law = law_named(values["law"]["name"])
    fitted = certificate["status"] != "refused"
    return Fit(
        label=values["label"],
        source=values["input"],
        used=values["input"]["used"],
        excluded=values["excluded"],
        unique_hours=values["unique_hours"],
        data_unit=values["data_unit"],
        loss_name=values["loss"],
        largest=_number(values["largest_flops"]),
        middle=_number(values["middle_flops"]),
        cost=cost,
        isoflop=IsoFlop(
            parabolas=[_parabola(row) for row in isoflop["budgets"]],
            degrees=isoflop["degrees"],
            sigma=_number(isoflop["sigma"]),
            draws=isoflop_draws,
            cost=cost,
        ),
        parametric=Parametric(
            law=law,
            objective=objective_named(objective["name"], objective["delta"]),
            theta=law.theta(values["params"]) if fitted else np.full(len(law.parameters), np.nan),
            value=_number(objective["value"]),
            rows=objective["n"],
            status=certificate["status"],
            reason=certificate["reason"],
            decrement=_number(certificate["gradient"]),
            positive=certificate["positive_definite"],
            starts=certificate["starts"],
            agree=certificate["agree"],
            draws=parametric_draws,
            failed=values["approaches"]["parametric"]["failed"],
            method=values["approaches"]["parametric"]["method"],
            cluster=values["cluster"],
        ),
        headline=values["headline"],
        level=values["intervals"]["level"],
        seed=values["intervals"]["seed"],
        budgets=[_number(answer["budget"]) for answer in values["optimum"]],
        contradicted=values["contradicted"],
        warnings=values["warnings"],
    )


def _exponents(fit: Fit, approach: str | None) -> dict[str, Any]:
    return {name: estimate.to_dict() for name, estimate in fit.exponents(approach).items()}


def _budget(fit: Fit, i: int) -> dict[str, Any]:
    """Return one parabola."""
    p = fit.isoflop.parabolas[i]
    log_d = fit.cost.log_data(np.array(p.log_n), p.budget) if fit.cost else np.array(np.nan)
    return {
        "budget": p.budget,
        "flops": p.flops,
        "N": np.exp(p.log_n),
        "D": np.exp(log_d),
        "loss": p.loss,
        "status": p.status,
        "reason": p.reason,
        "censored": p.censored,
        "rows": p.rows,
        "center": p.center,
        "coefficients": p.coefficients,
        "sizes": [np.exp(p.low), np.exp(p.high)],
    }


def _parabola(row: dict[str, Any]) -> Parabola:
    return Parabola(
        budget=_number(row["budget"]),
        flops=_number(row["flops"]),
        rows=np.array(row["rows"], dtype=int),
        center=row["center"],
        coefficients=np.array([_number(c) for c in row["coefficients"]]),
        inverse=np.full((3, 3), np.nan),
        rss=float("nan"),
        status=row["status"],
        reason=row["reason"],
        low=float(np.log(row["sizes"][0])),
        high=float(np.log(row["sizes"][1])),
        censored=row["censored"],
    )


def _number(value: float | None) -> float:
    """Return a number; JSON's null stands for NaN."""
    return float("nan") if value is None else float(value)
