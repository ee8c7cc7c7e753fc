"""Placement: which list page, or which queue of GETs, will show each polled id next. Pure.

Every id is on exactly one `KnownPage` (none once lists are disabled) and, unless that page is certain to show it, in
one queue of GETs. Queues are dicts, or heaps with lazy deletion (`heap_version`): no look at one id costs more than a
few operations, whatever the number of ids. Rules 4 to 7 of `planner` are implemented here; the planner decides what is
worth a request.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import attrs

from ..api.operations import MAX_PAGE_SIZE
from .forecast import QUEUED, SQRT2, UNSEEN, WORKING, Forecast
from .tuning import Tuning

__all__ = ["Entry", "KnownPage", "Placement", "ShownPage"]

_MAX_PAGES_IN_VAIN: Final = 200  # in a row, on the way to an id
_EPSILON: Final = 1e-6  # weights: less than this on a page is what rounding has left


@attrs.define(eq=False, weakref_slot=False, kw_only=True)
class Entry(Forecast):
    """One polled id: its forecast, and where it may be seen.

    `watched_since`: loop time of `watch()`. `sequence`: the order of those calls. `page`: the list page that shows it,
    or is to be tried next; `located`: that page showed it when it was last fetched; `ever_located`: some page did;
    `pages_missed`: pages fetched in vain since. `asked_at`: loop time of a GET that is on its way. `failures`,
    `not_before`: see `failures.Subject`. `queued_key`: its key in the queue by
    creation, NaN if it is not there. `heap_version`: which of its entries in the heap by due time holds.
    """

    activity_id: str
    watched_since: float
    sequence: int
    max_staleness: float = math.inf
    page: KnownPage | None = None
    located: bool = False
    ever_located: bool = False
    pages_missed: int = 0
    asked_at: float = math.inf
    failures: int = 0
    not_before: float = -math.inf
    queued_key: float = math.nan
    heap_version: int = 0

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
class KnownPage:
    """A page of a list as it is remembered: the link that gives it, and the polled ids that it may show.

    `fetched_at`: loop time; before the first time that of its making. `due`: loop time before which it is not worth a
    request; `not_before`: it failed, and is left alone until then. `interval`: seconds from a fetch to when the next
    one was worth it, last time. `starts`: how many of the queued on it began, of late.
    """

    index: int
    fetched_at: float
    state: str | None = None
    href: str | None = None
    limit: int = MAX_PAGE_SIZE
    fetched: bool = False
    not_before: float = -math.inf
    failures: int = 0
    due: float = -math.inf
    interval: float = 10.0
    starts: float = 0.0
    ids: dict[str, Entry] = attrs.field(factory=dict)
    working: dict[str, Entry] = attrs.field(factory=dict)
    max_staleness: dict[str, float] = attrs.field(factory=dict)
    # Sums of weights, and of weights times `watched_since`.
    queued: float = 0.0
    unseen: float = 0.0
    unseen_since: float = 0.0

    def add(self, entry: Entry) -> None:
        """Expect this id here from now on."""
        if not self.ids:
            self.fetched_at = max(self.fetched_at, entry.looked_at)
            self.queued = self.unseen = self.unseen_since = 0.0  # sheds what rounding has left
        self.ids[entry.activity_id] = entry
        self.due = -math.inf
        if entry.max_staleness < math.inf:
            self.max_staleness[entry.activity_id] = entry.max_staleness
        self._count(entry, 1.0)

    def remove(self, entry: Entry) -> None:
        """Expect it no longer. Its phase and misses must still be those it was added with."""
        if self.ids.pop(entry.activity_id, None) is not None:
            self.max_staleness.pop(entry.activity_id, None)
            self._count(entry, -1.0)

    def _count(self, entry: Entry, sign: float) -> None:
        weight = sign / (1.0 + entry.pages_missed)  # missed on n pages, it is on the next with 1 chance in n + 1
        if entry.phase == QUEUED:
            self.queued += weight
        elif entry.phase == UNSEEN:
            self.unseen += weight
            self.unseen_since += weight * entry.watched_since
        elif sign > 0.0:
            self.working[entry.activity_id] = entry
        else:
            self.working.pop(entry.activity_id, None)

    def expected_lag(self, now: float, rate: float, tuning: Tuning) -> tuple[float, float]:
        """Seconds of lag to be expected on this page, and how many ends, which is also its slope.

        `rate`: ends a second among the queued. The sum of `Forecast.expected_lag`, written out for speed.
        """
        total = ends = 0.0
        for entry in self.working.values():
            elapsed, median = now - entry.looked_at, entry.median_remaining
            weight = 1.0 / (1.0 + entry.pages_missed)
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
        if self.queued > _EPSILON:
            elapsed = now - self.fetched_at
            total += rate * elapsed * elapsed / 2.0
            ends += rate * elapsed
        if self.unseen > _EPSILON:
            elapsed, median = max(0.0, now - self.unseen_since / self.unseen), tuning.unseen_median_s
            p = min(1.0, elapsed / (2.0 * median))
            total += self.unseen * (p * elapsed / 2.0 if p < 1.0 else elapsed - median)
            ends += self.unseen * p
        return total, ends

    @property
    def has_queued(self) -> bool:
        """Whether a queued id may be on it."""
        return self.queued > _EPSILON


class Placement:
    """The pages, the queues of GETs, and which id is in which.

    `pages`: those of the whole list. `processing_page`: the list of those at work, one page however deep the history
    is.
    `get_queues`: unseen and queued ids by their last look; `due_heap`: all others by when they may be worth a GET.
    `creation_queue`: all the queued, oldest first, those not seen yet by GETs last. `head_known_queued_at`: loop time
    at which the first in it was last known to be queued.
    """

    def __init__(self, tuning: Tuning) -> None:
        self.ids: dict[str, Entry] = {}
        self.pages: list[KnownPage] = [KnownPage(0, -math.inf)]
        self.processing_page: KnownPage = KnownPage(0, -math.inf, state="processing")
        self.get_queues: dict[str, OrderedDict[str, Entry]] = {UNSEEN: OrderedDict(), QUEUED: OrderedDict()}
        self.due_heap: list[tuple[float, int, Entry]] = []
        self.creation_queue: list[tuple[float, int, Entry]] = []
        self.head_known_queued_at: float = -math.inf
        self._tuning = tuning
        self._newest_index = 0  # of the page that showed the last id that was new
        self._margin = tuning.first_page_margin
        self._sequence = 0

    def watch(self, activity_id: str, now: float, max_staleness: float, *, lists: bool) -> None:
        """Enter this id, or tighten its max_staleness."""
        entry = self.ids.get(activity_id)
        if entry is None:
            self._sequence += 1
            entry = self.ids[activity_id] = Entry(
                activity_id=activity_id,
                looked_at=now,
                median_remaining=self._tuning.unseen_median_s,
                watched_since=now,
                sequence=self._sequence,
                max_staleness=max_staleness,
            )
            page = self.pages[min(self._newest_index, len(self.pages) - 1)] if lists else None
            if page is not None and not page.index:
                page.limit = min(MAX_PAGE_SIZE, page.limit + 1)
            self.place(entry, page)
        elif max_staleness < entry.max_staleness:
            self.remove(entry)
            entry.max_staleness = max_staleness
            self.place(entry, entry.page)

    def forget(self, entry: Entry) -> None:
        """Strike this id off."""
        del self.ids[entry.activity_id]
        self.remove(entry)

    def is_certain(self, entry: Entry) -> bool:
        """Whether a page that is worth a fetch will show it, so that it needs no GET."""
        return entry.located and not entry.suspect_ended and entry.page is not None and len(entry.page.ids) > 1

    def place(self, entry: Entry, page: KnownPage | None) -> None:
        """Expect it on this page."""
        entry.page = page
        if page is not None:
            page.add(entry)
        if entry.phase == WORKING:
            self.processing_page.add(entry)
        self.enqueue(entry)

    def remove(self, entry: Entry) -> None:
        """Take it out of everything."""
        if entry.phase == WORKING:
            self.processing_page.remove(entry)
        self._dequeue(entry)
        if entry.page is not None:
            self._leave_page(entry, entry.page)

    def _leave_page(self, entry: Entry, page: KnownPage) -> None:
        page.remove(entry)
        if len(page.ids) == 1:  # not worth a page any more
            self.enqueue(next(iter(page.ids.values())))

    def change_phase(self, entry: Entry, before: str) -> None:
        """It is in another phase than before."""
        page, after = entry.page, entry.phase
        entry.phase = before
        self.processing_page.remove(entry)
        if page is not None:
            page.remove(entry)
        entry.phase = after
        self.place(entry, page)

    # --- queues of GETs ---------------------------------------------------------------------------------------------

    def _dequeue(self, entry: Entry) -> None:
        entry.heap_version = 0
        self.get_queues[UNSEEN].pop(entry.activity_id, None)
        self.get_queues[QUEUED].pop(entry.activity_id, None)

    def enqueue(self, entry: Entry) -> None:
        """Give it its place in the queues of GETs, or none if a page is certain to show it."""
        self._dequeue(entry)
        self._sequence += 1
        waits = entry.phase == QUEUED or (entry.phase == UNSEEN and entry.page is None)
        if waits and not entry.failures and entry.queued_key != entry.vendor_created_at:
            entry.queued_key = entry.vendor_created_at
            heapq.heappush(self.creation_queue, (entry.vendor_created_at, entry.sequence, entry))
        if self.is_certain(entry):
            return
        if entry.phase in self.get_queues and entry.max_staleness == math.inf and not entry.failures:
            self.get_queues[entry.phase][entry.activity_id] = entry
        else:
            entry.heap_version = self._sequence
            heapq.heappush(self.due_heap, (-math.inf, entry.heap_version, entry))

    def was_queued(self, entry: Entry, seen: float, now: float, *, started: bool) -> None:
        """One that was queued at the last look, at `seen`, was looked at again: it still is, or has started."""
        if self.creation_queue and self.creation_queue[0][2] is entry:
            known = self.head_known_queued_at
            self.head_known_queued_at = (max(known, seen) + now) / 2 if started else now
        if started:
            for page in self.pages:
                page.starts *= self._tuning.start_decay
            if entry.page is not None:
                entry.page.starts += 1.0

    def head(self, queue: OrderedDict[str, Entry], fetching: KnownPage | None) -> Entry | None:
        """The one looked at longest ago, unless an answer that will show it is on its way."""
        while queue:
            for entry in queue.values():
                if entry.in_flight:
                    continue
                if self.is_certain(entry):
                    break
                return None if entry.page is not None and entry.page is fetching else entry
            else:
                return None
            del queue[entry.activity_id]
        return None

    def oldest_queued(self) -> Entry | None:
        """The oldest of the queued; without lists the unseen count as queued behind them."""
        while self.creation_queue:
            key, _, entry = self.creation_queue[0]
            holds = entry.queued_key == key
            waits = entry.phase in self.get_queues and not entry.failures
            if holds and waits and self.ids.get(entry.activity_id) is entry:
                return entry
            heapq.heappop(self.creation_queue)
            if holds:
                entry.queued_key = math.nan
        return None

    # --- pages ------------------------------------------------------------------------------------------------------

    def find_page(self, state: str | None, href: str | None) -> KnownPage | None:
        """The page that a fetch asks for."""
        if state is not None:
            return self.processing_page
        return next((page for page in self.pages if page.href == href), None)

    def on_page(self, page: KnownPage, shown: ShownPage, asked_at: float, now: float, stale: set[str]) -> None:
        """A page was fetched. `stale`: ids that it showed as they were before they were last looked at."""
        page.fetched_at, page.due, page.fetched, page.failures = now, -math.inf, True, 0
        if page is self.processing_page:
            self._on_processing_page(shown, asked_at, now)
        elif page in self.pages:
            self._on_list_page(page, shown, now, stale)
        while len(self.pages) > 1 and not self.pages[-1].ids:
            self.pages.pop()

    def _on_list_page(self, page: KnownPage, shown: ShownPage, now: float, stale: set[str]) -> None:
        self.processing_page.due = -math.inf
        current = set(shown.found) - stale
        for key in shown.found:
            entry = self.ids.get(key) if key in current else None
            if entry is not None and (entry.page is not page or not entry.located or entry.pages_missed):
                if not entry.ever_located:
                    entry.ever_located, self._newest_index = True, page.index
                self.remove(entry)
                entry.located, entry.pages_missed = True, 0
                self.place(entry, page)
        missing = [entry for key, entry in page.ids.items() if key not in current]
        if not missing:
            if page.index + 1 < len(self.pages):
                self._next_page(page, shown.next_href)  # its link may have changed
            elif not page.index and shown.reach is not None:
                page.limit = min(MAX_PAGE_SIZE, shown.reach + shown.reach // 4 + self._margin)
        elif page.href is None and page.limit < MAX_PAGE_SIZE and shown.next_href:
            page.limit = MAX_PAGE_SIZE  # too few rows: it says nothing of a next page
            self._margin = min(MAX_PAGE_SIZE, 2 * self._margin)
        else:
            self._move(missing, page, self._next_page(page, shown.next_href))
            if len(missing) > len(page.ids):
                page.ids = dict(page.ids)  # a dict that was large once stays large

    def _on_processing_page(self, shown: ShownPage, asked_at: float, now: float) -> None:
        if shown.next_href:
            return  # the list is longer than what was seen of it
        found = set(shown.found)
        for key, entry in self.processing_page.working.items():
            if key in found or entry.in_flight or entry.looked_at > asked_at or entry.suspect_ended:
                continue
            entry.suspect(now, self._tuning)
            self.enqueue(entry)
            if entry.page is not None:
                entry.page.due = -math.inf

    def _next_page(self, page: KnownPage, href: str | None) -> KnownPage:
        """Where to expect what this page did not show: on the next, or after the last the first again."""
        if href is None or any(href == each.href for each in self.pages[: page.index + 1]):
            return self.pages[0]
        if page.index + 1 == len(self.pages):
            self.pages.append(KnownPage(page.index + 1, -math.inf))
        following = self.pages[page.index + 1]
        following.href = href
        return following

    def _move(self, entries: Sequence[Entry], page: KnownPage, target: KnownPage) -> None:
        """Expect them there instead, and less certainly; or nowhere, once as many pages were in vain as there are."""
        most = min(len(entries), _MAX_PAGES_IN_VAIN)
        for entry in entries:
            was_located = entry.located
            self._leave_page(entry, page)
            entry.located, entry.pages_missed = False, entry.pages_missed + 1
            entry.page = target if entry.pages_missed <= most else None
            if entry.page is not None:
                target.add(entry)
            if was_located or entry.page is None:
                self.enqueue(entry)

    def unlink(self, page: KnownPage) -> None:
        """Its link is no good: walk there again."""
        page.href = None
        self._move(list(page.ids.values()), page, self.pages[0])

    def disable_lists(self) -> None:
        """There are no pages any more."""
        for entry in self.ids.values():
            self.remove(entry)
            entry.located = False
            self.place(entry, None)
        self.pages = [KnownPage(0, -math.inf)]

    def reconsider_all(self) -> None:
        """Due times that were worked out are too late: work them out again."""
        for page in (*self.pages, self.processing_page):
            page.due = -math.inf
        valid = [(version, entry) for _, version, entry in self.due_heap if version == entry.heap_version]
        self.due_heap = [(-math.inf, version, entry) for version, entry in valid]
        heapq.heapify(self.due_heap)
