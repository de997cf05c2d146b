"""Pre-training objectives, one file each, behind one interface (`base`); the catalogue has their costs."""

from __future__ import annotations

from importlib import import_module

from scaling.records import RunSpec
from scaling.shape import Shape
from scaling.speech.objectives.base import Objective


def make_objective(spec: RunSpec) -> Objective:
    """Return the objective of a run, with random weights from torch's current generator."""
    module = import_module(f"scaling.speech.objectives.{spec.objective}")
    return module.OBJECTIVE(Shape.from_dict(spec.model), spec.objective_args, spec.targets)
