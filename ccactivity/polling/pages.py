"""The list pages that are remembered, the polled ids on them, and what a fetch of a page is worth. Pure.

The ids that a page is equally likely to show form a `Cohort`. One that a page did not show moves on to the next as a
whole, so that a walk costs no more for many ids.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime

import attrs

from ..api.operations import MAX_PAGE_SIZE
from .forecast import QUEUED, SQRT2, UNSEEN, Forecast
from .tuning import Tuning

__all__ = ["Cohort", "Entry", "KnownPage", "ShownPage"]


@attrs.define(eq=False, weakref_slot=False, kw_only=True)
class Entry(Forecast):
    """One polled id: its forecast, and where it may be seen.

    `watched_since`: loop time of `watch()`. `sequence`: the order of those calls. `cohort`: with whom a list page is
    expected to show it; `ever_located`: some page did. `asked_at`: loop time of the GET that is on its way. `failures`,
    `failed_at`: see `failures.Subject`. `queued_key`: its key in the queue by creation, None if it is not there.
    `get_queue`: that of unseen or queued ids in which it is; or `heap_version`: which of its places in the heap by due
    time holds, 0 for none.
    """

    activity_id: str
    watched_since: float
    sequence: int
    max_staleness: float = math.inf
    cohort: Cohort | None = None
    ever_located: bool = False
    asked_at: float | None = None
    failures: int = 0
    failed_at: float = -math.inf
    queued_key: datetime | None = None
    get_queue: OrderedDict[str, Entry] | None = None
    heap_version: int = 0

    @property
    def page(self) -> KnownPage | None:
        """The list page that shows it, or is to be tried next."""
        return None if self.cohort is None else self.cohort.page


@attrs.frozen
class ShownPage:
    """What a page showed: the polled ids on it, and the next link.

    `reach`, if known, is the row (from 1) of the last polled id: the next fetch asks for no more than that.
    """

    found: Sequence[str]
    next_href: str | None
    reach: int | None = None


@attrs.define(eq=False)
class Cohort:
    """Ids that a page is equally likely to show.

    `pages_missed`: pages fetched in vain since they were last shown. `working`: those at work. `unseen`: how many were
    never looked at; `unseen_since`: the sum of their `watched_since`. The others are queued. `limited`: all that have a
    `max_staleness`, or had one.
    """

    page: KnownPage
    pages_missed: int = 0
    ids: dict[str, Entry] = attrs.field(factory=dict)
    working: dict[str, Entry] = attrs.field(factory=dict)
    limited: dict[str, Entry] = attrs.field(factory=dict)
    unseen: int = 0
    unseen_since: float = 0.0

    @property
    def weight(self) -> float:
        """How likely the page is to show them: after n in vain, it is the next with 1 chance in n + 1."""
        return 1.0 / (1.0 + self.pages_missed)

    @property
    def queued(self) -> int:
        """How many have not begun."""
        return len(self.ids) - len(self.working) - self.unseen

    def add(self, entry: Entry) -> None:
        """Expect this id here from now on."""
        page, activity_id, phase = self.page, entry.activity_id, entry.phase
        if not page.count:
            page.fetched_at = max(page.fetched_at, entry.looked_at)
        page.count += 1
        page.due, page.known_queued = -math.inf, None
        self.ids[activity_id] = entry
        if entry.max_staleness < math.inf:
            self.limited[activity_id] = entry
        if phase == UNSEEN:
            self.unseen += 1
            self.unseen_since += entry.watched_since
        elif phase != QUEUED:
            self.working[activity_id] = entry

    def remove(self, entry: Entry, phase: str) -> None:
        """Expect it no longer. `phase`: that which it was added with."""
        activity_id = entry.activity_id
        del self.ids[activity_id]
        self.page.count -= 1
        self.page.known_queued = None
        if self.limited:
            self.limited.pop(activity_id, None)
        if phase == UNSEEN:
            self.unseen -= 1
            self.unseen_since = self.unseen_since - entry.watched_since if self.unseen else 0.0
        elif phase != QUEUED:
            del self.working[activity_id]


@attrs.define(eq=False)
class KnownPage:
    """A page of a list as it is remembered: the link that gives it, and the polled ids that it may show.

    `href`: None for the first page. `follows`: the page whose next link that is, if it is remembered. `fetched_at`:
    loop time; before the first time that of its making. `due`: loop time before which it is not worth a request.
    `failures`, `failed_at`: see `failures.Subject`. `interval`: seconds from a fetch to when the next one was worth it,
    last time. `starts`: how many of the queued on it began, of late. `located`: the ids that it showed when it was last
    fetched; `sought`: those that it may show, by `pages_missed`; `count`: how many all these are.
    `known_queued`: what `queued` is, until an id comes or goes.
    """

    fetched_at: float
    state: str | None = None
    href: str | None = None
    follows: KnownPage | None = None
    limit: int = MAX_PAGE_SIZE
    fetched: bool = False
    failed_at: float = -math.inf
    failures: int = 0
    due: float = -math.inf
    interval: float = 10.0
    starts: float = 0.0
    count: int = 0
    known_queued: float | None = None
    located: Cohort = attrs.field(init=False)
    sought: dict[int, Cohort] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.located = Cohort(self)

    @property
    def cohorts(self) -> tuple[Cohort, ...]:
        """The ids that it may show, by how likely it is to."""
        return (self.located, *self.sought.values())

    @property
    def entries(self) -> list[Entry]:
        """The ids that it may show."""
        return [entry for cohort in self.cohorts for entry in cohort.ids.values()]

    @property
    def queued(self) -> float:
        """How many queued ids it is to be expected to show."""
        if self.known_queued is None:
            self.known_queued = sum([cohort.queued * cohort.weight for cohort in self.cohorts])
        return self.known_queued

    @property
    def max_staleness(self) -> float:
        """The strictest of its ids."""
        limited = [entry.max_staleness for cohort in self.cohorts for entry in cohort.limited.values()]
        return min(limited, default=math.inf)

    def seek(self, pages_missed: int = 0) -> Cohort:
        """Find or make the cohort of those that so many pages have not shown."""
        return self.sought.get(pages_missed) or self.sought.setdefault(pages_missed, Cohort(self, pages_missed))

    def take_in(self, cohort: Cohort) -> None:
        """Expect a whole cohort of another page here from now on."""
        if not self.count:
            self.fetched_at = max(self.fetched_at, next(iter(cohort.ids.values())).looked_at)
        small, large = sorted((self.seek(cohort.pages_missed), cohort), key=lambda each: len(each.ids))
        self.sought[cohort.pages_missed] = large
        self.count += len(cohort.ids) - len(small.ids)
        self.due, self.known_queued, large.page = -math.inf, None, self
        for entry in small.ids.values():
            large.add(entry)
            entry.cohort = large

    def expected_lag(self, now: float, rate: float, tuning: Tuning) -> tuple[float, float]:
        """Seconds of lag to be expected on this page, and how many ends, which is also its slope.

        `rate`: ends a second among the queued. The sum of `Forecast.expected_lag`, written out for speed.
        """
        total = ends = 0.0
        for cohort in self.cohorts:
            weight = cohort.weight
            for entry in cohort.working.values():
                elapsed, median = now - entry.looked_at, entry.median_remaining
                if entry.quadratic:
                    if elapsed < SQRT2 * median:
                        p = elapsed * elapsed / (2.0 * median * median)
                        total += weight * p * elapsed / 3.0
                        ends += weight * p
                        continue
                    total += weight * (elapsed - SQRT2 / 1.5 * median)
                elif elapsed < 2.0 * median:
                    p = elapsed / (2.0 * median)
                    total += weight * p * elapsed / 2.0
                    ends += weight * p
                    continue
                else:
                    total += weight * (elapsed - median)
                ends += weight
            if cohort.unseen:
                elapsed, median = max(0.0, now - cohort.unseen_since / cohort.unseen), tuning.unseen_median_s
                p = min(1.0, elapsed / (2.0 * median))
                total += weight * cohort.unseen * (p * elapsed / 2.0 if p < 1.0 else elapsed - median)
                ends += weight * cohort.unseen * p
        if self.queued:
            elapsed = now - self.fetched_at
            total += rate * elapsed * elapsed / 2.0
            ends += rate * elapsed
        return total, ends
