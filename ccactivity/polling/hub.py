"""The hub: who subscribes to which activity, and what is waiting for each consumer. Knows nothing of requests.

1. An activity that fifty consumers watch is known here once, and polled once.
2. A consumer may be slow, so newer progress replaces older. A terminal snapshot is the last there is of an activity, so
   nothing ever replaces it, and it is delivered exactly once to each consumer.
3. What cannot be followed is an error beside the snapshots; what ends everything, such as a closed session, comes after
   whatever was already there.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import attrs
from attrs.validators import optional

from .._emitter import Emitter
from .._validation import not_negative, positive
from ..errors import CCActivityError, WatchTimeoutError
from ..events import WatchEnded, WatchStarted
from ..models import Activity

__all__ = ["ActivitySource", "Hub", "ResumePoint", "SnapshotQueue", "strictest"]


@attrs.frozen
class ResumePoint:
    """What is known of an id, so that nothing is asked twice if it is polled again later.

    `activity`: the last snapshot, seen at the loop time `looked_at`. `gives_up_at`: the loop time at which an id that
    has never been seen has had its grace; minus infinity before a first 404. `failures`: looks in a row that failed,
    the last of them at `failed_at`. `unconfirmed`: the snapshot is the answer to a submission, and no look has shown
    the activity yet.
    """

    activity: Activity | None = None
    looked_at: float = 0.0
    gives_up_at: float = -math.inf
    failures: int = 0
    failed_at: float = -math.inf
    unconfirmed: bool = False


class ActivitySource(Protocol):
    """What polls the ids that somebody subscribes to. It calls `publish`, `fail` and `abort` of its hub."""

    def add(
        self, activity_id: str, *, grace: float, max_staleness: float | None, resume_from: ResumePoint
    ) -> Activity | None:
        """Poll an id, or poll it for one more subscriber. Returns the last snapshot of it.

        `max_staleness`: of this subscriber; the strictest of all holds.
        """

    def set_max_staleness(self, activity_id: str, max_staleness: float | None) -> None:
        """Replace the strictest of all, since the subscriber who wanted it has left."""

    def remove(self, activity_id: str) -> None:
        """Poll an id no more."""

    def resume_point(self, activity_id: str) -> ResumePoint:
        """Return what is known of an id that is polled."""

    def prioritize(self, activity_id: str) -> None:
        """Make the first look at an id as a single call would, because somebody awaits it."""

    async def settled(self) -> None:
        """Wait until what was stopped has ended."""


@attrs.define(eq=False)
class _Told:
    """A watch of an activity that hooks were told of. `looks`: how often it was seen since."""

    watch: int
    started_at: float
    looks: int = 0


@attrs.define(eq=False, kw_only=True)
class SnapshotQueue:
    """What is waiting for one consumer, at most one snapshot of each activity, and the subscription that it comes by.

    It is apart from the watch that the consumer iterates, so that a forgotten watch can be freed. `enter` gives the
    hub; `timeout`, `grace`, `max_staleness` and `every_poll` are those of `ActivitySession.watch`. `unfinished`: ids
    that have neither ended nor failed, with the last snapshot handed over of each; `open`: more may be added, by the
    task `reader`. `changed`: set when there is something new. `hub`, `loop`: those that it is attached to.
    `resume_points`: what was known of the unfinished ids when it was detached. `submitted_at`: gives the loop time at
    which an activity was created by a submission, None for others. `told`: those of the `emitter`.
    """

    enter: Callable[[], Hub]
    emitter: Emitter = attrs.field(factory=Emitter)
    timeout: float | None = attrs.field(default=None, validator=optional(not_negative))
    grace: float = attrs.field(validator=not_negative)
    max_staleness: float | None = attrs.field(default=None, validator=optional(positive))
    every_poll: bool = False
    open: bool = False
    unfinished: dict[str, Activity | None] = attrs.field(factory=dict)
    pending: dict[str, Activity] = attrs.field(factory=dict)
    failures: dict[str, CCActivityError] = attrs.field(factory=dict)
    aborted: Exception | None = None
    changed: asyncio.Event = attrs.field(factory=asyncio.Event)
    hub: Hub | None = None
    loop: asyncio.AbstractEventLoop = attrs.field(init=False)
    reader: asyncio.Task[Exception | None] | None = None
    resume_points: dict[str, ResumePoint] = attrs.field(factory=dict)
    told: dict[str, _Told] = attrs.field(factory=dict)
    submitted_at: Callable[[str], float | None] = lambda _: None
    _deadlines: dict[str, float] = attrs.field(factory=dict)  # the earliest first
    _timer: asyncio.TimerHandle | None = None

    # --- for the consumer -------------------------------------------------------------------------------------------

    def know(self, activity: Activity) -> None:
        """Take a snapshot that the consumer has already: one that has ended is all that there will be.

        Another one is where to go on from, if it was the answer to a submission: nobody else knows when it was seen.
        """
        activity_id = activity.activity_id
        if activity.done:
            self.put(activity)
        elif (seen_at := self.submitted_at(activity_id)) is not None:
            self.resume_points[activity_id] = ResumePoint(activity, seen_at, unconfirmed=True)

    def attach(self, *, first_look: bool) -> None:
        """Subscribe to what is unfinished; SessionClosedError, RuntimeError on another loop."""
        self.hub, self.loop = self.enter(), asyncio.get_running_loop()
        for activity_id in self.unfinished:
            self.add(activity_id)
        if first_look and len(self.unfinished) == 1:
            self.hub.prioritize(next(iter(self.unfinished)))

    def add(self, activity_id: str) -> None:
        """Subscribe to one activity, while attached."""
        assert self.hub is not None
        self.hub.subscribe(self, activity_id)
        if self.emitter.hooks:
            told = self.told[activity_id] = _Told(next(self.emitter.numbers), self.loop.time())
            self.emitter.emit(WatchStarted(at=told.started_at, activity_id=activity_id, watch=told.watch))
        if self.timeout is not None:
            deadline = self._deadlines.setdefault(activity_id, self.loop.time() + self.timeout)
            self._timer = self._timer or self.loop.call_at(deadline, self._time_out)

    def detach(self) -> None:
        """Free everything; what is pending stays, and what is unfinished may be attached again."""
        hub, self.hub = self.hub, None
        if hub is None:
            return
        for activity_id in self.unfinished:
            hub.unsubscribe(self, activity_id)
        if self.reader is not None:
            self.reader.cancel()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.told:
            self._tell_end("left", *self.told)

    def take(self) -> Activity:
        """Take out the snapshot that has waited longest."""
        activity = self.pending.pop(next(iter(self.pending)))
        if activity.activity_id in self.unfinished:
            self.unfinished[activity.activity_id] = activity
        return activity

    def _time_out(self) -> None:
        assert self.hub is not None
        assert self.timeout is not None
        self._timer = None
        while self._deadlines:
            activity_id, deadline = next(iter(self._deadlines.items()))
            if deadline > self.loop.time():
                self._timer = self.loop.call_at(deadline, self._time_out)
                break
            last = self.pending.get(activity_id) or self.unfinished[activity_id]
            self.hub.unsubscribe(self, activity_id)
            self.fail(activity_id, WatchTimeoutError(activity_id, last, self.timeout))

    # --- for the hub ------------------------------------------------------------------------------------------------

    def put(self, activity: Activity) -> None:
        """Put a snapshot in."""
        self.pending[activity.activity_id] = activity
        self.changed.set()

    def fail(self, activity_id: str, error: CCActivityError) -> None:
        """Say that one activity cannot be followed any more."""
        self.settle(activity_id, type(error).__name__)
        self.failures[activity_id] = error
        self.changed.set()

    def settle(self, activity_id: str, outcome: str) -> None:
        """Say that one activity is accounted for: by its terminal state, or the name of an error's class."""
        del self.unfinished[activity_id]
        self._deadlines.pop(activity_id, None)
        self.resume_points.pop(activity_id, None)
        if self.told:
            self._tell_end(outcome, activity_id)

    def abort(self, error: Exception) -> None:
        """Say that nothing can be followed any more."""
        self.unfinished.clear()
        self._deadlines.clear()
        self.aborted = error
        self.changed.set()
        if self.told:
            self._tell_end(type(error).__name__, *self.told)

    def _tell_end(self, outcome: str, *ids: str) -> None:
        now = self.loop.time()
        for activity_id in ids:
            told = self.told.pop(activity_id, None)
            if told is not None:
                self.emitter.emit(
                    WatchEnded(
                        at=now,
                        activity_id=activity_id,
                        watch=told.watch,
                        outcome=outcome,
                        seconds=now - told.started_at,
                        looks=told.looks,
                    )
                )


class Hub:
    """Brings snapshots to subscribers. All methods are for the loop's own thread."""

    def __init__(self) -> None:
        # By id. Nearly all have one, and a dict for each would be a quarter of the memory of a watch; of many, each
        # leaves in constant time if they want the same.
        self._subscribers: dict[str, SnapshotQueue | dict[SnapshotQueue, None]] = {}
        self._source: ActivitySource

    def connect(self, source: ActivitySource) -> None:
        """Take what polls from now on."""
        self._source = source

    @property
    def watching(self) -> int:
        """How many activities are watched, each counted once."""
        return len(self._subscribers)

    def count(self, ids: Iterable[str]) -> int:
        """How many subscribe to these, once for each id."""
        found = filter(None, map(self._subscribers.get, ids))
        return sum(len(each) if isinstance(each, dict) else 1 for each in found)

    # --- for subscribers --------------------------------------------------------------------------------------------

    def subscribe(self, queue: SnapshotQueue, activity_id: str) -> None:
        """Feed a queue with an activity from now on, beginning with what its consumer has not got yet."""
        got = queue.unfinished.setdefault(activity_id)
        subscribers = self._subscribers.setdefault(activity_id, queue)
        if subscribers is not queue:
            if not isinstance(subscribers, dict):
                subscribers = self._subscribers[activity_id] = {subscribers: None}
            subscribers[queue] = None
        resume_from = queue.resume_points.pop(activity_id, ResumePoint())
        latest = self._source.add(
            activity_id, grace=queue.grace, max_staleness=queue.max_staleness, resume_from=resume_from
        )
        if latest is not None and (got is None or latest.changed_from(got)):
            queue.put(latest)

    def prioritize(self, activity_id: str) -> None:
        """Make the first look at an activity at once, because somebody awaits it."""
        self._source.prioritize(activity_id)

    def unsubscribe(self, queue: SnapshotQueue, activity_id: str) -> None:
        """Stop feeding a queue with one activity; what nobody else watches is polled no more."""
        queue.resume_points[activity_id] = self._source.resume_point(activity_id)
        subscribers = self._subscribers[activity_id]
        if isinstance(subscribers, dict) and len(subscribers) > 1:
            del subscribers[queue]
            if not any(each.max_staleness == queue.max_staleness for each in subscribers):
                self._source.set_max_staleness(activity_id, strictest(each.max_staleness for each in subscribers))
        else:
            del self._subscribers[activity_id]
            self._source.remove(activity_id)

    def settled(self) -> Awaitable[None]:
        """Wait until nothing is under way that nobody subscribes to any more."""
        return self._source.settled()

    # --- for what polls ---------------------------------------------------------------------------------------------

    def publish(self, activity: Activity, *, changed: bool, final: bool) -> None:
        """An activity was seen: bring it to whoever subscribes, if it has changed. `final`: it has ended."""
        activity_id = activity.activity_id
        for queue in _each(self._subscribers.pop(activity_id) if final else self._subscribers[activity_id]):
            if activity_id in queue.told:
                queue.told[activity_id].looks += 1
            if final:
                queue.settle(activity_id, str(activity.state))
            if changed or queue.every_poll:
                queue.put(activity)

    def fail(self, activity_id: str, error: CCActivityError) -> None:
        """An activity cannot be followed any more."""
        for queue in _each(self._subscribers.pop(activity_id)):
            queue.fail(activity_id, error)

    def abort(self, error: Exception) -> None:
        """Nothing can be followed any more: end every watch with an error, once."""
        queues = dict.fromkeys(queue for subscribers in self._subscribers.values() for queue in _each(subscribers))
        for activity_id in self._subscribers:
            self._source.remove(activity_id)
        self._subscribers.clear()
        for queue in queues:
            queue.abort(error)


def _each(subscribers: SnapshotQueue | dict[SnapshotQueue, None]) -> Iterable[SnapshotQueue]:
    return subscribers if isinstance(subscribers, dict) else (subscribers,)


def strictest(wanted: Iterable[float | None]) -> float | None:
    """The least of several `max_staleness`; None if nobody wants one."""
    return min((each for each in wanted if each is not None), default=None)
