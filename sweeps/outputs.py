"""What a sweep leaves beside numbers: targets of its runs, encoders of its finished ones."""

from __future__ import annotations

from glob import escape
from pathlib import Path

from scaling.errors import InputError
from scaling.units import format_flops
from sweeps.folder import RESULTS
from sweeps.plan import Plan

SUFFIX = {"torchaudio": ".torchaudio.pt", "safetensors": ".safetensors"}


def make_all_targets(plan: Plan) -> list[str]:
    """Make what the runs of a plan predict, where it is missing, and return a line about each.

    Raises:
        InputError: When the grid has no corpus yet, or another trainer.
    """
    if plan.provisional or not plan.grid.built_in:
        raise InputError(
            "targets are made of a corpus that is there, for the built-in trainer",
            where=plan.grid.file,
            value=str(plan.grid.corpus),
            remedy="make the corpus (and train the teacher) first",
        )
    from scaling.speech.corpus.store import Corpus
    from scaling.speech.targets import make_targets

    lines = []
    specs = {str(point.spec.targets): point.spec for point in plan.points}
    for spec in specs.values():
        targets = make_targets(Corpus(spec.where["corpus"]), spec.targets, spec.where.get("teacher"))
        if targets is None:
            lines.append(f"{spec.objective}: nothing to make, its targets are learned")
            continue
        cost = f"{format_flops(targets.fit_flops)} FLOPs to fit" if targets.fit_flops else "nothing to fit"
        about = (
            f"{targets.used} of {targets.classes} classes occur, entropy {targets.entropy:.4g} nats"
            if targets.classes
            else f"{targets.values.shape[1]} values a frame, in {targets.unit}"
        )
        per_frame = f"{format_flops(targets.flops_per_frame)} a frame" if targets.flops_per_frame else "none a frame"
        lines.append(f"{spec.objective} ({spec.targets['kind']}): {about}; {cost}, {per_frame}; hash {targets.model}")
    return lines


def find_run(name: str) -> Path:
    """Return a run's folder from a path, SWEEP/ID, or an id that one sweep under results/ has.

    Raises:
        InputError: When there is none, or several.
    """
    path = Path(name)
    if path.exists():
        return path
    sweep, _, run_id = name.rpartition("/")
    pattern = f"{escape(sweep) or '*'}/runs/{escape(run_id)}*"
    found = sorted(RESULTS.glob(pattern)) if run_id and not path.is_absolute() else []
    if len(found) == 1:
        return found[0]
    raise InputError(
        "no such run" if not found else "several runs begin so",
        where="RUN",
        value=name,
        remedy="name its folder, results/SWEEP/runs/ID; `scaling-sweep status SWEEP` lists the ids",
    )
