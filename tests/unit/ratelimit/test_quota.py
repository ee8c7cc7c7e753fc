"""The limits of one API key: what users give and see, the second, and the two queues."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import event, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.quota_callers import CLOSE, MIDNIGHT, NOON, Callers, ask, spent, take

from ccactivity.ratelimit.quota import Grant, Quota, Ticket

# --- what users give and see --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        {"per_second": 0},
        {"per_second": 0.5},
        {"per_second": -4},
        {"per_second": math.nan},
        {"per_second": "4"},
        {"per_second": None},
        {"per_second": True},
        {"per_day": 0},
        {"per_day": -1},
        {"per_day": math.nan},
        {"per_day": "many"},
        {"per_day": True},
        {"reserve": -1},
        {"reserve": math.nan},
        {"reserve": None},
        {"reserve": False},
        {"spent": -1},
        {"spent": 10_001},
        {"spent": math.nan},
        {"spent": math.inf},
        {"spent": "0"},
        {"spent": True},
    ],
    ids=repr,
)
def test_wrong_limits(arguments: dict[str, Any]) -> None:
    """A limit that makes no sense is an error that names it."""
    with pytest.raises((TypeError, ValueError), match=next(iter(arguments))):
        Quota(**arguments)


@pytest.mark.parametrize(
    ("quota", "shown"),
    [
        (Quota(), "Quota(per_second=4, per_day=10000, spent=0)"),
        (Quota(10, 250_000, 0, spent=17), "Quota(per_second=10, per_day=250000, spent=17)"),
        (Quota.unlimited(), "Quota(per_second=inf, per_day=inf, spent=0)"),
    ],
    ids=["usual", "partner", "unlimited"],
)
def test_repr(quota: Quota, shown: str) -> None:
    """The repr of a quota says what the limits are and what is spent."""
    assert shown == repr(quota)


def test_before_first_use() -> None:
    """A quota that no session has used yet knows what a former process has spent, and no reset."""
    quota = Quota(spent=4_000)

    assert (4_000, 6_000, None) == (quota.spent, quota.remaining, quota.resets_at)


def test_in_use() -> None:
    """A quota in use tells what is spent and left of the UTC day, and when the next one begins."""
    quota = Quota(spent=4_000)
    quota.attach(lambda: NOON)
    take(quota, 0)

    assert (4_001, 5_999, MIDNIGHT) == (quota.spent, quota.remaining, quota.resets_at)


def test_former_requests_are_of_one_day() -> None:
    """What a former process has spent counts for the day on which the quota is first used, not for the next."""
    quota = Quota(spent=4_000)

    assert [4_000, 0, 4_000] == [spent(quota, wall) for wall in (NOON, MIDNIGHT, NOON)]


@pytest.mark.parametrize("background", [False, True])
def test_unlimited(background: bool) -> None:
    """An unlimited quota never makes anyone wait."""
    callers = Callers(Quota.unlimited())
    for _ in range(1_000):
        callers.enter(background=background)
    callers.run(0)

    assert [0.0] * 1_000 == callers.times
    assert math.inf == callers.quota.remaining


# --- the second ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("per_second", "times"),
    [
        (4, [0, 0, 0, 0, 1.1, 1.1, 1.1, 1.1, 2.2]),
        (1, [0, 1.1, 2.2, 3.3]),
        (10, [0] * 10 + [1.1] * 10 + [2.2]),
    ],
)
def test_burst(per_second: int, times: list[float]) -> None:
    """People may send as many at once as the vendor allows in a second, and the next ones 1.1 s later."""
    callers = Callers(Quota(per_second))
    for _ in times:
        callers.enter()
    callers.run(10)

    assert times == callers.times


@pytest.mark.parametrize(("per_second", "distance"), [(4, 0.3), (1, 1.2), (10, 0.12), (12, 0.1)])
def test_background_distance(per_second: int, distance: float) -> None:
    """Background polls keep an even distance of 1.2 s divided by what the vendor allows in a second."""
    callers = Callers(Quota(per_second))
    for _ in range(9):
        callers.enter(background=True)
    callers.run(20)

    assert [round(distance * number, 6) for number in range(9)] == callers.times


def test_background_keeps_its_distance_from_people() -> None:
    """A background poll keeps its distance from a person's call too, not the call from it."""
    callers = Callers(Quota())
    callers.enter()
    callers.enter(background=True)
    callers.run(1)
    callers.enter()
    callers.run(0)

    assert [0.0, 0.3, 1.0] == callers.times


@pytest.mark.parametrize("start", [0.1 * number for number in range(200)] + [12_345.6789, 1e6 + 0.1])
def test_exactly_in_time(start: float) -> None:
    """Whoever asks at the very moment they were told to is let in, and nobody beyond the limit with them."""
    callers = Callers(Quota(), now=start)
    for gap in (0.05, 0.15, 0.35, 0.0, 0.0, 0.0, 0.0, 0.0):
        callers.enter()
        callers.run(gap)
    callers.run(5)
    times = [grant.at for _, grant in callers.granted]

    assert 8 == len(times)
    assert all(later - earlier >= 1.1 - CLOSE for earlier, later in zip(times, times[4:], strict=False))


def test_fractional_limit() -> None:
    """Of a limit that is no whole number, no request more is sent than it allows."""
    callers = Callers(Quota(2.5))
    for _ in range(6):
        callers.enter()
    callers.run(10)

    assert [0, 0, 1.1, 1.1, 2.2, 2.2] == callers.times


def test_refund_restores_the_second() -> None:
    """A grant that was given back leaves its place in the second to another."""
    quota = Quota()
    first, *_ = [take(quota, 0) for _ in range(4)]
    quota.refund(first)

    assert [0, pytest.approx(1.1)] == [ask(quota, 0), [take(quota, 0), ask(quota, 0)][1]]


def test_a_late_refund_changes_no_second() -> None:
    """A grant that is given back after its second is over takes nothing off the grants of the present one."""
    quota = Quota()
    late = take(quota, 0)
    for _ in range(4):
        take(quota, 10)
    quota.refund(late)

    assert pytest.approx((4, 1.1)) == (spent(quota, NOON), ask(quota, 10))


# --- two queues ---------------------------------------------------------------------------------------------


def test_people_first() -> None:
    """A person's call goes before every poll that waits, in the order of coming among each kind."""
    callers = Callers(Quota(1))
    polls = [callers.enter(background=True) for _ in range(3)]
    people = [callers.enter() for _ in range(3)]
    callers.run(4)

    assert [*people, polls[0]] == [ticket for ticket, _ in callers.granted]
    assert [0, 1.1, 2.2, 3.4] == callers.times


def test_a_poll_waits_for_five_seconds_at_most() -> None:
    """A poll that has waited for five seconds goes next, however many people are there."""
    callers = Callers(Quota(1))
    poll = callers.enter(background=True)
    for _ in range(20):
        callers.enter()
    callers.run(20)
    (place,) = [number for number, (ticket, _) in enumerate(callers.granted) if ticket is poll]

    assert [0, 1.1, 2.2, 3.3, 4.4, 5.6, 6.7] == callers.times[:7]
    assert 5 == place


def test_a_pause_blocks_nobody_longer() -> None:
    """A poll and a person who both wait out a long pause are both let in after it: neither blocks the other."""
    callers = Callers(Quota())
    callers.quota.throttled(take(callers.quota, 0), 0, NOON, 8.0)
    poll, person = callers.enter(background=True), callers.enter()
    callers.run(20)

    assert {poll, person} == {ticket for ticket, _ in callers.granted}


def test_a_poll_that_is_overdue_is_woken() -> None:
    """A poll whose five seconds end while the next person waits for a grant is woken, not forgotten."""
    callers = Callers(Quota(1))
    callers.enter(background=True)
    for _ in range(10):
        callers.enter()
    callers.run(60)

    assert not callers.waiting


def test_leaving() -> None:
    """Whoever gives up a place lets the next one move up, and may do so twice."""
    callers = Callers(Quota(1))
    tickets = [callers.enter() for _ in range(3)]
    callers.run(0.5)
    callers.leave(tickets[1])
    callers.quota.leave(tickets[1])
    callers.run(5)

    assert [tickets[0], tickets[2]] == [ticket for ticket, _ in callers.granted]
    assert [0, 1.1] == callers.times


def test_refund_wakes() -> None:
    """When a grant is given back, whoever is next in the queue may go at once."""
    callers = Callers(Quota(1))
    callers.enter()
    callers.enter()
    callers.run(0.5)
    callers.quota.refund(callers.granted[0][1])
    callers.run(0)

    assert [0, 0.5] == callers.times


class Crowd(RuleBasedStateMachine):
    """People and polls come, go, wait, send, and are throttled, in any order."""

    @initialize(per_second=st.sampled_from([1, 2, 4, 10]), now=st.floats(0, 1e5))
    def begin(self, per_second: int, now: float) -> None:
        self.per_second = per_second
        self.callers = Callers(Quota(per_second, 1e9, 0), now=now)
        self.unsettled: list[Grant] = []
        self.sent: list[Grant] = []
        self.since: dict[Ticket, float] = {}
        self.paused_until = -math.inf

    @rule(kinds=st.lists(st.booleans(), min_size=1, max_size=9), seconds=st.floats(0, 2))
    def come(self, kinds: list[bool], seconds: float) -> None:
        for background in kinds:
            self.since[self.callers.enter(background=background)] = self.callers.now
        self.wait(seconds)

    @rule(seconds=st.floats(0, 6) | st.sampled_from([0.3, 1.1, 1.2, 5.0]))
    def wait(self, seconds: float) -> None:
        end = self.callers.now + seconds
        while self.callers.waiting and (moment := min(self.callers.waiting.values())) <= end:
            before, known = dict(self.callers.waiting), len(self.callers.granted)
            self.callers.run(max(0.0, moment - self.callers.now))
            for ticket, grant in self.callers.granted[known:]:
                self.check(ticket, grant, [other for other in before if other in self.since])
        self.callers.now = end

    def check(self, ticket: Ticket, grant: Grant, waited: list[Ticket]) -> None:
        """Look at one grant as it is given: who was there, and whose turn was it?"""
        ours = [other for other in waited if other.background is ticket.background]
        others = [other for other in waited if other.background is not ticket.background]
        polls = ours if ticket.background else others
        may_overtake = bool(polls) and grant.at - self.since[polls[0]] >= 5.0 - CLOSE
        must_overtake = bool(polls) and grant.at - self.since[polls[0]] > 5.0 + CLOSE
        assert ours[0] is ticket, "the first of its kind goes first"
        if ticket.background:
            event("a poll before people" if others else "a poll alone")
            assert may_overtake or not others, "a poll goes before people only after five seconds"
        else:
            assert not must_overtake, "no person goes before a poll that has waited for five seconds"
        assert grant.at >= self.paused_until - CLOSE, "nobody goes while all are paused"
        if ticket.background and self.sent:
            assert grant.at - self.sent[-1].at >= 1.2 / self.per_second - CLOSE, "a poll keeps its distance"
        del self.since[ticket]
        self.sent.append(grant)
        self.unsettled.append(grant)

    @rule(place=st.integers(0, 9))
    def go(self, place: int) -> None:
        for ticket in list(self.callers.waiting)[place : place + 1]:
            del self.since[ticket]
            self.callers.leave(ticket)

    @rule(place=st.integers(0, 9), how=st.sampled_from(["answered", "unanswered", "refund"]))
    def settle(self, place: int, how: str) -> None:
        for grant in self.unsettled[place : place + 1]:
            self.unsettled.remove(grant)
            if how == "refund":
                self.sent.remove(grant)
                self.callers.quota.refund(grant)
            else:
                getattr(self.callers.quota, how)(grant, self.callers.wall)

    @rule(pause=st.floats(0, 8))
    def throttle(self, pause: float) -> None:
        for grant in self.unsettled[:1]:
            self.unsettled.remove(grant)
            self.callers.quota.throttled(grant, self.callers.now, self.callers.wall, pause)
            self.paused_until = max(self.paused_until, self.callers.now + pause)

    @invariant()
    def the_second(self) -> None:
        """Never more grants than allowed in any 1.1 seconds."""
        times = [grant.at for grant in self.sent]
        assert all(
            later - earlier >= 1.1 - CLOSE for earlier, later in zip(times, times[self.per_second :], strict=False)
        )

    @invariant()
    def the_ledger(self) -> None:
        """Whatever is sent is charged, and nothing else."""
        assert len(self.sent) == spent(self.callers.quota, self.callers.wall)

    @invariant()
    def somebody_asks(self) -> None:
        """While anybody waits, somebody is going to ask again."""
        assert not self.callers.waiting or min(self.callers.waiting.values()) < math.inf

    @rule()
    def everybody_gets_in(self) -> None:
        self.wait(30.0 * len(self.callers.waiting) + 10)
        assert not self.callers.waiting


TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=150, stateful_step_count=30)
