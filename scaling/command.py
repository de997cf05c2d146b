"""What both commands share: errors become messages and exit codes, never tracebacks."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from scaling.errors import InputError, WorkError

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


def run_command(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    """Parse the arguments, call `args.function(args)` and return the exit code.

    0: done. 1: the work failed on good input. 2: the input or the command line is wrong. 130: interrupted.
    """
    args = parser.parse_args(argv)
    try:
        return args.function(args)
    except InputError as error:
        return _tell(args, error, WRONG)
    except WorkError as error:
        return _tell(args, error, FAILED)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output left (| head)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE


def _tell(args: argparse.Namespace, error: Exception, code: int) -> int:
    if args.debug:
        raise error
    print(f"{'error' if code == WRONG else 'failed'}: {error}", file=sys.stderr)
    return code
