"""The limiter of a fleet: every permit comes from the engine, where all processes of one key queue.

1. A process has at most one ticket for single calls and one for the background at the engine; whoever else waits here
   waits in this process. So a process with a thousand calls does not starve one with a single call.
2. The engine is asked by tasks of its own, which no user can cancel. A permit whose asker is gone is refunded.
3. A permit is good for a tenth of a second from the moment before the engine was asked: what was held up longer, here
   or on the way, is refunded and asked for again. An engine that did not answer may have granted, so the ticket is
   never used again.
4. What became of a permit is told later, in order, and nobody waits for it: if it is lost, a request counts as sent.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import attrs

from .._emitter import Emitter
from .._tasks import finish, spawn
from ..errors import QuotaExceededError
from ..ratelimit.limiter import (
    PERMIT_MAX_AGE_S,
    Limiter,
    Permit,
    PermitResult,
    quota_exceeded_error,
    reset_jitter,
)
from ..ratelimit.quota import Budget, until_midnight
from .engine import AcquireReply, AcquireStatus, Engine, EngineError, PermitRequest
from .link import Link

__all__ = ["FleetLimiter"]

_NEW_DAY_RECHECK_S: Final = 300.0  # of whoever waits for a new day: the engine's clock may be set
_CLOSE_TIMEOUT_S: Final = 1.0  # for what is still to be told
_MAX_VERDICTS: Final = 1_000  # kept while the engine is away


@attrs.define(eq=False)
class _Waiter:
    """Somebody who waits since the loop time `since`. `waited`: the permit does not come at once."""

    permit: asyncio.Future[Permit]
    since: float
    waited: bool = False


class FleetLimiter(Limiter):
    """Grants what the engine grants.

    `token`: of the lease, for the background. `on_fenced`: called when it is no longer that of the last take-over; what
    waits in the background is then left to whoever stops polling.
    """

    def __init__(
        self, engine: Engine, link: Link, on_fenced: Callable[[], None], emitter: Emitter | None = None
    ) -> None:
        self.token: int = 0
        self._emitter = emitter or Emitter()
        self._engine = engine
        self._link = link
        self._on_fenced = on_fenced
        self._numbers = itertools.count(1)
        self._queues: dict[bool, deque[_Waiter]] = {False: deque(), True: deque()}
        self._askers: dict[bool, asyncio.Task[None]] = {}
        self._verdicts: deque[Callable[[], Coroutine[Any, Any, None]]] = deque(maxlen=_MAX_VERDICTS)
        self._teller: asyncio.Task[None] | None = None
        self._reopens_at = datetime.fromtimestamp(0, UTC)
        self._patience: asyncio.TimerHandle | None = None
        link.on_change.append(self._check_patience)

    async def acquire(self, *, background: bool) -> Permit:
        loop, queue = asyncio.get_running_loop(), self._queues[background]
        waiter = _Waiter(loop.create_future(), loop.time(), waited=bool(queue))
        queue.append(waiter)
        asker = self._askers.get(background)
        if asker is None or asker.done():
            self._askers[background] = spawn(self._ask(queue, background=background))
        if self._link.away_since is not None:
            self._check_patience()
        try:
            return await waiter.permit
        except asyncio.CancelledError:
            if waiter.permit.done() and not waiter.permit.cancelled() and waiter.permit.exception() is None:
                waiter.permit.result().close()  # it came in the very moment of the cancellation
            raise
        finally:
            if waiter in queue:
                queue.remove(waiter)

    def budget(self) -> Budget:
        return self._engine.ledger.budget(asyncio.get_running_loop().time())

    def quota_exceeded_error(self) -> QuotaExceededError:
        return quota_exceeded_error(self._reopens_at)

    async def aclose(self) -> None:
        """Tell what is still to be told, in a bounded time, and ask no more."""
        if self._patience is not None:
            self._patience.cancel()
        await finish([*self._askers.values(), *([self._teller] if self._teller else [])], _CLOSE_TIMEOUT_S)

    # --- asking -----------------------------------------------------------------------------------------------------

    async def _ask(self, queue: deque[_Waiter], *, background: bool) -> None:
        """Get one permit after the other, as long as somebody waits."""
        loop = asyncio.get_running_loop()
        request: PermitRequest | None = None
        began = loop.time()
        while queue:
            await self._link.up.wait()
            if request is None:
                ticket = f"{'b' if background else 'f'}:{self._engine.member}:{next(self._numbers)}"
                request = PermitRequest(ticket, background, self.token)
            asked = loop.time()
            try:
                reply = await self._engine.acquire(attrs.evolve(request, waited=asked - began))
            except EngineError as error:
                request = None  # it may have been granted: then it is spent
                self._link.lost(error)
                continue
            if reply.status is AcquireStatus.WAIT:
                self._wait_on(queue)
                await asyncio.sleep(reply.wait)
            elif reply.status is AcquireStatus.GRANTED:
                if self._hand_over(request, reply, asked, queue):
                    began = loop.time()
                request = None
            elif reply.status is AcquireStatus.FENCED:
                self._on_fenced()
                return
            else:
                self._reopens_at = self._engine.ledger.time_in(reply.wait)
                if self._emitter.hooks:
                    self._emitter.pause("quota_exceeded", loop.time(), loop.time() + reply.wait)
                if not background:
                    self._fail(queue, self.quota_exceeded_error)
                    return
                self._wait_on(queue)
                await asyncio.sleep(min(reply.wait, _NEW_DAY_RECHECK_S))

    def _wait_on(self, queue: deque[_Waiter]) -> None:
        for waiter in queue:
            waiter.waited = True

    def _hand_over(self, request: PermitRequest, reply: AcquireReply, asked: float, queue: deque[_Waiter]) -> bool:
        """Give a permit to whoever has waited longest; refund it, if it is too old or nobody is left."""
        settle = partial(self._settle, request, reply.granted_at)
        permit = Permit(settle, asked + PERMIT_MAX_AGE_S, waited=True)
        while queue and (now := asyncio.get_running_loop().time()) <= permit.expires_at:
            waiter = queue.popleft()
            if not waiter.permit.done():
                permit.waited, permit.queued = waiter.waited, now - waiter.since
                if self._emitter.cause:
                    self._emitter.resume(now, background=request.background)
                waiter.permit.set_result(permit)
                return True
        permit.close()
        self._wait_on(queue)
        return False

    def _fail(self, queue: deque[_Waiter], make_error: Callable[[], Exception]) -> None:
        while queue:
            waiter = queue.popleft()
            if not waiter.permit.done():
                waiter.permit.set_exception(make_error())

    def _check_patience(self) -> None:
        """Fail those who have waited long enough for an engine that is away, and look again for the next."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        loop, queue = asyncio.get_running_loop(), self._queues[False]
        if self._link.away_since is None:
            return
        while queue and self._link.gives_up_at(queue[0].since) <= loop.time():
            self._fail(deque([queue.popleft()]), self._link.unavailable_error)
        if queue:
            self._patience = loop.call_at(self._link.gives_up_at(queue[0].since), self._check_patience)

    # --- what became of it ------------------------------------------------------------------------------------------

    def _settle(
        self,
        request: PermitRequest,
        granted_at: int,
        result: PermitResult,
        pause: float,
        server_time: datetime | None,
    ) -> None:
        seconds = pause
        if result is PermitResult.QUOTA_EXCEEDED:
            seconds = -1.0 if server_time is None else until_midnight(server_time)
            ours = until_midnight(self._engine.ledger.time_in(0.0))
            closed_for = ours if seconds < 0 else seconds
            self._reopens_at = self._engine.ledger.time_in(closed_for)
            if self._emitter.hooks:
                now = asyncio.get_running_loop().time()
                self._emitter.pause("quota_exceeded", now, now + closed_for)
        self._verdicts.append(partial(self._engine.settle, request, granted_at, result, seconds, reset_jitter()))
        if self._teller is None or self._teller.done():
            self._teller = spawn(self._tell())

    async def _tell(self) -> None:
        while self._verdicts:
            await self._link.up.wait()
            try:
                await self._verdicts.popleft()()
            except EngineError as error:
                self._link.lost(error)
