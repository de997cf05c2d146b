"""Completion of the command line in a shell, made from its parser by shtab."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

PREAMBLE = {
    "bash": """
_scaling_sweep_sweeps() {
    compgen -W "$(cd results 2>/dev/null && ls -d */sweep.json 2>/dev/null | cut -d/ -f1)" -- "$1"
    compgen -d -- "$1"
}
""",
    "zsh": """
_scaling_sweep_sweeps() {
    local -a sweeps
    sweeps=(results/*/sweep.json(N:h:t))
    compadd -a sweeps
    _files -/
}
""",
}
SWEEPS = {"bash": "_scaling_sweep_sweeps", "zsh": "_scaling_sweep_sweeps", "tcsh": "d"}
FILES = ("grid", "output", "json", "source")
FOLDERS = ("results", "dir")


def completion(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return a script that completes a parser's commands in a shell: `bash`, `zsh` or `tcsh`."""
    import shtab

    for action in _actions(parser):
        told: Any = None
        if action.dest == "sweep":
            told = SWEEPS
        elif action.dest in FILES:
            told = shtab.FILE
        elif action.dest in FOLDERS:
            told = shtab.DIRECTORY
        if told is not None:
            action.complete = told  # type: ignore[attr-defined]  # where shtab looks
    return shtab.complete(parser, shell=shell, preamble=PREAMBLE)  # type: ignore[arg-type]  # by shell


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the arguments of a parser and of its commands."""
    for action in parser._actions:  # argparse offers no other way to its arguments
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
