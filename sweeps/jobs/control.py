"""Cancel, pause, resume, retry: what changes a sweep that was submitted. Each needs the sweep's folder alone."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from scaling.errors import InputError, WorkError
from scaling.files import write_json
from sweeps.folder import CANCELLED, PAUSED, SweepFolder
from sweeps.jobs import site
from sweeps.jobs.attempts import now
from sweeps.jobs.intents import KEEPER, adopt, intents_of, jobs_of
from sweeps.jobs.keeper import send_again, submitting
from sweeps.jobs.slurm import check_version
from sweeps.jobs.status import RunStatus, sweep_status
from sweeps.jobs.verdict import ERROR, give_chance, out_of_memory

LEFT = ("failed", "died", "stopped", "cancelled", "pending")
"""States of runs that nobody works on and that have no result."""


@dataclass(kw_only=True)
class Changed:
    """What a command did."""

    runs: list[str] = field(default_factory=list)
    jobs: int = 0
    """SLURM jobs that were cancelled, held, released or sent."""
    remarks: list[str] = field(default_factory=list)


def find_runs(folder: SweepFolder, wanted: Sequence[str]) -> list[str]:
    """Return the planned runs whose ids begin as wanted.

    Raises:
        InputError: When there is none, or more than one, for a beginning.
    """
    planned = [row["id"] for row in folder.plan() if row["status"] == "run"]
    others = sorted({path.name for path in folder.path.glob("runs/*")} - set(planned))  # of earlier plans
    found = []
    for beginning in wanted:
        fit = [run_id for run_id in (*planned, *others) if beginning and run_id.startswith(beginning)]
        if len(fit) > 1:
            raise InputError(
                f"{len(fit)} runs of {folder.path.name} begin so",
                where="RUN",
                value=beginning,
                remedy=", ".join(fit[:9]),
            )
        if not fit:
            raise InputError(
                f"no such run in {folder.path.name}",
                where="RUN",
                value=beginning,
                remedy=f"scaling-sweep status {folder.path.name} --all lists them",
            )
        found += fit
    return found


def cancel(folder: SweepFolder, run_ids: Sequence[str] = ()) -> Changed:
    """Stop a sweep, or some of its runs: what trains saves, what waits leaves SLURM's queue."""
    _refuse_done(folder, run_ids or folder.planned_ids(), "cancel")
    _ask_to_stop(folder, CANCELLED, run_ids)
    if not _on_slurm(folder):
        return Changed(runs=list(run_ids))
    with (
        _told("what trains is asked to stop"),
        submitting(folder),
    ):  # a submission that is at work sends first, and then is cancelled too
        _ask_to_stop(folder, CANCELLED, run_ids)  # it took the word back
        _, jobs, keepers = _alive(folder, run_ids)
        site.cancel([*jobs.values(), *([] if run_ids else keepers)])
    return Changed(runs=list(jobs), jobs=len(jobs))


def pause(folder: SweepFolder) -> Changed:
    """Let what trains save and stop, and keep what waits from starting; jobs keep their place in SLURM's queue."""
    _refuse_done(folder, folder.planned_ids(), "pause")
    _ask_to_stop(folder, PAUSED)
    if not _on_slurm(folder):
        return Changed()
    with _told("what trains is asked to stop"), submitting(folder):
        _ask_to_stop(folder, PAUSED)
        queue, jobs, keepers = _alive(folder)
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
    if folder.sweep()["executor"] == "slurm":
        check_version(folder)
    folder.let_go_on()
    released = 0
    if _on_slurm(folder):
        with submitting(folder):
            _, jobs, keepers = _alive(folder)
            site.release([*jobs.values(), *keepers])
            released = len(jobs)
    changed = _start(folder, [run.id for run in sweep_status(folder) if run.state in LEFT], by="resume")
    return Changed(runs=changed.runs, jobs=released + changed.jobs, remarks=changed.remarks)


def retry(folder: SweepFolder, run_ids: Sequence[str] = (), kinds: Collection[str] = ()) -> Changed:
    """Try runs again that failed, died or were cancelled, as if for the first time.

    Args:
        folder: The sweep.
        run_ids: These runs; all that failed or died, when empty.
        kinds: Those whose failure is of these classes only.

    Raises:
        InputError: When a run that is named needs no other try, or the sweep was stopped or halted.
    """
    if folder.sweep()["executor"] == "slurm":
        check_version(folder)
    named = set(run_ids)
    runs = sweep_status(folder)
    if run_ids and not kinds:
        chosen = [run for run in runs if run.id in named]
        if going := [run for run in chosen if run.state not in LEFT]:
            raise InputError(
                f"nothing to retry: it is {going[0].state}",
                where="--run",
                value=going[0].id,
                remedy=f"scaling-sweep status {folder.path.name} shows what failed",
            )
    else:
        chosen = [run for run in runs if _wanted(run, named, kinds)]
    if asked := folder.stop_asked():
        raise InputError(
            f"the sweep was {asked}",
            where=folder.path,
            remedy=f"{'`scaling-sweep resume`' if asked == PAUSED else 'submit the grid'}, and all of it goes on",
        )
    if any(run.kind == ERROR for run in chosen):
        folder.forget_errors()
    elif chosen and (halt := folder.halted()) is not None:
        raise InputError(
            f"the sweep was halted, since {len(halt['runs'])} runs failed alike: {halt['error']}",
            where=folder.path,
            remedy="mend it and submit the grid, or retry with --class error",
        )
    for run in chosen:
        folder.let_go_on(run.id)
        give_chance(folder, run.id, shrink=out_of_memory(folder, run.id))
    return _start(folder, [run.id for run in chosen], by="retry")


def _wanted(run: RunStatus, named: Collection[str], kinds: Collection[str]) -> bool:
    if run.state not in ("failed", "died", *(("cancelled",) if named else ())):
        return False
    return (not named or run.id in named) and (not kinds or run.kind in kinds)


def _start(folder: SweepFolder, run_ids: Sequence[str], *, by: str) -> Changed:
    """Start runs by the executor that the sweep was submitted to; on SLURM a keeper too, where none waits."""
    settings = folder.sweep()
    if settings["executor"] == "slurm":
        sent = send_again(folder, run_ids, by=by)
        return Changed(runs=[*sent.runs, *sent.later], jobs=len(sent.runs), remarks=sent.remarks())
    if not run_ids:
        return Changed()
    from sweeps.jobs.local import start_queue

    write_json(folder.sweep_file, {**settings, "submitted": now()})  # a queue that is alive looks at all runs anew
    start_queue(folder)
    return Changed(runs=list(run_ids))


def _refuse_done(folder: SweepFolder, run_ids: Sequence[str], verb: str) -> None:
    """Refuse to stop what is done."""
    done = set(folder.record_ids())
    if run_ids and done.issuperset(run_ids):
        raise InputError(f"nothing to {verb}: it is done", where=folder.path, remedy=f"scaling-fit {folder.path}")


@contextlib.contextmanager
def _told(done: str) -> Iterator[None]:
    """Say what has been done already where SLURM does not answer."""
    try:
        yield
    except site.UnreachableError as error:
        message = f"{done}, but SLURM's jobs are as they were: {error}\n  do it again when SLURM answers"
        raise WorkError(message) from error


def _ask_to_stop(folder: SweepFolder, how: str, run_ids: Sequence[str] = ()) -> None:
    if not run_ids:
        folder.ask_to_stop(how)
    for run_id in run_ids:
        folder.ask_to_stop(how, run_id)


def _on_slurm(folder: SweepFolder) -> bool:
    """Whether anything of a sweep was ever sent to SLURM."""
    return any(folder.submissions.glob("*/intent.json"))


def _alive(
    folder: SweepFolder, run_ids: Sequence[str] = ()
) -> tuple[dict[str, site.Queued], dict[str, str], list[str]]:
    """Return the queue, run -> job of those that it holds, and the keepers; under the lease on submissions."""
    queue = site.queue()
    intents = adopt(intents_of(folder), queue)
    chosen = set(run_ids)
    jobs = {r: job for r, job in jobs_of(intents).items() if job in queue and (not chosen or r in chosen)}
    keepers = [i.jobs[KEEPER] for i in intents if i.kind == KEEPER and i.jobs and i.jobs[KEEPER] in queue]
    return queue, jobs, keepers
