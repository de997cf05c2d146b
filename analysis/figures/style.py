"""How figures look, and how they are saved: the same bytes for the same input.

Ordered budgets take viridis cut at 0.9. Points are data, lines are fits, an open diamond is a minimum. No LaTeX is
needed; fonts are embedded as type 42, which journals ask for.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scaling.files import write_bytes

WIDTH, HEIGHT = 5.5, 3.4
"""Inches: the text width of NeurIPS and ICLR."""
DPI = 200
RC: Any = {
    "font.family": "serif",
    "font.serif": ["Times New Roman", "Times", "STIXGeneral"],
    "mathtext.fontset": "stix",
    "font.size": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.hashsalt": "scaling-fit",
}


def ordered_colours(count: int) -> list[Any]:
    """Return colours for ordered budgets, dark to light."""
    from matplotlib import colormaps

    viridis = colormaps["viridis"]
    return [viridis(0.9 * i / max(1, count - 1)) for i in range(count)]


def save_figure(figure: Any, data: pd.DataFrame, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Write a figure in several formats and its plotted data as CSV; return the files.

    Dates are left out of the files, so the same input gives the same bytes.
    """
    written = []
    for suffix in formats:
        metadata = {"pdf": {"CreationDate": None, "ModDate": None}, "png": {"Software": None}}.get(suffix, {})
        buffer = io.BytesIO()
        figure.savefig(buffer, format=suffix, dpi=DPI, metadata=metadata)
        path = folder / f"{name}.{suffix}"
        write_bytes(path, buffer.getvalue())
        written.append(path)
    path = folder / f"{name}.csv"
    write_bytes(path, data.to_csv(index=False).encode())
    return [*written, path]
