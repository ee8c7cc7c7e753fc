"""The command line: arguments in, text out. It uses nothing but the library's public API.

`app` has the options of the commands, and `no_extra` stands in for it without the extra `cli`. `commands`, `login`,
`sandbox_command` and `demo` carry the commands out; `session` and `login_store` find the token for them. `batch` shows
many activities while they are watched.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

__all__ = ["main"]

# As shells report the signals of Ctrl-C and of a closed pipe; `exit_codes` has the others.
_EXIT_INTERRUPTED: Final = 130
_EXIT_BROKEN_PIPE: Final = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, None for that of the process, and return its exit code."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if find_spec("cyclopts") is None or find_spec("rich") is None:
            from .no_extra import run  # noqa: PLC0415 -- only one of the two is wanted
        else:
            from .app import run  # noqa: PLC0415 -- only one of the two is wanted
        code = run(words)
        sys.stdout.flush()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except BrokenPipeError:
        # Python flushes stdout once more when it ends, and would complain then.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _EXIT_BROKEN_PIPE
    return code
