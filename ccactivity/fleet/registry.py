"""The registry: what this process watches, kept equal to what the engine knows of it; and what comes back.

What is wanted here is the truth, and is compared with what was registered whenever an id changes: so it does not matter
which calls were answered. An engine that has forgotten is told everything again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Iterable
from typing import Final

import attrs

from ..api.decoding import Decoder
from ..errors import DecodeError
from ..models import Activity
from ..polling.hub import ActivitySource, Hub, ResumePoint, SnapshotQueue
from .engine import MAX_IDS_A_CALL, Engine
from .wire import Wish, error_from_text, snapshot_from_text

__all__ = ["FleetHub", "Registry"]

_log: Final = logging.getLogger("ccactivity")


class FleetHub(Hub):
    """The hub of a session that is part of a fleet."""

    def __init__(self, registry: Registry) -> None:
        super().__init__()
        self._registry = registry
        self.connect(registry)

    def subscribe(self, queue: SnapshotQueue, activity_id: str) -> None:
        super().subscribe(queue, activity_id)
        if queue.every_poll:
            self._registry.want_each_look(activity_id)


@attrs.define(eq=False)
class _Watched:
    """An id that is watched here. `seen_at`: of the last snapshot, in microseconds of the engine's clock."""

    wish: Wish
    last: Activity | None
    seen_at: int = 0


class Registry(ActivitySource):
    """What this process watches. `finished`: activities whose end was told to it. `changed`: there is work for `tell`.

    `hub`: is told what comes back.
    """

    def __init__(self, engine: Engine, decoder: Decoder) -> None:
        self.finished: int = 0
        self.changed: asyncio.Event = asyncio.Event()
        self.hub: Hub = FleetHub(self)
        self._engine = engine
        self._decoder = decoder
        self._watched: dict[str, _Watched] = {}
        self._registered: dict[str, Wish | None] = {}  # None: perhaps, or otherwise
        self._unsettled: dict[str, None] = {}  # ids that may be registered otherwise than they are watched
        self._ended: dict[str, None] = {}  # ids that the engine need not tell to whoever polls
        self._urgent: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._watched)

    @property
    def registered(self) -> int | None:
        """How many ids the engine should know; None while it is being told."""
        return None if self._unsettled or self._ended else len(self._registered)

    # --- for the hub ------------------------------------------------------------------------------------------------

    def add(
        self, activity_id: str, *, grace: float, max_staleness: float | None, resume_from: ResumePoint
    ) -> Activity | None:
        watched = self._watched.get(activity_id)
        if watched is None:
            watched = self._watched[activity_id] = _Watched(Wish(grace, max_staleness), resume_from.activity)
        else:
            strictest = min(watched.wish.max_staleness or math.inf, max_staleness or math.inf)
            watched.wish = Wish(
                max(watched.wish.grace, grace),
                None if strictest == math.inf else strictest,
                watched.wish.every_poll,
            )
        self._settle(activity_id)
        return watched.last

    def want_each_look(self, activity_id: str) -> None:
        """Somebody wants to be told of each look, also of one that shows no change."""
        watched = self._watched[activity_id]
        watched.wish = attrs.evolve(watched.wish, every_poll=True)
        self._settle(activity_id)

    def remove(self, activity_id: str) -> None:
        del self._watched[activity_id]
        self._urgent.pop(activity_id, None)
        self._settle(activity_id)

    def resume_point(self, activity_id: str) -> ResumePoint:
        return ResumePoint(self._watched[activity_id].last)

    def prioritize(self, activity_id: str) -> None:
        if self._watched[activity_id].last is None:
            self._urgent[activity_id] = None
            self._settle(activity_id)

    async def settled(self) -> None:
        """Nothing is under way here: who polls is told."""

    def _settle(self, activity_id: str) -> None:
        self._unsettled[activity_id] = None
        self.changed.set()

    # --- for the engine ---------------------------------------------------------------------------------------------

    def begin_again(self, held: Iterable[str] = ()) -> None:
        """The engine may have forgotten, or news may have been missed: register everything, and read what there is.

        `held`: ids that the engine believes to be watched here, perhaps by old data; those that are not are dropped.
        """
        self._registered = dict.fromkeys((*self._registered, *held))
        self._unsettled = dict.fromkeys((*self._watched, *self._registered))
        self.changed.set()

    async def tell(self) -> None:
        """Tell the engine what has changed, until nothing has; EngineError."""
        while self._unsettled or self._ended:
            await self._drop_ended(list(self._ended)[:MAX_IDS_A_CALL])
            some = list(self._unsettled)[:MAX_IDS_A_CALL]
            await self._register(some)
            await self._drop([each for each in some if each not in self._watched and each in self._registered])
            for each in some:
                watched = self._watched.get(each)
                if self._registered.get(each) == (watched and watched.wish) and (
                    watched or each not in self._registered
                ):
                    self._unsettled.pop(each, None)
            if urgent := [each for each in self._urgent if each in self._registered]:
                await self._engine.post("hurry", json.dumps(urgent))
                for each in urgent:
                    self._urgent.pop(each, None)

    async def _register(self, ids: list[str]) -> None:
        watched = {each: self._watched[each].wish for each in ids if each in self._watched}
        wishes = {each: wish for each, wish in watched.items() if self._registered.get(each) != wish}
        if not wishes:
            return
        self._registered.update(dict.fromkeys(wishes))  # an engine that does not answer may have done it
        snapshots = await self._engine.watch({each: wish.to_text() for each, wish in wishes.items()})
        self._registered.update(wishes)
        for activity_id, text in snapshots.items():
            self.on_snapshot(activity_id, text[1:])

    async def _drop(self, ids: list[str]) -> None:
        if ids:
            await self._engine.drop(ids, ended=False)
            for each in ids:
                self._registered.pop(each, None)

    async def _drop_ended(self, ids: list[str]) -> None:
        ended = [each for each in ids if each not in self._watched]  # else it is registered once more
        if ended:
            await self._engine.drop(ended, ended=True)
        for each in ids:
            self._ended.pop(each, None)

    # --- what comes back --------------------------------------------------------------------------------------------

    def on_snapshot(self, activity_id: str, text: str) -> None:
        """Somebody has seen an activity."""
        watched = self._watched.get(activity_id)
        if watched is None:
            return
        try:
            seen_at, activity = snapshot_from_text(text, activity_id, self._decoder)
        except (DecodeError, ValueError):
            _log.debug("a snapshot of %s cannot be read", activity_id)  # of a later version of this library
            return
        last = watched.last
        if last is not None and not activity.done and (seen_at < watched.seen_at or activity.older_than(last)):
            return
        changed = last is None or activity.changed_from(last)
        watched.last, watched.seen_at = activity, seen_at
        self._urgent.pop(activity_id, None)
        if activity.done:
            self.finished += 1
            self._forget(activity_id)
        self.hub.publish(activity, changed=changed, final=activity.done)

    def on_lost(self, activity_id: str, text: str) -> None:
        """An activity cannot be followed any more."""
        watched = self._watched.get(activity_id)
        if watched is not None:
            self._forget(activity_id)
            self.hub.fail(activity_id, error_from_text(text, watched.last))

    def _forget(self, activity_id: str) -> None:
        del self._watched[activity_id]
        self._urgent.pop(activity_id, None)
        if activity_id in self._registered:
            del self._registered[activity_id]
            self._ended[activity_id] = None
        self.changed.set()
