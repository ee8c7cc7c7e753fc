"""What 404 means for an id, as a table over time: wait, expired or gone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.polling.absence import Absence


def decisions(absence: Absence, moments: list[float], *, seen_before: bool = False) -> list[float | None]:
    """What is decided after a 404 at each of these moments."""
    return [absence.not_found(now, seen_before=seen_before) for now in moments]


def waiting(grace: float, *, since: float = 0.0) -> Absence:
    absence = Absence(since)
    absence.wait_for(grace)
    return absence


@pytest.mark.parametrize(
    ("grace", "moments", "expected"),
    [
        (10.0, [0, 1, 2, 4, 8, 10], [1, 1, 2, 4, 2, None]),
        (60.0, [0, 1, 2, 4, 8, 12], [1, 1, 2, 4, 4, 4]),
        (0.5, [0, 0.5], [0.5, None]),
        (0.01, [0, 0.1], [0.1, None]),
        (0.0, [0], [None]),
        (5.0, [3, 8.5], [1, None]),
        (math.inf, [0, 1e6, 1e9], [1, 1, 2]),
    ],
)
def test_a_new_id_has_its_grace(grace: float, moments: list[float], expected: list[float | None]) -> None:
    """A 404 may yet become an activity: it is asked for after 1, 1, 2, 4, 4 s, until `grace` has passed since the first
    404; then it is gone.
    """
    assert expected == decisions(waiting(grace), moments)


def test_an_id_seen_before_is_asked_for_once_more() -> None:
    """The first 404 of an activity that was seen is checked once; the second means expired, whatever the grace."""
    assert [1.0, None] == decisions(waiting(60.0), [0.0, 1.0], seen_before=True)


def test_what_is_seen_again_starts_again() -> None:
    """A 404 that was followed by an answer does not count."""
    absence = waiting(10.0)
    first = absence.not_found(0.0, seen_before=True)
    absence.count = 0

    assert [1.0, 1.0] == [first, absence.not_found(5.0, seen_before=True)]


def test_a_later_subscriber_brings_a_grace_of_its_own() -> None:
    """Who comes to an id that is nearly given up has their whole grace, counted from the next 404."""
    absence = waiting(4.0)
    early = decisions(absence, [0.0, 1.0])
    absence.wait_for(10.0)

    assert [1.0, 1.0] == early
    assert [2.0, 4.0, 1.0, None] == decisions(absence, [3.0, 5.0, 12.0, 13.0])


def test_a_shorter_grace_takes_nothing_away() -> None:
    """Of several subscribers the one who waits longest decides."""
    absence = waiting(20.0)
    absence.wait_for(2.0)
    first = absence.not_found(0.0, seen_before=False)
    absence.wait_for(0.0)

    assert [1.0, 1.0] == [first, absence.not_found(10.0, seen_before=False)]
    assert 20.0 == absence.gives_up_at


def test_after_an_outage_one_more_look_is_enough() -> None:
    """An id that nobody could ask for during its grace is looked at once more, at the end of it but within ten seconds.

    An outage shows nothing; but by then the activity had the time to appear.
    """
    assert [10.0] == decisions(waiting(30.0, since=-60.0), [0.0])
    assert [5.0, None] == decisions(waiting(5.0, since=-60.0), [0.0, 5.0])
    assert [1.0] == decisions(waiting(30.0, since=-29.0), [0.0])


def test_a_resumed_watch_goes_on_waiting() -> None:
    """Where it is known when an id has had its grace, nothing begins again: it is gone by then."""
    absence = Absence(100.0, gives_up_at=103.0)

    assert [1.0, 1.0, None] == decisions(absence, [100.0, 102.0, 103.0])


def test_nobody_waits() -> None:
    """An id that nobody gives any time is gone at its first 404."""
    assert [None] == decisions(Absence(0.0), [0.0])


@given(
    grace=st.floats(0.0, 1000.0),
    since=st.floats(0.0, 100.0),
    gaps=st.lists(st.floats(0.0, 50.0), max_size=20),
)
def test_a_new_id_is_gone_when_its_grace_is_over(grace: float, since: float, gaps: list[float]) -> None:
    """However late the answers come, an id that was never seen is gone at its first 404 after the grace, not before; no
    retry is sooner than a tenth of a second, nor later than ten, nor after the grace.
    """
    absence, now = waiting(grace), since
    first = now
    for gap in gaps:
        decision = absence.not_found(now, seen_before=False)
        left = first + grace - now
        if left <= 0:
            assert decision is None
            return
        assert decision is not None
        assert 0.1 <= decision <= max(0.1, min(10.0, left))
        now += max(decision, gap)


@given(graces=st.lists(st.floats(0.0, 100.0), min_size=1, max_size=5), seen=st.lists(st.booleans(), max_size=10))
def test_an_id_that_was_seen_is_never_gone(graces: list[float], seen: list[bool]) -> None:
    """What was seen expires after two 404s in a row, and not otherwise, whoever waits for it."""
    absence = Absence(0.0)
    in_a_row = 0
    for number, found in enumerate(seen):
        absence.wait_for(graces[number % len(graces)])
        if found:
            absence.count = 0
            in_a_row = 0
            continue
        in_a_row += 1
        decision = absence.not_found(float(number), seen_before=True)
        assert decision == (None if in_a_row > 1 else 1.0)
