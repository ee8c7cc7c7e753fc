"""From errors to exit codes, and to one line on stderr."""

from __future__ import annotations

import pytest
from support.logins import Printed, complaint

import ccactivity as cc
from ccactivity.cli.exit_codes import UsageError, describe_error, exit_code, print_error


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
    """An error and its notes are one line, escaped."""
    error = cc.TransportError("no\nanswer\x1b[2J", method="GET", path="/v3")
    error.add_note("try again")

    assert 3 == print_error(error)
    assert "error: GET /v3: no\\nanswer\\x1b[2J; try again" == complaint(capsys)

    assert 2 == print_error(UsageError("no ids"))
    assert "error: no ids" == complaint(capsys)


def refused(status: int, key: str | None, message: str | None, hint: str | None = None) -> cc.ResponseError:
    kind = cc.NotFoundError if status == 404 else cc.ResponseError
    return kind(status=status, method="GET", path="/v3", error_key=key, error_message=message, hint=hint)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (refused(401, "unauthorized", "Unauthorized", "it has expired"), "HTTP 401, Unauthorized (it has expired)"),
        (refused(403, "access_denied", "Forbidden."), "HTTP 403, access_denied: Forbidden."),
        (refused(503, None, "Service Unavailable"), "HTTP 503, Service Unavailable"),
        (refused(400, "bad", None), "HTTP 400, bad"),
        (refused(502, None, None), "HTTP 502"),
        (refused(404, "not_found", "Nothing here"), "not found (404)"),
        (
            cc.TransportError(
                "ClientConnectorError: Cannot connect to host a:1 ssl:default [x]", method="GET", path="/v3"
            ),
            "Cannot connect to host a:1 [x]",
        ),
        (
            cc.TransportError("CertError: [SSLError: (1, 'expired')]", method="GET", path="/v3"),
            "[(1, 'expired')]",
        ),
        (cc.TransportError("ConnectionResetError", method="GET", path="/v3"), "the connection broke"),
    ],
)
def test_an_error_in_words(error: Exception, words: str) -> None:
    """Each thing is said once, without names of classes, and without what was asked if an id is beside it."""
    assert f"GET /v3: {words}" == describe_error(error)
    assert words == describe_error(error, "an-id")


def test_the_error_of_an_activity_is_without_its_id() -> None:
    """What is said beside an id does not repeat it."""
    error = cc.ActivityExpiredError(cc.Activity(activity_id="an-id", state="processing"))

    assert "an-id" not in describe_error(error, "an-id")
    assert f"activity 'an-id' {describe_error(error, 'an-id')}" == describe_error(error)
