"""The effects of faults, as far as they can be seen without a network."""

from __future__ import annotations

import pytest

from ccactivity.sandbox import (
    Answer,
    Cut,
    Delay,
    Edit,
    Effect,
    Hang,
    Life,
    Patch,
    Raw,
    Reset,
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

from .helpers import ask, make, read


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


# --- changed bodies -----------------------------------------------------------------------------------------


def test_patches_change_every_row() -> None:
    """A mapping is merged over the top level, a callable does as it likes; null stays null."""
    vendor = make()
    one = vendor.submit(0.0, Life())
    vendor.faults.add(Patch({"state": "paused", "status": None}))
    vendor.faults.add(Patch(lambda activity: {**activity, "percent_done": str(activity["percent_done"])}))
    (row,) = read(ask(vendor))["activities"]
    single = read(ask(vendor, f"/v3/activities/{one}"))

    assert ("paused", None, "0") == (row["state"], row["status"], row["percent_done"])
    assert row == single


def test_patches_change_records_of_sends() -> None:
    """Each of the array; what is not an object stays."""
    vendor = make()
    vendor.faults.add(Patch({"reason_code": 99}), where="history")
    vendor.faults.add(Edit(lambda records: [*records, 5]), where="history", times=1)
    vendor.faults.add(Patch({"count": -1}), where="history")
    records = read(ask(vendor, f"/v3/emails/activities/{vendor.campaign_activity_id}/send_history"))

    assert {(99, -1)} == {(record["reason_code"], record["count"]) for record in records[:-1]}
    assert 5 == records[-1]


@pytest.mark.parametrize("effect", [Patch({"x": 1}), Edit(lambda body: {"x": 1}), drop_rows()])
def test_errors_and_what_is_not_json_stay(effect: Effect) -> None:
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
    assert one == read(ask(vendor, f"/v3/activities/{one}"))["activity_id"]


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

    assert one != read(ask(vendor, f"/v3/activities/{one}"))["activity_id"]


def test_a_body_can_be_cut() -> None:
    """Its declared length is that of what is left."""
    vendor = make(history=3)
    whole = ask(vendor).body
    vendor.faults.add(Cut(0.25))

    assert whole[: len(whole) // 4] == ask(vendor).body


# --- on the way ---------------------------------------------------------------------------------------------


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
