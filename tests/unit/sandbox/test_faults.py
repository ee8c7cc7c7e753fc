"""Scripted faults, as far as they can be seen without a network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from ccactivity.sandbox import (
    Answer,
    Cut,
    Delay,
    Disconnect,
    Edit,
    Effect,
    Fault,
    Hang,
    Life,
    Patch,
    Raw,
    Reply,
    Request,
    Reset,
    Vendor,
    drop_rows,
    duplicate_rows,
    empty,
    forbidden,
    html,
    message,
    next_link,
    not_found,
    ok,
    quota_exceeded,
    server_error,
    throttled,
    unauthorized,
    wrong_id,
)

START = datetime(2026, 1, 1, 12, tzinfo=UTC)


def make(**options: Any) -> Vendor:
    """Return a vendor without limits."""
    return Vendor(start=START, per_second=None, per_day=None, **options)


def ask(vendor: Vendor, target: str = "/activities", now: float = 0.0, **more: Any) -> Reply:
    """Send a request to a path below /v3."""
    headers = {
        "Authorization": f"Bearer {vendor.token}",
        "Accept": "application/json",
        "Cache-Control": "no-cache",
        "User-Agent": "tests/1.0",
    }
    return vendor.handle(Request(**{"method": "GET", "target": f"/v3{target}", "headers": headers, **more}), now)


def read(reply: Reply) -> Any:
    """Return the JSON of a reply."""
    return json.loads(reply.body)


def statuses(vendor: Vendor, count: int, target: str = "/activities") -> list[int]:
    """Return the answers to so many requests, one a second."""
    return [ask(vendor, target, float(now)).status for now in range(count)]


# --- when ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ({}, [503, 503, 503, 503, 503]),
        ({"times": 2}, [503, 503, 200, 200, 200]),
        ({"skip": 3}, [200, 200, 200, 503, 503]),
        ({"skip": 1, "times": 1}, [200, 503, 200, 200, 200]),
        ({"after": 1.0, "until": 3.0}, [200, 503, 503, 200, 200]),
        ({"probability": 0.0}, [200, 200, 200, 200, 200]),
        ({"where": "list"}, [503, 503, 503, 503, 503]),
        ({"where": "get"}, [200, 200, 200, 200, 200]),
        ({"activity_id": "x"}, [200, 200, 200, 200, 200]),
    ],
)
def test_a_fault_acts_when_it_is_told_to(when: dict[str, Any], expected: list[int]) -> None:
    """And counts how often it has."""
    vendor = make()
    fault = vendor.faults.add(server_error(503), **when)

    assert expected == statuses(vendor, 5)
    assert expected.count(503) == fault.hits


def test_chance_is_seeded() -> None:
    """The same script gives the same run, and about the asked share of hits."""
    hits = []
    for _ in range(2):
        vendor = make(seed=7)
        vendor.faults.add(server_error(), probability=0.3)
        hits.append(statuses(vendor, 300))

    assert hits[0] == hits[1]
    assert 60 < hits[0].count(500) < 120


@pytest.mark.parametrize(
    ("where", "target", "method"),
    [
        ("list", "/activities?limit=5", "GET"),
        ("get", "/activities/x", "GET"),
        ("history", "/emails/activities/x/send_history", "GET"),
        ("export", "/contact_exports/x", "GET"),
        ("post", "/activities/contact_exports", "POST"),
        ("other", "/nowhere", "GET"),
    ],
)
def test_a_fault_is_about_one_kind_of_request(where: str, target: str, method: str) -> None:
    """Or about any."""
    vendor = make()
    here = vendor.faults.add(Delay(1.0), where=where)
    anywhere = vendor.faults.add(Delay(2.0))
    reply = ask(vendor, target, method=method)
    ask(vendor, "/activities" if where != "list" else "/activities/x")

    assert (Delay(1.0), Delay(2.0)) == reply.wire
    assert (1, 2) == (here.hits, anywhere.hits)


def test_a_fault_may_be_about_one_activity() -> None:
    """Asked for by its id, or shown on a page; others are left alone."""
    vendor = make()
    one, other = vendor.submit(0.0, Life()), vendor.submit(0.0, Life())
    vendor.faults.add(Patch({"percent_done": 200}), activity_id=one)
    late = vendor.faults.add(Delay(5.0), activity_id=one)
    rows = {row["activity_id"]: row["percent_done"] for row in read(ask(vendor))["activities"]}

    assert {one: 200, other: 0} == rows
    assert 200 == read(ask(vendor, f"/activities/{one}"))["percent_done"]
    assert 0 == read(ask(vendor, f"/activities/{other}"))["percent_done"]
    assert () == ask(vendor, "/activities?limit=1").wire  # the newest is the other one
    assert 2 == late.hits


def test_a_fault_about_one_activity_lets_failed_lists_be() -> None:
    """A page that is none shows no activity."""
    vendor = make()
    fault = vendor.faults.add(Delay(5.0), activity_id=vendor.submit(0.0, Life()))
    vendor.faults.add(html(200), times=1)

    assert ((), ()) == (ask(vendor).wire, ask(vendor, "/activities?limit=x").wire)
    assert 0 == fault.hits


def test_faults_can_be_taken_away() -> None:
    """One by one, or all."""
    vendor = make()
    first = vendor.faults.append(Fault(server_error(500)))
    second = vendor.faults.add(Fault(server_error(500)))
    vendor.faults.remove(first)

    assert ([second], 1) == (list(vendor.faults), len(vendor.faults))

    vendor.faults.clear()

    assert [200] == statuses(vendor, 1)


def test_a_fault_in_an_unknown_place_is_refused() -> None:
    """A mistake in a script shows where it is made."""
    with pytest.raises(ValueError, match="where"):
        Fault(Hang(), where="everywhere")  # type: ignore[arg-type] # wrong on purpose


# --- answers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (throttled(), 429, b'{"error_key":"throttled","error_message":"Too Many Requests"}'),
        (quota_exceeded(), 429, b'{"error_key":"quota_exceeded","error_message":"Limit Exceeded"}'),
        (unauthorized(), 401, b'{"error_key":"unauthorized","error_message":"Unauthorized"}'),
        (message(504, "Endpoint request timed out"), 504, b'{"message":"Endpoint request timed out"}'),
        (empty(), 200, b""),
        (empty(502), 502, b""),
        (ok(b"\xff{"), 200, b"\xff{"),
        (ok("{"), 200, b"{"),
        (ok({"activities": None}), 200, b'{"activities": null}'),
        (ok([]), 200, b"[]"),
    ],
)
def test_answers_have_the_documented_bodies(answer: Answer, status: int, body: bytes) -> None:
    """So that a client's reading of errors can be tested against each."""
    vendor = make()
    vendor.faults.add(answer)
    reply = ask(vendor)

    assert (status, body) == (reply.status, reply.body)
    assert {"Date", "x-amzn-RequestId"} <= set(reply.headers)


@pytest.mark.parametrize(
    ("answer", "status", "key"),
    [(not_found(), 404, "contacts.api.not_found"), (server_error(503), 503, "contacts.api.internal.error")],
)
def test_general_errors_are_arrays(answer: Answer, status: int, key: str) -> None:
    """As the glossary of responses has them."""
    vendor = make()
    vendor.faults.add(answer)
    reply = ask(vendor)

    assert (status, key) == (reply.status, read(reply)[0]["error_key"])


def test_some_answers_are_not_what_they_say() -> None:
    """An HTML page with a 200, a Retry-After that the vendor does not document."""
    vendor = make()
    vendor.faults.add(html(), times=1)
    vendor.faults.add(throttled({"Retry-After": "7"}), times=1)
    vendor.faults.add(forbidden(), times=1)

    assert "text/html" == ask(vendor).content_type
    assert "7" == ask(vendor).headers["Retry-After"]
    assert "access_denied" == read(ask(vendor))["error_key"]


def test_a_scripted_answer_stands_in_for_the_vendor() -> None:
    """A POST that is answered so creates nothing; one whose answer is lost does."""
    vendor = make()
    vendor.faults.add(server_error(), times=1)
    vendor.faults.add(Reset(), skip=1)
    for _ in range(2):
        ask(vendor, "/activities/contact_exports", method="POST", body=b"{}")

    assert 1 == len(vendor.jobs)
    assert [500, 0] == [line.status for line in vendor.log]


def test_the_first_answer_wins() -> None:
    """The next one has its turn when the first is used up."""
    vendor = make()
    vendor.faults.add(server_error(502), times=1)
    vendor.faults.add(server_error(503), times=1)

    assert [502, 503, 200] == statuses(vendor, 3)


def test_the_vendors_own_refusals_come_first() -> None:
    """A script cannot let a request through that the limits refuse, but it can lose the refusal."""
    vendor = Vendor(start=START, per_second=0)
    answer, way = vendor.faults.add(ok({})), vendor.faults.add(Delay(1.0))
    reply = ask(vendor)

    assert (429, (Delay(1.0),)) == (reply.status, reply.wire)
    assert (0, 1) == (answer.hits, way.hits)


def test_a_scripted_quota_binds_too() -> None:
    """After being told so, any request of that UTC day is stubborn; not when the answer was lost."""
    vendor = make()
    vendor.faults.add(quota_exceeded(), times=2)
    vendor.faults.add(Reset(), times=1)
    after = []
    for now in (0.0, 1.0, 2.0, 43_199.0, 43_200.0):
        ask(vendor, now=now)
        after.append(vendor.violations.after_quota_exceeded)

    assert [0, 0, 1, 2, 2] == after
    assert 2 == vendor.violations.total


# --- changed bodies -----------------------------------------------------------------------------------------


def test_patches_change_every_row() -> None:
    """A mapping is merged over the top level, a callable does as it likes; null stays null."""
    vendor = make()
    one = vendor.submit(0.0, Life())
    vendor.faults.add(Patch({"state": "paused", "status": None}))
    vendor.faults.add(Patch(lambda activity: {**activity, "percent_done": str(activity["percent_done"])}))
    (row,) = read(ask(vendor))["activities"]
    single = read(ask(vendor, f"/activities/{one}"))

    assert ("paused", None, "0") == (row["state"], row["status"], row["percent_done"])
    assert row == single


def test_patches_change_records_of_sends() -> None:
    """Each of the array; what is no object is left."""
    vendor = make()
    vendor.faults.add(Patch({"reason_code": 99}), where="history")
    vendor.faults.add(Edit(lambda records: [*records, 5]), where="history", times=1)
    vendor.faults.add(Patch({"count": -1}), where="history")
    records = read(ask(vendor, f"/emails/activities/{vendor.campaign_activity_id}/send_history"))

    assert {(99, -1)} == {(record["reason_code"], record["count"]) for record in records[:-1]}
    assert 5 == records[-1]


@pytest.mark.parametrize("effect", [Patch({"x": 1}), Edit(lambda body: {"x": 1}), drop_rows()])
def test_errors_and_what_is_no_json_are_not_changed(effect: Effect) -> None:
    """A fault of data concerns data."""
    vendor = make()
    vendor.faults.add(ok("{"), times=1)
    vendor.faults.add(ok("5"), times=1)
    vendor.faults.add(ok("[]", "text/plain"), times=1)
    vendor.faults.add(not_found(), times=1)
    vendor.faults.add(effect)
    bodies = [ask(vendor).body for _ in range(4)]

    assert b"{" == bodies[0]
    assert bodies[1] in (b"5", b'{"x": 1}')
    assert b"[]" == bodies[2]
    assert b"not_found" in bodies[3]


def test_rows_can_be_dropped_and_doubled() -> None:
    """Some or all of them; single activities stay what they are."""
    vendor = make()
    one, two = vendor.submit(0.0, Life()), vendor.submit(0.0, Life())

    def shown(effect: Effect) -> list[str]:
        vendor.faults.clear()
        vendor.faults.add(effect)
        return [row["activity_id"] for row in read(ask(vendor))["activities"]]

    assert [two] == shown(drop_rows(one))
    assert [two, two, one, one] == shown(duplicate_rows())
    assert [] == shown(drop_rows())
    assert one == read(ask(vendor, f"/activities/{one}"))["activity_id"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("//evil/v3", {"href": "//evil/v3"}), (None, None), ({"href": 5}, {"href": 5}), (7, 7)],
)
def test_the_next_link_can_be_anything(value: object, expected: object) -> None:
    """Also on a page that would be the last."""
    vendor = make()
    vendor.faults.add(next_link(value), where="list")

    assert expected == read(ask(vendor))["_links"]["next"]


def test_the_wrong_activity_can_be_answered() -> None:
    """Which a client must not mistake for the one it asked for."""
    vendor = make()
    one = vendor.submit(0.0, Life())
    vendor.faults.add(wrong_id(), where="get")

    assert one != read(ask(vendor, f"/activities/{one}"))["activity_id"]


def test_a_body_can_be_cut() -> None:
    """Its declared length is that of what is left."""
    vendor = make(history=3)
    whole = ask(vendor).body
    vendor.faults.add(Cut(0.25))

    assert whole[: len(whole) // 4] == ask(vendor).body


# --- the way ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "status"),
    [
        (Reset(), 0),
        (Reset(after=0.5), 200),
        (Hang(), 0),
        (Hang(after=0.0), 200),
        (Raw(b"HTTP/9"), 0),
        (Delay(1.0), 200),
    ],
)
def test_the_record_says_whether_a_status_was_sent(effect: Effect, status: int) -> None:
    """0 stands for none; the reply itself is what the vendor meant to say."""
    vendor = make()
    vendor.faults.add(effect)

    assert 200 == ask(vendor).status
    assert status == vendor.log[-1].status


def test_only_a_reused_connection_can_be_closed_under_a_request() -> None:
    """The first request of each connection is spared, and not counted as a hit."""
    vendor = make()
    fault = vendor.faults.add(Disconnect())
    replies = [ask(vendor, reused=reused) for reused in (False, True, False)]

    assert [(), (Disconnect(),), ()] == [reply.wire for reply in replies]
    assert ([200, 0, 200], 1) == ([line.status for line in vendor.log], fault.hits)
