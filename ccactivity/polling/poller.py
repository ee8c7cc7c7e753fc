"""The poller: does what the planner finds worth a request, and tells the hub what was seen.

Nothing else calls the planner.

1. One task runs while anything is polled, and none otherwise; each action is a task of its own, a few at a time.
2. Acquire a permit first, then ask the planner again: the best request may have changed while waiting.
3. What became of an action is told to the planner in `_finish`, exactly once: also of one that was cancelled before its
   first step.
4. A transient failure ends one action, never a watch. What the vendor says of one activity ends the watches of that
   activity; what it says of the session (a dead token) ends them all. A list that cannot be used is given up, and
   single activities are asked for instead.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any, Final

import attrs

from .._emitter import Emitter
from .._tasks import spawn, wait_until_set
from ..api.client import ApiClient
from ..api.decoding import Decoder, canonical_id
from ..api.endpoint import Endpoint
from ..api.messages import Request
from ..api.operations import GET_ROUTE, LIST_ROUTE, get_activity, list_activities
from ..api.outcome import Outcome, is_rejection, is_transient
from ..errors import (
    ActivityExpiredError,
    BodyTooLargeError,
    CCActivityError,
    NotFoundError,
    PermissionDeniedError,
    QuotaExceededError,
    UnsafeLinkError,
)
from ..events import ActivityChanged
from ..models import Activity, ActivityState
from ..ratelimit.limiter import Limiter, Permit
from ..ratelimit.quota import Budget
from .absence import Absence
from .forecast import lag_bounds
from .hub import Hub, ResumePoint
from .pages import ShownPage
from .planner import Action, FetchOne, FetchPage, Planner, SleepUntil

__all__ = ["Poller"]

_log: Final = logging.getLogger("ccactivity")
_loop_log: Final = logging.getLogger("ccactivity.loop")
_MAX_IN_FLIGHT: Final = 8
_MAX_IDS_TOLD: Final = 128  # of a request for a list: those that it was for are known when it is answered
# So many different activities denied, before anything was answered, means that the token may not read any.
_MAX_DENIED: Final = 3
# A watch that learns nothing for so long says so, once.
_WARN_AFTER_S: Final = 600.0
# A remembered link may have aged, and a walk brings a new one; refused so often in a row, its list cannot be walked.
_MAX_REFUSED_LINKS: Final = 3
# A loop that did not run for longer than this is worth a warning: for as long, nothing that is watched was looked at.
_MAX_LOOP_PAUSE_S: Final = 5.0
_LOOP_CHECK_INTERVAL_S: Final = 0.5  # by as much may the pause be longer than what the warning says
_MAX_REAL_TIME_OFFSET_S: Final = 60.0  # between the clock of the loop and the real one; more, and it is a test's


@attrs.define(eq=False)
class _PolledId:
    """An id that is polled. `retry`: the timer after a 404, until which the planner does not know the id."""

    activity_id: str
    absence: Absence
    max_staleness: float = math.inf
    last: Activity | None = None
    looked_at: float = 0.0
    retry: asyncio.TimerHandle | None = None
    failing_since: float = math.inf
    warned: bool = False
    unconfirmed: bool = False  # `last` is the answer to a submission, and no look has shown it yet


@attrs.frozen
class _Seen:
    """What an action showed. `page`: of a list, with the error of its next link if that leads astray."""

    activities: tuple[Activity, ...]
    outcome: Outcome
    page: ShownPage | None = None
    unsafe_link: UnsafeLinkError | None = None


@attrs.define(eq=False, repr=False)
class Poller:
    """Polls ids for a hub. All methods are for the loop's own thread. `finished`: activities whose end was seen."""

    _hub: Hub
    _planner: Planner
    _client: ApiClient
    _limiter: Limiter
    _endpoint: Endpoint
    _decoder: Decoder
    _emitter: Emitter = attrs.field(factory=Emitter)
    finished: int = 0
    _polled: dict[str, _PolledId] = attrs.field(factory=dict)
    # Ids that are not written as they are compared, by how they are compared.
    _spellings: dict[str, str] = attrs.field(factory=dict)
    _urgent: dict[str, None] = attrs.field(factory=dict)
    _denied: set[str] = attrs.field(factory=set)
    _answered: bool = False  # anything, ever
    _refused_links: int = 0  # in a row
    _runner: asyncio.Task[None] | None = None
    _loop_check: asyncio.TimerHandle | None = None
    _changed: asyncio.Event = attrs.field(factory=asyncio.Event)
    # Actions until the planner knows what became of them, and tasks that were cancelled until they have ended.
    _in_flight: dict[Action, asyncio.Task[None]] = attrs.field(factory=dict)
    _ending: set[asyncio.Task[None]] = attrs.field(factory=set)

    def __attrs_post_init__(self) -> None:
        self._hub.connect(self)

    # --- for the hub ------------------------------------------------------------------------------------------------

    def add(
        self, activity_id: str, *, grace: float, max_staleness: float | None, resume_from: ResumePoint
    ) -> Activity | None:
        """Poll an id, or poll it for one more subscriber. Returns the last snapshot of it."""
        now = asyncio.get_running_loop().time()
        polled = self._polled.get(activity_id)
        if polled is None:
            gives_up_at = resume_from.gives_up_at
            absence = Absence(now, -math.inf if gives_up_at > -math.inf else grace, gives_up_at=gives_up_at)
            polled = self._polled[activity_id] = _PolledId(activity_id, absence)
            if not activity_id.islower():  # else it stands as the vendor writes it
                self._spellings[canonical_id(activity_id)] = activity_id
        else:
            polled.absence.wait_for(grace)
        polled.max_staleness = min(polled.max_staleness, max_staleness or math.inf)
        self._planner.watch(activity_id, now, max_staleness=polled.max_staleness)
        if polled.last is None and (resume_from.activity is not None or resume_from.failures):
            polled.last, polled.looked_at = resume_from.activity, resume_from.looked_at
            polled.unconfirmed = resume_from.unconfirmed
            self._planner.restore(
                activity_id, polled.last, polled.looked_at, resume_from.failures, resume_from.failed_at
            )
        self._changed.set()
        if self._runner is None:
            self._runner = spawn(self._run())
        return polled.last

    def remove(self, activity_id: str) -> None:
        """Poll an id no more; when none is left, stop everything."""
        self._planner.forget(activity_id)
        self._drop(activity_id)

    def _drop(self, activity_id: str) -> None:
        polled = self._polled.pop(activity_id)
        self._urgent.pop(activity_id, None)
        if self._spellings:
            self._spellings.pop(canonical_id(activity_id), None)
        if polled.retry is not None:
            polled.retry.cancel()
        if not self._polled and self._runner is not None:
            self._cancel(self._runner)
            self._runner = None
            if self._loop_check is not None:
                self._loop_check.cancel()
        for action, task in tuple(self._in_flight.items()):
            if not self._polled or action == FetchOne(activity_id):
                # The planner is told at once: when the task has ended, the same may be on its way again.
                self._finish(action, None, task)
                self._cancel(task)

    def resume_point(self, activity_id: str) -> ResumePoint:
        """Return what is known of an id that is polled."""
        polled = self._polled[activity_id]
        failures, failed_at = self._planner.failures_of(activity_id)
        gives_up_at = polled.absence.gives_up_at
        return ResumePoint(polled.last, polled.looked_at, gives_up_at, failures, failed_at, polled.unconfirmed)

    def _cancel(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    def prioritize(self, activity_id: str) -> None:
        """Make the first look at an id as a single call would, because somebody awaits it."""
        polled = self._polled[activity_id]
        if polled.last is None and polled.retry is None and FetchOne(activity_id) not in self._in_flight:
            self._urgent[activity_id] = None
            self._changed.set()

    def to_memo(self) -> dict[str, Any]:
        """Return what was learned of the account, for whoever polls next."""
        return self._planner.to_memo(asyncio.get_running_loop().time())

    def resume(self, memo: Mapping[str, Any]) -> None:
        """Go on from what somebody else has learned, before anything is polled."""
        self._planner.resume(memo, asyncio.get_running_loop().time())

    @property
    def price(self) -> float:
        """Seconds of lag that a request is worth at this moment."""
        return self._planner.price(asyncio.get_running_loop().time())

    async def settled(self) -> None:
        """Wait until tasks that were cancelled are gone."""
        if self._ending:
            await asyncio.wait(self._ending)

    # --- the loop ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        self._check_loop(loop.time())  # here, since timers keep the context of who makes them
        try:
            while True:
                self._changed.clear()
                action = self._choose()
                if isinstance(action, SleepUntil) and action.when < math.inf:
                    await wait_until_set(self._changed, action.when - loop.time())
                elif isinstance(action, SleepUntil) or len(self._in_flight) >= _MAX_IN_FLIGHT:
                    await self._changed.wait()
                else:
                    await self._act(action)
        except Exception as error:  # noqa: BLE001 -- a fault of ours, or of a user's clock, ends each watch
            _log.exception("polling failed unexpectedly, every watch ends with this error")
            self._hub.abort(error)

    def _check_loop(self, due: float) -> None:
        """Say so if the loop ran nothing for long, and check again soon. `due`: when it should have run this.

        The clock of a test is left alone: it stands still while code runs, and jumps from timer to timer.
        """
        loop = asyncio.get_running_loop()
        now, count = loop.time(), len(self._polled)
        if abs(now - time.monotonic()) > _MAX_REAL_TIME_OFFSET_S:
            return
        if now - due > _MAX_LOOP_PAUSE_S:
            _loop_log.warning(
                "the event loop did not run for at least %.1f s while %d %s watched; blocking calls belong in "
                "asyncio.to_thread (a process or machine that was suspended looks the same)",
                now - due,
                count,
                "activity was" if count == 1 else "activities were",
            )
        due = now + _LOOP_CHECK_INTERVAL_S
        self._loop_check = loop.call_at(due, self._check_loop, due)

    def _choose(self, acquired: int = 0) -> Action | SleepUntil:
        """What to do next, with so many permits in hand that the budget was charged for."""
        for activity_id in self._urgent:
            return FetchOne(activity_id)
        if len(self._polled) == 1 and FetchOne(*self._polled) in self._in_flight:
            return SleepUntil(math.inf)  # its answer has to come first
        budget = self._limiter.budget()
        if acquired:
            budget = Budget(budget.available + acquired, budget.refill_rate, budget.capacity)
        return self._planner.next(asyncio.get_running_loop().time(), budget)

    async def _act(self, action: Action | SleepUntil) -> None:
        """Acquire a permit, and send off what is best by then."""
        refresh = self._client.auth.refresh
        if refreshing := refresh.running:
            await refresh.wait()
        try:
            permit = await self._limiter.acquire(background=not self._urgent)
        except QuotaExceededError:
            # Somebody awaits a first look, and the day is spent: it waits with the others.
            self._urgent.clear()
            return
        if refreshing or permit.waited:
            action = self._choose(acquired=1)
        if isinstance(action, SleepUntil):
            permit.close()
            return
        now = asyncio.get_running_loop().time()
        told: dict[str, Any] = {}
        if self._emitter.hooks:
            told = {"why": self._planner.describe(action, now), "served": partial(self._served, self._ids_of(action))}
        if _log.isEnabledFor(logging.DEBUG):
            why = self._planner.describe(action, now)
            _log.debug("%s: %s, price %.2f s", action, why, self.price, extra=_extra(action))
        self._planner.started(action, now)
        task = spawn(self._perform(action, permit, told))
        # Not in the task itself: one that is cancelled before its first step runs nothing of it.
        task.add_done_callback(partial(self._conclude, action, permit))
        self._in_flight[action] = task
        if isinstance(action, FetchOne):
            self._urgent.pop(action.activity_id, None)

    # --- one action -------------------------------------------------------------------------------------------------

    async def _perform(self, action: Action, permit: Permit, told: Mapping[str, Any]) -> None:
        outcome: _Seen | Exception
        try:
            request, decode = self._question_of(action)
            outcome = await self._client.ask(request, decode, background=True, permit=permit, **told)
        except Exception as error:  # noqa: BLE001 -- a user's token source may raise anything; each consumer gets it
            outcome = error
        self._finish(action, outcome, asyncio.current_task())

    def _ids_of(self, action: Action) -> tuple[str, ...]:
        return (action.activity_id,) if isinstance(action, FetchOne) else tuple(islice(self._polled, _MAX_IDS_TOLD))

    def _served(self, wanted: tuple[str, ...], seen: _Seen | None) -> tuple[tuple[str, ...], int]:
        """The ids that a request brought news of, or was sent for; and how many watches that tells something."""
        found = tuple(each.activity_id for each in seen.activities if each.activity_id in self._polled) if seen else ()
        return found or wanted, self._hub.count(found)

    def _question_of(self, action: Action) -> tuple[Request, Callable[[Outcome], _Seen]]:
        if isinstance(action, FetchOne):
            return get_activity(self._endpoint, action.activity_id), partial(self._decode_one, action)
        request = list_activities(self._endpoint, limit=action.limit, state=action.state)
        if action.start is not None:
            request = self._endpoint.next_request(action.start, request) or request
        return request, partial(self._decode_page, action, request)

    def _decode_one(self, action: FetchOne, outcome: Outcome) -> _Seen:
        return _Seen((self._decoder.decode_activity(outcome.reply.body, action.activity_id),), outcome)

    def _decode_page(self, action: FetchPage, request: Request, outcome: Outcome) -> _Seen:
        polled, spellings = self._polled, self._spellings
        page = self._decoder.decode_page(outcome.reply.body, polled.keys(), lambda key: polled[key].last, spellings)
        unsafe = None
        try:
            self._endpoint.next_request(page.next, request)
        except UnsafeLinkError as error:
            unsafe = error
        found = [activity.activity_id for activity in page.activities]
        next_href = page.next if isinstance(page.next, str) else None
        shown = ShownPage(found, next_href, page.reach)
        return _Seen(page.activities, outcome, shown, unsafe)

    def _conclude(self, action: Action, permit: Permit, task: asyncio.Task[None]) -> None:
        if not permit.settled:
            permit.close()
        self._finish(action, None, task)
        self._changed.set()

    # --- what became of it ------------------------------------------------------------------------------------------

    def _finish(self, action: Action, outcome: _Seen | Exception | None, task: asyncio.Task[None] | None) -> None:
        """Tell the planner what became of an action, exactly once, and the hub what its subscribers should know.

        `outcome`: None if the action was cancelled. `task`: that of the action; a second report of it is ignored.
        """
        if self._in_flight.get(action) is not task:
            return
        del self._in_flight[action]
        now = asyncio.get_running_loop().time()
        if outcome is None or isinstance(outcome, QuotaExceededError):
            self._planner.abandoned(action)
        elif isinstance(action, FetchPage):
            self._finish_page(action, outcome, now)
        elif isinstance(outcome, _Seen):
            self._on_activities(outcome, now)
        else:
            self._on_error(self._polled[action.activity_id], action, outcome, now)

    def _finish_page(self, action: FetchPage, outcome: _Seen | Exception, now: float) -> None:
        shown, error = None, outcome if isinstance(outcome, Exception) else outcome.unsafe_link
        if isinstance(outcome, _Seen):
            shown = outcome.page
            self._on_activities(outcome, now)
        if error is None:
            self._refused_links = 0 if action.start is not None else self._refused_links
        elif isinstance(error, UnsafeLinkError | BodyTooLargeError) or is_rejection(error):
            self._give_up_list(action, error)
        elif is_transient(error):
            _log.debug("a page of the list could not be read, watching goes on: %s", error, extra=_extra(action))
        else:
            self._hub.abort(error)
        self._planner.on_page(action, shown, now, failed=error is not None)

    def _give_up_list(self, action: FetchPage, error: Exception) -> None:
        self._refused_links += action.start is not None
        if self._refused_links >= _MAX_REFUSED_LINKS or (action.start is None and action.state is None):
            problem = "the list of activities cannot be used, asking for each activity instead: %s"
            _log.warning(problem, error, extra=_extra(action))
            self._planner.disable_lists()
        else:
            problem = "a page of the list, or the list of one state, is no longer used: %s"
            _log.debug(problem, error, extra=_extra(action))
            self._planner.disable_lists(action)

    def _on_activities(self, seen: _Seen, now: float) -> None:
        self._answered, server_time, listed = True, None, seen.page is not None
        for activity in seen.activities:
            polled = self._polled.get(activity.activity_id)
            if polled is None:
                continue
            polled.absence.count = 0
            unseen, polled.looked_at, polled.failing_since = now - polled.looked_at, now, math.inf
            polled.unconfirmed = False
            if ended := activity.done:
                # First, because the planner learns the rate of ends from what it still knows of this one.
                self._planner.on_terminal(activity, now)
                self._drop(activity.activity_id)
                self.finished += 1
            else:
                server_time = server_time or seen.outcome.server_time
                as_before = listed and activity is polled.last and activity.state == ActivityState.INITIALIZED
                if not (as_before or self._planner.on_activity(activity, now, server_time, listed=listed)):
                    problem, extra = "ignored a snapshot of %s that is older than the last one", _extra(polled)
                    _log.debug(problem, polled.activity_id, extra=extra)
                    continue
            last = polled.last
            changed = last is None or (activity is not last and activity.changed_from(last))
            polled.last = activity
            if changed and self._emitter.hooks:
                lag = None if last is None else lag_bounds(activity, seen.outcome.server_time, unseen)
                self._emitter.emit(ActivityChanged(at=now, activity=activity, previous=last, lag=lag))
            self._hub.publish(activity, changed=changed, final=ended)

    def _on_error(self, polled: _PolledId, action: FetchOne, error: Exception, now: float) -> None:
        """A look was not answered: the id is looked at again or given up, or nothing can be asked any more."""
        if is_transient(error):
            extra = _extra(polled)
            _log.debug("a look at %s failed, the watch goes on: %s", polled.activity_id, error, extra=extra)
            polled.failing_since = min(polled.failing_since, now)
            if now - polled.failing_since >= _WARN_AFTER_S and not polled.warned:
                polled.warned = True
                minutes = (now - polled.failing_since) / 60
                problem = "no usable answer about %s for %.0f minutes, still trying: %s"
                _log.warning(problem, polled.activity_id, minutes, error, extra=extra)
            self._planner.on_failure(action, now)
        elif isinstance(error, NotFoundError):
            self._on_not_found(polled, error, now)
        elif is_rejection(error) and not self._is_denied_everything(polled.activity_id, error):
            self._lose(polled, error)
        else:
            self._hub.abort(error)

    def _is_denied_everything(self, activity_id: str, error: Exception) -> bool:
        if self._answered or not isinstance(error, PermissionDeniedError):
            return False
        self._denied.add(activity_id)
        return len(self._denied) >= _MAX_DENIED

    def _on_not_found(self, polled: _PolledId, error: NotFoundError, now: float) -> None:
        seen_before = polled.last is not None and not polled.unconfirmed
        delay = polled.absence.not_found(now, seen_before=seen_before)
        if delay is not None:
            self._planner.forget(polled.activity_id)
            if polled.retry is not None:
                polled.retry.cancel()  # of an earlier 404, where a second subscriber has had it asked for meanwhile
            polled.retry = asyncio.get_running_loop().call_later(delay, self._retry, polled)
        else:
            self._lose(polled, error if polled.last is None else ActivityExpiredError(polled.last))

    def _retry(self, polled: _PolledId) -> None:
        polled.retry = None
        now = asyncio.get_running_loop().time()
        self._planner.watch(polled.activity_id, now, max_staleness=polled.max_staleness)
        self._planner.restore(polled.activity_id, polled.last, polled.looked_at, 0, -math.inf)
        self._changed.set()

    def _lose(self, polled: _PolledId, error: CCActivityError) -> None:
        """One activity cannot be followed any more."""
        self.remove(polled.activity_id)
        self._hub.fail(polled.activity_id, error)


def _extra(about: Action | _PolledId) -> dict[str, str | None]:
    """For handlers of log records that show fields."""
    activity_id = None if isinstance(about, FetchPage) else about.activity_id
    return {"activity_id": activity_id, "route": LIST_ROUTE if activity_id is None else GET_ROUTE}
