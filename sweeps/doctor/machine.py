"""This machine: Python, the packages, CPU cores, GPUs, and whether torch can use them."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from sweeps.doctor.finding import Check, failed, ok, warning

PACKAGE = "scaling-sweep"
SMI_SECONDS = 15
TORCH_SECONDS = 120
"""Importing torch for the first time from a network file system may take a minute."""
TORCH = """
import json, torch
found = {"version": torch.__version__, "built_for": torch.version.cuda or torch.version.hip, "devices": []}
if torch.cuda.is_available():
    for n in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(n)
        torch.ones(8, device=n).sum().item()
        found["devices"].append(f"{about.name}, {about.total_memory / 2**30:.0f} GiB")
print(json.dumps(found))
"""
"""A program that says what torch is here and calculates on every GPU."""


def check_machine() -> Iterator[Check]:
    """Yield what this machine is like."""
    yield ok("Python", f"{platform.python_version()} at {sys.executable}")
    yield _packages()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = "" if cores == os.cpu_count() else f" of {os.cpu_count()} (this process may use no more)"
    yield ok("CPU cores", f"{cores}{allowed}")
    gpus = _gpus()
    yield ok("GPUs", listing(gpus) or "none")
    yield _torch(gpus)


def listing(devices: list[str]) -> str:
    """Return devices as text, like ones counted.

    Example:
        >>> listing(["H100, 80 GiB", "H100, 80 GiB", "T4, 15 GiB"])
        '2 x H100, 80 GiB; 1 x T4, 15 GiB'
    """
    return "; ".join(f"{devices.count(name)} x {name}" for name in dict.fromkeys(devices))


def _packages() -> Check:
    """Say which versions are there of what the project needs."""
    try:
        needed = [line for line in requires(PACKAGE) or () if "extra ==" not in line]
        found = [f"{PACKAGE} {version(PACKAGE)}"]
    except PackageNotFoundError:
        return warning("packages", f"{PACKAGE} itself is not installed", f"pip install {PACKAGE}")
    missing = []
    for line in needed:
        name = re.split(r"[^\w.-]", line, maxsplit=1)[0]
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return failed("packages", f"not installed: {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return ok("packages", ", ".join(found))


def _gpus() -> list[str]:
    """Return what nvidia-smi lists: name and memory of each GPU."""
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SMI_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):  # a driver that hangs, or none
        return []
    rows = [line.rsplit(",", 1) for line in done.stdout.splitlines() if "," in line]
    return [f"{name}, {float(memory) / 1024:.0f} GiB" if memory.strip().isdigit() else name for name, memory in rows]


def _torch(gpus: list[str]) -> Check:
    """Import torch in a process of its own, and calculate on every GPU."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", TORCH], capture_output=True, text=True, timeout=TORCH_SECONDS, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return warning("torch", f"not imported within {TORCH_SECONDS} s", "put the environment on a faster file system")
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        told = (getattr(error, "stderr", "") or str(error)).strip().splitlines()
        return failed("torch", told[-1] if told else "it does not start", "install torch anew, for this machine")
    built = f"built for CUDA {found['built_for']}" if found["built_for"] else "built for CPUs only"
    if found["devices"]:
        return ok("torch", f"{found['version']}; calculates on {listing(found['devices'])}")
    if gpus:
        return warning(
            "torch",
            f"{found['version']}, {built}, sees none of the {len(gpus)} GPUs",
            "install a torch that is built for this machine's driver (nvidia-smi names the highest CUDA version); "
            "is CUDA_VISIBLE_DEVICES set?",
        )
    return ok("torch", f"{found['version']}, {built}; no GPU to use here")
