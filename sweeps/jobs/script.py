"""The script of a job, written by submitit: what it asks for, and what it runs.

An array's job is one line, `python code/<hash> element SWEEP INTENT`: which run an element is stands in the intent.
Nothing is pickled, so nothing is lost between a call of sbatch and the files that a job would wait for. What follows a
failure is decided outside of a container, where SLURM's commands are.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from sweeps.folder import SweepFolder
from sweeps.jobs import site
from sweeps.jobs.intents import KEEPER, Intent
from sweeps.jobs.snapshot import job_command

WARNING_SECONDS = 90.0
"""How long before its time limit a job is warned."""
WARNING_SHARE = 0.25
"""Share of a job's time that the warning is at most."""
KEEPER_SECONDS = 1800.0
KEEPER_RESOURCES = {"gpus": 0, "nodes": 1, "processes": 1, "cpus": 1, "memory_gb": 1.0, "timeout": 4 * 3600.0}
PATIENCE = (0, 60, 120, 240, 480, 900, 1800, 3600)
"""Seconds before each try of a keeper: SLURM may not answer for a while."""
ROUNDS = 20
"""Times that a job starts its run at most."""


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
    more: dict[str, Any] = {"requeue": True}
    if intent.kind == KEEPER:
        own = slurm.get("keeper")
        own = dict(own) if isinstance(own, dict) else {}
        more["begin"] = f"now+{int(own.pop('every', KEEPER_SECONDS))}"
        named |= own
    else:
        more |= slurm.get("options", {})
    if "no-requeue" in more:
        del more["requeue"]
    if "reservation" in slurm:
        more["reservation"] = slurm["reservation"]
    if "exclude" in named and "exclude" in options:
        options = {**options, "exclude": f"{named['exclude']},{options['exclude']}"}
    minutes = minutes_of(asked)
    chosen: dict[str, Any] = {
        "job_name": intent.name,
        "time": minutes,
        "nodes": asked["nodes"],
        "ntasks_per_node": asked["processes"],
        "cpus_per_task": asked["cpus"],
        "mem": f"{max(1, round(asked['memory_gb'] * 1024))}MB",
        "signal_delay_s": int(min(slurm.get("warning", WARNING_SECONDS), WARNING_SHARE * 60 * minutes)),
        "stderr_to_stdout": True,
        "wckey": None,  # submitit's own, which sites that check keys refuse
        "array_parallelism": parallel,
        "use_srun": False,  # the command holds srun, and what follows it
        # first, since the time of the job has begun
        "setup": ["export SCALING_SWEEP_BEGAN=$(date +%s)", *slurm.get("setup", ())],
        **named,
        **options,
    }
    if asked["gpus"]:
        chosen["gpus_per_node"] = asked["gpus"]
    return {**chosen, "additional_parameters": more}


def minutes_of(resources: Mapping[str, Any]) -> int:
    """Return the time limit that is asked for: SLURM counts minutes."""
    return max(1, int(resources["timeout"] // 60))


def _command(folder: SweepFolder, intent: Intent, settings: Mapping[str, Any]) -> str:
    """Return what a job runs: a run and, where it did not end well, what the rule of retries says."""
    host = job_command(folder, intent.code, settings)
    sweep = str(folder.path.resolve())
    if intent.kind == KEEPER:
        keep = shlex.join([*host, "keep", sweep])
        pauses = " ".join(map(str, PATIENCE))
        return "\n".join([f"for pause in {pauses}; do", "    sleep $pause", f"    {keep} && exit 0", "done", "exit 1"])
    asked = intent.resources
    # SLURM 22.05 and later: srun does not take over sbatch's cpus-per-task
    srun = ["srun", "--unbuffered", f"--cpus-per-task={asked['cpus']}", *settings["slurm"].get("srun_args", ())]
    if asked["processes"] * asked["nodes"] > 1:
        # one of several processes that train together cannot go on when another died
        srun += ["--kill-on-bad-exit=1", "--label"]
    python = job_command(folder, intent.code, settings, python=settings["slurm"].get("python"))
    element = shlex.join([*srun, *python, "element", sweep, intent.path.name])
    after = shlex.join([*host, "after", sweep, intent.path.name])
    return "\n".join(
        [
            f"export OMP_NUM_THREADS={settings['threads']} SCALING_SWEEP_STEP=0",
            f"until {element}; do",
            "    code=$?",
            f"    {after} $code || exit $code",
            "    SCALING_SWEEP_STEP=$((SCALING_SWEEP_STEP + 1))",
            f"    [ $SCALING_SWEEP_STEP -lt {ROUNDS} ] || exit $code",
            "done",
        ]
    )
