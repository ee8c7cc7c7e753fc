"""Whether a failed attempt is repeated, and after how long: tables over time and chance."""

from __future__ import annotations

import itertools
import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.api.outcome import OutcomeKind
from ccactivity.api.retry import Retry, RetryableError, RetryState
from ccactivity.errors import TransportError

FAILED, UNREADABLE, THROTTLED = OutcomeKind.TRANSIENT, OutcomeKind.UNREADABLE, OutcomeKind.THROTTLED
TOO_MANY, TOKEN = OutcomeKind.TOO_MANY_REQUESTS, OutcomeKind.UNAUTHORIZED
chances = st.floats(0.0, 1.0)


def delay_of(
    state: RetryState,
    reason: OutcomeKind = FAILED,
    count: int = 1,
    *,
    now: float = 0.0,
    started_at: float = 0.0,
    retry_after: float = 0.0,
    chance: float = 0.0,
) -> float | None:
    """The delay before the next attempt, without jitter if nothing else is said."""
    failure = RetryableError(reason, TransportError("reset", method="GET", path="/v3/activities"), retry_after)
    return state.delay(failure, count, started_at=started_at, now=now, chance=chance)


# --- what users give ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["attempts", "base", "cap", "deadline", "budget"])
@pytest.mark.parametrize("value", [0, -1, math.nan, "1", None, True])
def test_a_retry_that_makes_no_sense(name: str, value: Any) -> None:
    """A retry is made of numbers above 0; anything else is an error that names the field."""
    with pytest.raises((TypeError, ValueError), match=name):
        Retry(**{name: value})


def test_a_retry_is_a_value() -> None:
    """A retry cannot be changed, so that one may be shared by sessions."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Retry().attempts = 9  # type: ignore[misc]


# --- how often ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "attempts"), [(FAILED, 5), (UNREADABLE, 3), (THROTTLED, 10), (TOO_MANY, 3), (TOKEN, 3)]
)
def test_attempts(reason: OutcomeKind, attempts: int) -> None:
    """Each reason allows so many attempts in all, the first included."""
    state = RetryState(Retry(budget=100.0))
    counts = itertools.takewhile(lambda count: delay_of(state, reason, count) is not None, itertools.count(1))

    assert attempts == 1 + len(list(counts))


@pytest.mark.parametrize(("attempts", "retries"), [(1, 0), (2, 1), (100, 99)])
def test_attempts_are_a_parameter(attempts: int, retries: int) -> None:
    """`attempts` is for what failed; an unreadable answer is asked for three times whatever it is."""
    state = RetryState(Retry(attempts=attempts, budget=1000.0))
    allowed = [
        [delay_of(state, reason, count) is not None for count in range(1, 101)] for reason in (FAILED, UNREADABLE)
    ]

    assert [retries, 2] == [sum(each) for each in allowed]


# --- after how long -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "retry_after", "chance", "delay"),
    [
        (1, 0.0, 0.0, 0.5),
        (2, 0.0, 0.0, 1.0),
        (3, 0.0, 0.0, 2.0),
        (4, 0.0, 0.0, 4.0),
        (8, 0.0, 0.0, 20.0),  # the cap
        (1000, 0.0, 0.0, 20.0),
        (1, 0.0, 1.0, 0.75),  # up to half as much again
        (8, 0.0, 1.0, 30.0),
        (1, 7.0, 0.0, 7.0),  # what the vendor asked for
        (1, 7.0, 1.0, 7.25),
        (4, 3.0, 0.0, 4.0),
        (1, 3600.0, 0.0, 60.0),
    ],
)
@pytest.mark.parametrize("reason", [FAILED, UNREADABLE])
def test_delays_double(reason: OutcomeKind, count: int, retry_after: float, chance: float, delay: float) -> None:
    """Half a second, one, two, four, up to the cap, and jitter; never less than a Retry-After of up to a minute."""
    state = RetryState(Retry(attempts=2000, budget=10.0))
    expected = None if reason is UNREADABLE and count >= 3 else delay

    assert expected == delay_of(state, reason, count, retry_after=retry_after, chance=chance)


@pytest.mark.parametrize("reason", [THROTTLED, TOO_MANY, TOKEN])
def test_what_did_not_fail_is_not_delayed(reason: OutcomeKind) -> None:
    """What was throttled waits at the limiter, and a new token is used at once: neither takes of the budget."""
    state = RetryState(Retry(budget=1.0))
    delays = [delay_of(state, reason, 1, retry_after=30.0, chance=1.0, now=1000.0) for _ in range(20)]

    assert [0.0] * 20 == delays
    assert 0.5 == delay_of(state)


@pytest.mark.parametrize(("now", "delay"), [(119.5, 0.5), (119.6, None), (500.0, None)])
def test_no_retry_begins_after_the_deadline(now: float, delay: float | None) -> None:
    """A retry that would begin more than 120 s after the first attempt is not made."""
    assert delay == delay_of(RetryState(Retry()), now=1000.0 + now, started_at=1000.0)


@given(
    retry=st.builds(Retry, attempts=st.integers(1, 50), base=st.floats(0.01, 50), cap=st.floats(0.01, 50)),
    reason=st.sampled_from([FAILED, UNREADABLE]),
    count=st.integers(1, 60),
    retry_after=st.floats(0.0, 1e6),
    chance=chances,
)
def test_any_delay(retry: Retry, reason: OutcomeKind, count: int, retry_after: float, chance: float) -> None:
    """Jitter goes up only: a delay is at least what was asked for, and at most half a backoff longer."""
    delay = delay_of(RetryState(retry), reason, count, retry_after=retry_after, chance=chance)
    backoff = min(retry.cap, retry.base * 2.0 ** (count - 1))
    least = max(backoff, min(60.0, retry_after))

    assert delay is None or least <= delay <= least + backoff / 2


# --- the budget -----------------------------------------------------------------------------------------------------


def retries_in(state: RetryState, now: float) -> int:
    """How many retries different questions get at one moment."""
    return sum(delay_of(state, now=now, started_at=now) is not None for _ in range(100))


def test_retries_share_a_budget() -> None:
    """A session has ten retries in store, however many questions fail at once."""
    state = RetryState(Retry())

    assert [10, 0] == [retries_in(state, 100.0), retries_in(state, 100.0)]


@pytest.mark.parametrize(("seconds", "retries"), [(29.0, 0), (30.0, 1), (95.0, 3), (3600.0, 10)])
def test_a_retry_comes_back_in_half_a_minute(seconds: float, retries: int) -> None:
    """Without any answer one retry comes back each 30 s, up to the ten there were."""
    state = RetryState(Retry())
    retries_in(state, 100.0)

    assert retries == retries_in(state, 100.0 + seconds)


@pytest.mark.parametrize(("answers", "retries"), [(1, 0), (2, 1), (9, 4), (1000, 10)])
def test_answers_bring_retries_back(answers: int, retries: int) -> None:
    """Each answer brings back half a retry."""
    state = RetryState(Retry())
    retries_in(state, 100.0)
    for _ in range(answers):
        state.answered()

    assert retries == retries_in(state, 100.0)


@given(
    budget=st.floats(1.0, 20.0),
    steps=st.lists(st.tuples(st.floats(0.0, 100.0), st.booleans()), max_size=60),
)
def test_any_outage(budget: float, steps: list[tuple[float, bool]]) -> None:
    """Retries are never more than the budget, half of the answers, and a thirtieth of the seconds."""
    state, now, retries, answers = RetryState(Retry(budget=budget)), 0.0, 0, 0
    for gap, is_answer in steps:
        now += gap
        if is_answer:
            state.answered()
            answers += 1
        else:
            retries += delay_of(state, now=now, started_at=now) is not None

    assert retries <= budget + answers / 2 + now / 30 + 1e-6


# --- pauses after a 429 ---------------------------------------------------------------------------------------------


def pauses(reason: OutcomeKind, retry_after: float = 0.0, chance: float = 0.0) -> list[float]:
    """The pauses after one 429 after the other, each when the pause before is over."""
    state, now, found = RetryState(Retry()), 0.0, []
    for _ in range(8):
        found.append(state.pause(reason, now=now, retry_after=retry_after, chance=chance))
        now += found[-1]
    return found


@pytest.mark.parametrize(
    ("reason", "least", "expected"),
    [(THROTTLED, 1.0, [1, 2, 4, 8, 16, 32, 60, 60]), (TOO_MANY, 5.0, [5, 10, 20, 40, 60, 60, 60, 60])],
)
def test_pauses_double(reason: OutcomeKind, least: float, expected: list[float]) -> None:
    """Each 429 after a pause makes the next one twice as long, up to a minute; jitter is at most 0.55 of the first."""
    assert [pytest.approx(pause + 0.05 * least) for pause in expected] == pauses(reason)
    assert [pytest.approx(pause + 0.55 * least) for pause in expected] == pauses(reason, chance=1.0)


@pytest.mark.parametrize(("retry_after", "pause"), [(0.5, 1.0), (7.0, 7.0), (60.0, 60.0), (86_400.0, 60.0)])
def test_pauses_are_as_long_as_the_vendor_says(retry_after: float, pause: float) -> None:
    """A Retry-After of up to a minute is kept to."""
    assert pytest.approx(pause + 0.05) == pauses(THROTTLED, retry_after)[0]


def test_what_was_under_way_does_not_lengthen_a_pause() -> None:
    """Several 429s to requests that had been sent before the pause are one sign; one after it is another."""
    state = RetryState(Retry())
    found = [state.pause(THROTTLED, now=now, retry_after=0.0, chance=0.0) for now in (0.0, 0.1, 0.2, 5.0)]

    assert pytest.approx([1.05, 1.05, 1.05, 2.05]) == found


def test_an_answer_ends_the_doubling() -> None:
    """After an answer the next 429 is a first one."""
    state = RetryState(Retry())
    for now in (0.0, 10.0, 20.0):
        state.pause(THROTTLED, now=now, retry_after=0.0, chance=0.0)
    state.answered()

    assert pytest.approx(1.05) == state.pause(THROTTLED, now=100.0, retry_after=0.0, chance=0.0)
