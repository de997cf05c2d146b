"""All figures and the report of a study: `python -m benchmarks.figures [--runs 1000] [--repeats 3]`.

Beside the way it is done (each figure laid out once and saved thrice, on all cores) stand one process, and a drawing
anew for each format. The fit is not counted: what is timed begins with a fit and its runs.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import fit, load
from analysis.figures.drawing import FORMATS
from analysis.figures.gallery import draw_all, write_all
from analysis.figures.study import Study
from analysis.report.page import write_report
from benchmarks.timing import machine
from scaling.tables import format_table

BUDGETS, SIZES = 10, 20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulated(args.runs).to_csv(folder / "runs.csv", index=False)
        table = load(folder / "runs.csv")[0]
        fitted = fit(table)
        page = folder / "report.html"

        def everything(study: Study) -> None:
            pictures = draw_all([study])
            write_all(pictures, [folder], folder)
            write_report([study], page, pictures=pictures)

        timed: dict[str, Callable[[Study], object]] = {
            "all figures in three formats, and the report": everything,
            "all figures": lambda study: draw_all([study]),
            "all figures, one process": lambda study: draw_all([study], processes=1),
            "all figures, one process, drawn anew for each format": lambda study: [
                draw_all([study], processes=1, formats=(suffix,)) for suffix in FORMATS
            ],
        }
        seconds: dict[str, list[float]] = {what: [] for what in timed}
        for _ in range(args.repeats):  # taking turns, so that a slow moment of the machine hits all alike
            for what, call in timed.items():
                study = Study(fit=fitted, table=table)  # a new one, which has nothing worked out yet
                start = time.perf_counter()
                call(study)
                seconds[what].append(time.perf_counter() - start)
        rows = [[what, f"{statistics.median(values):.1f} s"] for what, values in seconds.items()]
        rows.append(["report.html", f"{page.stat().st_size / 1e6:.2f} MB"])
        print(machine())
        print(f"{len(table.runs)} runs, medians of {args.repeats}\n{format_table(['', ''], rows, left=(0,))}")


def simulated(runs: int) -> pd.DataFrame:
    """Return isoFLOP runs of a Chinchilla law with three per mille of noise, and seeds enough for so many."""
    rng = np.random.default_rng(0)
    rows = []
    for budget in np.geomspace(1e17, 1e20, BUDGETS):
        centre = (budget / 6) ** 0.5 / 4
        for n in centre * np.geomspace(1 / 4, 4, SIZES):
            for seed in range(max(1, runs // (BUDGETS * SIZES))):
                d = budget / (6 * n)
                loss = (1.7 + 400 / n**0.34 + 2000 / d**0.37) * np.exp(3e-3 * rng.normal())
                rows.append({"params": n, "tokens": d, "flops": budget, "budget": budget, "loss": loss, "seed": seed,
                             "seconds": budget / 1e14})  # fmt: skip
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
