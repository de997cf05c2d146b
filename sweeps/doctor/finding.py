"""What an examination finds: one check after the other, each of which may raise or hang without ending the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from scaling.errors import InputError, WorkError

Status = Literal["ok", "warning", "failed"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Status
    found: str
    remedy: str = ""
    """What to do about it; empty where nothing is wrong."""


def ok(name: str, found: str) -> Check:
    """Return a check that found all well."""
    return Check(name=name, status="ok", found=found)


def warning(name: str, found: str, remedy: str = "") -> Check:
    """Return a check that found something to know about."""
    return Check(name=name, status="warning", found=found, remedy=remedy)


def failed(name: str, found: str, remedy: str = "") -> Check:
    """Return a check that found what will not work."""
    return Check(name=name, status="failed", found=found, remedy=remedy)


def collect(name: str, look: Callable[[], Iterator[Check]], *, seconds: float | None) -> list[Check]:
    """Return the checks that a function yields; that it raised or hung is one more.

    Args:
        name: What is looked at, for that one more.
        look: The function.
        seconds: How long it may take, in a thread that is left behind then (a system call on a file server that does
            not answer cannot be interrupted). None for one with time-outs of its own, in this thread.
    """
    found: list[Check] = []

    def run() -> None:
        try:
            for check in look():
                found.append(check)  # noqa: PERF402 - what was found before it raises counts
        except InputError as error:
            remedy = error.remedy or ""
            found.append(failed(name, str(error).removesuffix(f"\n  {remedy}"), remedy))
        except WorkError as error:
            found.append(failed(name, str(error)))
        except Exception as error:
            found.append(failed(name, f"{type(error).__name__}: {error}"))

    if seconds is None:
        run()
        return found
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        return [*found, failed(name, f"no answer within {seconds:g} s", "find out what hangs, and try again")]
    return found
