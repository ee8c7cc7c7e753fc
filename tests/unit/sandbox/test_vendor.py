"""The simulated vendor as a function: what it has, what a request needs, and what it records."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccactivity.sandbox import Life, Request, Vendor
from ccactivity.sandbox.jobs import JOB_KINDS

from .helpers import DAY, START, STRANGER, ask, counted, error_key, make, pages, post, read


@pytest.mark.parametrize("some_id", [STRANGER, "x", "zzzzzzzz-cc52-11ea-9dad-fa163e3d9194", "a%2Fb", "%00"])
def test_an_unknown_activity_is_not_found(some_id: str) -> None:
    """The error is an array, as documented."""
    reply = ask(make(), f"/v3/activities/{some_id}")

    assert 404 == reply.status
    assert ["error_key", "error_message"] == list(read(reply)[0])


def test_activities_vanish_after_ten_days() -> None:
    """From lists and from single requests."""
    vendor = make()
    activity_id = vendor.submit(0.0, Life())

    assert 200 == ask(vendor, f"/v3/activities/{activity_id}", 10 * DAY).status
    assert 404 == ask(vendor, f"/v3/activities/{activity_id}", 10 * DAY + 1).status
    assert [[activity_id]] == pages(vendor, "/v3/activities", 10 * DAY)
    assert [[]] == pages(vendor, "/v3/activities", 10 * DAY + 1)


def test_the_truth_about_an_unknown_activity_is_an_error() -> None:
    """A test that asks for it has lost its way."""
    with pytest.raises(KeyError):
        make().job(STRANGER)


def test_a_start_without_a_zone_is_refused() -> None:
    """Nobody could say when its day ends."""
    with pytest.raises(ValueError, match="aware"):
        Vendor(start=datetime(2026, 1, 1))  # noqa: DTZ001 -- wrong on purpose


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(0, 30))
def test_the_same_seed_gives_the_same_vendor(seed: int, history: int) -> None:
    """Runs can be repeated; another seed has other tokens."""
    one, other = make(seed=seed, history=history), make(seed=seed, history=history)
    ids = [vendor.submit(0.0) for vendor in (one, other) for _ in range(3)]

    assert ids[:3] == ids[3:]
    assert one.token == other.token != make(seed=seed + 1).token
    assert ask(one, "/v3/activities", 50.0) == ask(other, "/v3/activities", 50.0)


pieces = st.sampled_from(
    [
        *("/", "v3", "activities", "contact_exports", "emails", "send_history", "contacts_file_import", STRANGER),
        *("?", "&", "=", "cursor", "limit", "state", "completed", "5", "bGltaXQ9MSZuZXh0PTI", "#", "%", "%00", ";"),
    ]
)
targets = st.lists(pieces | st.text(max_size=3), max_size=12).map(lambda some: "/v3/" + "".join(some))
bodies = st.binary(max_size=50) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["source", "list_ids", "contact_ids", "tag_ids", "import_data", "email"]), inner, max_size=4
        )
    ),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


@given(
    method=st.sampled_from(["GET", "POST", "DELETE", ""]),
    target=targets | st.sampled_from([f"/v3/activities/{kind}" for kind in JOB_KINDS]) | st.text(max_size=5),
    kind=st.sampled_from(["application/json", "multipart/form-data; boundary=x", "multipart/form-data", "?"]),
    body=bodies,
)
def test_whatever_is_asked_gets_an_answer(method: str, target: str, kind: str, body: bytes) -> None:
    """No request, however malformed, breaks the vendor."""
    vendor = make(history=3)
    headers = {"Authorization": f"Bearer {vendor.token}", "Content-Type": kind}
    reply = vendor.handle(Request(method=method, target=target, headers=headers, body=body), 0.0)

    assert reply.status in {200, 201, 400, 403, 404, 405, 415}
    assert [reply.status] == [line.status for line in vendor.log]
    assert (reply.status == 201) == (len(vendor.jobs) == 4)


def test_a_thousand_queued_jobs_are_the_limit() -> None:
    """Further ones get a 429 without an error key, until the queue has drained."""
    vendor = make()
    for _ in range(1008):  # eight lanes take one each
        vendor.submit(0.0, Life(duration=100))
    full = post(vendor, "contact_exports", {}, 1.0)

    assert 429 == full.status
    assert ["error_message"] == list(read(full))
    assert 201 == post(vendor, "contact_exports", {}, 101.0).status


# --- scopes, privileges and paths ---------------------------------------------------------------------------


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
    vendor = Vendor(start=START)
    vendor.privileges.discard(lost)
    vendor.scopes.discard(lost)
    replies = [ask(vendor), ask(vendor, target=HISTORY)]

    assert [activities, history] == [reply.status for reply in replies]
    assert "access_denied" in {error_key(reply) for reply in replies if reply.status == 403}
    assert 0 == vendor.violations.total


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
    vendor = Vendor(start=START)

    assert status == ask(vendor, target=target, method=method).status
    assert {"unknown_path": 1} == counted(vendor)


def test_a_token_in_the_address_is_counted() -> None:
    """Addresses are logged everywhere."""
    vendor = Vendor(start=START)
    for query in (f"x={vendor.token}", "access_token=x", "x=1"):
        ask(vendor, target=f"/v3/activities?{query}")

    assert {"token_in_url": 2} == counted(vendor)


# --- the record ---------------------------------------------------------------------------------------------


def test_replies_are_dated_by_the_vendors_clock() -> None:
    """Whatever the real time is; and each has an id."""
    vendor = Vendor(start=START)
    first, second = ask(vendor, now=0.0), ask(vendor, now=90.0, transit=0.5)

    assert "Thu, 01 Jan 2026 12:00:00 GMT" == first.headers["Date"]
    assert "Thu, 01 Jan 2026 12:01:30 GMT" == second.headers["Date"]
    assert first.headers["x-amzn-RequestId"] != second.headers["x-amzn-RequestId"]


def test_every_request_is_on_record() -> None:
    """In order, by kind, with its answer."""
    vendor = Vendor(start=START, per_second=None)
    targets = ["/v3/activities", "/v3/activities/x", HISTORY, "/v3/contact_exports/x", "/v3/x"]
    for number, target in enumerate(targets):
        ask(vendor, now=float(number), target=target)
    ask(vendor, now=5.0, target="/v3/activities/contact_exports", method="POST")

    assert [(line.time, line.method, line.target, line.status, line.kind) for line in vendor.log] == [
        (0.0, "GET", "/v3/activities", 200, "list"),
        (1.0, "GET", "/v3/activities/x", 404, "get"),
        (2.0, "GET", HISTORY, 200, "history"),
        (3.0, "GET", "/v3/contact_exports/x", 404, "export"),
        (4.0, "GET", "/v3/x", 404, "other"),
        (5.0, "POST", "/v3/activities/contact_exports", 400, "post"),
    ]
    assert {"list": 1, "get": 1, "history": 1, "export": 1, "other": 1, "post": 1} == vendor.requests


# --- send history -------------------------------------------------------------------------------------------


def test_the_known_campaign_has_a_send_for_every_reason() -> None:
    """Thirteen records, the first sent first; code 12 is a completed send that reached nobody."""
    vendor = make()
    records = read(ask(vendor, f"/v3/emails/activities/{vendor.campaign_activity_id}/send_history"))

    assert [(code + 1, code) for code in range(13)] == [(r["send_id"], r["reason_code"]) for r in records]
    assert sorted(r["run_date"] for r in records) == [r["run_date"] for r in records]
    assert {0, 12} == {r["reason_code"] for r in records if r["send_status"] == "COMPLETED"}
    assert {0} == {r["reason_code"] for r in records if r["count"]}
    assert {True, False} == {"segment_ids" in r for r in records}


def test_a_campaign_never_sent_has_an_empty_history() -> None:
    """An empty array, not a 404; what is not an id is not found."""
    vendor = make()
    vendor.add_history("draft")

    assert [] == read(ask(vendor, f"/v3/emails/activities/{STRANGER}/send_history"))
    assert [] == read(ask(vendor, "/v3/emails/activities/draft/send_history"))
    assert 404 == ask(vendor, "/v3/emails/activities/x/send_history").status


def test_sends_can_be_added() -> None:
    """What a record leaves out is filled in."""
    vendor = make()
    vendor.add_history(STRANGER, {"reason_code": 12}, {"count": 7, "send_status": "PAUSED"})
    first, second = read(ask(vendor, f"/v3/emails/activities/{STRANGER}/send_history"))

    assert (
        1,
        12,
        0,
        "COMPLETED",
    ) == tuple(first[name] for name in ("send_id", "reason_code", "count", "send_status"))
    assert (
        2,
        0,
        7,
        "PAUSED",
    ) == tuple(second[name] for name in ("send_id", "reason_code", "count", "send_status"))


# --- exports ------------------------------------------------------------------------------------------------


def test_the_results_of_an_export_come_when_it_is_complete() -> None:
    """The link is there from the start, and its id is not the activity's."""
    vendor = make()
    activity_id = vendor.submit(0.0, Life(duration=10), kind="contact_exports", rows=2)
    href = read(ask(vendor, f"/v3/activities/{activity_id}"))["_links"]["results"]["href"]
    early = ask(vendor, href, 9.0)
    ready = ask(vendor, href, 10.0, headers={"Accept": "text/csv"})

    assert activity_id not in href
    assert 404 == early.status
    assert (200, "text/csv", 3) == (ready.status, ready.content_type, len(ready.whole().body.splitlines()))
    assert 0 == vendor.violations.total


@pytest.mark.parametrize("path", [f"/v3/contact_exports/{STRANGER}", "/v3/activities/x/results"])
def test_unknown_results_are_not_found(path: str) -> None:
    """Nor is anything documented behind the results link of tag jobs."""
    assert 404 == ask(make(), path).status


def test_the_results_of_another_job_are_not_an_export() -> None:
    """An import has no file to fetch."""
    vendor = make()
    export_id = vendor.submit(0.0, Life(duration=1)).replace("fa163e3d9194", "fa163e6b01c1")

    assert 404 == ask(vendor, f"/v3/contact_exports/{export_id}", 5.0).status
