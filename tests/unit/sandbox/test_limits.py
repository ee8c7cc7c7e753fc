"""Request limits, access tokens and headers: what is refused, and what is counted as a violation."""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.sandbox import Request, Vendor, Violations

from .helpers import START, ask, counted, error_key

MIDNIGHT = 43_200.0


def test_the_fifth_request_within_a_second_is_throttled() -> None:
    """The window slides; a refused request does not lengthen it."""
    vendor = Vendor(start=START)
    statuses = [ask(vendor, now=now).status for now in (0.0, 0.2, 0.4, 0.6, 0.9, 1.0, 1.1, 1.2)]

    assert [200, 200, 200, 200, 429, 200, 429, 200] == statuses
    assert {"over_per_second": 2} == counted(vendor)


def test_throttled_has_its_documented_body() -> None:
    """A bare object, and no header that tells how long to wait."""
    reply = ask(Vendor(start=START, per_second=0))

    assert b'{"error_key":"throttled","error_message":"Too Many Requests"}' == reply.body
    assert {"Date", "x-amzn-RequestId"} == set(reply.headers)


def test_every_request_counts_whatever_its_answer() -> None:
    """A 401, a 404 and a wrong path are requests too."""
    vendor = Vendor(start=START)
    ask(vendor, token="x")
    ask(vendor, target="/v3/activities/x")
    ask(vendor, target="/v3/nowhere")
    ask(vendor, method="POST", target="/v3/activities/contact_delete")

    assert "throttled" == error_key(ask(vendor))
    assert 4 == vendor.limits.spent(0.0)


@given(st.lists(st.floats(0.0, 0.6), max_size=60), st.integers(1, 5))
def test_no_second_admits_more_than_the_limit(pauses: list[float], limit: int) -> None:
    """Whatever the arrivals, and exactly those beyond the limit are refused and counted."""
    vendor, now = Vendor(start=START, per_second=limit), 0.0
    admitted: list[float] = []
    for pause in pauses:
        now += pause
        recent = sum(now - arrival < 1.0 for arrival in admitted)
        refused = ask(vendor, now=now).status == 429
        assert refused == (recent >= limit)
        admitted += [] if refused else [now]

    assert len(pauses) - len(admitted) == vendor.violations.over_per_second


def test_the_quota_is_that_of_a_utc_day() -> None:
    """What the day cannot give is refused until 00:00 UTC; the next day begins anew."""
    vendor = Vendor(start=START, per_day=10, spent_today=8)
    answers = [error_key(ask(vendor, now=now)) for now in (0.0, 1.0, 2.0, MIDNIGHT - 0.001, MIDNIGHT)]

    assert ["", "", "quota_exceeded", "quota_exceeded", ""] == answers
    assert (10, 1) == (vendor.limits.spent(0.0), vendor.limits.spent(MIDNIGHT))
    assert {"over_per_day": 1, "after_quota_exceeded": 1} == counted(vendor)


def test_requests_under_way_cannot_know_of_the_refusal() -> None:
    """Only what is sent after the answer has arrived is stubborn."""
    vendor = Vendor(start=START, per_day=0)
    for now in (0.0, 0.05, 0.1, 0.11):
        ask(vendor, now=now, transit=0.05)

    assert {"over_per_day": 3, "after_quota_exceeded": 1} == counted(vendor)


def test_limits_can_be_turned_off() -> None:
    """For tests that are about something else."""
    vendor = Vendor(start=START, per_second=None, per_day=None, spent_today=10**6)

    assert {200} == {ask(vendor).status for _ in range(50)}
    assert 0 == vendor.violations.total


@pytest.mark.parametrize("zone", [-10, 0, 10])
def test_the_zone_of_the_start_does_not_matter(zone: int) -> None:
    """A day is UTC's."""
    start = START.astimezone(timezone(timedelta(hours=zone)))
    vendor = Vendor(start=start, per_day=1, spent_today=1)

    assert 429 == ask(vendor, now=MIDNIGHT - 1).status
    assert 200 == ask(vendor, now=MIDNIGHT).status


# --- tokens -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer x", "Basic {}", "{}"])
def test_a_request_without_a_token_is_unauthorized(authorization: str) -> None:
    """The 401 has the observed body of 59 bytes and headers."""
    vendor = Vendor(start=START)
    reply = ask(vendor, headers={"Authorization": authorization.format(vendor.token)})

    assert (401, "unauthorized", 59) == (reply.status, error_key(reply), len(reply.body))
    assert "Bearer realm=api.cc.email" == reply.headers["WWW-Authenticate"]
    assert {"bad_token": 1} == counted(vendor)


def test_a_token_runs_out() -> None:
    """Nobody can know before the first refusal, so only a second try counts as a violation."""
    vendor = Vendor(start=START, token_life=60.0)
    statuses = [ask(vendor, now=now).status for now in (59.9, 60.0)]
    forgiven = vendor.violations.total
    ask(vendor, now=61.0)

    assert ([200, 401], 0) == (statuses, forgiven)
    assert {"bad_token": 1} == counted(vendor)


def test_requests_under_way_cannot_know_that_their_token_ran_out() -> None:
    """Only what is sent after the 401 has arrived is stubborn."""
    vendor = Vendor(start=START, token_life=60.0)
    for now in (60.0, 60.1, 60.2, 60.3):
        ask(vendor, now=now, transit=0.1)

    assert {"bad_token": 1} == counted(vendor)


def test_a_new_token_leaves_the_old_one_alive() -> None:
    """Until that is expired; the newest is the one that `token` names."""
    vendor = Vendor(start=START)
    old, new = vendor.token, vendor.issue_token(1.0)

    assert new == vendor.token != old
    assert [200, 200] == [ask(vendor, now=1.0, token=token).status for token in (old, new)]

    vendor.tokens.expire(2.0)
    fresh = vendor.issue_token(2.0)

    assert [401, 401, 200] == [ask(vendor, now=3.0, token=token).status for token in (old, new, fresh)]


def test_tokens_are_easy_to_find_where_they_should_not_be() -> None:
    """They are long, and no representation of a request shows them."""
    vendor = Vendor(start=START)
    request = Request(method="GET", target="/v3/activities", headers={"Authorization": vendor.token})

    assert len(vendor.token) > 64
    assert vendor.token not in repr(request)


# --- headers ------------------------------------------------------------------------------------------------


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
def test_missing_headers_are_counted_and_forgiven(header: dict[str, str]) -> None:
    """The documented samples send these headers; nothing says that they are required."""
    vendor = Vendor(start=START)

    assert 200 == ask(vendor, headers=header).status
    assert {"missing_headers": 1} == counted(vendor)


def test_a_get_without_cache_control_is_counted() -> None:
    """A cached status would be worse than none."""
    vendor = Vendor(start=START)
    headers = {"Authorization": f"Bearer {vendor.token}", "Accept": "application/json", "User-Agent": "me/1"}
    vendor.handle(Request(method="GET", target="/v3/activities", headers=headers), 0.0)

    assert {"missing_headers": 1} == counted(vendor)


def test_violations_add_up() -> None:
    """`total` is what a test asks for first."""
    counts: dict[str, Any] = dict.fromkeys(Violations.__annotations__, 1)

    assert len(counts) == 11 == Violations(**counts).total
