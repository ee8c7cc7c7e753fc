"""When an activity may end, from its snapshots: the laws of the forecast, and what each snapshot makes of it."""

from __future__ import annotations

import math
from datetime import datetime

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.planner_world import at, queued, snapshot

from ccactivity.models import Activity
from ccactivity.polling.forecast import QUEUED, UNKNOWN, UNSEEN, WORKING, Forecast, lag_bounds
from ccactivity.polling.statistics import AccountStatistics
from ccactivity.polling.tuning import Tuning

TUNING = Tuning()


def forecast(median_remaining: float = 4.0, *, quadratic: bool = False, looked_at: float = 0.0) -> Forecast:
    return Forecast(looked_at=looked_at, median_remaining=median_remaining, quadratic=quadratic)


def observed(*snapshots: Activity, interval: float = 10.0, dated: bool = True) -> Forecast:
    """The forecast after these snapshots, one each `interval` seconds from loop time 0."""
    known = forecast()
    for number, activity in enumerate(snapshots):
        now = number * interval
        known.observe(activity, now, at(now) if dated else None, AccountStatistics(TUNING))
    return known


# --- the law --------------------------------------------------------------------------------------------------------


@given(st.floats(0.5, 5000.0), st.booleans(), st.floats(0.1, 1000.0))
def test_lag_reaches_inverts_the_expected_lag(median_remaining: float, quadratic: bool, price: float) -> None:
    """The expected lag reaches the price exactly when it is said to."""
    known = forecast(median_remaining, quadratic=quadratic, looked_at=100.0)

    assert math.isclose(price, known.expected_lag(known.lag_reaches(price)), rel_tol=1e-6)


@given(st.floats(0.5, 5000.0), st.booleans(), st.floats(0.0, 20_000.0))
def test_expected_lag_is_the_integral_of_the_probability(median: float, quadratic: bool, elapsed: float) -> None:
    """The slope of the expected lag is the probability of an end: 1/2 (t/r) or 1/2 (t/r)^2, at most 1."""
    known, step = forecast(median, quadratic=quadratic), 1e-3
    slope = (known.expected_lag(elapsed + step) - known.expected_lag(elapsed)) / step
    probability = min(1.0, 0.5 * ((elapsed + step / 2) / median) ** (2 if quadratic else 1))

    assert math.isclose(probability, slope, rel_tol=1e-3, abs_tol=1e-3)


@pytest.mark.parametrize(("quadratic", "lag"), [(True, 10.0 / 6), (False, 2.5)])
def test_at_the_median_the_end_is_as_likely_as_not(quadratic: bool, lag: float) -> None:
    """At the median the lag is a sixth of it with progress, and a quarter without; at the look it is nothing."""
    known = forecast(10.0, quadratic=quadratic, looked_at=5.0)

    assert [0.0, pytest.approx(lag)] == [known.expected_lag(5.0), known.expected_lag(15.0)]


# --- snapshots ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activity", "phase", "quadratic", "median"),
    [
        (queued("a"), QUEUED, False, 4.0),
        # elapsed * (1 - p) / p, with half a step more done than an integer says, 5 % longer
        (snapshot("a", percent=50), WORKING, True, 1.05 * 60 * 0.495 / 0.505),
        (snapshot("a", percent=99), WORKING, True, 0.5),
        # without progress: a share of the typical duration of 40 s and of the time at work
        (snapshot("a", percent=None), WORKING, False, 0.4 * (40 + 60)),
        (snapshot("a", percent=0), WORKING, False, 0.4 * (40 + 60)),
        (snapshot("a", percent=100), WORKING, False, 4.0),
        (snapshot("a", "paused", percent=50), UNKNOWN, False, 60.0),
        (snapshot("a", "paused", percent=50, began=-900.0), UNKNOWN, False, 900.0),
        (Activity(activity_id="a"), UNKNOWN, False, 60.0),
    ],
)
def test_first_snapshot(activity: Activity, phase: str, quadratic: bool, median: float) -> None:
    """What is seen first of an activity decides its phase, and the median of what remains."""
    known = observed(activity)

    assert (phase, quadratic) == (known.phase, known.quadratic)
    assert pytest.approx(median) == known.median_remaining


@pytest.mark.parametrize("percent", [None, -1, 101, 10**30])
def test_what_is_not_a_percentage_is_not_progress(percent: int | None) -> None:
    """Only a number from 0 to 100 is progress."""
    known = observed(snapshot("a", percent=percent))

    assert known.percent is None
    assert not known.quadratic


def test_an_older_snapshot_is_no_look() -> None:
    """A snapshot older than one seen before changes nothing, with a Date and without."""
    known = observed(snapshot("a", percent=90, updated=-5.0))
    before, older, statistics = attrs.asdict(known), snapshot("a", percent=20, updated=-20.0), AccountStatistics(TUNING)
    taken = [known.observe(older, 20.0, date, statistics) for date in (at(20.0), None)]

    assert [False, False] == taken
    assert before == attrs.asdict(known)


def test_what_was_asked_for_later_is_not_older() -> None:
    """A look that began after the last one was answered is taken in, whatever its stamps say."""
    known = observed(snapshot("a", percent=20, updated=-5.0))
    older = snapshot("a", percent=90, updated=-20.0)

    assert known.observe(older, 20.0, at(20.0), AccountStatistics(TUNING), newest=True)
    assert (90, 20.0) == (known.percent, known.looked_at)


def test_a_clock_that_is_set_back_makes_nothing_older() -> None:
    """Where the vendor's stamps and its Date go back together, a later snapshot is known to be later."""
    known = observed(snapshot("a", percent=20, updated=0.0))
    later = snapshot("a", percent=30, updated=10.0 - 3600.0)

    assert known.observe(later, 10.0, at(10.0 - 3600.0), AccountStatistics(TUNING))
    assert (30, 10.0) == (known.percent, known.updated_at)


def test_a_stamp_from_the_future_says_nothing() -> None:
    """A stamp that is ahead of the Date of its own answer is left out: what is seen later is not older."""
    known = observed(snapshot("a", percent=20, updated=0.0), snapshot("a", percent=30, updated=5 * 3600.0))
    vendor_updated_at = known.vendor_updated_at
    honest = snapshot("a", percent=40, updated=20.0)

    assert at(0.0) == vendor_updated_at
    assert known.observe(honest, 20.0, at(20.0), AccountStatistics(TUNING))


def start_of(*, began: float, updated: float = 60.0) -> float:
    """When work began, for all that is known: queued at a look at 10 s, at work at one at 60 s."""
    known = observed(queued("a"), queued("a"), interval=10.0)
    working = snapshot("a", percent=10, began=began, updated=updated)
    known.observe(working, 60.0, at(60.0), AccountStatistics(TUNING))
    return known.started_at


@pytest.mark.parametrize(
    ("began", "start"), [(25.0, 25.0), (-20.0, 10.0), (-3600.0, 35.0), (-5 * 86_400.0, 35.0), (70.0, 35.0)]
)
def test_work_began_between_two_looks(began: float, start: float) -> None:
    """The stamp of the start counts between the looks that it lies between; one that cannot be is left out."""
    assert start == start_of(began=began)


@pytest.mark.parametrize("updated", [-5 * 3600.0, -3.0])
def test_a_new_snapshot_was_made_since_the_last_look(updated: float) -> None:
    """However old its stamp says it is, what was not there at the last look was made after it."""
    known = observed(snapshot("a", percent=10, began=-9 * 3600.0, updated=-6 * 3600.0))
    known.observe(snapshot("a", percent=20, updated=updated), 40.0, at(40.0), AccountStatistics(TUNING))

    assert 0.0 == known.updated_at


@pytest.mark.parametrize(
    ("server_time", "age"),
    [(at(30.0), 30.0), (None, 0.0), (at(-30.0), 0.0), (at(1e9), 10 * 86_400.0)],
    ids=["dated", "without a date", "clock behind", "clock far ahead"],
)
def test_age_of_a_snapshot_is_by_the_vendors_clock(server_time: datetime | None, age: float) -> None:
    """How old a snapshot is is the difference of two of the vendor's stamps, within 0 and the ten days it keeps one."""
    known = forecast()
    known.observe(snapshot("a", updated=0.0), 100.0, server_time, AccountStatistics(TUNING))

    assert 100.0 - age == known.updated_at


def test_progress_since_the_stamp_does_not_remain() -> None:
    """What has passed since the snapshot was made is taken off what remains."""
    known = forecast()
    known.observe(snapshot("a", percent=50, updated=0.0), 20.0, at(20.0), AccountStatistics(TUNING))

    assert pytest.approx(1.05 * 60 * 0.495 / 0.505 - 20.0) == known.median_remaining


def test_what_stalls_is_expected_to_stall_on() -> None:
    """Without progress from one stamp to the next, what remains is a share of the time already stalled."""
    stalled = [snapshot("a", percent=90, updated=100.0 * number) for number in range(4)]
    known = observed(*stalled, interval=100.0)

    assert not known.quadratic
    assert pytest.approx(0.7 * 300.0) == known.median_remaining


def test_stamps_that_make_no_sense_are_left_out() -> None:
    """Where the start is after the update, or more than ten days before, our own first look counts."""
    known = [observed(snapshot("a", percent=50, began=began)) for began in (60.0, -11 * 86_400.0)]

    assert [0.0, 0.0] == [each.started_at for each in known]
    assert all(0.0 < each.median_remaining < math.inf for each in known)


def test_a_suspect_may_have_ended_at_any_time_since_the_last_look() -> None:
    """Missing where all at work are listed, it has ended with even chance by half of the time since the last look."""
    known = observed(snapshot("a", percent=5))
    known.suspect(100.0, TUNING)
    suspected = known.suspect_ended, known.quadratic, known.median_remaining
    known.observe(snapshot("a", percent=6, updated=101.0), 101.0, at(101.0), AccountStatistics(TUNING))

    assert (True, False, 50.0) == suspected
    assert not known.suspect_ended


# --- what ends teach ------------------------------------------------------------------------------------------------


def typical_duration(*ends: tuple[Forecast, Activity]) -> float:
    statistics = AccountStatistics(TUNING)
    for known, end in ends:
        known.on_terminal(end, 100.0, statistics)
    return statistics.typical_duration


@pytest.mark.parametrize(
    ("known", "end", "duration"),
    [
        (observed(snapshot("a")), snapshot("a", "completed", began=-60.0, updated=100.0), 80.0),
        (forecast(), snapshot("a", "completed", began=-60.0, updated=100.0), 40.0),
        (observed(snapshot("a")), snapshot("a", "completed", began=100.0, updated=100.0), 40.0),
        (observed(snapshot("a")), snapshot("a", "completed", began=-11 * 86_400.0, updated=100.0), 40.0),
        (observed(snapshot("a")), Activity(activity_id="a", state="completed"), 40.0),
    ],
    ids=["seen at work", "never seen", "no time at work", "longer than it is kept", "no stamps"],
)
def test_an_end_teaches_the_typical_duration(known: Forecast, end: Activity, duration: float) -> None:
    """The end of what had been seen moves the typical duration (40 s and 160 s: to 80 s), if its stamps can be."""
    assert pytest.approx(duration) == typical_duration((known, end))


def test_unseen_ends_say_nothing() -> None:
    """What was terminal at its first look may have ended long ago: it is no end of the stream."""
    statistics = AccountStatistics(TUNING)
    forecast().on_terminal(snapshot("a", "completed"), 100.0, statistics)

    assert UNSEEN == forecast().phase
    assert TUNING.first_unseen_share == statistics.unseen_share


# --- how late an end was seen ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stamp", "server", "bounds"),
    [
        (100.0, 104.0, (3.0, 5.0)),
        (100.0, 100.0, (0.0, 1.0)),
        (92.0, 104.0, (0.0, 10.0)),
        (110.0, 104.0, (0.0, 10.0)),
        (95.0, 104.0, (8.0, 10.0)),
        (None, 104.0, (0.0, 10.0)),
        (100.0, None, (0.0, 10.0)),
    ],
    ids=["by the stamp", "just now", "before the last look", "in the future", "soon after the last look", "-", "--"],
)
def test_the_lag_of_a_change_is_bounded(stamp: float | None, server: float | None, bounds: tuple[float, float]) -> None:
    """It lies between the last look and now; by the vendor's stamp and clock a second more or less, if that agrees."""
    stamped = None if stamp is None else at(stamp)
    activity = attrs.evolve(snapshot("a", "completed"), completed_at=None, updated_at=stamped)

    assert bounds == lag_bounds(activity, None if server is None else at(server), 10.0)


def test_the_lag_of_an_end_is_by_its_own_stamp() -> None:
    """What changed afterwards is no later end."""
    ended = attrs.evolve(snapshot("a", "completed", updated=107.0), completed_at=at(100.0))

    assert (6.0, 8.0) == lag_bounds(ended, at(107.0), 60.0)
