"""The command line of `scaling-sweep`; what its commands do is in `sweeps.commands`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling.command import add_common, run_command
from sweeps import commands
from sweeps.commands import PROGRAM

TEMPLATES = ("quickstart", "own-trainer", "study", "study-small")
FORMATS = ("torchaudio", "safetensors")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 the work failed, 2 the input is wrong."""
    return run_command(_parser(), argv)


def _parser() -> argparse.ArgumentParser:
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
        help="where to (default: here); its other files go beside it",
    )

    corpus = verbs.add_parser("corpus", help="make a corpus").add_subparsers(metavar="KIND", required=True)
    synth = corpus.add_parser("synth", help="synthetic speech, many voices (needs the extra `synth`)")
    synth.set_defaults(function=commands.synth)
    synth.add_argument("dir", type=Path)
    synth.add_argument("--hours", required=True, help="hours of training audio; held-out clips come on top")
    synth.add_argument("--seed", type=int, default=0)
    imported = corpus.add_parser("import", help="wav and flac files, LibriSpeech or Libri-Light")
    imported.set_defaults(function=commands.import_corpus)
    imported.add_argument("dir", type=Path)
    imported.add_argument(
        "--from",
        dest="source",
        required=True,
        help="a folder (a subfolder a speaker), librispeech:ROOT, librilight:ROOT",
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
    submit.add_argument("--wait", action="store_true", help="stay and show the progress; Ctrl-C saves and stops")

    status = add("status", commands.status, "how a sweep stands; changes nothing")
    _sweep(status)
    status.add_argument("--json", metavar="FILE", help="write it as JSON (- for standard output)")
    status.add_argument("--watch", action="store_true", help="stay until nothing runs")

    cancel = add("cancel", commands.cancel, "save and stop what runs; submit again to go on")
    _sweep(cancel)

    targets = add("targets", commands.targets, "make what the runs of a grid predict, and say what it is like")
    _grid(targets)

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


if __name__ == "__main__":
    sys.exit(main())
