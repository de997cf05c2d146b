"""What is trained and what it costs.

The root of this package is free of torch: units, shapes, costs, run specs and records, the run
folder. What needs torch lives in `scaling.speech`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from scaling.cost import Cost, forward_flops, params_by_part, step_flops, updates_for
from scaling.errors import InputError, WorkError
from scaling.records import RunRecord, RunSpec
from scaling.run import RunFolder
from scaling.shape import Shape
from scaling.sizes import ladder

if TYPE_CHECKING:
    from scaling.speech.extractor import FeatureExtractor

__version__ = "0.1.0"


def load_encoder(path: str | Path) -> FeatureExtractor:
    """Return a trained encoder that turns waveforms into the hidden states of its layers.

    Args:
        path: Folder of a finished run (results/SWEEP/runs/ID), its weights.pt, or an exported .safetensors file.

    Raises:
        InputError: When there are no weights.
    """
    from scaling.speech.extractor import load

    return load(path)


__all__ = [
    "Cost",
    "InputError",
    "RunFolder",
    "RunRecord",
    "RunSpec",
    "Shape",
    "WorkError",
    "__version__",
    "forward_flops",
    "ladder",
    "load_encoder",
    "params_by_part",
    "step_flops",
    "updates_for",
]
