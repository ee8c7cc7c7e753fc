"""The publisher: polls for the whole fleet, while this process has the lease, and tells everyone what was seen.

To the poller it is the hub; its subscribers are the processes, each with what it watches.

A take-over begins with a walk of the list, as if nothing had been seen: its pages show where each id is. Without that,
each would be asked for by itself, six requests more a take-over. What others have seen serves to tell what is new.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import Callable, Iterable
from typing import Final

from ..api.decoding import Decoder
from ..errors import ActivityExpiredError, CCActivityError, DecodeError, NotFoundError
from ..models import Activity
from ..polling.hub import Hub, ResumePoint, strictest
from ..polling.poller import Poller
from .engine import MAX_IDS_A_CALL, Engine, Look, NewsItem, Taken
from .ledger import MICROSECONDS
from .wire import Wish, error_to_text, snapshot_from_text, snapshot_to_text

__all__ = ["Publisher"]

_log: Final = logging.getLogger("ccactivity")
_MEMO_INTERVAL_S: Final = 5.0


class Publisher(Hub):
    """Polls what the processes of a fleet watch. `token`: of the take-over that it belongs to.

    `looks`: what is to be published, the last of each id; `changed`: set when there is more. `on_abort`: called with
    what ends all polling of this process, such as a dead token.
    """

    def __init__(
        self,
        token: int,
        engine: Engine,
        *,
        decoder: Decoder,
        make_poller: Callable[[Hub], Poller],
        changed: asyncio.Event,
        on_abort: Callable[[Exception], None],
    ) -> None:
        super().__init__()
        self.token = token
        self.looks: dict[str, Look] = {}
        self._engine = engine
        self._decoder = decoder
        self._changed = changed
        self._on_abort = on_abort
        self._wishes: dict[str, dict[str, Wish]] = {}  # of what is polled: by id, then by member
        self._early: list[NewsItem] | None = []  # that came before all was taken
        self._stopped = False
        self._memo_at = -math.inf
        self._lists_enabled = True
        self._told: dict[str, Activity] = {}  # of what has not been seen here yet: the last that the fleet was told
        self.poller: Poller = make_poller(self)

    def count(self, ids: Iterable[str]) -> int:
        """How many processes watch these, once for each id."""
        return sum(len(self._wishes.get(activity_id, ())) for activity_id in ids)

    # --- beginning and end ------------------------------------------------------------------------------------------

    async def take_over(self) -> bool:
        """Begin to poll what is watched. False if another process polls by now; EngineError."""
        taken = await self._engine.take(self.token)
        if taken is None:
            return False
        self._read_memo(taken.memo)
        ids = list(dict.fromkeys(activity_id for watches in taken.watches.values() for activity_id in watches))
        for place in range(0, len(ids), MAX_IDS_A_CALL):
            some = ids[place : place + MAX_IDS_A_CALL]
            known = await self._engine.snapshots(some)
            if self._stopped:
                return True
            for activity_id in some:
                self._begin(activity_id, taken, known.get(activity_id, ""))
        if self._stopped:
            return True
        early, self._early = self._early or [], None
        for item in early:
            if item.place.number > taken.place.number:
                self.on_news(item)
        return True

    def _begin(self, activity_id: str, taken: Taken, known: str) -> None:
        if known[:1] == "t":
            return
        resume_from = ResumePoint()
        if known:
            try:
                seen_at, activity = snapshot_from_text(known[1:], activity_id, self._decoder)
            except (DecodeError, ValueError):
                _log.debug("a snapshot of %s cannot be read, it is looked at again", activity_id)  # of a later version
            else:
                if self._lists_enabled:
                    self._told[activity_id] = activity  # a page shows where all are, for less than a look at each
                else:
                    resume_from = ResumePoint(activity, self._loop_time(seen_at))
        for member, watches in taken.watches.items():
            if activity_id in watches:
                self._want(member, activity_id, Wish.from_text(watches[activity_id]), resume_from)

    def _loop_time(self, engine_time: int) -> float:
        now = asyncio.get_running_loop().time()
        return now - max(0, self._engine.ledger.engine_time(now) - engine_time) / MICROSECONDS

    def stop(self) -> None:
        """Poll nothing any more."""
        self._stopped = True
        for activity_id in tuple(self._wishes):
            self.poller.remove(activity_id)
        self._wishes.clear()

    # --- what the processes want ------------------------------------------------------------------------------------

    def on_news(self, item: NewsItem) -> None:
        """A process watches something, or no longer."""
        if self._early is not None:
            self._early.append(item)
        elif item.kind == "watch":
            for activity_id, text in json.loads(item.data).items():
                self._want(item.member, activity_id, Wish.from_text(text), ResumePoint())
        elif item.kind == "drop":
            for activity_id in json.loads(item.data):
                self._unwant(item.member, activity_id)
        elif item.kind == "gone":
            for activity_id in [each for each, wishes in self._wishes.items() if item.member in wishes]:
                self._unwant(item.member, activity_id)
        elif item.kind == "hurry":
            for activity_id in json.loads(item.data):
                if activity_id in self._wishes:
                    self.poller.prioritize(activity_id)

    def _want(self, member: str, activity_id: str, wish: Wish, resume_from: ResumePoint) -> None:
        self._wishes.setdefault(activity_id, {})[member] = wish
        self.poller.add(activity_id, grace=wish.grace, max_staleness=wish.max_staleness, resume_from=resume_from)
        self._set_max_staleness(activity_id)  # a process may want less than it did

    def _unwant(self, member: str, activity_id: str) -> None:
        wishes = self._wishes.get(activity_id, {})
        if wishes.pop(member, None) is None:
            return
        if wishes:
            self._set_max_staleness(activity_id)
        else:
            self._wishes.pop(activity_id, None)
            self._told.pop(activity_id, None)
            self.poller.remove(activity_id)
            self._tell(Look("r", activity_id))

    def _set_max_staleness(self, activity_id: str) -> None:
        wanted = strictest(wish.max_staleness for wish in self._wishes[activity_id].values())
        self.poller.set_max_staleness(activity_id, wanted)

    # --- for the poller ---------------------------------------------------------------------------------------------

    def publish(self, activity: Activity, *, changed: bool, final: bool) -> None:
        activity_id = activity.activity_id
        each_look = any(wish.every_poll for wish in self._wishes[activity_id].values())
        told = self._told.get(activity_id)
        if told is not None and activity.older_than(told) and not final:
            return
        self._told.pop(activity_id, None)
        changed = changed if told is None else activity.changed_from(told)
        if final:
            self._wishes.pop(activity_id, None)
        if changed or final or each_look:
            self._tell(self._look_at(activity, asyncio.get_running_loop().time()))

    def fail(self, activity_id: str, error: CCActivityError) -> None:
        self._wishes.pop(activity_id, None)
        told = self._told.pop(activity_id, None)
        if told is not None and isinstance(error, NotFoundError):
            error = ActivityExpiredError(told)
        self._tell(Look("l", activity_id, error_to_text(error)))

    def abort(self, error: Exception) -> None:
        self.stop()
        self._on_abort(error)

    def tell_again(self) -> None:
        """The engine has lost the snapshots: tell the last one of each activity."""
        self._told.clear()
        for activity_id in self._wishes:
            known = self.poller.resume_point(activity_id)
            if known.activity is not None:
                self._tell(self._look_at(known.activity, known.looked_at))

    def _look_at(self, activity: Activity, looked_at: float) -> Look:
        text = snapshot_to_text(activity, self._engine.ledger.engine_time(looked_at))
        return Look("t" if activity.done else "a", activity.activity_id, text)

    def _tell(self, look: Look) -> None:
        self.looks.pop(look.activity_id, None)
        self.looks[look.activity_id] = look
        self._changed.set()

    def _next_memo(self) -> str:
        """What was learned of the account; empty if it was told a moment ago."""
        now = asyncio.get_running_loop().time()
        if now - self._memo_at < _MEMO_INTERVAL_S:
            return ""
        self._memo_at = now
        return json.dumps(self.poller.to_memo())

    def _read_memo(self, text: str) -> None:
        """Go on from what the last poller had learned; not from what another version of this library wrote."""
        if text:
            try:
                memo = json.loads(text)
                self.poller.resume(memo)
                self._lists_enabled = memo["lists_enabled"]
            except (ValueError, TypeError, KeyError):
                _log.debug("a memo that cannot be read")

    async def tell(self, *, last: bool = False) -> bool:
        """Publish what was seen. False if something was refused, because another process polls now; EngineError.

        `last`: this process polls no more, so what it has learned is told in any case.
        """
        accepted, due = True, last
        if last:
            self._memo_at = -math.inf
        while self.looks or due:
            some = list(self.looks.values())[:MAX_IDS_A_CALL]
            accepted = await self._engine.publish(self.token, self._next_memo(), some) and accepted
            due = False
            for look in some:
                if self.looks.get(look.activity_id) is look:
                    del self.looks[look.activity_id]
        return accepted
