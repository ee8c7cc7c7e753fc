"""What waits for one consumer: at most one snapshot of each activity; it polls nothing and decides nothing.

A consumer may be slow, so newer progress replaces older. A terminal snapshot is the last there is of an activity, so
nothing ever replaces it. What cannot be followed is an error beside the snapshots, and what ends everything, such as a
closed session, comes after whatever was already there.
"""

from __future__ import annotations

import asyncio

from ..errors import CCActivityError
from ..models import Activity

__all__ = ["Mailbox"]


class Mailbox:
    """Filled by the monitor, emptied by one consumer.

    `following`: ids that the monitor still looks at for it. `grace`: seconds in which a 404 may yet become an activity.
    """

    __slots__ = (
        "_appears_by",
        "_waiter",
        "aborted",
        "every_poll",
        "failures",
        "following",
        "grace",
        "max_staleness",
        "pending",
    )

    def __init__(self, *, grace: float, max_staleness: float | None, every_poll: bool = False) -> None:
        self.grace: float = grace
        self.max_staleness: float | None = max_staleness
        self.every_poll: bool = every_poll
        self.pending: dict[str, Activity] = {}
        self.failures: dict[str, CCActivityError] = {}
        self.following: set[str] = set()
        self.aborted: Exception | None = None
        self._appears_by: dict[str, float] = {}
        self._waiter: asyncio.Future[None] | None = None

    def offer(self, activity: Activity) -> None:
        """Put a snapshot in; a terminal one ends its activity here."""
        self.pending[activity.activity_id] = activity
        if activity.done:
            self.following.discard(activity.activity_id)
        self.wake()

    def absent(self, activity_id: str, now: float) -> float:
        """Seconds that an id which is not found has left to appear; they began with the first 404 of it."""
        return self._appears_by.setdefault(activity_id, now + self.grace) - now

    def fail(self, activity_id: str, error: CCActivityError) -> None:
        """Say that one activity cannot be followed any more."""
        self.following.discard(activity_id)
        self.failures[activity_id] = error
        self.wake()

    def abort(self, error: Exception) -> None:
        """Say that nothing can be followed any more."""
        self.following.clear()
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
