"""A lease on a run or on a queue: one holder at a time, taken over when its holder is gone.

The holder touches the file every few seconds. A lease is live while it is touched and, seen from the holder's own
machine, the holder's process exists. Taking over renames the dead lease away, which only one process can do.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.files import read_json, write_json

BEAT_SECONDS = 2.0
STALE_SECONDS = 60.0
"""Silence after which a lease of another machine is dead; longer than file systems take to show a touch."""


class Lease:
    """A lease that this process holds; beats in a thread until released."""

    def __init__(self, path: Path, token: str) -> None:
        """Begin to beat; use `acquire`."""
        self.path, self.token = path, token
        self.lost = False
        """Whether another process took the lease over (this one was thought dead)."""
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Stop beating and give the lease up."""
        self._done.set()
        self._thread.join()
        if not self.lost:
            self.path.unlink(missing_ok=True)

    def _beat(self) -> None:
        while not self._done.wait(BEAT_SECONDS):
            holder = read_lease(self.path)
            if holder is None or holder["token"] != self.token:
                self.lost = True
                return
            with contextlib.suppress(OSError):
                os.utime(self.path)


def acquire(path: Path) -> Lease | None:
    """Return the lease at a path, or None where a live process holds it."""
    holder = read_lease(path)
    if holder is not None:
        if is_live(path, holder):
            return None
        if not _remove_dead(path, holder):
            return None
    token = uuid.uuid4().hex
    mine = {"host": socket.gethostname(), "pid": os.getpid(), "token": token, "since": time.time()}
    write_json(path, mine, once=True)
    winner = read_lease(path)
    return Lease(path, token) if winner is not None and winner["token"] == token else None


def read_lease(path: Path) -> dict[str, Any] | None:
    """Return what a lease says, or None where there is none."""
    try:
        return read_json(path)
    except InputError:
        return None


def is_live(path: Path, holder: dict[str, Any] | None = None) -> bool:
    """Whether a live process holds the lease at a path."""
    holder = holder or read_lease(path)
    if holder is None:
        return False
    try:
        silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    if silent > STALE_SECONDS:
        return False
    if holder["host"] != socket.gethostname():
        return True
    return _runs(holder["pid"])


def _runs(pid: int) -> bool:
    """Whether a process of this machine exists and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # no /proc here, or it has just gone
        return True
    return state != "Z"


def _remove_dead(path: Path, holder: dict[str, Any]) -> bool:
    """Rename a dead lease away; False where another process was first."""
    grave = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    try:
        path.rename(grave)
    except FileNotFoundError:
        return False
    moved = read_lease(grave)
    ours = moved is not None and moved["token"] == holder["token"]
    if not ours:  # a live lease appeared in between: give it its name back
        with contextlib.suppress(FileExistsError):
            os.link(grave, path)
    grave.unlink(missing_ok=True)
    return ours
