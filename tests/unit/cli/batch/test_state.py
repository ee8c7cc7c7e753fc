"""The state of a batch as a function of snapshots and the time: which rows, how fast, and until when."""

from __future__ import annotations

import pytest

from ccactivity import ActivityStatus
from ccactivity.cli.batch.render import summary
from ccactivity.cli.batch.state import BatchState

from .activities import activity, batch_of


def numbers(batch: BatchState, count: int, now: float) -> list[int]:
    return [int(row.activity_id[:8], 16) for row in batch.rows(count, now)]


# --- which rows -------------------------------------------------------------------------------------------------------


def test_moving_activities_come_before_waiting_ones() -> None:
    """What moves is shown before what waits, and waiting activities in the order in which they came."""
    batch = batch_of(activity(1, "initialized"), activity(2, "initialized"), activity(3), activity(4))

    assert [4, 3, 1] == numbers(batch, 3, now=1.0)


def test_a_row_keeps_its_place() -> None:
    """A change moves no row: a list that sorts itself cannot be read."""
    batch = batch_of(activity(1), activity(2), activity(3))
    before = numbers(batch, 3, now=0.0)
    batch.update(activity(before[2] and 1, percent=50), 1.0)
    batch.update(activity(2, "completed", 100), 1.5)

    assert before == numbers(batch, 3, now=2.0)


def test_an_ended_activity_lingers_and_then_gives_way() -> None:
    """Whoever looks sees how an activity ended, before a waiting one takes its row."""
    batch = batch_of(activity(1), activity(2, "initialized"))

    assert [1] == numbers(batch, 1, now=0.0)

    batch.update(activity(1, "completed", 100), 10.0)

    assert [1] == numbers(batch, 1, now=13.0)
    assert [2] == numbers(batch, 1, now=15.0)


def test_an_activity_that_stands_still_gives_way_to_one_that_moves() -> None:
    """A stuck activity does not hold a row for ever."""
    batch = batch_of(activity(1))

    assert [1] == numbers(batch, 1, now=0.0)

    batch.update(activity(2), 60.0)

    assert [2] == numbers(batch, 1, now=60.0)


def test_a_smaller_terminal_shows_fewer_rows_and_a_larger_one_more() -> None:
    """The size of the terminal may change between two frames."""
    batch = batch_of(*(activity(number) for number in range(1, 6)))
    first = numbers(batch, 5, now=0.0)

    assert first[:2] == numbers(batch, 2, now=0.0)
    assert set(first) == set(numbers(batch, 9, now=0.0))
    assert [] == numbers(batch, -1, now=0.0)


def test_what_has_ended_long_ago_fills_the_rows_that_are_free() -> None:
    """A batch that is over still shows its activities."""
    batch = batch_of(activity(1, "completed"), activity(2, "failed"))

    assert {1, 2} == set(numbers(batch, 10, now=1000.0))


# --- how fast ---------------------------------------------------------------------------------------------------------


def test_rate_and_end_follow_from_what_was_seen_to_happen() -> None:
    """Half an activity in 10 s makes 3 a minute, and 30 s for the one and a half that are left."""
    batch = batch_of(activity(1), activity(2))
    batch.update(activity(1, percent=50), 10.0)

    assert pytest.approx(0.05) == batch.rate(10.0)
    assert pytest.approx(30.0) == batch.seconds_left(10.0)
    assert pytest.approx(0.25) == batch.progress


def test_what_was_done_before_the_first_look_is_no_speed() -> None:
    """Activities that are nearly done when they are first seen promise no early end."""
    batch = batch_of(activity(1, percent=90), now=5.0)

    assert batch.rate(10.0) is None
    assert batch.seconds_left(10.0) is None


def test_the_rate_is_that_of_the_last_minute() -> None:
    """A batch that has come to a stop says so within a minute."""
    batch = batch_of(activity(1))
    batch.update(activity(1, percent=50), 10.0)
    for second in range(20, 90, 10):
        batch.update(activity(1, percent=50), float(second))

    assert batch.rate(90.0) is None


def test_counts() -> None:
    """Everything is counted once, also what ended twice or was given up twice."""
    batch = BatchState(0.0, expected=5)
    refused = ActivityStatus(error_count=2)
    for one in (activity(1, "completed", status=refused), activity(2, "failed"), activity(2, "failed"), activity(3)):
        batch.update(one, 1.0)
    for _ in range(2):
        batch.stop_following("gone", "it is gone")

    assert (5, 2, 1, 1, 1) == (batch.total, batch.ended, batch.completed, batch.partial, batch.unfollowed)
    assert "1 completed, 1 of them with rows refused, 1 failed, 2 in progress, 1 could not be followed" == summary(
        batch
    )
    assert "nothing seen yet" == summary(BatchState(0.0))


def test_what_is_late_is_counted_apart() -> None:
    """What ran out of time is no problem of its id; of a batch that never got an answer, that is what is said."""
    batch = BatchState(0.0, expected=500)

    assert "no answer for 500" == summary(batch)

    batch.stop_following("gone", "it is gone")
    batch.stop_following("late", "it is late", late=True)

    assert "no answer for 499, 1 could not be followed" == summary(batch)

    batch.update(activity(1), 1.0)

    assert "498 in progress, 1 did not end in time, 1 could not be followed" == summary(batch)


def test_progress() -> None:
    """Nothing is done of a batch without activities; all is done once all have ended, however far they got."""
    batch = batch_of(activity(1, "completed"), activity(2, percent=50))

    assert 0.0 == BatchState(0.0).progress
    assert pytest.approx(0.75) == batch.progress

    batch.update(activity(2, "failed", 50), 1.0)

    assert 1.0 == batch.progress
