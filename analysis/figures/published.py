"""Optima that others published for text, to stand beside one's own.

Each is of its authors' data, tokeniser and counts (Kaplan's N leaves embeddings out), so that slopes compare better
than levels; for frames of speech none is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

PF_DAY = 8.64e19
"""FLOPs in a petaflop/s-day."""


@dataclass(frozen=True)
class Published:
    """N*(C) and D*(C) as published."""

    name: str
    source: str
    size: Callable[[np.ndarray], np.ndarray]
    data: Callable[[np.ndarray], np.ndarray]


def _chinchilla(name: str, source: str, A: float, B: float, alpha: float, beta: float) -> Published:
    """Return the optimum of E + A/N^alpha + B/D^beta at C = 6 N D (Hoffmann et al. 2022, eq. 4)."""
    G = (alpha * A / (beta * B)) ** (1 / (alpha + beta))
    a = beta / (alpha + beta)
    return Published(name, source, lambda C: G * (C / 6) ** a, lambda C: (C / 6) ** (1 - a) / G)


PUBLISHED = (
    Published(
        "Kaplan et al. 2020",
        "arXiv 2001.08361, section 6.1: N = 1.3e9 C^0.73, C in PF-days below the critical batch, and D = C / (6 N)",
        lambda C: 1.3e9 * (C / PF_DAY) ** 0.73,
        lambda C: C / 6 / (1.3e9 * (C / PF_DAY) ** 0.73),
    ),
    # the exponents as the paper's source has them; as it prints them, .34 and .28, they give another a than its .46
    _chinchilla("Hoffmann et al. 2022", "arXiv 2203.15556, approach 3", 406.4, 410.7, 0.3392, 0.2849),
    _chinchilla("Besiroglu et al. 2024", "arXiv 2404.10102, the same runs refitted", 482.01, 2085.43, 0.3478, 0.3658),
)
