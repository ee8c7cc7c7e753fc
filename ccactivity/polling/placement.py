"""Keep account of where each watched id may be seen: on which list page, or else in which order of GETs.

Performs no I/O, reads no clock, weighs nothing: what is worth a request is decided in `planning`, whose
rules 4 to 7 are kept here. An id stands on exactly one page (none once lists are off), and in the order of
GETs unless that page is sure to show it. Everything is a dict, or a heap whose entries are left behind and
dropped when they come to the top: no look at one id costs more than a few operations, however many there
are.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence

import attrs

from .prediction import QUEUED, UNSEEN, WORKING, Page, Watched

__all__ = ["FULL", "SweptPage", "Whereabouts"]

FULL = 500  # rows: the longest page the vendor gives
MARGIN = 25  # rows asked for beyond the last one needed, at first


@attrs.frozen
class SweptPage:
    """What a page showed: watched ids, number of rows, the link which gave it (None: first), the next link.

    `reach`, if known, is the row (from 1) of the last watched id: the next sweep asks for no more than that.
    """

    found: Sequence[str]
    rows: int
    href: str | None
    next_href: str | None
    reach: int | None = None


class Whereabouts:
    """The pages, the order of GETs, and who is in which."""

    def __init__(self) -> None:
        self.ids: dict[str, Watched] = {}
        self.pages: list[Page] = [Page(0, -math.inf)]
        self.busy: Page = Page(0, -math.inf, state="processing")
        # The order of GETs: unseen and queued by their last look, all others by when they may be worth one.
        self.idle: dict[str, OrderedDict[str, Watched]] = {UNSEEN: OrderedDict(), QUEUED: OrderedDict()}
        self.ripe: list[tuple[float, int, Watched]] = []
        # All the queued, oldest first; those not seen yet by GETs come last.
        self.line: list[tuple[float, int, Watched]] = []
        self.clear: float = -math.inf  # loop time at which the first in line was last known to be queued
        self._entry = 0  # index of the page which showed the last id that was new
        self._margin = MARGIN
        self._tickets = 0

    def watch(self, activity_id: str, now: float, strict: float, *, lists: bool) -> None:
        """Enter this id, or tighten its max_staleness."""
        rec = self.ids.get(activity_id)
        if rec is None:
            self._tickets += 1
            rec = self.ids[activity_id] = Watched(activity_id, now, now, self._tickets, strict=strict)
            page = self.pages[min(self._entry, len(self.pages) - 1)] if lists else None
            if page is not None and not page.index:
                page.limit = min(FULL, page.limit + 1)
            self.settle(rec, page)
        elif strict < rec.strict:
            self.leave(rec)
            rec.strict = strict
            self.settle(rec, rec.page)

    def forget(self, rec: Watched) -> None:
        """Strike this id off."""
        del self.ids[rec.activity_id]
        self.leave(rec)

    def sure(self, rec: Watched) -> bool:
        """Whether a page which is worth a sweep will show it, so that it needs no GET."""
        return rec.found and not rec.suspect and rec.page is not None and len(rec.page.ids) > 1

    def settle(self, rec: Watched, page: Page | None) -> None:
        """Expect it on this page."""
        rec.page = page
        if page is not None:
            page.add(rec)
        if rec.kind == WORKING:
            self.busy.add(rec)
        self.order(rec)

    def leave(self, rec: Watched) -> None:
        """Take it out of everything."""
        self.busy.remove(rec)
        self._unorder(rec)
        if rec.page is not None:
            rec.page.remove(rec)
            if len(rec.page.ids) == 1:
                self.order(next(iter(rec.page.ids.values())))

    def turn(self, rec: Watched, before: str) -> None:
        """It is of another kind than before."""
        page, after = rec.page, rec.kind
        rec.kind = before
        self.busy.remove(rec)
        if page is not None:
            page.remove(rec)
        rec.kind = after
        self.settle(rec, page)

    def _unorder(self, rec: Watched) -> None:
        rec.ticket = 0
        self.idle[UNSEEN].pop(rec.activity_id, None)
        self.idle[QUEUED].pop(rec.activity_id, None)

    def order(self, rec: Watched) -> None:
        """Give it its place in the order of GETs, or none if a page is sure to show it."""
        self._unorder(rec)
        self._tickets += 1
        if (rec.kind == QUEUED or (rec.kind == UNSEEN and rec.page is None)) and rec.lined != rec.created:
            rec.lined = rec.created
            heapq.heappush(self.line, (rec.created, rec.born, rec))
        if self.sure(rec):
            return
        if rec.kind in self.idle and rec.strict == math.inf:
            self.idle[rec.kind][rec.activity_id] = rec
        else:
            rec.ticket = self._tickets
            heapq.heappush(self.ripe, (-math.inf, rec.ticket, rec))

    def queued(self, rec: Watched, seen: float, now: float, *, began: bool) -> None:
        """One which was queued at the last look, then, was looked at again: it still is, or has begun."""
        if self.line and self.line[0][2] is rec:
            self.clear = (max(self.clear, seen) + now) / 2 if began else now
        if began:
            for page in self.pages:
                page.begins *= 0.9
            if rec.page is not None:
                rec.page.begins += 1.0

    def demote(self, rec: Watched) -> None:
        """It cannot be had for now: let others pass."""
        if self.front() is rec:
            heapq.heappop(self.line)
            rec.lined, rec.created = math.nan, math.inf
        self.order(rec)

    def head(self, idle: OrderedDict[str, Watched], sweeping: Page | None) -> Watched | None:
        """The one looked at longest ago, unless an answer which will show it is on its way."""
        while idle:
            for rec in idle.values():
                if rec.flying:
                    continue
                if self.sure(rec):
                    break
                return None if rec.page is not None and rec.page is sweeping else rec
            else:
                return None
            del idle[rec.activity_id]
        return None

    def front(self) -> Watched | None:
        """The oldest of the queued; without lists the unseen count as queued behind them."""
        while self.line:
            created, _, rec = self.line[0]
            if rec.kind in self.idle and self.ids.get(rec.activity_id) is rec and rec.lined == created:
                return rec
            heapq.heappop(self.line)
            if rec.lined == created:
                rec.lined = math.nan
        return None

    def page_of(self, state: str | None, start: str | None) -> Page | None:
        """The page which a sweep asks for."""
        if state is not None:
            return self.busy
        return next((page for page in self.pages if page.href == start), None)

    def swept(self, page: Page, got: Sequence[SweptPage], asked: float, now: float, stale: set[str]) -> None:
        """These are this page and those after it, as they were after the sweep was asked."""
        if page is self.busy:
            self._swept_busy(got, asked, now)
        elif page in self.pages:
            self._swept_page(page, got[0], now, stale)
            for each in got[1:]:
                page = self._onward(page, each.href)
                self._swept_page(page, each, now, stale)
        while len(self.pages) > 1 and not self.pages[-1].ids:
            self.pages.pop()

    def _swept_page(self, page: Page, got: SweptPage, now: float, stale: set[str]) -> None:
        page.swept, page.due, page.looked, page.strikes = now, -math.inf, True, 0
        self.busy.due = -math.inf
        shown = set(got.found) - stale
        for key in got.found:
            rec = self.ids.get(key) if key in shown else None
            if rec is not None and (rec.page is not page or not rec.found or rec.misses):
                if not rec.placed:
                    rec.placed, self._entry = True, page.index
                self.leave(rec)
                rec.found, rec.misses = True, 0
                self.settle(rec, page)
        missing = [rec for key, rec in page.ids.items() if key not in shown]
        if not missing:
            if page.index + 1 < len(self.pages):
                self._onward(page, got.next_href)  # its link may have changed
            elif not page.index and got.reach is not None:
                page.limit = min(FULL, got.reach + got.reach // 4 + self._margin)
        elif page.href is None and page.limit < FULL and got.next_href:
            page.limit, self._margin = (
                FULL,
                min(FULL, 2 * self._margin),
            )  # too few rows: it says nothing of a next page
        else:
            self._move(missing, self._onward(page, got.next_href))
            if len(missing) > len(page.ids):
                page.ids = dict(page.ids)  # a dict which was large once stays large

    def _swept_busy(self, pages: Sequence[SweptPage], asked: float, now: float) -> None:
        page = self.busy
        page.swept, page.due, page.looked, page.strikes = now, -math.inf, True, 0
        if pages[-1].next_href:
            return  # the list is longer than what was seen of it
        shown = {key for got in pages for key in got.found}
        for key, rec in page.working.items():
            if key not in shown and not rec.flying and rec.seen <= asked and not rec.suspect:
                rec.accuse(now)
                self.order(rec)
                if rec.page is not None:
                    rec.page.due = -math.inf

    def _onward(self, page: Page, href: str | None) -> Page:
        """Where to expect what this page did not show: on the next, or after the last the first again."""
        if href is None or any(href == each.href for each in self.pages[: page.index + 1]):
            return self.pages[0]
        if page.index + 1 == len(self.pages):
            self.pages.append(Page(page.index + 1, -math.inf))
        after = self.pages[page.index + 1]
        after.href = href
        return after

    def _move(self, recs: Iterable[Watched], onward: Page) -> None:
        """Expect them there instead, and less surely."""
        for rec in recs:
            page, was = rec.page, rec.found
            if page is not None:
                page.remove(rec)
                if len(page.ids) == 1:
                    self.order(next(iter(page.ids.values())))
            rec.page, rec.found, rec.misses = onward, False, rec.misses + 1
            onward.add(rec)
            if was:
                self.order(rec)

    def unlink(self, page: Page) -> None:
        """Its link is no good: walk there again."""
        page.href = None
        self._move(list(page.ids.values()), self.pages[0])

    def lists_off(self) -> None:
        """There are no pages any more."""
        for rec in self.ids.values():
            self.leave(rec)
            rec.found = False
            self.settle(rec, None)
        self.pages = [Page(0, -math.inf)]

    def revalue(self) -> None:
        """Times worked out are too late: work them out again."""
        for page in (*self.pages, self.busy):
            page.due = -math.inf
        self.ripe = [(-math.inf, ticket, rec) for _, ticket, rec in self.ripe if ticket == rec.ticket]
        heapq.heapify(self.ripe)
