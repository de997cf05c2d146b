"""SLURM: runs as job arrays, one a shape of resources, and a keeper that looks after them.

The keeper is sent first: whatever becomes of the arrays, somebody looks after the sweep.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scaling.errors import InputError
from scaling.files import write_bytes
from sweeps.folder import SweepFolder
from sweeps.jobs import site
from sweeps.jobs.intents import KEEPER, Intent, adopt, confirm, declare, intents_of, jobs_of
from sweeps.jobs.script import KEEPER_RESOURCES, script

DEFAULT_PARALLELISM = 32
MORE_MEMORY = 8
"""A run that ran out of memory asks for twice as much each time, but not more than this times what the grid says."""

BY_HAND = ("submit", "retry", "resume")
"""Senders that want the sweep to go on, also where it was paused or held."""

Shape = tuple[tuple[str, Any], ...]


@dataclass(kw_only=True)
class Sent:
    """What a call of `send` did."""

    calls: int = 0
    """Of sbatch."""
    runs: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    """Runs whose jobs were there already."""
    later: list[str] = field(default_factory=list)
    """Runs that the site takes no job for now: the keeper sends them when others have ended."""
    no_keeper: str = ""
    """Why the site takes no keeper, where it does not."""

    def remarks(self) -> list[str]:
        """Return what a user has to know of it."""
        lines = []
        if self.later:
            lines.append(f"! SLURM takes no more jobs now: {len(self.later)} runs are sent when others have ended")
        if self.no_keeper:
            told = "nothing that dies is sent again on its own; `scaling-sweep retry` does it by hand"
            lines.append(f"! SLURM takes no keeper ({self.no_keeper}): {told}, and cluster.slurm.keeper says where to")
        return lines


def send(
    folder: SweepFolder,
    ids: Sequence[str],
    *,
    by: str,
    exclude: Iterable[str] = (),
    shrink: Mapping[str, int] | None = None,
    instead_of: Sequence[str] = (),
) -> Sent:
    """Send runs as job arrays, those left out whose job waits or runs. The caller holds the lease on submissions.

    Args:
        folder: The sweep, as `write_plan` left it.
        ids: The runs.
        by: Who sends: `submit`, `retry`, `resume`, `keeper`, `job`.
        exclude: Nodes that failed.
        shrink: How often a run ran out of memory: it asks for twice the memory each time.
        instead_of: Jobs that are about to end and do not count as ones that wait or run.

    Raises:
        InputError: When the sweep was submitted by an older version.
        WorkError: When SLURM does not answer, or takes none of the runs.
    """
    check_version(folder)
    sender = _Sender(folder, by=by, exclude=exclude, instead_of=instead_of)
    waiting = [run for run in ids if sender.alive(sender.jobs.get(run, ""))]
    new = [run for run in ids if run not in set(waiting)]
    sender.sent.waiting = waiting
    if by in BY_HAND:
        sender.release_held()
    if new or any(map(sender.alive, sender.jobs.values())):
        sender.send_keeper()
    sender.send_runs(new, shrink or {})
    return sender.sent


def check_version(folder: SweepFolder) -> None:
    """Refuse a sweep whose files do not say what its runs ask for."""
    if "code" not in folder.sweep():
        raise InputError(
            "submitted by an older version",
            where=folder.sweep_file,
            remedy="submit the grid again: runs go on from their checkpoints",
        )


class _Sender:
    """One call of `send`: what is in the queue, and what was sent so far."""

    def __init__(self, folder: SweepFolder, *, by: str, exclude: Iterable[str], instead_of: Sequence[str]) -> None:
        self.folder, self.by, self.instead_of = folder, by, instead_of
        self.exclude = sorted(set(exclude))
        self.settings = folder.sweep()
        self.queue = site.queue()
        self.intents = adopt(intents_of(folder), self.queue)
        self.jobs = jobs_of(self.intents)
        self.sent = Sent()
        self.keeper = ""
        """The job of the keeper that this call sent."""
        self.kept = False
        """Whether a keeper looks after what is left."""

    def alive(self, job: str) -> bool:
        """Whether a job waits or runs, but for those that are about to end."""
        return job in self.queue and job not in self.instead_of

    def release_held(self) -> None:
        """Let jobs start that a pause holds."""
        keepers = [intent.jobs[KEEPER] for intent in self.intents if intent.kind == KEEPER and intent.jobs]
        held = [job for job in (*self.jobs.values(), *keepers) if self.alive(job) and self.queue[job].held]
        if held:
            site.release(held)

    def send_keeper(self) -> None:
        """Send a keeper, unless one waits that will run."""
        jobs = [intent.jobs[KEEPER] for intent in self.intents if intent.kind == KEEPER and intent.jobs]
        waits = any(self.alive(job) and not self.queue[job].stuck for job in jobs)
        self.kept = waits
        if waits or self.settings["slurm"].get("keeper", True) is False:
            return
        intent = declare(self.folder, [], KEEPER_RESOURCES, code=self.settings["code"], by=self.by, kind=KEEPER)
        self.sent.calls += 1
        try:
            self.keeper = f"{self._sbatch(intent, 1, {})}_0"
        except site.RefusedError as refusal:
            self.sent.no_keeper = refusal.told
        confirm(intent, {KEEPER: self.keeper} if self.keeper else {})
        self.kept = bool(self.keeper)

    def send_runs(self, ids: Sequence[str], shrink: Mapping[str, int]) -> None:
        """Send the arrays that runs make, so many elements at a time that all keep to the grid's limit together."""
        rows = {row["id"]: row for row in self.folder.plan()}
        width = int(self.settings["slurm"].get("array_parallelism", DEFAULT_PARALLELISM))
        others = sum(map(self.alive, self.jobs.values()))
        for _, shape, runs in self._arrays([rows[run] for run in ids], shrink):
            if self.sent.later:  # the site is full
                self.sent.later += runs
                continue
            options = {"exclude": ",".join(self.exclude)} if self.exclude else {}
            parents = {rows[run]["parent"]["id"] for run in runs if rows[run].get("parent")}
            if before := sorted(self.jobs[p] for p in parents if self.alive(self.jobs.get(p, ""))):
                options["dependency"] = "afterany:" + ":".join(before)
            parallel = max(1, round(width * len(runs) / (len(ids) + others)))
            self._send_array(runs, dict(shape), parallel, options)

    def _arrays(
        self, rows: Sequence[Mapping[str, Any]], shrink: Mapping[str, int]
    ) -> list[tuple[bool, Shape, list[str]]]:
        """Return (later, shape, runs) of the arrays that runs make: cut to what the site takes, parents first."""
        shapes: dict[tuple[bool, Shape], list[str]] = defaultdict(list)
        for row in rows:
            resources = dict(row["resources"])
            resources["memory_gb"] *= min(MORE_MEMORY, 2 ** shrink.get(row["id"], 0))
            shapes[bool(row.get("parent")), tuple(sorted(resources.items()))].append(row["id"])
        longest = site.max_array() if any(len(runs) > 1 for runs in shapes.values()) else 1
        return [
            (later, shape, runs[first : first + longest])
            for (later, shape), runs in sorted(shapes.items(), key=lambda item: item[0][0])
            for first in range(0, len(runs), longest)
        ]

    def _send_array(
        self, runs: list[str], resources: Mapping[str, Any], parallel: int, options: Mapping[str, Any]
    ) -> None:
        """Send one array; where the site's limit on jobs refuses it, its first half, and so on."""
        count = len(runs)
        while count:
            intent = declare(self.folder, runs[:count], resources, code=self.settings["code"], by=self.by)
            self.sent.calls += 1
            try:
                job = self._sbatch(intent, parallel, options)
            except site.RefusedError as refusal:
                confirm(intent, {})
                if "exclude" in options:  # no node is left without those that failed
                    options = {key: value for key, value in options.items() if key != "exclude"}
                    continue
                if refusal.limit and (count > 1 or self.kept or self.sent.runs):
                    count //= 2
                    continue
                if self.keeper and not self.sent.runs:  # there is nothing to look after
                    site.cancel([self.keeper])
                raise
            jobs = {run: f"{job}_{k}" for k, run in enumerate(runs[:count])}
            confirm(intent, jobs)
            self.jobs |= jobs
            self.queue |= {job: site.Queued(job=job, state="PD", name="", reason="") for job in jobs.values()}
            self.sent.runs += runs[:count]
            break
        self.sent.later += runs[count:]

    def _sbatch(self, intent: Intent, parallel: int, options: Mapping[str, Any]) -> str:
        """Submit an intent and return its job."""
        file = intent.path / "script.sh"
        write_bytes(file, script(self.folder, intent, self.settings, parallel, options).encode())
        return site.send(file)
