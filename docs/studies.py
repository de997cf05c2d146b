"""Draw the pictures and write the tables of docs/studies.md from the runs of the four studies.

    for name in ucurve shapes objectives data; do scaling-sweep study $name; done
    .venv/bin/python docs/studies.py results

A picture is docs/figures/studies/STUDY-FIGURE.png; a table stands between the lines <!-- STUDY --> and <!-- end -->.
"""

from __future__ import annotations

import argparse
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
LEVEL = 0.95


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
    heads = [*keys, "runs", "loss", *(name.removeprefix("metric_").replace("_", " ") for name in columns)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for values, part in runs.groupby(keys, sort=True):
        cells = [shown(key, value) for key, value in zip(keys, values, strict=True)]
        cells += [str(len(part)), spread(part["loss"], 4), *(spread(part[name], 3) for name in columns)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def shown(key: str, value: object) -> str:
    """Return a setting as it is printed."""
    if key == "budget":
        return format_flops(float(str(value)))
    return format_count(float(str(value))) if key == "params" else str(value)


def spread(values: pd.Series, digits: int) -> str:
    """Return mean and half of the t interval of some runs."""
    known = values.dropna().to_numpy(dtype=float)
    if not len(known):
        return "-"
    if len(known) == 1:
        return f"{known[0]:.{digits}f}"
    half = t_quantile((1 + LEVEL) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return f"{known.mean():.{digits}f} ± {half:.{digits}f}"


def put(text: str, name: str, content: str) -> str:
    """Return a page with a table in its place."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
    return pattern.sub(lambda found: f"{found[1]}\n{content}\n\n{found[2]}", text)


if __name__ == "__main__":
    main()
