"""The planner: decides what to ask the vendor next, and when. Pure: time is an argument.

Requests are scarce (a few a second, some thousands a day), and so is time. Both are measured in seconds of lag:

1. **A request has a price, in seconds of lag.** Lag is the time from the moment an activity ends to the moment somebody
   here knows. At price 2 a request is made when it saves two seconds of it, in expectation, over all activities that it
   shows.
2. **Every activity has an expected lag**: what it comes to if it has ended since it was last looked at (`forecast`
   tells how probable that is). It is small for long, then grows by one second a second.
3. **Every request is an offer**: a GET removes the expected lag of one activity, a list page that of every activity on
   it. Each costs one request. Act at the first moment when the best offer reaches the price; take that offer; sleep
   until then. This is all. That one sweep serves hundreds, that ten idle watches cost next to nothing, and that one at
   99 percent is looked at sooner than one at 10, follows. For ends that come at random h times a second the rule gives
   the classical interval between checks, sqrt(2 * price / h) (Barlow, Hunter and Proschan, J. SIAM 11, 1963).
4. **A list is a chain of pages**, each with the link that gives it. The order of the list is unknown, so each page
   simply remembers the ids it showed, and is fetched alone, when its own expected lag reaches the price. (The best
   single page is never worse, per request, than any run of pages.) A deep list costs one walk along the chain; after
   that only pages with watched ids on them are fetched, by their links.
5. **Absence means nothing.** An id that its page did not show is expected on the next page, with a chance of 1 in n + 1
   after n pages in vain, and from then on has an offer of its own, a GET. So a walk goes on as long as it is likely to
   be cheaper than to ask for each, and ends when it has cost as much: then the id is expected on no page until one
   shows it. Whatever the list does, every id is asked for in the end.
6. **The list of those at work** (`state=processing`) is one page however deep the history is. What was at work and is
   missing there has probably ended, but only a GET tells how: the page costs 1 + the ends that it reveals. It is worth
   it when the ids at work are scattered over many pages. If suspects turn out to be still at work, again and again,
   that list is not fetched any more.
7. **The queued form one stream** (an end here, a start there), shared out to the pages by where queued ids were seen to
   start. Without lists the oldest of them is asked for: while it waits, those behind it wait.
8. **The price rises as the day's budget drains**, base / level**2. So all watches slow down together and nothing runs
   dry. The refill lowers it again: a due time that was worked out can only turn out too early, and is looked at again.
9. **Nothing is forgotten**: nothing at work or on a page goes unseen for longer than the ceiling, stretched as the
   price rises, by the time for which it was seen at work, and once there are more than six pages, or ids with nothing
   but GETs.
   `max_staleness` is honoured only while at least 10 % of the budget remains (`RequestPrice.staleness_deadline`).
10. **One id's trouble is its own; an outage costs little.** What fails waits by itself, 1, 2, 4 seconds and so on up to
    the ceiling, and few such ids are asked for at once: they may hang. When different things fail and nothing is
    answered, all watches wait together, and are probed in turn, what has failed least first: it was answered last, or
    has not been asked yet.

An offer's due time is worked out when something on it changes, not at each decision: a decision looks at one number for
each page, and at the heads of three queues of GETs. What a page shows of its rows is what it costs.

What did not pay when measured: a discount for a look that is bound to be the last; acting when the ends to be expected
reach sqrt(2 * price * their rate), which is the same for ends at random and worse for these; timers for each activity;
jitter; looking again "at 70 % of what remains", which is worse than a blind sweep from a hundred ids on.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import attrs

from ..models import Activity
from ..ratelimit.quota import Budget
from .failures import Failures, Subject, retry_at
from .forecast import QUEUED, UNSEEN, WORKING
from .pacing import Pacing, RequestPrice
from .pages import Entry, KnownPage, ShownPage
from .placement import Placement
from .statistics import AccountStatistics
from .tuning import Tuning

__all__ = ["Action", "FetchOne", "FetchPage", "Planner", "SleepUntil"]

_NEWTON_STEPS: Final = 12
_NEWTON_TOLERANCE: Final = 0.01  # of the expected lag
_BISECTIONS: Final = 10
_MIN_SLEEP_S: Final = 0.02
_MAX_SLEEP_S: Final = 60.0  # without a budget
_MAX_FAILING_IN_FLIGHT: Final = 2  # GETs of ids whose last one failed: a quarter of what is in flight at most
_CROWDED_RECHECK_S: Final = 5.0  # until an id that failed and found those few is considered again
_HORIZON_CEILINGS: Final = 3.0  # no due time is worked out further ahead than this many ceilings


@attrs.frozen
class FetchOne:
    """Ask for one activity."""

    activity_id: str


@attrs.frozen
class FetchPage:
    """Ask for one list page: that of the link `start`, or the first with this limit and state."""

    limit: int
    state: str | None = None
    start: str | None = None


@attrs.frozen
class SleepUntil:
    """Nothing is worth a request before this loop time; infinity: before something changes."""

    when: float


Action = FetchOne | FetchPage

# The loop time at which it is due, its worth divided by its price, and what to do; None before it is due.
_Offer = tuple[float, float, Action | None]


class Planner:
    """Told the time and what was seen, answers with the next action.

    Each action that was `started` is reported exactly once: a FetchOne by `on_activity`, `on_terminal`, `on_failure`,
    `abandoned` or `forget`, a FetchPage by `on_page` or `abandoned`, after `on_activity(..., listed=True)` or
    `on_terminal` for each watched row; one that is as it was, and queued, may be left out, as most of a long queue are.
    """

    def __init__(self, pacing: Pacing, tuning: Tuning | None = None) -> None:
        self._pacing = pacing
        self._tuning = tuning or Tuning()
        self._price = RequestPrice(pacing, self._tuning)
        self._statistics = AccountStatistics(self._tuning)
        self._placement = Placement(self._tuning)
        self._failures = Failures()
        self._lists_enabled, self._states_enabled = True, True
        self._false_suspicions = 0  # in a row
        self._failing_in_flight: set[str] = set()  # ids whose last GET failed, and which may hang
        self._fetching: KnownPage | None = None
        self._fetch_started_at = -math.inf
        self._stale: set[str] = set()  # shown by the page under way, but as they were before the last look
        self._pages_in_use = 1

    # --- going on elsewhere -----------------------------------------------------------------------------------------

    def to_memo(self, now: float) -> dict[str, Any]:
        """Return what was learned of the account, as data of JSON: for whoever goes on when this process is gone."""
        return {
            "lists_enabled": self._lists_enabled,
            "states_enabled": self._states_enabled,
            "false_suspicions": self._false_suspicions,
            "statistics": self._statistics.to_memo(now),
        }

    def resume(self, memo: Mapping[str, Any], now: float) -> None:
        """Go on from what somebody else has learned, before anything is watched."""
        self._lists_enabled, self._states_enabled = memo["lists_enabled"], memo["states_enabled"]
        self._false_suspicions = memo["false_suspicions"]
        self._statistics.resume(memo["statistics"], now)
        if not self._lists_enabled:
            self._placement.disable_lists()

    # --- what is watched --------------------------------------------------------------------------------------------

    def watch(self, activity_id: str, now: float, *, max_staleness: float | None = None) -> None:
        """Watch this id; if it is watched already, max_staleness (in seconds) is this from now on."""
        if activity_id not in self._placement.ids:
            self._statistics.last_change = now
        self._placement.watch(activity_id, now, max_staleness or math.inf, lists=self._lists_enabled)

    def forget(self, activity_id: str) -> None:
        """Nobody asks for this id any more."""
        if (entry := self._placement.ids.get(activity_id)) is not None:
            self._landed(entry)
            self._placement.forget(entry)

    def failures_of(self, activity_id: str) -> tuple[int, float]:
        """How often in a row its GET has failed, and the loop time of the last time."""
        entry = self._placement.ids.get(activity_id)
        return (0, -math.inf) if entry is None else (entry.failures, entry.failed_at)

    def restore(
        self, activity_id: str, activity: Activity | None, looked_at: float, failures: int, failed_at: float
    ) -> None:
        """What was seen of it when it was watched before: not an answer, and not a sign that the vendor is there."""
        entry = self._placement.ids[activity_id]
        if activity is not None and entry.phase == UNSEEN:
            entry.observe(activity, looked_at, None, self._statistics)
            self._statistics.last_change = looked_at
            self._placement.on_look(entry, UNSEEN, looked_at, looked_at, None)
        if failures:
            entry.failures, entry.failed_at = failures, failed_at
            self._placement.enqueue(entry)

    # --- what became of an action -----------------------------------------------------------------------------------

    def started(self, action: Action, now: float) -> None:
        """An action is on its way: what it is about is not offered again before the answer."""
        if self._failures.in_a_row:
            self._failures.probed(now)
        if isinstance(action, FetchPage):
            page = self._placement.find_page(action.state, action.start)
            # What a page shows that is not remembered is looked at, but expected where it was.
            self._fetching, self._fetch_started_at = page or KnownPage(now, state="unknown"), now
            return
        entry = self._placement.ids.get(action.activity_id)
        if entry is not None and entry.asked_at is None:
            entry.asked_at = now
            if entry.failures:
                self._failing_in_flight.add(entry.activity_id)

    def abandoned(self, action: Action) -> None:
        """An action came to nothing through no fault of the vendor's: it may be offered again."""
        if isinstance(action, FetchPage):
            self._fetching = None
        elif (entry := self._placement.ids.get(action.activity_id)) is not None:
            self._landed(entry)

    def _landed(self, entry: Entry) -> None:
        entry.asked_at = None
        self._failing_in_flight.discard(entry.activity_id)

    def _answered(self) -> None:
        if self._failures.in_a_row and self._failures.answered():  # after an outage, nobody is left alone for it
            subjects: Iterable[Subject] = (*self._placement.ids.values(), *self._placement.pages)
            for subject in subjects:
                subject.failed_at = -math.inf
            self._placement.reconsider_all()

    def on_activity(
        self, activity: Activity, now: float, server_now: datetime | None = None, *, listed: bool = False
    ) -> bool:
        """A look at an activity that is not terminal, by a GET or (listed) as a row of a page.

        Returns whether it is news: False if it is older than what was seen before.
        """
        entry, newest, page = self._placement.ids.get(activity.activity_id), False, self._fetching
        if not listed:
            self._answered()
        if entry is None:
            return True
        if not listed:
            newest, page = entry.asked_at is not None and entry.looked_at <= entry.asked_at, None
            self._landed(entry)
        before, suspected, looked_at = entry.phase, entry.suspect_ended, entry.looked_at
        if not entry.observe(activity, now, server_now, self._statistics, newest=newest):
            if listed:
                self._stale.add(entry.activity_id)
            return False
        entry.failures = 0
        if entry.phase != before:
            self._statistics.last_change = now
        elif suspected:
            self._placement.working.add(entry)
        if suspected and not listed and entry.phase == WORKING:
            self._false_suspicions += 1
            if self._false_suspicions >= self._tuning.max_false_suspicions:
                self._states_enabled = False
        self._placement.on_look(entry, before, looked_at, now, page)
        return True

    def on_terminal(self, activity: Activity, now: float) -> None:
        """An activity was seen terminal: it is forgotten."""
        self._answered()
        entry = self._placement.ids.get(activity.activity_id)
        if entry is None:
            return
        self._landed(entry)
        entry.on_terminal(activity, now, self._statistics)
        if entry.phase == QUEUED:
            self._statistics.last_change = now
            self._placement.on_start(entry, entry.looked_at, now)
        if entry.suspect_ended:
            self._false_suspicions = 0
        self._placement.forget(entry)

    def on_failure(self, action: FetchOne, now: float) -> None:
        """A GET got no answer."""
        if (entry := self._placement.ids.get(action.activity_id)) is not None:
            self._landed(entry)
            self._failures.failed(entry, now)
            self._placement.enqueue(entry)

    def on_page(self, action: FetchPage, shown: ShownPage | None, now: float, *, failed: bool = False) -> None:
        """A fetch is over, with this page (None: without any); failed: there was no answer, or no use in it."""
        page = self._fetching or self._placement.find_page(action.state, action.start)
        self._fetching = None
        if not self._lists_enabled:
            page = None  # it was this very fetch: what it showed will be shown by no other
        if shown is not None:
            self._answered()
        if page is not None and shown is not None:
            self._placement.on_page(page, shown, self._fetch_started_at, now, self._stale)
        elif page is not None and failed:
            self._failures.failed(page, now)
            if page.href is not None and page.failures > 1:
                self._placement.unlink(page)
        self._stale.clear()

    def disable_lists(self, action: FetchPage | None = None) -> None:
        """The vendor refuses lists: all, or those of this fetch's kind (a state, or a remembered start)."""
        self._fetching = None
        if action and action.state is not None:
            self._states_enabled = False
        elif action and action.start is not None:
            if (page := self._placement.find_page(None, action.start)) is not None:
                self._placement.unlink(page)
        else:
            self._lists_enabled = False
            self._placement.disable_lists()

    # --- what to do -------------------------------------------------------------------------------------------------

    def next(self, now: float, budget: Budget) -> Action | SleepUntil:
        """The best thing to do now, or how long nothing is worth doing. Marks nothing."""
        ids = self._placement.ids
        if not ids:
            return SleepUntil(math.inf)
        if budget.available < 1.0:
            rate = budget.refill_rate
            wait = (1.0 - budget.available) / rate if rate > 0 else math.inf
            return SleepUntil(now + min(max(wait, self._tuning.recheck_s), _MAX_SLEEP_S))
        if self._failures.in_a_row and self._failures.outage:
            return self._probe(now)
        if len(ids) == 1:
            (entry,) = ids.values()
            if entry.asked_at is not None:
                return SleepUntil(math.inf)
            if entry.phase == UNSEEN and self._fetching is None and not entry.failures:
                return FetchOne(entry.activity_id)  # somebody waits, and no page will show it
        if self._price.update(budget, now):
            self._placement.reconsider_all()
        best: Action | None = None
        most, wake = -1.0, math.inf
        for due, worth, action in self._offers(now):
            if action is None or due > now:
                wake = min(wake, due)
            elif worth > most:
                best, most = action, worth
        return best or SleepUntil(max(wake, math.nextafter(now, math.inf)))

    def _probe(self, now: float) -> Action | SleepUntil:
        """What to ask next in an outage."""
        if now < self._failures.next_probe:
            return SleepUntil(self._failures.next_probe)
        first = self._placement.pages[0]
        idle = [entry for entry in self._placement.ids.values() if self._may_ask(entry)]
        entry = min(idle, key=lambda each: (each.failures, each.looked_at), default=None)
        if self._lists_enabled and self._fetching is None and (entry is None or first.failures <= entry.failures):
            return FetchPage(first.limit)
        return SleepUntil(math.inf) if entry is None else FetchOne(entry.activity_id)

    def _may_ask(self, entry: Entry) -> bool:
        """Whether no GET of it is on its way, nor too many of ids that may hang like it."""
        crowded = len(self._failing_in_flight) >= _MAX_FAILING_IN_FLIGHT
        return entry.asked_at is None and not (entry.failures and crowded)

    def price(self, now: float) -> float:
        """Seconds of lag that a request is worth at this moment."""
        return self._price.at(now)

    def describe(self, action: Action, now: float) -> str:
        """Why an action is offered, in words for a log."""
        if isinstance(action, FetchOne) and (entry := self._placement.ids.get(action.activity_id)):
            lag, unseen = entry.expected_lag(now), now - entry.looked_at
            return f"{entry.phase}, not seen for {unseen:.1f} s, expected lag {lag:.2f} s"
        if isinstance(action, FetchPage) and (page := self._placement.find_page(action.state, action.start)):
            lag, watched = page.expected_lag(now, 0.0, self._tuning)[0], page.count
            return f"page with {watched} watched ({page.queued:.0f} queued), expected lag {lag:.2f} s"
        return "unknown"

    # --- offers -----------------------------------------------------------------------------------------------------

    def _offers(self, now: float) -> Iterator[_Offer]:
        placement = self._placement
        if self._lists_enabled and self._fetching is None:
            yield from self._page_offers(now)
        for queue in placement.get_queues.values():
            entry = placement.head(queue, self._fetching)
            if entry is not None:
                worth = entry.expected_lag(now) / self._price.current
                yield self._due_time(entry, now), worth, FetchOne(entry.activity_id)
        yield self._next_due(now)
        yield self._oldest_queued_offer(now)

    def _page_offers(self, now: float) -> Iterator[_Offer]:
        placement = self._placement
        pages = [page for page in placement.pages if page.count > 1]
        self._pages_in_use = len(pages)
        if self._states_enabled and len(placement.pages) > 1 and len(placement.working.ids) > 1:
            pages.append(placement.processing_page)
        yield min([page.due for page in pages if page.due > now], default=math.inf), 0.0, None
        if due := [page for page in pages if page.due <= now]:
            queued = [page for page in placement.pages if page.queued]
            total, starts = sum([page.queued for page in queued]), sum([page.starts for page in queued])
            for page in due:
                # Its part of the stream of queued ids: by where they started, of late, and by how many it shows.
                count, prior = page.queued, self._tuning.prior_starts
                share = (page.starts + prior * count / total) / (starts + prior) if count else 0.0
                yield self._page_offer(page, share, now)

    def _page_offer(self, page: KnownPage, share: float, now: float) -> _Offer:
        """What a fetch is worth. `share`: of the queued that start, those that are on this page."""
        tuning, price = self._tuning, self._price
        floor = page.fetched_at + self._pacing.floor if page.fetched else -math.inf
        if page.failures:
            floor = max(floor, retry_at(page, price.ceiling(now, self._pages_in_use)))
        if now < floor:
            return floor, 0.0, None
        wanted = price.staleness_deadline(page.fetched_at, page.max_staleness)
        latest = math.inf if page.state else min(wanted, page.fetched_at + price.ceiling(now, self._pages_in_use))
        rate = tuning.queue_sweep_bonus * self._statistics.completion_rate(now) * share
        lag, ends = page.expected_lag(now, rate, tuning)
        worth = lag / price.current / (1.0 + ends if page.state else 1.0)
        first = not (page.fetched or page.href or page.state)  # nothing is known: there is nothing to wait for
        if worth >= tuning.page_threshold or now >= latest or first:
            worth = math.inf if now >= wanted else max(worth, 1.0)
            return now, worth, FetchPage(page.limit, page.state, page.href)
        step = tuning.page_step + tuning.page_step * (now - page.fetched_at) if page.fetched else tuning.page_step
        page.due = min(max(self._lag_reaches_price(page, now, rate), now + step), max(latest, now + _MIN_SLEEP_S))
        return page.due, 0.0, None

    def _lag_reaches_price(self, page: KnownPage, now: float, rate: float) -> float:
        """When the page's expected lag all but reaches the price: a hair before a GET for one id on it is offered.

        Expected lag is convex, so Newton's steps come down to it from above, wherever they start. The interval of last
        time is a good place.
        """
        far = now + _HORIZON_CEILINGS * self._price.ceiling(now, self._pages_in_use)
        at = min(max(page.fetched_at + page.interval, now + 0.1), far)
        for _ in range(_NEWTON_STEPS):
            lag, ends = page.expected_lag(at, rate, self._tuning)
            over = lag - self._tuning.page_threshold * self._price.at(at) * (1.0 + ends if page.state else 1.0)
            if abs(over) <= _NEWTON_TOLERANCE * lag or (over < 0.0 and at == far):
                break
            at = min(at - over / max(ends, 1e-9), far)
            if at <= now:
                break
        page.interval = max(0.1, at - page.fetched_at)
        return at

    def _next_due(self, now: float) -> _Offer:
        heap = self._placement.due_heap
        while heap:
            due, version, activity_id = heap[0]
            entry = self._placement.ids.get(activity_id)
            if entry is None or version != entry.heap_version or self._placement.is_certain(entry):
                heapq.heappop(heap)
                continue
            if due > now:
                return due, 0.0, None
            due = self._due_time(entry, now)
            if entry.page is not None and entry.page is self._fetching:
                due = now + self._tuning.recheck_s
            if due <= now:
                late = now >= self._price.staleness_deadline(entry.looked_at, entry.max_staleness)
                worth = math.inf if late else entry.expected_lag(now) / self._price.current
                return due, worth, FetchOne(entry.activity_id)
            heapq.heapreplace(heap, (due, version, activity_id))
        return math.inf, 0.0, None

    def _oldest_queued_offer(self, now: float) -> _Offer:
        entry = self._placement.oldest_queued()
        if entry is None or entry.asked_at is not None or (entry.page is not None and entry.page is self._fetching):
            return math.inf, 0.0, None
        price, rate = self._price.current, self._statistics.completion_rate(now)
        since = max(self._placement.head_known_queued_at, entry.looked_at)
        due = max(since + math.sqrt(2.0 * price / rate), entry.looked_at + self._pacing.floor)
        return due, rate * (now - since) ** 2 / 2.0 / price, FetchOne(entry.activity_id)

    def _due_time(self, entry: Entry, now: float) -> float:
        """When this id is worth a GET, or not sooner."""
        placement, price = self._placement, self._price
        behind_queued = entry.phase == UNSEEN and not self._lists_enabled and placement.get_queues[QUEUED]
        due = math.inf if entry.phase == QUEUED or behind_queued else self._lag_reaches(entry, now)
        # How many ids have nothing but GETs, at most: the heap holds dead entries too.
        singly = min(len(placement.ids), sum(map(len, (placement.due_heap, *placement.get_queues.values()))))
        ceiling = price.ceiling(now, singly, now - entry.first_seen_working)
        due = min(due, entry.looked_at + ceiling)
        due = min(due, price.staleness_deadline(entry.looked_at, entry.max_staleness))
        # What was worth a look that failed still is.
        due = retry_at(entry, ceiling) if entry.failures else max(due, entry.looked_at + self._pacing.floor)
        if not self._may_ask(entry):  # all such ids at once, or each would wake the planner by itself
            due = max(due, (now // _CROWDED_RECHECK_S + 1.0) * _CROWDED_RECHECK_S)
        return due

    def _lag_reaches(self, entry: Entry, now: float) -> float:
        """When its expected lag reaches the price, which comes down as the budget refills."""
        penalty, price = self._tuning.single_get_penalty, self._price
        late = entry.lag_reaches(penalty * price.current)
        if late <= now or price.budget_level(now) == 1.0:
            return late
        early = now
        for _ in range(_BISECTIONS):
            middle = (early + late) / 2
            if entry.expected_lag(middle) < penalty * price.at(middle):
                early = middle
            else:
                late = middle
        return late
