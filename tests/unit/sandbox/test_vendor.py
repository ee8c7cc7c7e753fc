"""The simulated vendor as a function: lists, single activities, send histories, and what creates jobs."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ccactivity.sandbox import Life, Reply, Request, Vendor
from ccactivity.sandbox.jobs import JOB_KINDS

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = 86_400.0
STRANGER = "00000000-0000-4000-8000-000000000000"


def make(**options: Any) -> Vendor:
    """Return a vendor without limits, unless asked for."""
    return Vendor(**{"start": START, "per_second": None, "per_day": None, **options})


def ask(vendor: Vendor, target: str, now: float = 0.0, *, method: str = "GET", **more: Any) -> Reply:
    """Send a well-mannered request to a path below /v3."""
    headers = {
        "Authorization": f"Bearer {vendor.token}",
        "Accept": "application/json",
        "Cache-Control": "no-cache",
        "User-Agent": "tests/1.0",
        **more.pop("headers", {}),
    }
    return vendor.handle(Request(method=method, target=f"/v3{target}", headers=headers, **more), now, transit=0.0)


def read(reply: Reply) -> Any:
    """Return the JSON of a reply."""
    return json.loads(reply.body)


def post(vendor: Vendor, kind: str, body: object, now: float = 0.0) -> Reply:
    """Ask for a job."""
    return ask(vendor, f"/activities/{kind}", now, method="POST", body=json.dumps(body).encode())


def pages(vendor: Vendor, target: str, now: float = 0.0) -> list[list[str]]:
    """Follow a list to its end; return the ids on each page."""
    found = []
    while True:
        page = read(ask(vendor, target, now))
        found.append([row["activity_id"] for row in page["activities"]])
        if not page["_links"]:
            return found
        target = page["_links"]["next"]["href"].removeprefix("/v3")


def flat(found: list[list[str]]) -> list[str]:
    """Return the ids of all pages in one list."""
    return [activity_id for page in found for activity_id in page]


# --- one activity -------------------------------------------------------------------------------------------


def test_an_activity_shows_what_the_reference_documents() -> None:
    """A finished import has all times, its counters and a link to itself, and no kind."""
    vendor = make()
    life = Life(duration=30, delay=2.5, errors=("Line 7: Invalid birthday",), correctable_count=1)
    activity_id = vendor.submit(1.0, life, kind="contacts_file_import", rows=86, file_name='a "b".csv')

    assert {
        "activity_id": activity_id,
        "state": "completed",
        "started_at": "2026-01-01T12:00:03.500Z",
        "completed_at": "2026-01-01T12:00:33.500Z",
        "created_at": "2026-01-01T12:00:01.000Z",
        "updated_at": "2026-01-01T12:00:33.500Z",
        "source_file_name": 'a "b".csv',
        "percent_done": 100,
        "activity_errors": ["Line 7: Invalid birthday"],
        "status": {
            "items_total_count": 87,
            "person_count": 86,
            "error_count": 0,
            "correctable_count": 1,
            "cannot_add_to_list_count": 0,
        },
        "_links": {"self": {"href": f"/v3/activities/{activity_id}"}},
    } == read(ask(vendor, f"/activities/{activity_id}", 40.0))


def test_an_activity_shows_only_what_is_known_yet() -> None:
    """A queued job has no start, a running one no end; items and errors grow with its progress."""
    vendor = make()
    life = Life(duration=40, delay=5, update_every=10, errors=("Line 2: x", "Line 3: y"))
    activity_id = vendor.submit(0.0, life, kind="contact_delete", rows=100, lists=2)
    queued = read(ask(vendor, f"/activities/{activity_id}", 4.0))
    running = read(ask(vendor, f"/activities/{activity_id}", 27.0))

    assert {"started_at", "completed_at"}.isdisjoint(queued)
    assert ("initialized", queued["created_at"]) == (queued["state"], queued["updated_at"])
    assert "completed_at" not in running
    assert ("processing", 50, ["Line 2: x"]) == (
        running["state"],
        running["percent_done"],
        running["activity_errors"],
    )
    assert "2026-01-01T12:00:25.000Z" == running["updated_at"]
    assert {"list_count": 2, "items_total_count": 100, "items_completed_count": 50} == running["status"]


@pytest.mark.parametrize("when", [0.1, 0.7, 1 / 3])
@pytest.mark.parametrize("duration", [0.1, 0.3, 29.9])
def test_an_activity_has_ended_at_the_very_moment_of_its_end(when: float, duration: float) -> None:
    """Rounding makes neither the truth nor the state lag."""
    vendor = make()
    activity_id = vendor.submit(when, Life(duration=duration))
    ended = vendor.job(activity_id).ended

    assert "completed" == read(ask(vendor, f"/activities/{activity_id}", ended))["state"]


@pytest.mark.parametrize("some_id", [STRANGER, "x", "zzzzzzzz-cc52-11ea-9dad-fa163e3d9194", "a%2Fb", "%00"])
def test_an_unknown_activity_is_not_found(some_id: str) -> None:
    """The error is an array, as documented."""
    reply = ask(make(), f"/activities/{some_id}")

    assert 404 == reply.status
    assert ["error_key", "error_message"] == list(read(reply)[0])


def test_activities_vanish_after_ten_days() -> None:
    """From lists and from single requests."""
    vendor = make()
    activity_id = vendor.submit(0.0, Life())

    assert 200 == ask(vendor, f"/activities/{activity_id}", 10 * DAY).status
    assert 404 == ask(vendor, f"/activities/{activity_id}", 10 * DAY + 1).status
    assert [[activity_id]] == pages(vendor, "/activities", 10 * DAY)
    assert [[]] == pages(vendor, "/activities", 10 * DAY + 1)


def test_the_truth_about_an_unknown_activity_is_an_error() -> None:
    """A test that asks for it has lost its way."""
    with pytest.raises(KeyError):
        make().job(STRANGER)


def test_a_start_without_a_zone_is_refused() -> None:
    """Nobody could say when its day ends."""
    with pytest.raises(ValueError, match="aware"):
        Vendor(start=datetime(2026, 1, 1))  # noqa: DTZ001 -- wrong on purpose


# --- lists --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/activities", "/activities/"])
def test_a_page_holds_fifty_by_default_newest_first(target: str) -> None:
    """With or without the slash that the samples have; the last page has no link."""
    vendor = make()
    ids = [vendor.submit(float(number), Life()) for number in range(120)]
    found = pages(vendor, target, 200.0)

    assert [50, 50, 20] == [len(page) for page in found]
    assert ids[::-1] == flat(found)


def test_a_last_page_that_is_full_has_no_link() -> None:
    """Nobody is sent for an empty page."""
    vendor = make(history=20)

    assert [10, 10] == [len(page) for page in pages(vendor, "/activities?limit=10")]


@pytest.mark.parametrize("order", ["newest", "oldest", "shuffled"])
@given(
    history=st.integers(0, 40),
    limit=st.integers(1, 15),
    arrivals=st.lists(st.integers(0, 5), max_size=12),
)
def test_nothing_is_missed_or_shown_twice_while_activities_arrive(
    order: str, history: int, limit: int, arrivals: list[int]
) -> None:
    """Paging is anchored on the last id shown, in any order of the list."""
    vendor = make(history=history, order=order)
    before = {vendor.submit(0.0, Life()) for _ in range(7)} | set(flat(pages(vendor, "/activities?limit=500")))
    target, now, seen = f"/activities?limit={limit}", 1.0, []
    while True:
        page = read(ask(vendor, target, now))
        seen += [row["activity_id"] for row in page["activities"]]
        if not page["_links"]:
            break
        target, now = page["_links"]["next"]["href"].removeprefix("/v3"), now + 1.0
        for _ in range(arrivals.pop() if arrivals else 0):
            vendor.submit(now, Life())

    assert len(seen) == len(set(seen))
    assert before <= set(seen)


def test_an_oldest_first_list_begins_with_the_history() -> None:
    """What is new comes last, and what ended before the start did so within ten days."""
    vendor = make(history=3, order="oldest")
    new = vendor.submit(0.0, Life())
    rows = read(ask(vendor, "/activities", 1.0))["activities"]

    assert [new] == [row["activity_id"] for row in rows[3:]]
    assert sorted(row["created_at"] for row in rows) == [row["created_at"] for row in rows]
    assert all(row["completed_at"] < "2026-01-01T12" for row in rows[:3])
    assert all(row["created_at"] > (START - timedelta(days=9)).isoformat() for row in rows)


def test_an_unknown_order_is_refused() -> None:
    """A mistake in a script shows where it is made."""
    with pytest.raises(ValueError, match="newest"):
        make(order="newest first")


def test_a_shuffled_list_has_an_order_of_its_own() -> None:
    """Neither that of creation nor its reverse, and always the same."""
    vendor = make(order="shuffled")
    ids = [vendor.submit(0.0, Life()) for _ in range(20)]
    (found,) = pages(vendor, "/activities", 1.0)

    assert sorted(ids) == sorted(found)
    assert found not in (ids, ids[::-1])
    assert [found] == pages(vendor, "/activities", 2.0)


@pytest.mark.parametrize("state", ["processing", "completed", "cancelled", "failed", "timed_out"])
def test_a_list_can_be_filtered_by_state(state: str) -> None:
    """A filter holds over all pages, also those of the older activities."""
    vendor = make(history=300)
    for _ in range(5):
        vendor.submit(0.0, Life(duration=10))
        vendor.submit(0.0, Life(duration=10, delay=100))
        vendor.submit(0.0, Life(duration=10**6))
        vendor.submit(0.0, Life(duration=1, end="failed"))
    everything = flat(pages(vendor, "/activities?limit=500", 20.0))
    expected = {one for one in everything if vendor.job(one).state(20.0) == state}
    found = pages(vendor, f"/activities?limit=3&state={state}", 20.0)

    assert all(len(page) == 3 for page in found[:-1])
    assert expected == set(flat(found))


@pytest.mark.parametrize(
    "query",
    [
        *(
            "limit=" + "9" * 5000,
            "limit=0",
            "limit=501",
            "limit=-1",
            "limit=ten",
            "limit=",
            "limit=1.5",
            "limit=%C2%B2",
        ),
        *("state=initialized", "state=time_out", "state=", "state=Completed", "limit=5&state=x"),
    ],
)
def test_a_wrong_limit_or_state_is_a_bad_request(query: str) -> None:
    """`initialized` is a state and yet no filter; the prose's `time_out` is neither."""
    vendor = make()
    reply = ask(vendor, f"/activities?{query}")

    assert 400 == reply.status
    assert "contacts.api.validation.error" == read(reply)[0]["error_key"]
    assert 1 == vendor.violations.bad_request == vendor.violations.total


def cursor_of(vendor: Vendor) -> str:
    """Return the cursor of a second page."""
    href: str = read(ask(vendor, "/activities?limit=3&state=completed"))["_links"]["next"]["href"]
    return href.removeprefix("/v3/activities?cursor=")


def test_a_cursor_carries_the_page_size_and_the_filter() -> None:
    """It is base64 that lacks some of its padding, as in the vendor's sample; nothing need be added to it."""
    vendor = make(history=50)
    cursor = cursor_of(vendor)
    plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4)).decode()

    assert re.fullmatch(r"limit=3&state=completed&next=[0-9a-f-]{36}&check=[0-9a-f]{8}", plain)
    assert 3 == len(read(ask(vendor, f"/activities?cursor={cursor}"))["activities"])


SPOILS: dict[str, Callable[[str], str]] = {
    "re-encoded": lambda cursor: cursor.replace("=", "%3D"),
    "padded": lambda cursor: cursor + "=",
    "stripped": lambda cursor: cursor.rstrip("="),
    "accompanied": lambda cursor: cursor + "&limit=3",
    "cut": lambda cursor: cursor[:-6],
    "folded": lambda cursor: cursor.lower(),
    "empty": lambda cursor: "",
    "another collection's": lambda cursor: "bGltaXQ9MSZuZXh0PTI",
    "nonsense": lambda cursor: base64.b64encode(b"limit=x&next=y&check=z").decode(),
    "made up": lambda cursor: base64.b64encode(f"limit=3&next={STRANGER}&check=0".encode()).decode(),
    "not ASCII": lambda cursor: "%C3%A9",
}


@pytest.mark.parametrize("spoil", SPOILS)
def test_a_cursor_is_taken_only_as_it_was_given(spoil: str) -> None:
    """Whatever is changed, re-encoded, made up or accompanied counts as a violation and gets a 400."""
    vendor = make(history=50)
    cursor = SPOILS[spoil](cursor_of(vendor))
    reply = ask(vendor, f"/activities?cursor={cursor}")

    assert 400 == reply.status
    assert 1 == vendor.violations.bad_cursor == vendor.violations.total


def test_a_cursor_of_another_account_is_refused() -> None:
    """Cursors are signed."""
    assert 400 == ask(make(history=50, seed=1), f"/activities?cursor={cursor_of(make(history=50))}").status


def test_list_rows_can_lag_behind() -> None:
    """Pages show the world as it was; a single activity is always up to date."""
    vendor = make(stale_rows=30.0)
    activity_id = vendor.submit(0.0, Life(duration=40))

    assert [[]] == pages(vendor, "/activities", 29.0)
    assert "processing" == read(ask(vendor, "/activities", 69.0))["activities"][0]["state"]
    assert "completed" == read(ask(vendor, f"/activities/{activity_id}", 69.0))["state"]
    assert "completed" == read(ask(vendor, "/activities", 70.0))["activities"][0]["state"]


def test_a_row_is_the_activity() -> None:
    """Lists and single requests show the same object, whichever was asked first."""
    vendor = make(history=5)
    vendor.submit(0.0)
    for now in (0.5, 5.0, 5.0, 1e5):
        rows = read(ask(vendor, "/activities", now))["activities"]
        assert rows == [read(ask(vendor, f"/activities/{row['activity_id']}", now)) for row in rows]


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(0, 30))
def test_the_same_seed_gives_the_same_vendor(seed: int, history: int) -> None:
    """Runs can be repeated; another seed has other tokens."""
    one, other = make(seed=seed, history=history), make(seed=seed, history=history)
    ids = [vendor.submit(0.0) for vendor in (one, other) for _ in range(3)]

    assert ids[:3] == ids[3:]
    assert one.token == other.token != make(seed=seed + 1).token
    assert ask(one, "/activities", 50.0) == ask(other, "/activities", 50.0)


def test_a_history_may_hold_twenty_thousand_activities() -> None:
    """All of them ended, listed once, and to be asked for one by one."""
    vendor = make(history=20_000)
    ids = flat(pages(vendor, "/activities?limit=500"))

    assert 20_000 == len(set(ids)) == len(ids) == len(vendor.jobs)
    assert [[]] == pages(vendor, "/activities?state=processing")
    assert "completed_at" in read(ask(vendor, f"/activities/{ids[-1]}"))


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


# --- send history -------------------------------------------------------------------------------------------


def test_the_known_campaign_has_a_send_for_every_reason() -> None:
    """Thirteen records, the first sent first; code 12 is a completed send that reached nobody."""
    vendor = make()
    records = read(ask(vendor, f"/emails/activities/{vendor.campaign_activity_id}/send_history"))

    assert [(code + 1, code) for code in range(13)] == [(r["send_id"], r["reason_code"]) for r in records]
    assert sorted(r["run_date"] for r in records) == [r["run_date"] for r in records]
    assert {0, 12} == {r["reason_code"] for r in records if r["send_status"] == "COMPLETED"}
    assert {0} == {r["reason_code"] for r in records if r["count"]}
    assert {True, False} == {"segment_ids" in r for r in records}


def test_a_campaign_never_sent_has_an_empty_history() -> None:
    """An empty array, not a 404; what is no id at all is not found."""
    vendor = make()
    vendor.add_history("draft")

    assert [] == read(ask(vendor, f"/emails/activities/{STRANGER}/send_history"))
    assert [] == read(ask(vendor, "/emails/activities/draft/send_history"))
    assert 404 == ask(vendor, "/emails/activities/x/send_history").status


def test_sends_can_be_added() -> None:
    """What a record leaves out is filled in."""
    vendor = make()
    vendor.add_history(STRANGER, {"reason_code": 12}, {"count": 7, "send_status": "PAUSED"})
    first, second = read(ask(vendor, f"/emails/activities/{STRANGER}/send_history"))

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
    href = read(ask(vendor, f"/activities/{activity_id}"))["_links"]["results"]["href"].removeprefix("/v3")
    early = ask(vendor, href, 9.0)
    ready = ask(vendor, href, 10.0, headers={"Accept": "text/csv"})

    assert activity_id not in href
    assert 404 == early.status
    assert (200, "text/csv", 3) == (ready.status, ready.content_type, len(ready.body.splitlines()))
    assert 0 == vendor.violations.total


@pytest.mark.parametrize("path", [f"/contact_exports/{STRANGER}", "/activities/x/results"])
def test_unknown_results_are_not_found(path: str) -> None:
    """Nor is anything documented behind the results link of tag jobs."""
    assert 404 == ask(make(), path).status


def test_the_results_of_another_job_are_not_an_export() -> None:
    """An import has no file to fetch."""
    vendor = make()
    export_id = vendor.submit(0.0, Life(duration=1)).replace("fa163e3d9194", "fa163e6b01c1")

    assert 404 == ask(vendor, f"/contact_exports/{export_id}", 5.0).status


# --- creating jobs ------------------------------------------------------------------------------------------

COUNTERS = {
    "add_list_memberships": ["items_total_count", "items_completed_count", "list_count"],
    "contact_delete": ["list_count", "items_total_count", "items_completed_count"],
    "contact_exports": ["items_total_count", "items_completed_count"],
    "contacts_json_import": [
        *("items_total_count", "person_count", "error_count", "correctable_count"),
        "cannot_add_to_list_count",
    ],
    "contacts_taggings_add": ["items_total_count", "items_completed_count"],
    "contacts_taggings_remove": ["items_total_count", "items_completed_count"],
    "contacts_tags_delete": ["items_total_count", "items_completed_count"],
    "custom_fields_delete": None,
    "list_delete": ["list_count"],
    "remove_list_memberships": ["items_total_count", "items_completed_count", "list_count"],
}
BODIES: dict[str, dict[str, Any]] = {
    "add_list_memberships": {"source": {"contact_ids": ["c"] * 500}, "list_ids": ["l"] * 50},
    "contact_delete": {"contact_ids": ["c"] * 500},
    "contact_exports": {},
    "contacts_json_import": {"import_data": [{"email": "a@example.com"}], "list_ids": ["l"]},
    "contacts_taggings_add": {"source": {"all_active_contacts": True}, "tag_ids": ["t"] * 50},
    "contacts_taggings_remove": {"source": {"tag_ids": ["t"]}, "tag_ids": ["t"]},
    "contacts_tags_delete": {"tag_ids": ["t"] * 500},
    "custom_fields_delete": {"custom_field_ids": ["f"] * 100},
    "list_delete": {"list_ids": ["l"] * 100},
    "remove_list_memberships": {"source": {"engagement_level": "least"}, "list_ids": ["l"]},
}
WITH_RESULTS = {
    "contact_exports",
    "contacts_taggings_add",
    "contacts_taggings_remove",
    "contacts_tags_delete",
}


@pytest.mark.parametrize("kind", BODIES)
def test_every_kind_of_job_answers_with_its_documented_shape(kind: str) -> None:
    """201, `initialized`, and the counters and links of that kind alone."""
    vendor = make()
    reply = post(vendor, kind, BODIES[kind])
    activity = read(reply)

    assert (201, "initialized") == (reply.status, activity["state"])
    assert COUNTERS[kind] == (list(activity["status"]) if "status" in activity else None)
    assert (kind in WITH_RESULTS) == ("results" in activity["_links"])
    assert (".000Z" in activity["created_at"]) == (kind not in WITH_RESULTS - {"contact_exports"} | {"list_delete"})
    assert activity == read(ask(vendor, activity["_links"]["self"]["href"].removeprefix("/v3")))
    assert 0 == vendor.violations.total


@pytest.mark.parametrize(
    ("kind", "body", "counter", "count"),
    [
        ("contacts_json_import", BODIES["contacts_json_import"], "person_count", 1),
        ("contacts_json_import", BODIES["contacts_json_import"], "items_total_count", 2),
        ("contacts_tags_delete", {"tag_ids": ["t"] * 9}, "items_total_count", 9),
        ("list_delete", {"list_ids": ["l"] * 9}, "list_count", 9),
        ("contact_delete", {"list_ids": ["l"] * 9}, "list_count", 9),
        ("contact_delete", {"contact_ids": ["l"] * 9}, "items_total_count", 9),
        ("contact_exports", {"contact_ids": ["c"] * 9}, "items_total_count", 9),
        ("add_list_memberships", BODIES["add_list_memberships"], "list_count", 50),
        ("add_list_memberships", BODIES["add_list_memberships"], "items_total_count", 500),
    ],
)
def test_a_job_counts_what_it_was_given(kind: str, body: object, counter: str, count: int) -> None:
    """Rows of an import count its header line too."""
    assert count == read(post(make(), kind, body))["status"][counter]


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("contacts_json_import", {"import_data": None}),
        ("contacts_json_import", {"import_data": []}),
        ("contacts_json_import", {"import_data": [{"first_name": "No"}]}),
        ("contacts_json_import", {"import_data": ["a@example.com"]}),
        ("contacts_json_import", {"import_data": [{"email": "a"}] * 40_001}),
        ("contacts_json_import", {"list_ids": []}),
        ("contacts_json_import", {"list_ids": "l"}),
        ("contacts_json_import", {"list_ids": ["l"] * 51}),
        ("contacts_json_import", {"list_ids": [5]}),
        ("contacts_json_import", {"sms_permission_to_send": "yes"}),
        ("contact_delete", {"contact_ids": ["c"] * 501}),
        ("contact_delete", {"list_ids": ["l"]}),
        ("contact_delete", {"contact_ids": None}),
        ("contact_exports", {"contact_ids": ["c"] * 501}),
        ("add_list_memberships", {"source": None}),
        ("add_list_memberships", {"source": {}}),
        ("add_list_memberships", {"source": {"contact_ids": ["c"], "all_active_contacts": True}}),
        ("add_list_memberships", {"list_ids": None}),
        ("remove_list_memberships", {"source": {"segment_id": 5}}),
        ("contacts_taggings_add", {"tag_ids": ["t"] * 51}),
        ("contacts_tags_delete", {"tag_ids": ["t"] * 501}),
        ("custom_fields_delete", {"custom_field_ids": ["f"] * 101}),
        ("list_delete", {"list_ids": ["l"] * 101}),
    ],
)
def test_a_body_against_the_rules_is_a_bad_request(kind: str, change: dict[str, Any]) -> None:
    """Nothing is created, and the violation is counted."""
    vendor = make()
    reply = post(vendor, kind, {**BODIES[kind], **change})

    assert 400 == reply.status
    assert "contacts.api.validation.error" == read(reply)[0]["error_key"]
    assert (1, 0) == (vendor.violations.bad_request, len(vendor.jobs))


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_a_bad_request(body: bytes) -> None:
    """Malformed JSON as well as JSON of another type."""
    assert 400 == ask(make(), "/activities/contact_delete", method="POST", body=body).status


def test_json_beyond_four_megabytes_is_dropped_in_silence() -> None:
    """The import says 201 and holds fewer contacts than were sent."""
    contact = {"email": "a@example.com", "street": "x" * 255}
    activity = read(post(make(), "contacts_json_import", {"import_data": [contact] * 20_000, "list_ids": ["l"]}))

    assert 10_000 < activity["status"]["person_count"] < 15_000


def form(file: str | None, list_ids: str | None, *, name: str = "people.csv") -> dict[str, Any]:
    """Return headers and body of a file import."""
    parts = []
    if file is not None:
        parts.append(f'name="file"; filename="{name}"\r\nContent-Type: text/csv\r\n\r\n{file}')
    if list_ids is not None:
        parts.append(f'name="list_ids"\r\n\r\n{list_ids}')
    text = "".join(f"--xyz\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + "--xyz--\r\n"
    return {"headers": {"Content-Type": "multipart/form-data; boundary=xyz"}, "body": text.encode()}


def upload(vendor: Vendor, **parts: Any) -> Reply:
    """Ask for an import of a file."""
    return ask(vendor, "/activities/contacts_file_import", method="POST", **parts)


def test_a_file_can_be_imported() -> None:
    """Its name is shown, its header row counts as an item but not as a person."""
    reply = upload(make(), **form('"email",first_name\r\na@example.com,A\r\nb@example.com,B', "l1,l2"))
    activity = read(reply)

    assert (201, "people.csv") == (reply.status, activity["source_file_name"])
    assert (3, 2) == (activity["status"]["items_total_count"], activity["status"]["person_count"])


def test_lines_of_a_file_beyond_the_limit_are_dropped_in_silence() -> None:
    """40,000 lines with the header are 39,999 contacts."""
    activity = read(upload(make(), **form("email\n" + "a@b.c\n" * 50_000, "l")))

    assert 39_999 == activity["status"]["person_count"]


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        (form("email\na@b.c", None), 400),
        (form(None, "l"), 400),
        (form("email\na@b.c", ""), 400),
        (form("email\na@b.c", "l," * 51), 400),
        (form("name\nA", "l"), 400),
        (form("", "l"), 400),
        (form("email\na@b.c", "l", name="people.xls"), 415),
        ({"headers": {"Content-Type": "application/json"}, "body": b"{}"}, 415),
        ({"headers": {"Content-Type": "multipart/form-data"}, "body": b"--"}, 400),
    ],
)
def test_a_wrong_upload_is_refused(parts: dict[str, Any], status: int) -> None:
    """400 for its content, 415 for its type."""
    vendor = make()

    assert status == upload(vendor, **parts).status
    assert (1, 0) == (vendor.violations.bad_request, len(vendor.jobs))


def test_a_thousand_queued_jobs_are_the_limit() -> None:
    """Further ones get a 429 without an error key, until the queue has drained."""
    vendor = make()
    for _ in range(1008):  # eight lanes take one each
        vendor.submit(0.0, Life(duration=100))
    full = post(vendor, "contact_exports", {}, 1.0)

    assert 429 == full.status
    assert ["error_message"] == list(read(full))
    assert 201 == post(vendor, "contact_exports", {}, 101.0).status


def test_an_unknown_kind_of_job_cannot_be_submitted() -> None:
    """A mistake in a script shows where it is made."""
    with pytest.raises(ValueError, match="contacts_json_import"):
        make().submit(0.0, kind="contact_imports")


def test_speed_shortens_lives_but_not_the_clock() -> None:
    """Times of jobs stay on the sandbox's clock."""
    vendor = make(speed=10.0)
    activity_id = vendor.submit(0.0, Life(duration=100, delay=10))
    activity = read(ask(vendor, f"/activities/{activity_id}", 11.0))

    assert ("2026-01-01T12:00:01.000Z", "2026-01-01T12:00:11.000Z") == (
        activity["started_at"],
        activity["completed_at"],
    )
