"""Reading ahead: the same values in order, a bounded number, and no thread that outlives its loop."""

import gc
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch

from scaling.speech.data import Batch
from scaling.speech.loader import Prefetch, pinned


def reading():
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    gc.collect()
    assert not reading()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_values_come_in_order_however_long_each_takes(threads):
    rng = np.random.default_rng(0)
    pause = rng.uniform(0, 0.004, 60)

    def read(n):
        time.sleep(pause[n])
        return n

    assert list(Prefetch(read, 7, 60, ahead=3, threads=threads)) == list(range(7, 60))


@pytest.mark.parametrize(("ahead", "threads"), [(1, 1), (2, 1), (4, 2), (1, 3)])
def test_no_more_is_read_than_asked_for(ahead, threads):
    begun = []
    with Prefetch(lambda n: begun.append(n) or n, 0, 100, ahead=ahead, threads=threads) as values:
        for taken, value in enumerate(values, 1):
            time.sleep(0.005)
            assert len(begun) <= taken + max(ahead, threads)
            if value == 20:
                break
    assert len(begun) <= 21 + max(ahead, threads)


def test_reading_goes_on_while_the_loop_works():
    def read(n):
        time.sleep(0.03)
        return n

    begun = time.monotonic()
    for _ in Prefetch(read, 0, 10):
        time.sleep(0.03)
    assert time.monotonic() - begun < 0.5  # one after the other: 0.6


@pytest.mark.parametrize("threads", [1, 3])
def test_what_a_reader_raises_is_raised_in_its_place(threads):
    def read(n):
        if n >= 5:
            message = f"no {n}"
            raise OSError(message)
        time.sleep(0.01)
        return n

    values = iter(Prefetch(read, 0, 50, ahead=4, threads=threads))
    assert [next(values) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(OSError, match="no 5"):
        next(values)
    assert not reading()


def test_an_error_of_the_loop_ends_the_threads():
    values = Prefetch(lambda n: n, 0, 1000)

    def loop():
        with values:
            for value in values:
                1 / (3 - value)

    with pytest.raises(ZeroDivisionError):
        loop()
    assert not reading()
    assert list(values) == []
    values.close()


def test_an_error_of_a_loop_without_with_ends_the_threads_too():
    def loop():
        for value in Prefetch(lambda n: n, 0, 1000):
            1 / (3 - value)

    with pytest.raises(ZeroDivisionError):
        loop()


def test_a_reader_that_nobody_reads_ends_when_it_is_forgotten():
    Prefetch(lambda n: n, 0, 1000)


def test_nothing_to_read():
    assert list(Prefetch(lambda n: n, 3, 3)) == []


def test_a_program_that_ends_in_its_loop_ends():
    code = (
        "from scaling.speech.loader import Prefetch\n"
        "values = Prefetch(lambda n: n, 0, 1000)\n"
        "print(next(iter(values)))\n"
        "raise SystemExit(3)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "0\n", "")


def test_every_tensor_of_a_batch_is_pinned(monkeypatch):
    """Pinning needs a GPU, so it is stood in for."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self + 1)
    batch = Batch(torch.zeros(1), torch.zeros(2), np.zeros(3), np.zeros(4), np.zeros(5))
    (moved, labels), other = pinned(((batch, [torch.zeros(3)]), {"x": torch.zeros(1), "y": "text"}))
    assert moved.inputs == moved.mask.max() == labels[0].max() == other["x"] == 1
    assert moved.frames is batch.frames
    assert other["y"] == "text"
