"""`-v`: the library's log on stderr."""

from __future__ import annotations

import logging

from support.logins import Printed

from ccactivity.cli import main
from ccactivity.sandbox import Sandbox


def test_verbose_shows_the_log_without_secrets(vendor: Sandbox, capsys: Printed) -> None:
    """`-v` shows the library's log on stderr, and no token in it."""
    log = logging.getLogger("ccactivity")
    level, handlers = log.level, log.handlers[:]
    try:
        for _ in range(2):
            assert 0 == main(["list", "-v", "--json"])

        err = capsys.readouterr().err

        assert 2 == err.count("DEBUG GET /v3/activities: HTTP 200")
        assert vendor.token not in err
    finally:
        log.setLevel(level)
        log.handlers[:] = handlers
