"""The vendor's word against one API key: `throttled` and `quota_exceeded`."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.quota_callers import CLOSE, MIDNIGHT, NOON, Callers, ask, take

from ccactivity.ratelimit.quota import Quota

# --- the vendor's word: throttled ---------------------------------------------------------------------------


@pytest.mark.parametrize("background", [False, True])
def test_throttled_pauses_everyone(background: bool) -> None:
    """After `throttled` nobody sends for as long as the pause."""
    quota = Quota()
    quota.throttled(take(quota, 0), 0.2, NOON, 7.0)

    assert 7.0 == pytest.approx(ask(quota, 0.2, background=background))
    assert 0 == ask(quota, 7.2, background=background)


def test_pauses_do_not_add_up() -> None:
    """Of several pauses the one that ends last counts."""
    quota = Quota()
    first, second, third = (take(quota, 0) for _ in range(3))
    quota.throttled(first, 1.0, NOON, 2.0)
    quota.throttled(second, 1.0, NOON, 5.0)
    quota.throttled(third, 2.0, NOON, 1.0)

    assert 4.0 == pytest.approx(ask(quota, 2.0))


def test_throttled_widens_the_distance() -> None:
    """Each `throttled` doubles the distance of the background, up to sixteen times."""
    distances = []
    quota = Quota()
    for number in range(7):
        now = 100.0 * number
        quota.throttled(take(quota, now), now, NOON, 1.0)
        take(quota, now + 50, background=True)
        distances.append(ask(quota, now + 50, background=True))

    assert [0.6, 1.2, 2.4, 4.8, 4.8, 4.8, 4.8] == pytest.approx(distances)


def test_answers_narrow_the_distance() -> None:
    """As requests go well, the background comes back to its usual distance, and no closer."""
    quota = Quota()
    quota.throttled(take(quota, 0), 0, NOON, 1.0)
    distances = []
    for number in range(1, 101):
        grant = take(quota, 10.0 * number, background=True)
        distances.append(ask(quota, 10.0 * number, background=True))
        quota.answered(grant, NOON)

    assert distances == sorted(distances, reverse=True)
    assert [0.6, 0.3] == pytest.approx([distances[0], distances[-1]])


def test_person_keeps_the_burst() -> None:
    """After the pause a person may use the burst as before."""
    quota = Quota()
    quota.throttled(take(quota, 0), 0, NOON, 2.0)

    assert [0, 0, 0, 0] == [take(quota, 3.0).at - 3.0 for _ in range(4)]


# --- the vendor's word: quota exceeded ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("server", "left"),
    [
        (None, 12 * 3600),
        (NOON + timedelta(hours=1), 11 * 3600),
        (NOON - timedelta(hours=1), 12 * 3600),
        (NOON + timedelta(minutes=14), 12 * 3600 - 14 * 60),
        (NOON - timedelta(minutes=14), 12 * 3600 + 14 * 60),
        (MIDNIGHT - timedelta(seconds=1), 1),
        (MIDNIGHT, 12 * 3600),
        (NOON + timedelta(days=300), 12 * 3600),
    ],
)
def test_exceeded(server: datetime | None, left: float) -> None:
    """After `quota_exceeded` nobody sends until 00:00 UTC by the vendor's clock, the background a little longer.

    Where the two clocks disagree by more than 15 minutes, the earlier 00:00 counts.
    """
    quota = Quota()
    quota.exceeded(take(quota, 0), 5.0, NOON, server=server, jitter=20.0)

    assert left == ask(quota, 5.0)
    assert left + 20 == ask(quota, 5.0, background=True)
    assert left == quota.seconds_until_open(5.0, NOON, background=False)
    assert 0 == ask(quota, 5.0 + left, NOON + timedelta(seconds=left))
    assert 20 == ask(quota, 5.0 + left, NOON + timedelta(seconds=left), background=True)


@given(
    left=st.floats(0.001, 86_400.0),
    wrong_by=st.timedeltas(min_value=timedelta(days=-400), max_value=timedelta(days=400)),
    vendor_is_wrong=st.booleans(),
)
def test_one_wrong_clock_costs_a_quarter_of_an_hour(left: float, wrong_by: timedelta, vendor_is_wrong: bool) -> None:
    """Whichever of the two clocks is wrong, and however far: nobody waits for more than 15 minutes beyond the real
    00:00 UTC, which is `left` seconds away.
    """
    right = MIDNIGHT - timedelta(seconds=left)
    wall, server = (right, right + wrong_by) if vendor_is_wrong else (right + wrong_by, right)
    quota = Quota()
    quota.exceeded(take(quota, 0, wall), 0, wall, server=server, jitter=0.0)

    assert quota.seconds_until_open(0, wall, background=False) <= left + 900 + CLOSE


@pytest.mark.parametrize(
    ("server", "reopens_at"),
    [
        (None, MIDNIGHT),
        (NOON + timedelta(hours=13), MIDNIGHT),
        (NOON + timedelta(hours=1), NOON + timedelta(hours=11)),
        (NOON + timedelta(minutes=10), MIDNIGHT),
    ],
)
def test_reopens_at(server: datetime | None, reopens_at: datetime) -> None:
    """The instant at which a spent day reopens is the vendor's 00:00 UTC; by our clock where the two disagree."""
    quota = Quota()
    quota.exceeded(take(quota, 0), 5.0, NOON, server=server, jitter=20.0)

    assert reopens_at == quota.reopens_at(6.0, NOON + timedelta(seconds=1))


def exceeded(*, background: bool = False, jitter: float = 20.0) -> tuple[Callers, float]:
    """Callers of a quota that was exceeded at noon, and when it reopens."""
    callers = Callers(Quota())
    callers.quota.exceeded(take(callers.quota, 0, background=background), 0, NOON, server=None, jitter=jitter)
    return callers, 12 * 3600.0


def test_no_request_before_the_reset() -> None:
    """Between `quota_exceeded` and the reset nothing is granted; then one goes alone, the probe."""
    callers, reset = exceeded()
    for background in (True, False, True, False):
        callers.enter(background=background)
    callers.run(reset + 100)

    assert [reset] == callers.times
    assert [True] == [grant.probe for _, grant in callers.granted]


def test_probe_of_the_background() -> None:
    """Where only watches wait, one of them is the probe, after the background's own delay."""
    callers, reset = exceeded(jitter=17.0)
    for _ in range(5):
        callers.enter(background=True)
    callers.run(reset + 100)

    assert [reset + 17] == callers.times


def test_probe_answered() -> None:
    """When the probe is answered, everybody is woken and goes as ever."""
    callers, reset = exceeded()
    for _ in range(3):
        callers.enter()
    callers.run(reset + 50)
    callers.quota.answered(callers.granted[0][1], callers.wall)
    callers.run(1)

    assert [reset, reset + 50, reset + 50] == callers.times
    assert [True, False, False] == [grant.probe for _, grant in callers.granted]


@pytest.mark.parametrize("how", ["unanswered", "refund", "throttled"])
def test_probe_without_result(how: str) -> None:
    """A probe that has told nothing is followed by another one, alone again."""
    callers, reset = exceeded()
    for _ in range(3):
        callers.enter()
    callers.run(reset + 50)
    probe = callers.granted[0][1]
    if how == "refund":
        callers.quota.refund(probe)
    elif how == "throttled":
        callers.quota.throttled(probe, callers.now, callers.wall, 0.0)
    else:
        callers.quota.unanswered(probe, callers.wall)
    callers.run(100)

    assert [reset, reset + 50] == callers.times
    assert [True, True] == [grant.probe for _, grant in callers.granted]


def test_probe_refused() -> None:
    """A refused probe is repeated after ten minutes, again and again: the vendor's counter may reset late."""
    callers, reset = exceeded()
    for _ in range(4):
        callers.enter()
    moments = [reset, reset + 605, reset + 1_210, reset + 1_815]
    for moment in moments[:3]:
        callers.run(moment - callers.now)
        callers.run(5)
        callers.quota.exceeded(callers.granted[-1][1], callers.now, callers.wall, server=callers.wall, jitter=0.0)
    callers.run(10_000)

    assert moments == callers.times
    assert all(grant.probe for _, grant in callers.granted)


def test_probe_refused_shortly_before_midnight() -> None:
    """A probe that is refused within ten minutes before 00:00 UTC is repeated at 00:00."""
    callers, reset = exceeded()
    callers.enter()
    callers.run(reset)
    server = MIDNIGHT + timedelta(days=1, minutes=-2)
    callers.quota.exceeded(callers.granted[0][1], callers.now, callers.wall, server=server, jitter=0.0)

    assert 120 == ask(callers.quota, callers.now, callers.wall)


def test_refused_probe_reopens_at() -> None:
    """After a refused probe, the instant at which the day reopens is that of the next probe."""
    callers, reset = exceeded()
    callers.enter()
    callers.run(reset)
    callers.quota.exceeded(callers.granted[0][1], callers.now, callers.wall, server=callers.wall, jitter=0.0)

    assert callers.wall + timedelta(minutes=10) == callers.quota.reopens_at(callers.now, callers.wall)


def test_own_ledger_after_the_reset() -> None:
    """When the vendor's reset is past and our own day is spent, it reopens at the next 00:00 UTC."""
    quota = Quota(4, 1, 0)
    quota.exceeded(take(quota, 0), 1.0, NOON, server=None, jitter=0.0)
    probe = take(quota, 12 * 3600 + 1.0, MIDNIGHT)
    quota.unanswered(probe, MIDNIGHT)

    assert 86_400 == quota.seconds_until_open(12 * 3600 + 2.0, MIDNIGHT, background=False)
    assert MIDNIGHT + timedelta(days=1) == quota.reopens_at(12 * 3600 + 2.0, MIDNIGHT)


def test_exceeded_under_way() -> None:
    """Several requests under way may be told `quota_exceeded`: one probe follows all the same."""
    quota = Quota()
    grants = [take(quota, 0) for _ in range(4)]
    for number, grant in enumerate(grants):
        quota.exceeded(grant, 1.0 + number, NOON + timedelta(seconds=number), server=None, jitter=0.0)
    probe = take(quota, 12 * 3600 + 1.0, MIDNIGHT)

    assert probe.probe
    assert math.inf == ask(quota, 12 * 3600 + 2.0, MIDNIGHT)


def test_an_open_day_has_no_probe() -> None:
    """As long as the vendor has said nothing, no grant is a probe, also on a new day."""
    quota = Quota()

    assert [False, False] == [take(quota, 0).probe, take(quota, 50_000, MIDNIGHT).probe]
