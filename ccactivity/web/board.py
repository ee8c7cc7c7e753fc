"""The board: what a page follows, on a session of the caller's. It polls nothing itself, its watches do.

1. Nothing is watched before somebody looks for the first time. While somebody looks, each activity goes unseen for five
   seconds at most; otherwise the watch costs what any watch costs. A hundred viewers look through one watch.
2. Viewers are told of changes at most four times a second, all at once, so that they share what is encoded.
3. What concerns the session, such as a dead token, stands on the page, and the watch begins again half a minute later.
   A closed session ends all streams, and browsers come again by themselves; `aclose` tells them not to.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Any, Final

import attrs

from ccactivity import (
    Activity,
    ActivityExpiredError,
    ActivitySession,
    BatchError,
    BatchWatch,
    CCActivityError,
    NotFoundError,
    SessionClosedError,
)

from .feed import Feed, PageEvent, Position

__all__ = ["Board", "Viewer"]

_log: Final = logging.getLogger("ccactivity")
_MAX_STALENESS_S: Final = 5.0  # while somebody looks
_LINGER_S: Final = 15.0  # in which who reloads the page is still looking
_PUBLISH_INTERVAL_S: Final = 0.25
_STATUS_INTERVAL_S: Final = 1.0
_RETRY_INTERVAL_S: Final = 30.0
_LIST_INTERVAL_S: Final = 60.0  # for each page of the list: a request a minute
_PAGE_SIZE: Final = 500
_LAST_TURNS: Final = 100  # of the loop, in which a watch hands over, and viewers take, what there is


class Board:
    """What a live page shows: activities that are followed through a session of yours.

    `session`: shared with the rest of the program; it is never closed here. `title`: the heading of the page.

    Serve it with `aiohttp_app` or `asgi_app`. All methods are for the session's event loop. A board ends with its
    session, or by `aclose`.
    """

    def __init__(self, session: ActivitySession, *, title: str = "Activities") -> None:
        if not isinstance(session, ActivitySession):
            raise TypeError(f"session must be an ActivitySession, not {type(session).__name__}")
        self.title: str = title
        self.closed: bool = False
        self._session = session
        self._feed = Feed(secrets.token_hex(4))
        self._unfinished: dict[str, None] = {}
        self._added: asyncio.Queue[str | None] = asyncio.Queue()  # for the watch that runs
        self._watch: BatchWatch | None = None
        self._begun = False
        self._watching: asyncio.Task[None] | None = None  # while anything is unfinished
        self._all = False
        self._listed: set[str] = set()
        self._listing: asyncio.Task[None] | None = None
        self._problem: str | None = None
        self._viewers = 0
        self._looking = False
        self._looking_ends: asyncio.TimerHandle | None = None
        self._next_status: asyncio.TimerHandle | None = None
        self._ended = False
        self._publications = 0
        self._published = asyncio.Event()  # a new one for each time
        self._next_publication: asyncio.TimerHandle | None = None
        self._published_at = -math.inf
        self._published_position = self._feed.position

    def __repr__(self) -> str:
        return f"<Board {self.title!r}, {len(self._feed.rows)} rows>"

    # --- what is followed -------------------------------------------------------------------------------------------

    def follow(self, activities: str | Activity | Iterable[str | Activity]) -> None:
        """Show one activity or many from now on, by their ids or their snapshots; what ends stays on the page.

        Anything else that has an `activity_id` does as well. An id that does not exist gets a row that says so; when it
        does, follow it again. Raises ValueError naming malformed ids, TypeError for what has none.
        """
        many = activities if isinstance(activities, Iterable) and not isinstance(activities, str) else [activities]
        given = {_id_of(one): one for one in many}
        self._session.watch_many(given)  # says what is wrong with an id; nothing is watched before it is iterated
        again = False
        for activity_id, one in given.items():
            known = activity_id in self._feed
            if isinstance(one, Activity):
                self._feed.put(one)
            else:
                self._feed.expect(activity_id)
            if activity_id not in self._unfinished and not (isinstance(one, Activity) and one.done):
                self._unfinished[activity_id] = None
                self._added.put_nowait(activity_id)
                again |= known  # a watch follows an id only once
        if self._begun and (again or self._watching is None or self._watching.done()):
            self._start_watching()
        self._publish_soon()

    def follow_all(self) -> None:
        """Show all activities of the account, of the last ten days, and new ones within minutes.

        The list of the account is read while somebody looks; it costs a request a minute.
        """
        self._all = True
        self._start_listing()

    def as_dict(self) -> dict[str, Any]:
        """Return what is known now as JSON-ready data: `title`, `rows`, and `quota` as in the stream's event.

        If nobody has looked so far, the board begins to watch.
        """
        if not self._begun:
            self._start_watching()
        self._read_status()
        return {"title": self.title, "rows": list(self._feed.rows.values()), "quota": self._feed.status}

    async def aclose(self) -> None:
        """Stop watching, and tell all viewers that this was the end. Closing twice is no error."""
        for turn in range(_LAST_TURNS):
            if turn == _LAST_TURNS // 2 and not self.closed:
                self._read_status()
                self._close(ended=True)
            await asyncio.sleep(0)
        if self._watching is not None:
            await asyncio.wait([self._watching])

    # --- who looks --------------------------------------------------------------------------------------------------

    async def events(self, last_event_id: str | None = None) -> AsyncGenerator[PageEvent]:
        """Look at the board: what is known now, then every change, as the events of the page's stream.

        For a stream of your own. As long as it is iterated, somebody looks. With the `last_event_id` of an earlier
        event it begins with what has changed since.
        """
        with self.look(last_event_id) as viewer:
            while (events := await self.next_events(viewer, None)) is not None:
                for event in events:
                    yield event

    @contextmanager
    def look(self, last_event_id: str | None = None) -> Iterator[Viewer]:
        """Look at the board while the block lasts. `last_event_id`: of the last event that the viewer got."""
        self._viewers += 1
        if self._looking_ends is not None:
            self._looking_ends.cancel()
        if not self._looking and not self.closed:
            self._looking = True
            self._start_watching()
            self._tick()
            self._start_listing()
        try:
            yield Viewer(self._feed.resume(last_event_id))
        finally:
            self._viewers -= 1
            if not self._viewers and not self.closed:
                self._looking_ends = asyncio.get_running_loop().call_later(_LINGER_S, self._stop_looking)

    async def next_events(self, viewer: Viewer, timeout: float | None) -> list[PageEvent] | None:
        """Return what is new to a viewer, or nothing after `timeout` seconds (None: no limit); None after the end."""
        try:
            async with asyncio.timeout(timeout):
                while viewer.publications == self._publications and not self.closed:
                    await self._published.wait()
        except TimeoutError:
            return []
        if self.closed and viewer.publications == self._publications:
            return None
        viewer.publications = self._publications
        events, viewer.position = self._feed.since(viewer.position), self._feed.position
        return [*events, PageEvent(event="end", data="{}")] if self._ended else events

    def _stop_looking(self) -> None:
        self._looking = False
        if self._listing is not None:
            self._listing.cancel()
        self._start_watching()

    def _tick(self) -> None:
        """Read each second, while somebody looks, what no snapshot tells."""
        if self._session.closed:
            self._close(ended=False)  # where nothing is under way, nothing else says so
        elif self._looking:
            self._read_status()
            self._next_status = asyncio.get_running_loop().call_later(_STATUS_INTERVAL_S, self._tick)

    def _read_status(self) -> None:
        """Read which ids cannot be followed, and what the day has left."""
        for activity_id, error in self._watch.errors.items() if self._watch else ():
            if activity_id in self._unfinished:
                del self._unfinished[activity_id]
                self._feed.fail(activity_id, _explain(error))
                if not self._unfinished:
                    self._added.put_nowait(None)  # ends the watch
        quota, stats = self._session.quota, self._session.stats
        per_finished, resets_at = stats.requests_per_finished, quota.resets_at
        self._feed.set_status(
            {
                "spent": _number(quota.spent),
                "left": _number(quota.remaining),
                "resets_at": resets_at and resets_at.isoformat(),
                "price": _number(stats.price),
                "per_finished": per_finished and _number(per_finished),
                "problem": self._problem,
            }
        )
        self._publish_soon()

    def _publish_soon(self) -> None:
        """Wake all viewers, a quarter of a second after the last time at the earliest."""
        if self._viewers and self._next_publication is None and self._feed.position != self._published_position:
            loop = asyncio.get_running_loop()
            when = max(loop.time(), self._published_at + _PUBLISH_INTERVAL_S)
            self._next_publication = loop.call_at(when, self._publish)

    def _publish(self) -> None:
        self._next_publication, self._published_at = None, asyncio.get_running_loop().time()
        self._published_position = self._feed.position
        self._publications += 1
        self._published.set()
        self._published = asyncio.Event()

    # --- watching ---------------------------------------------------------------------------------------------------

    def _start_watching(self) -> None:
        """Watch what has not ended, closely while somebody looks; the watch that ran before ends."""
        self._begun = True
        if self.closed or not self._unfinished:
            return
        before = self._watching
        if before is not None:
            before.cancel()
        # In a context of its own: the first viewer's request is over before the watch is.
        loop = asyncio.get_running_loop()
        self._watching = loop.create_task(self._watch_on(before), context=Context())

    def _start_listing(self) -> None:
        if self._all and self._looking and (self._listing is None or self._listing.done()):
            self._listing = asyncio.get_running_loop().create_task(self._list_on(), context=Context())

    async def _watch_on(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        max_staleness = _MAX_STALENESS_S if self._looking else None
        while self._unfinished:
            self._added = asyncio.Queue()
            for activity_id in self._unfinished:
                self._added.put_nowait(activity_id)
            try:
                async with self._session.watch_many(_endless(self._added), max_staleness=max_staleness) as self._watch:
                    async for activity in self._watch:
                        self._take(activity)
                        if not self._unfinished:
                            break
            except BatchError:
                pass  # what cannot be followed is in `errors`
            except SessionClosedError:
                self._close(ended=False)
                return
            except Exception as error:  # noqa: BLE001 -- a user's token source may raise anything
                self._report("Watching has stopped", error)
                await asyncio.sleep(_RETRY_INTERVAL_S)

    def _take(self, activity: Activity) -> None:
        self._problem = None
        self._feed.put(activity)
        if activity.done:
            self._unfinished.pop(activity.activity_id, None)
        self._publish_soon()

    async def _list_on(self) -> None:
        """Read the list again and again, and follow what is new in it."""
        while True:
            listed = set()
            try:
                async for activity in self._session.list_activities(page_size=_PAGE_SIZE):
                    listed.add(activity.activity_id)
                    if activity.activity_id not in self._listed and activity.activity_id not in self._unfinished:
                        self.follow(activity)
                self._listed, self._problem = listed, None
            except SessionClosedError:
                self._close(ended=False)
                return
            except Exception as error:  # noqa: BLE001 -- the same
                self._report("The list of activities cannot be read", error)
            await asyncio.sleep(_LIST_INTERVAL_S * max(1, math.ceil(len(listed) / _PAGE_SIZE)))

    def _report(self, what: str, error: Exception) -> None:
        """Show what concerns all rows; of an error that is not the library's, only its name, and the rest is logged."""
        ours = isinstance(error, CCActivityError)
        problem = f"{what}: {error if ours else type(error).__name__}."
        if problem != self._problem and not ours:
            _log.error("%s", problem, exc_info=error)
        self._problem = problem

    def _close(self, *, ended: bool) -> None:
        """End all streams. `ended`: tell viewers that there will never be more."""
        self.closed, self._ended, self._looking = True, ended, False
        for waiting in (self._looking_ends, self._next_status, self._next_publication, self._watching, self._listing):
            if waiting is not None and waiting is not asyncio.current_task():
                waiting.cancel()
        self._publish()


@attrs.define
class Viewer:
    """One who looks at a board. `position`: what they have got, None for nothing; `publications`: up to this one."""

    position: Position | None
    publications: int = -1


def _id_of(one: str | Activity) -> str:
    activity_id = one if isinstance(one, str) else getattr(one, "activity_id", None)
    if not isinstance(activity_id, str):
        raise TypeError(f"follow an id, an Activity or many of them, not {type(one).__name__}")
    return activity_id


def _explain(error: CCActivityError) -> str:
    if isinstance(error, NotFoundError | ActivityExpiredError):
        return "There is no such activity, or it is older than the ten days for which the vendor keeps one."
    return str(error)


def _number(value: float) -> float | None:
    """A number as JSON has it, without needless places."""
    return None if math.isinf(value) else int(value) if value == int(value) else round(value, 1)


async def _endless(ids: asyncio.Queue[str | None]) -> AsyncGenerator[str]:
    """Give ids as they are followed, until None."""
    while (activity_id := await ids.get()) is not None:
        yield activity_id
