"""The library's log on stderr: its warnings as notes, with `-v` all of it. It logs no secret, so none is removed."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from ccactivity._text import escape

__all__ = ["log_on_stderr", "show_whole_log"]

_log: Final = logging.getLogger("ccactivity")


class _StderrHandler(logging.Handler):
    """Writes to what `sys.stderr` is at the time: the live view replaces it for a while.

    What it cannot write is lost: an error would reach whoever logs, and end their watch.
    """

    def emit(self, record: logging.LogRecord) -> None:
        if self.formatter is not None:
            line = escape(self.format(record))
        elif record.name == "ccactivity.loop":  # about a blocked event loop: of use to programmers only
            return
        else:
            line = f"{'note' if record.levelno < logging.ERROR else 'error'}: {escape(record.getMessage())}"
        if sys.stderr is not None:  # closed before the start; print would take stdout instead
            with suppress(OSError, ValueError):
                print(line, file=sys.stderr)


@contextmanager
def log_on_stderr() -> Iterator[None]:
    """Show the library's warnings while the block lasts."""
    handler, level = _StderrHandler(logging.WARNING), _log.level
    _log.addHandler(handler)
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(level)


def show_whole_log() -> None:
    """Show everything that the library logs, from now on to the end of `log_on_stderr`."""
    _log.setLevel(logging.DEBUG)
    for handler in _log.handlers:
        if isinstance(handler, _StderrHandler):
            handler.setLevel(logging.DEBUG)
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
