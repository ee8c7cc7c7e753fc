"""The library's log on stderr, for `-v`. The library logs no secret, so there is none to hide here."""

from __future__ import annotations

import logging
import sys

from .batch.render import safe

__all__ = ["show_logs"]


class _Stderr(logging.Handler):
    """Writes to what `sys.stderr` is at the time: the live view puts something in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        print(safe(self.format(record)), file=sys.stderr)


def show_logs() -> None:
    """Show everything that the library logs; once is enough."""
    log = logging.getLogger("ccactivity")
    log.setLevel(logging.DEBUG)
    if not any(isinstance(handler, _Stderr) for handler in log.handlers):
        handler = _Stderr()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        log.addHandler(handler)
