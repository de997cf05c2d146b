"""What the commands of `scaling-sweep` do that look at a submitted sweep or change it."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from scaling.command import write_output
from sweeps.commands import PROGRAM

if TYPE_CHECKING:
    from sweeps.folder import SweepFolder


def wait(folder: SweepFolder) -> int:
    """Show a sweep until it ends. Ctrl-C saves and stops a local one, and leaves one on SLURM to itself."""
    from sweeps.jobs.status import FINAL
    from sweeps.jobs.table import format_status
    from sweeps.jobs.watch import watch

    interrupted = False
    try:
        runs = watch(folder)
    except KeyboardInterrupt:
        if folder.sweep()["executor"] == "slurm":
            print(f"\nthe sweep goes on; {PROGRAM} cancel {folder.path} stops it", file=sys.stderr)
            return 130
        interrupted = True
        folder.ask_to_stop()
        print("\nsaving and stopping (Ctrl-C again leaves at once) ...", file=sys.stderr)
        runs = watch(folder)
    left = [run for run in runs if run.state not in FINAL]
    print(format_status(folder, runs))
    if left:
        print(f"{len(left)} runs are unfinished; submit the grid again and they go on from their checkpoints")
        return 130 if interrupted else 1
    if all(run.state == "diverged" for run in runs):
        print("every run diverged: lower train.peak_lr, or tune it with `scaling-sweep pilot`", file=sys.stderr)
        return 1
    return 0


def status(args: argparse.Namespace) -> int:
    """Show how a sweep stands."""
    from sweeps.folder import SweepFolder
    from sweeps.jobs.status import sweep_status, to_json
    from sweeps.jobs.table import MANY, format_status
    from sweeps.jobs.watch import watch

    folder = SweepFolder.find(args.sweep)
    runs = watch(folder) if args.watch else sweep_status(folder)
    if args.json != "-":
        print(format_status(folder, runs, rows=None if args.all else MANY))
    write_output(args.json, to_json(folder, runs))
    return 0


def logs(args: argparse.Namespace) -> int:
    """Print a run's log."""
    from scaling.errors import WorkError
    from sweeps.jobs.why import print_log

    folder, run_id = _one_run(args.run)
    if not print_log(folder, run_id, follow=args.follow, lines=args.lines):
        message = f"{run_id}: no log yet ({PROGRAM} why {folder.path} {run_id} says how it stands)"
        raise WorkError(message)
    return 0


def why(args: argparse.Namespace) -> int:
    """Say why a run is as it is."""
    from sweeps.jobs.why import why as why_of

    print(why_of(*_one_run(args.run)))
    return 0


def _one_run(names: list[str]) -> tuple[SweepFolder, str]:
    """Return the sweep and the id of the run that a command line names: SWEEP RUN, SWEEP/RUN, or RUN."""
    from scaling.errors import InputError
    from sweeps.folder import SweepFolder
    from sweeps.jobs.control import find_runs
    from sweeps.outputs import find_run

    if len(names) > 2:
        raise InputError("one run at a time", where="RUN", value=names, remedy="name a sweep and a run")
    if len(names) == 2:
        folder = SweepFolder.find(names[0])
        (run_id,) = find_runs(folder, names[1:])
        return folder, run_id
    path = find_run(names[0])
    if not path.is_dir() or path.parent.name != "runs":
        raise InputError("not a run's folder", where="RUN", value=names[0], remedy="name a sweep and a run")
    return SweepFolder(path.parent.parent), path.name


def cancel(args: argparse.Namespace) -> int:
    """Save and stop what runs."""
    from sweeps.folder import SweepFolder
    from sweeps.jobs.control import cancel as cancel_sweep
    from sweeps.jobs.control import find_runs

    folder = SweepFolder.find(args.sweep)
    run_ids = find_runs(folder, args.runs)
    changed = cancel_sweep(folder, run_ids)
    jobs = f", {changed.jobs} SLURM jobs cancelled" if changed.jobs else ""
    if run_ids:
        print(f"{folder.path}: {len(run_ids)} runs asked to stop{jobs}")
        print(f"next: {PROGRAM} retry {folder.path} --run ID lets one go on")
    else:
        print(f"{folder.path}: asked to stop{jobs}")
        print(f"next: {PROGRAM} status {folder.path}; submit the grid again to go on")
    return 0


def retry(args: argparse.Namespace) -> int:
    """Try again what failed or died."""
    from sweeps.folder import SweepFolder
    from sweeps.jobs.control import find_runs
    from sweeps.jobs.control import retry as retry_runs

    folder = SweepFolder.find(args.sweep)
    changed = retry_runs(folder, find_runs(folder, args.runs), args.kinds)
    if not changed.runs:
        print(f"{folder.path}: nothing that failed or died; submit the grid to start what was stopped or never sent")
        _tell(changed.remarks)
        return 0
    print(f"{folder.path}: {len(changed.runs)} runs are tried again, from their last checkpoints")
    _tell(changed.remarks)
    print(f"next: {PROGRAM} status {folder.path}")
    return 0


def pause(args: argparse.Namespace) -> int:
    """Save and stop what runs, to go on later."""
    from sweeps.folder import SweepFolder
    from sweeps.jobs.control import pause as pause_sweep

    folder = SweepFolder.find(args.sweep)
    changed = pause_sweep(folder)
    print(f"{folder.path}: paused" + (f", {changed.jobs} SLURM jobs held or about to be" if changed.jobs else ""))
    print(f"next: {PROGRAM} resume {folder.path}")
    return 0


def resume(args: argparse.Namespace) -> int:
    """Let a paused sweep go on."""
    from sweeps.folder import SweepFolder
    from sweeps.jobs.control import resume as resume_sweep

    folder = SweepFolder.find(args.sweep)
    changed = resume_sweep(folder)
    print(f"{folder.path}: goes on" + (f", {changed.jobs} SLURM jobs released or sent" if changed.jobs else ""))
    _tell(changed.remarks)
    print(f"next: {PROGRAM} status {folder.path}")
    return 0


def _tell(remarks: list[str]) -> None:
    for remark in remarks:
        print(remark, file=sys.stderr)


def doctor(args: argparse.Namespace) -> int:
    """Check this machine and its SLURM."""
    from sweeps.doctor.examine import examine, format_checks

    checks = examine(args.results, grid=args.grid, job=args.job, bench=args.bench)
    print(format_checks(checks))
    return 1 if any(check.status == "failed" for check in checks) else 0


def completion(args: argparse.Namespace) -> int:
    """Print a completion script."""
    from sweeps.cli import make_parser
    from sweeps.completion import completion as complete

    print(complete(make_parser(), args.shell))
    return 0
