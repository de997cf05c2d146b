"""The folder of one run, as its trainer sees it: save, load, branch, log, stop."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from scaling.files import TEMPORARY_PREFIX, atomic_file, plain, read_json, write_bytes

STOP_CHECK_SECONDS = 0.5
KEPT = 2
"""Checkpoints that are kept: the last, and the one before it in case the last cannot be read."""

TAIL_BYTES = 4096

Tracker = Callable[[int, dict[str, float]], None]


class RunFolder:
    """Checkpoints and metrics of one run, and the word to stop.

    A state is a mapping of numbers, text, lists and, where torch is loaded, tensors. It is stored with
    `torch.save` when torch is in use and as JSON otherwise, and read back with `weights_only`.

    Example:
        >>> import tempfile
        >>> run = RunFolder(Path(tempfile.mkdtemp()))
        >>> run.load() is None
        True
        >>> run.log(1, loss=0.5); run.save({"step": 1}); run.load()
        {'step': 1}
    """

    def __init__(
        self,
        path: Path,
        *,
        save_every: float = 600.0,
        stop: Callable[[], bool] = lambda: False,
        owned: Callable[[], bool] = lambda: True,
        leader: bool = True,
        keep_weights: bool = True,
        trackers: Sequence[Tracker] = (),
        states: Path | None = None,
        scores: Path | None = None,
        out_of_memory: int = 0,
        on_lost: Callable[[dict[str, float]], None] = lambda lost: None,
    ) -> None:
        """Open a run's folder.

        Args:
            path: The folder; made where missing.
            save_every: Seconds after which `save_due` turns true.
            stop: Asked at most twice a second whether the run shall stop.
            owned: Whether the run is still this process's; one that was taken over saves nothing.
            leader: Whether this process writes; of several that train one run together, one does.
            keep_weights: Whether a finished run shall leave its weights.
            trackers: Called with the step and the metrics of every line that is logged.
            states: Where checkpoints go instead of the run's folder, such as scratch; all nodes must see it.
            scores: The file that keeps what the encoder is judged by besides its loss; probes.json in the folder.
            out_of_memory: How often the run died for lack of memory before.
            on_lost: Called by `load` with the `steps` and `seconds` that were logged after the checkpoint, and so are
                done again.
        """
        self.path = path
        self.save_every = save_every
        self.leader, self.keep_weights = leader, keep_weights
        self.states = states or path
        self.scores = scores or path / "probes.json"
        self.out_of_memory = out_of_memory
        """A trainer that cuts its batch takes micro-batches smaller by 2 to this power."""
        self._stop, self._owned, self._trackers, self._on_lost = stop, owned, trackers, on_lost
        self._stopped = False
        self._unread: set[str] = set()
        self._next_check = 0.0
        self._saved_at = time.monotonic()
        path.mkdir(parents=True, exist_ok=True)
        self.states.mkdir(parents=True, exist_ok=True)
        if leader:
            for pattern in ("checkpoint", "branch"):  # left by a run that was killed
                for stale in self.states.glob(f"{TEMPORARY_PREFIX}*-{pattern}*"):
                    stale.unlink(missing_ok=True)
        self._metrics = path / "metrics.jsonl"

    @property
    def should_stop(self) -> bool:
        """Whether the run shall save and return None now."""
        now = time.monotonic()
        if not self._stopped and now >= self._next_check:
            self._next_check = now + STOP_CHECK_SECONDS
            self._stopped = self._stop()
        return self._stopped

    @property
    def stop_asked(self) -> bool:
        """Whether the run was told to stop, by a look that does not wait for the next one due."""
        return self._stopped or self._stop()

    def note_stop(self) -> None:
        """Note that the run was told to stop by another of the processes that train it."""
        self._stopped = True

    @property
    def seconds_unsaved(self) -> float:
        """Seconds since the last save: what is lost if the run is taken over now."""
        return time.monotonic() - self._saved_at

    @property
    def save_due(self) -> bool:
        """Whether the saving interval has passed since the last save."""
        return self.seconds_unsaved >= self.save_every

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint that `load` returns, in one step; the one before it stays, older ones go."""
        if not self._owned():
            return
        self._saved_at = time.monotonic()
        if not self.leader:
            return
        size = self._metrics.stat().st_size if self._metrics.exists() else 0
        there = self._checkpoints()
        number = 1 + max(map(number_of, there), default=0)
        before = [path for path in there if path.name not in self._unread]
        self._write(f"checkpoint-{number:06d}", {"state": state, "metrics_size": size})
        for path in before[: max(0, len(before) + 1 - KEPT)]:
            path.unlink(missing_ok=True)
        self._saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the last saved state that can be read, or None; metrics logged after it are dropped."""
        whole: dict[str, Any] = {"state": None, "metrics_size": 0}
        for path in reversed(self._checkpoints()):
            try:
                whole = _read(path)
                break
            except Exception as error:
                print(f"{path} cannot be read ({type(error).__name__}): the one before it is used", file=sys.stderr)
                self._unread.add(path.name)  # kept, since it may be the disk; but not as one of the two
        if self.leader and self._metrics.exists():
            kept = min(whole["metrics_size"], self._metrics.stat().st_size)
            if lost := _logged_after(self._metrics, kept):
                self._on_lost(lost)
            os.truncate(self._metrics, kept)
        return whole["state"]

    def save_branch(self, step: int, state: dict[str, Any]) -> None:
        """Keep the state at a step for the runs that start from it."""
        if self.leader and self._owned():
            self._write(f"branch-{step}", {"state": state})

    def load_branch(self, run_id: str, step: int) -> dict[str, Any] | None:
        """Return the state that another run of the sweep kept at a step, or None where there is none."""
        for suffix in (".pt", ".json"):
            path = self.states.parent / run_id / f"branch-{step}{suffix}"
            if path.exists():
                return _read(path)["state"]
        return None

    def log(self, step: int, **metrics: float) -> None:
        """Append one line to metrics.jsonl; `status` reads the progress from it."""
        if not self.leader or not self._owned():
            return
        line = json.dumps(plain({"step": step, "time": round(time.time(), 3), **metrics}))
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        for tracker in self._trackers:
            try:
                tracker(step, metrics)
            except Exception as error:
                print(f"a tracker failed at step {step}: {type(error).__name__}: {error}", file=sys.stderr)

    def discard_checkpoint(self) -> None:
        """Remove the checkpoints of a run whose record is written."""
        for path in self._checkpoints():
            path.unlink(missing_ok=True)

    def _checkpoints(self) -> list[Path]:
        """Return the checkpoints, the oldest first; those of version 0.1 have no number."""
        return checkpoints(self.states)

    def _write(self, name: str, whole: dict[str, Any]) -> None:
        if "torch" in sys.modules:
            import torch

            with atomic_file(self.states / f"{name}.pt") as file:
                torch.save(whole, file)
        else:
            # unlike a record, a state keeps its infinities and NaN
            write_bytes(self.states / f"{name}.json", json.dumps(plain(whole, finite=False)).encode())


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the oldest first; those of version 0.1 have no number."""
    found = [path for path in folder.glob("checkpoint*") if path.suffix in (".pt", ".json")]
    return sorted(found, key=number_of)


def number_of(checkpoint: Path) -> int:
    """Return which checkpoint of its run a file is, counted from 1."""
    number = checkpoint.stem.partition("-")[2]
    return int(number) if number.isdigit() else 0


def _logged_after(metrics: Path, kept: int) -> dict[str, float]:
    """Return the steps after the last line that is kept, and the seconds in which they were logged."""
    with metrics.open("rb") as file:
        file.seek(max(0, kept - TAIL_BYTES))
        before = file.read(min(kept, TAIL_BYTES)).splitlines()
        after = file.read().splitlines()
    first, last, line_before = _last_line(after[:1]), _last_line(after), _last_line(before)
    if last is None:
        return {}
    steps = last["step"] - (line_before["step"] if line_before else 0)
    # not from the line before on: between them the run may have waited in a queue
    return {"steps": steps, "seconds": round(last["time"] - (first or last)["time"], 3)}


def _last_line(lines: list[bytes]) -> dict[str, Any] | None:
    """Return the last line that is whole."""
    for line in reversed(lines):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return None


def _read(path: Path) -> dict[str, Any]:
    if path.suffix == ".json":
        return read_json(path)
    import torch

    return torch.load(path, map_location="cpu", weights_only=True)
