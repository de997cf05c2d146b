"""What was sent to SLURM: written down before it is sent, and found again when the sender died in between.

An intent is a folder of `submissions/` named by a random number: `intent.json` (written before sbatch is called: the
runs, one an element of a job array, and what they ask for), `script.sh`, and `ids.json` (afterwards: run -> job).
The name of the job holds the intent's, so a job whose sender died before `ids.json` is found by it and adopted.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.files import read_json, write_json
from sweeps.folder import SweepFolder
from sweeps.jobs.site import Queued

RUNS, KEEPER = "runs", "keeper"


@dataclass(frozen=True, kw_only=True)
class Intent:
    """One call of sbatch, sent or about to be."""

    path: Path
    kind: str
    """`runs`, or `keeper`: the job that looks after the others."""
    runs: list[str]
    resources: dict[str, Any]
    code: str
    by: str
    """Who sent it: `submit`, `retry`, `keeper`, `job`."""
    time: float
    jobs: dict[str, str] | None
    """Run -> job (a keeper's under its own kind); None where it is not known whether it was sent."""

    @property
    def name(self) -> str:
        """Name of the SLURM job."""
        return job_name(self.path)


def job_name(intent: Path) -> str:
    """Return the name of an intent's job: the sweep's, and the intent's own."""
    return f"{intent.parent.parent.name}.{intent.name}"


def declare(
    folder: SweepFolder, runs: Sequence[str], resources: Mapping[str, Any], *, code: str, by: str, kind: str = RUNS
) -> Intent:
    """Write an intent down and return it."""
    path = folder.submissions / uuid.uuid4().hex
    values = {"kind": kind, "runs": list(runs), "resources": dict(resources), "code": code, "by": by}
    last = max((intent.time for intent in intents_of(folder)), default=0.0)
    # later than all before it, whatever this machine's clock says
    write_json(path / "intent.json", {"schema": 1, **values, "time": max(time.time(), last + 1e-3)})
    return read_intent(path)


def confirm(intent: Intent, jobs: Mapping[str, str]) -> None:
    """Note the jobs of an intent; none where it was never sent."""
    write_json(intent.path / "ids.json", dict(jobs))


def read_intent(path: Path) -> Intent:
    """Return the intent in a folder."""
    said = read_json(path / "intent.json")
    ids = path / "ids.json"
    return Intent(
        path=path,
        kind=said.get("kind", RUNS),
        runs=said["runs"],
        resources=said["resources"],
        code=said.get("code", ""),
        by=said.get("by", "submit"),
        time=said.get("time", 0.0),
        jobs=read_json(ids) if ids.exists() else None,
    )


def intents_of(folder: SweepFolder) -> list[Intent]:
    """Return all intents of a sweep, in the order in which they were written."""
    found = []
    for file in folder.submissions.glob("*/intent.json"):
        try:
            found.append(read_intent(file.parent))
        except InputError:  # being removed, or written by a later version
            continue
    return sorted(found, key=lambda intent: intent.time)


def jobs_of(intents: Sequence[Intent]) -> dict[str, str]:
    """Return run -> the last job that was sent for it."""
    return {run: job for intent in intents if intent.kind == RUNS for run, job in (intent.jobs or {}).items()}


def adopt(intents: Sequence[Intent], queue: Mapping[str, Queued]) -> list[Intent]:
    """Return the intents, each with its jobs: those without are looked for in the queue by their name, and noted.

    Under the lease on submissions only: nobody else is between an intent and its call of sbatch then, so one that is
    not in the queue was never sent, or is over. Its runs are sent again where they have no record.
    """
    adopted = []
    for intent in intents:
        if intent.jobs is None:
            elements = {job: int(job.partition("_")[2] or 0) for job, at in queue.items() if at.name == intent.name}
            if intent.kind == KEEPER:
                jobs = dict.fromkeys([KEEPER], next(iter(elements))) if elements else {}
            else:
                first = {job.partition("_")[0] for job in elements}
                # elements that are over by now had numbers too
                jobs = {run: f"{job}_{k}" for job in first for k, run in enumerate(intent.runs)}
            confirm(intent, jobs)
            intent = read_intent(intent.path)
        adopted.append(intent)
    return adopted
