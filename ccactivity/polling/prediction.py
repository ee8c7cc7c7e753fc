"""What a look at an activity says about its end: chances, and the lag they pile up. Performs no I/O.

1. A look says "not ended yet" and, at best, how far the work has come since it began. What remains is
   foretold by the rule of three, elapsed * (1 - p) / p, with every time taken from the vendor's own stamps:
   no local clock takes part.
2. A forecast r is a median, not a date. The chance that the end has come tau seconds after the look is 1/2
   (tau / r)^2, up to 1: measured on uneven progress it is near 1/20 at a third of r and 1/4 at two thirds.
3. Where nothing moves there is nothing to extrapolate: the longer it has stood, the longer it will stand.
   The chance then grows linearly, 1/2 (tau / r), with an r made of the time it has stood and of what is
   usual in this account. Unless those that ended had all stood still for about as long: then it will, too.
4. The *pile* is the integral of that chance: the lag, in seconds, which has gathered in expectation since
   the look. It is a power of tau, then a straight line: summing a page's piles costs a few multiplications
   for each activity.
5. Whatever is still queued cannot have ended before it began, and begins only when another ends. So all the
   queued are one stream, as fast as the account's completions; their pile is that of the few which begin
   and end unseen.

Finer laws were measured and brought less than the noise: other powers, progress speed of late instead of on
the whole, time spent in stalls taken out again, item counters, a pay-off for looks which are bound to be
the last.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any, Protocol

import attrs

__all__ = ["QUEUED", "STRANGE", "UNSEEN", "WORKING", "Look", "Pace", "Page", "Watched"]

UNSEEN, QUEUED, WORKING, STRANGE = "unseen", "queued", "working", "strange"

ROOT2 = math.sqrt(2.0)
NEW = 4.0  # seconds: r of an id nobody has looked at; it may have ended long ago
LEAST = 0.5  # seconds: no forecast is sharper
SLOWER = 1.05  # stalls and last steps make what remains a little longer than what was done foretells
LONGEST = 10 * 86400.0  # seconds: the vendor keeps an activity for ten days; a longer age is a broken stamp


class Look(Protocol):
    """The part of an activity which is read here; every field may be None or garbage."""

    @property
    def activity_id(self) -> str:
        """The id."""
        ...

    @property
    def state(self) -> Any:
        """The vendor's word for where it stands."""
        ...

    @property
    def percent_done(self) -> Any:
        """How much of it is done, 0 to 100."""
        ...

    @property
    def created_at(self) -> Any:
        """When it was created, by the vendor's clock."""
        ...

    @property
    def started_at(self) -> Any:
        """When work on it began."""
        ...

    @property
    def updated_at(self) -> Any:
        """When it last reported."""
        ...


@attrs.define(eq=False, weakref_slot=False)
class Watched:
    """One watched id: where it may be seen, and the law of its end since the last look."""

    activity_id: str
    watched: float  # loop time of watch()
    seen: float  # loop time of the last look; before the first, of watch()
    born: int = 0  # the how manieth to be watched
    page: Page | None = None  # the list page which shows it, or is to be tried next
    found: bool = False  # that page showed it when it was last swept
    placed: bool = False  # some page has shown it
    misses: int = 0  # pages swept in vain since it was last found
    flying: bool = False  # a GET is on its way
    suspect: bool = False  # missing where all in work are listed
    lined: float = math.nan  # the place among the queued for which it has an entry
    ticket: int = 0  # which of its entries in the order of GETs holds
    strict: float = math.inf  # seconds: max_staleness
    kind: str = UNSEEN
    created: float = math.inf  # vendor's time
    updated: float = -math.inf  # vendor's time of the newest snapshot
    stamped: float = 0.0  # the same moment in loop time
    begun: float = math.inf  # loop time at which work began
    percent: int | None = None
    moved: float = 0.0  # loop time of the stamp at which percent was first what it is
    square: bool = False  # rule 2, else rule 3
    remaining: float = NEW

    @property
    def weight(self) -> float:
        """How sure its page is to show it: missed on v pages, it is on the next with 1 chance in v + 1."""
        return 1.0 / (1.0 + self.misses)

    def pile(self, at: float) -> float:
        """Seconds of lag to be expected by then."""
        tau, r = at - self.seen, self.remaining
        if self.square:
            return tau * tau * tau / (6.0 * r * r) if tau < ROOT2 * r else tau - ROOT2 / 1.5 * r
        return tau * tau / (4.0 * r) if tau < 2.0 * r else tau - r

    def ripe(self, price: float) -> float:
        """When the pile reaches the price."""
        r = self.remaining
        if self.square:
            tau = (6.0 * price * r * r) ** (1 / 3)
            return self.seen + (tau if tau < ROOT2 * r else price + ROOT2 / 1.5 * r)
        tau = math.sqrt(4.0 * price * r)
        return self.seen + (tau if tau < 2.0 * r else price + r)

    def reason(self, at: float) -> str:
        """Why a GET may be worth it, in words."""
        return f"{self.kind}, not seen for {at - self.seen:.1f} s, expected lag {self.pile(at):.2f} s"

    def observe(self, look: Look, now: float, server_now: datetime | None, pace: Pace) -> bool:
        """Take in a snapshot which is not terminal; False if it is older than one seen before."""
        updated = seconds(look.updated_at)
        if updated is not None:
            if updated < self.updated:
                return False
            if updated > self.updated:
                here = seconds(server_now)
                age = 0.0 if here is None else min(max(0.0, here - updated), LONGEST)
                self.updated, self.stamped = updated, now - age
        self.seen = now
        self.suspect = False
        if look.state == "initialized":
            if self.kind != QUEUED:
                self.created = seconds(look.created_at) or math.inf
            self.kind = QUEUED
            return True
        kind = WORKING if look.state == "processing" else STRANGE
        if self.kind not in (WORKING, STRANGE):
            self.begun = self.moved = now
        self.kind = kind
        self._forecast(look, now, pace)
        return True

    def _forecast(self, look: Look, now: float, pace: Pace) -> None:
        at, started = now, seconds(look.started_at)
        if self.updated > -math.inf:
            at = self.stamped
            if started is not None and 0.0 <= self.updated - started < LONGEST:
                self.begun = at - (self.updated - started)
        percent = share(look.percent_done)
        if percent != self.percent:
            self.percent, self.moved = percent, at
        self.square = False
        if self.kind == STRANGE:
            self.remaining = max(60.0, now - self.begun)
        elif not percent:
            self.remaining = max(LEAST, 0.4 * (pace.usual + max(0.0, now - self.begun)))
        elif percent == 100:  # and yet at work: it idles, or its last steps are not counted
            self.remaining = max(NEW, now - self.moved)
        else:
            # An integer hides half a step on average; and what has passed since the stamp remains no more.
            p = (percent + 0.5) / 100
            remaining = max(LEAST, SLOWER * max(0.0, at - self.begun) * (1 - p) / p - (now - at))
            # Stood still for certain between two stamps, or perhaps only since the last one.
            stood = max(0.7 * (at - self.moved), 0.5 * (now - self.moved))
            self.square = remaining >= stood
            if self.square:
                self.remaining = remaining
            elif (rest := pace.rest(now - self.moved)) is not None:
                self.square, self.remaining = True, rest
            else:
                self.remaining = max(stood, 0.2 * pace.usual)

    def accuse(self, now: float) -> None:
        """It is missing where all in work are listed: it has ended, at any time since the last look."""
        self.suspect, self.square = True, False
        self.remaining = max(LEAST, (now - self.seen) / 2)


@attrs.define(eq=False)
class Page:
    """A page of a list as it is remembered: the link which gives it, and the watched ids it may show."""

    index: int
    swept: float  # loop time; before the first time that of its making
    state: str | None = None
    href: str | None = None  # None gives the first page
    limit: int = 500
    looked: bool = False
    held: float = -math.inf  # loop time before which it is not asked for again: it failed
    strikes: int = 0
    due: float = -math.inf  # loop time at which it may be worth a request, not before
    span: float = 10.0  # seconds from a sweep to when the next one was worth it, last time
    begins: float = 0.0  # how many of the queued ones on it began, of late
    ids: dict[str, Watched] = attrs.field(factory=dict)
    working: dict[str, Watched] = attrs.field(factory=dict)
    strict: dict[str, float] = attrs.field(factory=dict)
    queued: float = 0.0  # the sums of their weights
    unseen: float = 0.0
    moments: float = 0.0  # the sum of their weights times the moments since which they are watched

    def reason(self, at: float) -> str:
        """Why a sweep may be worth it, in words."""
        lag = self.pile(at, 0.0)[0]
        return f"page {self.index} with {len(self.ids)} watched ({self.queued:.0f} queued), expected lag {lag:.2f} s"

    def add(self, rec: Watched) -> None:
        """Expect this id here from now on."""
        if not self.ids:
            self.swept = max(self.swept, rec.seen)
            self.queued = self.unseen = self.moments = 0.0  # sheds what rounding has left
        self.ids[rec.activity_id] = rec
        self.due = -math.inf
        if rec.strict < math.inf:
            self.strict[rec.activity_id] = rec.strict
        if rec.kind == QUEUED:
            self.queued += rec.weight
        elif rec.kind == UNSEEN:
            self.unseen += rec.weight
            self.moments += rec.weight * rec.watched
        else:
            self.working[rec.activity_id] = rec

    def remove(self, rec: Watched) -> None:
        """Expect it no longer. Its kind and misses must still be those it was added with."""
        if self.ids.pop(rec.activity_id, None) is None:
            return
        self.strict.pop(rec.activity_id, None)
        if rec.kind == QUEUED:
            self.queued -= rec.weight
        elif rec.kind == UNSEEN:
            self.unseen -= rec.weight
            self.moments -= rec.weight * rec.watched
        else:
            self.working.pop(rec.activity_id, None)

    def pile(self, at: float, stream: float) -> tuple[float, float]:
        """Seconds of lag to be expected on this page by then, and how many ends (which is also its slope)."""
        total = ends = 0.0
        for rec in self.working.values():
            tau, r = at - rec.seen, rec.remaining
            w = 1.0 / (1.0 + rec.misses)
            if rec.square:
                if tau < ROOT2 * r:
                    p = tau * tau / (2.0 * r * r)
                    total += w * p * tau / 3.0
                    ends += w * p
                    continue
                total += w * (tau - ROOT2 / 1.5 * r)
            elif tau < 2.0 * r:
                p = tau / (2.0 * r)
                total += w * p * tau / 2.0
                ends += w * p
                continue
            else:
                total += w * (tau - r)
            ends += w
        if self.queued > 1e-6:
            tau = at - self.swept
            total += stream * tau * tau / 2.0
            ends += stream * tau
        if self.unseen > 1e-6:
            tau = max(0.0, at - self.moments / self.unseen)
            p = min(1.0, tau / (2.0 * NEW))
            total += self.unseen * (p * tau / 2.0 if p < 1.0 else tau - NEW)
            ends += self.unseen * p
        return total, ends


@attrs.define(eq=False)
class Pace:
    """How fast activities end in this account, and what is usual; learnt from the ends that are seen."""

    ends: list[float] = attrs.field(factory=list)
    news: float = -math.inf  # loop time at which something was last watched or began
    short: float = 0.2  # the share of ends which nobody had seen in work
    usual: float = 40.0  # seconds of work, a geometric mean
    spans: int = 0
    still: float = 0.0  # seconds for which they had stood still when they ended, a moving mean
    apart: float = 0.0  # how far they were from it, on average
    stills: int = 0

    def ended(self, look: Look, rec: Watched, now: float) -> None:
        """One more has ended, of which this is known."""
        if rec.kind == UNSEEN:  # it may have ended long ago
            return
        self.ends.append(now)
        del self.ends[:-13]
        self.short += 0.08 * ((rec.kind == QUEUED) - self.short)
        begun, over = seconds(look.started_at), seconds(look.updated_at)
        if begun is not None and over is not None and 0.0 < over - begun < LONGEST:
            self.spans = min(self.spans + 1, 20)
            self.usual *= ((over - begun) / self.usual) ** (1.0 / (1 + self.spans))
            if rec.percent and 0.0 <= over - rec.updated < LONGEST:
                self._stood(max(0.0, rec.stamped + (over - rec.updated) - rec.moved))

    def _stood(self, still: float) -> None:
        self.stills = min(self.stills + 1, 20)
        if self.stills > 1:
            self.apart += (abs(still - self.still) - self.apart) / self.stills
        self.still += (still - self.still) / self.stills

    def rest(self, still: float) -> float | None:
        """Seconds until one ends that has stood still for so long; None unless most stood still for about as long."""
        alike = self.stills >= 5 and self.apart <= 0.25 * self.still
        if not alike or still > self.still + 2 * self.apart:
            return None
        return max(LEAST, self.apart / 2, self.still + self.apart - still)

    def stream(self, now: float) -> float:
        """Ends a second among the queued. Soon after news more is expected: their turn may have come."""
        rate = 1.0 / (6.0 + 0.5 * max(0.0, now - self.news))
        if len(self.ends) > 1:
            rate = max(rate, (len(self.ends) - 1) / max(now - self.ends[0], 5.0))
        return rate * self.short


def seconds(stamp: object) -> float | None:
    """An aware datetime as seconds since the epoch; None for anything else."""
    if isinstance(stamp, datetime) and stamp.tzinfo is not None:
        try:
            return stamp.timestamp()
        except (OverflowError, ValueError):
            return None
    return None


def share(percent: object) -> int | None:
    """A number from 0 to 100, cut to an integer; None for anything else."""
    if isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100:
        return None
    return int(percent)
