"""From errors to exit codes, and to one line on stderr."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Final

from ccactivity import (
    CCActivityError,
    ImportRefusedError,
    JournalError,
    LoginFailedError,
    NotFoundError,
    ReauthorizationRequiredError,
    ResponseError,
    TokenError,
    TransportError,
    WatchTimeoutError,
)
from ccactivity._text import escape

__all__ = [
    "EXPECTED_ERRORS",
    "ExitCode",
    "UsageError",
    "describe_error",
    "exit_code",
    "print_error",
    "read_problem",
    "usage_errors",
]

# The HTTP library's errors in a reason: their names say nothing to who has not seen the code.
_CLASS_NAME: Final = re.compile(r"\b[A-Z]\w*Error(?:: |$)")


class ExitCode(IntEnum):
    """What a command returns. `main` has those of signals: 130 and 143, and 141 if who read the output went away."""

    OK = 0
    FAILED = 1
    """An activity did not complete, or not in time, or could not be followed."""
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
    if isinstance(error, ImportRefusedError | JournalError):
        return ExitCode.USAGE
    if isinstance(error, UsageError | TokenError) and not isinstance(error, LoginFailedError):
        return ExitCode.USAGE
    return ExitCode.FAILED if isinstance(error, WatchTimeoutError) else ExitCode.REFUSED


def describe_error(error: Exception, activity_id: str | None = None) -> str:
    """Say what went wrong, in one line and for people; `activity_id`: of which activity, if that stands beside it."""
    text = str(error).removeprefix(f"activity '{activity_id}' ")
    if isinstance(error, ResponseError | TransportError):
        request = f"{error.method} {error.path}: "
        text = text.removeprefix(request)
        if isinstance(error, NotFoundError):
            text = "not found (404)" + (f" ({error.hint})" if error.hint else "")
        elif isinstance(error, TransportError):
            text = _CLASS_NAME.sub("", text).replace(" ssl:default", "") or "the connection broke"
        text = text if activity_id is not None else request + text
    return text.replace("base_url", "the base URL")


def print_error(error: Exception, activity_id: str | None = None) -> ExitCode:
    """Print an error on stderr, in one line and escaped; return the exit code. `activity_id`: of which activity."""
    text = "; ".join([describe_error(error, activity_id), *getattr(error, "__notes__", ())])
    print("error: " + escape(text if activity_id is None else f"{activity_id}: {text}"), file=sys.stderr)
    return exit_code(error)
