"""Draw the pictures and write the tables of docs/studies.md from the runs of the four studies.

    for name in ucurve shapes objectives data; do scaling-sweep study $name; done
    .venv/bin/python docs/studies.py results

A picture is docs/figures/studies/STUDY-FIGURE.png; a table stands between the lines <!-- STUDY --> and <!-- end -->.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from gallery import HERE, save

from analysis import load
from analysis.comparison.metrics import fit_metrics
from analysis.data.measuring import find_metrics
from analysis.engine.tails import t_quantile
from analysis.figures.drawing import compose
from analysis.figures.gallery import DRAWINGS
from analysis.figures.study import Group, Study
from scaling.errors import WorkError
from scaling.units import format_count, format_flops

PAGE = HERE / "studies.md"
PICTURES = HERE / "figures" / "studies"
STUDIES = {
    "ucurve": (["ucurve"], ["isoflop", "allocation", "ucurve", "transfer", "differences"]),
    "shapes": (["shapes-wide", "shapes-slim"], ["recipes"]),
    "objectives": (["objectives"], ["ucurve", "recipes"]),
    "data": (["data-plain", "data-augmented"], ["unique"]),
}
"""Study -> its sweeps, and the figures that answer it."""
METRICS = ("phone_error_rate", "frame_phone_accuracy", "speaker_accuracy", "speaker_eer", "effective_rank")
BY = {"ucurve": "params", "shapes": "params", "objectives": "params", "data": "unique_hours"}
LEVEL, NORMAL = 0.95, 1.96


def main() -> None:
    """Draw and write what there are runs of."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="folder of sweeps")
    args = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    for name, (sweeps, figures) in STUDIES.items():
        paths = [args.results / sweep for sweep in sweeps if (args.results / sweep / "records").exists()]
        if not paths:
            continue
        groups = [group for path in paths for group in read(path, fitted=name != "data")]
        for figure in figures:
            drawing = DRAWINGS[figure]
            shown = [group for group in groups if drawing.of_runs or isinstance(group, Study)]
            if why := drawing.why_not(shown):
                print(f"{name}: no {figure}: {why}")
            else:
                save(compose(drawing, shown), PICTURES / f"{name}-{figure}.png")
        text = put(text, name, table(groups, BY[name]))
        runs = pd.concat([group.runs.assign(group=group.name) for group in groups], ignore_index=True)
        if name == "objectives":
            runs["loss"] = np.nan  # four losses, which are no one quantity
            text = put(text, "objectives-apart", differences(runs, "group", "hubert", ["params", "seed"]))
        if name == "data":
            by_hours = differences(runs, "unique_hours", runs["unique_hours"].max(), ["params", "seed"], "group")
            by_group = differences(runs, "group", "data-plain", ["params", "seed", "unique_hours"])
            text = put(put(text, "data-hours", by_hours), "data-augmentation", by_group)
    if (args.results / "ucurve" / "probes" / "raw.json").exists():
        text = put(text, "baselines", baselines(args.results / "ucurve"))
    PAGE.write_text(text, encoding="utf-8")
    print(f"wrote {PAGE.relative_to(HERE.parent)}")


def read(path: Path, *, fitted: bool) -> list[Group]:
    """Return the groups of a sweep with the fits of loss and metrics where these are asked for and possible."""
    found: list[Group] = []
    for loaded in load(path):
        part = replace(loaded, label=loaded.label.partition(" ")[0] or path.name)
        group = Group(table=part)
        if fitted:
            try:
                measured = [name for name in METRICS if f"metric_{name}" in part.runs]
                fits = fit_metrics(part, find_metrics([part], measured))
                own = {name: Study(fit=one, table=fits.tables[name]) for name, one in fits.fits.items()}
                group = Study(fit=fits.loss, table=part, metrics=own)
                print(fits.summary())
            except WorkError as error:
                print(f"{path.name}: {error}")
        found.append(group)
    return found


def table(groups: Sequence[Group], by: str) -> str:
    """Return a Markdown table: a row a setting, mean and half of the 95 % t interval over its seeds."""
    runs = pd.concat([group.runs.assign(group=group.name) for group in groups], ignore_index=True)
    several = runs["group"].nunique() > 1
    keys = [*(["group"] if several else []), "budget", by, *(["params"] if by != "params" else [])]
    columns = [f"metric_{name}" for name in METRICS if f"metric_{name}" in runs]
    columns = [name for name in columns if runs[name].notna().any()]
    heads = [*keys, "runs", "loss", *map(plain, columns)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for values, part in runs.groupby(keys, sort=True):
        cells = [shown(key, value) for key, value in zip(keys, values, strict=True)]
        cells += [str(len(part)), spread(part["loss"], 4), *(spread(part[name], 3) for name in columns)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def differences(runs: pd.DataFrame, of: str, reference: object, pairs: Sequence[str], where: str = "") -> str:
    """Return a Markdown table of mean differences from a reference, with t intervals over pairs of runs.

    Args:
        runs: All runs.
        of: Column whose values are compared.
        reference: That one of its values that the others are held against.
        pairs: What two runs have to share to be a pair.
        where: Column of parts that have a table row of their own each.
    """
    columns = [name for name in ("loss", *(f"metric_{name}" for name in METRICS)) if name in runs]
    heads = [*([where] if where else []), of.replace("_", " "), "pairs", *(plain(name) for name in columns)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for part_name, part in runs.groupby(where) if where else [("", runs)]:
        by_pair = {name: part.pivot_table(index=[*pairs], columns=of, values=name) for name in columns}
        for value in (one for one in by_pair[columns[0]] if one != reference):
            apart = {name: (table[value] - table[reference]).dropna() for name, table in by_pair.items()}
            cells = [*([str(part_name)] if where else []), f"{value} - {reference}", str(len(apart[columns[0]]))]
            cells += [spread(apart[name], 3, "+") for name in columns]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def baselines(path: Path) -> str:
    """Return a Markdown table of what heads learn from raw features, encoders before training and after it.

    A row has runs of one budget and size, or one probe of the raw features, whose interval is of its test items.
    """
    records = [json.loads(file.read_text()) for file in sorted((path / "records").glob("*.json"))]
    runs = {record["id"]: record for record in records}
    found: dict[tuple[float, float, float, str], list[dict[str, float]]] = {}
    for file in sorted((path / "probes").glob("*.json")):
        name = file.stem.removeprefix("random-")
        if name != "raw" and not (path / "probes" / f"random-{name}.json").exists():
            continue
        which = "raw" if name == "raw" else "trained" if name == file.stem else "random"
        run = runs.get(name, {"budget": 0.0, "params": 0})
        for probed in json.loads(file.read_text()).values():
            scores = {key: value for task in probed["scores"].values() for key, value in task.items()}
            key = (probed["protocol"]["hours"], run["budget"], run["params"], which)
            found.setdefault(key, []).append(scores)
    heads = ["labelled", "budget", "params", "encoder", "encoders", *map(plain, METRICS)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for (hours, budget, params, which), probes in sorted(found.items()):
        cells = [f"{60 * hours:g} min", "" if which == "raw" else format_flops(budget)]
        cells += ["" if which == "raw" else format_count(params), which, "" if which == "raw" else str(len(probes))]
        for metric in METRICS:
            values = pd.Series([scores.get(metric, np.nan) for scores in probes])
            if which == "raw" and values.notna().all():
                cells.append(f"{values[0]:.3f} ± {NORMAL * probes[0][f'{metric}_se']:.3f}")
            else:
                cells.append(spread(values, 3))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown(key: str, value: object) -> str:
    """Return a setting as it is printed."""
    if key == "budget":
        return format_flops(float(str(value)))
    return format_count(float(str(value))) if key == "params" else str(value)


def plain(name: str) -> str:
    """Return a column's name in words."""
    return name.removeprefix("metric_").replace("_", " ")


def spread(values: pd.Series, digits: int, sign: str = "") -> str:
    """Return mean and half of the t interval of some runs."""
    known = values.dropna().to_numpy(dtype=float)
    if not len(known):
        return "-"
    if len(known) == 1:
        return f"{known[0]:{sign}.{digits}f}"
    half = t_quantile((1 + LEVEL) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return f"{known.mean():{sign}.{digits}f} ± {half:.{digits}f}"


def put(text: str, name: str, content: str) -> str:
    """Return a page with a table in its place."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
    return pattern.sub(lambda found: f"{found[1]}\n{content}\n\n{found[2]}", text)


if __name__ == "__main__":
    main()
