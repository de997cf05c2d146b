"""SLURM's own commands, every one with a time-out: what they are asked, and what they say.

squeue says what is alive, sacct what a job died of; either may be slow, hung or missing, which is never taken for an
answer.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from scaling.errors import WorkError

SECONDS = 20
SACCT_SECONDS = 5
SBATCH_SECONDS = 120
MAX_ARRAY = 1000
"""Elements of an array where the site does not say: SLURM's own default of MaxArraySize is 1001."""
NAMED = ("partition", "account", "qos", "constraint", "reservation", "exclude", "nodelist")
"""Settings of cluster.slurm that are options of sbatch and srun alike."""
AT_ONCE = 500
"""Job ids in one command line."""
_LIMIT = re.compile(
    r"submit.*limit|limit.*submit|MaxJobCount|job count|JobCount|QOSMaxSubmit|AssocMaxSubmit|temporarily", re.I
)
_ENDING = ("CG",)


class UnreachableError(WorkError):
    """A SLURM command that did not answer, is not there, or failed."""

    def __init__(self, command: str, told: str) -> None:
        super().__init__(f"{command}: {told} (is SLURM up, and this a login node?)")
        self.told = told


class RefusedError(WorkError):
    """A submission that SLURM does not take."""

    def __init__(self, message: str) -> None:
        super().__init__(f"sbatch refused: {message}")
        self.told = message
        self.limit = bool(_LIMIT.search(message))
        """Whether it is for the number of jobs: some of them may be taken, the rest later."""


@dataclass(frozen=True, kw_only=True)
class Queued:
    """A job that SLURM holds; of an array, one element."""

    job: str
    state: str
    """Its short form: PD, R, CG, ..."""
    name: str
    reason: str
    """Why it waits."""
    started: float | None = None
    """When it began, where it runs."""

    @property
    def held(self) -> bool:
        """Whether it is kept from starting, by a pause or by hand."""
        return self.state == "PD" and "held" in self.reason.lower()

    @property
    def stuck(self) -> bool:
        """Whether SLURM holds it back since it could not be launched: nobody lets it go but by hand."""
        return self.state == "PD" and "launch failed" in self.reason


def run(command: Sequence[str], *, seconds: float = SECONDS, text: str | None = None) -> str:
    """Return what a SLURM command prints.

    Raises:
        UnreachableError: When it is missing, fails, or takes too long.
    """
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, check=True, input=text, env=_environment()
        )
    except subprocess.TimeoutExpired:
        raise UnreachableError(command[0], f"no answer within {seconds:g} s") from None
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", "") or str(error)
        raise UnreachableError(command[0], str(told).strip()) from error
    return done.stdout


def here() -> bool:
    """Whether this machine has SLURM's commands."""
    return shutil.which("sbatch") is not None


def send(script: Path) -> str:
    """Submit a script and return the id of its job.

    Raises:
        RefusedError: When SLURM does not take it.
        UnreachableError: When it does not answer.
    """
    done = _sbatch("--parsable", script, seconds=SBATCH_SECONDS)
    if done.returncode:
        raise RefusedError(done.stderr.strip().removeprefix("sbatch: error: "))
    return done.stdout.strip().partition(";")[0]


def start_estimate(script: Path) -> str:
    """Return when SLURM expects a script's first job to start, in its own words."""
    try:
        done = _sbatch("--test-only", script, seconds=SECONDS)
    except UnreachableError as error:
        return f"unknown ({error.told})"
    return (done.stderr or done.stdout).strip().removeprefix("sbatch: ")


def _sbatch(option: str, script: Path, *, seconds: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["sbatch", option, str(script)],
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env=_environment(),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnreachableError("sbatch", str(error)) from error


def named_options(slurm: Mapping[str, Any]) -> list[str]:
    """Return a grid's settings as options of sbatch and srun."""
    return [f"--{key}={slurm[key]}" for key in NAMED if key in slurm]


def srun(
    program: Sequence[str],
    slurm: Mapping[str, Any],
    *,
    gpu: bool,
    minutes: int,
    patience: int,
    options: Sequence[str] = (),
) -> str:
    """Run a program as one process on a compute node, as a grid's jobs would run there, and return what it printed.

    Args:
        program: Arguments of what starts Python in a job.
        slurm: The grid's `cluster.slurm`.
        gpu: Whether to ask for a GPU.
        minutes: Time limit.
        patience: Seconds to wait for a node.
        options: Further options of srun.

    Raises:
        UnreachableError: When no node is free in time, or the program fails; no job is left behind.
    """
    name = f"scaling-sweep-{uuid.uuid4().hex[:8]}"
    python = shlex.split(slurm.get("python", "")) or [sys.executable]
    command = [*python, *program]
    if slurm.get("setup"):
        command = ["bash", "-c", "\n".join([*slurm["setup"], shlex.join(command)])]
    asked = [f"--job-name={name}", "--nodes=1", "--ntasks=1", f"--time={minutes}", f"--immediate={patience}"]
    asked += [*named_options(slurm), *(["--gpus-per-node=1"] if gpu else []), *options, *slurm.get("srun_args", ())]
    try:
        return run(["srun", "--unbuffered", *asked, *command], seconds=patience + 60 * minutes)
    except UnreachableError:
        with contextlib.suppress(UnreachableError):
            cancel([job for job, queued in queue().items() if queued.name == name])
        raise


def queue() -> dict[str, Queued]:
    """Return this user's jobs that SLURM holds, by id; elements of arrays apart (`123_0`), ending ones left out.

    Raises:
        UnreachableError: When squeue does not answer.
    """
    text = run(["squeue", "--me", "--noheader", "--array", "--format=%F_%K|%t|%j|%S|%r"])
    jobs = {}
    for line in text.splitlines():
        job, state, name, start, reason = line.split("|", 4)
        if state not in _ENDING:
            job = job.removesuffix("_N/A")
            reason = reason.strip().removeprefix("None")
            jobs[job] = Queued(job=job, state=state, name=name, reason=reason, started=_time(start))
    return jobs


def _time(text: str) -> float | None:
    """Return a time as SLURM writes it, None where it is not known."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def accounting(jobs: Sequence[str], *, seconds: float = SACCT_SECONDS) -> dict[str, str]:
    """Return how jobs ended, as sacct has it (`TIMEOUT`, `NODE_FAIL`, ...); empty where it says nothing in time."""
    if not jobs or shutil.which("sacct") is None:
        return {}
    try:
        told = run(
            ["sacct", "--noheader", "--parsable2", "-X", "--format=JobID,State", "-j", ",".join(jobs[:AT_ONCE])],
            seconds=seconds,
        )
    except UnreachableError:
        return {}
    rows = (line.split("|", 1) for line in told.splitlines() if "|" in line)
    return {job: state.split()[0] for job, state in rows if state}


def cancel(jobs: Sequence[str]) -> None:
    """Cancel jobs."""
    _each(["scancel"], jobs)


def warn(jobs: Sequence[str]) -> None:
    """Send the processes of running jobs the signal that announces the end of their time."""
    _each(["scancel", "--signal=USR2"], jobs)


def hold(jobs: Sequence[str]) -> None:
    """Keep waiting jobs from starting."""
    _each(["scontrol", "hold"], jobs)


def release(jobs: Sequence[str]) -> None:
    """Let held jobs start."""
    _each(["scontrol", "release"], jobs)


def requeue(job: str, *, held: bool = False) -> None:
    """Put a running job back into the queue.

    Raises:
        UnreachableError: When SLURM refuses, as sites that allow no requeue do.
    """
    run(["scontrol", "requeuehold" if held else "requeue", job], seconds=60)


def max_array() -> int:
    """Return how many elements an array may have here: the site's MaxArraySize bounds the index."""
    found = config().get("MaxArraySize", "")
    return max(1, int(found) - 1) if found.isdigit() else MAX_ARRAY


def config() -> dict[str, str]:
    """Return the cluster's configuration, empty where scontrol does not tell."""
    try:
        text = run(["scontrol", "show", "config"])
    except UnreachableError:
        return {}
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def _each(command: list[str], jobs: Sequence[str]) -> None:
    """Call a command for jobs, so many at once; one that is gone by now is no failure."""
    for first in range(0, len(jobs), AT_ONCE):
        chosen = list(jobs[first : first + AT_ONCE])
        arguments = chosen if command[0] == "scancel" else [",".join(chosen)]
        try:
            subprocess.run(
                [*command, *arguments], check=False, timeout=SBATCH_SECONDS, capture_output=True, env=_environment()
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UnreachableError(command[0], str(error)) from error


def _environment() -> dict[str, str]:
    """Return this environment without what SLURM set for the job that this process is in.

    A job that submits another would hand its own sizes on; where the cluster is (SLURM_CONF) it has to.
    """
    ours: tuple[str, ...] = ("SLURM_", "SLURMD_", "PMI_", "PMIX_", "SUBMITIT_", "SCALING_SWEEP_")
    if "SLURM_JOB_ID" in os.environ:
        ours += ("CUDA_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES")
    return {key: value for key, value in os.environ.items() if key == "SLURM_CONF" or not key.startswith(ours)}
