"""The command line: arguments in, text out. It uses nothing but the library's public API.

`app` has the options of the commands, and `no_extra` stands in for it without the extra `cli`. `commands`, `login`,
`sandbox_command` and `demo` carry the commands out; `session` and `login_store` find the token for them. `batch` shows
many activities while they are watched.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Final

__all__ = ["main"]

# As shells report a process that a signal has ended: 128 and its number. `exit_codes` has the other codes.
_EXIT_SIGNAL: Final = 128
_EXIT_BROKEN_PIPE: Final = 141
# What writing to a pipe, a file or a terminal fails with.
_OUTPUT_ERRORS: Final = frozenset({errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, None for that of the process, and return its exit code.

    SIGTERM ends it as Ctrl-C does: the command is cancelled, restores the terminal and says how things stand.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    if not sys.stdout:  # closed before the start, as by >&- in a shell
        return _report_lost_output("stdout is closed")
    ended_by = signal.SIGINT

    def terminate(_: int, frame: FrameType | None) -> None:
        nonlocal ended_by
        ended_by = signal.SIGTERM
        interrupt = signal.getsignal(signal.SIGINT)
        if not callable(interrupt):  # what a shell script starts in the background ignores Ctrl-C
            raise KeyboardInterrupt
        interrupt(signal.SIGINT, frame)  # while a command runs it is asyncio's, which cancels that

    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        with suppress(ValueError):  # only the main thread has signals
            signal.signal(signal.SIGTERM, terminate)
    try:
        code = _run(words)
        sys.stdout.flush()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich, which writes the help, ends so
            return _EXIT_BROKEN_PIPE
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return _EXIT_SIGNAL + ended_by
    except OSError as error:
        if error.errno not in _OUTPUT_ERRORS:
            raise
        return _lose_output(error)
    finally:
        if signal.getsignal(signal.SIGTERM) is terminate:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    return code


def _lose_output(error: OSError) -> int:
    # Python flushes stdout once more when it ends, and would complain then.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return _EXIT_BROKEN_PIPE
    return _report_lost_output(error.strerror)


def _report_lost_output(problem: str | None) -> int:
    from .exit_codes import ExitCode  # noqa: PLC0415 -- as in `_run`

    with suppress(OSError):  # stderr may be on the same full disk
        print(f"error: cannot write the output: {problem}", file=sys.stderr)
    return ExitCode.OUTPUT


def _run(words: Sequence[str]) -> int:
    # All that takes time to import is imported in here, where Ctrl-C shows no traceback.
    from importlib.util import find_spec  # noqa: PLC0415 -- as said above

    if find_spec("cyclopts") is None or find_spec("rich") is None:
        from .no_extra import run  # noqa: PLC0415 -- only one of the two is wanted
    else:
        from .app import run  # noqa: PLC0415 -- only one of the two is wanted
    return run(words)
