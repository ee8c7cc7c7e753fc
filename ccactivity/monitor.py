"""The one scheduler of a session: does what the planner says is worth a request, and feeds whoever watches.

It decides nothing about when to ask for what (`planning`), and nothing about how to get an answer (`exchange`).

1. One task runs while anything is watched, and none otherwise. What fifty consumers watch is asked for once.
2. The grant comes before the choice: what was worth most when the queue was entered may not be when the turn comes.
3. A failure that may pass ends one look, never a watch. What the vendor says of one activity ends the watches of that
   activity; what it says of the session (a dead token) ends them all, each once.
4. 404 is not yet an end: a new activity may take a moment to appear, and one that was seen is asked for once more.
5. Only a terminal state ends a watch well, and it is delivered exactly once to each consumer.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Coroutine
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import attrs

from .errors import (
    ActivityExpiredError,
    AuthenticationError,
    BadRequestError,
    CCActivityError,
    DecodeError,
    NotFoundError,
    PagingError,
    PermissionDeniedError,
    QuotaExceededError,
    ResponseError,
    ServerError,
    SessionClosedError,
    ThrottledError,
    TransportError,
    UnsafeLinkError,
)
from .exchange import Exchange
from .mailbox import Mailbox
from .models import Activity
from .planning import Credit, Get, Planner, SleepUntil, Sweep, SweptPage
from .quota import Grant
from .reading import Page, Reader
from .transport import Hopeless, Oversized
from .wire import Endpoint, Reply, get_activity, list_activities, may_pass, server_time

__all__ = ["Look", "Monitor"]

_log: Final = logging.getLogger("ccactivity")
_LOOKS: Final = 8
# Seconds after a 404 until the same id is asked for again, one after the other.
_ABSENT: Final = (1.0, 1.0, 2.0, 4.0)
# So many different activities denied in a row, and none answered, means that the token may not read any.
_DENIED: Final = 3
# Of these, the next look may be answered. Everything else that the vendor says of an id is final.
_PASSING: Final = (TransportError, ServerError, ThrottledError, DecodeError)
# Of a list, these mean that it is of no use; of one activity, they end its watches at the most.
_UNUSABLE: Final = (BadRequestError, PermissionDeniedError, NotFoundError, PagingError, UnsafeLinkError, Oversized)


Look = tuple[Activity, float]


@attrs.define(eq=False)
class _Watched:
    """One activity that somebody watches."""

    activity_id: str
    boxes: list[Mailbox]
    last: Activity | None = None
    looked_at: float = 0.0
    appears_by: float = 0.0
    absences: int = 0
    look: _Look | None = None
    again: asyncio.TimerHandle | None = None


@attrs.define(eq=False)
class _Look:
    """One action on its way, with the grant that was taken for it until the exchange has it.

    `reported`: whether the planner knows what became of it.
    """

    action: Get | Sweep
    grant: Grant | None
    task: asyncio.Task[None] | None = None
    reported: bool = False

    def take(self) -> Grant | None:
        grant, self.grant = self.grant, None
        return grant


class Monitor:
    """Follows activities for mailboxes. All methods are for the loop's own thread."""

    def __init__(self, exchange: Exchange, endpoint: Endpoint, reader: Reader, planner: Planner) -> None:
        self._exchange = exchange
        self._endpoint = endpoint
        self._reader = reader
        self._planner = planner
        self._watched: dict[str, _Watched] = {}
        self._runner: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._looks: set[_Look] = set()
        self._changed = asyncio.Event()
        self._denied: set[str] = set()
        self._urgent: dict[str, None] = {}
        self.finished = 0

    # --- what consumers ask for -------------------------------------------------------------------------------------

    def follow(self, box: Mailbox, activity_id: str, got: Activity | None = None, look: Look | None = None) -> None:
        """Feed the mailbox with an activity from now on.

        `got`: what its consumer has of it already. `look`: when it was last followed, see `last_look`.
        """
        now = asyncio.get_running_loop().time()
        box.following.add(activity_id)
        watched = self._watched.get(activity_id)
        if watched is None:
            watched = self._watched[activity_id] = _Watched(activity_id, [])
        watched.boxes.append(box)
        self._planner.watch(activity_id, now, max_staleness=box.max_staleness)
        if look is not None and watched.last is None:
            watched.last, watched.looked_at = look
            self._planner.saw(watched.last, watched.looked_at)
        if watched.last is not None and (got is None or watched.last.changed_from(got)):
            box.offer(watched.last)
        watched.appears_by = max(watched.appears_by, now + box.grace)
        self._changed.set()
        if self._runner is None:
            self._runner = self._start(self._run())

    def hurry(self, activity_id: str) -> None:
        """Make the first look at an activity as a single call would, because somebody awaits it."""
        watched = self._watched.get(activity_id)
        if watched is not None and watched.last is None and watched.look is None and watched.again is None:
            self._urgent[activity_id] = None
            self._changed.set()

    @property
    def watching(self) -> int:
        """How many activities are watched, each counted once."""
        return len(self._watched)

    @property
    def price(self) -> float:
        """Seconds of lag that a request is worth at this moment."""
        return self._planner.price(asyncio.get_running_loop().time())

    def last_look(self, activity_id: str) -> Look | None:
        """The last snapshot of an activity that is followed, and when it was made."""
        watched = self._watched.get(activity_id)
        return None if watched is None or watched.last is None else (watched.last, watched.looked_at)

    def drop(self, box: Mailbox, activity_id: str) -> None:
        """Stop feeding the mailbox with one activity; what nobody else watches is asked for no more."""
        box.following.discard(activity_id)
        watched = self._watched.get(activity_id)
        if watched is not None and box in watched.boxes:
            watched.boxes.remove(box)
            if not watched.boxes:
                self._forget(watched)

    def drop_all(self, box: Mailbox) -> None:
        """Stop feeding the mailbox."""
        for activity_id in tuple(box.following):
            self.drop(box, activity_id)

    def abort(self, error: Exception) -> None:
        """End every watch with an error."""
        boxes = {box for watched in self._watched.values() for box in watched.boxes}
        for watched in tuple(self._watched.values()):
            self._forget(watched)
        for box in boxes:
            box.abort(error)

    async def settled(self) -> None:
        """Wait until tasks that were cancelled are gone."""
        current = asyncio.current_task()
        ending = {task for task in self._tasks if task is not current and task.cancelling()}
        if ending:
            await asyncio.wait(ending)

    def _forget(self, watched: _Watched) -> None:
        del self._watched[watched.activity_id]
        self._urgent.pop(watched.activity_id, None)
        self._planner.forget(watched.activity_id)
        if watched.again is not None:
            watched.again.cancel()
        current = asyncio.current_task()
        if watched.look is not None and watched.look.task is not current:
            self._give_up(watched.look)
        if not self._watched:
            runner, self._runner = self._runner, None
            if runner is not None:
                runner.cancel()
            for look in tuple(self._looks):
                if look.task is not current:
                    self._give_up(look)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        # In a fresh context: the scheduler belongs to the session, not to the request that happened to start it.
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    # --- the loop ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                await self._turn()
        except SessionClosedError as error:
            self.abort(error)
        except Exception as error:  # noqa: BLE001 -- a fault of ours, or of a user's clock, must not leave consumers waiting
            _log.exception("the scheduler of watches failed")
            self.abort(error)

    async def _turn(self) -> None:
        loop = asyncio.get_running_loop()
        self._changed.clear()
        action = self._next()
        if isinstance(action, SleepUntil):
            await self._sleep(action.when - loop.time())
            return
        if len(self._looks) >= _LOOKS:
            await self._changed.wait()
            return
        try:
            grant = await self._exchange.grant(background=not self._urgent)
        except QuotaExceededError:
            # Somebody awaits a first look, and the day is spent: it waits with the others.
            self._urgent.clear()
            return
        action = self._next(granted=1)
        if isinstance(action, SleepUntil):
            self._exchange.quota.refund(grant)
            return
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s, price %.2f s", action, self._planner.reason(action, loop.time()), self.price)
        self._planner.asked(action, loop.time())
        if isinstance(action, Get):
            self._urgent.pop(action.activity_id, None)
        look = _Look(action, grant)
        if isinstance(action, Get):
            self._watched[action.activity_id].look = look
        look.task = self._start(self._get(look, action) if isinstance(action, Get) else self._sweep(look, action))
        self._looks.add(look)
        # Not in the look itself: a task that is cancelled before its first step runs nothing of it.
        look.task.add_done_callback(lambda _: self._conclude(look))

    def _give_up(self, look: _Look) -> None:
        """Cancel a look. The planner is told at once: when the task has ended, the same may be on its way again."""
        self._release(look)
        if look.task is not None:
            look.task.cancel()

    def _conclude(self, look: _Look) -> None:
        self._looks.discard(look)
        if look.grant is not None:
            self._exchange.quota.refund(look.grant)
        self._release(look)

    def _release(self, look: _Look) -> None:
        if not look.reported:
            look.reported = True
            self._planner.released(look.action)

    def _next(self, granted: int = 0) -> Get | Sweep | SleepUntil:
        """What the planner says, with so many requests in hand that the credit was charged for."""
        for activity_id in self._urgent:
            return Get(activity_id)
        now = asyncio.get_running_loop().time()
        banked, rate = self._exchange.quota.credit(now, self._exchange.now())
        return self._planner.next(now, Credit(banked + granted, rate))

    async def _sleep(self, seconds: float) -> None:
        if seconds == float("inf"):
            await self._changed.wait()
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    # --- one look ---------------------------------------------------------------------------------------------------

    async def _get(self, look: _Look, action: Get) -> None:
        activity_id = action.activity_id
        request = get_activity(self._endpoint, activity_id)

        def read(reply: Reply) -> tuple[Activity, datetime | None]:
            return self._reader.read_activity(reply.body, activity_id), server_time(reply)

        try:
            activity, when = await self._exchange.ask(request, read, background=True, grant=look.take())
        except Exception as error:  # noqa: BLE001 -- a user's token source may raise anything; each consumer gets it
            look.reported = not isinstance(error, QuotaExceededError)
            self._get_failed(activity_id, error)
        else:
            look.reported = True
            self._denied.clear()
            self._saw(activity, when)

    def _get_failed(self, activity_id: str, error: Exception) -> None:
        watched = self._watched.get(activity_id)
        now = asyncio.get_running_loop().time()
        if isinstance(error, QuotaExceededError) or watched is None:
            return
        if _may_pass(error):
            _log.debug("a look at %s failed, the watch goes on: %s", activity_id, error)
            self._planner.failed(activity_id, now)
        elif isinstance(error, NotFoundError):
            self._absent(watched, error, now)
        elif isinstance(error, PermissionDeniedError) and self._denied_all(activity_id):
            self.abort(error)
        elif isinstance(error, ResponseError) and not isinstance(error, AuthenticationError):
            self._lost(watched, error)
        else:
            self.abort(error)

    def _denied_all(self, activity_id: str) -> bool:
        self._denied.add(activity_id)
        return len(self._denied) >= _DENIED

    def _absent(self, watched: _Watched, error: NotFoundError, now: float) -> None:
        watched.absences += 1
        if watched.last is not None and watched.absences > 1:
            self._lost(watched, ActivityExpiredError(watched.last))
        elif watched.last is None and now >= watched.appears_by:
            self._lost(watched, error)
        else:
            pause = _ABSENT[min(watched.absences, len(_ABSENT)) - 1]
            self._planner.forget(watched.activity_id)
            if watched.last is None:
                pause = min(pause, max(0.1, watched.appears_by - now))
            watched.again = asyncio.get_running_loop().call_later(pause, self._ask_again, watched)

    def _ask_again(self, watched: _Watched) -> None:
        stalest = [box.max_staleness for box in watched.boxes if box.max_staleness is not None]
        now = asyncio.get_running_loop().time()
        self._planner.watch(watched.activity_id, now, max_staleness=min(stalest, default=None))
        self._changed.set()

    def _lost(self, watched: _Watched, error: CCActivityError) -> None:
        """One activity cannot be followed any more."""
        self._forget(watched)
        for box in watched.boxes:
            box.fail(watched.activity_id, error)

    async def _sweep(self, look: _Look, sweep: Sweep) -> None:
        pages: list[SweptPage] = []
        failed = True
        try:
            await self._read_pages(sweep, look.take(), pages)
            failed = False
        except QuotaExceededError:
            return
        except _UNUSABLE as error:
            _log.warning("the list of activities cannot be used, single activities are asked for instead: %s", error)
            self._planner.sweeps_off(sweep)
        except Exception as error:  # noqa: BLE001 -- as for a single look
            if _may_pass(error):
                _log.debug("a sweep failed, the watches go on: %s", error)
            else:
                self.abort(error)
        look.reported = True
        self._planner.swept(sweep, pages, asyncio.get_running_loop().time(), failed=failed)

    async def _read_pages(self, sweep: Sweep, grant: Grant | None, pages: list[SweptPage]) -> None:
        first = list_activities(self._endpoint, limit=sweep.limit, state=sweep.state)
        request = first if sweep.start is None else self._endpoint.next_request(sweep.start, first)
        href = sweep.start
        missing = set(self._watched)
        passed: set[str] = set()
        while request is not None and len(pages) < sweep.pages and missing:
            if request.target in passed:
                raise PagingError(f"{request.path}: a next link leads back to a page that was read")
            passed.add(request.target)
            page, when = await self._exchange.ask(request, self._read_page, background=True, grant=grant)
            grant = None
            found = [activity.activity_id for activity in page.activities]
            for activity in page.activities:
                self._saw(activity, when, listed=True)
            missing.difference_update(found)
            missing.intersection_update(self._watched)
            following = page.next if isinstance(page.next, str) else None
            pages.append(SweptPage(found, page.rows, href, following, page.reach))
            href, request = following, self._endpoint.next_request(page.next, request)

    def _read_page(self, reply: Reply) -> tuple[Page, datetime | None]:
        return self._reader.read_page(reply.body, self._watched.keys(), self._last), server_time(reply)

    def _last(self, activity_id: str) -> Activity | None:
        return self._watched[activity_id].last

    # --- what was seen ----------------------------------------------------------------------------------------------

    def _saw(self, activity: Activity, server_now: datetime | None, *, listed: bool = False) -> None:
        watched = self._watched.get(activity.activity_id)
        if watched is None:
            return
        now = asyncio.get_running_loop().time()
        last = watched.last
        watched.absences = 0
        watched.looked_at = now
        if last is not None and activity.older_than(last) and not activity.done:
            self._planner.saw(activity, now, server_now, listed=listed)
            return
        watched.last = activity
        if activity.done:
            self._forget(watched)
            self._planner.ended(activity, now)
            self.finished += 1
        else:
            self._planner.saw(activity, now, server_now, listed=listed)
        changed = last is None or (activity is not last and activity.changed_from(last))
        for box in watched.boxes:
            if changed or box.every_poll:
                box.offer(activity)


def _may_pass(error: Exception) -> bool:
    """Whether the next look may be answered."""
    if isinstance(error, ResponseError) and may_pass(error.status):
        return True
    return isinstance(error, _PASSING) and not isinstance(error, Hopeless)
