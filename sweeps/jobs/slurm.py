"""SLURM: runs as job arrays, one a shape of resources, and a keeper that looks after them.

An array's job is one line, `python code/<hash> element SWEEP INTENT`: which run an element is stands in the intent.
submitit writes the script and tells the processes of a job of one another; nothing is pickled, so nothing is lost
between a call of sbatch and the files that a job would wait for.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scaling.errors import InputError
from scaling.files import write_bytes
from sweeps.folder import SweepFolder
from sweeps.jobs import site
from sweeps.jobs.intents import KEEPER, Intent, adopt, confirm, declare, intents_of, jobs_of
from sweeps.jobs.snapshot import job_command

DEFAULT_PARALLELISM = 32
WARNING_SECONDS = 90
"""How long before its time limit a job is warned."""
KEEPER_SECONDS = 1800.0
KEEPER_RESOURCES = {"gpus": 0, "nodes": 1, "processes": 1, "cpus": 1, "memory_gb": 1.0, "timeout": 900.0}
MORE_MEMORY = 8
"""A run that ran out of memory asks for twice as much each time, but not more than this times what the grid says."""

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


def send(
    folder: SweepFolder,
    ids: Sequence[str],
    *,
    by: str,
    exclude: Iterable[str] = (),
    shrink: Mapping[str, int] | None = None,
    instead_of: str = "",
) -> Sent:
    """Send runs as job arrays, those left out whose job waits or runs. The caller holds the lease on submissions.

    Args:
        folder: The sweep, as `write_plan` left it.
        ids: The runs.
        by: Who sends: `submit`, `retry`, `keeper`, `job`.
        exclude: Nodes that failed.
        shrink: How often a run ran out of memory: it asks for twice the memory each time.
        instead_of: A job that is about to end and does not count as one that waits or runs.

    Raises:
        InputError: When sbatch is missing.
        WorkError: When SLURM does not answer, or refuses.
    """
    if not site.here():
        raise InputError(
            "no sbatch on this machine", where="executor", value="slurm", remedy="use --executor local, or a login node"
        )
    settings = folder.sweep()
    queue = site.queue()
    intents = adopt(intents_of(folder), queue)
    jobs = jobs_of(intents)
    waiting = {run for run, job in jobs.items() if job in queue and job != instead_of}
    sent = Sent(waiting=[run for run in ids if run in waiting])
    arrays = _arrays(folder, [run for run in ids if run not in waiting], shrink or {})
    parents = {row["id"]: row["parent"]["id"] for row in folder.plan() if row.get("parent")}
    width = int(settings["slurm"].get("array_parallelism", DEFAULT_PARALLELISM))
    total = sum(len(runs) for _, _, runs in arrays)
    for _, shape, runs in arrays:
        resources = dict(shape)
        before = sorted({jobs[parents[run]] for run in runs if jobs.get(parents.get(run, "")) in queue})
        if sent.later:  # the site is full
            sent.later += runs
            continue
        share = max(1, round(width * len(runs) / total))
        options = {"exclude": ",".join(sorted(set(exclude)))} if exclude else {}
        if before:
            options["dependency"] = "afterany:" + ":".join(before)
        done = _send_array(folder, runs, resources, settings, by=by, parallel=share, options=options)
        sent.calls += done.calls
        sent.runs += done.runs
        sent.later += done.later
        for job in done.jobs.values():
            queue[job] = site.Queued(job=job, state="PD", name="", reason="")
        jobs |= done.jobs
    alive = any(job in queue and job != instead_of for job in jobs.values())
    keepers = [intent.jobs[KEEPER] for intent in intents if intent.kind == KEEPER and intent.jobs]
    pending = any(job in queue and job != instead_of for job in keepers)
    wanted = (alive or sent.later) and settings["slurm"].get("keeper", True) is not False
    if wanted and not pending:
        _send_keeper(folder, settings)
        sent.calls += 1
    return sent


@dataclass(kw_only=True)
class _Array:
    """What came of one array: the jobs of the runs that were taken."""

    calls: int = 0
    jobs: dict[str, str] = field(default_factory=dict)
    later: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[str]:
        return list(self.jobs)


def _arrays(folder: SweepFolder, ids: Sequence[str], shrink: Mapping[str, int]) -> list[tuple[bool, Shape, list[str]]]:
    """Return (later, shape, runs) of the arrays that runs make: cut to what the site takes, parents first."""
    chosen = set(ids)
    shapes: dict[tuple[bool, Shape], list[str]] = defaultdict(list)
    for row in folder.plan():
        if row["id"] in chosen:
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
    folder: SweepFolder,
    runs: list[str],
    resources: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    by: str,
    parallel: int,
    options: Mapping[str, Any],
) -> _Array:
    """Send one array; where the site's limit on jobs refuses it, its first half, and so on."""
    result = _Array()
    count = len(runs)
    while count:
        intent = declare(folder, runs[:count], resources, code=settings["code"], by=by)
        write_bytes(intent.path / "script.sh", script(folder, intent, settings, parallel, options).encode())
        result.calls += 1
        try:
            job = site.send(intent.path / "script.sh")
        except site.RefusedError as refusal:
            confirm(intent, {})
            if "exclude" in options:  # no node is left without those that failed
                options = {key: value for key, value in options.items() if key != "exclude"}
                continue
            if not refusal.limit:
                raise
            count //= 2
            if not count and not result.jobs and by == "submit":
                raise
            continue
        result.jobs |= {run: f"{job}_{k}" for k, run in enumerate(runs[:count])}
        confirm(intent, result.jobs)
        break
    result.later = runs[count:]
    return result


def _send_keeper(folder: SweepFolder, settings: Mapping[str, Any]) -> None:
    """Send the job that looks after the others in a while; without it, `retry` does the same by hand."""
    intent = declare(folder, [], KEEPER_RESOURCES, code=settings["code"], by=KEEPER, kind=KEEPER)
    own = settings["slurm"].get("keeper")
    own = dict(own) if isinstance(own, dict) else {}
    options = {"begin": f"now+{int(own.pop('every', KEEPER_SECONDS))}"}
    changed = {**settings, "slurm": {**settings["slurm"], **own}}
    write_bytes(intent.path / "script.sh", script(folder, intent, changed, 1, options).encode())
    try:
        confirm(intent, {KEEPER: site.send(intent.path / "script.sh") + "_0"})
    except site.RefusedError:  # the limit on jobs: who submits or retries next sends one
        confirm(intent, {})


def script(
    folder: SweepFolder,
    intent: Intent,
    settings: Mapping[str, Any],
    parallel: int,
    options: Mapping[str, Any],
) -> str:
    """Return the sbatch script of an intent, by submitit."""
    import submitit

    class JobArray(submitit.SlurmExecutor):
        """submitit's executor, for one command instead of a pickle an element."""

        def text(self, command: str, count: int) -> str:
            self.parameters["map_count"] = count
            return self._make_submission_file_text(command, uid=intent.path.name)

        @classmethod
        def affinity(cls) -> int:  # the script can be written where no srun is
            return 2

    executor = JobArray(folder=intent.path)
    executor.update_parameters(**_parameters(intent, settings["slurm"], parallel, options))
    return executor.text(_command(folder, intent, settings), max(1, len(intent.runs)))


def _parameters(intent: Intent, slurm: Mapping[str, Any], parallel: int, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return submitit's parameters for an intent."""
    asked = intent.resources
    named = {key: slurm[key] for key in site.NAMED if key in slurm and key != "reservation"}
    if "exclude" in named and "exclude" in options:
        options = {**options, "exclude": f"{named['exclude']},{options['exclude']}"}
    memory = asked["memory_gb"]
    chosen: dict[str, Any] = {
        "job_name": intent.name,
        "time": max(1, int(asked["timeout"] // 60)),
        "nodes": asked["nodes"],
        "ntasks_per_node": asked["processes"],
        "cpus_per_task": asked["cpus"],
        "mem": f"{int(memory)}GB" if memory == int(memory) else f"{int(memory * 1024)}MB",
        "signal_delay_s": int(slurm.get("warning", WARNING_SECONDS)),
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own, which sites that check keys refuse
        "array_parallelism": parallel,
        "use_srun": False,  # the command holds srun, and what follows it
        **named,
        **{key: value for key, value in options.items() if key != "begin"},
    }
    if asked["gpus"]:
        chosen["gpus_per_node"] = asked["gpus"]
    if slurm.get("setup"):
        chosen["setup"] = list(slurm["setup"])
    more = {"requeue": True, **slurm.get("options", {})}
    if "begin" in options:
        more["begin"] = options["begin"]
    if "reservation" in slurm:
        more["reservation"] = slurm["reservation"]
    return {**chosen, "additional_parameters": more}


def _command(folder: SweepFolder, intent: Intent, settings: Mapping[str, Any]) -> str:
    """Return what a job runs: a run and, where it did not end well, what the rule of retries says."""
    python = job_command(folder, intent.code, settings)
    sweep = str(folder.path.resolve())
    if intent.kind == KEEPER:
        return shlex.join([*python, "keep", sweep])
    asked = intent.resources
    # SLURM 22.05 and later: srun does not take over sbatch's cpus-per-task
    srun = ["srun", "--unbuffered", f"--cpus-per-task={asked['cpus']}"]
    if asked["processes"] * asked["nodes"] > 1:
        # one of several processes that train together cannot go on when another died
        srun += ["--kill-on-bad-exit=1", "--label"]
    element = shlex.join([*srun, *slurm_args(settings), *python, "element", sweep, intent.path.name])
    after = shlex.join([*python, "after", sweep, intent.path.name])
    return "\n".join(
        [
            f"export OMP_NUM_THREADS={settings['threads']} SCALING_SWEEP_BEGAN=$(date +%s)",
            "step=0",
            f"until {element}; do",
            "    code=$?",
            f"    {after} $step $code || exit $code",
            "    step=$((step + 1))",
            "done",
        ]
    )


def slurm_args(settings: Mapping[str, Any]) -> list[str]:
    """Return the grid's own arguments of srun."""
    return list(settings["slurm"].get("srun_args", ()))
