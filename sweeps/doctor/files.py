"""A folder's file system: does it keep the promises that sweeps are built on, and how fast.

Whole files come of renaming in one step, results that are written once of hard links, leases of files that only one
process can make, and of clocks that agree.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scaling.files import TEMPORARY_PREFIX
from scaling.once import name_once
from sweeps.doctor.finding import Check, failed, ok, warning
from sweeps.jobs.lease import STALE_SECONDS

NETWORK = re.compile(
    "nfs4?|lustre|gpfs|beegfs|ceph|cifs|smb3|smbfs|afs|panfs|wekafs|orangefs|pvfs2|9p|virtiofs|ocfs2|gfs2"
    r"|fuse\.(ceph|glusterfs|sshfs|juicefs|weka)"
)
OBJECTS = re.compile(r"fuse\.(gcsfuse|s3fs|goofys|rclone|blobfuse2?|mount-s3)")
"""Stores of objects: a rename copies, and what one machine writes another sees late or never."""
LOCAL = re.compile("ext[234]|xfs|btrfs|zfs|f2fs|tmpfs|ramfs|overlay|vfat|exfat|fuseblk|apfs")
QUOTA_SECONDS = 5
SYNCS, SLOW_SYNC = 10, 0.5
SKEW, WRONG_SKEW = 5.0, STALE_SECONDS / 2
"""Seconds between two clocks that are worth a word, and beyond which a lease that is alive looks dead."""
LOW_GB = 5.0


def check_folder(name: str, folder: Path, *, nodes: int = 1, needs_gb: float | None = None) -> Iterator[Check]:
    """Yield what the file system of a folder is like; what is made for it is removed again.

    Args:
        name: What the folder is to the user: `results`, `scratch`.
        folder: The folder, which may be missing.
        nodes: How many machines have to see it.
        needs_gb: What will be written there, where that is known.
    """
    yield _kind(name, folder, nodes)
    try:
        with trial_folder(folder) as trial:
            for title, look in _PROBES.items():
                yield look(f"{name}: {title}", trial)
            yield _space(f"{name}: space", trial, needs_gb)
    except OSError as error:
        yield failed(
            name, f"{folder} cannot be written: {error.strerror or error}", "name another folder, or free some"
        )


@contextlib.contextmanager
def trial_folder(folder: Path) -> Iterator[Path]:
    """Make a temporary folder below another, which is made where missing; nothing of both remains."""
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = Path(tempfile.mkdtemp(dir=folder.resolve(), prefix=f"{TEMPORARY_PREFIX}doctor-"))
        try:
            yield trial
        finally:
            shutil.rmtree(trial, ignore_errors=True)
    finally:
        with contextlib.suppress(OSError):  # somebody has put something there
            for path in made:
                path.rmdir()


def clock_check(name: str, skew: float, *, whose: str, remedy: str) -> Check:
    """Return the verdict on a clock that is so many seconds ahead of this machine's."""
    if abs(skew) <= SKEW:
        return ok(name, f"{whose} agrees with this machine's")
    found = f"{whose} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    return failed(name, found, remedy) if abs(skew) > WRONG_SKEW else warning(name, found, remedy)


def _kind(name: str, folder: Path, nodes: int) -> Check:
    """Say what file system a folder is on, and whether other machines can see it."""
    mount, kind = mount_of(folder)
    found = f"{folder.absolute()} on {kind} at {mount}" if kind else f"{folder.absolute()} (file system not known)"
    if OBJECTS.fullmatch(kind):
        remedy = "use a file system: names that are taken in one step are what keeps results whole"
        return warning(name, f"{found}, a store of objects", remedy)
    if LOCAL.fullmatch(kind) and nodes > 1:
        return warning(
            name,
            f"{found}, which is often one machine's own: all {nodes} compute nodes have to see it",
            "use a shared file system; `scaling-sweep doctor --job` looks from a compute node",
        )
    return ok(name, f"{found} (network)" if NETWORK.fullmatch(kind) else found)


def mount_of(folder: Path) -> tuple[str, str]:
    """Return where the file system of a folder is mounted and its type, empty where the system does not tell."""
    place = folder.resolve()
    best = ("", "")
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return best
    for line in lines:
        _, mount, kind, *_ = line.split()
        mount = mount.replace("\\040", " ")
        if place.is_relative_to(mount) and len(mount) >= len(best[0]):  # of two at one place the last is seen
            best = (mount, kind)
    return best


def _renaming(name: str, trial: Path) -> Check:
    """Replace a file again and again while a thread reads it."""
    target = trial / "renamed"
    target.write_text("whole")
    torn: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                if target.read_text() != "whole":
                    torn.append("was seen in part")
            except OSError as error:
                torn.append(f"was gone ({error.strerror})")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        for n in range(20):
            (trial / f"new-{n}").write_text("whole")
            (trial / f"new-{n}").replace(target)
    finally:
        done.set()
        reader.join()
    if torn:
        return failed(name, f"a file {torn[0]} while it was replaced", "use a file system that renames in one step")
    return ok(name, "in one step")


def _links(name: str, trial: Path) -> Check:
    """Say by what a file takes its name once."""
    (trial / "file").write_text("")
    how = name_once(trial / "file", trial / "name")
    instead = {
        "link": "made",
        "rename": "refused; renaming without replacing is used instead",
        "claim": "refused, and so is renaming without replacing; claim files are used instead",
    }
    return ok(name, instead[how])


def _exclusive(name: str, trial: Path) -> Check:
    """Let several threads make the same file: one may succeed."""

    def make(path: Path) -> bool:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        winners = [sum(threads.map(make, [trial / f"exclusive-{n}"] * 8)) for n in range(5)]
    if winners != [1] * 5:
        remedy = "use another file system: two processes could hold the same lease"
        return failed(name, f"{max(winners)} of 8 writers made the same file", remedy)
    return ok(name, "one of 8 writers makes a file")


def _syncing(name: str, trial: Path) -> Check:
    """Time small files until they are on disk."""
    times = []
    for n in range(SYNCS):
        began = time.monotonic()
        with (trial / f"sync-{n}").open("wb") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        times.append(time.monotonic() - began)
    median = statistics.median(times)
    found = f"{median * 1000:.3g} ms a small file (median of {SYNCS}, at most {max(times) * 1000:.3g} ms)"
    if median > SLOW_SYNC:
        return warning(name, found, "every checkpoint and lease waits for it: use a faster file system, or scratch")
    return ok(name, found)


def _clock(name: str, trial: Path) -> Check:
    """Compare the time that the file server gives a new file with this machine's clock."""
    before = time.time()
    (trial / "clock").write_text("")
    after, given = time.time(), (trial / "clock").stat().st_mtime
    skew = given - after if given > after else min(0.0, given - before)
    return clock_check(
        name,
        skew,
        whose="the file server's clock",
        remedy="let both keep time by NTP: a lease is taken for dead when its file looks old",
    )


_PROBES: dict[str, Callable[[str, Path], Check]] = {
    "renaming": _renaming,
    "hard links": _links,
    "exclusive files": _exclusive,
    "syncing": _syncing,
    "clock": _clock,
}


def _space(name: str, trial: Path, needs_gb: float | None) -> Check:
    """Say what is free and, where `quota` tells, what the user may have."""
    usage = shutil.disk_usage(trial)
    free = usage.free / 1e9
    found = f"{free:,.0f} GB free of {usage.total / 1e9:,.0f}"
    told, over = _quota(trial)
    found += f"; {told}" if told else ""
    if over:
        return failed(name, found, "remove files, or use another folder: the quota is used up")
    if needs_gb is not None:
        found += f"; the grid writes about {needs_gb:.2g} GB"
        if needs_gb > free:
            return failed(name, found, "free some, train fewer at once, or set cluster.scratch to a larger folder")
    if free < LOW_GB:
        return warning(name, found, "free some: checkpoints and weights go there")
    return ok(name, found)


def _quota(folder: Path) -> tuple[str, bool]:
    """Return what `quota` says of a folder's file system, and whether it is used up; empty where it says nothing."""
    if shutil.which("quota") is None:
        return "", False
    try:
        done = subprocess.run(
            ["quota", "-w"], capture_output=True, text=True, timeout=QUOTA_SECONDS, check=False
        )  # it exits with 1 where a quota is used up
    except (OSError, subprocess.SubprocessError):
        return "", False
    mount, _ = mount_of(folder)
    names = {mount, *_sources(mount)}
    for line in done.stdout.splitlines():
        source, *columns = line.split() or [""]
        if source in names and len(columns) >= 3:
            used, soft, hard = (columns[n].rstrip("*") for n in range(3))
            if all(column.isdigit() for column in (used, soft, hard)):
                limit = int(hard) or int(soft)
                return f"quota: {int(used) * 1024 / 1e9:.3g} of {limit * 1024 / 1e9:.3g} GB used", "*" in columns[0]
    return "", False


def _sources(mount: str) -> set[str]:
    """Return what is mounted at a place."""
    try:
        lines = Path("/proc/mounts").read_text().splitlines()
    except OSError:
        return set()
    return {line.split()[0] for line in lines if line.split()[1] == mount}
