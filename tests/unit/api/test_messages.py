"""Requests and replies as values."""

from __future__ import annotations

import attrs
import pytest

from ccactivity.api.messages import CONTACT_DATA, Reply, Request


@pytest.mark.parametrize(
    ("query", "target"), [("", "/v3/activities"), ("limit=5&state=x", "/v3/activities?limit=5&state=x")]
)
def test_target(query: str, target: str) -> None:
    """The target of a request is its path, and its query if there is one."""
    assert target == Request("list", "/v3/activities", query).target


@pytest.mark.parametrize(
    ("request_", "idempotent"),
    [
        (Request("get", "/x"), True),
        (Request("post", "/x", method="POST"), False),
        (Request("post", "/x", method="POST", idempotent=True), True),
        (Request("get", "/x", idempotent=False), False),
    ],
)
def test_idempotent(request_: Request, idempotent: bool) -> None:
    """A GET may be sent twice, nothing else may, unless it is said of the request."""
    assert idempotent is request_.idempotent


def test_headers() -> None:
    """Every request asks for JSON that no cache has kept; one with a body says that it is a form."""
    get, post = Request("get", "/x"), Request("token", "/x", method="POST", body=b"a=1")
    asked = {"Accept": "application/json", "Cache-Control": "no-cache"}

    assert asked == get.headers
    assert asked | {"Content-Type": "application/x-www-form-urlencoded"} == post.headers


def test_a_request_is_a_value() -> None:
    """Requests for the same are equal, and may be changed only into another one."""
    request = Request("get", "/x")

    assert request == Request("get", "/x", "", CONTACT_DATA, "GET", idempotent=True)
    assert Request("get", "/x", "a=1") == attrs.evolve(request, query="a=1")
    assert Request("get", "/x", idempotent=False) != request


def test_bodies_are_not_shown() -> None:
    """The repr of a request leaves its body out, which may hold secrets; so does that of a reply."""
    assert "words" not in repr(Request("token", "/x", method="POST", body=b"words"))
    assert "words" not in repr(Reply(200, body=b"words"))


@pytest.mark.parametrize(
    ("status", "succeeded"),
    [(100, False), (199, False), (200, True), (204, True), (299, True), (300, False), (500, False)],
)
def test_succeeded(status: int, succeeded: bool) -> None:
    """A reply succeeded if its status is a 2xx."""
    assert succeeded is Reply(status).succeeded
