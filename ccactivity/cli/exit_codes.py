"""From errors to exit codes and one line on stderr; nothing that an error says is trusted to be printable.

0 all well; 1 an activity did not complete; 2 wrong usage; 3 the API refused, or could not be reached; 130 interrupted;
141 whoever read the output went away.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import ccactivity
from ccactivity import (
    CCActivityError,
    LoginFailedError,
    ReauthorizationRequiredError,
    TokenError,
    WatchTimeoutError,
)

from .batch.render import safe

__all__ = ["FAILED", "OK", "REFUSED", "USAGE", "Expected", "UsageError", "arguments", "code_of", "complain"]

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
REFUSED: Final = 3


class UsageError(Exception):
    """The command cannot be carried out as it was given."""


@contextmanager
def arguments() -> Iterator[None]:
    """Take what the library calls a wrong argument for wrong usage; hold nothing else in the block."""
    try:
        yield
    except (TypeError, ValueError) as error:
        problem = str(error)
    else:
        return
    raise UsageError(problem)


Expected: Final = (UsageError, CCActivityError)
"""What is said in one line; anything else is a bug, and shows its traceback."""


def code_of(error: Exception) -> int:
    """The exit code for an error."""
    if isinstance(error, LoginFailedError) or (
        isinstance(error, ReauthorizationRequiredError) and error.reason != "not_logged_in"
    ):
        return REFUSED
    if isinstance(error, UsageError | TokenError):
        return USAGE
    return FAILED if isinstance(error, WatchTimeoutError) else REFUSED


def complain(error: Exception) -> int:
    """Say on stderr what went wrong, in one line, and return the exit code."""
    # By the name under which it can be caught: a few have names of the library's own inside.
    names = (kind.__name__ for kind in type(error).__mro__ if isinstance(error, CCActivityError))
    name = next((name for name in names if name in ccactivity.__all__), "error")
    notes: Sequence[str] = getattr(error, "__notes__", ())
    print(f"{name}: {safe('; '.join([str(error), *notes]))}", file=sys.stderr)
    return code_of(error)
