"""The values that pass through the simulated vendor."""

from __future__ import annotations

import pytest

from ccactivity.sandbox import Reply, Request
from ccactivity.sandbox.messages import json_reply


def test_headers_are_found_by_lower_case_name() -> None:
    """However the caller wrote them."""
    request = Request(method="GET", target="/", headers={"X-Some-Name": "Value"})

    assert {"x-some-name": "Value"} == request.headers


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/v3/activities", "/v3/activities", ""),
        ("/v3/activities?limit=5&cursor=a%3D", "/v3/activities", "limit=5&cursor=a%3D"),
        ("/v3/a%2Fb?x?y#z", "/v3/a%2Fb", "x?y"),
        ("//v3/activities", "//v3/activities", ""),
        ("*", "*", ""),
    ],
)
def test_a_target_is_split_and_not_decoded(target: str, path: str, query: str) -> None:
    """Path and query stay percent-encoded, as they were sent."""
    request = Request(method="GET", target=target)

    assert (path, query) == (request.path, request.query)


def test_no_representation_shows_headers_or_bodies() -> None:
    """They hold tokens."""
    request = Request(method="POST", target="/", headers={"Authorization": "canary-secret-h"}, body=b"canary-secret-b")
    reply = Reply(status=200, body=b"canary-secret-r")

    assert "canary" not in repr(request) + repr(reply)


def test_further_headers_replace_none() -> None:
    """A reply's own headers win."""
    reply = json_reply(200, {"a": [1, 2]}, {"Date": "then"}).with_headers({"Date": "now", "Allow": "GET"})

    assert ({"Date": "then", "Allow": "GET"}, b'{"a":[1,2]}') == (reply.headers, reply.body)
