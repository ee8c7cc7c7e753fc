"""Placement: which list page, or which queue of GETs, will show each polled id next. Pure.

Every id is in at most one `Cohort` of a `KnownPage` and, unless that page is certain to show it, in one queue of GETs.
Queues are dicts, or heaps with lazy deletion (`heap_version`): no look at one id costs more than a few operations,
whatever the number of ids. Rules 4 to 7 of `planner` are implemented here; the planner decides what is worth a request.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Container, Sequence
from datetime import datetime
from typing import Final

from ..api.operations import MAX_PAGE_SIZE
from .forecast import QUEUED, UNSEEN, WORKING
from .pages import Cohort, Entry, KnownPage, ShownPage
from .tuning import Tuning

__all__ = ["Placement"]

_MAX_PAGES_IN_VAIN: Final = 200  # in a row, on the way to an id


class Placement:
    """The pages, the queues of GETs, and which id is in which.

    `pages`: those of the whole list. `processing_page`: the list of those at work, one page however deep the history
    is; `working`: its ids.
    `get_queues`: unseen and queued ids by their last look; `due_heap`: all others by when they may be worth a GET.
    `creation_queue`: all the queued, oldest first, those not seen yet by GETs last. `head_known_queued_at`: loop time
    at which the first in it was last known to be queued.
    """

    def __init__(self, tuning: Tuning) -> None:
        self.ids: dict[str, Entry] = {}
        self.pages: list[KnownPage] = [KnownPage(-math.inf)]
        self.processing_page: KnownPage = KnownPage(-math.inf, state="processing")
        self.working: Cohort = self.processing_page.located
        self.get_queues: dict[str, OrderedDict[str, Entry]] = {UNSEEN: OrderedDict(), QUEUED: OrderedDict()}
        # Ids, not entries: Python's garbage collector leaves tuples of numbers and strings alone, and there are many.
        self.due_heap: list[tuple[float, int, str]] = []
        self.creation_queue: list[tuple[datetime, int, str]] = []
        self.head_known_queued_at: float = -math.inf
        self._tuning = tuning
        self._newest_page = self.pages[0]  # it showed the last id that was new
        self._margin = tuning.first_page_margin
        self._sequence = 0

    def watch(self, activity_id: str, now: float, max_staleness: float, *, lists: bool) -> None:
        """Enter this id, or change its max_staleness."""
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
            page = self._newest_page if lists else None
            if page is not None and page.href is None:
                page.limit = min(MAX_PAGE_SIZE, page.limit + 1)
            self._expect(entry, UNSEEN, None if page is None else page.seek())
            return
        stricter = max_staleness < entry.max_staleness
        entry.max_staleness = max_staleness
        if stricter:  # else it keeps its turn: a due time that comes too early is worked out again
            if entry.cohort is not None:
                entry.cohort.limited[activity_id] = entry
                entry.cohort.page.due = -math.inf
            self.enqueue(entry)

    def forget(self, entry: Entry) -> None:
        """Strike this id off."""
        del self.ids[entry.activity_id]
        self._dequeue(entry)
        if entry.activity_id in self.working.ids:
            self.working.remove(entry, WORKING)
        if entry.cohort is not None:
            entry.cohort.remove(entry, entry.phase)
            self._tidy(entry.cohort.page)

    def is_certain(self, entry: Entry) -> bool:
        """Whether a page that is worth a fetch will show it, so that it needs no GET."""
        cohort = entry.cohort
        if cohort is None or entry.suspect_ended:
            return False
        return cohort is cohort.page.located and cohort.page.count > 1

    def on_look(self, entry: Entry, before: str, looked_at: float, now: float, page: KnownPage | None) -> None:
        """It was looked at: give it its place, which may be on another page.

        `before`, `looked_at`: the phase in which it was placed, and the loop time, at the look before. `page`: that
        which showed it; None: a GET did.
        """
        phase, cohort = entry.phase, entry.cohort
        if phase == QUEUED:
            if self.creation_queue and self.creation_queue[0][1] == entry.sequence:
                self.head_known_queued_at = now
        elif before == QUEUED:
            self.on_start(entry, looked_at, now)
        if page is not None and cohort is not page.located and page.state is None:
            self._locate(entry, before, page)
        elif phase != before:
            self._expect(entry, before, cohort)
        elif not self.is_certain(entry):
            self.enqueue(entry)
        if cohort is not None and not phase == before == QUEUED:
            cohort.page.due = -math.inf

    def on_start(self, entry: Entry, looked_at: float, now: float) -> None:
        """One that was queued at the last look has begun since."""
        if self.creation_queue and self.creation_queue[0][1] == entry.sequence:
            self.head_known_queued_at = (max(self.head_known_queued_at, looked_at) + now) / 2
        for page in self.pages:
            page.starts *= self._tuning.start_decay
        if entry.cohort is not None:
            entry.cohort.page.starts += 1.0

    def _locate(self, entry: Entry, before: str, page: KnownPage) -> None:
        """A page shows it that did not show it the last time."""
        if not entry.ever_located:
            entry.ever_located, self._newest_page = True, page
        self._expect(entry, before, page.located)

    def _expect(self, entry: Entry, before: str, cohort: Cohort | None) -> None:
        """Expect it where these are expected, in its phase of now. `before`: the phase in which it was placed."""
        left = entry.cohort
        if left is not None:
            left.remove(entry, before)
        if before == WORKING and entry.activity_id in self.working.ids:
            self.working.remove(entry, before)
        entry.cohort = cohort
        if cohort is not None:
            cohort.add(entry)
        if entry.phase == WORKING:
            self.working.add(entry)
        self.enqueue(entry)
        if left is not None and left.page.count == 1:
            self._tidy(left.page)

    def _tidy(self, page: KnownPage) -> None:
        if page.count == 1:  # not worth a page any more
            (entry,) = page.entries
            self.enqueue(entry)

    # --- queues of GETs ---------------------------------------------------------------------------------------------

    def enqueue(self, entry: Entry) -> None:
        """Give it its place in the queues of GETs, or none if a page is certain to show it."""
        phase, cohort = entry.phase, entry.cohort
        self._dequeue(entry)
        waits = phase == QUEUED or (phase == UNSEEN and cohort is None)
        if waits and entry.queued_key != entry.vendor_created_at and not entry.failures:
            entry.queued_key = entry.vendor_created_at
            heapq.heappush(self.creation_queue, (entry.vendor_created_at, entry.sequence, entry.activity_id))
        if self.is_certain(entry):
            return
        queue = self.get_queues.get(phase)
        if queue is not None and entry.max_staleness == math.inf and not entry.failures:
            queue[entry.activity_id] = entry
            entry.get_queue = queue
        else:
            self._sequence += 1
            entry.heap_version = self._sequence
            heapq.heappush(self.due_heap, (-math.inf, entry.heap_version, entry.activity_id))

    def _dequeue(self, entry: Entry) -> None:
        entry.heap_version = 0
        if entry.get_queue is not None:
            del entry.get_queue[entry.activity_id]
            entry.get_queue = None

    def head(self, queue: OrderedDict[str, Entry], fetching: KnownPage | None) -> Entry | None:
        """The one looked at longest ago, unless an answer that will show it is on its way."""
        while queue:
            for entry in queue.values():
                if entry.asked_at is not None:
                    continue
                if self.is_certain(entry):
                    break
                return None if entry.page is not None and entry.page is fetching else entry
            else:
                return None
            self._dequeue(entry)
        return None

    def oldest_queued(self) -> Entry | None:
        """The oldest of the queued; without lists the unseen count as queued behind them."""
        while self.creation_queue:
            key, sequence, activity_id = self.creation_queue[0]
            entry = self.ids.get(activity_id)
            if entry is not None and entry.sequence == sequence and entry.queued_key == key:
                if entry.phase in self.get_queues and not entry.failures:
                    return entry
                entry.queued_key = None
            heapq.heappop(self.creation_queue)
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
        self._forget_empty_pages()

    def _on_list_page(self, page: KnownPage, shown: ShownPage, now: float, stale: set[str]) -> None:
        self.processing_page.due = -math.inf
        current = dict.fromkeys(shown.found)
        for key in stale:
            current.pop(key, None)
        oldest = self.oldest_queued()
        if oldest is not None and oldest.phase == QUEUED and oldest.activity_id in current:
            self.head_known_queued_at = now
        located = page.located
        found = [entry for key in current if (entry := self.ids.get(key)) is not None]
        for entry in found:
            if entry.phase == QUEUED:
                entry.looked_at = now
            if entry.cohort is not located:
                self._locate(entry, entry.phase, page)
        if page.count == len(found):
            if shown.next_href and any(each.follows is page for each in self.pages):
                self._next_page(page, shown.next_href)  # its link may have changed
            elif page.href is None and shown.reach is not None:
                page.limit = min(MAX_PAGE_SIZE, shown.reach + shown.reach // 4 + self._margin)
        elif page.href is None and page.limit < MAX_PAGE_SIZE and shown.next_href:
            page.limit = MAX_PAGE_SIZE  # too few rows: it says nothing of a next page
            self._margin = min(MAX_PAGE_SIZE, 2 * self._margin)
        else:
            self._move(self._take_missing(page, current), page, self._next_page(page, shown.next_href))

    def _take_missing(self, page: KnownPage, current: Container[str]) -> list[Cohort]:
        """Take what the page did not show off it."""
        lost = Cohort(page)
        for key in [key for key in page.located.ids if key not in current]:
            entry = page.located.ids[key]
            page.located.remove(entry, entry.phase)
            lost.add(entry)
            entry.cohort = lost
        missing = [cohort for cohort in (lost, *page.sought.values()) if cohort.ids]
        page.sought, page.count, page.known_queued = {}, len(page.located.ids), None
        for entry in lost.ids.values():
            self.enqueue(entry)
        return missing

    def _on_processing_page(self, shown: ShownPage, asked_at: float, now: float) -> None:
        if shown.next_href:
            return  # the list is longer than what was seen of it
        found = set(shown.found)
        for key, entry in tuple(self.working.working.items()):
            if key in found or entry.asked_at is not None or entry.looked_at > asked_at:
                continue
            entry.suspect(now, self._tuning)
            self.working.remove(entry, WORKING)  # this page will tell no more of it
            self.enqueue(entry)
            if entry.page is not None:
                entry.page.due = -math.inf

    def _next_page(self, page: KnownPage, href: str | None) -> KnownPage:
        """Where to expect what this page did not show: on the next, or after the last the first again."""
        place = self.pages.index(page)
        if href is None or any(href == each.href for each in self.pages[: place + 1]):
            return self.pages[0]
        after = self.pages[place + 1 :]
        known = [each for each in after if each.href == href] or [each for each in after if each.follows is page]
        following = known[0] if known else KnownPage(-math.inf)
        if not known:
            self.pages.insert(place + 1, following)
        following.href, following.follows = href, page
        return following

    def _forget_empty_pages(self) -> None:
        self.pages = [page for page in self.pages if page.count or page is self.pages[0]]
        kept = set(self.pages)
        for page in self.pages:
            page.follows = page.follows if page.follows in kept else None
        if self._newest_page not in kept:
            self._newest_page = self.pages[0]

    def _move(self, cohorts: Sequence[Cohort], page: KnownPage, target: KnownPage) -> None:
        """Expect them there instead, and less certainly; or nowhere, once as many pages were in vain as there are."""
        most = min(sum(len(cohort.ids) for cohort in cohorts), _MAX_PAGES_IN_VAIN)
        for cohort in cohorts:
            cohort.pages_missed += 1
            if cohort.pages_missed <= most:
                target.take_in(cohort)
                continue
            for entry in cohort.ids.values():
                entry.cohort = None
                self.enqueue(entry)
        self._tidy(page)
        self._tidy(target)

    def unlink(self, page: KnownPage) -> None:
        """Its link is no good: walk there again."""
        self._move(self._take_missing(page, ()), page, self.pages[0])
        self._forget_empty_pages()

    def disable_lists(self) -> None:
        """There are no pages any more."""
        for entry in self.ids.values():
            self._expect(entry, entry.phase, None)
        self.pages = [KnownPage(-math.inf)]
        self._newest_page = self.pages[0]

    def reconsider_all(self) -> None:
        """Due times that were worked out are too late: work them out again."""
        for page in (*self.pages, self.processing_page):
            page.due = -math.inf
        waiting = [entry for entry in self.ids.values() if entry.heap_version]
        self.due_heap = sorted((-math.inf, entry.heap_version, entry.activity_id) for entry in waiting)
