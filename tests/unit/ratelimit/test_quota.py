"""The limits of one API key: the second, the two queues, the day, the budget, and the vendor's word."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ccactivity.ratelimit.quota import Budget, Grant, Quota, Ticket

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)
# Two sums of seconds may differ in their last digit.
CLOSE = 1e-6


class Line:
    """Stands in line for many: asks when it was told to or was woken, and remembers who was granted what.

    It lets an hour pass in no time: `run` goes from one moment at which somebody asks to the next.
    """

    def __init__(self, quota: Quota, *, now: float = 0.0, wall: datetime = NOON) -> None:
        self.quota = quota
        self.now = now
        self.waiting: dict[Ticket, float] = {}
        self.granted: list[tuple[Ticket, Grant]] = []
        self._began = wall - timedelta(seconds=now)

    @property
    def wall(self) -> datetime:
        return self._began + timedelta(seconds=self.now)

    @property
    def times(self) -> list[float]:
        return [round(grant.at, 6) for _, grant in self.granted]

    def enter(self, *, background: bool = False) -> Ticket:
        ticket = Ticket(lambda: self._wake(ticket), background)
        self.quota.enter(ticket, self.now)
        self.waiting[ticket] = self.now
        return ticket

    def leave(self, ticket: Ticket) -> None:
        del self.waiting[ticket]
        self.quota.leave(ticket)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.waiting:
            ticket, moment = min(self.waiting.items(), key=lambda item: item[1])
            if moment > end:
                break
            self.now = max(self.now, moment)
            self.ask(ticket)
        self.now = end

    def ask(self, ticket: Ticket) -> None:
        delay = self.quota.delay(ticket, self.now, self.wall)
        if delay > 0:
            self.waiting[ticket] = max(self.now + delay, math.nextafter(self.now, math.inf))
            return
        del self.waiting[ticket]
        self.granted.append((ticket, self.quota.grant(ticket, self.now, self.wall)))

    def _wake(self, ticket: Ticket) -> None:
        if ticket in self.waiting:
            self.waiting[ticket] = self.now


def nothing() -> None:
    """Wake nobody."""


def take(quota: Quota, now: float, wall: datetime = NOON, *, background: bool = False) -> Grant:
    """Take a grant that has to be there at once."""
    ticket = Ticket(nothing, background)
    quota.enter(ticket, now)
    delay = quota.delay(ticket, now, wall)

    assert delay == 0, f"{delay} s to wait at {now} s, {wall}"
    return quota.grant(ticket, now, wall)


def ask(quota: Quota, now: float, wall: datetime = NOON, *, background: bool = False) -> float:
    """Ask how long somebody would have to wait who comes now."""
    ticket = Ticket(nothing, background)
    quota.enter(ticket, now)
    delay = quota.delay(ticket, now, wall)
    quota.leave(ticket)
    return delay


def spent(quota: Quota, wall: datetime) -> float:
    """What the ledger says of the UTC day of that moment."""
    quota.attach(lambda: wall)
    return quota.spent


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
    line = Line(Quota.unlimited())
    for _ in range(1_000):
        line.enter(background=background)
    line.run(0)

    assert [0.0] * 1_000 == line.times
    assert math.inf == line.quota.remaining


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
    line = Line(Quota(per_second))
    for _ in times:
        line.enter()
    line.run(10)

    assert times == line.times


@pytest.mark.parametrize(("per_second", "distance"), [(4, 0.3), (1, 1.2), (10, 0.12), (12, 0.1)])
def test_background_distance(per_second: int, distance: float) -> None:
    """Background polls keep an even distance of 1.2 s divided by what the vendor allows in a second."""
    line = Line(Quota(per_second))
    for _ in range(9):
        line.enter(background=True)
    line.run(20)

    assert [round(distance * number, 6) for number in range(9)] == line.times


def test_background_keeps_its_distance_from_people() -> None:
    """A background poll keeps its distance from a person's call too, not she from it."""
    line = Line(Quota())
    line.enter()
    line.enter(background=True)
    line.run(1)
    line.enter()
    line.run(0)

    assert [0.0, 0.3, 1.0] == line.times


@pytest.mark.parametrize("start", [0.1 * number for number in range(200)] + [12_345.6789, 1e6 + 0.1])
def test_exactly_in_time(start: float) -> None:
    """Whoever asks at the very moment she was told to is let in, and nobody beyond the limit with her."""
    line = Line(Quota(), now=start)
    for gap in (0.05, 0.15, 0.35, 0.0, 0.0, 0.0, 0.0, 0.0):
        line.enter()
        line.run(gap)
    line.run(5)
    times = [grant.at for _, grant in line.granted]

    assert 8 == len(times)
    assert all(later - earlier >= 1.1 - CLOSE for earlier, later in zip(times, times[4:], strict=False))


def test_fractional_limit() -> None:
    """Of a limit that is no whole number, no request more is sent than it allows."""
    line = Line(Quota(2.5))
    for _ in range(6):
        line.enter()
    line.run(10)

    assert [0, 0, 1.1, 1.1, 2.2, 2.2] == line.times


def test_refund_restores_the_second() -> None:
    """A grant that was given back leaves its place in the second to another."""
    quota = Quota()
    first, *_ = [take(quota, 0) for _ in range(4)]
    quota.refund(first)

    assert [0, pytest.approx(1.1)] == [ask(quota, 0), [take(quota, 0), ask(quota, 0)][1]]


# --- two queues ---------------------------------------------------------------------------------------------


def test_people_first() -> None:
    """A person's call goes before every poll that waits, in the order of coming among each kind."""
    line = Line(Quota(1))
    polls = [line.enter(background=True) for _ in range(3)]
    people = [line.enter() for _ in range(3)]
    line.run(4)

    assert [*people, polls[0]] == [ticket for ticket, _ in line.granted]
    assert [0, 1.1, 2.2, 3.4] == line.times


def test_patience_of_a_poll() -> None:
    """A poll that has waited for five seconds goes next, however many people are there."""
    line = Line(Quota(1))
    poll = line.enter(background=True)
    for _ in range(20):
        line.enter()
    line.run(20)
    (place,) = [number for number, (ticket, _) in enumerate(line.granted) if ticket is poll]

    assert [0, 1.1, 2.2, 3.3, 4.4, 5.6, 6.7] == line.times[:7]
    assert 5 == place


def test_patience_outlives_a_pause() -> None:
    """A poll and a person who both wait out a long pause are both let in after it: the poll does not block her."""
    line = Line(Quota())
    line.quota.throttled(take(line.quota, 0), 0, NOON, 8.0)
    poll, person = line.enter(background=True), line.enter()
    line.run(20)

    assert {poll, person} == {ticket for ticket, _ in line.granted}


def test_patience_between_two_people() -> None:
    """A poll whose five seconds end while the next person waits for her second is woken, not forgotten."""
    line = Line(Quota(1))
    line.enter(background=True)
    for _ in range(10):
        line.enter()
    line.run(60)

    assert not line.waiting


def test_leaving() -> None:
    """Whoever gives up her place lets the next one move up, and may do so twice."""
    line = Line(Quota(1))
    tickets = [line.enter() for _ in range(3)]
    line.run(0.5)
    line.leave(tickets[1])
    line.quota.leave(tickets[1])
    line.run(5)

    assert [tickets[0], tickets[2]] == [ticket for ticket, _ in line.granted]
    assert [0, 1.1] == line.times


def test_refund_wakes() -> None:
    """When a grant is given back, whoever is next in line may go at once."""
    line = Line(Quota(1))
    line.enter()
    line.enter()
    line.run(0.5)
    line.quota.refund(line.granted[0][1])
    line.run(0)

    assert [0, 0.5] == line.times


class Crowd(RuleBasedStateMachine):
    """People and polls come, go, wait, send, and are throttled, in any order."""

    @initialize(per_second=st.sampled_from([1, 2, 4, 10]), now=st.floats(0, 1e5))
    def begin(self, per_second: int, now: float) -> None:
        self.per_second = per_second
        self.line = Line(Quota(per_second, 1e9, 0), now=now)
        self.unsettled: list[Grant] = []
        self.sent: list[Grant] = []
        self.since: dict[Ticket, float] = {}
        self.paused_until = -math.inf

    @rule(kinds=st.lists(st.booleans(), min_size=1, max_size=9), seconds=st.floats(0, 2))
    def come(self, kinds: list[bool], seconds: float) -> None:
        for background in kinds:
            self.since[self.line.enter(background=background)] = self.line.now
        self.wait(seconds)

    @rule(seconds=st.floats(0, 6) | st.sampled_from([0.3, 1.1, 1.2, 5.0]))
    def wait(self, seconds: float) -> None:
        end = self.line.now + seconds
        while self.line.waiting and (moment := min(self.line.waiting.values())) <= end:
            before, known = dict(self.line.waiting), len(self.line.granted)
            self.line.run(max(0.0, moment - self.line.now))
            for ticket, grant in self.line.granted[known:]:
                self.check(ticket, grant, [other for other in before if other in self.since])
        self.line.now = end

    def check(self, ticket: Ticket, grant: Grant, waited: list[Ticket]) -> None:
        """Look at one grant as it is given: who was there, and whose turn was it?"""
        ours = [other for other in waited if other.background is ticket.background]
        others = [other for other in waited if other.background is not ticket.background]
        polls = ours if ticket.background else others
        patient = bool(polls) and grant.at - self.since[polls[0]] >= 5.0 - CLOSE
        desperate = bool(polls) and grant.at - self.since[polls[0]] > 5.0 + CLOSE
        assert ours[0] is ticket, "the first of her kind goes first"
        if ticket.background:
            event("a poll before people" if others else "a poll alone")
            assert patient or not others, "a poll goes before people only after five seconds"
        else:
            assert not desperate, "no person goes before a poll that has waited for five seconds"
        assert grant.at >= self.paused_until - CLOSE, "nobody goes while all are paused"
        if ticket.background and self.sent:
            assert grant.at - self.sent[-1].at >= 1.2 / self.per_second - CLOSE, "a poll keeps its distance"
        del self.since[ticket]
        self.sent.append(grant)
        self.unsettled.append(grant)

    @rule(place=st.integers(0, 9))
    def go(self, place: int) -> None:
        for ticket in list(self.line.waiting)[place : place + 1]:
            del self.since[ticket]
            self.line.leave(ticket)

    @rule(place=st.integers(0, 9), how=st.sampled_from(["answered", "unanswered", "refund"]))
    def settle(self, place: int, how: str) -> None:
        for grant in self.unsettled[place : place + 1]:
            self.unsettled.remove(grant)
            if how == "refund":
                self.sent.remove(grant)
                self.line.quota.refund(grant)
            else:
                getattr(self.line.quota, how)(grant, self.line.wall)

    @rule(pause=st.floats(0, 8))
    def throttle(self, pause: float) -> None:
        for grant in self.unsettled[:1]:
            self.unsettled.remove(grant)
            self.line.quota.throttled(grant, self.line.now, self.line.wall, pause)
            self.paused_until = max(self.paused_until, self.line.now + pause)

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
        assert len(self.sent) == spent(self.line.quota, self.line.wall)

    @invariant()
    def somebody_asks(self) -> None:
        """While anybody waits, somebody is going to ask again."""
        assert not self.line.waiting or min(self.line.waiting.values()) < math.inf

    @rule()
    def everybody_gets_in(self) -> None:
        self.wait(30.0 * len(self.line.waiting) + 10)
        assert not self.line.waiting


TestCrowd = Crowd.TestCase
TestCrowd.settings = settings(max_examples=150, stateful_step_count=30)


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
    """Watches leave the reserve of the day to single calls, at most a tenth of what is left; then all is shut."""
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
    line = Line(Quota(4, per_day, 1))
    for gap, background in zip(gaps, kinds, strict=False):
        line.enter(background=background)
        line.run(gap)
    line.run(50 * 86_400)
    days = [(NOON + timedelta(seconds=grant.at)).date() for _, grant in line.granted]

    assert len(gaps) == len(days)
    assert per_day >= max(days.count(day) for day in set(days))
    assert days == [grant.day for _, grant in line.granted]


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
        (NOON - timedelta(hours=1), 13 * 3600),
        (MIDNIGHT - timedelta(seconds=1), 1),
        (MIDNIGHT, 86_400),
        (NOON + timedelta(days=300), 12 * 3600),
    ],
)
def test_exceeded(server: datetime | None, left: float) -> None:
    """After `quota_exceeded` all is shut until 00:00 UTC by the vendor's clock, the background a little longer."""
    quota = Quota()
    quota.exceeded(take(quota, 0), 5.0, NOON, server=server, jitter=20.0)

    assert left == ask(quota, 5.0)
    assert left + 20 == ask(quota, 5.0, background=True)
    assert left == quota.seconds_until_open(5.0, NOON, background=False)
    assert 0 == ask(quota, 5.0 + left, NOON + timedelta(seconds=left))
    assert 20 == ask(quota, 5.0 + left, NOON + timedelta(seconds=left), background=True)


@pytest.mark.parametrize(
    ("server", "opens_at"),
    [
        (None, MIDNIGHT),
        (NOON + timedelta(hours=13), MIDNIGHT + timedelta(days=1)),
        (NOON + timedelta(hours=1), MIDNIGHT),
    ],
)
def test_opens_at(server: datetime | None, opens_at: datetime) -> None:
    """The instant at which a shut gate opens is the vendor's 00:00 UTC, whatever our clock shows."""
    quota = Quota()
    quota.exceeded(take(quota, 0), 5.0, NOON, server=server, jitter=20.0)

    assert opens_at == quota.reopens_at(6.0, NOON + timedelta(seconds=1))


def exceeded(*, background: bool = False, jitter: float = 20.0) -> tuple[Line, float]:
    """Somebody's line whose gate was shut at noon; and when it opens."""
    line = Line(Quota())
    line.quota.exceeded(take(line.quota, 0, background=background), 0, NOON, server=None, jitter=jitter)
    return line, 12 * 3600.0


def test_no_request_before_the_reset() -> None:
    """Between `quota_exceeded` and the reset nothing is granted; then one goes alone, the probe."""
    line, reset = exceeded()
    for background in (True, False, True, False):
        line.enter(background=background)
    line.run(reset + 100)

    assert [reset] == line.times
    assert [True] == [grant.probe for _, grant in line.granted]


def test_probe_of_the_background() -> None:
    """Where only watches wait, one of them is the probe, after the background's own delay."""
    line, reset = exceeded(jitter=17.0)
    for _ in range(5):
        line.enter(background=True)
    line.run(reset + 100)

    assert [reset + 17] == line.times


def test_probe_answered() -> None:
    """When the probe is answered, everybody is woken and goes as ever."""
    line, reset = exceeded()
    for _ in range(3):
        line.enter()
    line.run(reset + 50)
    line.quota.answered(line.granted[0][1], line.wall)
    line.run(1)

    assert [reset, reset + 50, reset + 50] == line.times
    assert [True, False, False] == [grant.probe for _, grant in line.granted]


@pytest.mark.parametrize("how", ["unanswered", "refund", "throttled"])
def test_probe_without_result(how: str) -> None:
    """A probe that has told nothing is followed by another one, alone again."""
    line, reset = exceeded()
    for _ in range(3):
        line.enter()
    line.run(reset + 50)
    probe = line.granted[0][1]
    if how == "refund":
        line.quota.refund(probe)
    elif how == "throttled":
        line.quota.throttled(probe, line.now, line.wall, 0.0)
    else:
        line.quota.unanswered(probe, line.wall)
    line.run(100)

    assert [reset, reset + 50] == line.times
    assert [True, True] == [grant.probe for _, grant in line.granted]


def test_probe_refused() -> None:
    """A refused probe is repeated after ten minutes, again and again: the vendor's counter may reset late."""
    line, reset = exceeded()
    for _ in range(4):
        line.enter()
    moments = [reset, reset + 605, reset + 1_210, reset + 1_815]
    for moment in moments[:3]:
        line.run(moment - line.now)
        line.run(5)
        line.quota.exceeded(line.granted[-1][1], line.now, line.wall, server=line.wall, jitter=0.0)
    line.run(10_000)

    assert moments == line.times
    assert all(grant.probe for _, grant in line.granted)


def test_probe_refused_shortly_before_midnight() -> None:
    """A probe that is refused within ten minutes before 00:00 UTC is repeated at 00:00."""
    line, reset = exceeded()
    line.enter()
    line.run(reset)
    server = MIDNIGHT + timedelta(days=1, minutes=-2)
    line.quota.exceeded(line.granted[0][1], line.now, line.wall, server=server, jitter=0.0)

    assert 120 == ask(line.quota, line.now, line.wall)


def test_refused_probe_opens_at() -> None:
    """After a refused probe, the instant at which the gate opens is that of the next probe."""
    line, reset = exceeded()
    line.enter()
    line.run(reset)
    line.quota.exceeded(line.granted[0][1], line.now, line.wall, server=line.wall, jitter=0.0)

    assert line.wall + timedelta(minutes=10) == line.quota.reopens_at(line.now, line.wall)


def test_own_ledger_after_the_reset() -> None:
    """When the vendor's reset is past and our own day is spent, the gate opens at the next 00:00 UTC."""
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


def test_open_gate_has_no_probe() -> None:
    """As long as the vendor has said nothing, no grant is a probe, also on a new day."""
    quota = Quota()

    assert [False, False] == [take(quota, 0).probe, take(quota, 50_000, MIDNIGHT).probe]


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
    line = Line(Quota(4, per_day, reserve, spent=int(former * per_day)))
    for gap, number, background, refunded in steps:
        known = len(line.granted)
        for _ in range(number):
            line.enter(background=background)
        line.run(gap)
        for _, grant in line.granted[known:]:
            if refunded:
                line.quota.refund(grant)
        budget = line.quota.budget(line.now, line.wall)
        left = per_day - spent(line.quota, line.wall)
        spendable = max(0.0, left - min(reserve, left / 10))
        tomorrow = datetime.combine(line.wall.date() + timedelta(days=1), datetime.min.time(), UTC)
        assert 0 <= budget.available <= min(500, spendable) + CLOSE
        assert spendable == pytest.approx(budget.refill_rate * max(1.0, (tomorrow - line.wall).total_seconds()))


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
