r"""The answers and the law as LaTeX tables to paste; they need booktabs, and nothing else."""

from __future__ import annotations

from typing import Any

from analysis.data.metrics import LOSS
from analysis.rendering import tex
from analysis.summary import data_format, interval_text, scale_in
from scaling.units import format_count, format_flops

GREEK = ("alpha", "beta", "gamma", "delta", "eta", "kappa")


def latex(fit: dict[str, Any]) -> str:
    """Return a table of the answers, and one of the law where it carries its certificate.

    Args:
        fit: `Fit.to_dict()`.
    """
    return "\n\n".join([_answers(fit), *([_law(fit)] if fit["certificate"]["status"] == "converged" else [])])


def _answers(fit: dict[str, Any]) -> str:
    by = "isoFLOP minima" if fit["headline"] == "isoflop" else f"the law {equation(fit)}"
    level = f"{100 * fit['intervals']['level']:g}"
    method, drawn = tex(fit["intervals"]["method"] or "none"), fit["intervals"]["draws"] > 0
    scale = scale_in(fit)
    least = "loss $L^*$" if scale == LOSS else tex(scale.title)
    caption = rf"Compute-optimal model size $N^*$, data $D^*$ and {least} by {by}; {level}\,\% intervals ({method})."
    if "a" in fit["exponents"]:
        caption += (
            f" $N^* \\propto C^a$ with $a = {interval_text(fit['exponents']['a'], lambda v: f'{v:.3f}', drawn)}$."
        )
    unit = "audio" if fit["data_unit"] == "frames" else tex(fit["data_unit"])
    rows = [
        [
            _power(answer["budget"]) if answer["budget"] else "--",
            tex(interval_text(answer["N"], format_count, drawn, least="0")),
            tex(interval_text(answer["D"], data_format(fit), drawn, least="0")) if answer["D"] else "--",
            tex(interval_text(answer["loss"], scale.text, drawn)) if answer["loss"] else "--",
        ]
        for answer in fit["optimum"]
    ]
    return _table(
        caption,
        "rlll",
        ["$C$ (FLOPs)", "$N^*$", f"$D^*$ ({unit})", "$L^*$" if scale == LOSS else tex(scale.title)],
        rows,
    )


def _law(fit: dict[str, Any]) -> str:
    method = tex(fit["approaches"]["parametric"]["method"] or "none")
    level = f"{100 * fit['intervals']['level']:g}"
    caption = rf"Parameters of {equation(fit)} ({tex(fit['law']['source'])}), {level}\,\% intervals ({method}), " \
              rf"{fit['objective']['n']} runs."  # fmt: skip
    ends = fit["intervals"]["params"]
    rows = []
    for name, value in fit["params"].items():
        low, high = ends.get(name, (None, None))
        ends_text = f"[{_end(low)}, {_end(high)}]" if name in ends else "--"
        rows.append([parameter(name), _number(value), ends_text])
    return _table(caption, "lrl", ["", "estimate", "interval"], rows)


def equation(fit: dict[str, Any]) -> str:
    """Return the law as a formula; as text where it is somebody's own and has none."""
    return f"${fit['law']['latex']}$" if fit["law"]["latex"] else tex(fit["law"]["equation"])


def parameter(name: str) -> str:
    r"""Return a parameter's name as a formula.

    Example:
        >>> print(parameter("alpha"), parameter("E"), parameter("R_D"))
        $\alpha$ $E$ $\mathrm{R\_D}$
    """
    if name in GREEK:
        return f"$\\{name}$"
    return f"${name}$" if len(name) == 1 and name.isalpha() else rf"$\mathrm{{{tex(name)}}}$"


def _table(caption: str, columns: str, header: list[str], rows: list[list[str]]) -> str:
    lines = [
        r"\begin{table}", r"\centering", rf"\caption{{{caption}}}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule",
        " & ".join(header) + r" \\", r"\midrule", *(" & ".join(row) + r" \\" for row in rows), r"\bottomrule",
        r"\end{tabular}", r"\end{table}",
    ]  # fmt: skip
    return "\n".join(lines)


def _power(value: float) -> str:
    r"""Return a large number in powers of ten.

    Example:
        >>> print(_power(2.5e20))
        $2.5 \times 10^{20}$
    """
    mantissa, _, exponent = format_flops(value).partition("e")
    if not exponent:
        return mantissa
    return f"$10^{{{exponent}}}$" if mantissa == "1" else rf"${mantissa} \times 10^{{{exponent}}}$"


def _number(value: float) -> str:
    return _power(value) if abs(value) >= 1e4 or 0 < abs(value) < 1e-3 else f"{value:.4g}"


def _end(value: float | None) -> str:
    """Return an end of an interval; without a bound it is infinite."""
    return r"$\infty$" if value is None else _number(value)
