"""What the benchmarks share: medians of repeated measurements, and which machine they were made on."""

import datetime
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def median_seconds(function: Callable[[], object], repeats: int) -> float:
    """Return the median wall-clock time of a call, in seconds, after one call that does not count."""
    return statistics.median(call_seconds(function, repeats))


def call_seconds(function: Callable[[], object], repeats: int) -> list[float]:
    """Return the wall-clock times of a call, in seconds, after one call that does not count."""
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return times


def machine() -> str:
    """Return date, processor, cores, memory and Python as one line."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{datetime.date.today()}, {model}, {psutil.cpu_count()} cores, {memory:.0f} GiB, "
        f"Python {platform.python_version()}"
    )
