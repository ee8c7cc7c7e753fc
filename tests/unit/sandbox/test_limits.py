"""The simulated vendor's door: limits, tokens, privileges, and the violations it counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.sandbox import Reply, Request, Vendor, Violations

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MIDNIGHT = 43_200.0
GOOD = {"Accept": "application/json", "Cache-Control": "no-cache", "User-Agent": "tests/1.0"}


def ask(
    vendor: Vendor,
    now: float = 0.0,
    *,
    target: str = "/v3/activities",
    token: str | None = None,
    method: str = "GET",
    transit: float = 0.0,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request, with the vendor's newest token unless another is given."""
    authorization = f"Bearer {vendor.token if token is None else token}"
    request = Request(method=method, target=target, headers={**GOOD, "Authorization": authorization, **(headers or {})})
    return vendor.handle(request, now, transit=transit)


def key(reply: Reply) -> str:
    """Return the error key of a bare error object; of anything else nothing."""
    body = json.loads(reply.body)
    return body.get("error_key", "") if isinstance(body, dict) else ""


def counted(vendor: Vendor) -> dict[str, int]:
    """Return the violations that are not zero."""
    names = [name for name in Violations.__annotations__ if getattr(vendor.violations, name)]
    return {name: getattr(vendor.violations, name) for name in names}


# --- limits -------------------------------------------------------------------------------------------------


def test_the_fifth_request_within_a_second_is_throttled() -> None:
    """The window slides; a refused request does not lengthen it."""
    vendor = Vendor(start=NOON)
    statuses = [ask(vendor, now).status for now in (0.0, 0.2, 0.4, 0.6, 0.9, 1.0, 1.1, 1.2)]

    assert [200, 200, 200, 200, 429, 200, 429, 200] == statuses
    assert {"over_per_second": 2} == counted(vendor)


def test_throttled_has_its_documented_body() -> None:
    """A bare object, and no header that tells how long to wait."""
    reply = ask(Vendor(start=NOON, per_second=0))

    assert b'{"error_key":"throttled","error_message":"Too Many Requests"}' == reply.body
    assert {"Date", "x-amzn-RequestId"} == set(reply.headers)


def test_every_request_counts_whatever_its_answer() -> None:
    """A 401, a 404 and a wrong path are requests too."""
    vendor = Vendor(start=NOON)
    ask(vendor, token="x")
    ask(vendor, target="/v3/activities/x")
    ask(vendor, target="/v3/nowhere")
    ask(vendor, method="POST", target="/v3/activities/contact_delete")

    assert "throttled" == key(ask(vendor))
    assert 4 == vendor.limits.spent(0.0)


@given(st.lists(st.floats(0.0, 0.6), max_size=60), st.integers(1, 5))
def test_no_second_admits_more_than_the_limit(pauses: list[float], limit: int) -> None:
    """Whatever the arrivals, and exactly those beyond the limit are refused and counted."""
    vendor, now = Vendor(start=NOON, per_second=limit), 0.0
    admitted: list[float] = []
    for pause in pauses:
        now += pause
        recent = sum(now - arrival < 1.0 for arrival in admitted)
        refused = ask(vendor, now).status == 429
        assert refused == (recent >= limit)
        admitted += [] if refused else [now]

    assert len(pauses) - len(admitted) == vendor.violations.over_per_second


def test_the_quota_is_that_of_a_utc_day() -> None:
    """What the day cannot give is refused until 00:00 UTC; the next day begins anew."""
    vendor = Vendor(start=NOON, per_day=10, spent_today=8)
    answers = [key(ask(vendor, now)) for now in (0.0, 1.0, 2.0, MIDNIGHT - 0.001, MIDNIGHT)]

    assert ["", "", "quota_exceeded", "quota_exceeded", ""] == answers
    assert (10, 1) == (vendor.limits.spent(0.0), vendor.limits.spent(MIDNIGHT))
    assert {"over_per_day": 1, "after_quota_exceeded": 1} == counted(vendor)


def test_requests_under_way_cannot_know_of_the_refusal() -> None:
    """Only what is sent after the answer has arrived is stubborn."""
    vendor = Vendor(start=NOON, per_day=0)
    for now in (0.0, 0.05, 0.1, 0.11):
        ask(vendor, now, transit=0.05)

    assert {"over_per_day": 3, "after_quota_exceeded": 1} == counted(vendor)


def test_limits_can_be_turned_off() -> None:
    """For tests that are about something else."""
    vendor = Vendor(start=NOON, per_second=None, per_day=None, spent_today=10**6)

    assert {200} == {ask(vendor).status for _ in range(50)}
    assert 0 == vendor.violations.total


@pytest.mark.parametrize("zone", [-10, 0, 10])
def test_the_zone_of_the_start_does_not_matter(zone: int) -> None:
    """A day is UTC's."""
    start = NOON.astimezone(timezone(timedelta(hours=zone)))
    vendor = Vendor(start=start, per_day=1, spent_today=1)

    assert 429 == ask(vendor, MIDNIGHT - 1).status
    assert 200 == ask(vendor, MIDNIGHT).status


# --- tokens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer x", "Basic {}", "{}"])
def test_a_request_without_a_token_is_unauthorized(authorization: str) -> None:
    """The 401 has the observed body of 59 bytes and headers."""
    vendor = Vendor(start=NOON)
    reply = ask(vendor, headers={"Authorization": authorization.format(vendor.token)})

    assert (401, "unauthorized", 59) == (reply.status, key(reply), len(reply.body))
    assert "Bearer realm=api.cc.email" == reply.headers["WWW-Authenticate"]
    assert {"bad_token": 1} == counted(vendor)


def test_a_token_runs_out() -> None:
    """Nobody can know before the first refusal, so only a second try counts as a violation."""
    vendor = Vendor(start=NOON, token_life=60.0)
    statuses = [ask(vendor, now).status for now in (59.9, 60.0)]
    forgiven = vendor.violations.total
    ask(vendor, 61.0)

    assert ([200, 401], 0) == (statuses, forgiven)
    assert {"bad_token": 1} == counted(vendor)


def test_requests_under_way_cannot_know_that_their_token_ran_out() -> None:
    """Only what is sent after the 401 has arrived is stubborn."""
    vendor = Vendor(start=NOON, token_life=60.0)
    for now in (60.0, 60.1, 60.2, 60.3):
        ask(vendor, now, transit=0.1)

    assert {"bad_token": 1} == counted(vendor)


def test_a_new_token_leaves_the_old_one_alive() -> None:
    """Until that is expired; the newest is the one that `token` names."""
    vendor = Vendor(start=NOON)
    old, new = vendor.token, vendor.issue_token(1.0)

    assert new == vendor.token != old
    assert [200, 200] == [ask(vendor, 1.0, token=token).status for token in (old, new)]

    vendor.tokens.expire(2.0)
    fresh = vendor.issue_token(2.0)

    assert [401, 401, 200] == [ask(vendor, 3.0, token=token).status for token in (old, new, fresh)]


def test_tokens_are_easy_to_find_where_they_should_not_be() -> None:
    """They are long, and no representation of a request shows them."""
    vendor = Vendor(start=NOON)
    request = Request(method="GET", target="/v3/activities", headers={"Authorization": vendor.token})

    assert len(vendor.token) > 64
    assert vendor.token not in repr(request)


# --- scopes and privileges ----------------------------------------------------------------------------------

HISTORY = "/v3/emails/activities/00000000-0000-4000-8000-000000000000/send_history"


@pytest.mark.parametrize(
    ("lost", "activities", "history"),
    [
        ("contacts:write", 403, 200),
        ("contact_data", 403, 200),
        ("campaign:read", 200, 403),
        ("campaign_data", 200, 403),
    ],
)
def test_each_endpoint_needs_its_scope_and_privilege(lost: str, activities: int, history: int) -> None:
    """Reading the status of activities takes the privilege to write contacts."""
    vendor = Vendor(start=NOON)
    vendor.privileges.discard(lost)
    vendor.scopes.discard(lost)
    replies = [ask(vendor), ask(vendor, target=HISTORY)]

    assert [activities, history] == [reply.status for reply in replies]
    assert "access_denied" in {key(reply) for reply in replies if reply.status == 403}
    assert 0 == vendor.violations.total


# --- paths and manners --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/", 403),
        ("GET", "/v4/activities", 403),
        ("GET", "//v3/activities", 403),
        ("OPTIONS", "*", 403),
        ("GET", "/v3/", 404),
        ("GET", "/v3/activity", 404),
        ("GET", "/v3/activities/a/b", 404),
        ("GET", "/v3/emails/activities//send_history", 404),
        ("POST", "/v3/activities/contact_imports", 405),
        ("POST", "/v3/contact_delete", 404),
        ("POST", "contact_delete", 403),
        ("DELETE", "/v3/activities", 405),
        ("PUT", "/v3/activities/x", 405),
    ],
)
def test_what_the_api_does_not_have_is_counted(method: str, target: str, status: int) -> None:
    """Outside /v3 the gateway answers, inside it the API."""
    vendor = Vendor(start=NOON)

    assert status == ask(vendor, target=target, method=method).status
    assert {"unknown_path": 1} == counted(vendor)


@pytest.mark.parametrize(
    "header",
    [
        {"Accept": "text/html"},
        {"Accept": "*/*"},
        {"User-Agent": ""},
        {"User-Agent": "Python/3.11 aiohttp/3.14.5"},
        {"User-Agent": "python-requests/2.32"},
    ],
)
def test_missing_manners_are_counted_and_forgiven(header: dict[str, str]) -> None:
    """The documented samples send these headers; nothing says that they are required."""
    vendor = Vendor(start=NOON)

    assert 200 == ask(vendor, headers=header).status
    assert {"missing_headers": 1} == counted(vendor)


def test_a_get_without_cache_control_is_counted() -> None:
    """A cached status would be worse than none."""
    vendor = Vendor(start=NOON)
    headers = {"Authorization": f"Bearer {vendor.token}", "Accept": "application/json", "User-Agent": "me/1"}
    vendor.handle(Request(method="GET", target="/v3/activities", headers=headers), 0.0)

    assert {"missing_headers": 1} == counted(vendor)


def test_a_token_in_the_address_is_counted() -> None:
    """Addresses are logged everywhere."""
    vendor = Vendor(start=NOON)
    for query in (f"x={vendor.token}", "access_token=x", "x=1"):
        ask(vendor, target=f"/v3/activities?{query}")

    assert {"token_in_url": 2} == counted(vendor)


# --- the record ---------------------------------------------------------------------------------------------


def test_replies_are_dated_by_the_vendors_clock() -> None:
    """Whatever the real time is; and each has an id."""
    vendor = Vendor(start=NOON)
    first, second = ask(vendor, 0.0), ask(vendor, 90.0, transit=0.5)

    assert "Thu, 01 Jan 2026 12:00:00 GMT" == first.headers["Date"]
    assert "Thu, 01 Jan 2026 12:01:30 GMT" == second.headers["Date"]
    assert first.headers["x-amzn-RequestId"] != second.headers["x-amzn-RequestId"]


def test_every_request_is_on_record() -> None:
    """In order, by kind, with its answer."""
    vendor = Vendor(start=NOON, per_second=None)
    targets = ["/v3/activities", "/v3/activities/x", HISTORY, "/v3/contact_exports/x", "/v3/x"]
    for number, target in enumerate(targets):
        ask(vendor, float(number), target=target)
    ask(vendor, 5.0, target="/v3/activities/contact_exports", method="POST")

    assert [(line.time, line.method, line.target, line.status, line.kind) for line in vendor.log] == [
        (0.0, "GET", "/v3/activities", 200, "list"),
        (1.0, "GET", "/v3/activities/x", 404, "get"),
        (2.0, "GET", HISTORY, 200, "history"),
        (3.0, "GET", "/v3/contact_exports/x", 404, "export"),
        (4.0, "GET", "/v3/x", 404, "other"),
        (5.0, "POST", "/v3/activities/contact_exports", 400, "post"),
    ]
    assert {"list": 1, "get": 1, "history": 1, "export": 1, "other": 1, "post": 1} == vendor.requests


def test_violations_add_up() -> None:
    """`total` is what a test asks for first."""
    counts: dict[str, Any] = dict.fromkeys(Violations.__annotations__, 1)

    assert len(counts) == 10 == Violations(**counts).total
