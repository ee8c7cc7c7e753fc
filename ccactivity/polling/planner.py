"""Decide what to ask the vendor next, and when. Performs no I/O, reads no clock: time is an argument.

Requests are scarce (a few a second, some thousands a day) and so is patience. Both are brought to one coin:

1. **A request has a price, in seconds of lag.** Lag is the time from the moment an activity ends to the
   moment somebody here knows. At price 2 a request is made when it saves two seconds of it, in expectation,
   over all activities which it shows.
2. **Every activity has a pile**: the lag to be expected since it was last looked at, had it ended meanwhile
   (`prediction` tells how probable that is). A pile is small for long, then grows by one second a second.
3. **Every request is an offer**: a GET harvests one pile, a list page the piles of all ids on it. Each
   costs one request. Act at the first moment when the best offer reaches the price; take that offer; sleep
   until then. This is all. That one sweep serves hundreds, that ten idle watches cost next to nothing, and
   that somebody at 99 percent is looked at sooner than somebody at 10, follows. For ends which come at
   random h times a second the rule gives the classical interval between checks, sqrt(2 * price / h)
   (Barlow, Hunter and Proschan, J. SIAM 11, 1963).
4. **A list is a chain of pages**, each with the link which gives it. The order of the list is unknown, so
   each page simply remembers the ids it showed, and is swept alone, when its own pile is ripe. (The best
   single page is never worse, per request, than any run of pages.) A deep list costs one walk along the
   chain; after that only pages with watched ids on them are asked for, by their links.
5. **Absence means nothing.** An id which its page did not show is expected on the next page, with a chance
   of 1 in v + 1 after v pages in vain, and from then on has an offer of its own, a GET. So a walk goes on
   as long as it is likely to be cheaper than to ask for each, and whatever the list does, every id is asked
   for in the end.
6. **The list of those in work** (`state=processing`) is one page however deep the history is. Who was in
   work and is missing there has probably ended, but only a GET tells how: it costs 1 + the ends it reveals.
   It is worth it when the ids in work lie scattered over many pages. If the suspects turn out to be still
   in work, that list lies: it is dropped.
7. **The queued form one stream** (an end here, a start there), shared out to the pages by where queued ids
   were seen to begin. Without lists the oldest of them is asked for: while it waits, those behind it wait.
8. **The price rises as the day's credit drains**, base / fill**2. So all watches slow down together and
   nothing runs dry. Budget which flows in lowers it again: a time worked out once can only turn out too
   early, and is looked at again.
9. **Nobody is forgotten**: nothing in work or on a page goes unseen for longer than the ceiling, stretched
   as the price rises, by the age of what is looked at, and once there are more than six pages, or ids with
   nothing but GETs. A max_staleness is kept only out of a purse that this leaves filled (`Tariff.wish`).
10. **An outage costs little.** While nothing is answered there is one probe at a time, after 1, 2, 4 ... 60
    seconds, for all watches together. An id whose GET fails while others succeed waits alone.

An offer's time is worked out when something on it changes, not at each decision: a decision looks at one
number for each page, and at the heads of three queues of GETs. What a sweep shows of its rows is what it
costs.

What did not pay when measured: a discount for a look that is bound to be the last; acting when the ends to be
expected reach sqrt(2 * price * their rate), which is the same for ends at random and worse for these; timers
for each activity; jitter; looking again "at 70 % of what remains", which is worse than a blind sweep from a
hundred ids on.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Sequence
from datetime import datetime

import attrs

from ..ratelimit.quota import Budget
from .failures import LONGEST, Outage, pause
from .pacing import Pacing, Tariff
from .placement import SweptPage, Whereabouts
from .prediction import QUEUED, UNSEEN, WORKING, Look, Pace, Page, Watched

__all__ = ["Budget", "Get", "Pacing", "Planner", "SleepUntil", "Sweep", "SweptPage"]

SOON = 0.25  # seconds: when to ask again about an id which is about to be shown
LONE = 1.05  # requests: what the pile of one id is worth when it gets a request of its own
NEWS = 1.3  # a sweep shows not only ends among the queued, but who has begun and can be foretold from now on

Offer = tuple[float, float, "Get | Sweep | None"]  # loop time at which it is ripe, worth by price, action


@attrs.frozen
class Get:
    """Ask for one activity."""

    activity_id: str


@attrs.frozen
class Sweep:
    """Ask for list pages, from the link `start` on, or from the first with this limit and state."""

    pages: int
    limit: int
    state: str | None = None
    start: str | None = None


@attrs.frozen
class SleepUntil:
    """Nothing is worth a request before this loop time; infinity: before something changes."""

    when: float


class Planner:
    """Told the time and what was seen, answers with the next action.

    Each action which was `asked` is reported exactly once: a Get by `saw`, `ended`, `failed` or `forget`,
    a Sweep by `swept`, after `saw(..., listed=True)` or `ended` for each watched row.
    """

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing
        self._tariff = Tariff(pacing)
        self._pace = Pace()
        self._where = Whereabouts()
        self._lists, self._states = True, True
        self._lies = 0  # suspects in succession which turned out to be still in work
        self._flying = 0
        self._sweeping: Page | None = None
        self._swept_from = -math.inf  # loop time at which the last sweep was asked
        self._stale: set[str] = set()  # shown by the sweep which is over, but as they were before the last look
        self._rounds = 1  # pages with watched ids on them
        self._outage = Outage()

    # What is watched.

    def watch(self, activity_id: str, now: float, *, max_staleness: float | None = None) -> None:
        """Watch this id; if it is watched already, the stricter max_staleness (in seconds) holds."""
        if activity_id not in self._where.ids:
            self._pace.news = now
        self._where.watch(activity_id, now, math.inf if max_staleness is None else max_staleness, lists=self._lists)

    def forget(self, activity_id: str) -> None:
        """Nobody asks for this id any more."""
        rec = self._where.ids.get(activity_id)
        if rec is not None:
            self._landed(rec)
            self._where.forget(rec)
            self._outage.release(activity_id)

    def ended(self, activity: Look, now: float) -> None:
        """An activity was seen terminal: it is forgotten."""
        self._outage.answered()
        rec = self._where.ids.get(activity.activity_id)
        if rec is None:
            return
        self._pace.ended(activity, rec, now)
        if rec.kind == QUEUED:
            self._pace.news = now
            self._where.queued(rec, rec.seen, now, began=True)
        if rec.suspect:
            self._lies = 0
        self.forget(rec.activity_id)

    # What was seen.

    def recall(self, activity: Look, when: float) -> None:
        """What was seen of it when it was watched before: no answer, and no sign that the vendor is there."""
        rec = self._where.ids.get(activity.activity_id)
        if rec is not None:
            self._learn(rec, activity, when, None, listed=False)

    def saw(self, activity: Look, now: float, server_now: datetime | None = None, *, listed: bool = False) -> None:
        """A look at an activity which is not terminal, by a GET or (listed) as a row of a sweep."""
        rec = self._where.ids.get(activity.activity_id)
        if not listed:
            self._outage.answered()
        if rec is None:
            return
        if not listed:
            self._landed(rec)
            self._outage.release(rec.activity_id)
        elif rec.kind == QUEUED and activity.state == "initialized" and rec.found:
            self._where.queued(rec, rec.seen, now, began=False)  # nothing new, as for most rows of a long queue
            rec.seen = now
            return
        self._learn(rec, activity, now, server_now, listed=listed)

    def _learn(self, rec: Watched, activity: Look, now: float, server_now: datetime | None, *, listed: bool) -> None:
        before, suspect, seen = rec.kind, rec.suspect, rec.seen
        if not rec.observe(activity, now, server_now, self._pace):
            if listed:
                self._stale.add(rec.activity_id)
                return
            rec.seen = now  # an old snapshot, by GET: it has not ended all the same
        if suspect and not listed and rec.kind == WORKING:
            self._lies += 1
            self._states = self._states and self._lies < 3
        if QUEUED in (before, rec.kind):
            self._where.queued(rec, seen, now, began=rec.kind != QUEUED)
        if rec.kind != before:
            self._pace.news = now
            self._where.turn(rec, before)
        elif not self._where.sure(rec):
            self._where.order(rec)
        if rec.page is not None and rec.kind != QUEUED:
            rec.page.due = -math.inf

    def failed(self, activity_id: str, now: float) -> None:
        """The GET got no answer."""
        rec = self._where.ids.get(activity_id)
        if rec is not None:
            self._landed(rec)
            self._outage.hold(activity_id, now)
            self._where.demote(rec)
        self._outage.unanswered(now)

    def swept(self, sweep: Sweep, pages: Sequence[SweptPage], now: float, *, failed: bool = False) -> None:
        """The sweep is over, with these pages; failed: it broke off after them."""
        page = self._sweeping or self._where.page_of(sweep.state, sweep.start)
        self._sweeping = None
        if not self._lists:
            page = None  # it was this very sweep: what it showed will be shown by no other
        if pages:
            self._outage.answered()
        if pages and page is not None:
            self._where.swept(page, pages, self._swept_from, now, self._stale)
        elif page is not None and failed:
            page.strikes += 1
            page.held = now + pause(page.strikes)
            if page.index and page.strikes > 1:
                self._where.unlink(page)
        self._stale.clear()
        if failed:
            self._outage.unanswered(now)

    def sweeps_off(self, sweep: Sweep | None = None) -> None:
        """The vendor refuses lists: all, or those of this sweep's kind (a state, or a remembered start)."""
        page = self._where.page_of(sweep.state, sweep.start) if sweep else None
        self._sweeping = None
        if sweep and sweep.state is not None:
            self._states = False
        elif sweep and sweep.start is not None:
            if page is not None:
                self._where.unlink(page)
        elif self._lists:
            self._lists = False
            self._where.lists_off()

    # What to do.

    def next(self, now: float, credit: Budget) -> Get | Sweep | SleepUntil:
        """The best thing to do now, or how long nothing is worth doing. Marks nothing."""
        if self._tariff.count(credit, now):
            self._where.revalue()
        if not self._where.ids or (self._outage.failures and (self._flying or self._sweeping)):
            return SleepUntil(math.inf)
        if credit.available < 1.0:
            wait = (1.0 - credit.available) / credit.refill_rate if credit.refill_rate > 0 else LONGEST
            return SleepUntil(now + min(max(wait, SOON), LONGEST))
        if now < self._outage.until:
            return SleepUntil(self._outage.until)
        best: Get | Sweep | None = None
        most, wake = -1.0, math.inf
        for due, worth, action in self._offers(now):
            if action is None or due > now:
                wake = min(wake, due)
            elif worth > most:
                best, most = action, worth
        return best or SleepUntil(max(wake, math.nextafter(now, math.inf)))

    def price(self, now: float) -> float:
        """Seconds of lag that a request is worth at this moment."""
        return self._tariff.price(now)

    def reason(self, action: Get | Sweep, now: float) -> str:
        """Why an action is offered, in words for a log."""
        if isinstance(action, Get):
            rec = self._where.ids.get(action.activity_id)
            return "unknown" if rec is None else rec.reason(now)
        page = self._where.page_of(action.state, action.start)
        return "unknown" if page is None else page.reason(now)

    def asked(self, action: Get | Sweep, now: float) -> None:
        """An action is on its way: what it is about is not offered again before the answer."""
        if isinstance(action, Sweep):
            page = self._where.page_of(action.state, action.start)
            self._sweeping, self._swept_from = page or Page(-1, now), now
            return
        rec = self._where.ids.get(action.activity_id)
        if rec is not None and not rec.flying:
            rec.flying = True
            self._flying += 1

    # Offers.

    def _offers(self, now: float) -> Iterator[Offer]:
        where = self._where
        if self._lists and self._sweeping is None:
            queues = [page for page in where.pages if page.queued > 1e-6]
            queue = sum(page.queued for page in queues), sum(page.begins for page in queues)
            pages = [page for page in where.pages if len(page.ids) > 1]
            self._rounds = len(pages)
            for page in pages:
                yield self._page_offer(page, now, queue)
            if self._states and len(where.pages) > 1 and len(where.busy.working) > 1:
                yield self._page_offer(where.busy, now, queue)
        for idle in where.idle.values():
            rec = where.head(idle, self._sweeping)
            if rec is not None:
                yield self._due(rec, now), rec.pile(now) / self._tariff.price(now), Get(rec.activity_id)
        yield self._ripe_offer(now)
        yield self._front_offer(now)

    def _page_offer(self, page: Page, now: float, queue: tuple[float, float]) -> Offer:
        floor = max(page.held, page.swept + self._pacing.floor if page.looked else -math.inf)
        if now < max(page.due, floor):
            return max(page.due, floor), 0.0, None
        stream = 0.0
        if page.queued > 1e-6:  # its part of the queue: by where queued ones began, of late, and how many it shows
            queued, begins = queue
            stream = NEWS * self._pace.stream(now) * (page.begins + 0.5 * page.queued / queued) / (begins + 0.5)
        wish = self._tariff.wish(page.swept, min(page.strict.values(), default=math.inf))
        latest = math.inf if page.state else min(wish, page.swept + self._tariff.ceiling(now, self._rounds))
        value, ends = page.pile(now, stream)
        worth = value / self._tariff.price(now) / (1.0 + ends if page.state else 1.0)
        first = not (page.looked or page.index or page.state)  # nothing is known: there is nothing to wait for
        if worth >= 0.98 or now >= latest or first:
            worth = math.inf if now >= wish else max(worth, 1.0)
            return now, worth, Sweep(1, page.limit, page.state, page.href)
        step = 0.05 + 0.05 * (now - page.swept) if page.looked else 0.05  # early or late by a twentieth is all one
        page.due = min(max(self._solve(page, now, stream), now + step), max(latest, now + 0.02))
        return max(page.due, floor), 0.0, None

    def _solve(self, page: Page, now: float, stream: float) -> float:
        """When the page's pile all but reaches the price: a hair before a GET for one id on it is offered.

        Piles are convex, so Newton's steps come down to it from above, wherever they start. Last time's span
        is a good place.
        """
        far = now + 3.0 * self._tariff.ceiling(now, self._rounds)
        at = min(max(page.swept + page.span, now + 0.1), far)
        for _ in range(12):
            value, ends = page.pile(at, stream)
            over = value - 0.98 * self._tariff.price(at) * (1.0 + ends if page.state else 1.0)
            if abs(over) <= 0.01 * value or (over < 0.0 and at == far):
                break
            at = min(at - over / max(ends, 1e-9), far)
            if at <= now:
                break
        page.span = max(0.1, at - page.swept)
        return at

    def _ripe_offer(self, now: float) -> Offer:
        heap = self._where.ripe
        while heap:
            due, ticket, rec = heap[0]
            if ticket != rec.ticket or self._where.sure(rec):
                heapq.heappop(heap)
                continue
            if due > now:
                return due, 0.0, None
            due = self._due(rec, now)
            if rec.flying or (rec.page is not None and rec.page is self._sweeping):
                due = now + SOON
            if due <= now:
                late = now >= self._tariff.wish(rec.seen, rec.strict)
                return due, math.inf if late else rec.pile(now) / self._tariff.price(now), Get(rec.activity_id)
            heapq.heapreplace(heap, (due, ticket, rec))
        return math.inf, 0.0, None

    def _front_offer(self, now: float) -> Offer:
        rec = self._where.front()
        if rec is None or rec.flying or (rec.page is not None and rec.page is self._sweeping):
            return math.inf, 0.0, None
        stream, since = self._pace.stream(now), max(self._where.clear, rec.seen)
        due = max(since + math.sqrt(2.0 * self._tariff.price(now) / stream), rec.seen + self._pacing.floor)
        due = self._outage.after(rec.activity_id, due)
        return due, stream * (now - since) ** 2 / 2.0 / self._tariff.price(now), Get(rec.activity_id)

    def _due(self, rec: Watched, now: float) -> float:
        """When this id is worth a GET, or not sooner."""
        if rec.kind == UNSEEN and rec.activity_id not in self._outage.held and len(self._where.ids) == 1:
            return rec.seen  # somebody waits, and no sweep will show it
        waits = rec.kind == QUEUED or (rec.kind == UNSEEN and not self._lists and self._where.idle[QUEUED])
        due = math.inf if waits else self._ripens(rec, now)
        others = len(self._where.ripe) + sum(map(len, self._where.idle.values()))
        due = min(due, rec.seen + self._tariff.ceiling(now, others, now - rec.begun))
        due = min(due, self._tariff.wish(rec.seen, rec.strict))
        due = max(due, rec.seen + self._pacing.floor)
        return self._outage.after(rec.activity_id, due)

    def _ripens(self, rec: Watched, now: float) -> float:
        """When its pile reaches the price, which comes down as credit flows in."""
        late = rec.ripe(LONE * self._tariff.price(now))
        if late <= now or self._tariff.fill(now) == 1.0:
            return late
        early = now
        for _ in range(10):
            middle = (early + late) / 2
            if rec.pile(middle) < LONE * self._tariff.price(middle):
                early = middle
            else:
                late = middle
        return late

    def released(self, action: Get | Sweep) -> None:
        """An action came to nothing through no fault of the vendor's: it may be offered again."""
        if isinstance(action, Sweep):
            self._sweeping = None
        elif (rec := self._where.ids.get(action.activity_id)) is not None:
            self._landed(rec)

    def _landed(self, rec: Watched) -> None:
        if rec.flying:
            rec.flying = False
            self._flying -= 1
