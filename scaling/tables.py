"""Plain text tables, the same on a terminal and in a file."""

from __future__ import annotations

from collections.abc import Sequence


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int] = (0,)) -> str:
    """Return a table with aligned columns: numbers to the right, the columns in `left` to the left.

    Example:
        >>> print(format_table(["budget", "N"], [["4e11", "9k"], ["1e12", "28k"]]))
        budget    N
        4e11     9k
        1e12    28k
    """
    table = [list(header), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in table) for i in range(len(header))]
    lines = []
    for row in table:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
