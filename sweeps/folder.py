"""A sweep's folder: where everything lies, and what its files say.

sweep.json  plan.jsonl  stop  halt.json  errors/<fingerprint>/<id>
runs/<id>/spec.json  lease.json  metrics.jsonl  stop  chance.json  log  attempts/<n>/{start,exit}.json
          checkpoint-<n>.pt  branch-<step>.pt  weights.pt
records/<id>.json  probes/<id>.json
submissions/<uuid>/{intent,ids}.json  code/<hash>/
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.files import TEMPORARY_PREFIX, read_json, read_json_lines, write_json
from scaling.records import RunRecord, RunSpec
from scaling.results import SCORES

RESULTS = Path("results")
"""Where sweeps go unless told otherwise."""
CANCELLED, PAUSED = "cancelled", "paused"
"""How a sweep or a run was asked to stop: `submit` starts it again, or `resume`."""


class SweepFolder:
    """Paths and contents of one sweep."""

    def __init__(self, path: Path | str) -> None:
        """Name a sweep's folder; nothing is made."""
        self.path = Path(path)
        self.sweep_file = self.path / "sweep.json"
        self.plan_file = self.path / "plan.jsonl"
        self.stop_file = self.path / "stop"
        self.halt_file = self.path / "halt.json"
        self.errors = self.path / "errors"
        self.queue_lease = self.path / "queue.json"
        self.submissions = self.path / "submissions"
        self.submission_lease = self.submissions / "lease.json"

    @classmethod
    def find(cls, name: str) -> SweepFolder:
        """Return the sweep of a name under results/, or at a path.

        Raises:
            InputError: When there is none.
        """
        for path in (RESULTS / name, Path(name)):
            if (path / "sweep.json").exists():
                return cls(path)
        there = sorted(p.parent.name for p in RESULTS.glob("*/sweep.json"))
        raise InputError(
            "no such sweep",
            where="SWEEP",
            value=name,
            remedy=f"under {RESULTS}/: {', '.join(there)}" if there else "submit a grid first",
        )

    def run(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.path / "runs" / run_id

    def states(self, run_id: str, settings: Mapping[str, Any] | None = None) -> Path:
        """Return where a run's checkpoints and branches are: its folder, or one on scratch."""
        scratch = (self.sweep() if settings is None else settings).get("scratch")
        return Path(scratch) / self.path.name / run_id if scratch else self.run(run_id)

    def record_file(self, run_id: str) -> Path:
        """Return where a run's record is, once it is done."""
        return self.path / "records" / f"{run_id}.json"

    def scores_file(self, run_id: str) -> Path:
        """Return where the scores of a run's probes are, once it was probed."""
        return self.path / SCORES / f"{run_id}.json"

    def spec(self, run_id: str) -> RunSpec:
        """Return the spec of a run that was submitted."""
        return RunSpec.from_dict(read_json(self.run(run_id) / "spec.json"))

    def sweep(self) -> dict[str, Any]:
        """Return what sweep.json says."""
        return read_json(self.sweep_file)

    def plan(self) -> list[dict[str, Any]]:
        """Return the rows of plan.jsonl."""
        return read_json_lines(self.plan_file)

    def planned_ids(self) -> list[str]:
        """Return the ids that shall run, dearest first, so that the last to end is short."""
        rows = [row for row in self.plan() if row["status"] == "run"]
        rows.sort(key=lambda row: -(row["device_hours"] or row["flops"] or row["updates"]))
        return [row["id"] for row in rows]

    def record(self, run_id: str) -> RunRecord | None:
        """Return a run's record, or None where it is not done."""
        path = self.record_file(run_id)
        return RunRecord.read(path) if path.exists() else None

    def record_ids(self) -> list[str]:
        """Return the ids of all runs that are done."""
        try:
            names = [entry.name for entry in os.scandir(self.path / "records")]
        except FileNotFoundError:
            return []
        return sorted(n.removesuffix(".json") for n in names if n.endswith(".json") and n[0] != TEMPORARY_PREFIX[0])

    def waits_for_parent(self, row: dict[str, Any]) -> bool:
        """Return whether a planned run starts from another's state, which that one has yet to reach.

        A parent that is done without having left it is not waited for: the run then begins anew.
        """
        parent = row.get("parent")
        if not parent or self.record_file(parent["id"]).exists():
            return False
        return not any(self.states(parent["id"]).glob(f"branch-{parent['step']}.*"))

    def discard_branches(self, spec: RunSpec) -> None:
        """Remove the states, by a run that ends, that were kept for runs which are done."""
        if not spec.parent and not spec.branches:
            return
        trunk = spec.parent.get("id", spec.id)
        for row in self.plan():
            parent = row.get("parent")
            if parent and parent["id"] == trunk and self.record_file(row["id"]).exists():
                for path in self.states(trunk).glob(f"branch-{parent['step']}.*"):
                    path.unlink(missing_ok=True)

    def ask_to_stop(self, how: str = CANCELLED, run_id: str | None = None) -> None:
        """Ask the queue and the workers to save and stop, or those of one run; `how` says what may start them again."""
        write_json(self._stop_file(run_id), {"how": how})

    def stop_asked(self, run_id: str | None = None) -> str:
        """Return how the sweep or a run was asked to stop: `cancelled` or `paused`; empty where it was not."""
        for file in (self.stop_file, *([self._stop_file(run_id)] if run_id else [])):
            if file.exists():
                try:
                    return read_json(file).get("how", CANCELLED)
                except InputError:  # removed since
                    continue
        return ""

    def cancelled_alone(self, run_id: str) -> bool:
        """Whether this run, apart from its sweep, was cancelled."""
        return self._stop_file(run_id).exists()

    def let_go_on(self, run_id: str | None = None) -> None:
        """Take back the word to stop."""
        self._stop_file(run_id).unlink(missing_ok=True)

    def halted(self) -> dict[str, Any] | None:
        """Return why no further run may start (the same error in several), or None."""
        return read_json(self.halt_file) if self.halt_file.exists() else None

    def forget_errors(self) -> None:
        """Let runs start again after an error that halted the sweep."""
        shutil.rmtree(self.errors, ignore_errors=True)
        self.halt_file.unlink(missing_ok=True)

    def _stop_file(self, run_id: str | None) -> Path:
        return self.run(run_id) / "stop" if run_id else self.stop_file
