"""A sweep's folder: where everything lies, and what its files say.

sweep.json  plan.jsonl  stop
runs/<id>/spec.json  lease.json  metrics.jsonl  attempts/<n>/{start,exit}.json
          checkpoint-<n>.pt  branch-<step>.pt  weights.pt
records/<id>.json
submissions/
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.files import TEMPORARY_PREFIX, read_json, read_json_lines, write_json
from scaling.records import RunRecord, RunSpec

RESULTS = Path("results")
"""Where sweeps go unless told otherwise."""


class SweepFolder:
    """Paths and contents of one sweep."""

    def __init__(self, path: Path | str) -> None:
        """Name a sweep's folder; nothing is made."""
        self.path = Path(path)
        self.sweep_file = self.path / "sweep.json"
        self.plan_file = self.path / "plan.jsonl"
        self.stop_file = self.path / "stop"
        self.queue_lease = self.path / "queue.json"
        self.submissions = self.path / "submissions"

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

    def record_file(self, run_id: str) -> Path:
        """Return where a run's record is, once it is done."""
        return self.path / "records" / f"{run_id}.json"

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
        folder = self.path / "records"
        return sorted(p.stem for p in folder.glob("*.json") if not p.name.startswith(TEMPORARY_PREFIX))

    def last_attempt(self, run_id: str) -> tuple[Path, dict[str, Any] | None] | None:
        """Return the folder of the last attempt and what its exit.json says, or None where there was none."""
        attempts = sorted((self.run(run_id) / "attempts").glob("*"), key=lambda path: int(path.name))
        if not attempts:
            return None
        exit_file = attempts[-1] / "exit.json"
        return attempts[-1], read_json(exit_file) if exit_file.exists() else None

    def waits_for_parent(self, row: dict[str, Any]) -> bool:
        """Return whether a planned run starts from another's state, which that one has yet to reach.

        A parent that is done without having left it is not waited for: the run then begins anew.
        """
        parent = row.get("parent")
        if not parent or self.record_file(parent["id"]).exists():
            return False
        return not any(self.run(parent["id"]).glob(f"branch-{parent['step']}.*"))

    def discard_branches(self, spec: RunSpec) -> None:
        """Remove the states, by a run that ends, that were kept for runs which are done."""
        if not spec.parent and not spec.branches:
            return
        for row in self.plan():
            parent = row.get("parent")
            if parent and self.record_file(row["id"]).exists():
                for path in self.run(parent["id"]).glob(f"branch-{parent['step']}.*"):
                    path.unlink(missing_ok=True)

    def ask_to_stop(self) -> None:
        """Ask the queue and the workers to save and stop."""
        write_json(self.stop_file, {})

    def stop_asked(self) -> bool:
        """Whether somebody asked to stop."""
        return self.stop_file.exists()
