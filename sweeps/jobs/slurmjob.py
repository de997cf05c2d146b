"""One run as a SLURM job: it saves when SLURM takes the node away, and goes back into the queue."""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

from sweeps.folder import SweepFolder
from sweeps.jobs.place import task_place
from sweeps.jobs.worker import Stop, run_one

HELD_SECONDS = 150.0
"""How long a job waits for a lease that another holds: one that was cancelled may take SLURM's KillWait to die."""
POLL_SECONDS = 2.0
TERMINATED_SECONDS = 900.0


class SlurmRun:
    """What a job file holds; submitit calls it, and `checkpoint` when it requeues the job.

    SIGUSR2 announces the time limit or a preemption: the trainer saves, then submitit's own handler requeues the job
    (or gives up after as many time-outs as it was told). SIGTERM alone is a preemption's grace time or `scancel`:
    the trainer saves, and the job waits for its end, since a job that leaves by itself counts as completed and is
    not requeued.
    """

    def __call__(self, sweep: str, run_id: str) -> str:
        """Do one run of a sweep and return its outcome."""
        requeue: Any = signal.getsignal(signal.SIGUSR2)
        stop = Stop()
        stop.listen()
        outcome = run_one(sweep, run_id, stop)
        until = time.monotonic() + HELD_SECONDS
        while outcome == "held-elsewhere" and not stop.asked and time.monotonic() < until:
            time.sleep(POLL_SECONDS)
            outcome = run_one(sweep, run_id, stop)
        if outcome == "held-elsewhere":
            task_place().tell(SweepFolder(sweep).run(run_id), go=False)
        # a stop may have reached another process of the run first: then the signal is on its way here
        stopped = outcome == "stopped" or (stop.asked and outcome == "held-elsewhere")
        if stopped and not SweepFolder(sweep).stop_asked():
            if signal.SIGUSR2 not in stop.signals:
                _wait_for_the_end(stop)
            if callable(requeue):
                requeue(signal.SIGUSR2, None)  # raises SystemExit when the job is back in the queue
        return outcome

    def checkpoint(self, sweep: str, run_id: str) -> Any:
        """Return what the requeued job does: the same again, from the last checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, sweep, run_id)


def _wait_for_the_end(stop: Stop) -> None:
    """Wait until SLURM kills the job, or until SIGUSR2 says that it may requeue itself."""
    until = time.monotonic() + TERMINATED_SECONDS
    while signal.SIGUSR2 not in stop.signals:
        if time.monotonic() > until:
            sys.exit(128 + signal.SIGTERM)
        time.sleep(0.2)
