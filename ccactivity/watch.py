"""The watches that a consumer iterates: one activity, or many.

1. Nothing happens before the first await or iteration, so that a watch may be made anywhere.
2. Nothing is held across a yield: these are classes and not generators, and leaving a loop early leaves nothing behind.
   Cancelling the consumer, closing or dropping the object frees everything at once. A finalizer may run in any thread
   at any time, so it does no more than to ask the loop to unsubscribe.
3. Whatever arrived is handed over before an error is raised, and an error is raised once.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Mapping
from typing import Any, Final, Self

import attrs

from ._tasks import closing_iterator, spawn
from .api.endpoint import check_id
from .errors import BatchError, CCActivityError
from .models import Activity
from .polling.hub import SnapshotQueue

__all__ = ["BatchResult", "BatchWatch", "Watch"]

_MAX_IDS_NAMED: Final = 5  # in the error of malformed ids
_MAX_REMEMBERED_IDS: Final = 10_000  # of an async source, which may be endless


class _WatchBase:
    def __init__(self, queue: SnapshotQueue) -> None:
        self._queue = queue
        self._first_look = False  # somebody awaits it
        self._busy = False
        self._over = False

    def __aiter__(self) -> Self:
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._first().__await__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def __anext__(self) -> Activity:
        await self._ready()
        if not self._over and self._queue.pending:
            return self._queue.take()
        error = None if self._over else self._queue.aborted or self._conclusion()
        await self._end()
        if error is not None:
            raise error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Stop watching: nothing is asked for it any more, iterating it ends, and an async source of ids is closed."""
        hub = self._queue.hub
        await self._end()
        if hub is not None:
            await hub.settled()

    async def _end(self) -> None:
        self._over = True
        self._queue.detach()
        self._queue.changed.set()  # for a task that iterates it
        reader = self._queue.reader
        if reader is not None and not reader.done():
            await asyncio.wait([reader])

    def __del__(self) -> None:
        queue = self._queue
        if queue.hub is not None and not queue.loop.is_closed():
            queue.loop.call_soon_threadsafe(queue.detach)

    async def _first(self) -> Self:
        """Make the first look: return once there is a snapshot, raise what a first iteration would raise."""
        self._first_look = True
        await self._ready()
        queue = self._queue
        if not self._over and not queue.pending and (error := queue.aborted or self._conclusion()) is not None:
            await self.aclose()
            raise error
        return self

    async def _ready(self) -> None:
        """Wait until there is something to hand over, or nothing more to wait for."""
        if self._busy:
            raise RuntimeError("two tasks iterate one watch; make a watch for each, they share their requests")
        self._busy = True
        queue = self._queue
        try:
            if queue.hub is None and not (self._over or queue.pending or queue.aborted):
                self._attach()
            while (queue.unfinished or queue.open) and not (self._over or queue.pending or queue.aborted):
                queue.changed.clear()
                await queue.changed.wait()
        except asyncio.CancelledError:
            queue.detach()
            raise
        finally:
            self._busy = False

    def _attach(self) -> None:
        self._queue.attach(first_look=self._first_look)

    def _conclusion(self) -> Exception | None:
        """What to raise when everything has been handed over."""
        return next(iter(self._queue.failures.values()), None)


class Watch(_WatchBase):
    """The snapshots of one activity; made by `ActivitySession.watch`.

    Iterate it for the first snapshot, every change, and the terminal one, with which it ends. Await it to make the
    first look before iterating, so that a wrong id or a dead token raises there; it gives the same watch. It is an
    async context manager too, and `aclose` ends it early. An iteration that is cancelled may be resumed, but gives up a
    look that is on its way: for a heartbeat, do not cancel the next snapshot, wait for its task (`asyncio.wait`).
    """

    def __init__(self, activity: str | Activity, queue: SnapshotQueue) -> None:
        super().__init__(queue)
        self.activity_id: str = _id_of(activity)
        if not _has_ended(activity, queue):
            queue.unfinished[self.activity_id] = None

    def __repr__(self) -> str:
        return f"<Watch of {self.activity_id}>"


class BatchWatch(_WatchBase):
    """The snapshots of many activities; made by `ActivitySession.watch_many`.

    Iterate it for every change of each; each terminal snapshot comes exactly once. When all else is delivered, a
    `BatchError` is raised if some ids could not be followed; `errors` has them by id, as soon as it is known. An
    iteration that is cancelled may be resumed, unless the ids come from an async source: that is closed then.
    """

    def __init__(self, ids: Iterable[str | Activity] | AsyncIterable[str | Activity], queue: SnapshotQueue) -> None:
        super().__init__(queue)
        self._source: AsyncIterator[str | Activity] | None = None
        if isinstance(ids, AsyncIterable):
            self._source = aiter(ids)
            queue.open = True
            return
        if isinstance(ids, str | bytes | Activity):
            raise TypeError("ids must be an iterable of ids, not one id")
        bad = []
        for given in ids:
            try:
                activity_id = _id_of(given)
                if not _has_ended(given, queue):
                    queue.unfinished[activity_id] = None
            except ValueError as error:
                bad.append(str(error))
        for ended in queue.pending:
            queue.unfinished.pop(ended, None)  # given by its id too
        if bad:
            more = f" and {len(bad) - _MAX_IDS_NAMED} more" if len(bad) > _MAX_IDS_NAMED else ""
            raise ValueError("; ".join(bad[:_MAX_IDS_NAMED]) + more)

    def __repr__(self) -> str:
        return f"<BatchWatch, {len(self._queue.unfinished)} under way>"

    @property
    def errors(self) -> Mapping[str, CCActivityError]:
        """Why single ids cannot be followed, by id."""
        return dict(self._queue.failures)

    def _attach(self) -> None:
        reader = self._queue.reader
        if reader is not None and reader.cancelling():
            raise RuntimeError("this watch was cancelled, and its source of ids with it; make a new one")
        super()._attach()
        if self._source is not None and reader is None:
            self._queue.reader = spawn(_add_ids_of(self._source, self._queue), contextvars.copy_context())

    def _conclusion(self) -> Exception | None:
        reader = self._queue.reader
        if reader is not None and not reader.cancelled() and (error := reader.result()) is not None:
            if not isinstance(error, BatchError):
                return error
            # Of single ones, as those of the watch are.
            return BatchError.of({**error.errors, **self.errors})
        return BatchError.of(self.errors) if self.errors else None


def _id_of(given: str | Activity) -> str:
    return check_id(given.activity_id if isinstance(given, Activity) else given)


def _has_ended(given: str | Activity, queue: SnapshotQueue) -> bool:
    """Whether there is nothing to watch; the queue takes the snapshot that was given."""
    if isinstance(given, Activity):
        queue.know(given)
        return given.done
    return False


async def _add_ids_of(source: AsyncIterator[str | Activity], queue: SnapshotQueue) -> Exception | None:
    """Add ids as a source gives them, each once, and close it. Returns its error, or that of a malformed id."""
    known: dict[str, None] = {}
    try:
        async with closing_iterator(source) as ids:
            async for given in ids:
                activity_id = _id_of(given)
                if activity_id in known or activity_id in queue.unfinished or queue.hub is None:
                    continue
                known[activity_id] = None
                if len(known) > _MAX_REMEMBERED_IDS:
                    del known[next(iter(known))]
                if not _has_ended(given, queue):
                    queue.add(activity_id)
    except Exception as error:  # noqa: BLE001 -- a user's source may raise anything; the consumer gets it
        return error
    finally:
        queue.open = False
        queue.changed.set()
    return None


@attrs.frozen(kw_only=True)
class BatchResult:
    """How a batch ended: each id is in exactly one of the three."""

    completed: Mapping[str, Activity] = attrs.field(factory=dict)
    """Terminal snapshots with the state `completed`; some may be `partial`."""
    failed: Mapping[str, Activity] = attrs.field(factory=dict)
    """Terminal snapshots with any other state."""
    errors: Mapping[str, CCActivityError] = attrs.field(factory=dict)
    """Why an id could not be followed to its end."""
