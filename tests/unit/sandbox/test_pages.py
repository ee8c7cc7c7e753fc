"""Lists of activities: pages, filters and cursors."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.sandbox import Life, Vendor

from .helpers import STRANGER, ask, flat, make, pages, read


@pytest.mark.parametrize("target", ["/v3/activities", "/v3/activities/"])
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

    assert [10, 10] == [len(page) for page in pages(vendor, "/v3/activities?limit=10")]


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
    before = {vendor.submit(0.0, Life()) for _ in range(7)} | set(flat(pages(vendor, "/v3/activities?limit=500")))
    target, now, seen = f"/v3/activities?limit={limit}", 1.0, []
    while True:
        page = read(ask(vendor, target, now))
        seen += [row["activity_id"] for row in page["activities"]]
        if not page["_links"]:
            break
        target, now = page["_links"]["next"]["href"], now + 1.0
        for _ in range(arrivals.pop() if arrivals else 0):
            vendor.submit(now, Life())

    assert len(seen) == len(set(seen))
    assert before <= set(seen)


@pytest.mark.parametrize("state", ["processing", "completed", "cancelled", "failed", "timed_out"])
def test_a_list_can_be_filtered_by_state(state: str) -> None:
    """A filter holds over all pages, also those of the older activities."""
    vendor = make(history=300)
    for _ in range(5):
        vendor.submit(0.0, Life(duration=10))
        vendor.submit(0.0, Life(duration=10, delay=100))
        vendor.submit(0.0, Life(duration=10**6))
        vendor.submit(0.0, Life(duration=1, end="failed"))
    everything = flat(pages(vendor, "/v3/activities?limit=500", 20.0))
    expected = {one for one in everything if vendor.job(one).state(20.0) == state}
    found = pages(vendor, f"/v3/activities?limit=3&state={state}", 20.0)

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
    reply = ask(vendor, f"/v3/activities?{query}")

    assert 400 == reply.status
    assert "contacts.api.validation.error" == read(reply)[0]["error_key"]
    assert 1 == vendor.violations.bad_request == vendor.violations.total


def cursor_of(vendor: Vendor) -> str:
    """Return the cursor of a second page."""
    href: str = read(ask(vendor, "/v3/activities?limit=3&state=completed"))["_links"]["next"]["href"]
    return href.removeprefix("/v3/activities?cursor=")


def test_a_cursor_carries_the_page_size_and_the_filter() -> None:
    """It is base64 that lacks some of its padding, as in the vendor's sample; nothing need be added to it."""
    vendor = make(history=50)
    cursor = cursor_of(vendor)
    plain = base64.b64decode(cursor + "=" * (-len(cursor) % 4)).decode()

    assert re.fullmatch(r"limit=3&state=completed&next=[0-9a-f-]{36}&check=[0-9a-f]{8}", plain)
    assert 3 == len(read(ask(vendor, f"/v3/activities?cursor={cursor}"))["activities"])


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
    reply = ask(vendor, f"/v3/activities?cursor={cursor}")

    assert 400 == reply.status
    assert 1 == vendor.violations.bad_cursor == vendor.violations.total


def test_a_cursor_of_another_account_is_refused() -> None:
    """Cursors are signed."""
    assert 400 == ask(make(history=50, seed=1), f"/v3/activities?cursor={cursor_of(make(history=50))}").status


def test_list_rows_can_lag_behind() -> None:
    """Pages show the world as it was; a single activity is always up to date."""
    vendor = make(stale_rows=30.0)
    activity_id = vendor.submit(0.0, Life(duration=40))

    assert [[]] == pages(vendor, "/v3/activities", 29.0)
    assert "processing" == read(ask(vendor, "/v3/activities", 69.0))["activities"][0]["state"]
    assert "completed" == read(ask(vendor, f"/v3/activities/{activity_id}", 69.0))["state"]
    assert "completed" == read(ask(vendor, "/v3/activities", 70.0))["activities"][0]["state"]


def test_a_row_is_the_activity() -> None:
    """Lists and single requests show the same object, whichever was asked first."""
    vendor = make(history=5)
    vendor.submit(0.0)
    for now in (0.5, 5.0, 5.0, 1e5):
        rows = read(ask(vendor, "/v3/activities", now))["activities"]
        assert rows == [read(ask(vendor, f"/v3/activities/{row['activity_id']}", now)) for row in rows]
