"""The keeper: a job of a second, now and then, that sends again what died and may be tried again.

It waits in SLURM's queue for its time, looks after the sweep, and sends the next keeper until all is done: the laptop
may be closed, and no program of ours has to live through the night.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from scaling.errors import WorkError
from sweeps.folder import SweepFolder
from sweeps.jobs import lease as leases
from sweeps.jobs import site
from sweeps.jobs.attempts import last_attempt, slurm_job
from sweeps.jobs.intents import RUNS, Intent, adopt, intents_of, jobs_of
from sweeps.jobs.slurm import Sent, send
from sweeps.jobs.verdict import INFRASTRUCTURE, Verdict, judge, out_of_memory

SUBMISSION_SECONDS = 90.0
"""How long to wait for another submission to the same sweep."""
BAD_NODES = 2
"""Nodes that are left out at most: where runs died on more, it was something that they share."""
GHOST_SECONDS = 180.0
"""Time after the end of an attempt in which its job ends too, is requeued, or begins another."""
NEVER_BEGAN = 3
"""Jobs of a run that may end, one after another, before it began."""


@contextlib.contextmanager
def submitting(folder: SweepFolder, patience: float = SUBMISSION_SECONDS) -> Iterator[None]:
    """Be the only one that sends jobs of a sweep.

    Raises:
        WorkError: When another does for too long.
    """
    lease = leases.wait_for(folder.submission_lease, patience)
    if lease is None:
        holder = leases.read_lease(folder.submission_lease) or {}
        message = (
            f"{folder.path}: another submission is at work (process {holder.get('pid')} on {holder.get('host')}): "
            "wait for it, or end it"
        )
        raise WorkError(message)
    try:
        yield
    finally:
        lease.release()


def send_again(
    folder: SweepFolder,
    ids: Sequence[str],
    *,
    by: str,
    exclude: Iterable[str] = (),
    instead_of: Sequence[str] = (),
    patience: float = SUBMISSION_SECONDS,
) -> Sent:
    """Send runs that failed or were stopped, with as much memory as they are found to need."""
    with submitting(folder, patience):
        shrink = {run_id: out_of_memory(folder, run_id) for run_id in ids}
        return send(folder, ids, by=by, exclude=exclude, shrink=shrink, instead_of=instead_of)


def keep(folder: SweepFolder) -> str:
    """Send again all runs that died and may be tried again; return a line that says what was done.

    A job that SLURM keeps back since it could not be launched is let go, or cancelled where its run is done. One that
    SLURM takes for running though it ended (slurmctld died before it could note that) is cancelled.
    """
    if asked := folder.stop_asked():
        return f"{folder.path.name}: {asked}"
    with submitting(folder):
        queue = site.queue()
        intents = adopt(intents_of(folder), queue)
        jobs = jobs_of(intents)
        done = set(folder.record_ids())
        stuck = {run_id: job for run_id, job in jobs.items() if job in queue and queue[job].stuck}
        site.release([job for run_id, job in stuck.items() if run_id not in done])
        site.cancel([job for run_id, job in stuck.items() if run_id in done])
        left = [run_id for run_id in folder.planned_ids() if run_id not in done]
        ghosts = [jobs[run_id] for run_id in left if _is_ghost(folder, run_id, queue.get(jobs.get(run_id, "")))]
        site.cancel(ghosts)
        for job in ghosts:
            del queue[job]
        idle = [
            run_id
            for run_id in left
            if jobs.get(run_id) not in queue and not leases.is_live(folder.run(run_id) / "lease.json")
        ]
        verdicts = {run_id: verdict(folder, run_id, intents) for run_id in idle}
        again = [run_id for run_id in idle if verdicts[run_id].action == "again"]
        shrink = {run_id: verdicts[run_id].shrink for run_id in again}
        nodes = _failed_nodes(folder, again, verdicts)
        own = [slurm_job(), *ghosts]
        sent = send(folder, again, by="keeper", exclude=nodes, shrink=shrink, instead_of=own)
    counts = Counter(v.kind or v.reason or "stopped" for v in verdicts.values() if v.action == "leave")
    given_up = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items()))
    return f"{folder.path.name}: {len(done)} done, {len(left) - len(idle)} going on, {len(sent.runs)} sent again" + (
        f", left as they are: {given_up}" if given_up else ""
    )


def _is_ghost(folder: SweepFolder, run_id: str, job: site.Queued | None) -> bool:
    """Whether the attempt of a job that SLURM says runs has ended long ago, and nothing came after it in that job."""
    if job is None or job.state != "R" or job.started is None or leases.is_live(folder.run(run_id) / "lease.json"):
        return False
    last = last_attempt(folder.run(run_id))
    if last is None or last.job != job.job or last.end is None:
        return False
    ended = float(last.end.get("ended", 0.0))
    return job.started < ended < time.time() - GHOST_SECONDS


def verdict(folder: SweepFolder, run_id: str, intents: Sequence[Intent]) -> Verdict:
    """Return what is to be done about a run that no job works on; jobs that ended before it began count too."""
    found = judge(folder, run_id)
    if found.action != "again":
        return found
    last = last_attempt(folder.run(run_id))
    lost = 0
    for intent in reversed(intents):
        if intent.kind != RUNS or run_id not in (intent.jobs or {}):
            continue
        if last is not None and intent.jobs and last.job == intent.jobs[run_id]:
            break
        lost += 1
        if intent.by in ("submit", "retry"):
            break
    if lost >= NEVER_BEGAN:
        reason = f"{lost} jobs ended before it began: scaling-sweep why shows their log"
        return Verdict(action="leave", reason=reason, kind=INFRASTRUCTURE)
    return found


def _failed_nodes(folder: SweepFolder, ids: Sequence[str], verdicts: dict[str, Verdict]) -> set[str]:
    """Return the nodes on which runs died that are sent again for it; none where it was more than some nodes."""
    nodes = set()
    for run_id in ids:
        if verdicts[run_id].kind == INFRASTRUCTURE and (last := last_attempt(folder.run(run_id))):
            nodes.add(last.start.get("node", ""))
    nodes -= {""}
    return nodes if len(nodes) <= BAD_NODES else set()
