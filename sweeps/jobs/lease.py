"""A lease on a run or on a queue: one holder at a time, taken over when its holder is gone.

The holder touches the file every few seconds. Seen from the holder's own machine a lease is live while its process
exists, however silent; seen from another, while it is touched. Who takes a dead lease over first takes a guard file
beside it, so that one process alone removes it.
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

BEAT_SECONDS = 10.0
STALE_SECONDS = 60.0
"""Silence after which another machine's lease, or a guard, is dead; longer than file systems take to show a touch."""


class Lease:
    """A lease that this process holds; beats in a thread until released."""

    def __init__(self, path: Path, token: str) -> None:
        """Begin to beat; use `acquire`."""
        self.path, self.token = path, token
        self.also: Path | None = None
        """A file that is touched with the lease and stays when it is released: its last touch is a sign of life."""
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
            if holder is None and self.path.exists():  # a read that failed says nothing
                continue
            if holder is None or holder["token"] != self.token:
                self.lost = True
                return
            for path in (self.path, *([self.also] if self.also else [])):
                with contextlib.suppress(OSError):
                    os.utime(path)


def acquire(path: Path) -> Lease | None:
    """Return the lease at a path, or None where a live process holds it."""
    holder = read_lease(path)
    if holder is not None and (is_live(path, holder) or not _remove_dead(path, holder)):
        return None
    token = uuid.uuid4().hex
    mine = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "space": _space(),
        "token": token,
        "since": time.time(),
    }
    write_json(path, mine, once=True)
    winner = read_lease(path)
    return Lease(path, token) if winner is not None and winner["token"] == token else None


def wait_for(path: Path, seconds: float) -> Lease | None:
    """Return the lease at a path, waiting for its holder so long; None where that was not enough."""
    until = time.monotonic() + seconds
    while (lease := acquire(path)) is None and time.monotonic() < until:
        time.sleep(0.1)
    return lease


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
    if holder["host"] == socket.gethostname() and holder.get("space", _space()) == _space():
        return _runs(holder["pid"], holder.get("started"))
    try:
        return time.time() - path.stat().st_mtime <= STALE_SECONDS
    except FileNotFoundError:
        return False


def _runs(pid: int, started: str | None) -> bool:
    """Whether a process of this machine exists, is the one that took the lease, and is not a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's: whether it is the holder, its start tells
        pass
    now = _stat(pid)
    return not now or (now[0] != "Z" and started in (None, now[19]))


def _started(pid: int) -> str | None:
    """Return when a process started, in ticks since boot; None where there is no /proc."""
    return stat[19] if (stat := _stat(pid)) else None


def _space() -> str:
    """Return what tells the processes of a container from those outside; empty where there is no /proc."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; none where they cannot be read."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _remove_dead(path: Path, holder: dict[str, Any]) -> bool:
    """Remove a dead lease; False where another process is at it, or was first."""
    guard = path.with_name(f"{path.name}.takeover")
    try:
        os.close(os.open(guard, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        with contextlib.suppress(FileNotFoundError):
            if time.time() - guard.stat().st_mtime > STALE_SECONDS:  # its maker died
                guard.unlink()
        return False
    try:
        now = read_lease(path)
        if now is None or now["token"] != holder["token"] or is_live(path, now):
            return False
        path.unlink()
        return True
    finally:
        guard.unlink(missing_ok=True)
