"""The library's log on stderr, for `-v`. The library logs no secret, so none has to be removed here."""

from __future__ import annotations

import logging
import sys

from ccactivity._text import escape

__all__ = ["show_logs"]


class _CurrentStderrHandler(logging.Handler):
    """Writes to what `sys.stderr` is at the time: the live view replaces it for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        print(escape(self.format(record)), file=sys.stderr)


def show_logs() -> None:
    """Show everything that the library logs; a second call changes nothing."""
    log = logging.getLogger("ccactivity")
    log.setLevel(logging.DEBUG)
    if not any(isinstance(handler, _CurrentStderrHandler) for handler in log.handlers):
        handler = _CurrentStderrHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
