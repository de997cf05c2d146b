"""Draw the pictures of the documentation: README's, and the gallery with its page.

    make demo && .venv/bin/python docs/gallery.py results/quickstart [--reference FOLDER]

FOLDER holds published runs, which are not part of this project: `epoch_chinchilla.csv` (Besiroglu et al. 2024),
`farseer_train.csv`, `data_constrained_train.csv` (ScaleBench, Li et al. 2026) and `speech_ssl_budget_curve.csv` (Liu et
al. 2024). Without it the gallery's pictures of them are left as they are.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis import fit, load
from analysis.figures.allocation import plot_allocation
from analysis.figures.drawing import compose
from analysis.figures.gallery import DRAWINGS
from analysis.figures.isoflop import plot_isoflop
from analysis.figures.study import Study
from analysis.figures.style import rc
from scaling.errors import InputError, WorkError
from scaling.files import read_json, write_json

HERE = Path(__file__).resolve().parent
FIGURES = HERE / "figures"
CAPTIONS = FIGURES / "captions.json"
DPI, ON_SCREEN = 150, 96
COLOURS = 128
SETS: dict[str, tuple[str, str, dict[str, Any], list[float]]] = {
    "quickstart": ("", "the quickstart: 15 HuBERT models on ten hours of synthetic speech", {}, []),
    "chinchilla": (
        "epoch_chinchilla.csv", "245 runs read off Chinchilla's figure 4 by Besiroglu et al. 2024 (arXiv 2404.10102)",
        {}, [5.76e23],
    ),
    "farseer": ("farseer_train.csv", "404 runs of Li et al. 2025 (arXiv 2506.10972), from ScaleBench", {}, []),
    "data-constrained": (
        "data_constrained_train.csv", "161 runs of Muennighoff et al. 2023 (arXiv 2305.16264), from ScaleBench",
        {"u": "unique_tokens"}, [],
    ),
    "speech": (
        "speech_ssl_budget_curve.csv", "the seed study's published curve, Liu et al. 2024 (arXiv 2409.16295)",
        {"loss": "valid_loss", "n": "params_millions", "group": "objective"}, [],
    ),
}  # fmt: skip
"""Name -> file, what it is, how its columns are called, budgets to answer for."""


INTRODUCTION = """
Every figure that `scaling-fit PATH --figures DIR` draws, at its printed size in a text of 5.5 inches (NeurIPS), made by
`docs/gallery.py` from the quickstart and from published runs. Points are data, lines are fits, an open diamond is a
minimum; what lies beyond the largest run is dashed in a grey zone; bands carry their level and method in the caption.
Each is a PDF, a PNG, an SVG and the plotted data as CSV, and a function of axes in `analysis.figures`.
""".strip()


def main() -> None:
    """Draw what the arguments name, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=Path, help="the quickstart's results")
    parser.add_argument("--reference", type=Path, help="folder of published runs")
    args = parser.parse_args()
    for name, (file, _, options, budgets) in SETS.items():
        if not file or args.reference is not None:
            studies = read(args.reference / file if file else args.sweep, options, budgets)
            draw(studies, FIGURES / name)
            if name == "quickstart":
                draw_readme(studies[0])
    write_page()


def read(path: Path, options: dict[str, Any], budgets: Sequence[float]) -> list[Study]:
    """Return the studies of a table whose groups allow a fit."""
    studies = []
    for table in load(path, **options):
        try:
            studies.append(Study(fit=fit(table, budgets=budgets), table=table))
        except (InputError, WorkError) as error:
            print(f"left out: {error}")
    return studies


def draw(studies: Sequence[Study], folder: Path) -> None:
    """Draw all that one set allows; of several groups only what sets them side by side."""
    captions = {key: text for key, text in read_captions().items() if not key.startswith(f"{folder.name}/")}
    for old in folder.glob("*.png"):
        old.unlink()
    for name, drawing in DRAWINGS.items():
        if (drawing.together or len(studies) == 1) and not drawing.why_not(studies):
            save(compose(drawing, studies), folder / f"{name}.png")
            captions[f"{folder.name}/{name}"] = drawing.caption(studies)
    write_json(CAPTIONS, captions)


def read_captions() -> dict[str, str]:
    """Return set/figure -> caption of all pictures that there are."""
    return read_json(CAPTIONS) if CAPTIONS.exists() else {}


def draw_readme(study: Study) -> None:
    """Draw the picture of the README: the U-curves, and how their minima grow."""
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = 7.0
    with style.context(["default", rc(width)]):
        figure = Figure(figsize=(width, 2.9))
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2)
        plot_isoflop(study, left)
        plot_allocation(study, right)
        save(figure, FIGURES / "readme.png")


def save(figure: Any, path: Path) -> None:
    """Write a figure as a small PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(buffer).convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(f"wrote {path.relative_to(HERE.parent)}")


def write_page() -> None:
    """Write docs/gallery.md from the pictures that there are."""
    from PIL import Image

    lines = [
        "# Gallery", "",
        INTRODUCTION, "",
        *(f"- **{name}**: {what}" for name, (_, what, _, _) in SETS.items()), "",
    ]  # fmt: skip
    captions = read_captions()
    for name, drawing in DRAWINGS.items():
        shown = [key for key in SETS if (FIGURES / key / f"{name}.png").exists()]
        lines += [f"## {drawing.title} (`{name}`)", ""]
        if not shown:
            lines += ["None of these sets allows it.", ""]
        for key in shown:
            path = FIGURES / key / f"{name}.png"
            with Image.open(path) as image:
                width = round(image.width / DPI * ON_SCREEN)
            picture = f'<img src="{path.relative_to(HERE)}" width="{width}" alt="{drawing.title}: {key}">'
            lines += [picture, "", f"*{key}.* {escape(captions[f'{key}/{name}'])}", ""]
    (HERE / "gallery.md").write_text("\n".join(lines), encoding="utf-8")
    print("wrote docs/gallery.md")


def escape(text: str) -> str:
    r"""Return a caption as Markdown shows it.

    Example:
        >>> print(escape("N*(C) and D*"))
        N\*(C) and D\*
    """
    return text.replace("*", r"\*").replace("_", r"\_").replace("<", "&lt;")


if __name__ == "__main__":
    main()
