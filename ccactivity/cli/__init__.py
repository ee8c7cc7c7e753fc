"""The command line: arguments in, text out; it asks and decides nothing that the public API does not.

`app` has the commands and `bare` stands in for it without the extra; `commands`, `watching`, `login`, `serving` and
`demo` carry them out. `connect` finds the token, which may be that of a login in a `store`. What a batch looks like is
worked out by `board` and `frame`, which are told the time and draw nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

__all__ = ["main"]

_INTERRUPTED: Final = 130
_NOBODY_READS: Final = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; `problems` has the table.

    Ctrl-C is 130, and 141 that whoever read the output went away (`| head`), as with other programs: both quietly.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        code = _run(words)
        sys.stdout.flush()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # Python writes what is left once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS
    return code


def _run(words: list[str]) -> int:
    if find_spec("cyclopts") is None or find_spec("rich") is None:
        from .no_extra import run  # noqa: PLC0415 -- only one of the two is wanted
    else:
        from .app import run  # noqa: PLC0415 -- only one of the two is wanted
    return run(words)
