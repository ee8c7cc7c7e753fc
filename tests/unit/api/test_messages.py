"""Requests and replies as values."""

from __future__ import annotations

import attrs
import pytest

from ccactivity.api.messages import CONTACT_DATA, Reply, Request


@pytest.mark.parametrize(
    ("target", "path"), [("/v3/activities", "/v3/activities"), ("/v3/activities?limit=5&state=x", "/v3/activities")]
)
def test_path(target: str, path: str) -> None:
    """The path of a request leaves out the query, which may hold more than a log should, and so does its text."""
    request = Request("list", target)

    assert path == request.path
    assert f"GET {path}" == str(request)


def test_nothing_is_idempotent_unless_it_is_said() -> None:
    """A request may be sent twice only where whoever made it says so."""
    assert not Request("post", "/x", method="POST").idempotent
    assert Request("get", "/x", idempotent=True).idempotent


def test_a_request_is_a_value() -> None:
    """Requests for the same are equal, and may be changed only into another one."""
    request = Request("get", "/x")

    assert request == Request("get", "/x", CONTACT_DATA, "GET", idempotent=False)
    assert Request("get", "/x?a=1") == attrs.evolve(request, target="/x?a=1")
    assert Request("get", "/x", idempotent=True) != request


def test_bodies_are_not_shown() -> None:
    """The repr of a request leaves its body out, which may hold secrets; so does that of a reply."""
    assert "words" not in repr(Request("token", "/x", method="POST", body=b"words"))
    assert "words" not in repr(Reply(200, body=b"words"))
