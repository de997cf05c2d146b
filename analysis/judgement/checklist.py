"""What a reader needs to judge or repeat a scaling study, filled in from its records as far as they say it.

The points follow the checklist of the survey by Li, Kudugunta and Zettlemoyer 2025 (arXiv 2502.18969): the law, the
training set-up, the data collection, the fit. An answer is read from the columns of the table or given by the caller;
what neither says is `missing`, and never guessed. Of 50 papers surveyed most leave such points open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.data.costmodel import SAME_SIZE
from analysis.data.table import RunTable, split_flags
from analysis.judgement.noise import groups_within, pure_error
from scaling.units import format_count, format_flops

ANSWERED, MISSING, NOT_APPLICABLE = "answered", "missing", "not-applicable"
QUESTIONS = {
    "law": ("law", "What form does the law have?"),
    "variables": ("law", "Which quantities does it relate, in which columns?"),
    "parameters": ("law", "Which parameters are fitted?"),
    "chosen": ("law", "Why this form?"),
    "runs": ("training", "How many runs, of which sizes and budgets?"),
    "spans": ("training", "Which spans of N, D, C and D/N do they cover?"),
    "seeds": ("training", "How many seeds, and how many settings were run twice?"),
    "repetition": ("training", "Is data repeated within a run?"),
    "size": ("training", "How is N counted?"),
    "unit": ("training", "What does D count?"),
    "cost": ("training", "How is C counted?"),
    "tuning": ("training", "Are learning rate and batch tuned at every size?"),
    "schedule": ("training", "Does every point end a learning-rate schedule of its own?"),
    "shape": ("training", "What else changes with the size (depth, width, heads)?"),
    "data": ("training", "On which data?"),
    "code": ("training", "Is the training code open?"),
    "points": ("collection", "How many points of one run are used?"),
    "metric": ("collection", "Which metric, on which evaluation?"),
    "modified": ("collection", "Are the values smoothed, averaged or interpolated first?"),
    "checkpoints": ("collection", "Can the models be had?"),
    "excluded": ("fit", "Which runs are left out, and why?"),
    "objective": ("fit", "What is minimised?"),
    "algorithm": ("fit", "By which algorithm?"),
    "starts": ("fit", "From which starts, and do they agree?"),
    "intervals": ("fit", "How uncertain are the results?"),
    "holdout": ("fit", "Does it extrapolate to runs held out?"),
    "goodness": ("fit", "How well does it fit the runs that it was fitted to?"),
}
"""Fact -> (section, question), in order; the caller may give any of them as text."""
EXTRAS = ("delta", "agree", "status", "draws", "seed")
"""Facts that complete another answer."""


@dataclass(frozen=True)
class Item:
    """One point of the checklist."""

    section: str
    """`law`, `training`, `collection`, `fit`, or `further` for a fact that no question asks for."""
    question: str
    answer: str
    status: str
    """`answered`, `missing` or `not-applicable`."""


def checklist(table: RunTable, facts: Mapping[str, Any] | None = None) -> list[Item]:
    """Return the checklist, answered by the caller's facts and else by the records.

    Args:
        table: The runs.
        facts: Text, numbers or lists by the keys of QUESTIONS, and of EXTRAS: `delta` of the objective, share of the
            starts that `agree` and the certificate's `status`, number of `draws` and their `seed`. None, an empty
            text and an empty list say nothing. Other keys become points of the section `further`.

    Example:
        >>> from analysis import load
        >>> items = checklist(load("runs.csv")[0], {"law": "E + A/N^alpha + B/D^beta", "starts": 500, "agree": 0.7})
        >>> [item.answer for item in items if item.status == "answered"][2]
        '15 runs of 15 sizes at 3 budgets (1e17 to 1e19 FLOPs)'
        >>> [item.answer for item in items if "starts" in item.question]
        ['500 starts, 70 % of them end at this minimum']
        >>> next(item.question for item in items if item.status == "missing")
        'Which parameters are fitted?'
    """
    given = {key: value for key, value in (facts or {}).items() if not _empty(value)}
    recorded = _recorded(table)
    items = []
    for key, (section, question) in QUESTIONS.items():
        answer, status = recorded.get(key, ("not recorded", MISSING))
        if key in given:
            answer, status = _told(key, given), ANSWERED
        items.append(Item(section, question, answer, status))
    further = [key for key in given if key not in QUESTIONS and key not in EXTRAS]
    return items + [Item("further", key, _text(given[key]), ANSWERED) for key in further]


def _told(key: str, facts: Mapping[str, Any]) -> str:
    """Return the caller's answer, with the facts that complete it."""
    answer = _text(facts[key])
    if key == "holdout" and isinstance(facts[key], (list, tuple)):
        answer = f"scored on runs held out: {answer}"
    if key == "objective" and "delta" in facts:
        answer += f", delta = {facts['delta']:g}"
    if key == "starts":
        answer = f"{answer} starts" if answer.isdecimal() else answer
        answer += f", {facts['agree']:.0%} of them end at this minimum".replace("%", " %") if "agree" in facts else ""
        answer += f": {facts['status']}" if "status" in facts else ""
    if key == "intervals":
        answer += f", {facts['draws']} draws" if "draws" in facts else ""
        answer += f", seed {facts['seed']}" if "seed" in facts else ""
    return answer


def _recorded(table: RunTable) -> dict[str, tuple[str, str]]:
    """Return what the table itself says: fact -> (answer, status)."""
    found = {
        "variables": (_variables(table), ANSWERED),
        "runs": (_runs(table), ANSWERED),
        "spans": (_spans(table), ANSWERED),
        "excluded": (_excluded(table), ANSWERED),
    }
    runs = table.runs
    if "seed" in runs and runs["seed"].notna().any():
        _, repeats = pure_error(runs, np.zeros(len(runs)))
        found["seeds"] = (f"{_plural(runs['seed'].nunique(), 'seed')}; {repeats} of {len(runs)} runs repeat a setting",
                          ANSWERED)  # fmt: skip
    found |= {key: (answer, ANSWERED) for key, answer in _training(runs).items() if answer}
    if (tuning := _tuning(table)) is not None:
        found["tuning"] = tuning
    if table.cost == "none":
        nothing = ("a curve over N alone", NOT_APPLICABLE)
        return found | {"unit": nothing, "cost": nothing, "repetition": nothing}
    if table.data_unit == "frames":
        found["unit"] = ("encoder frames of 20 ms", ANSWERED)
    elif "token" in str((table.source.get("columns") or {}).get("d", "")).lower():
        found["unit"] = ("tokens, as its column is named", ANSWERED)
    if table.cost == "assumed":
        found["cost"] = (f"not recorded: C = {table.flops_per_param_token:g} N D is assumed", ANSWERED)
    elif _is_built_in(table):
        found["cost"] = ("FLOPs of the whole path of training, counted for the architecture, head included", ANSWERED)
    else:
        found["cost"] = ("recorded with every run; what it counts is not recorded", MISSING)
    if _is_built_in(table):
        own = "the end of every run's own schedule; a record holds one loss"
        found |= {"schedule": (own, ANSWERED), "points": ("one: its last", ANSWERED), "modified": ("no", ANSWERED)}
        if (table.source.get("columns") or {}).get("n") == "params":
            found["size"] = ("trainable parameters kept after pre-training; the objective's head is apart", ANSWERED)
    elif "run" in runs:
        most = int(runs["run"].value_counts().max())
        found["points"] = (f"up to {_plural(most, 'checkpoint')} of one run", ANSWERED)
    return found


def _is_built_in(table: RunTable) -> bool:
    """Whether the rows are records of the built-in trainer, whose definitions of N, C and loss are fixed."""
    return table.data_unit == "frames" and {"eval_id", "params", "updates", "flops_per_frame"} <= set(table.runs)


def _variables(table: RunTable) -> str:
    columns = table.source.get("columns") or {}
    names = {"n": "N", "d": "D", "c": "C", "u": "U", "b": "batch", "loss": "L"}
    read = [f"{names.get(key, key)} = {column}" for key, column in columns.items()]
    return ", ".join(read) if read else f"N, D, C and {table.loss_name}"


def _runs(table: RunTable) -> str:
    runs = table.runs
    sizes = groups_within(np.log(runs["N"].to_numpy(dtype=float)), SAME_SIZE).max() + 1
    text = f"{_plural(len(runs), 'run')} of {_plural(int(sizes), 'size')}"
    budgets = runs["budget"].dropna() if "budget" in runs else pd.Series(dtype=float)
    if len(budgets):
        ends = f"{format_flops(budgets.min())} to {format_flops(budgets.max())} FLOPs"
        text += f" at {_plural(budgets.nunique(), 'budget')} ({ends})"
    return text


def _spans(table: RunTable) -> str:
    runs = table.runs
    spans = {"N": runs["N"], "D": runs["D"], "C": runs["C"], "D/N": runs["D"] / runs["N"]}
    parts = []
    for name, values in spans.items():
        low, high = values.min(), values.max()
        if np.isfinite(low):
            show = {"C": format_flops, "D/N": _number}.get(name, format_count)
            parts.append(f"{name} {show(low)} to {show(high)} ({_number(high / low)} x)")
    return "; ".join(parts)


def _training(runs: pd.DataFrame) -> dict[str, str]:
    """Return the answers about training that its columns give; empty where they say nothing."""
    found = {"repetition": _repetition(runs), "metric": _metric(runs)}
    varied = [name for name in runs.columns if str(name).startswith("model_") and runs[name].nunique() > 1]
    shown = [(name.removeprefix("model_"), pd.to_numeric(runs[name], errors="coerce")) for name in varied]
    found["shape"] = ", ".join(f"{name} {v.min():g} to {v.max():g}" for name, v in shown if v.notna().all())
    return found


def _tuning(table: RunTable) -> tuple[str, str] | None:
    """Return what is known of the tuning: plans of the built-in trainer flag what is not tuned."""
    runs, rates = table.runs, _rates(table.runs)
    if "flags" in runs:
        untuned = sum("untuned" in split_flags(flags) for flags in runs["flags"])
        if untuned or _is_built_in(table):
            return f"{untuned} of {len(runs)} runs are flagged untuned{rates}", ANSWERED
    return (f"not recorded{rates}", MISSING) if rates else None


def _rates(runs: pd.DataFrame) -> str:
    """Return the spans of learning rate and batch as the end of a sentence."""
    text = ""
    for name, title in (("peak_lr", "peak learning rate"), ("B", "batch")):
        values = pd.to_numeric(runs[name], errors="coerce").dropna() if name in runs else pd.Series(dtype=float)
        if len(values):
            span = _number(values.min()) + (f" to {_number(values.max())}" if values.nunique() > 1 else " everywhere")
            text += f"; {title} {span}"
    return text


def _repetition(runs: pd.DataFrame) -> str:
    epochs = pd.to_numeric(runs["epochs"], errors="coerce").dropna() if "epochs" in runs else pd.Series(dtype=float)
    if epochs.empty and "U" in runs:
        epochs = (runs["D"] / runs["U"]).dropna()
    if epochs.empty:
        return ""
    more = int((epochs > 1 + 1e-6).sum())
    return f"{more} of {len(epochs)} runs see data more than once, at most {epochs.max():.2g} times" if more else "no"


def _metric(runs: pd.DataFrame) -> str:
    if "eval_id" not in runs:
        return ""
    unit = "/".join(sorted({str(u) for u in runs["loss_unit"]})) if "loss_unit" in runs else "unknown unit"
    ids = sorted({str(value) for value in runs["eval_id"]})
    return f"validation loss in {unit}, evaluation {', '.join(ids)}"


def _excluded(table: RunTable) -> str:
    if not table.excluded:
        return "none"
    reasons = Counter(item["reason"] for item in table.excluded)
    listed = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common())
    return f"{_plural(len(table.excluded), 'row')}: {listed}"


def _text(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _empty(value: Any) -> bool:
    """Whether a fact says nothing."""
    return value is None or (isinstance(value, (str, list, tuple, dict)) and not value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
