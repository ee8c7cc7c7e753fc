"""What is learned from the ends of one account: how long work takes, how it stalls, how fast ends come."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.polling.statistics import AccountStatistics
from ccactivity.polling.tuning import Tuning

SECONDS = st.floats(1e-3, 10 * 86_400.0)


def learned(*, durations: Iterable[float] = (), stalls: Iterable[float] = ()) -> AccountStatistics:
    statistics = AccountStatistics(Tuning())
    for seconds in durations:
        statistics.learn_duration(seconds)
    for seconds in stalls:
        statistics.learn_stall(seconds)
    return statistics


@pytest.mark.parametrize(
    ("durations", "typical"),
    [
        ([], 40.0),
        ([160.0], 80.0),
        ([160.0, 640.0], 160.0),
        ([40.0] * 50, 40.0),
        ([1000.0] * 500, 1000.0),
        ([0.0, -5.0], 40.0),
    ],
)
def test_typical_duration(durations: list[float], typical: float) -> None:
    """It is the geometric mean of 40 s and the durations seen, of which later ones never count for less than a 21st;
    none or a negative one says nothing.
    """
    assert pytest.approx(typical, rel=1e-6) == learned(durations=durations).typical_duration


@given(st.lists(SECONDS, max_size=40))
def test_typical_duration_is_among_those_seen(durations: list[float]) -> None:
    """However durations vary, the typical one is between the shortest and the longest."""
    typical = learned(durations=durations).typical_duration

    assert min([40.0, *durations]) * (1 - 1e-9) <= typical <= max([40.0, *durations]) * (1 + 1e-9)


ALIKE = [600.0, 590.0, 605.0, 610.0, 595.0]


@pytest.mark.parametrize(
    ("stalls", "stalled", "remaining"),
    [
        ([], 0.0, None),
        (ALIKE[:4], 300.0, None),  # too few
        ([600.0, 2.0, 90.0, 1200.0, 30.0], 300.0, None),  # not alike
        (ALIKE, 900.0, None),  # longer than any: this one is different
        ([600.0] * 5, 100.0, 500.0),
        ([600.0] * 5, 600.0, 0.5),
    ],
)
def test_remaining_stall(stalls: list[float], stalled: float, remaining: float | None) -> None:
    """Where five or more ended after stalls that were alike, the next one will, too; else nothing is known."""
    assert remaining == learned(stalls=stalls).remaining_stall(stalled)


@given(st.lists(SECONDS, max_size=30), st.floats(0.0, 1e6))
def test_any_remaining_stall(stalls: list[float], stalled: float) -> None:
    """Whatever the stalls were, what remains of one is None, or a time of half a second or more."""
    remaining = learned(stalls=stalls).remaining_stall(stalled)

    assert remaining is None or 0.5 <= remaining < math.inf


def test_completion_rate_without_ends_falls_with_time() -> None:
    """Right after a change an end is expected each six seconds, then ever more rarely; a fifth of them unseen."""
    statistics = AccountStatistics(Tuning())
    statistics.last_change = 100.0
    rates = [statistics.completion_rate(now) for now in (100.0, 112.0, 1000.0)]

    assert pytest.approx([0.2 / 6, 0.2 / 12, 0.2 / 456]) == rates


def test_completion_rate_is_that_of_the_last_ends() -> None:
    """The rate is that of the last thirteen ends; a burst of ends says no more than ends within five seconds."""
    steady, burst = AccountStatistics(Tuning()), AccountStatistics(Tuning())
    for number in range(30):
        steady.on_end(2.0 * number, seen_at_work=False)
        burst.on_end(100.0, seen_at_work=False)
    rates = [steady.completion_rate(58.0) / steady.unseen_share, burst.completion_rate(100.0) / burst.unseen_share]

    assert pytest.approx([12 / 24.0, 12 / 5.0]) == rates


@pytest.mark.parametrize(("seen_at_work", "share"), [(True, 0.2 * 0.92), (False, 0.2 * 0.92 + 0.08)])
def test_unseen_share_follows_the_ends(seen_at_work: bool, share: float) -> None:
    """Each end moves the share of those that nobody had seen at work by 8 %."""
    statistics = AccountStatistics(Tuning())
    statistics.on_end(0.0, seen_at_work=seen_at_work)

    assert pytest.approx(share) == statistics.unseen_share


def test_a_memo_is_what_another_process_goes_on_from() -> None:
    """With ages in place of times, for its clock is another one; and as JSON."""
    one = AccountStatistics(Tuning())
    one.last_change = 90.0
    for now in (50.0, 60.0, 80.0):
        one.on_end(now, seen_at_work=True)
    for seconds in (30.0, 40.0):
        one.learn_duration(seconds)
        one.learn_stall(seconds)
    other = AccountStatistics(Tuning())
    other.resume(json.loads(json.dumps(one.to_memo(100.0))), 1_100.0)

    assert one.completion_rate(100.0) == pytest.approx(other.completion_rate(1_100.0))
    assert one.typical_duration == other.typical_duration
    assert one.unseen_share == other.unseen_share
    assert one.to_memo(100.0) == other.to_memo(1_100.0)


def test_a_memo_of_nothing_changes_nothing() -> None:
    other = AccountStatistics(Tuning())
    other.resume(AccountStatistics(Tuning()).to_memo(5.0), 7.0)

    assert -math.inf == other.last_change
    assert other.to_memo(9.0) == AccountStatistics(Tuning()).to_memo(9.0)
