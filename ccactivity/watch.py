"""What a consumer holds: one watched activity, or many; it polls nothing itself.

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
from .models import Activity
from .polling.mailbox import Mailbox
from .polling.monitor import Look, Monitor

__all__ = ["BatchResult", "BatchWatch", "Watch"]

# How many malformed ids an error names.
_NAMED: Final = 5


class _Subscription:
    """What a watch has with the monitor, apart from the watch itself, so that a forgotten watch can be freed.

    `left`: ids that are not over yet, with the last snapshot handed over of each. `deadlines`: when each is given up.
    """

    def __init__(self, box: Mailbox, enter: Callable[[], Monitor], timeout: float | None) -> None:
        self.box = box
        self.timeout = timeout
        self.hurried = False
        self.left: dict[str, Activity | None] = {}
        self._added: set[str] = set()
        # What is worth knowing when an iteration that was cancelled is resumed, so that nothing is asked twice.
        self._looks: dict[str, Look] = {}
        self._enter = enter
        self._monitor: Monitor | None = None
        self._deadlines: deque[tuple[float, str]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.loop: asyncio.AbstractEventLoop | None = None

    @property
    def attached(self) -> bool:
        return self._monitor is not None

    def attach(self) -> None:
        """Follow what is left; SessionClosedError, RuntimeError on another loop."""
        self._monitor = self._enter()
        self.loop = asyncio.get_running_loop()
        for activity_id in self.left:
            if activity_id not in self.box.pending and activity_id not in self.box.failures:
                self._follow(activity_id)
        self._looks.clear()
        self._arm()
        if self.hurried and len(self.left) == 1:
            self._monitor.hurry(next(iter(self.left)))

    def add(self, activity_id: str) -> None:
        """Follow one more, unless it was added before: also one that has ended comes only once."""
        if activity_id not in self._added:
            self._added.add(activity_id)
            self.left[activity_id] = None
            self._follow(activity_id)
            self._arm()

    def detach(self) -> Monitor | None:
        """Free everything; what is pending stays. Returns the monitor if there was one."""
        monitor, self._monitor = self._monitor, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if monitor is not None:
            looks = ((key, monitor.last_look(key)) for key in self.box.following)
            self._looks.update((key, look) for key, look in looks if look is not None)
            monitor.drop_all(self.box)
        return monitor

    def _follow(self, activity_id: str) -> None:
        assert self._monitor is not None
        assert self.loop is not None
        got = self.left[activity_id]
        if self.timeout is not None and got is None:
            self._deadlines.append((self.loop.time() + self.timeout, activity_id))
        self._monitor.follow(self.box, activity_id, got, self._looks.get(activity_id))

    def _arm(self) -> None:
        if self._timer is None and self._deadlines and self.loop is not None:
            self._timer = self.loop.call_at(self._deadlines[0][0], self._expire)

    def _expire(self) -> None:
        assert self.loop is not None
        assert self._monitor is not None
        assert self.timeout is not None
        self._timer = None
        while self._deadlines and self._deadlines[0][0] <= self.loop.time():
            _, activity_id = self._deadlines.popleft()
            if activity_id in self.box.following:
                last = self.box.pending.get(activity_id) or self.left.get(activity_id)
                self._monitor.drop(self.box, activity_id)
                self.box.fail(activity_id, WatchTimeoutError(activity_id, last, self.timeout))
        self._arm()


class _Follower:
    """The part that one watch and many have in common."""

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
        box = self._subscription.box
        if not self._over and box.pending:
            snapshot = box.take()
            if snapshot.done:
                self._subscription.left.pop(snapshot.activity_id, None)
            else:
                self._subscription.left[snapshot.activity_id] = snapshot
            return snapshot
        error = None if self._over else box.aborted or self._conclusion()
        await self.aclose()
        if error is not None:
            raise error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop watching. Nothing is asked for on its behalf any more, and iterating it further ends at once."""
        self._over = True
        self._stop_source()
        monitor = self._subscription.detach()
        self._subscription.box.wake()
        if monitor is not None:
            await monitor.settled()

    def __del__(self) -> None:
        subscription = self._subscription
        if subscription.attached and subscription.loop is not None and not subscription.loop.is_closed():
            subscription.loop.call_soon_threadsafe(self._let_go, subscription)

    @staticmethod
    def _let_go(subscription: _Subscription) -> None:
        subscription.detach()

    async def _first(self) -> Self:
        """Make the first look: return once there is a snapshot, raise what a first iteration would raise."""
        self._subscription.hurried = True
        await self._ready()
        box = self._subscription.box
        if not self._over and not box.pending and (error := box.aborted or self._conclusion()) is not None:
            await self.aclose()
            raise error
        return self

    async def _ready(self) -> None:
        """Wait until there is something to hand over, or nothing more to wait for."""
        if self._busy:
            raise RuntimeError("two tasks iterate one watch; make a watch for each, they share their requests")
        self._busy = True
        box = self._subscription.box
        try:
            if not self._over and not self._subscription.attached:
                self._attach()
            while not (self._over or box.pending or box.aborted or self._finished()):
                await box.changed()
        except asyncio.CancelledError:
            self._subscription.detach()
            self._stop_source()
            raise
        finally:
            self._busy = False

    def _attach(self) -> None:
        if self._subscription.box.aborted is None and not self._subscription.box.pending:
            self._subscription.attach()

    def _stop_source(self) -> None:
        """Let go of whatever gives ids."""

    def _finished(self) -> bool:
        """Whether every id is accounted for."""
        return not self._subscription.box.following

    def _conclusion(self) -> Exception | None:
        """What to raise when everything has been handed over."""
        raise NotImplementedError


class Watch(_Follower):
    """The snapshots of one activity; made by `ActivitySession.watch`.

    Iterate it for the first snapshot, every change, and the terminal one, with which it ends. Await it to make the
    first look before iterating, so that a wrong id or a dead token raises there; it gives the same watch. It is an
    async context manager too, and `aclose` ends it early. An iteration that is cancelled may be resumed, but gives up a
    look that is on its way: for a heartbeat, do not cancel the next snapshot, wait for its task (`asyncio.wait`).
    """

    def __init__(self, activity_id: str, subscription: _Subscription) -> None:
        super().__init__(subscription)
        self.activity_id = activity_id
        subscription.left[activity_id] = None

    def __repr__(self) -> str:
        return f"<Watch of {self.activity_id}>"

    def _conclusion(self) -> Exception | None:
        return self._subscription.box.failures.get(self.activity_id)


class BatchWatch(_Follower):
    """The snapshots of many activities; made by `ActivitySession.watch_many`.

    Iterate it for every change of each; each terminal snapshot comes exactly once. When all else is delivered, a
    `BatchError` is raised if some ids could not be followed; `errors` has them by id, as soon as it is known. An
    iteration that is cancelled may be resumed, unless the ids come from an async source: that is closed then.
    """

    def __init__(self, ids: Iterable[str] | AsyncIterable[str], subscription: _Subscription) -> None:
        super().__init__(subscription)
        self._source: AsyncIterator[str] | None = None
        self._feeder: asyncio.Task[None] | None = None
        self._feed = _Feed()
        if isinstance(ids, AsyncIterable):
            self._source = aiter(ids)
            self._feed.open = True
        else:
            subscription.left.update(dict.fromkeys(_checked(ids)))

    def __repr__(self) -> str:
        return f"<BatchWatch, {len(self._subscription.left)} under way>"

    @property
    def errors(self) -> Mapping[str, CCActivityError]:
        """Why single ids cannot be followed, by id."""
        return dict(self._subscription.box.failures)

    def _attach(self) -> None:
        if self._source is not None and self._feed.cut:
            raise RuntimeError("this watch was cancelled, and its source of ids with it; make a new one")
        super()._attach()
        if self._source is not None and self._feeder is None and self._subscription.attached:
            self._feeder = asyncio.create_task(_feed(self._source, self._subscription, self._feed))

    def _stop_source(self) -> None:
        if self._feeder is not None and not self._feeder.done():
            self._feed.cut = True
            self._feeder.cancel()

    async def aclose(self) -> None:
        """Stop watching, and close the source of ids if it is an async one."""
        await super().aclose()
        if self._feeder is not None and not self._feeder.done():
            await asyncio.wait([self._feeder])

    def __del__(self) -> None:
        if self._feeder is not None and not self._feeder.done():
            loop = self._feeder.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(self._feeder.cancel)
        super().__del__()

    def _finished(self) -> bool:
        return not self._feed.open and super()._finished()

    def _conclusion(self) -> Exception | None:
        if self._feed.error is not None:
            return self._feed.error
        return BatchError.of(self.errors) if self.errors else None


@attrs.define(eq=False)
class _Feed:
    """How a source of ids is doing: `open` while it may give more, `cut` when we cancelled it."""

    open: bool = False
    cut: bool = False
    error: Exception | None = None


async def _feed(source: AsyncIterator[str], subscription: _Subscription, feed: _Feed) -> None:
    """Follow ids as a source gives them. Its own errors, and a malformed id, are raised when all else is delivered."""
    try:
        async for activity_id in source:
            if subscription.attached:
                subscription.add(check_id(activity_id))
    except Exception as error:  # noqa: BLE001 -- a user's source may raise anything; the consumer gets it
        feed.error = error
    finally:
        feed.open = False
        subscription.box.wake()


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
        more = f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else ""
        raise ValueError("; ".join(bad[:_NAMED]) + more)
    return good


def subscribe(
    enter: Callable[[], Monitor],
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
    return _Subscription(Mailbox(grace=grace, max_staleness=max_staleness, every_poll=every_poll), enter, timeout)
