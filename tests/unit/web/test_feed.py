"""The feed: rows from snapshots, and what a viewer gets of their changes."""

from __future__ import annotations

import json
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity import Activity, ActivityStatus
from ccactivity.web.feed import Feed, PageEvent, Position

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def part(number: int, of: int, key: str = "0123abcd", **more: Any) -> Activity:
    """One part of the file customers.csv; its id says which."""
    return Activity(
        **{
            "activity_id": f"part-{number}-{key}",
            "state": "processing",
            "source_file_name": f"customers-{number}of{of}-{key}.csv",
            **more,
        }
    )


def only_row(feed: Feed) -> dict[str, Any]:
    (row,) = feed.rows.values()
    return row


@pytest.mark.parametrize(
    ("state", "section", "word", "over"),
    [
        ("initialized", "waiting", "waiting", False),
        ("processing", "running", "running", False),
        ("completed", "ended", "completed", True),
        ("cancelled", "failed", "cancelled", True),
        ("failed", "failed", "failed", True),
        ("timed_out", "failed", "timed out", True),
        ("paused", "running", "paused", False),
        (None, "running", "state unknown", False),
    ],
)
def test_the_section_of_a_row_is_that_of_its_state(state: str | None, section: str, word: str, over: bool) -> None:
    """A state that the vendor has not documented has not ended."""
    feed = Feed("boot")
    feed.put(Activity(activity_id="one", state=state))
    row = only_row(feed)

    assert (section, word, over) == (row["section"], row["state"], row["over"])


def test_a_row_has_what_the_vendor_tells() -> None:
    """Its file, how much is done, its rows, those that were refused, when it changed, and what is wrong."""
    feed = Feed("boot")
    feed.put(
        Activity(
            activity_id="one",
            state="failed",
            source_file_name="spring.csv",
            percent_done=33,
            updated_at=NOON,
            activity_errors=("Line 3: malformed",),
            status=ActivityStatus(items_total_count=10, person_count=9, error_count=1, correctable_count=2),
        )
    )

    assert only_row(feed) == {
        "key": "one",
        "ids": ["one"],
        "name": "spring.csv",
        "section": "failed",
        "state": "failed",
        "progress": 0.33,
        "rows": 9,
        "refused": 3,
        "at": "2026-01-01T12:00:00+00:00",
        "over": True,
        "errors": ["Line 3: malformed"],
        "more_errors": 0,
    }


def test_what_is_too_long_is_cut() -> None:
    """A row has twenty messages of three hundred characters, and says how many it lacks."""
    feed = Feed("boot")
    feed.put(Activity(activity_id="one", activity_errors=tuple("x" * 301 for _ in range(23))))
    row = only_row(feed)

    assert ["x" * 300 + "…"] * 20 == row["errors"]
    assert 3 == row["more_errors"]


def test_an_id_that_nothing_is_known_of_has_a_row() -> None:
    """It waits; once it is seen, expecting it once more changes nothing."""
    feed = Feed("boot")
    feed.expect("one")
    assert ("waiting", "not seen yet", ["one"]) == tuple(only_row(feed)[name] for name in ("section", "state", "ids"))

    feed.put(Activity(activity_id="one", state="processing"))
    before = feed.position
    feed.expect("one")
    assert before == feed.position
    assert "running" == only_row(feed)["state"]


def test_a_row_says_why_its_activity_cannot_be_followed() -> None:
    """The reason comes first, before what the vendor said; and is gone when the activity is seen again."""
    feed = Feed("boot")
    seen = Activity(activity_id="one", state="processing", activity_errors=("Line 3: malformed",))
    feed.put(seen)
    feed.fail("one", "It is gone.")
    row = only_row(feed)
    assert ("failed", "not followed", True) == (row["section"], row["state"], row["over"])
    assert ["It is gone.", "Line 3: malformed"] == row["errors"]

    feed.put(seen)
    assert "running" == only_row(feed)["state"]


# --- parts of a file ----------------------------------------------------------------------------------------------


def test_the_parts_of_a_file_are_one_row() -> None:
    """It sums what they tell, and says of each message which part it is of."""
    feed = Feed("boot")
    feed.put(part(1, 3, state="completed", status=ActivityStatus(person_count=100, error_count=2), updated_at=NOON))
    later = NOON + timedelta(minutes=1)
    feed.put(part(2, 3, percent_done=50, activity_errors=("Line 9: malformed",), updated_at=later))
    row = only_row(feed)

    assert ["part-1-0123abcd", "part-2-0123abcd"] == row["ids"]
    assert ("customers", "running", "running", False) == (row["name"], row["section"], row["state"], row["over"])
    assert (0.5, 100, 2, {"over": 1, "of": 3}) == (row["progress"], row["rows"], row["refused"], row["parts"])
    assert ["part 2: Line 9: malformed"] == row["errors"]
    assert later.isoformat() == row["at"]


@pytest.mark.parametrize(
    ("states", "section", "word", "over"),
    [
        (["initialized", "initialized"], "waiting", "waiting", False),
        (["initialized", "processing"], "running", "running", False),
        (["initialized", "completed"], "running", "running", False),
        (["completed"], "running", "running", False),
        (["completed", "completed"], "ended", "completed", True),
        (["failed", "processing"], "failed", "1 of 2 parts failed", False),
        (["failed", "failed"], "failed", "2 of 2 parts failed", True),
    ],
)
def test_the_section_of_a_file_is_that_of_its_parts(states: list[str], section: str, word: str, over: bool) -> None:
    """One part that failed is enough; a file has completed when all of its parts have, and not before."""
    feed = Feed("boot")
    for number, state in enumerate(states, 1):
        feed.put(part(number, 2, state=state))
    row = only_row(feed)

    assert (section, word, over) == (row["section"], row["state"], row["over"])


def test_an_expected_part_joins_its_file_when_its_name_is_seen() -> None:
    """The row that it had before is gone, also for viewers who saw it."""
    feed = Feed("boot")
    feed.put(part(1, 2))
    feed.expect("part-2-0123abcd")
    before = feed.position
    feed.put(part(2, 2))

    assert ["part-1-0123abcd", "part-2-0123abcd"] == only_row(feed)["ids"]
    (change,) = feed.since(before)
    assert [("part-2-0123abcd", True), ("customers/2/1", None)] == [
        (row["key"], row.get("gone")) for row in json.loads(change.data)["rows"]
    ]


def test_the_same_file_once_more_is_a_row_of_its_own() -> None:
    """A part that is there already, under another name, is of another import; under the same, it was sent twice."""
    feed = Feed("boot")
    feed.put(part(1, 2))
    feed.put(part(2, 2))
    feed.put(part(1, 2, "fedc4321"))
    feed.put(part(2, 2, activity_id="sent twice"))

    assert [
        ["part-1-0123abcd", "part-2-0123abcd", "sent twice"],
        ["part-1-fedc4321"],
    ] == [row["ids"] for row in feed.rows.values()]


def test_ten_thousand_files_of_one_name_are_rows_at_once() -> None:
    """As of a nightly import; each is placed without a look at all those before it."""
    feed = Feed("boot")
    began = time.process_time()
    for number in range(10_000):
        feed.put(Activity(activity_id=f"a{number}", source_file_name=f"nightly-1of1-{number:08x}.csv"))

    assert 10_000 == len(feed.rows)
    assert time.process_time() - began < 10, "0.3 s, and a minute if each were compared with all others"


def test_files_whose_rows_are_dropped_are_forgotten() -> None:
    """Whatever comes later under their name is a row of its own, also if it was sent twice."""
    feed = Feed("boot", max_rows=2)
    feed.put(part(1, 1, "00000001", state="completed", activity_id="sent twice"))
    for suffix in ("00000001", "00000002", "00000003", "00000001"):
        feed.put(part(1, 1, suffix, state="completed"))
    assert [["part-1-00000003"], ["part-1-00000001"]] == [row["ids"] for row in feed.rows.values()]

    for each in ("one", "two"):
        feed.put(Activity(activity_id=each, state="completed"))
    feed.put(part(1, 1, "00000002", state="completed"))
    assert ["two", "customers/1/1"] == list(feed.rows)


@pytest.mark.parametrize("name", ["customers.csv", "a-1of2-0123.csv", "a-1of2-0123abcd.txt", "-1of2-0123abcd.csv"])
def test_other_names_make_no_parts(name: str) -> None:
    """Only names of that form belong together."""
    feed = Feed("boot")
    for activity_id in ("one", "two"):
        feed.put(Activity(activity_id=activity_id, source_file_name=name))

    assert ["one", "two"] == list(feed.rows)


# --- what a viewer gets -------------------------------------------------------------------------------------------


def test_a_viewer_gets_everything_and_then_what_has_changed() -> None:
    """A row that changed twice comes once, as it is now."""
    feed = Feed("boot")
    feed.put(Activity(activity_id="one", state="initialized"))
    (snapshot,) = feed.since(None)
    position = feed.position
    for percent in (10, 20):
        feed.put(Activity(activity_id="two", state="processing", percent_done=percent))
    (change,) = feed.since(position)

    assert ("snapshot", "boot-1") == (snapshot.event, snapshot.id)
    assert ["one"] == [row["key"] for row in json.loads(snapshot.data)["rows"]]
    assert ("change", "boot-3") == (change.event, change.id)
    assert [("two", 0.2)] == [(row["key"], row["progress"]) for row in json.loads(change.data)["rows"]]
    assert [] == feed.since(feed.position)
    assert feed.since(position) is feed.since(position), "encoded once, for all viewers at one position"


def test_an_older_snapshot_changes_nothing() -> None:
    """One from a list, for instance, that is behind what a watch has seen."""
    feed = Feed("boot")
    feed.put(Activity(activity_id="one", state="completed", updated_at=NOON))
    feed.put(Activity(activity_id="one", state="processing", updated_at=NOON - timedelta(seconds=1)))

    assert "completed" == only_row(feed)["state"]


def test_the_same_snapshot_is_no_change() -> None:
    """What looks the same on the page is not sent."""
    feed = Feed("boot")
    for minute in (1, 1):
        feed.put(Activity(activity_id="one", updated_at=NOON + timedelta(minutes=minute)))

    assert 1 == feed.position.sequence


def test_the_bytes_of_an_event() -> None:
    """They are those of server-sent events: an id, a name, the data on one line, and an empty line."""
    assert (
        b'id: boot-1\nevent: change\ndata: {"a":"\\n"}\n\n'
        == PageEvent(event="change", data='{"a":"\\n"}', id="boot-1").encoded
    )
    assert b"event: end\ndata: {}\n\n" == PageEvent(event="end", data="{}").encoded


def test_the_status_comes_when_it_has_changed() -> None:
    """It has no id of its own, and is sent to whoever has not got it."""
    feed = Feed("boot")
    feed.put(Activity(activity_id="one"))
    feed.set_status({"spent": 1})
    feed.set_status({"spent": 1})
    position = feed.position

    assert Position(1, 1) == position
    assert ["snapshot", "quota"] == [event.event for event in feed.since(None)]
    assert ["quota"] == [event.event for event in feed.since(feed.resume("boot-1"))]
    assert [] == feed.since(position)
    feed.set_status({"spent": 2})
    assert [(None, '{"spent":2}')] == [(event.id, event.data) for event in feed.since(position)]


@pytest.mark.parametrize(
    ("last_event_id", "sequence"),
    [
        ("boot-3", 3),
        ("boot-0", 0),
        ("boot-4", None),
        ("other-3", None),
        ("boot-x", None),
        ("boot--1", None),
        ("boot-٣", None),
        ("3", None),
        ("", None),
        (None, None),
    ],
)
def test_resuming(last_event_id: str | None, sequence: int | None) -> None:
    """An id of this feed is a position in it; anything else means that everything is needed."""
    feed = Feed("boot")
    for name in "abc":
        feed.put(Activity(activity_id=name))

    assert (None if sequence is None else Position(sequence, 0)) == feed.resume(last_event_id)


def test_who_is_too_far_behind_gets_everything() -> None:
    """A thousand changes are remembered."""
    feed = Feed("boot")
    for percent in range(1_001):
        feed.put(Activity(activity_id="one", percent_done=percent % 100, activity_errors=(str(percent),)))

    assert "snapshot" == feed.since(Position(0, 0))[0].event
    assert "change" == feed.since(Position(1, 0))[0].event


def test_a_row_that_was_dropped_may_come_back() -> None:
    """As one that had ended, and cannot be followed again."""
    feed = Feed("boot", max_rows=1)
    for each in ("one", "two"):
        feed.put(Activity(activity_id=each, state="completed"))
    feed.fail("one", "It is gone.")

    assert ["It is gone."] == only_row(feed)["errors"]


def test_who_is_too_far_behind_costs_no_memory() -> None:
    """However far: the snapshot is encoded once, and of other positions some are kept."""
    feed = Feed("boot")
    for number in range(3_000):
        feed.put(Activity(activity_id=f"a{number}", state="completed"))
    snapshot = feed.since(None)

    assert all(snapshot is feed.since(feed.resume(f"boot-{number}")) for number in range(2_000))
    tracemalloc.start()
    try:
        for number in range(2_000, 3_000, 5):
            feed.since(feed.resume(f"boot-{number}"))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10e6


def test_the_oldest_that_are_over_are_dropped() -> None:
    """A board that runs for months does not grow: of more rows than the page could use, the oldest ends go."""
    feed = Feed("boot", max_rows=3)
    feed.expect("running")
    feed.put(part(1, 1, state="completed"))
    for name in ("x", "y"):
        feed.expect(name)
        feed.fail(name, "gone")
    feed.put(Activity(activity_id="z", state="completed"))

    assert ["running", "y", "z"] == list(feed.rows)
    for name in "abc":
        feed.expect(name)
    assert ["running", "a", "b", "c"] == list(feed.rows), "what is not over stays"


IDS = st.sampled_from(["one", "two", "three"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("expect"), IDS),
        st.tuples(st.just("fail"), IDS),
        st.tuples(
            st.just("put"),
            st.builds(
                Activity,
                activity_id=IDS,
                state=st.sampled_from(["processing", "completed", "failed"]),
                percent_done=st.integers(0, 100),
                source_file_name=st.sampled_from([None, "a.csv", "a-1of2-0123abcd.csv", "a-2of2-0123abcd.csv"]),
            ),
        ),
        st.tuples(st.just("read"), st.booleans()),
    ),
    max_size=40,
)


@given(STEPS)
def test_a_viewer_who_applies_what_they_get_sees_what_is_known(steps: list[tuple[str, Any]]) -> None:
    """Whenever they read, and whether they come back by the id of their last event or stay."""
    feed, page = Feed("boot"), dict[str, Any]()
    position: Position | None = None
    last_id: str | None = None
    for verb, value in [*steps, ("read", False), ("read", True)]:
        match verb:
            case "expect":
                feed.expect(value)
            case "fail":
                feed.expect(value)
                feed.fail(value, "gone")
            case "put":
                feed.put(value)
            case "read":
                for event in feed.since(feed.resume(last_id) if value else position):
                    page = {} if event.event == "snapshot" else page
                    for row in json.loads(event.data)["rows"]:
                        page[row["key"]] = row
                        if row.get("gone"):
                            del page[row["key"]]
                    last_id = event.id
                position = feed.position
                assert feed.rows == page
    followed = [activity_id for row in feed.rows.values() for activity_id in row["ids"]]
    assert len(set(followed)) == len(followed)
