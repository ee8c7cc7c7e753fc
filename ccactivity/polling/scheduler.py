"""The one scheduler of a session: does what the planner finds worth a request, and tells its audience what came of it.

It decides nothing about when to ask for what (`planning`) or how to get an answer (`exchange`), and does not know who
watches (`monitor`).

1. One task runs while anything is watched, and none otherwise; each look is a task of its own, a few at a time.
2. The grant comes before the choice: what was worth most when the queue was entered may not be when the turn comes.
3. The planner is told what became of each action, exactly once: also of one that was cancelled before its first step.
4. A failure that may pass ends one look, never a watch. A list that cannot be used is given up, and single activities
   are asked for instead.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Collection, Coroutine
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Protocol

import attrs

from ..api.client import ApiClient
from ..api.decoding import ActivityPage, Decoder
from ..api.endpoint import Endpoint
from ..api.operations import get_activity, list_activities
from ..api.outcome import BodyTooLargeError, Outcome, is_rejection, is_transient
from ..errors import (
    PagingError,
    QuotaExceededError,
    SessionClosedError,
    UnsafeLinkError,
)
from ..models import Activity
from ..ratelimit.limiter import Limiter, Permit
from ..ratelimit.quota import Budget
from .planner import Get, Planner, SleepUntil, Sweep, SweptPage

__all__ = ["Audience", "Scheduler"]

_log: Final = logging.getLogger("ccactivity")
_LOOKS: Final = 8
# Of a list, these mean that it is of no use, as a refusal does.
_UNUSABLE: Final = (PagingError, UnsafeLinkError, BodyTooLargeError)
# A remembered link may have aged, and a walk brings a new one; refused so often in a row, its list cannot be walked.
_AGED: Final = 3


class Audience(Protocol):
    """Whom the scheduler works for."""

    def wanted(self) -> Collection[str]:
        """The ids that are watched."""
        ...

    def last(self, activity_id: str) -> Activity | None:
        """The last snapshot of a watched activity."""
        ...

    def saw(self, activity: Activity, server_now: datetime | None, *, listed: bool) -> None:
        """A look at an activity was answered, alone or as a row of a list."""
        ...

    def missed(self, activity_id: str, error: Exception) -> None:
        """A look at one activity was not answered, and not because the day is spent."""
        ...

    def abort(self, error: Exception) -> None:
        """Nothing can be asked any more."""
        ...


@attrs.define(eq=False)
class _Look:
    """One action on its way, with the grant that was taken for it until the exchange has it.

    `reported`: whether the planner knows what became of it.
    """

    action: Get | Sweep
    permit: Permit | None
    task: asyncio.Task[None] | None = None
    reported: bool = False

    def take(self) -> Permit | None:
        permit, self.permit = self.permit, None
        return permit


class Scheduler:
    """Asks for what is watched. All methods are for the loop's own thread."""

    def __init__(  # noqa: PLR0917 -- made in one place, of things that are all needed
        self,
        client: ApiClient,
        limiter: Limiter,
        endpoint: Endpoint,
        decoder: Decoder,
        planner: Planner,
        audience: Audience,
    ) -> None:
        self._client = client
        self._limiter = limiter
        self._endpoint = endpoint
        self._reader = decoder
        self._planner = planner
        self._audience = audience
        self._runner: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._looks: set[_Look] = set()
        self._getting: dict[str, _Look] = {}
        self._urgent: dict[str, None] = {}
        self._changed = asyncio.Event()
        self._warned = False
        self._refusals = 0

    @property
    def price(self) -> float:
        """Seconds of lag that a request is worth at this moment."""
        return self._planner.price(asyncio.get_running_loop().time())

    def wake(self) -> None:
        """Look again at what there is to do: something is watched that was not."""
        self._changed.set()
        if self._runner is None:
            self._runner = self._start(self._run())

    def hurry(self, activity_id: str) -> None:
        """Make the next look at an activity as a single call would, because somebody awaits it."""
        if activity_id not in self._getting:
            self._urgent[activity_id] = None
            self._changed.set()

    def drop(self, activity_id: str) -> None:
        """Let go of an activity that the planner has forgotten; when nothing is watched any more, of everything."""
        self._urgent.pop(activity_id, None)
        look = self._getting.get(activity_id)
        current = asyncio.current_task()
        if look is not None and look.task is not current:
            self._give_up(look)
        if not self._audience.wanted():
            runner, self._runner = self._runner, None
            if runner is not None:
                runner.cancel()
            for look in tuple(self._looks):
                if look.task is not current:
                    self._give_up(look)

    async def settled(self) -> None:
        """Wait until tasks that were cancelled are gone."""
        current = asyncio.current_task()
        ending = {task for task in self._tasks if task is not current and task.cancelling()}
        if ending:
            await asyncio.wait(ending)

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
            self._audience.abort(error)
        except Exception as error:  # noqa: BLE001 -- a fault of ours, or of a user's clock, must not leave consumers waiting
            _log.exception("the scheduler of watches failed")
            self._audience.abort(error)

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
            permit = await self._limiter.acquire(background=not self._urgent)
        except QuotaExceededError:
            # Somebody awaits a first look, and the day is spent: it waits with the others.
            self._urgent.clear()
            return
        action = self._next(granted=1)
        if isinstance(action, SleepUntil):
            permit.close()
            return
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("%s: %s, price %.2f s", action, self._planner.reason(action, loop.time()), self.price)
        self._planner.asked(action, loop.time())
        if isinstance(action, Get):
            self._urgent.pop(action.activity_id, None)
        look = _Look(action, permit)
        if isinstance(action, Get):
            self._getting[action.activity_id] = look
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
        if isinstance(look.action, Get) and self._getting.get(look.action.activity_id) is look:
            del self._getting[look.action.activity_id]
        if look.permit is not None:
            look.permit.close()
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
        budget = self._limiter.budget()
        return self._planner.next(now, Budget(budget.available + granted, budget.refill_rate))

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

        def read(outcome: Outcome) -> tuple[Activity, datetime | None]:
            return self._reader.decode_activity(outcome.reply.body, activity_id), outcome.server_time

        try:
            activity, when = await self._client.ask(request, read, background=True, permit=look.take())
        except Exception as error:  # noqa: BLE001 -- a user's token source may raise anything; each consumer gets it
            look.reported = activity_id in self._audience.wanted() and not isinstance(error, QuotaExceededError)
            if look.reported:
                self._audience.missed(activity_id, error)
        else:
            look.reported = activity_id in self._audience.wanted()
            self._audience.saw(activity, when, listed=False)

    async def _sweep(self, look: _Look, sweep: Sweep) -> None:
        pages: list[SweptPage] = []
        failed = True
        try:
            await self._read_pages(sweep, look.take(), pages)
            failed = False
            self._refusals = 0 if sweep.start is not None else self._refusals
        except QuotaExceededError:
            return
        except Exception as error:  # noqa: BLE001 -- as for a single look
            if isinstance(error, _UNUSABLE) or is_rejection(error):
                self._give_up_list(sweep, error)
            elif is_transient(error):
                _log.debug("a sweep failed, the watches go on: %s", error)
            else:
                self._audience.abort(error)
        look.reported = True
        self._planner.swept(sweep, pages, asyncio.get_running_loop().time(), failed=failed)

    def _give_up_list(self, sweep: Sweep, error: Exception) -> None:
        self._refusals += sweep.start is not None
        if self._refusals >= _AGED or (sweep.start is None and sweep.state is None):
            level = logging.DEBUG if self._warned else logging.WARNING
            _log.log(level, "the list of activities cannot be used, single activities are asked for instead: %s", error)
            self._warned = True
            self._planner.sweeps_off()
        else:
            _log.debug("a page of the list, or one of its states, cannot be had any more: %s", error)
            self._planner.sweeps_off(sweep)

    async def _read_pages(self, sweep: Sweep, permit: Permit | None, pages: list[SweptPage]) -> None:
        first = list_activities(self._endpoint, limit=sweep.limit, state=sweep.state)
        request = first if sweep.start is None else self._endpoint.next_request(sweep.start, first)
        href = sweep.start
        missing = set(self._audience.wanted())
        passed: set[str] = set()
        while request is not None and len(pages) < sweep.pages and missing:
            if request.target in passed:
                raise PagingError(f"{request.path}: a next link leads back to a page that was read")
            passed.add(request.target)
            page, when = await self._client.ask(request, self._read_page, background=True, permit=permit)
            permit = None
            found = [activity.activity_id for activity in page.activities]
            for activity in page.activities:
                self._audience.saw(activity, when, listed=True)
            missing.difference_update(found)
            missing.intersection_update(self._audience.wanted())
            following = page.next if isinstance(page.next, str) else None
            pages.append(SweptPage(found, page.rows, href, following, page.reach))
            href, request = following, self._endpoint.next_request(page.next, request)

    def _read_page(self, outcome: Outcome) -> tuple[ActivityPage, datetime | None]:
        page = self._reader.decode_page(outcome.reply.body, self._audience.wanted(), self._audience.last)
        return page, outcome.server_time
