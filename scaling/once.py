"""A name that only one of several writers gets, also where a file system has no hard links.

A hard link is made in one step everywhere, over networks too, and never replaces a file. Where it is refused (FAT,
some mounts through FUSE, some network shares) Linux can rename without replacing, and where that is not known
either, a claim file beside the name keeps other writers away between the look and the rename.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from pathlib import Path

NO_LINKS = frozenset((errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EXDEV, errno.EMLINK, errno.ENOSYS))
"""What `link` fails with where there are none, or no more of them."""
CLAIM_SECONDS = 60.0
"""Age beyond which a claim's maker is taken for dead: it looks and renames in far less."""
_POLL_SECONDS = 0.02
_HERE, _KEEP = -100, 1
"""AT_FDCWD and RENAME_NOREPLACE of Linux."""


def name_once(temporary: Path, path: Path) -> str:
    """Give a whole file its name, which no file has yet; return by what: `link`, `rename` or `claim`.

    Args:
        temporary: The file, in the folder of `path`; it may still be there afterwards.
        path: The name.

    Raises:
        FileExistsError: When a file has the name. It stays as it is.
    """
    try:
        os.link(temporary, path)
        return "link"
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
    if _rename(temporary, path):
        return "rename"
    _rename_claimed(temporary, path)
    return "claim"


def _rename(temporary: Path, path: Path) -> bool:
    """Rename without replacing; False where the system or the file system does not know that."""
    import ctypes

    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if rename(_HERE, os.fsencode(temporary), _HERE, os.fsencode(path), _KEEP) == 0:
        return True
    code = ctypes.get_errno()
    if code in NO_LINKS or code == errno.EINVAL:
        return False
    raise OSError(code, os.strerror(code), str(path))


def _rename_claimed(temporary: Path, path: Path) -> None:
    """Look and rename, while no other writer that does the same is between the two."""
    claim = path.with_name(f".tmp-claim-{path.name}")
    mine = uuid.uuid4().hex.encode()
    seen, since = b"", time.monotonic()
    while True:
        try:
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            if _make(claim, mine) and not path.exists() and _read(claim) == mine:  # it is still, however long that took
                temporary.replace(path)
                return
        finally:
            if _read(claim) == mine:
                claim.unlink(missing_ok=True)
        if (other := _read(claim)) != seen:
            seen, since = other, time.monotonic()
        elif _age(claim) > CLAIM_SECONDS or time.monotonic() - since > CLAIM_SECONDS:
            claim.unlink(missing_ok=True)
        time.sleep(_POLL_SECONDS)


def _make(claim: Path, mine: bytes) -> bool:
    """Make the claim file; False where another writer's is there."""
    try:
        handle = os.open(claim, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    except FileExistsError:
        return False
    with os.fdopen(handle, "wb") as file:
        file.write(mine)
    return True


def _age(claim: Path) -> float:
    """Return a claim's age by the file server's clock, which may be wrong: who has watched it long enough knows too."""
    try:
        return time.time() - claim.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read(claim: Path) -> bytes:
    try:
        return claim.read_bytes()
    except OSError:
        return b""
