"""Reading ahead: batches made by threads in the background, in order, a bounded number ahead.

What a step sees is a function of the step, so it does not matter when or in which thread it is read. Threads are
enough: mapped files, NumPy and SciPy let go of Python's lock while they work.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from types import TracebackType
from typing import Any, Generic, TypeVar

import torch

T = TypeVar("T")


class Prefetch(Generic[T]):
    """The values read(first), ..., read(last - 1), read ahead of the loop that takes them.

    Leaving the loop by any way, the `with` block, or the object being forgotten ends the threads; a read that is under
    way is waited for. What a reader raises is raised in the loop at its place, after all that came before it.

    Example:
        >>> with Prefetch(lambda step: step**2, first=2, last=5) as squares:
        ...     list(squares)
        [4, 9, 16]
    """

    def __init__(
        self,
        read: Callable[[int], Any],
        first: int,
        last: int,
        ahead: int = 2,
        threads: int = 1,
        *,
        pin: bool = False,
    ) -> None:
        """Start reading.

        Args:
            read: Number -> value. Called by several threads where there are several.
            first: First number.
            last: The number after the last.
            ahead: Values that are read, or being read, and not yet taken; at least one a thread.
            threads: Threads that read.
            pin: Whether tensors are moved to pinned memory, for copies to a GPU beside its work.
        """

        def make(number: int) -> Any:
            value = read(number)
            return pinned(value) if pin else value

        self._shared = _Shared(first, last, max(ahead, threads))
        # The threads hold what they share and not this object: they end when it is forgotten, and at exit.
        self._threads = [
            threading.Thread(target=_work, args=(self._shared, make), name=f"prefetch-{i}", daemon=True)
            for i in range(max(1, min(threads, last - first)))
        ]
        for thread in self._threads:
            thread.start()
        self._end = weakref.finalize(self, _stop, self._shared, self._threads)

    def __iter__(self) -> Iterator[T]:
        """Yield the values in order; the threads end with the loop."""
        try:
            while (value := self._shared.take()) is not _END:
                yield value
        finally:
            self.close()

    def __enter__(self) -> Prefetch[T]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the threads and drop what they read; more than once does no harm."""
        self._end()


def pinned(value: Any) -> Any:
    """Return a value with the tensors in it, in tuples, lists, mappings and dataclasses, in pinned memory."""
    if isinstance(value, torch.Tensor):
        return value.pin_memory()
    if isinstance(value, (tuple, list)):
        return type(value)(pinned(item) for item in value)
    if isinstance(value, dict):
        return {key: pinned(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: pinned(getattr(value, field.name)) for field in fields(value)})
    return value


_END = object()


class _Shared:
    """What the threads and the loop share, under one lock."""

    def __init__(self, first: int, last: int, ahead: int) -> None:
        self._changed = threading.Condition()
        self._unread, self._untaken, self._last, self._ahead = first, first, last, ahead
        self._values: dict[int, Any] = {}
        self._error: BaseException | None = None
        self._stopped = False

    def next_number(self) -> int | None:
        """Return the next number to read once there is room for its value; None when there is nothing to do."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or self._unread >= self._last or self._unread < self._untaken + self._ahead
            )
            if self._stopped or self._unread >= self._last:
                return None
            self._unread += 1
            return self._unread - 1

    def put(self, number: int, value: Any) -> None:
        with self._changed:
            if not self._stopped:
                self._values[number] = value
            self._changed.notify_all()

    def fail(self, number: int, error: BaseException) -> None:
        """End the values before a number; of several errors that of the least number counts."""
        with self._changed:
            if number < self._last:
                self._last, self._error = number, error
            self._changed.notify_all()

    def take(self) -> Any:
        """Return the next value, or `_END`; raise where its reader did."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopped or self._untaken in self._values or self._untaken >= self._last
            )
            if self._untaken in self._values and not self._stopped:
                value = self._values.pop(self._untaken)
                self._untaken += 1
                self._changed.notify_all()
                return value
            if self._error is not None and not self._stopped:
                raise self._error
            return _END

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._values.clear()
            self._changed.notify_all()


def _work(shared: _Shared, make: Callable[[int], Any]) -> None:
    while (number := shared.next_number()) is not None:
        try:
            shared.put(number, make(number))
        except BaseException as error:
            shared.fail(number, error)


def _stop(shared: _Shared, threads: list[threading.Thread]) -> None:
    shared.stop()
    for thread in threads:
        if thread is not threading.current_thread():  # the object may be forgotten in a thread of its own
            thread.join()
