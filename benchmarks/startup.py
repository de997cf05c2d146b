"""CPU time of `--help`, which every shell completion and every typo pays. Run `python -m benchmarks.startup`."""

import resource
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks.timing import machine

REPEATS = 20


def cpu_seconds(*command: str) -> float:
    """Return the CPU time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    print(machine())
    scripts = Path(sys.executable).parent
    cases = {
        "python -c pass": (sys.executable, "-c", "pass"),
        "scaling-sweep --help": (str(scripts / "scaling-sweep"), "--help"),
        "scaling-fit --help": (str(scripts / "scaling-fit"), "--help"),
    }
    for name, command in cases.items():
        print(f"{name:22} {statistics.median(cpu_seconds(*command) for _ in range(REPEATS)):.3f} s of CPU time")
