"""What a site's SLURM is like: which commands answer, its limits, and how it ends jobs."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sweeps.doctor.files import clock_check
from sweeps.doctor.finding import Check, failed, ok, warning
from sweeps.jobs import site

ACCOUNTING_SECONDS = 5
SLOW = 3.0
"""Seconds of a command that are worth a word."""
CRED_EXPIRE = 120
"""Seconds for which a requeued job is held where AuthInfo does not say."""
KILL_WAIT = 30
SHORT_NOTICE = 30.0
"""Seconds in which a checkpoint may not get written."""
Row = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What SLURM says of itself."""

    config: Row = field(default_factory=dict)
    partitions: Mapping[str, Row] = field(default_factory=dict)
    associations: tuple[Row, ...] = ()
    """This user's account, partition, qos and limits, one row each; none where accounting does not tell."""
    all_qos: tuple[Row, ...] = ()
    """Limits and preemption of every QOS; none where accounting does not tell."""

    @property
    def nodes(self) -> int:
        """How many compute nodes there are."""
        counts = [row.get("TotalNodes", "") for row in self.partitions.values()]
        return max((int(count) for count in counts if count.isdigit()), default=1)

    @property
    def default(self) -> str:
        """The partition of jobs that name none; empty where there is none."""
        return next((name for name, row in self.partitions.items() if row.get("Default") == "YES"), "")

    @property
    def qos(self) -> list[Row]:
        """The QOS that this user's jobs may have."""
        used = {name for row in self.associations for name in row["QOS"].split(",")}
        return [row for row in self.all_qos if row["Name"] in used]

    @property
    def submit_limit(self) -> int | None:
        """How many jobs this user may have in the queue, by the strictest limit that is known."""
        limits = [row["MaxSubmitJobs"] for row in self.associations] + [row["MaxSubmitJobsPerUser"] for row in self.qos]
        return min((int(limit) for limit in limits if limit.isdigit()), default=None)


def read_facts() -> Facts:
    """Ask SLURM what it is like; empty where it does not answer."""
    config = site.config()
    if not config:
        return Facts()
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have
        user = str(os.getuid())
    associations = _accounts(["associations", f"user={user}"], ("Account", "Partition", "QOS", "MaxSubmitJobs"))
    columns = ("Name", "MaxSubmitJobsPerUser", "GraceTime", "PreemptMode", "Preempt")
    qos = _accounts(["qos"], columns) if associations else None
    return Facts(
        config=config, partitions=_partitions(), associations=tuple(associations or ()), all_qos=tuple(qos or ())
    )


def check_site(facts: Facts, *, chosen: str | None = None, runs: int = 0) -> Iterator[Check]:
    """Yield what SLURM is like here.

    Args:
        facts: What it says of itself.
        chosen: The partitions that a grid names, if any.
        runs: How many runs a grid has.
    """
    controller = _controller(facts)
    yield controller
    if controller.status == "failed":
        return
    yield from _commands()
    yield _clock()
    yield _limits(facts, runs)
    yield _requeue(facts)
    named = [name for name in (chosen or facts.default).split(",") if name in facts.partitions]
    for name in named or facts.partitions:
        yield _partition(name, facts.partitions[name])
        yield _preemption(name, facts)
    yield _ending(facts)


def _controller(facts: Facts) -> Check:
    """Say whether the controller answers, and how fast."""
    remedy = "try it on a login node, ask the site, or use cluster.executor: local"
    if not facts.config:
        return failed("SLURM", "the controller does not answer (scontrol show config)", remedy)
    began = time.monotonic()
    try:
        told = site.run(["scontrol", "ping"])
    except site.UnreachableError as error:
        return failed("SLURM", str(error), remedy)
    seconds = time.monotonic() - began
    states = re.findall(r"\((\w+)\) at (\S+) is (\w+)", told)
    up = ", ".join(f"{role} controller {host} is {state}" for role, host, state in states) or told.strip()
    found = f"{facts.config.get('SLURM_VERSION', 'unknown version')}; {up}, answers in {seconds:.2f} s"
    return _speed("SLURM", found, seconds)


def _commands() -> Iterator[Check]:
    """Say of each command that sweeps use whether it is there and answers."""
    began = time.monotonic()
    try:
        jobs = site.queue()
        seconds = time.monotonic() - began
        yield _speed("squeue", f"{len(jobs)} jobs of yours, answers in {seconds:.2f} s", seconds)
    except site.UnreachableError as error:
        yield failed("squeue", str(error), "nothing can be submitted until it answers")
    for command in ("srun", "scancel"):
        if shutil.which(command) is None:
            yield failed(command, "not there", "install SLURM's client commands here, or use a login node")
    began = time.monotonic()
    remedy = "status works without it; what a job died of is then read from its log"
    if shutil.which("sacct") is None:
        yield warning("sacct", "not there", remedy)
        return
    try:
        site.run(["sacct", "--noheader", "-X", "--starttime=now"], seconds=ACCOUNTING_SECONDS)
        yield ok("sacct", f"answers in {time.monotonic() - began:.2f} s")
    except site.UnreachableError as error:
        yield warning("sacct", error.told, remedy)


def _clock() -> Check:
    """Compare the controller's clock with this machine's."""
    title = "controller's clock"
    try:
        told = re.search(r"data as of (\S+)", site.run(["scontrol", "show", "config"]))
        skew = datetime.fromisoformat(told[1] if told else "").timestamp() - time.time()
    except (site.UnreachableError, ValueError):
        return ok(title, "not told")
    return clock_check(title, skew, whose="it", remedy="let both keep time by NTP: job credentials expire otherwise")


def _limits(facts: Facts, runs: int) -> Check:
    """Say how many jobs may be sent."""
    longest, jobs, mine = site.max_array(), facts.config.get("MaxJobCount", "?"), facts.submit_limit
    found = f"arrays of {longest:,} runs (MaxArraySize), {jobs} jobs in all (MaxJobCount)"
    if mine is None:
        told = "none set for you" if facts.associations else "sacctmgr does not tell"
        return ok("limits", f"{found}, of your own at once (MaxSubmitJobs): {told}")
    found += f", {mine:,} of your own at once (MaxSubmitJobs)"
    if runs > mine:
        return warning("limits", found, f"of {runs:,} runs the keeper, or `retry`, sends the rest when some have ended")
    return ok("limits", found)


def _requeue(facts: Facts) -> Check:
    """Say whether jobs go back into the queue, and how long they are held then."""
    match = re.search(r"cred_expire=(\d+)", facts.config.get("AuthInfo", ""))
    held = f"a requeued job starts {match[1] if match else CRED_EXPIRE} s later at the earliest (cred_expire)"
    if facts.config.get("JobRequeue") == "0":
        return ok(
            "requeue", f"off unless a job asks for it, as ours do; where it is refused, runs are sent anew; {held}"
        )
    return ok("requeue", f"on; {held}")


def _partition(name: str, row: Row) -> Check:
    """Say what a partition is like."""
    about = [f"{row.get('TotalNodes', '?')} nodes", f"time limit {row.get('MaxTime', '?')}"]
    if gpus := re.search(r"gres/gpu=(\d+)", row.get("TRES", "")):  # counted only where accounting tracks them
        about.insert(1, f"{gpus[1]} GPUs")
    title = f"partition {name}"
    if row.get("State", "UP") != "UP":
        remedy = "its jobs wait until the site opens it: name another in cluster.slurm.partition"
        return warning(title, f"{row['State']}; {', '.join(about)}", remedy)
    return ok(title, ", ".join([*about, "default"] if row.get("Default") == "YES" else about))


def _preemption(name: str, facts: Facts) -> Check:
    """Say what happens to a partition's jobs when others need the nodes, and how long they have to save."""
    title, row, kind = f"preemption in {name}", facts.partitions[name], facts.config.get("PreemptType", "")
    mode, grace = row.get("PreemptMode") or facts.config.get("PreemptMode", "OFF"), _number(row.get("GraceTime"))
    if kind.endswith("partition_prio"):
        tiers = [_number(other.get("PriorityTier")) for other in facts.partitions.values()]
        if mode.startswith("OFF") or max(tiers, default=0.0) <= _number(row.get("PriorityTier")):
            return ok(title, "its jobs are not preempted")
    elif kind.endswith("qos"):
        stronger = {name for qos in facts.all_qos for name in qos["Preempt"].split(",")}
        mine = [qos for qos in facts.qos if qos["Name"] in stronger]
        if facts.qos and not mine:
            return ok(title, "no QOS of yours is preempted by another")
        mode = " or ".join(sorted({qos["PreemptMode"] for qos in mine} - {"", "cluster"})) or mode
        grace = min((_number(qos["GraceTime"]) for qos in mine), default=grace)
    else:
        return ok(title, "none")
    dying = _number(facts.config.get("KillWait"), KILL_WAIT)
    signals = "preempt_send_user_signal" in facts.config.get("SlurmctldParameters", "") and grace > 0
    if "SUSPEND" in mode.upper():
        return ok(title, f"{mode}: its jobs stop where they are, and go on later")
    found = f"{mode}; {'SIGUSR2 and ' if signals else ''}SIGTERM, then {grace:g} s of grace and {dying:g} s to die"
    if "CANCEL" in mode.upper():
        return warning(title, found, "its jobs are not requeued: the keeper, or `retry`, sends the runs again")
    if not signals or grace + dying < SHORT_NOTICE:
        return warning(title, found, "keep cluster.save_every below what you are willing to lose, such as 5m")
    return ok(title, found)


def _ending(facts: Facts) -> Check:
    """Say how a job's time ends."""
    wait, over = (facts.config.get(key, "?") for key in ("KillWait", "OverTimeLimit"))
    return ok("time limit", f"SIGTERM at its end, SIGKILL {wait} later (KillWait); OverTimeLimit {over}")


def _speed(name: str, found: str, seconds: float) -> Check:
    if seconds > SLOW:
        return warning(name, found, "it is slow: `status` takes as long")
    return ok(name, found)


def seconds_of(limit: str) -> float | None:
    """Return the seconds of a time limit as SLURM writes it, None for no limit.

    Example:
        >>> seconds_of("1-12:00:00"), seconds_of("00:30:00"), seconds_of("UNLIMITED")
        (129600.0, 1800.0, None)
    """
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", limit)
    if not match:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return 86400 * days + 3600 * hours + 60 * minutes + seconds


def _number(text: str | None, default: float = 0.0) -> float:
    """Return the number that a setting begins with (`30 sec`), or a time (`00:01:30`) in seconds."""
    seconds = seconds_of(text or "")
    match = re.match(r"\d+", text or "")
    return seconds if seconds is not None else float(match[0]) if match else default


def _partitions() -> dict[str, Row]:
    """Return all partitions and their settings."""
    try:
        text = site.run(["scontrol", "--all", "--oneliner", "show", "partition"])
    except site.UnreachableError:
        return {}
    rows = [dict(pair.split("=", 1) for pair in line.split() if "=" in pair) for line in text.splitlines()]
    return {row["PartitionName"]: row for row in rows if "PartitionName" in row}


def _accounts(what: list[str], columns: tuple[str, ...]) -> list[Row] | None:
    """Return rows that sacctmgr shows, or None where it does not answer in time."""
    if shutil.which("sacctmgr") is None:
        return None
    command = ["sacctmgr", "--noheader", "--parsable2", "--readonly", "show", *what, f"format={','.join(columns)}"]
    try:
        text = site.run(command, seconds=ACCOUNTING_SECONDS)
    except site.UnreachableError:
        return None
    rows = [line.split("|") for line in text.splitlines()]
    return [dict(zip(columns, row, strict=True)) for row in rows if len(row) == len(columns)]
