"""The requests that this library makes."""

from __future__ import annotations

import pytest

from ccactivity.api.endpoint import Endpoint
from ccactivity.api.messages import Request
from ccactivity.api.operations import get_activity, get_export, get_send_history, list_activities

API = Endpoint.parse("https://api.cc.email/v3")


@pytest.mark.parametrize(
    ("request_", "target"),
    [
        (list_activities(API, limit=500), "/v3/activities?limit=500"),
        (list_activities(API, limit=1, state="timed_out"), "/v3/activities?limit=1&state=timed_out"),
        (list_activities(API, limit=1, state="a&b=c d"), "/v3/activities?limit=1&state=a%26b%3Dc+d"),
        (get_activity(API, "04fe9a"), "/v3/activities/04fe9a"),
        (get_send_history(API, "04fe9a"), "/v3/emails/activities/04fe9a/send_history"),
        (get_activity(Endpoint.parse("http://localhost:8080"), "04fe9a"), "/activities/04fe9a"),
        (get_export(API, "/v3/contact_exports/1?a=b"), "/v3/contact_exports/1?a=b"),
        (get_export(Endpoint.parse("http://localhost:8080"), "http://localhost:8080/x"), "/x"),
    ],
)
def test_request(request_: Request, target: str) -> None:
    """The questions are GETs below the base URL, and may be repeated."""
    assert ("GET", target) == (request_.method, request_.target)
    assert request_.idempotent


@pytest.mark.parametrize(
    ("request_", "kind", "scope"),
    [
        (list_activities(API, limit=500), "list", "contact_data"),
        (get_activity(API, "04fe9a"), "get", "contact_data"),
        (get_send_history(API, "04fe9a"), "history", "campaign_data"),
        (get_export(API, "/v3/contact_exports/1"), "export", "contact_data"),
    ],
)
def test_kind_and_scope(request_: Request, kind: str, scope: str) -> None:
    """Each request says what it counts as, and which scope its token needs."""
    assert kind == request_.kind
    assert request_.scope is not None
    assert scope == request_.scope.name
