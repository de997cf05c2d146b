"""How figures look: the widths of the venues, one style for print, and colours that grey and the colour-blind can read.

Points are data, lines are fits, an open diamond is a minimum, a grey zone with dashes is extrapolation. Ordered budgets
take viridis cut at 0.9, whose lightness rises steadily; categories take Okabe and Ito's colours (2008), each with a
marker and dashes of its own. No LaTeX is needed; fonts are embedded as type 42, which journals ask for. The font is the
one that comes with matplotlib, so that the bytes do not depend on what else a machine has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from scaling.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Venue:
    """Widths of a venue's page, in inches."""

    text: float
    column: float | None = None
    """None where the page has one column."""


VENUES = {
    "neurips": Venue(5.5), "iclr": Venue(5.5), "colm": Venue(5.5), "jmlr": Venue(6.0), "tmlr": Venue(6.5),
    "icml": Venue(6.75, 3.25), "aaai": Venue(6.975, 3.3), "cvpr": Venue(6.875, 3.25), "acl": Venue(6.3, 3.03),
    "ieee": Venue(7.16, 3.5), "icassp": Venue(7.0, 3.39), "interspeech": Venue(6.69, 3.15),
}  # fmt: skip
"""From the venues' own style files."""
DEFAULT_VENUE = "neurips"
COLUMNS = ("single", "double")
NARROW = 4.5
"""Inches below which a figure stands in a column, with smaller type."""

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "v", "P", "X", "<", ">", "h", "p")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)), (0, (8, 1.5, 2, 1.5)))
EXTRAPOLATED = (0, (4, 2))
"""Dashes of what lies beyond the runs."""
GREY = "0.55"
ZONE = "0.93"
"""The shade beyond the largest run."""
VIRIDIS_END = 0.9


FONTS = ("STIXGeneral", "DejaVu Serif")
"""The second for signs that the first lacks."""
UNKNOWN = "□"
"""Stands for a sign that both lack."""


def width_of(venue: str, column: str = "single") -> float:
    """Return the width of a figure in inches.

    Args:
        venue: One of VENUES.
        column: `single` for one column, which is the whole text where the page has no other; `double` for the text.

    Raises:
        InputError: When there is no such venue or column.

    Example:
        >>> width_of("icml"), width_of("icml", "double"), width_of("neurips")
        (3.25, 6.75, 5.5)
    """
    if venue not in VENUES:
        raise InputError("no such venue", where="--venue", value=venue, remedy=did_you_mean(venue, VENUES))
    if column not in COLUMNS:
        raise InputError("no such width", where="--column", value=column, remedy=did_you_mean(column, COLUMNS))
    page = VENUES[venue]
    return page.text if column == "double" or page.column is None else page.column


def rc(width: float) -> dict[str, Any]:
    """Return the settings of matplotlib for a figure of a width in inches, as `matplotlib.rc_context` takes them."""
    base = 8.0 if width < NARROW else 9.0
    return {
        "font.family": list(FONTS),
        "mathtext.fontset": "stix",
        "font.size": base,
        "axes.labelsize": base,
        "axes.titlesize": base,
        "legend.fontsize": base - 1,
        "legend.title_fontsize": base - 1,
        "xtick.labelsize": base - 1,
        "ytick.labelsize": base - 1,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.minor.width": 0.4,
        "ytick.minor.width": 0.4,
        "xtick.major.size": 3.0,
        "ytick.major.size": 3.0,
        "xtick.minor.size": 1.5,
        "ytick.minor.size": 1.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.alpha": 0.25,
        "grid.linewidth": 0.5,
        "lines.linewidth": 1.2,
        "lines.markersize": 3.6 if width < NARROW else 4.2,
        "legend.frameon": False,
        "legend.handlelength": 1.9,
        "legend.columnspacing": 1.2,
        "legend.borderaxespad": 0.2,
        "figure.constrained_layout.use": True,
        "pdf.fonttype": 42,
        "ps.fonttype": 42,
        "svg.fonttype": "path",  # looks alike everywhere, whatever fonts the reader has
        "svg.hashsalt": "scaling-fit",
    }


def ordered_colours(count: int) -> list[Any]:
    """Return colours for ordered things, dark to light."""
    from matplotlib import colormaps

    viridis = colormaps["viridis"]
    return [viridis(VIRIDIS_END * i / max(1, count - 1)) for i in range(count)]


def ordered_map() -> Any:
    """Return the colour map of ordered things."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis"]([VIRIDIS_END * i / 255 for i in range(256)]), "viridis-cut")


def category(i: int) -> dict[str, Any]:
    """Return colour, marker and dashes of the i-th of several kinds, as `Axes.plot` takes them."""
    return {"color": OKABE_ITO[i % 7], "marker": MARKERS[i % 10], "linestyle": DASHES[i % 5]}


def plain_text(text: str, most: int = 60) -> str:
    r"""Return somebody's text so that matplotlib shows it as it is, and sets no formula of it.

    Args:
        text: What to show; signs that the fonts lack become `UNKNOWN`.
        most: How many letters there is room for; a longer text is cut.

    Example:
        >>> print(plain_text("cost in $"), plain_text("a name that does not end", 12))
        cost in \$ a name that…
    """
    known = _signs()
    text = "".join(c if ord(c) in known else UNKNOWN for c in " ".join(text.split()))
    text = text if len(text) <= most else text[: most - 1].rstrip() + "…"
    return text.replace("$", r"\$")


@lru_cache(maxsize=1)
def _signs() -> frozenset[int]:
    """Return the signs that the fonts have."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset().union(*(get_font(findfont(name)).get_charmap() for name in FONTS))


def flops_text(flops: float) -> str:
    r"""Return FLOPs as a formula.

    Example:
        >>> print(flops_text(5e11), flops_text(1e18))
        $5{\times}10^{11}$ $10^{18}$
    """
    mantissa, _, exponent = f"{flops:.2e}".partition("e")
    if not exponent:
        return mantissa
    front = f"{float(mantissa):g}"
    return f"$10^{{{int(exponent)}}}$" if front == "1" else f"${front}{{\\times}}10^{{{int(exponent)}}}$"


def names_apart(names: Sequence[str]) -> list[str]:
    """Return names without what all of them begin with, up to a word's end.

    Example:
        >>> names_apart(["study hubert 1ba0", "study tera 77fe"])
        ['hubert 1ba0', 'tera 77fe']
    """
    words = [name.split(" ") for name in names]
    shared = 0
    while len(names) > 1 and all(len(w) > shared + 1 for w in words) and len({w[shared] for w in words}) == 1:
        shared += 1
    return [" ".join(w[shared:]) for w in words]
