"""The member: one session's part in a fleet. It beats, reads the news, tells what it watches, and polls with the lease.

1. Three tasks call the engine, one for each of these; none of them can be cancelled by a user. While the engine is away
   only the beat goes on asking, so the first call after an outage is a beat.
2. Level-triggered: after an outage, a gap in the news or a new epoch of the engine everything is registered again, and
   that reads each snapshot that there is. News may be lost, a state cannot.
3. What polls is made anew with each take-over, from what the engine holds and the processes repeat.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from .._emitter import Emitter
from .._tasks import finish, spawn, wait_until_set
from ..api.decoding import Decoder
from ..membership import FleetStats, Membership
from ..polling.hub import Hub
from ..polling.poller import Poller
from ..ratelimit.limiter import Limiter
from .engine import Engine, EngineError, NewsItem, Place
from .lease import BeatReply, Lease
from .limiter import FleetLimiter
from .link import Link
from .publisher import Publisher
from .registry import Registry

__all__ = ["Member"]

_log: Final = logging.getLogger("ccactivity")
_CLOSE_TIMEOUT_S: Final = 1.0  # to tell an engine that this process leaves
_NOBODY_POLLS_S: Final = 10.0  # then somebody should know
_SLOW_ANSWER_S: Final = 0.1  # after which a permit is of no use
_SLOW_FOR_S: Final = 10.0  # then somebody should know


class Member(Membership):
    """See `Membership`. `lease`: its rules and what is known of it, but for its member, which is named at first use."""

    def __init__(
        self,
        engine: Engine,
        link: Link,
        lease: Lease,
        decoder: Decoder,
        make_poller: Callable[[Hub], Poller],
        *,
        emitter: Emitter,
    ) -> None:
        self._engine = engine
        self._link = link
        self._lease = lease
        self._decoder = decoder
        self._make_poller = make_poller
        self._registry = Registry(engine, decoder)
        self._limiter = FleetLimiter(engine, link, self._fenced, emitter)
        self.hub: Hub = self._registry.hub
        self.limiter: Limiter = self._limiter
        self._publisher: Publisher | None = None
        self._taking: set[asyncio.Task[None]] = set()
        self._calls: deque[Callable[[], Awaitable[None]]] = deque()
        self._tasks: list[asyncio.Task[None]] = []
        self._beat_now = asyncio.Event()
        self._gives_up: asyncio.TimerHandle | None = None
        self._place: Place | None = None  # in the news; None: to be found out
        self._epoch = 0
        self._behind_at = -1  # the place at the last beat, if there was more news than that
        self._nobody_since: float | None = None
        self._slow_since: float | None = None
        self._warned_of: set[str] = set()
        self._closed = False
        self._over = False  # a cancellation may be lost in a library that waits for an answer
        link.on_change.append(self._link_changed)

    # --- for the session --------------------------------------------------------------------------------------------

    @property
    def finished(self) -> int:
        """Activities whose end was told to this process."""
        return self._registry.finished

    @property
    def price(self) -> float:
        """Seconds of lag that a request is worth to this process, if it polls."""
        return (self._publisher.poller if self._publisher else self._make_poller(Hub())).price

    @property
    def stats(self) -> FleetStats:
        """The fleet as of the last beat."""
        away, last = self._link.away_since, self._lease.last
        return FleetStats(
            connected=away is None and not self._closed,
            members=0 if last is None else last.members,
            polling=self._lease.polling,
            poller="" if last is None else last.holder,
            watching=len(self._registry),
            spent=self._engine.ledger.spent,
            outage=0.0 if away is None else asyncio.get_running_loop().time() - away,
        )

    def start(self) -> None:
        """Connect, and begin to beat; once."""
        if not self._tasks and not self._closed:
            self._lease.member = self._engine.member
            self._link.start()
            self._tasks = [spawn(self._beat_on()), spawn(self._read_on()), spawn(self._tell_on())]

    async def aclose(self) -> None:
        """Leave the fleet. Closing twice is no error."""
        if not self._closed:
            self._closed = True
            if self._tasks:
                await asyncio.shield(spawn(self._leave()))

    async def _leave(self) -> None:
        publisher, token = self._publisher, self._lease.token
        self._stop_polling()
        if publisher is not None:
            await publisher.poller.settled()
        if self._gives_up is not None:
            self._gives_up.cancel()
        self._link.close()
        await self._limiter.aclose()
        if self._link.away_since is None:
            await finish([spawn(self._say_goodbye(publisher, token))], _CLOSE_TIMEOUT_S)
        self._over = True
        for task in (tasks := [*self._tasks, *self._taking]):
            task.cancel()
        await asyncio.wait(tasks, timeout=_CLOSE_TIMEOUT_S)
        await self._engine.aclose()

    async def _say_goodbye(self, publisher: Publisher | None, token: int) -> None:
        try:
            if publisher is not None:
                await publisher.tell(last=True)
            await self._engine.release(token, leave=True)
        except EngineError as error:
            _log.debug("the fleet was left without a word: %s", error)

    # --- the beat ---------------------------------------------------------------------------------------------------

    async def _beat_on(self) -> None:
        while not self._over:
            self._beat_now.clear()
            delay = await self._beat()
            await wait_until_set(self._beat_now, delay)

    async def _beat(self) -> float:
        loop, lease = asyncio.get_running_loop(), self._lease
        sent_at = loop.time()
        try:
            reply = await self._engine.beat(
                candidate=lease.is_candidate(sent_at) and not self._closed, token=lease.seen, lease=lease.length
            )
        except EngineError as error:
            delay = lease.failed(loop.time(), random.random())
            self._link.lost(error)
            self._check_lease()
            return delay
        self._check_latency(sent_at, loop.time())
        delay = lease.answered(reply, sent_at, loop.time())
        self._link.found()
        self._check_lease()
        if not self._closed:
            self._compare(reply, loop.time())
        return delay

    def _link_changed(self) -> None:
        if self._link.away_since is not None:
            self._place = None
            self._beat_now.set()

    def _compare(self, reply: BeatReply, now: float) -> None:
        """Begin again, if the engine knows less than it was told, or more than was read here."""
        state = self._engine.ledger.state
        assert state is not None
        registered = self._registry.registered
        place = -1 if self._place is None else self._place.number
        behind = self._place is not None and (reply.news < place or place == self._behind_at)
        self._behind_at = place if reply.news > place else -1
        self._epoch = self._epoch or state.epoch
        if state.epoch != self._epoch or (registered is not None and registered != reply.registered) or behind:
            _log.debug("everything is registered again: epoch %d, %d registered", state.epoch, reply.registered)
            self._epoch, self._place, self._behind_at = state.epoch, None, -1
            self._registry.begin_again()
        if self._publisher is not None:
            if reply.gone:
                self._reap(reply.gone)
            if not reply.snapshots:
                self._publisher.tell_again()
        self._warn_of_others(reply, now)

    def _warn_of_others(self, reply: BeatReply, now: float) -> None:
        if reply.limits != self._engine.ledger.limits and reply.holder not in ("", self._lease.member):
            self._warn("the fleet keeps to %s of who polls, not to the limits of this process", reply.limits)
        self._nobody_since = None if reply.holder else now if self._nobody_since is None else self._nobody_since
        if self._nobody_since is not None and now - self._nobody_since >= _NOBODY_POLLS_S and len(self._registry):
            self._warn("no process of the fleet may poll, so its watches learn nothing")

    def _check_latency(self, sent_at: float, now: float) -> None:
        if now - sent_at <= _SLOW_ANSWER_S:
            self._slow_since = None
        elif self._slow_since is None:
            self._slow_since = sent_at
        elif now - self._slow_since >= _SLOW_FOR_S:
            text = "the fleet's engine at %s takes %.2f s for an answer; what comes after %.1f s is of no use"
            self._warn(text, self._link.name, now - sent_at, _SLOW_ANSWER_S)

    def _warn(self, text: str, *values: object) -> None:
        if text not in self._warned_of:
            self._warned_of.add(text)
            _log.warning(text, *values)

    # --- polling ----------------------------------------------------------------------------------------------------

    def _check_lease(self) -> None:
        """Start or stop to poll, as the lease says, and look again when it runs out."""
        lease = self._lease
        lease.expire(asyncio.get_running_loop().time())
        publisher = self._publisher
        if publisher is not None and publisher.token != lease.token:
            self._stop_polling()
        if lease.polling and self._publisher is None and not self._closed:
            self._start_polling(lease.token)
        if self._gives_up is not None:
            self._gives_up.cancel()
            self._gives_up = None
        if lease.polling:
            self._gives_up = asyncio.get_running_loop().call_at(lease.gives_up_at(), self._check_lease)

    def _start_polling(self, token: int) -> None:
        _log.debug("this process polls for the fleet, take-over %d", token)
        self._limiter.token = token
        publisher = Publisher(
            token,
            self._engine,
            decoder=self._decoder,
            make_poller=self._make_poller,
            changed=self._registry.changed,
            on_abort=self._cannot_poll,
        )
        self._publisher = publisher
        task = spawn(self._take_over(publisher))
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)

    async def _take_over(self, publisher: Publisher) -> None:
        try:
            taken = await publisher.take_over()
        except EngineError as error:
            self._link.lost(error)
            taken = False
        if not taken and self._publisher is publisher:
            self._fenced()

    def _stop_polling(self) -> None:
        publisher, self._publisher = self._publisher, None
        self._limiter.token = 0
        if publisher is not None:
            _log.debug("this process polls no more, take-over %d", publisher.token)
            publisher.stop()

    def _fenced(self) -> None:
        """Another process polls by now, or the engine has forgotten who does."""
        self._lease.lost()
        self._stop_polling()
        self._beat_now.set()

    def _cannot_poll(self, error: Exception) -> None:
        """What ends all polling here, such as a dead token, is not the others' business: one of them takes over."""
        token = self._lease.token
        self._lease.bar(asyncio.get_running_loop().time())
        self._stop_polling()
        self._call(lambda: self._engine.release(token, leave=False))
        self.hub.abort(error)

    def _reap(self, gone: list[str]) -> None:
        token = self._lease.token
        self._call(lambda: self._engine.reap(token, gone))

    def _call(self, call: Callable[[], Awaitable[None]]) -> None:
        self._calls.append(call)
        self._registry.changed.set()

    # --- what is told, and what is read -----------------------------------------------------------------------------

    async def _tell_on(self) -> None:
        while not self._over:
            await self._link.up.wait()
            self._registry.changed.clear()
            try:
                await self._tell()
            except EngineError as error:
                self._link.lost(error)
                continue
            # Asked here as well, since a cancellation may be lost while the client of the engine cleans up.
            if not self._over:
                await self._registry.changed.wait()

    async def _tell(self) -> None:
        while self._calls:
            await self._calls.popleft()()
        publisher = self._publisher
        if publisher is not None and not await publisher.tell() and publisher is self._publisher:
            self._fenced()
        await self._registry.tell()

    async def _read_on(self) -> None:
        while not self._over:
            await self._link.up.wait()
            try:
                if self._place is None:
                    self._place, held = await self._engine.begin()
                    self._registry.begin_again(held)
                    self._begin_polling_again()
                place = self._place
                items = await self._engine.news(place)
            except EngineError as error:
                self._link.lost(error)
                continue
            for item in items:
                if self._place is not place:
                    break  # what is read here does not follow it
                place = self._read(item, place)

    def _read(self, item: NewsItem, place: Place) -> Place:
        if item.place.number != place.number + 1:
            _log.debug("news from %d to %d was missed", place.number + 1, item.place.number - 1)
            self._place = None
            return place
        self._place = item.place
        if item.kind in ("a", "t"):
            activity_id, text = json.loads(item.data)
            self._registry.on_snapshot(activity_id, text)
        elif item.kind == "l":
            self._registry.on_lost(*json.loads(item.data))
        elif item.kind == "vacant":
            self._beat_now.set()
        elif self._publisher is not None:
            self._publisher.on_news(item)
        return item.place

    def _begin_polling_again(self) -> None:
        """What the processes want may have changed unheard."""
        if self._publisher is not None:
            self._stop_polling()
            self._check_lease()
