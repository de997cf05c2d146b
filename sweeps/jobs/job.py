"""What a job's processes do: `python code/<hash> VERB ...`, on SLURM and on this machine alike.

| verb | where | what |
|---|---|---|
| run SWEEP ID | local queue | one run |
| element SWEEP INTENT | every process of a SLURM job | the run that the intent names for this element |
| after SWEEP INTENT CODE | the job's script, after a failure | go on here (exit 0), requeue the job, or leave |
| keep SWEEP | the keeper, now and then | send again what the rule of retries says |
| measure FOLDER | `doctor --bench` | the time of a plan's steps on this device |
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from scaling.errors import WorkError
from sweeps.folder import PAUSED, SweepFolder
from sweeps.jobs import site
from sweeps.jobs.attempts import begin, finish, last_attempt, slurm_job, slurm_step
from sweeps.jobs.intents import Intent, intents_of, jobs_of, read_intent
from sweeps.jobs.lease import is_live
from sweeps.jobs.place import task_place
from sweeps.jobs.script import minutes_of
from sweeps.jobs.verdict import INFRASTRUCTURE, MEMORY, class_of_death, judge
from sweeps.jobs.worker import Stop, newest, run_one

DONE, FAILED, TO_QUEUE = 0, 1, 75
"""Exit codes of a run: its end; its failure; saved, and to be taken up again (EX_TEMPFAIL)."""
HELD_SECONDS = 150.0
"""How long a job waits for a lease that another holds: one that was cancelled may take SLURM's KillWait to die."""
POLL_SECONDS = 2.0
TERMINATED_SECONDS = 900.0
SEND_SECONDS = 10.0
"""How long a job waits for its turn to send a run anew."""
SAVING = 0.1
"""Share of a job's time, at most `warning` seconds, that is kept for saving where SLURM does not warn."""


def main(arguments: list[str] | None = None) -> int:
    """Do what a job's command line says and return the exit code."""
    verb, sweep, *others = sys.argv[1:] if arguments is None else arguments
    if verb == "measure":
        from sweeps.jobs.bench import measure_here

        measure_here(Path(sweep))
        return DONE
    folder = SweepFolder(sweep)
    if verb == "run":
        stop = Stop()
        stop.listen()
        log = folder.run(others[0]) / "log"
        return _code(run_one(sweep, others[0], stop, {"code": folder.sweep().get("code", ""), "log": str(log)}))
    if verb == "element":
        return element(folder, read_intent(folder.submissions / others[0]))
    if verb == "after":
        return after(folder, read_intent(folder.submissions / others[0]), int(others[1]))
    if verb == "keep":
        from sweeps.jobs.keeper import keep

        print(keep(folder))
        return DONE
    message = f"unknown verb {verb}"
    raise ValueError(message)


def element(folder: SweepFolder, intent: Intent) -> int:
    """Do the run of this element of an array; SLURM's processes of a run all come here.

    SIGUSR2 announces the time limit or a preemption, and where a site sends no signal, the job's own clock does:
    the trainer saves, and the job goes back into the queue. SIGTERM alone is a preemption's grace time or `scancel`:
    the trainer saves, and the job waits for its end, since one that leaves by itself is not requeued.
    """
    run_id = _run_of(intent)
    place = task_place()
    if not place.rank and (intent.jobs == {} or _too_early(folder, run_id)):
        # its sender died and another took it for never sent; or what it starts from is still being made
        place.tell(folder.run(run_id), go=False)
        return DONE
    stop = Stop(deadline=_deadline(intent))
    stop.listen()
    sweep = str(folder.path)
    outcome = run_one(sweep, run_id, stop, about(intent))
    until = time.monotonic() + HELD_SECONDS
    while outcome == "held-elsewhere" and not stop.asked and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
        outcome = run_one(sweep, run_id, stop, about(intent))
    if outcome == "held-elsewhere":
        place.tell(folder.run(run_id), go=False)
    # a stop may have reached another process of the run first: then the signal is on its way here
    stopped = outcome == "stopped" or (stop.asked and outcome == "held-elsewhere")
    if not stopped:
        return _code(outcome)
    asked = folder.stop_asked(run_id)
    if not asked and signal.SIGTERM in stop.signals and not stop.warned:
        _wait_for_the_end(stop)
    return DONE if asked and asked != PAUSED else TO_QUEUE


def after(folder: SweepFolder, intent: Intent, code: int) -> int:
    """Say what follows a run that did not end well: 0 to go on in this job, 1 to leave it."""
    run_id = _run_of(intent)
    path = folder.run(run_id)
    attempt = last_attempt(path)
    mine = attempt is not None and (attempt.job, attempt.start.get("step")) == (slurm_job(), slurm_step())
    if not mine and is_live(path / "lease.json"):
        return FAILED  # it died while it waited for another to end
    if attempt is None or not mine:  # it did not come so far as to note that it began
        begun = begin(path, checkpoint=newest(folder.states(run_id)), **about(intent))
        finish(begun, "died", **{"class": INFRASTRUCTURE}, error=f"it ended with code {code} before the run began")
    elif attempt.end is None:
        kind, why = class_of_death(attempt, code)
        finish(attempt.path, "died", **{"class": kind}, error=why)
    verdict = judge(folder, run_id)
    print(f"{run_id}: {verdict.kind or 'stopped'}: {verdict.reason or 'saved'}; {verdict.action}", flush=True)
    if verdict.action == "held":
        _back_to_queue(folder, run_id, held=True)
        return FAILED
    if verdict.action != "again":
        return FAILED
    last = last_attempt(path)
    outcome = last.end["outcome"] if last is not None and last.end else "died"
    if outcome == "stopped":
        _back_to_queue(folder, run_id)
    elif verdict.kind == MEMORY and outcome == "died":  # the node's, of which a new job asks for more
        _send_elsewhere(folder, run_id, nodes=())
    elif verdict.kind == INFRASTRUCTURE and verdict.alike > 1:
        _send_elsewhere(folder, run_id, nodes=(os.environ.get("SLURMD_NODENAME", ""),))
    else:
        return DONE
    return FAILED


def _too_early(folder: SweepFolder, run_id: str) -> bool:
    """Whether a run's parent is at work again, sent anew since: the run is sent after it then."""
    (row,) = [row for row in folder.plan() if row["id"] == run_id]
    if not folder.waits_for_parent(row):
        return False
    parent = row["parent"]["id"]
    try:
        going = jobs_of(intents_of(folder)).get(parent) in site.queue()
    except site.UnreachableError:
        return False
    if going or is_live(folder.run(parent) / "lease.json"):
        _send_elsewhere(folder, run_id, nodes=())
        return True
    return False


def _back_to_queue(folder: SweepFolder, run_id: str, *, held: bool = False) -> None:
    """Requeue this job, or send the run anew where the site does not allow that."""
    try:
        site.requeue(slurm_job(), held=held)
    except site.UnreachableError as error:
        print(f"no requeue here ({error}): the run is sent anew", flush=True)
        if not held:
            _send_elsewhere(folder, run_id, nodes=())


def _send_elsewhere(folder: SweepFolder, run_id: str, nodes: tuple[str, ...]) -> None:
    """Send a run as a job of its own, not to some nodes; the keeper does it later where that does not work now."""
    from sweeps.jobs.keeper import send_again

    try:
        send_again(
            folder, [run_id], by="job", exclude=filter(None, nodes), instead_of=[slurm_job()], patience=SEND_SECONDS
        )
    except WorkError as error:
        print(f"{run_id}: {error}: the keeper sends it", flush=True)


def _code(outcome: str) -> int:
    return TO_QUEUE if outcome == "stopped" else DONE


def _deadline(intent: Intent) -> float:
    """Return the time at which this job saves itself, a little before SLURM's limit whether SLURM warns or not."""
    began = float(os.environ.get("SCALING_SWEEP_BEGAN", time.time()))
    limit = 60.0 * minutes_of(intent.resources)
    return began + limit - min(60.0, SAVING * limit)


def about(intent: Intent) -> dict[str, str]:
    """Return what an attempt notes of the job that it runs in."""
    array, number = (os.environ.get(f"SLURM_ARRAY_{name}_ID", "0") for name in ("JOB", "TASK"))
    return {"code": intent.code, "log": str(intent.path / f"{array}_{number}_0_log.out")}


def _run_of(intent: Intent) -> str:
    number = os.environ.get("SLURM_ARRAY_TASK_ID")
    if number is None:
        message = "no SLURM_ARRAY_TASK_ID here: cluster.slurm.python must hand SLURM's variables on"
        raise WorkError(message)
    return intent.runs[int(number)]


def _wait_for_the_end(stop: Stop) -> None:
    """Wait until SLURM kills the job, or until SIGUSR2 says that it may go back into the queue."""
    until = time.monotonic() + TERMINATED_SECONDS
    while not stop.warned:
        if time.monotonic() > until:
            sys.exit(128 + signal.SIGTERM)
        time.sleep(0.2)


if __name__ == "__main__":
    sys.exit(main())
