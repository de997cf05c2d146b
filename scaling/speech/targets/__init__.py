"""What is predicted, where it is made once from a corpus: labels (clusters, random projections) or values (MFCC).

All runs on a corpus share the targets, whatever subset or seed they train on, so their losses can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scaling.speech.corpus.store import Corpus
from scaling.speech.targets.store import Targets

__all__ = ["Targets", "make_targets"]


def make_targets(corpus: Corpus, settings: Mapping[str, Any], teacher: str | None = None) -> Targets | None:
    """Return the targets of a corpus under some settings, made first where missing; None where there are none.

    Args:
        corpus: The corpus.
        settings: `kind` and what belongs to it; see the modules of this package.
        teacher: Folder of the run whose layer is clustered, for `layer-kmeans`.

    Raises:
        InputError: When the fixed set has fewer frames than clusters, or the teacher is not the one of the settings.
    """
    if not settings:
        return None
    kind = settings.get("kind", "mfcc-kmeans")
    if kind == "mfcc":
        from scaling.speech.targets.mfcc import make_values

        return make_values(corpus, settings)
    if kind == "random-projection":
        from scaling.speech.targets.projection import make_projected

        return make_projected(corpus, settings)
    from scaling.speech.targets.clusters import make_clusters

    return make_clusters(corpus, settings, teacher)
