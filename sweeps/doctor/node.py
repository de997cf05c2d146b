"""A job of a moment on a compute node: does it see the results and the Python environment, what time is it there."""

from __future__ import annotations

import json
import re
import shlex
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sweeps.doctor.files import clock_check, trial_folder
from sweeps.doctor.finding import Check, failed, ok, warning
from sweeps.doctor.machine import listing
from sweeps.jobs import site

PATIENCE = 110
"""Seconds that srun waits for a node."""
MINUTES = 1
SEEN_SECONDS = 60.0
"""How long a file that the node made may take to appear here."""
PROGRAM = r"""
import json, os, shutil, socket, sys, tempfile, time
folder, scratch, gpu = sys.argv[1], sys.argv[2], sys.argv[3] == "gpu"
host = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
found = {"host": host, "python": sys.version.split()[0], "missing": [], "devices": []}
try:
    with open(os.path.join(folder, "token")) as file:
        found["token"] = file.read()
    with open(os.path.join(folder, "answer"), "w") as file:
        file.write(found["token"])
except OSError as error:
    found["results_error"] = str(error)
if scratch:
    try:
        made, place = [], os.path.abspath(scratch)
        while not os.path.isdir(place):
            made.append(place)
            place = os.path.dirname(place)
        os.makedirs(scratch, exist_ok=True)
        with tempfile.TemporaryFile(dir=scratch) as file:
            file.write(b"x")
        for place in made:
            os.rmdir(place)
    except OSError as error:
        found["scratch_error"] = str(error)
for name in ("scaling", "sweeps", "torch"):
    try:
        module = __import__(name)
    except Exception as error:
        found["missing"].append(f"{name} ({error})")
        continue
    if name == "torch" and gpu and module.cuda.is_available():
        found["devices"] = [module.cuda.get_device_name(n) for n in range(module.cuda.device_count())]
found["commands"] = [name for name in ("sbatch", "squeue", "scontrol") if shutil.which(name) is None]
found["time"] = time.time()
print(json.dumps(found), flush=True)
"""


def check_node(
    results: Path, *, slurm: Mapping[str, Any], gpu: bool, torch: bool = True, scratch: Path | None = None
) -> Iterator[Check]:
    """Run a program on a compute node and yield what it saw.

    Args:
        results: The folder of sweeps.
        slurm: The grid's `cluster.slurm`, empty without one.
        gpu: Whether to ask for a GPU, as the grid's runs do.
        torch: Whether they calculate with torch.
        scratch: The grid's scratch, if any.
    """
    with trial_folder(results) as trial:
        token = uuid.uuid4().hex
        (trial / "token").write_text(token)
        began = time.monotonic()
        told = _srun([str(trial), str(scratch or ""), "gpu" if gpu else ""], slurm, gpu=gpu)
        ended, took = time.time(), time.monotonic() - began
        if isinstance(told, Check):
            yield told
            return
        yield ok("node", f"{told['host']} answered after {took:.1f} s, Python {told['python']}")
        yield _sight(told, results, token, trial)
    if told["missing"]:
        remedy = (
            "put the environment where nodes see it, load modules in cluster.slurm.setup, or set cluster.slurm.python"
        )
        yield failed("node: Python", f"cannot import {', '.join(told['missing'])}", remedy)
    else:
        yield ok("node: Python", "imports scaling, sweeps and torch")
    if told["commands"] and not slurm.get("python"):  # a container need not have them
        yield warning(
            "node: SLURM",
            f"no {', '.join(told['commands'])} there",
            "runs cannot requeue themselves and no keeper works: set cluster.slurm.keeper: false, and use `retry`",
        )
    yield clock_check(
        "node: clock",
        told["time"] - ended,
        whose="the node's clock",
        remedy="let both keep time by NTP: a lease is taken for dead when it looks old",
    )
    if gpu and told["devices"]:
        yield ok("node: GPUs", f"torch sees {listing(told['devices'])}")
    elif gpu:
        remedy = (
            "install a torch that is built for the nodes' driver, or ask for GPUs another way (cluster.slurm.options)"
        )
        say = failed if torch else warning
        yield say("node: GPUs", "torch sees none, and one was asked for", remedy)
    if scratch and "scratch_error" in told:
        yield failed("node: scratch", told["scratch_error"], "set cluster.scratch to a folder that nodes can write")
    elif scratch:
        yield ok("node: scratch", f"{scratch} can be written")


def _srun(arguments: list[str], slurm: Mapping[str, Any], *, gpu: bool) -> dict[str, Any] | Check:
    """Return what the program printed on a node, or why it did not."""
    try:
        text = site.srun(["-c", PROGRAM, *arguments], slurm, gpu=gpu, minutes=MINUTES, patience=PATIENCE)
    except site.UnreachableError as error:
        if re.search(r"busy|within \d+ s|temporarily unavailable", error.told):
            return warning("node", f"no node was free within {PATIENCE} s", "the queue is long: try again later")
        return failed("node", error.told, f"try it by hand: srun {shlex.join(site.named_options(slurm))} hostname")
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            return json.loads(line)
    return failed("node", f"nothing came back, only {text[-200:]!r}", "see whether cluster.slurm.setup prints or exits")


def _sight(told: Mapping[str, Any], results: Path, token: str, trial: Path) -> Check:
    """Say whether the node and this machine see each other's files."""
    title, remedy = "node: results", "put the sweeps on a file system that all nodes share (--results)"
    if told.get("token") != token:
        return failed(
            title, f"{results.absolute()} is not seen there ({told.get('results_error', 'other text')})", remedy
        )
    if "results_error" in told:
        return failed(title, f"cannot be written there: {told['results_error']}", remedy)
    began = time.monotonic()
    while not (trial / "answer").exists():
        if time.monotonic() - began > SEEN_SECONDS:
            return failed(title, f"a file made there is not seen here within {SEEN_SECONDS:g} s", remedy)
        time.sleep(0.1)
    return ok(title, f"both see each other's files (within {time.monotonic() - began:.1f} s)")
