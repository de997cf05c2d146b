"""Cancel, pause, resume, retry: what changes a sweep that was submitted. Each needs the sweep's folder alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from scaling.errors import InputError, did_you_mean
from scaling.files import write_json
from sweeps.folder import CANCELLED, PAUSED, SweepFolder
from sweeps.jobs import site
from sweeps.jobs.attempts import now
from sweeps.jobs.intents import KEEPER, adopt, intents_of, jobs_of
from sweeps.jobs.keeper import send_again, submitting
from sweeps.jobs.status import RunStatus, sweep_status
from sweeps.jobs.verdict import ERROR, give_chance

LEFT = ("failed", "died", "stopped", "cancelled", "pending")
"""States of runs that nobody works on and that have no result."""


@dataclass(kw_only=True)
class Changed:
    """What a command did."""

    runs: list[str] = field(default_factory=list)
    jobs: int = 0
    """SLURM jobs that were cancelled, held, released or sent."""


def find_runs(folder: SweepFolder, wanted: Sequence[str]) -> list[str]:
    """Return the planned runs whose ids begin as wanted.

    Raises:
        InputError: When there is none, or more than one, for a beginning.
    """
    planned = [row["id"] for row in folder.plan() if row["status"] == "run"]
    found = []
    for beginning in wanted:
        fit = [run_id for run_id in planned if run_id.startswith(beginning)]
        if len(fit) != 1:
            what = f"{len(fit)} runs of {folder.path.name} begin so" if fit else f"no such run in {folder.path.name}"
            raise InputError(what, where="RUN", value=beginning, remedy=did_you_mean(beginning, planned[:5]))
        found += fit
    return found


def cancel(folder: SweepFolder, run_ids: Sequence[str] = ()) -> Changed:
    """Stop a sweep, or some of its runs: what trains saves, what waits leaves SLURM's queue."""
    if run_ids:
        for run_id in run_ids:
            folder.ask_to_stop(CANCELLED, run_id)
    else:
        folder.ask_to_stop(CANCELLED)
    if not folder.submissions.exists() or not intents_of(folder):
        return Changed(runs=list(run_ids))
    with submitting(folder):  # a submission that is at work sends first, and then is cancelled too
        jobs, keepers = _alive(folder, run_ids)
        site.cancel([*jobs.values(), *([] if run_ids else keepers)])
    return Changed(runs=list(jobs), jobs=len(jobs))


def pause(folder: SweepFolder) -> Changed:
    """Let what trains save and stop, and keep what waits from starting; jobs keep their place in SLURM's queue."""
    folder.ask_to_stop(PAUSED)
    if not folder.submissions.exists() or not intents_of(folder):
        return Changed()
    with submitting(folder):
        jobs, keepers = _alive(folder)
        queue = site.queue()
        site.hold([job for job in (*jobs.values(), *keepers) if queue[job].state == "PD"])
        # what runs is told as before its time limit, and puts its own job on hold
        site.warn([job for job in jobs.values() if queue[job].state == "R"])
    return Changed(runs=list(jobs), jobs=len(jobs))


def resume(folder: SweepFolder) -> Changed:
    """Let a paused sweep go on."""
    if folder.stop_asked() != PAUSED:
        raise InputError(
            "the sweep is not paused", where=folder.path, remedy="submit the grid to go on with one that was cancelled"
        )
    folder.let_go_on()
    released = 0
    if folder.submissions.exists() and intents_of(folder):
        with submitting(folder):
            jobs, keepers = _alive(folder)
            site.release([*jobs.values(), *keepers])
            released = len(jobs)
    left = [run.id for run in sweep_status(folder) if run.state in LEFT]
    changed = _start(folder, left, by="resume")
    return Changed(runs=left, jobs=released + changed.jobs)


def retry(folder: SweepFolder, run_ids: Sequence[str] = (), kinds: Collection[str] = ()) -> Changed:
    """Try runs again that failed, died or were cancelled, as if for the first time.

    Args:
        folder: The sweep.
        run_ids: These runs; all that have no result and that nobody works on, when empty.
        kinds: Those whose failure is of these classes only.
    """
    if run_ids and not kinds:
        chosen = [run for run in sweep_status(folder) if run.id in set(run_ids)]
        going = [run.id for run in chosen if run.state not in LEFT]
        if going:
            states = {run.state for run in chosen if run.id in going}
            raise InputError(
                f"nothing to retry: it is {', '.join(sorted(states))}",
                where="--run",
                value=going[0],
                remedy="see status",
            )
    else:
        chosen = [run for run in sweep_status(folder) if _wanted(run, run_ids, kinds)]
    again = [run.id for run in chosen]
    if not again:
        return Changed()
    if folder.stop_asked():
        raise InputError(
            f"the sweep was {folder.stop_asked()}",
            where=folder.path,
            remedy="submit the grid, or `scaling-sweep resume`, and all of it goes on",
        )
    if any(run.kind == ERROR for run in chosen):
        folder.forget_errors()
    for run_id in again:
        folder.let_go_on(run_id)
        give_chance(folder, run_id)
    return _start(folder, again, by="retry")


def _wanted(run: RunStatus, run_ids: Sequence[str], kinds: Collection[str]) -> bool:
    if run.state not in ("failed", "died", *(("cancelled",) if run_ids else ())):
        return False
    return (not run_ids or run.id in run_ids) and (not kinds or run.kind in kinds)


def _start(folder: SweepFolder, run_ids: Sequence[str], *, by: str) -> Changed:
    """Start runs by the executor that the sweep was submitted to."""
    settings = folder.sweep()
    if not run_ids:
        return Changed()
    if settings["executor"] == "slurm":
        sent = send_again(folder, run_ids, by=by)
        return Changed(runs=sent.runs, jobs=len(sent.runs))
    from sweeps.jobs.local import start_queue

    write_json(folder.sweep_file, {**settings, "submitted": now()})  # a queue that is alive looks at all runs anew
    start_queue(folder)
    return Changed(runs=list(run_ids))


def _alive(folder: SweepFolder, run_ids: Sequence[str] = ()) -> tuple[dict[str, str], list[str]]:
    """Return run -> job of those that SLURM holds, and the keepers; under the lease on submissions."""
    queue = site.queue()
    intents = adopt(intents_of(folder), queue)
    chosen = set(run_ids)
    jobs = {r: job for r, job in jobs_of(intents).items() if job in queue and (not chosen or r in chosen)}
    keepers = [i.jobs[KEEPER] for i in intents if i.kind == KEEPER and i.jobs and i.jobs[KEEPER] in queue]
    return jobs, keepers
