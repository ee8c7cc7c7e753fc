"""The hub: who subscribes to which activity, and what is waiting for each consumer. Knows nothing of requests.

1. An activity that fifty consumers watch is one topic here, and polled once.
2. A consumer may be slow, so newer progress replaces older. A terminal snapshot is the last there is of an activity, so
   nothing ever replaces it, and it is delivered exactly once to each consumer.
3. What cannot be followed is an error beside the snapshots; what ends everything, such as a closed session, comes after
   whatever was already there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Protocol

import attrs

from ..errors import CCActivityError
from ..models import Activity

__all__ = ["ActivitySource", "Hub", "ResumePoint", "SnapshotQueue"]


@attrs.frozen
class ResumePoint:
    """What is known of an id that is no longer polled, so that nothing is asked twice if it is polled again.

    `activity`: the last snapshot, seen at the loop time `looked_at`. `gives_up_at`: the loop time at which an id that
    has never been seen has had its grace.
    """

    activity: Activity | None
    looked_at: float
    gives_up_at: float | None = None


class ActivitySource(Protocol):
    """What polls the ids that somebody subscribes to. It calls `publish`, `fail` and `abort` of its hub."""

    def add(
        self, activity_id: str, *, grace: float, max_staleness: float | None, resume_from: ResumePoint | None = None
    ) -> None:
        """Poll an id, or poll it for one more subscriber."""

    def remove(self, activity_id: str) -> ResumePoint | None:
        """Poll an id no more; an id that is not polled is not an error."""

    def prioritize(self, activity_id: str) -> None:
        """Look at an id as a single call would, because somebody awaits it."""

    async def settled(self) -> None:
        """Wait until what was stopped has ended."""


@attrs.define(eq=False, kw_only=True)
class SnapshotQueue:
    """What is waiting for one consumer: at most one snapshot of each activity.

    `grace`: seconds in which a 404 may yet become an activity. `max_staleness`: seconds that an id goes unseen at most.
    `every_poll`: whether looks without a change are wanted too. `unfinished`: ids that are polled for it.
    """

    grace: float
    max_staleness: float | None = None
    every_poll: bool = False
    pending: dict[str, Activity] = attrs.field(factory=dict)
    failures: dict[str, CCActivityError] = attrs.field(factory=dict)
    unfinished: set[str] = attrs.field(factory=set)
    aborted: Exception | None = None
    _waiter: asyncio.Future[None] | None = None

    def put(self, activity: Activity) -> None:
        """Put a snapshot in."""
        self.pending[activity.activity_id] = activity
        self.wake()

    def fail(self, activity_id: str, error: CCActivityError) -> None:
        """Say that one activity cannot be followed any more."""
        self.unfinished.discard(activity_id)
        self.failures[activity_id] = error
        self.wake()

    def abort(self, error: Exception) -> None:
        """Say that nothing can be followed any more."""
        self.unfinished.clear()
        self.aborted = error
        self.wake()

    def take(self) -> Activity:
        """Take out the snapshot that has waited longest."""
        return self.pending.pop(next(iter(self.pending)))

    def wake(self) -> None:
        """Let the consumer look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def changed(self) -> None:
        """Wait until something is put in."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None


@attrs.define(eq=False)
class _Topic:
    """One activity that somebody subscribes to; `latest`: its last snapshot, seen at the loop time `seen_at`."""

    subscribers: list[SnapshotQueue] = attrs.field(factory=list)
    latest: Activity | None = None
    seen_at: float = 0.0


class Hub:
    """Brings snapshots to subscribers. All methods are for the loop's own thread."""

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        self._source: ActivitySource

    def connect(self, source: ActivitySource) -> None:
        """Take what polls from now on."""
        self._source = source

    @property
    def watching(self) -> int:
        """How many activities are watched, each counted once."""
        return len(self._topics)

    # --- for subscribers --------------------------------------------------------------------------------------------

    def subscribe(
        self,
        queue: SnapshotQueue,
        activity_id: str,
        *,
        got: Activity | None = None,
        resume_from: ResumePoint | None = None,
    ) -> None:
        """Feed a queue with an activity from now on.

        `got`: what its consumer has of it already. `resume_from`: from when it was last subscribed.
        """
        queue.unfinished.add(activity_id)
        topic = self._topics.setdefault(activity_id, _Topic())
        topic.subscribers.append(queue)
        if topic.latest is None and resume_from is not None:
            topic.latest, topic.seen_at = resume_from.activity, resume_from.looked_at
        self._source.add(activity_id, grace=queue.grace, max_staleness=queue.max_staleness, resume_from=resume_from)
        if topic.latest is not None and (got is None or topic.latest.changed_from(got)):
            queue.put(topic.latest)

    def prioritize(self, activity_id: str) -> None:
        """Make the first look at an activity at once, because somebody awaits it."""
        topic = self._topics.get(activity_id)
        if topic is not None and topic.latest is None:
            self._source.prioritize(activity_id)

    def unsubscribe(self, queue: SnapshotQueue, activity_id: str) -> ResumePoint | None:
        """Stop feeding a queue with one activity; what nobody else watches is polled no more."""
        queue.unfinished.discard(activity_id)
        topic = self._topics.get(activity_id)
        if topic is None or queue not in topic.subscribers:
            return None
        topic.subscribers.remove(queue)
        if topic.subscribers:
            return ResumePoint(topic.latest, topic.seen_at)
        del self._topics[activity_id]
        return self._source.remove(activity_id)

    def settled(self) -> Awaitable[None]:
        """Wait until nothing is under way that nobody subscribes to any more."""
        return self._source.settled()

    # --- for what polls ---------------------------------------------------------------------------------------------

    def publish(self, activity: Activity, *, final: bool) -> None:
        """An activity was seen: bring it to whoever subscribes, if something changed. `final`: it has ended."""
        topic = self._topics.get(activity.activity_id)
        if topic is None:
            return
        last, topic.latest = topic.latest, activity
        topic.seen_at = asyncio.get_running_loop().time()
        if final:
            del self._topics[activity.activity_id]
            for queue in topic.subscribers:
                queue.unfinished.discard(activity.activity_id)
        changed = last is None or (activity is not last and activity.changed_from(last))
        for queue in topic.subscribers:
            if changed or queue.every_poll:
                queue.put(activity)

    def fail(self, activity_id: str, error: CCActivityError) -> None:
        """An activity cannot be followed any more."""
        topic = self._topics.pop(activity_id, None)
        for queue in topic.subscribers if topic is not None else ():
            queue.fail(activity_id, error)

    def abort(self, error: Exception) -> None:
        """Nothing can be followed any more: end every watch with an error, once."""
        queues = dict.fromkeys(queue for topic in self._topics.values() for queue in topic.subscribers)
        for activity_id in tuple(self._topics):
            self._source.remove(activity_id)
        self._topics.clear()
        for queue in queues:
            queue.abort(error)
