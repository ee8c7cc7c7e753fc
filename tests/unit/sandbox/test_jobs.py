"""Bulk jobs, and how the API shows them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ccactivity.sandbox import Life
from ccactivity.sandbox.jobs import JOB_KINDS

from .helpers import START, ask, flat, make, pages, read

IMPORT_COUNTERS = [
    "items_total_count",
    "person_count",
    "error_count",
    "correctable_count",
    "cannot_add_to_list_count",
]
COUNTERS = {
    "add_list_memberships": ["items_total_count", "items_completed_count", "list_count"],
    "contact_delete": ["list_count", "items_total_count", "items_completed_count"],
    "contact_exports": ["items_total_count", "items_completed_count"],
    "contacts_file_import": IMPORT_COUNTERS,
    "contacts_json_import": IMPORT_COUNTERS,
    "contacts_taggings_add": ["items_total_count", "items_completed_count"],
    "contacts_taggings_remove": ["items_total_count", "items_completed_count"],
    "contacts_tags_delete": ["items_total_count", "items_completed_count"],
    "custom_fields_delete": None,
    "list_delete": ["list_count"],
    "remove_list_memberships": ["items_total_count", "items_completed_count", "list_count"],
}
WITH_RESULTS = {"contact_exports", "contacts_taggings_add", "contacts_taggings_remove", "contacts_tags_delete"}
WITHOUT_MILLISECONDS = {"contacts_taggings_add", "contacts_taggings_remove", "contacts_tags_delete", "list_delete"}


@pytest.mark.parametrize("kind", COUNTERS)
def test_every_kind_of_job_has_its_documented_shape(kind: str) -> None:
    """The counters, links and times of that kind alone."""
    vendor = make()
    activity = read(ask(vendor, f"/v3/activities/{vendor.submit(0.0, kind=kind)}"))

    assert COUNTERS[kind] == (list(activity["status"]) if "status" in activity else None)
    assert (kind in WITH_RESULTS) == ("results" in activity["_links"])
    assert (".000Z" in activity["created_at"]) == (kind not in WITHOUT_MILLISECONDS)


def test_every_kind_of_job_is_documented_here() -> None:
    """Also those that nobody has asked for in a test."""
    assert set(COUNTERS) == set(JOB_KINDS)


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
    } == read(ask(vendor, f"/v3/activities/{activity_id}", 40.0))


def test_an_activity_shows_only_what_is_known_yet() -> None:
    """A queued job has no start, a running one no end; items and errors grow with its progress."""
    vendor = make()
    life = Life(duration=40, delay=5, update_every=10, errors=("Line 2: x", "Line 3: y"))
    activity_id = vendor.submit(0.0, life, kind="contact_delete", rows=100, lists=2)
    queued = read(ask(vendor, f"/v3/activities/{activity_id}", 4.0))
    running = read(ask(vendor, f"/v3/activities/{activity_id}", 27.0))

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

    assert "completed" == read(ask(vendor, f"/v3/activities/{activity_id}", ended))["state"]


def test_speed_shortens_lives_but_not_the_clock() -> None:
    """Times of jobs stay on the sandbox's clock."""
    vendor = make(speed=10.0)
    activity_id = vendor.submit(0.0, Life(duration=100, delay=10))
    activity = read(ask(vendor, f"/v3/activities/{activity_id}", 11.0))

    assert ("2026-01-01T12:00:01.000Z", "2026-01-01T12:00:11.000Z") == (
        activity["started_at"],
        activity["completed_at"],
    )


def test_an_unknown_kind_of_job_cannot_be_submitted() -> None:
    """A mistake in a script shows where it is made."""
    with pytest.raises(ValueError, match="contacts_json_import"):
        make().submit(0.0, kind="contact_imports")


def test_an_unknown_order_is_refused() -> None:
    """A mistake in a script shows where it is made."""
    with pytest.raises(ValueError, match="newest"):
        make(order="newest first")


def test_an_oldest_first_list_begins_with_the_history() -> None:
    """What is new comes last, and what ended before the start did so within ten days."""
    vendor = make(history=3, order="oldest")
    new = vendor.submit(0.0, Life())
    rows = read(ask(vendor, "/v3/activities", 1.0))["activities"]

    assert [new] == [row["activity_id"] for row in rows[3:]]
    assert sorted(row["created_at"] for row in rows) == [row["created_at"] for row in rows]
    assert all(row["completed_at"] < "2026-01-01T12" for row in rows[:3])
    assert all(row["created_at"] > (START - timedelta(days=9)).isoformat() for row in rows)


def test_a_shuffled_list_has_an_order_of_its_own() -> None:
    """Neither that of creation nor its reverse, and always the same."""
    vendor = make(order="shuffled")
    ids = [vendor.submit(0.0, Life()) for _ in range(20)]
    (found,) = pages(vendor, "/v3/activities", 1.0)

    assert sorted(ids) == sorted(found)
    assert found not in (ids, ids[::-1])
    assert [found] == pages(vendor, "/v3/activities", 2.0)


def test_a_history_may_hold_twenty_thousand_activities() -> None:
    """All of them ended, listed once, and to be asked for one by one."""
    vendor = make(history=20_000)
    ids = flat(pages(vendor, "/v3/activities?limit=500"))

    assert 20_000 == len(set(ids)) == len(ids) == len(vendor.jobs)
    assert [[]] == pages(vendor, "/v3/activities?state=processing")
    assert "completed_at" in read(ask(vendor, f"/v3/activities/{ids[-1]}"))
