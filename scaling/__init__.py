"""What is trained and what it costs.

The root of this package is free of torch: units, shapes, costs, run specs and records, the run
folder. What needs torch lives in `scaling.speech`.
"""

from scaling.cost import Cost, forward_flops, params_by_part, step_flops, updates_for
from scaling.errors import InputError, WorkError
from scaling.records import RunRecord, RunSpec
from scaling.run import RunFolder
from scaling.shape import Shape
from scaling.sizes import ladder

__version__ = "0.1.0"

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
    "params_by_part",
    "step_flops",
    "updates_for",
]
