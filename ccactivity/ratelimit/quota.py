"""The limits of one API key as arithmetic: what may be sent when. Pure: time is an argument.

Two limits hold for one API key, whoever uses it: 4 requests a second and 10,000 a UTC day (the vendor's rate limits
page). Whoever wants to send enters a `Ticket`, asks `delay` what is in the way, and takes its grant when nothing is.

1. **The second.** Never more grants than `per_second` within 1.1 s. A log of exactly one second would be seen as more
   than that many in a second by a server behind jittery hops (measured: up to 24 % refused, against 0 to 2 %).
2. **Two queues.** A person's call goes first and may use the burst. Background polls are spaced by 1.2 seconds
   divided by `per_second`; one that has waited for five seconds goes next whoever else is there, or a busy
   application would never learn how its imports end.
3. **The day.** A ledger by UTC day. A request is charged when it is granted, and once more to the next day if it was
   under way at 00:00 UTC, since nobody knows on which side the vendor saw it. The last part of the day, `reserve`, is
   not for the background.
4. **The budget** is a token bucket: what is left of the day flows in, evenly until 00:00 UTC, and at most 500 requests
   are kept. A planner reads it, and asks less often as it empties: so a burst is possible, and a day is never used up.
5. **The vendor's word.** `throttled` pauses everyone, and widens the spacing of the background until requests are
   answered again. After `quota_exceeded` nobody sends until the reset, and then one grant, the probe, goes alone:
   whether the others may follow is known when it is answered.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import attrs

from .._validation import check_number

__all__ = ["Budget", "Grant", "Quota", "Ticket", "until_midnight"]

_WINDOW_S: Final = 1.1
_SPACING_WINDOW_S: Final = 1.2  # divided by the requests a second: between two background polls
_BACKGROUND_MAX_WAIT_S: Final = 5.0  # then a poll goes before single calls
_BUDGET_CAPACITY: Final = 500.0
_MAX_SPACING_FACTOR: Final = 16.0
# A vendor's counter may reset late, or our clock run ahead: a refused probe is repeated, not put off for a day.
_PROBE_INTERVAL_S: Final = 600.0
_MAX_CLOCK_DIFFERENCE_S: Final = 900.0  # between the vendor's clock and ours


def _next_midnight(wall: datetime) -> datetime:
    utc = wall.astimezone(UTC)
    return datetime.combine(utc.date() + timedelta(days=1), time(), tzinfo=UTC)


def until_midnight(wall: datetime) -> float:
    """Seconds until the next 00:00 UTC."""
    return (_next_midnight(wall) - wall).total_seconds()


@attrs.frozen
class Budget:
    """What watching may spend: requests `available`, `refill_rate` more a second, `capacity` at most."""

    available: float
    refill_rate: float
    capacity: float = _BUDGET_CAPACITY


@attrs.define(eq=False)
class Ticket:
    """A place in the queue. `wake` is called when the ticket has come to the head of it, or should ask again."""

    wake: Callable[[], None]
    background: bool = False
    since: float = 0.0


@attrs.define(eq=False)
class Grant:
    """Permission for one request."""

    at: float
    day: date
    background: bool
    probe: bool = False


class Quota:
    """The limits of one API key. Share one between all sessions of a process that use the same key.

    `per_second`, `per_day`: requests that the vendor allows; partner keys have 10 and 250,000. `reserve`: requests of
    the day that watches leave to single calls, though never more than a tenth of what the day has left when it is
    first seen. `spent`: requests of the current UTC day that are known to be gone already, for instance because a
    former process spent them.
    """

    def __init__(
        self, per_second: float = 4, per_day: float = 10_000, reserve: float = 500, *, spent: float = 0
    ) -> None:
        self.per_second: float = check_number("per_second", per_second, least=1)
        self.per_day: float = check_number("per_day", per_day, least=1)
        self.reserve: float = check_number("reserve", reserve)
        self._spent_before = check_number("spent", spent)
        if spent > per_day:
            raise ValueError(f"spent must be at most per_day, not {spent!r}")
        self._clock: Callable[[], datetime] | None = None
        self._count: Callable[[], float] | None = None
        self._queues: tuple[OrderedDict[Ticket, None], ...] = (OrderedDict(), OrderedDict())
        self._log: deque[float] = deque()
        self._last = -math.inf
        self._ledger: dict[date, float] = {}
        self._reserved = 0.0
        self._paused_until = -math.inf
        self._spacing_factor = 1.0
        # The end of a day that the vendor calls spent: by the loop's clock, and as an instant while it lies ahead.
        self._reset_at = -math.inf
        self._reset_wall_time = datetime.max.replace(tzinfo=UTC)
        self._reset_jitter = 0.0
        self._probing = False
        self._available = math.inf
        self._counted_at = 0.0

    @classmethod
    def unlimited(cls) -> Quota:
        """Return a quota that never makes anyone wait, for tests against something that is not the vendor."""
        return cls(math.inf, math.inf, 0)

    def __repr__(self) -> str:
        return f"Quota(per_second={self.per_second:g}, per_day={self.per_day:g}, spent={self.spent:g})"

    # --- what users see ---------------------------------------------------------------------------------------------

    @property
    def spent(self) -> float:
        """Requests of this UTC day that are known to be spent."""
        if self._count is not None:
            return self._count()
        return self._spent_before if self._clock is None else self._spent(self._clock())

    @property
    def remaining(self) -> float:
        """Requests that this UTC day has left: an upper bound, since others may use the key too."""
        return max(0, self.per_day - self.spent)

    @property
    def resets_at(self) -> datetime | None:
        """The next 00:00 UTC; None before the first session has used the quota."""
        return None if self._clock is None else _next_midnight(self._clock())

    # --- the queue --------------------------------------------------------------------------------------------------

    def attach(self, clock: Callable[[], datetime]) -> None:
        """Take the wall clock that the properties for users read from now on."""
        self._clock = clock

    def follow(self, count: Callable[[], float]) -> None:
        """Show as spent what is counted elsewhere."""
        self._count = count

    def enter(self, ticket: Ticket, now: float) -> None:
        """Queue a ticket."""
        ticket.since = now
        self._queues[ticket.background][ticket] = None

    def leave(self, ticket: Ticket) -> None:
        """Give up a place; a ticket that holds none is no error."""
        if ticket in self._queues[ticket.background]:
            del self._queues[ticket.background][ticket]
            self._wake_heads()

    def delay(self, ticket: Ticket, now: float, wall: datetime) -> float:
        """Seconds until the ticket should ask again: 0 means go, infinity that it will be woken."""
        head = self._head(now, wall)
        if head is not ticket:
            if head is not None and head.background:
                # It came to the head by time alone, so nobody has told it.
                head.wake()
            return math.inf
        if (closed_for := self.seconds_until_open(now, wall, background=ticket.background)) > 0:
            return closed_for
        if self._probing:
            return math.inf
        ready = self._paused_until
        if len(self._log) + 1 > self.per_second:
            ready = max(ready, self._log[-int(self.per_second)] + _WINDOW_S)
        if ticket.background:
            ready = max(ready, self._last + _SPACING_WINDOW_S / self.per_second * self._spacing_factor)
        return max(0.0, ready - now)

    def seconds_until_open(self, now: float, wall: datetime, *, background: bool) -> float:
        """Seconds until the day has requests again, 0 while it has."""
        reset_at = self._reset_at + (self._reset_jitter if background else 0.0)
        if now < reset_at:
            return reset_at - now
        left = self.per_day - self._spent(wall)
        if left >= 1 and not (background and left <= self._reserved):
            return 0.0
        return until_midnight(wall)

    def reopens_at(self, now: float, wall: datetime) -> datetime:
        """The instant at which a spent day has requests for single calls again."""
        return self._reset_wall_time if now < self._reset_at else _next_midnight(wall)

    def grant(self, ticket: Ticket, now: float, wall: datetime) -> Grant:
        """Take the ticket out of its queue and charge one request; only right after `delay` said 0."""
        del self._queues[ticket.background][ticket]
        day = wall.astimezone(UTC).date()
        self._ledger[day] += 1
        self._log.append(now)
        while self._log[0] < now - 2 * _WINDOW_S:
            self._log.popleft()
        self._last = now
        if ticket.background:
            self._available = self.budget(now, wall).available - 1
        grant = Grant(now, day, ticket.background, probe=self._reset_at > -math.inf)
        self._probing = grant.probe
        self._wake_heads()
        return grant

    def refund(self, grant: Grant) -> None:
        """Take back a grant with which nothing was sent."""
        if grant.at in self._log:
            self._log.remove(grant.at)
        if grant.day in self._ledger:
            self._ledger[grant.day] -= 1
        if grant.background:
            self._available += 1
        if grant.probe:
            self._probing = False
        self._wake_heads()

    def _head(self, now: float, wall: datetime) -> Ticket | None:
        """The ticket that goes next: a person's, unless a poll has waited for too long and may go at all."""
        person, poll = next(iter(self._queues[0]), None), next(iter(self._queues[1]), None)
        if person is None or poll is None:
            return person or poll
        overdue = now - poll.since >= _BACKGROUND_MAX_WAIT_S and not self.seconds_until_open(now, wall, background=True)
        return poll if overdue else person

    def _wake_heads(self) -> None:
        for queue in self._queues:
            if queue:
                next(iter(queue)).wake()

    # --- what became of it ------------------------------------------------------------------------------------------

    def answered(self, grant: Grant, wall: datetime) -> None:
        """A request was answered, by anything but 429: the key works, and whoever waited for a probe may go."""
        self._charge_other_day(grant, wall)
        self._spacing_factor = max(1.0, self._spacing_factor * 0.95)
        if grant.probe:
            self._reset_at, self._probing = -math.inf, False
            self._wake_heads()

    def unanswered(self, grant: Grant, wall: datetime) -> None:
        """A request got no answer: it is spent all the same, and a probe has told nothing."""
        self._charge_other_day(grant, wall)
        if grant.probe:
            self._probing = False
            self._wake_heads()

    def throttled(self, grant: Grant, now: float, wall: datetime, pause: float) -> None:
        """The vendor said `throttled`: nobody sends for `pause` seconds, and the background is spaced wider."""
        self.unanswered(grant, wall)
        self._paused_until = max(self._paused_until, now + pause)
        self._spacing_factor = min(_MAX_SPACING_FACTOR, self._spacing_factor * 2)

    def exceeded(self, grant: Grant, now: float, wall: datetime, *, server: datetime | None, jitter: float) -> None:
        """The vendor said `quota_exceeded`: nobody sends until 00:00 UTC, the background `jitter` seconds longer.

        Whose 00:00? The vendor's, by the Date of its answer, as long as it is within 15 minutes of ours. If not, one of
        the two clocks is wrong, and to believe it could cost a day: the earlier 00:00 counts, and a probe finds out. A
        refused probe is repeated after ten minutes. So one wrong clock keeps nobody waiting for more than 15 minutes
        beyond the real 00:00, whatever it said before.
        """
        self._charge_other_day(grant, wall)
        clock = server or wall
        ours, seconds = until_midnight(wall), until_midnight(clock)
        if abs(seconds - ours) > _MAX_CLOCK_DIFFERENCE_S:
            clock, seconds = wall, min(seconds, ours)
        if grant.probe:
            seconds = min(seconds, _PROBE_INTERVAL_S)
        self._reset_wall_time = clock.astimezone(UTC) + timedelta(seconds=seconds)
        self._reset_at = now + seconds
        self._reset_jitter = jitter
        self._probing = False
        self._wake_heads()

    def _charge_other_day(self, grant: Grant, wall: datetime) -> None:
        today = wall.astimezone(UTC).date()
        if today != grant.day:
            self._spent(wall)
            self._ledger[today] += 1

    # --- the day ----------------------------------------------------------------------------------------------------

    def _spent(self, wall: datetime) -> float:
        """What the ledger says of the day; begins a new day, and keeps the last ones for clocks that jump."""
        day = wall.astimezone(UTC).date()
        if day not in self._ledger:
            self._ledger[day], self._spent_before = self._spent_before, 0
            self._reserved = min(self.reserve, (self.per_day - self._ledger[day]) / 10)
            for old in sorted(self._ledger, key=lambda other: abs(other - day))[3:]:
                del self._ledger[old]
        return self._ledger[day]

    def budget(self, now: float, wall: datetime) -> Budget:
        """What watching may spend at this moment."""
        left = self.per_day - self._spent(wall)
        if math.isinf(left):
            # Always full, so nothing has to flow in; and infinity times no time at all is no number.
            return Budget(_BUDGET_CAPACITY, 0.0)
        spendable = max(0.0, left - min(self.reserve, left / 10))
        seconds_left = until_midnight(wall)
        rate = spendable / max(1.0, seconds_left)
        most = min(_BUDGET_CAPACITY, spendable)
        # Of a time that began yesterday only today's part counts: yesterday's rate is not today's.
        passed = min(max(0.0, now - self._counted_at), 86_400 - seconds_left)
        self._available = max(0.0, min(most, self._available + rate * passed))
        self._counted_at = now
        return Budget(self._available, rate)
