"""The watches that a consumer iterates: one activity, or many.

1. Nothing happens before the first await or iteration, so that a watch may be made anywhere.
2. Nothing is held across a yield: these are classes and not generators, and leaving a loop early leaves nothing behind.
   Cancelling the consumer, closing or dropping the object frees everything at once. A finalizer may run in any thread
   at any time, so it does no more than to ask the loop to unsubscribe.
3. Whatever arrived is handed over before an error is raised, and an error is raised once.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self

import attrs

from ._validation import check_number
from .api.endpoint import check_id
from .errors import BatchError, CCActivityError, WatchTimeoutError
from .models import TERMINAL_STATES, Activity
from .polling.hub import Hub, ResumePoint, SnapshotQueue

__all__ = ["BatchResult", "BatchWatch", "Watch"]

_MAX_IDS_NAMED: Final = 5  # in the error of malformed ids


@attrs.define(eq=False)
class _Subscription:
    """What a watch has with the hub, apart from the watch itself, so that a forgotten watch can be freed.

    `hub`, `loop`: those that it is attached to, None before and after. `unfinished`: ids that are not over yet, with
    the last snapshot handed over of each.
    """

    queue: SnapshotQueue
    enter: Callable[[], Hub]
    timeout: float | None
    first_look_requested: bool = False
    unfinished: dict[str, Activity | None] = attrs.field(factory=dict)
    hub: Hub | None = None
    loop: asyncio.AbstractEventLoop | None = None
    _known_ids: set[str] = attrs.field(factory=set)
    # What is worth knowing when an iteration that was cancelled is resumed, so that nothing is asked twice.
    _resume_from: dict[str, ResumePoint] = attrs.field(factory=dict)
    _deadlines: deque[tuple[float, str]] = attrs.field(factory=deque)
    _timer: asyncio.TimerHandle | None = None

    def attach(self) -> None:
        """Subscribe to what is unfinished; SessionClosedError, RuntimeError on another loop."""
        self.hub = self.enter()
        self.loop = asyncio.get_running_loop()
        for activity_id in self.unfinished:
            if activity_id not in self.queue.pending and activity_id not in self.queue.failures:
                self._subscribe(activity_id)
        self._resume_from.clear()
        self._schedule_timeout()
        if self.first_look_requested and len(self.unfinished) == 1:
            self.hub.prioritize(next(iter(self.unfinished)))

    def add(self, activity_id: str) -> None:
        """Subscribe to one more, unless it was added before: also one that has ended comes only once."""
        if activity_id not in self._known_ids:
            self._known_ids.add(activity_id)
            self.unfinished[activity_id] = None
            self._subscribe(activity_id)
            self._schedule_timeout()

    def detach(self) -> Hub | None:
        """Free everything; what is pending stays. Returns the hub if there was one."""
        hub, self.hub = self.hub, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if hub is not None:
            for activity_id in tuple(self.queue.unfinished):
                if (known := hub.unsubscribe(self.queue, activity_id)) is not None:
                    self._resume_from[activity_id] = known
        return hub

    def _subscribe(self, activity_id: str) -> None:
        assert self.hub is not None
        assert self.loop is not None
        got = self.unfinished[activity_id]
        if self.timeout is not None and got is None:
            self._deadlines.append((self.loop.time() + self.timeout, activity_id))
        self.hub.subscribe(self.queue, activity_id, got=got, resume_from=self._resume_from.get(activity_id))

    def _schedule_timeout(self) -> None:
        if self._timer is None and self._deadlines and self.loop is not None:
            self._timer = self.loop.call_at(self._deadlines[0][0], self._time_out)

    def _time_out(self) -> None:
        assert self.loop is not None
        assert self.hub is not None
        assert self.timeout is not None
        self._timer = None
        while self._deadlines and self._deadlines[0][0] <= self.loop.time():
            _, activity_id = self._deadlines.popleft()
            if activity_id in self.queue.unfinished:
                last = self.queue.pending.get(activity_id) or self.unfinished.get(activity_id)
                self.hub.unsubscribe(self.queue, activity_id)
                self.queue.fail(activity_id, WatchTimeoutError(activity_id, last, self.timeout))
        self._schedule_timeout()


class _WatchBase:
    """What one watch and many have in common."""

    def __init__(self, subscription: _Subscription) -> None:
        self._subscription = subscription
        self._busy = False
        self._over = False

    def __aiter__(self) -> Self:
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._first().__await__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def __anext__(self) -> Activity:
        """Return the next snapshot."""
        await self._ready()
        queue = self._subscription.queue
        if not self._over and queue.pending:
            snapshot = queue.take()
            if snapshot.state in TERMINAL_STATES:
                self._subscription.unfinished.pop(snapshot.activity_id, None)
            else:
                self._subscription.unfinished[snapshot.activity_id] = snapshot
            return snapshot
        error = None if self._over else queue.aborted or self._conclusion()
        await self._end()
        if error is not None:
            raise error
        raise StopAsyncIteration

    async def _end(self) -> None:
        """Stop at the natural end, when nothing is under way that has to be waited for."""
        self._stop()

    async def aclose(self) -> None:
        """Stop watching. Nothing is asked for on its behalf any more, and iterating it further ends at once."""
        hub = self._stop()
        if hub is not None:
            await hub.settled()

    def _stop(self) -> Hub | None:
        self._over = True
        self._stop_source()
        hub = self._subscription.detach()
        if self._busy:
            self._subscription.queue.wake()  # whoever iterates it
        return hub

    def __del__(self) -> None:
        subscription = self._subscription
        if subscription.hub is not None and subscription.loop is not None and not subscription.loop.is_closed():
            subscription.loop.call_soon_threadsafe(self._detach, subscription)

    @staticmethod
    def _detach(subscription: _Subscription) -> None:
        subscription.detach()

    async def _first(self) -> Self:
        """Make the first look: return once there is a snapshot, raise what a first iteration would raise."""
        self._subscription.first_look_requested = True
        await self._ready()
        queue = self._subscription.queue
        if not self._over and not queue.pending and (error := queue.aborted or self._conclusion()) is not None:
            await self.aclose()
            raise error
        return self

    async def _ready(self) -> None:
        """Wait until there is something to hand over, or nothing more to wait for."""
        if self._busy:
            raise RuntimeError("two tasks iterate one watch; make a watch for each, they share their requests")
        self._busy = True
        queue = self._subscription.queue
        try:
            if not self._over and self._subscription.hub is None:
                self._attach()
            while not (self._over or queue.pending or queue.aborted or self._finished()):
                await queue.changed()
        except asyncio.CancelledError:
            self._subscription.detach()
            self._stop_source()
            raise
        finally:
            self._busy = False

    def _attach(self) -> None:
        if self._subscription.queue.aborted is None and not self._subscription.queue.pending:
            self._subscription.attach()

    def _stop_source(self) -> None:
        """Let go of whatever gives ids."""

    def _finished(self) -> bool:
        """Whether every id is accounted for."""
        return not self._subscription.queue.unfinished

    def _conclusion(self) -> Exception | None:
        """What to raise when everything has been handed over."""
        raise NotImplementedError


class Watch(_WatchBase):
    """The snapshots of one activity; made by `ActivitySession.watch`.

    Iterate it for the first snapshot, every change, and the terminal one, with which it ends. Await it to make the
    first look before iterating, so that a wrong id or a dead token raises there; it gives the same watch. It is an
    async context manager too, and `aclose` ends it early. An iteration that is cancelled may be resumed, but gives up a
    look that is on its way: for a heartbeat, do not cancel the next snapshot, wait for its task (`asyncio.wait`).
    """

    def __init__(self, activity_id: str, subscription: _Subscription) -> None:
        super().__init__(subscription)
        self.activity_id = activity_id
        subscription.unfinished[activity_id] = None

    def __repr__(self) -> str:
        return f"<Watch of {self.activity_id}>"

    def _conclusion(self) -> Exception | None:
        return self._subscription.queue.failures.get(self.activity_id)


class BatchWatch(_WatchBase):
    """The snapshots of many activities; made by `ActivitySession.watch_many`.

    Iterate it for every change of each; each terminal snapshot comes exactly once. When all else is delivered, a
    `BatchError` is raised if some ids could not be followed; `errors` has them by id, as soon as it is known. An
    iteration that is cancelled may be resumed, unless the ids come from an async source: that is closed then.
    """

    def __init__(self, ids: Iterable[str] | AsyncIterable[str], subscription: _Subscription) -> None:
        super().__init__(subscription)
        self._source: AsyncIterator[str] | None = None
        self._reader_task: asyncio.Task[None] | None = None
        self._id_source = _IdSource()
        if isinstance(ids, AsyncIterable):
            self._source = aiter(ids)
            self._id_source.open = True
        else:
            subscription.unfinished.update(dict.fromkeys(_checked(ids)))

    def __repr__(self) -> str:
        return f"<BatchWatch, {len(self._subscription.unfinished)} under way>"

    @property
    def errors(self) -> Mapping[str, CCActivityError]:
        """Why single ids cannot be followed, by id."""
        return dict(self._subscription.queue.failures)

    def _attach(self) -> None:
        if self._source is not None and self._id_source.cancelled:
            raise RuntimeError("this watch was cancelled, and its source of ids with it; make a new one")
        super()._attach()
        if self._source is not None and self._reader_task is None and self._subscription.hub is not None:
            self._reader_task = asyncio.create_task(_read_ids(self._source, self._subscription, self._id_source))

    def _stop_source(self) -> None:
        if self._reader_task is not None and not self._reader_task.done():
            self._id_source.cancelled = True
            self._reader_task.cancel()

    async def aclose(self) -> None:
        """Stop watching, and close the source of ids if it is an async one."""
        await super().aclose()
        if self._reader_task is not None and not self._reader_task.done():
            await asyncio.wait([self._reader_task])

    _end = aclose  # its source of ids may have to be closed

    def __del__(self) -> None:
        if self._reader_task is not None and not self._reader_task.done():
            loop = self._reader_task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._reader_task.cancel)
        super().__del__()

    def _finished(self) -> bool:
        return not self._id_source.open and super()._finished()

    def _conclusion(self) -> Exception | None:
        if self._id_source.error is not None:
            return self._id_source.error
        return BatchError.of(self.errors) if self.errors else None


@attrs.define(eq=False)
class _IdSource:
    """How an async source of ids is doing: `open` while it may give more, `cancelled` by us."""

    open: bool = False
    cancelled: bool = False
    error: Exception | None = None


async def _read_ids(source: AsyncIterator[str], subscription: _Subscription, state: _IdSource) -> None:
    """Follow ids as a source gives them. Its own errors, and a malformed id, are raised when all else is delivered."""
    try:
        async for activity_id in source:
            if subscription.hub is not None:
                subscription.add(check_id(activity_id))
    except Exception as error:  # noqa: BLE001 -- a user's source may raise anything; the consumer gets it
        state.error = error
    finally:
        state.open = False
        subscription.queue.wake()


@attrs.frozen(kw_only=True)
class BatchResult:
    """How a batch ended: each id is in exactly one of the three."""

    completed: Mapping[str, Activity] = attrs.field(factory=dict)
    """Terminal snapshots with the state `completed`; some may be `partial`."""
    failed: Mapping[str, Activity] = attrs.field(factory=dict)
    """Terminal snapshots with any other state."""
    errors: Mapping[str, CCActivityError] = attrs.field(factory=dict)
    """Why an id could not be followed to its end."""


def _checked(ids: Iterable[str]) -> list[str]:
    if isinstance(ids, str | bytes):
        raise TypeError("ids must be an iterable of ids, not one id")
    bad = []
    good = []
    for activity_id in ids:
        try:
            good.append(check_id(activity_id))
        except ValueError as error:
            bad.append(str(error))
    if bad:
        more = f" and {len(bad) - _MAX_IDS_NAMED} more" if len(bad) > _MAX_IDS_NAMED else ""
        raise ValueError("; ".join(bad[:_MAX_IDS_NAMED]) + more)
    return good


def subscribe(
    enter: Callable[[], Hub],
    *,
    timeout: float | None,
    grace: float,
    max_staleness: float | None,
    every_poll: bool = False,
) -> _Subscription:
    """Prepare a subscription; ValueError or TypeError for numbers that make no sense."""
    check_number("grace", grace)
    if timeout is not None:
        check_number("timeout", timeout)
    if max_staleness is not None:
        check_number("max_staleness", max_staleness, above=True)
    queue = SnapshotQueue(grace=grace, max_staleness=max_staleness, every_poll=every_poll)
    return _Subscription(queue, enter, timeout)
