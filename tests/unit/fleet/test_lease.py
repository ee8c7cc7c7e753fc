"""The lease: who may poll, by the answers to their beats and their own clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.fleet.lease import BeatReply, Lease
from ccactivity.fleet.ledger import Limits

LIMITS = Limits(4, 10_000, 500)


def reply(holder: str = "me", token: int = 7, left: float = 3.0) -> BeatReply:
    return BeatReply(
        holder=holder,
        token=token,
        lease_left=left,
        members=2,
        registered=0,
        snapshots=0,
        news=0,
        limits=LIMITS,
        gone=[],
    )


def test_only_an_answered_beat_that_names_this_member_lets_it_poll() -> None:
    lease = Lease("me", 3.0)
    polled = [lease.polling]
    for now, holder in enumerate(("another", "me")):
        lease.answered(reply(holder), float(now), float(now))
        polled.append(lease.polling)

    assert [False, False, True] == polled
    assert 7 == lease.token


def test_the_holder_gives_up_two_thirds_of_a_lease_after_its_last_good_beat_was_sent() -> None:
    """Not after it was answered: the engine counts from somewhere in between."""
    lease = Lease("me", 3.0)
    lease.answered(reply(), 10.0, 10.5)
    assert 12.0 == lease.gives_up_at()

    polled = []
    for now in (11.9, 12.0):
        lease.failed(now, 0.5)
        polled.append(lease.polling)

    assert [True, False] == polled
    assert math.inf == lease.gives_up_at()


def test_an_answer_that_took_too_long_gives_nothing() -> None:
    lease = Lease("me", 3.0)
    lease.answered(reply(), 0.0, 2.0)

    assert not lease.polling


@pytest.mark.parametrize(("length", "interval"), [(1.0, 1 / 3), (3.0, 1.0), (60.0, 1.0)])
def test_a_beat_is_due_each_third_of_a_lease_and_each_second_at_least(length: float, interval: float) -> None:
    """A server that lost its memory opens after 1.5 s: everyone has told theirs by then, however long the lease is."""
    lease = Lease("me", length)

    assert interval == pytest.approx(lease.interval)
    assert interval - 0.1 == pytest.approx(lease.answered(reply(left=length), 0.0, 0.1))


def test_the_next_beat_comes_when_the_lease_of_another_is_over() -> None:
    lease = Lease("me", 3.0)

    assert 0.25 == lease.answered(reply("another", left=0.25), 5.0, 5.0)
    assert 1.0 == lease.answered(reply("another", left=2.5), 5.0, 5.0)
    assert 0.2 == lease.answered(reply("", left=0.0), 5.0, 5.0)


def test_who_may_not_poll_does_not_hurry() -> None:
    lease = Lease("me", 3.0, willing=False)

    assert not lease.is_candidate(0.0)
    assert 1.0 == lease.answered(reply("", left=0.0), 5.0, 5.0)


def test_who_cannot_poll_leaves_it_to_others_for_a_minute() -> None:
    lease = Lease("me", 3.0)
    lease.answered(reply(), 0.0, 0.0)
    lease.bar(0.5)

    assert not lease.polling
    assert not lease.is_candidate(60.4)
    lease.answered(reply(), 1.0, 1.0)
    assert not lease.polling
    assert lease.is_candidate(60.5)


def test_a_lost_lease_is_a_state_and_no_error() -> None:
    lease = Lease("me", 3.0)
    lease.answered(reply(), 0.0, 0.0)
    lease.lost()

    assert not lease.polling
    assert 7 == lease.seen


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=20))
def test_retries_come_within_a_tenth_and_one_second(chances: list[float]) -> None:
    lease = Lease("me", 3.0)

    assert all(0.1 <= lease.failed(float(now), chance) <= 1.0 for now, chance in enumerate(chances))


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 5.0), st.floats(0.0, 3.0)), max_size=30))
def test_nobody_polls_longer_than_their_last_good_beat_allows(history: list[tuple[bool, float, float]]) -> None:
    """Whatever is answered, and however late."""
    lease, now, best = Lease("me", 3.0), 0.0, -math.inf
    for good, pause, latency in history:
        now += pause
        sent, now = now, now + latency
        if good:
            lease.answered(reply(), sent, now)
            best = sent
        else:
            lease.failed(now, 0.5)
        lease.expire(now)

        assert not lease.polling or now < best + 2.0
