"""The folder of one run, as its trainer sees it: save, load, log, stop."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scaling.files import TEMPORARY_PREFIX, atomic_file, plain, read_json, write_bytes

STOP_CHECK_SECONDS = 0.5


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
    ) -> None:
        """Open a run's folder.

        Args:
            path: The folder; made where missing.
            save_every: Seconds after which `save_due` turns true.
            stop: Asked at most twice a second whether the run shall stop.
            owned: Whether the run is still this process's; one that was taken over saves nothing.
        """
        self.path = path
        self.save_every = save_every
        self._stop, self._owned = stop, owned
        self._stopped = False
        self._next_check = 0.0
        self._saved_at = time.monotonic()
        path.mkdir(parents=True, exist_ok=True)
        for stale in path.glob(f"{TEMPORARY_PREFIX}*-checkpoint.*"):  # left by a run that was killed
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

    @property
    def save_due(self) -> bool:
        """Whether the saving interval has passed since the last save."""
        return time.monotonic() - self._saved_at >= self.save_every

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint that `load` returns, in one step."""
        if not self._owned():
            return
        size = self._metrics.stat().st_size if self._metrics.exists() else 0
        whole = {"state": state, "metrics_size": size}
        if "torch" in sys.modules:
            import torch

            with atomic_file(self.path / "checkpoint.pt") as file:
                torch.save(whole, file)
        else:
            # unlike a record, a state keeps its infinities and NaN
            write_bytes(self.path / "checkpoint.json", json.dumps(plain(whole, finite=False)).encode())
        self._saved_at = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the last saved state, or None; metrics logged after it are dropped, since they come again."""
        whole: dict[str, Any] = {"state": None, "metrics_size": 0}
        if (self.path / "checkpoint.pt").exists():
            import torch

            whole = torch.load(self.path / "checkpoint.pt", map_location="cpu", weights_only=True)
        elif (self.path / "checkpoint.json").exists():
            whole = read_json(self.path / "checkpoint.json")
        if self._metrics.exists():
            os.truncate(self._metrics, min(whole["metrics_size"], self._metrics.stat().st_size))
        return whole["state"]

    def log(self, step: int, **metrics: float) -> None:
        """Append one line to metrics.jsonl; `status` reads the progress from it."""
        line = json.dumps(plain({"step": step, "time": round(time.time(), 3), **metrics}))
        with self._metrics.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def discard_checkpoint(self) -> None:
        """Remove the checkpoint of a run whose record is written."""
        for name in ("checkpoint.pt", "checkpoint.json"):
            (self.path / name).unlink(missing_ok=True)
