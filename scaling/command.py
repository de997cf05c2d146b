"""What both commands share: errors become messages and exit codes, never tracebacks."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scaling import __version__
from scaling.errors import InputError, WorkError
from scaling.files import plain, write_json

PLACE = "the file system"
DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


def run_command(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse the arguments, call `args.function(args)` and return the exit code.

    0: done. 1: the work failed on good input. 2: the input or the command line is wrong. 130: interrupted.
    """
    args = parser.parse_args(argv)
    try:
        return args.function(args)
    except BrokenPipeError:  # the reader of our output left (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except InputError as error:
        return _tell(args, error, WRONG)
    except WorkError as error:
        return _tell(args, error, FAILED)
    except OSError as error:  # a folder that cannot be written, a disk that is full
        return _tell(args, InputError(error.strerror or str(error), where=error.filename or PLACE), WRONG, cause=error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what both commands have."""
    parser.add_argument("--version", action="version", version=f"{parser.prog} {__version__}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def write_output(target: str | None, value: Any) -> None:
    """Write a value as JSON to a file, to standard output for `-`, nowhere for None."""
    if target == "-":
        print(json.dumps(plain(value), indent=1))
    elif target is not None:
        write_json(Path(target), value)


def _tell(args: argparse.Namespace, error: Exception, code: int, *, cause: Exception | None = None) -> int:
    if args.debug:
        raise cause or error
    print(f"{'error' if code == WRONG else 'failed'}: {error}", file=sys.stderr)
    return code
