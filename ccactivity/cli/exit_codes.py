"""From errors to exit codes, and to one line on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

import ccactivity
from ccactivity import CCActivityError, LoginFailedError, ReauthorizationRequiredError, TokenError, WatchTimeoutError
from ccactivity._text import escape

__all__ = ["EXPECTED_ERRORS", "ExitCode", "UsageError", "exit_code", "print_error", "read_problem", "usage_errors"]


class ExitCode(IntEnum):
    """What a command returns. `main` has those of signals: 130 and 143, and 141 if who read the output went away."""

    OK = 0
    FAILED = 1
    """An activity did not complete."""
    USAGE = 2
    REFUSED = 3
    """The API refused, or could not be reached."""
    OUTPUT = 4
    """The output could not be written, to a full disk for one."""


class UsageError(Exception):
    """The command cannot be carried out as it was given."""


EXPECTED_ERRORS: Final = (UsageError, CCActivityError)
"""Errors that are reported in one line; any other is a bug, and shows its traceback."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn what the library calls a wrong argument into UsageError; hold nothing else in the block."""
    try:
        yield
    except (TypeError, ValueError) as error:
        problem = str(error)
    else:
        return
    raise UsageError(problem)


def read_problem(error: OSError | UnicodeDecodeError) -> str:
    """Say why a text file could not be read."""
    return "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


def exit_code(error: Exception) -> ExitCode:
    """The exit code for an error."""
    if isinstance(error, ReauthorizationRequiredError):
        return ExitCode.USAGE if error.reason == "not_logged_in" else ExitCode.REFUSED
    if isinstance(error, UsageError | TokenError) and not isinstance(error, LoginFailedError):
        return ExitCode.USAGE
    return ExitCode.FAILED if isinstance(error, WatchTimeoutError) else ExitCode.REFUSED


def print_error(error: Exception) -> ExitCode:
    """Print an error on stderr, in one line and escaped; return the exit code."""
    # The name under which it can be caught: some errors are of private subclasses.
    names = (kind.__name__ for kind in type(error).__mro__ if isinstance(error, CCActivityError))
    name = next((name for name in names if name in ccactivity.__all__), "error")
    text = "; ".join([str(error), *getattr(error, "__notes__", ())])
    print(f"{name}: {escape(text)}", file=sys.stderr)
    return exit_code(error)
