"""Callers who wait for their grants of a quota, in no time: the moments at which somebody asks follow each other."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

from ccactivity.ratelimit.quota import Grant, Quota, Ticket

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)
# Two sums of seconds may differ in their last digit.
CLOSE = 1e-6


class Callers:
    """Many callers of one quota: each asks when it was told to or was woken; it is remembered who was granted what.

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
