"""The command line of `scaling-sweep`; what its commands do is in `sweeps.commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.command import add_common, run_command
from scaling.speech.probes.catalogue import PROBES, ProbeSettings
from sweeps import commands, runcommands
from sweeps.commands import PROGRAM

TEMPLATES = ("quickstart", "own-trainer", "study", "study-small", "objectives", "shapes", "data", "ucurve")
FORMATS = ("torchaudio", "safetensors")
CLASSES = ("infrastructure", "timeout", "memory", "error")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 the work failed, 2 the input is wrong."""
    return run_command(make_parser(), argv)


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Plan a scaling-law sweep, get it trained on this machine or on SLURM, and collect the results.",
        epilog="Start with: scaling-sweep init quickstart",
    )
    add_common(parser)
    verbs = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, function: Any, text: str) -> argparse.ArgumentParser:
        command = verbs.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
        return command

    init = add("init", commands.init, "write a commented grid to start from")
    init.add_argument("template", choices=TEMPLATES)
    init.add_argument(
        "-o",
        "--output",
        type=Path,
        help="where to (default: here); its other files go beside it; a folder for one of the four studies",
    )

    corpus = verbs.add_parser("corpus", help="make a corpus").add_subparsers(metavar="KIND", required=True)
    synth = corpus.add_parser("synth", help="synthetic speech, many voices (needs the extra `synth`)")
    synth.set_defaults(function=commands.synth)
    synth.add_argument("dir", type=Path)
    synth.add_argument("--hours", required=True, help="hours of training audio; held-out clips come on top")
    synth.add_argument("--seed", type=int, default=0)
    imported = corpus.add_parser("import", help="wav and flac files, or a data set")
    imported.set_defaults(function=commands.import_corpus)
    imported.add_argument("dir", type=Path)
    imported.add_argument(
        "--from",
        dest="source",
        required=True,
        help="a folder (a subfolder a speaker), librispeech:ROOT, librilight:ROOT, speechcommands:ROOT, "
        "voxceleb1:ROOT, voxceleb1-verification:ROOT",
    )
    imported.add_argument("--seed", type=int, default=0, help="of the order that nested subsets follow")
    for command in (synth, imported):
        command.add_argument("--workers", type=int, help="processes (default: one a core)")
    verify = corpus.add_parser("verify", help="read every sample and compare the checksums")
    verify.set_defaults(function=commands.verify)
    verify.add_argument("dir", type=Path)

    plan = add("plan", commands.show_plan, "show every run of a grid, its cost and what is left out; changes nothing")
    _grid(plan)
    plan.add_argument("--json", metavar="FILE", help="write the plan as JSON (- for standard output)")
    plan.add_argument("--no-measure", action="store_true", help="do not measure the time of a step")

    pilot = add("pilot", commands.run_pilot, "tune learning rate and batch at two sizes of a grid, and write them down")
    _grid(pilot)
    _results(pilot)
    pilot.add_argument("-o", "--output", type=Path, help="where to (default: GRID with the suffix .tuned.yaml)")
    pilot.add_argument("--executor", choices=("local", "debug"), default="local")

    submit = add("submit", commands.submit_grid, "start what has no result yet; doing it twice does nothing twice")
    _grid(submit)
    _results(submit)
    submit.add_argument("--executor", choices=("local", "slurm", "debug"), help="instead of the grid's")
    submit.add_argument("--dry-run", action="store_true", help="say what would start, and start nothing")
    submit.add_argument(
        "--wait",
        action="store_true",
        help="stay and show the progress; Ctrl-C saves and stops, or leaves a sweep on SLURM to itself",
    )

    study = add(
        "study", commands.study, "answer one question: make the corpus, submit its grids, wait, say what to fit"
    )
    study.add_argument("name", metavar="NAME", nargs="?", help="objectives, shapes, data, ucurve, or a study's folder")
    study.add_argument("--list", action="store_true", help="every study with its question and its time")
    study.add_argument("--full", action="store_true", help="the grids for a cluster; nobody waits for SLURM")
    study.add_argument("--executor", choices=("local", "slurm", "debug"), help="instead of the grids'")
    _results(study)

    status = add("status", runcommands.status, "how a sweep stands; changes nothing")
    _sweep(status)
    status.add_argument("--json", metavar="FILE", help="write it as JSON (- for standard output)")
    status.add_argument("--watch", action="store_true", help="stay until nothing runs")
    status.add_argument("--all", action="store_true", help="a row a run, however many there are")

    logs = add("logs", runcommands.logs, "what a run's job printed")
    _run(logs)
    logs.add_argument("--follow", "-f", action="store_true", help="stay and print what comes, until the run has ended")
    logs.add_argument("--lines", "-n", type=int, help="the last so many lines only")

    why = add("why", runcommands.why, "why a run is as it is, the end of its log, and what to do")
    _run(why)

    cancel = add("cancel", runcommands.cancel, "save and stop what runs; submit again to go on")
    _sweep(cancel)
    _runs(cancel, "only these runs; they stay cancelled until `retry`")

    retry = add("retry", runcommands.retry, "try again what failed or died, from the last checkpoints")
    _sweep(retry)
    _runs(retry, "only these runs")
    retry.add_argument(
        "--class", dest="kinds", action="append", choices=CLASSES, default=[], help="only failures of this class"
    )

    pause = add("pause", runcommands.pause, "save and stop what runs, and keep the place of what waits")
    _sweep(pause)

    resume = add("resume", runcommands.resume, "let a paused sweep go on")
    _sweep(resume)

    doctor = add("doctor", runcommands.doctor, "check this machine, its SLURM and a folder, and say what to set")
    doctor.add_argument("grid", type=Path, metavar="GRID", nargs="?", help="also check what this grid asks for")
    doctor.add_argument("--results", type=Path, default=Path("results"), help="folder of sweeps (default: results)")
    doctor.add_argument("--job", action="store_true", help="send a job of a minute that looks at a compute node")
    doctor.add_argument("--bench", action="store_true", help="measure the time of the grid's steps where they will run")

    completion = add("completion", runcommands.completion, "print a script that completes commands in a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))

    targets = add("targets", commands.targets, "make what the runs of a grid predict, and say what it is like")
    _grid(targets)

    probe = add("probe", commands.probe, "judge finished encoders by what they are good for; twice does nothing twice")
    probe.add_argument("runs", metavar="SWEEP|RUN", nargs="+", help="all finished runs of a sweep, or single ones")
    probe.add_argument(
        "--task", dest="tasks", metavar="NAME", action="append", default=[], help=", ".join(PROBES) + "; repeatable"
    )
    probe.add_argument("--corpus", type=Path, metavar="DIR", help="labelled audio (default: the runs' own corpus)")
    probe.add_argument(
        "--baselines", action="store_true", help="also raw log-Mel features, and every encoder untrained"
    )
    probe.add_argument("--workers", type=int, help="encoders at a time (default: one a core, or one on a GPU)")
    defaults = ProbeSettings()
    for option, default, text in (
        ("--hours", defaults.hours, "labelled audio to learn from"),
        ("--test-hours", defaults.test_hours, "held-out audio to be judged on"),
        ("--epochs", defaults.epochs, "passes over it"),
        ("--seeds", defaults.seeds, "heads of each kind"),
        ("--cache-gb", defaults.cache_gb, "disk for an encoder's states"),
    ):
        probe.add_argument(option, default=str(default), metavar="X", help=f"{text} (default: {default:g})")

    export = add("export", commands.export_run, "write a finished run's encoder for other programs")
    export.add_argument("run", metavar="RUN", help="a run's folder, SWEEP/ID, or the beginning of an id")
    export.add_argument("--to", choices=FORMATS, required=True)
    export.add_argument("-o", "--output", type=Path, help="where to (default: ID.torchaudio.pt or ID.safetensors)")

    collect = add("collect", commands.collect, "write all records of a sweep as one table")
    _sweep(collect)
    collect.add_argument(
        "-o", "--output", type=Path, help=".csv, .jsonl or .parquet (default: runs.csv in the sweep's folder)"
    )
    return parser


def _grid(command: argparse.ArgumentParser) -> None:
    command.add_argument("grid", type=Path, metavar="GRID", help="a grid.yaml")


def _results(command: argparse.ArgumentParser) -> None:
    command.add_argument("--results", type=Path, default=Path("results"), help="folder of sweeps (default: results)")


def _sweep(command: argparse.ArgumentParser) -> None:
    command.add_argument("sweep", metavar="SWEEP", help="a sweep's name under results/, or its folder")


def _run(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "run", nargs="+", metavar="[SWEEP] RUN", help="a run's id or its beginning, in a sweep or in any under results/"
    )


def _runs(command: argparse.ArgumentParser, text: str) -> None:
    command.add_argument("--run", dest="runs", metavar="RUN", action="append", default=[], help=text)


if __name__ == "__main__":
    sys.exit(main())
