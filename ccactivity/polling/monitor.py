"""Who watches what, and what is told to whom; it asks nothing itself and does not decide when to ask.

1. An activity that fifty consumers watch is one activity here, and asked for once.
2. What the vendor says of one activity ends the watches of that activity; what it says of the session (a dead token)
   ends them all, each once. A failure that may pass ends none.
3. 404 is not yet an end: one that was seen is asked for once more, and a new activity may take a moment to appear. That
   moment is counted from the first 404: an outage shows nothing, and a list that lacks it says nothing.
4. Only a terminal state ends a watch well, and it is delivered exactly once to each consumer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from datetime import datetime
from typing import Final

import attrs

from ..api.client import ApiClient
from ..api.decoding import Decoder
from ..api.endpoint import Endpoint
from ..api.outcome import is_rejection, is_transient
from ..errors import (
    ActivityExpiredError,
    CCActivityError,
    NotFoundError,
    PermissionDeniedError,
)
from ..models import Activity
from ..ratelimit.limiter import Limiter
from .mailbox import Mailbox
from .planner import Planner
from .scheduler import Scheduler

__all__ = ["Look", "Monitor"]

_log: Final = logging.getLogger("ccactivity")
# Seconds after a 404 until the same id is asked for again, one after the other.
_ABSENT: Final = (1.0, 1.0, 2.0, 4.0)
_LAST: Final = 10.0
# So many different activities denied in a row, and none answered, means that the token may not read any.
_DENIED: Final = 3


Look = tuple[Activity, float]


@attrs.define(eq=False)
class _Watched:
    """One activity that somebody watches."""

    activity_id: str
    boxes: list[Mailbox]
    since: float
    last: Activity | None = None
    looked_at: float = 0.0
    absences: int = 0
    again: asyncio.TimerHandle | None = None


class Monitor:
    """Follows activities for mailboxes. All methods are for the loop's own thread."""

    def __init__(
        self, client: ApiClient, limiter: Limiter, endpoint: Endpoint, decoder: Decoder, planner: Planner
    ) -> None:
        self._planner = planner
        self._scheduler = Scheduler(client, limiter, endpoint, decoder, planner, self)
        self._watched: dict[str, _Watched] = {}
        self._denied: set[str] = set()
        self.finished: int = 0

    # --- what consumers ask for -------------------------------------------------------------------------------------

    def follow(self, box: Mailbox, activity_id: str, got: Activity | None = None, look: Look | None = None) -> None:
        """Feed the mailbox with an activity from now on.

        `got`: what its consumer has of it already. `look`: when it was last followed, see `last_look`.
        """
        now = asyncio.get_running_loop().time()
        box.following.add(activity_id)
        watched = self._watched.get(activity_id)
        if watched is None:
            watched = self._watched[activity_id] = _Watched(activity_id, [], now)
        watched.boxes.append(box)
        self._planner.watch(activity_id, now, max_staleness=box.max_staleness)
        if look is not None and watched.last is None:
            watched.last, watched.looked_at = look
            self._planner.recall(watched.last, watched.looked_at)
        if watched.last is not None and (got is None or watched.last.changed_from(got)):
            box.offer(watched.last)
        self._scheduler.wake()

    def hurry(self, activity_id: str) -> None:
        """Make the first look at an activity as a single call would, because somebody awaits it."""
        watched = self._watched.get(activity_id)
        if watched is not None and watched.last is None and watched.again is None:
            self._scheduler.hurry(activity_id)

    @property
    def watching(self) -> int:
        """How many activities are watched, each counted once."""
        return len(self._watched)

    @property
    def price(self) -> float:
        """Seconds of lag that a request is worth at this moment."""
        return self._scheduler.price

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
        """Wait until what was cancelled is gone."""
        await self._scheduler.settled()

    def _forget(self, watched: _Watched) -> None:
        del self._watched[watched.activity_id]
        self._planner.forget(watched.activity_id)
        if watched.again is not None:
            watched.again.cancel()
        self._scheduler.drop(watched.activity_id)

    # --- what the scheduler asks and tells --------------------------------------------------------------------------

    def wanted(self) -> Collection[str]:
        """The ids that are watched."""
        return self._watched.keys()

    def last(self, activity_id: str) -> Activity | None:
        """The last snapshot of a watched activity."""
        return self._watched[activity_id].last

    def missed(self, activity_id: str, error: Exception) -> None:
        """A look at a watched activity was not answered: it is looked at again, given up, or nothing can be asked."""
        watched = self._watched[activity_id]
        now = asyncio.get_running_loop().time()
        if is_transient(error):
            _log.debug("a look at %s failed, the watch goes on: %s", activity_id, error)
            self._planner.failed(activity_id, now)
        elif isinstance(error, NotFoundError):
            self._absent(watched, error, now)
        elif isinstance(error, PermissionDeniedError) and self._denied_all(activity_id):
            self.abort(error)
        elif is_rejection(error):
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
            return
        pause = _ABSENT[min(watched.absences, len(_ABSENT)) - 1]
        if watched.last is None:
            wait = max(box.absent(watched.activity_id, now) for box in watched.boxes)
            if wait <= 0:
                self._lost(watched, error)
                return
            if watched.absences == 1 and now - watched.since >= wait:
                pause = _LAST  # it had its time to appear: one more look is all that is worth it
            pause = max(0.1, min(pause, wait))
        self._planner.forget(watched.activity_id)
        if watched.again is not None:
            watched.again.cancel()  # of an earlier 404, where a second consumer has had it asked for meanwhile
        watched.again = asyncio.get_running_loop().call_later(pause, self._ask_again, watched)

    def _ask_again(self, watched: _Watched) -> None:
        watched.again = None
        stalest = [box.max_staleness for box in watched.boxes if box.max_staleness is not None]
        now = asyncio.get_running_loop().time()
        self._planner.watch(watched.activity_id, now, max_staleness=min(stalest, default=None))
        self._scheduler.wake()

    def _lost(self, watched: _Watched, error: CCActivityError) -> None:
        """One activity cannot be followed any more."""
        self._forget(watched)
        for box in watched.boxes:
            box.fail(watched.activity_id, error)

    def saw(self, activity: Activity, server_now: datetime | None, *, listed: bool) -> None:
        """A look was answered: tell the planner, and whoever watches, if something changed."""
        if not listed:
            self._denied.clear()
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
            # First, because the planner learns the rate of ends from what it still knows of this one.
            self._planner.ended(activity, now)
            self._forget(watched)
            self.finished += 1
        else:
            self._planner.saw(activity, now, server_now, listed=listed)
        changed = last is None or (activity is not last and activity.changed_from(last))
        for box in watched.boxes:
            if changed or box.every_poll:
                box.offer(activity)
