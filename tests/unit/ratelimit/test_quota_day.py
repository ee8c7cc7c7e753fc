"""The limits of one API key: the UTC day, clocks that jump, and the budget of watching."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.quota_callers import CLOSE, MIDNIGHT, NOON, Callers, ask, spent, take

from ccactivity.ratelimit.quota import Budget, Quota

# --- the day ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per_day", "reserve", "former", "polls"),
    [
        (100, 10, 0, 90),
        (100, 0, 0, 100),
        (100, 50, 0, 90),
        (100, 5, 0, 95),
        (100, 10, 50, 45),
        (100, 10, 100, 0),
        (1_000, 50, 0, 950),
        (1, 0, 0, 1),
    ],
)
def test_reserve(per_day: int, reserve: int, former: int, polls: int) -> None:
    """Watches leave the reserve of the day to single calls, at most a tenth of what is left; then nobody is let in."""
    quota = Quota(4, per_day, reserve, spent=former)
    moments = itertools.count(0.0, 10.0)
    for _ in range(polls):
        take(quota, next(moments), background=True)

    assert 12 * 3600 == ask(quota, next(moments), background=True)
    for _ in range(per_day - former - polls):
        take(quota, next(moments))
    assert 12 * 3600 == ask(quota, next(moments))
    assert (per_day, 0) == (spent(quota, NOON), quota.remaining)
    assert 0 == ask(quota, next(moments), MIDNIGHT)


def test_refund_restores_the_day() -> None:
    """A grant that was given back is not charged."""
    quota = Quota(4, 1, 0)
    grant = take(quota, 0)
    quota.refund(grant)

    assert 0 == spent(quota, NOON)
    take(quota, 10)
    assert 12 * 3600 == ask(quota, 20)


def test_refund_of_yesterday() -> None:
    """A grant of yesterday that is given back today is taken off yesterday."""
    quota = Quota()
    grant = take(quota, 0, MIDNIGHT - timedelta(seconds=1))
    take(quota, 2, MIDNIGHT + timedelta(seconds=1))
    quota.refund(grant)

    assert [0, 1] == [spent(quota, wall) for wall in (NOON, MIDNIGHT)]


def test_refund_of_a_day_that_is_forgotten() -> None:
    """A grant that is given back after the clock was set ahead by days is taken off none of them."""
    quota = Quota()
    grant = take(quota, 0)
    walls = [NOON + timedelta(days=day) for day in range(1, 5)]
    for number, wall in enumerate(walls):
        take(quota, 10.0 * (number + 1), wall)
    quota.refund(grant)

    assert [1, 1, 1] == [spent(quota, wall) for wall in walls[1:]]


@pytest.mark.parametrize(
    ("sent_at", "back_at", "yesterday", "today"),
    [
        (-2.0, -1.0, 1, 0),
        (-1.0, 0.0, 1, 1),
        (-1.0, 30.0, 1, 1),
        (0.0, 1.0, 0, 1),
    ],
)
@pytest.mark.parametrize("how", ["answered", "unanswered", "throttled", "exceeded"])
def test_under_way_at_midnight(how: str, sent_at: float, back_at: float, yesterday: int, today: int) -> None:
    """A request under way at 00:00 UTC is charged to both days, whatever becomes of it."""
    quota = Quota()
    grant = take(quota, 0, MIDNIGHT + timedelta(seconds=sent_at))
    wall = MIDNIGHT + timedelta(seconds=back_at)
    if how == "throttled":
        quota.throttled(grant, back_at - sent_at, wall, 1.0)
    elif how == "exceeded":
        quota.exceeded(grant, back_at - sent_at, wall, server=None, jitter=1.0)
    else:
        getattr(quota, how)(grant, wall)

    assert [yesterday, today] == [spent(quota, NOON), spent(quota, MIDNIGHT)]


def test_more_than_the_day() -> None:
    """What is charged to both days may be more than a day has: nothing is left then, not less than nothing."""
    quota = Quota(4, 1, 0)
    grant = take(quota, 0)
    take(quota, 1, MIDNIGHT)
    quota.answered(grant, MIDNIGHT)

    assert (2, 0) == (spent(quota, MIDNIGHT), quota.remaining)


@given(
    per_day=st.integers(1, 12),
    gaps=st.lists(st.floats(0, 40_000) | st.floats(0, 2), min_size=1, max_size=40),
    kinds=st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_any_day(per_day: int, gaps: list[float], kinds: list[bool]) -> None:
    """No UTC day ever has more grants than the vendor allows, whenever they are asked for."""
    callers = Callers(Quota(4, per_day, 1))
    for gap, background in zip(gaps, kinds, strict=False):
        callers.enter(background=background)
        callers.run(gap)
    callers.run(50 * 86_400)
    days = [(NOON + timedelta(seconds=grant.at)).date() for _, grant in callers.granted]

    assert len(gaps) == len(days)
    assert per_day >= max(days.count(day) for day in set(days))
    assert days == [grant.day for _, grant in callers.granted]


# --- clocks -------------------------------------------------------------------------------------------------

ZONES = ["UTC", "America/New_York", "Europe/London", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Kiritimati"]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    ("utc", "left"),
    [
        (datetime(2026, 3, 8, 6, 59, 59, tzinfo=UTC), 17 * 3600 + 1),  # New York goes forward
        (datetime(2026, 3, 8, 7, tzinfo=UTC), 17 * 3600),
        (datetime(2026, 11, 1, 5, 30, tzinfo=UTC), 18.5 * 3600),  # the hour that New York has twice
        (datetime(2026, 11, 1, 6, 30, tzinfo=UTC), 17.5 * 3600),
        (datetime(2026, 3, 29, 0, 59, 59, tzinfo=UTC), 23 * 3600 + 1),  # London goes forward
        (datetime(2026, 10, 25, 1, tzinfo=UTC), 23 * 3600),
        (datetime(2026, 4, 4, 15, 30, tzinfo=UTC), 8.5 * 3600),  # Lord Howe goes back by half an hour
        (datetime(2026, 1, 1, 23, 59, 59, 999_999, tzinfo=UTC), 1e-6),
        (datetime(2026, 1, 1, tzinfo=UTC), 86_400),
    ],
    ids=str,
)
def test_local_time(zone: str, utc: datetime, left: float) -> None:
    """The day is UTC's wherever the clock's zone is, and in the hours when summer time begins and ends."""
    wall = utc.astimezone(ZoneInfo(zone))
    quota = Quota(4, 10, 0, spent=9)
    grant = take(quota, 0, wall)

    assert utc.date() == grant.day
    assert left == pytest.approx(ask(quota, 10, wall))
    assert (utc + timedelta(seconds=left)) == quota.reopens_at(10, wall)
    assert 10 == spent(quota, utc)


@pytest.mark.parametrize("zone", ZONES)
def test_vendor_in_another_zone(zone: str) -> None:
    """Midnight is UTC's also where the vendor's own time is given in another zone."""
    quota = Quota()
    server = (MIDNIGHT - timedelta(minutes=5)).astimezone(ZoneInfo(zone))
    quota.exceeded(take(quota, 0), 1, NOON, server=server, jitter=0)

    assert 300 == pytest.approx(ask(quota, 1))


def test_clock_set_back_a_day() -> None:
    """A day that comes again because somebody set the clock is not a new one."""
    quota = Quota(4, 2, 0)
    take(quota, 0, MIDNIGHT)
    take(quota, 10, MIDNIGHT)
    take(quota, 20, NOON)

    assert 86_400 == ask(quota, 30, MIDNIGHT)
    assert [1, 2] == [spent(quota, wall) for wall in (NOON, MIDNIGHT)]


def test_clock_set_back_a_week() -> None:
    """After days of work the clock may be set back by a week: requests go on, and are charged."""
    quota = Quota()
    for day in range(5):
        take(quota, day * 86_400.0, NOON + timedelta(days=day))
    earlier = NOON - timedelta(days=7)
    grant = take(quota, 5 * 86_400.0, earlier)
    quota.answered(grant, earlier)

    assert 1 == spent(quota, earlier)


@example(hours=[0, 24, 48, 72, -24, -24], minutes=[0] * 6)
@given(
    hours=st.lists(st.integers(-24 * 400, 24 * 400) | st.integers(-1, 1), max_size=20),
    minutes=st.lists(st.integers(-60, 60), min_size=20, max_size=20),
)
def test_jumping_clock(hours: list[int], minutes: list[int]) -> None:
    """However the wall clock jumps, requests are granted and settled, and no wait is longer than a day."""
    quota = Quota(4, 5, 1)
    for number, (hour, minute) in enumerate(zip(hours, minutes, strict=False)):
        now, wall = 10.0 * number, NOON + timedelta(hours=hour)
        delay = ask(quota, now, wall, background=True)
        assert 0 <= delay <= 86_400
        if delay == 0:
            grant = take(quota, now, wall, background=True)
            quota.answered(grant, wall + timedelta(minutes=minute))
        budget = quota.budget(now, wall)
        assert 0 <= budget.available <= 5
        assert 0 <= budget.refill_rate < math.inf
        assert 0 <= spent(quota, wall) <= number + 1
        assert wall < quota.reopens_at(now, wall) <= wall + timedelta(days=1)


# --- the budget -------------------------------------------------------------------------------------------------


def test_the_budget_refills_evenly() -> None:
    """What the day has left above the reserve flows in evenly until 00:00 UTC."""
    quota = Quota(4, 10_000, 500)
    for number in range(600):
        take(quota, number * 1.0, background=True)
    drained = quota.budget(600.0, NOON)
    later = quota.budget(700.0, NOON)

    assert (10_000 - 600 - 500) / (12 * 3600) == pytest.approx(drained.refill_rate)
    assert later.available - drained.available == pytest.approx(100 * drained.refill_rate)


@pytest.mark.parametrize(
    ("quota", "available"),
    [
        (Quota(), 500),
        (Quota(4, 1_000, 500), 500),
        (Quota(4, 200, 500), 180),
        (Quota(4, 200, 5), 195),
        (Quota(spent=10_000), 0),
        (Quota(spent=9_900), 90),
        (Quota(10, 250_000, 500), 500),
    ],
    ids=repr,
)
def test_first_budget(quota: Quota, available: float) -> None:
    """A day begins with up to 500 requests of budget, and never more than what watches may spend of it."""
    assert available == pytest.approx(quota.budget(1_000.0, NOON).available)


def test_unlimited_budget() -> None:
    """An unlimited quota has a full budget, whatever was spent of it."""
    quota = Quota.unlimited()
    for _ in range(1_000):
        take(quota, 0, background=True)

    assert Budget(500, 0) == quota.budget(0, NOON)


@pytest.mark.parametrize(("background", "cost"), [(True, 1), (False, 0)])
def test_who_pays(background: bool, cost: int) -> None:
    """A poll is paid from the budget of watching, a person's call is not; a refund gives it back."""
    quota = Quota()
    quota.budget(0, NOON)
    grant = take(quota, 0, background=background)
    after = quota.budget(0, NOON).available
    quota.refund(grant)

    assert (500 - cost, 500) == (after, quota.budget(0, NOON).available)


@given(
    per_day=st.integers(1, 3_000),
    reserve=st.integers(0, 600),
    former=st.floats(0, 1),
    steps=st.lists(
        st.tuples(st.floats(0, 2) | st.floats(0, 100_000), st.integers(0, 30), st.booleans(), st.booleans()),
        max_size=30,
    ),
)
def test_any_budget(per_day: int, reserve: int, former: float, steps: list[tuple[float, int, bool, bool]]) -> None:
    """The budget is never negative, never above 500, and never above what watches may spend of the day."""
    callers = Callers(Quota(4, per_day, reserve, spent=int(former * per_day)))
    for gap, number, background, refunded in steps:
        known = len(callers.granted)
        for _ in range(number):
            callers.enter(background=background)
        callers.run(gap)
        for _, grant in callers.granted[known:]:
            if refunded:
                callers.quota.refund(grant)
        budget = callers.quota.budget(callers.now, callers.wall)
        left = per_day - spent(callers.quota, callers.wall)
        spendable = max(0.0, left - min(reserve, left / 10))
        tomorrow = datetime.combine(callers.wall.date() + timedelta(days=1), datetime.min.time(), UTC)
        assert 0 <= budget.available <= min(500, spendable) + CLOSE
        assert spendable == pytest.approx(budget.refill_rate * max(1.0, (tomorrow - callers.wall).total_seconds()))


@pytest.mark.parametrize("every", [1.0, 60.0, 3_600.0, 21_600.0, 43_200.0])
def test_no_burst_at_midnight(every: float) -> None:
    """A day that was spent leaves nothing to the next: its budget flows in from 00:00 UTC on, however long ago
    anybody asked.
    """
    quota = Quota(4, 1_000, 0, spent=1_000)
    now = 0.0
    while now < 43_200:
        assert Budget(0, 0) == quota.budget(now, NOON + timedelta(seconds=now))
        now += every
    budget = quota.budget(43_201, MIDNIGHT + timedelta(seconds=1))

    assert 1_000 / 86_399 == pytest.approx(budget.refill_rate)
    assert budget.available <= 1


def test_last_second_of_the_day() -> None:
    """In the last second of a day, what is left flows as if the second were still whole."""
    quota = Quota(4, 1_000, 0)

    assert 1_000 == quota.budget(0, MIDNIGHT - timedelta(microseconds=1)).refill_rate


def test_the_budget_after_a_jump() -> None:
    """The wall clock may jump: the budget refills by the clock that does not."""
    quota = Quota()
    for number in range(600):
        take(quota, number * 1.0, background=True)
    before = quota.budget(600.0, NOON)
    after = quota.budget(600.0, NOON + timedelta(hours=1))

    assert before.available == after.available
