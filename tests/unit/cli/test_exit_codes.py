"""From errors to exit codes, and to one line on stderr."""

from __future__ import annotations

import pytest
from support.logins import Printed, complaint

import ccactivity as cc
from ccactivity.cli.exit_codes import UsageError, exit_code, print_error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (cc.WatchTimeoutError("an-id", None, 60.0), 1),
        (UsageError("wrong"), 2),
        (cc.TokenError("no token"), 2),
        (cc.TokenStoreError("open to others"), 2),
        (cc.ReauthorizationRequiredError("nobody", reason="not_logged_in"), 2),
        (cc.ReauthorizationRequiredError("over", reason="revoked"), 3),
        (cc.LoginFailedError("declined", reason="denied"), 3),
        (cc.TransportError("unreachable", method="GET", path="/v3/activities"), 3),
        (cc.SessionClosedError("closed"), 3),
    ],
    ids=lambda value: getattr(value, "reason", "") or type(value).__name__,
)
def test_exit_code(error: Exception, code: int) -> None:
    """1 is for what did not end in time, 2 for what the user can set right, 3 for what was refused or out of reach."""
    assert code == exit_code(error)


def test_an_error_is_one_line(capsys: Printed) -> None:
    """An error and its notes are one line, escaped, under the public name of the error."""

    class PrivateError(cc.TransportError):
        pass

    error = PrivateError("no\nanswer\x1b[2J", method="GET", path="/v3")
    error.add_note("try again")

    assert 3 == print_error(error)
    assert "TransportError: GET /v3: no\\nanswer\\x1b[2J; try again" == complaint(capsys)

    assert 2 == print_error(UsageError("no ids"))
    assert "error: no ids" == complaint(capsys)
