"""The list pages that are remembered, the polled ids on them, and what a fetch of a page is worth. Pure.

The ids that a page is equally likely to show form a `Cohort`. One that a page did not show moves on to the next as a
whole, so that a walk costs no more for many ids.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from ..api.operations import MAX_PAGE_SIZE
from .forecast import QUEUED, SQRT2, UNSEEN, Forecast
from .tuning import Tuning

__all__ = ["Cohort", "Entry", "KnownPage", "ShownPage"]


@attrs.define(eq=False, weakref_slot=False, kw_only=True)
class Entry(Forecast):
    """One polled id: its forecast, and where it may be seen.

    `watched_since`: loop time of `watch()`. `sequence`: the order of those calls. `cohort`: with whom a list page is
    expected to show it; `ever_located`: some page did. `asked_at`: loop time of a GET that is on its way. `failures`,
    `failed_at`: see `failures.Subject`. `queued_key`: its key in the queue by
    creation, NaN if it is not there. `heap_version`: which of its entries in the heap by due time holds.
    """

    activity_id: str
    watched_since: float
    sequence: int
    max_staleness: float = math.inf
    cohort: Cohort | None = None
    ever_located: bool = False
    asked_at: float = math.inf
    failures: int = 0
    failed_at: float = -math.inf
    queued_key: float = math.nan
    heap_version: int = 0

    @property
    def page(self) -> KnownPage | None:
        """The list page that shows it, or is to be tried next."""
        return None if self.cohort is None else self.cohort.page

    @property
    def located(self) -> bool:
        """Whether its page showed it when it was last fetched."""
        return self.cohort is not None and self.cohort.located

    @property
    def in_flight(self) -> bool:
        """Whether a GET is on its way."""
        return self.asked_at < math.inf


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

    `located`: it showed them when it was last fetched. `pages_missed`: pages fetched in vain since they were last
    shown. `working`: those at work. `queued`, `unseen`: how many have not begun, or were never looked at;
    `unseen_since`: the sum of their `watched_since`.
    """

    page: KnownPage
    located: bool = False
    pages_missed: int = 0
    ids: dict[str, Entry] = attrs.field(factory=dict)
    working: dict[str, Entry] = attrs.field(factory=dict)
    max_staleness: dict[str, float] = attrs.field(factory=dict)
    queued: int = 0
    unseen: int = 0
    unseen_since: float = 0.0

    @property
    def weight(self) -> float:
        """How likely the page is to show them: after n in vain, it is the next with 1 chance in n + 1."""
        return 1.0 / (1.0 + self.pages_missed)

    def add(self, entry: Entry) -> None:
        """Expect this id here from now on."""
        if not self.page.count:
            self.page.fetched_at = max(self.page.fetched_at, entry.looked_at)
        self.page.count += 1
        self.ids[entry.activity_id] = entry
        self.page.due = -math.inf
        if entry.max_staleness < math.inf:
            self.max_staleness[entry.activity_id] = entry.max_staleness
        self._count(entry, 1)

    def remove(self, entry: Entry) -> None:
        """Expect it no longer. Its phase must still be that which it was added with."""
        if self.ids.pop(entry.activity_id, None) is not None:
            self.page.count -= 1
            self.max_staleness.pop(entry.activity_id, None)
            self._count(entry, -1)

    def _count(self, entry: Entry, sign: int) -> None:
        if entry.phase == QUEUED:
            self.queued += sign
        elif entry.phase == UNSEEN:
            self.unseen += sign
            self.unseen_since = self.unseen_since + sign * entry.watched_since if self.unseen else 0.0
        elif sign > 0:
            self.working[entry.activity_id] = entry
        else:
            self.working.pop(entry.activity_id, None)


@attrs.define(eq=False)
class KnownPage:
    """A page of a list as it is remembered: the link that gives it, and the polled ids that it may show.

    `href`: None for the first page. `follows`: the page whose next link that is, if it is remembered. `fetched_at`:
    loop time; before the first time that of its making. `due`: loop time before which it is not worth a
    request. `failures`, `failed_at`: see `failures.Subject`. `interval`: seconds from a fetch to when the next one was
    worth it, last time. `starts`: how many of the queued on it began, of late. `cohorts`: the ids that it may show, by
    how likely it is to; `count`: how many they are.
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
    cohorts: list[Cohort] = attrs.field(factory=list)

    @property
    def entries(self) -> list[Entry]:
        """The ids that it may show."""
        return [entry for cohort in self.cohorts for entry in cohort.ids.values()]

    @property
    def queued(self) -> float:
        """How many queued ids it is to be expected to show."""
        return sum(cohort.queued * cohort.weight for cohort in self.cohorts)

    @property
    def max_staleness(self) -> float:
        """The strictest of its ids."""
        return min((each for cohort in self.cohorts for each in cohort.max_staleness.values()), default=math.inf)

    def cohort(self, *, located: bool = False, pages_missed: int = 0) -> Cohort:
        """Find or make the cohort that is as likely to be shown."""
        for each in self.cohorts:
            if each.located is located and each.pages_missed == pages_missed:
                return each
        self.cohorts.append(Cohort(self, located, pages_missed))
        return self.cohorts[-1]

    def take_in(self, cohort: Cohort) -> None:
        """Expect a whole cohort of another page here from now on."""
        if not self.count:
            self.fetched_at = max(self.fetched_at, next(iter(cohort.ids.values())).looked_at)
        alike = self.cohort(pages_missed=cohort.pages_missed)
        small, large = sorted((alike, cohort), key=lambda each: len(each.ids))
        self.cohorts.remove(alike)
        self.cohorts.append(large)
        self.count += len(cohort.ids) - len(small.ids)
        self.due, large.page = -math.inf, self
        for entry in small.ids.values():
            large.add(entry)
            entry.cohort = large

    def expected_lag(self, now: float, rate: float, tuning: Tuning) -> tuple[float, float]:
        """Seconds of lag to be expected on this page, and how many ends, which is also its slope.

        `rate`: ends a second among the queued. The sum of `Forecast.expected_lag`, written out for speed.
        """
        total = ends = queued = 0.0
        for cohort in self.cohorts:
            weight = cohort.weight
            queued += weight * cohort.queued
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
        if queued:
            elapsed = now - self.fetched_at
            total += rate * elapsed * elapsed / 2.0
            ends += rate * elapsed
        return total, ends
