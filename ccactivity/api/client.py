"""One question and its answer: token, gate and retry around bare exchanges; it knows nothing of activities.

1. **Every attempt pays.** A grant is taken before the HTTP library is entered, where its clock already runs, and is
   charged for each real send, also one that the library makes by itself. A grant with which nothing was sent goes back.
2. **There is one retry layer**, this one, and one judgement of a reply, `wire.judge`. Nothing above it asks again
   because an exchange failed. "Not done yet" is an answer, and no business of this module.
3. **Retries share a budget.** Each takes one of a few, which come back slowly and with every answer: an outage must not
   multiply the load on a vendor who is down.
4. **A refused token is told to its source once**, however many requests carried it, by a task of its own: a caller who
   is cancelled cannot take a refresh down with her.
5. **`throttled` is not a failure**: it pauses everyone, at the gate.

The decision for `backoff`: its decorator drives the loop, with our own generator of delays. Its `max_time` and
`max_tries` are not used, for the first reads the wall clock; nor its jitter, which goes below the delay that was asked
for; nor its logger, which prints arguments.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

import attrs
import backoff

from .._secret import Secret
from ..errors import CCActivityError, DecodeError, SessionClosedError, TransportError
from ..ratelimit.limiter import Gate
from ..ratelimit.quota import Grant, Quota
from ..tokens import TokenSource, check_given
from .messages import Reply, Request
from .outcome import Verdict, judge, refusal, retry_after, server_time
from .retry import Patience, Retry, Trouble
from .transport import Hopeless, Oversized, Transport

__all__ = ["Exchange"]

T = TypeVar("T")
_log: Final = logging.getLogger("ccactivity")
_FAREWELL: Final = 10.0
# Seconds for which a grant that was taken ahead is good; the quota's window is a tenth longer than the vendor's second.
_FRESH: Final = 0.1


class _Retryable(Exception):
    """An attempt that may be repeated; `error` is what the caller gets if it is not."""

    def __init__(self, trouble: Trouble, error: CCActivityError, call: _Call[Any], after: float = 0.0) -> None:
        super().__init__()
        self.trouble = trouble
        self.error = error
        self.call = call
        self.after = after


@attrs.define(eq=False)
class _Call(Generic[T]):
    """One question through all of its attempts."""

    request: Request
    read: Callable[[Reply], T]
    background: bool
    began: float
    grant: Grant | None
    troubles: dict[Trouble, int] = attrs.field(factory=dict)
    renewed: bool = False


@attrs.define(eq=False)
class _Sending:
    """One attempt's grant and token; each real send passes through `before_each_send`."""

    exchange: Exchange
    call: _Call[Any]
    grant: Grant
    sent: bool = False
    settled: bool = False
    token: Secret = attrs.field(default=Secret(), repr=False)

    async def before_each_send(self) -> str:
        exchange = self.exchange
        if self.sent:
            # The HTTP library sends again by itself, on a connection that turned out to be dead.
            exchange.quota.unanswered(self.grant, exchange.now())
            await self._again()
        while exchange.renewing:
            # Not with a token that is on its way out, and not with a grant that gets old meanwhile.
            exchange.quota.refund(self.grant)
            await self._again()
        self.token = Secret(check_given(await exchange.source.access_token()))
        self.sent = True
        exchange.sent[self.call.request.kind] += 1
        return Secret(f"Bearer {self.token}")

    async def _again(self) -> None:
        """Queue for another grant, the last one being accounted for."""
        self.settled = True
        await self.exchange.renewed()
        self.grant = await self.exchange.grant(background=self.call.background)
        self.settled, self.sent = False, False

    def settle(self) -> None:
        """Account for a grant that no verdict has accounted for."""
        if self.settled:
            return
        if self.sent:
            self.exchange.quota.unanswered(self.grant, self.exchange.now())
        else:
            self.exchange.quota.refund(self.grant)

    def hide(self, reply: Reply) -> Reply:
        """Take the token out of a body that is about to be quoted."""
        return attrs.evolve(reply, body=reply.body.replace(self.token.encode() or b"\0", b"(token)"))


class Exchange:
    """Asks questions of the vendor: `ask` for one, with `grant` to take a grant ahead of the decision what to ask."""

    def __init__(
        self,
        *,
        transport: Transport,
        source: TokenSource,
        quota: Quota,
        retry: Retry,
        now: Callable[[], datetime],
    ) -> None:
        self.source = source
        self.quota = quota
        self.now = now
        self.closed: bool = False
        # Requests that were sent, by their kind, with those that the HTTP library made by itself.
        self.sent: Counter[str] = Counter()
        self._transport = transport
        self._gate = Gate(quota, now)
        self._patience = Patience(retry)
        self._renewal: asyncio.Future[None] | None = None
        self._scopes: set[asyncio.Timeout] = set()
        # backoff's annotation does not know that a generator of delays is sent the exception.
        waits: Callable[..., Generator[float, Any, None]] = self._waits
        self._persist = backoff.on_exception(waits, _Retryable, jitter=None, logger=None)(self._attempt)

    async def aclose(self) -> None:
        """End every question under way with SessionClosedError and close the transport."""
        self.closed = True
        for scope in tuple(self._scopes):
            scope.reschedule(asyncio.get_running_loop().time())
        if self._renewal is not None:
            # A refresh gets its time: the token it brings may be the only one that is still good.
            await asyncio.wait([self._renewal], timeout=_FAREWELL)
        if self._renewal is not None:
            self._renewal.cancel()
        await self._transport.aclose()

    async def ask(
        self,
        request: Request,
        read: Callable[[Reply], T],
        *,
        background: bool = False,
        grant: Grant | None = None,
    ) -> T:
        """Ask until there is an answer that `read` understands, or no sense in asking again.

        `grant`: one that was taken before; it is used for the first attempt, or given back.
        """
        loop = asyncio.get_running_loop()
        call = _Call(request, read, background, loop.time(), grant)
        error: CCActivityError
        try:
            async with self._open():
                return await self._persist(call)
        except _Retryable as last:
            error = last.error
        finally:
            if call.grant is not None:
                self.quota.refund(call.grant)
        # Raised out here, so that it carries no trace of the retries.
        raise error

    async def grant(self, *, background: bool) -> Grant:
        """Wait for permission to send one request; in the foreground, QuotaExceededError rather than until tomorrow."""
        async with self._open():
            return await self._gate.grant(background=background)

    def _open(self) -> _Scope:
        if self.closed:
            raise SessionClosedError("the session is closed")
        return _Scope(self._scopes)

    # --- one attempt ------------------------------------------------------------------------------------------------

    async def _attempt(self, call: _Call[T]) -> T:
        # Asked for before queueing too, so that a refresh does not sit on a grant.
        if self.renewing:
            await self.renewed()
        await self.source.access_token()
        if call.grant is not None and asyncio.get_running_loop().time() - call.grant.at > _FRESH:
            # Others like it have waited for the token too, and would now be sent all at once.
            self.quota.refund(call.grant)
            call.grant = None
        grant, call.grant = call.grant or await self._gate.grant(background=call.background), None
        sending = _Sending(self, call, grant)
        try:
            return await self._conclude(call, sending, await self._send(call, sending))
        finally:
            sending.settle()

    async def _send(self, call: _Call[Any], sending: _Sending) -> Reply:
        loop = asyncio.get_running_loop()
        began = loop.time()
        failed: TransportError | DecodeError
        try:
            reply = await self._transport.send(call.request, sending.before_each_send)
            took = loop.time() - began
            _log.debug("%s %s: HTTP %d in %.3f s", call.request.method, call.request.path, reply.status, took)
        except Hopeless:
            raise
        except TransportError as error:
            trouble, failed = Trouble.FAILED, error
        except DecodeError as error:
            if isinstance(error, Oversized):
                raise
            trouble, failed = Trouble.UNREADABLE, self._unreadable(error, call)
        else:
            return reply
        _log.debug("%s", failed)
        raise _Retryable(trouble, failed, call)

    async def _conclude(self, call: _Call[T], sending: _Sending, reply: Reply) -> T:
        """Account for a reply, and turn it into a value, an error, or a retry."""
        verdict = judge(reply)
        now, wall = asyncio.get_running_loop().time(), self.now()
        if verdict is Verdict.ANSWER:
            self._answered(sending, wall)
            return self._read(call, sending, reply)
        error = refusal(call.request, sending.hide(reply))
        if verdict is Verdict.TOKEN_REFUSED:
            self._answered(sending, wall)
            await self._renew(call, sending.token, error)
            raise _Retryable(Trouble.TOKEN, error, call)
        if verdict in (Verdict.THROTTLED, Verdict.CROWDED):
            trouble = Trouble.CROWDED if verdict is Verdict.CROWDED else Trouble.THROTTLED
            pause = self._patience.pause(trouble, now=now, after=retry_after(reply), chance=random.random())
            sending.settled = True
            self.quota.throttled(sending.grant, now, wall, pause)
            raise _Retryable(trouble, error, call)
        if verdict is Verdict.QUOTA_EXCEEDED:
            sending.settled = True
            jitter = random.uniform(1.0, 30.0)
            self.quota.exceeded(sending.grant, now, wall, server=server_time(reply), jitter=jitter)
            raise self._gate.exceeded(now, wall)
        if verdict is Verdict.TRANSIENT:
            raise _Retryable(Trouble.FAILED, error, call, after=retry_after(reply))
        self._answered(sending, wall)
        if verdict is Verdict.NONSENSE:
            raise self._unreadable(DecodeError("a redirect, which the API has none of", status=reply.status), call)
        raise error

    def _answered(self, sending: _Sending, wall: datetime) -> None:
        sending.settled = True
        self._patience.answered()
        self.quota.answered(sending.grant, wall)

    def _read(self, call: _Call[T], sending: _Sending, reply: Reply) -> T:
        try:
            return call.read(reply)
        except DecodeError:
            pass
        # Once more without the token, which whoever echoes requests would otherwise have put into the excerpt.
        try:
            call.read(sending.hide(reply))
        except DecodeError as problem:
            error = self._unreadable(problem, call)
        else:
            error = self._unreadable(DecodeError("an answer that quotes the token", status=reply.status), call)
        raise _Retryable(Trouble.UNREADABLE, error, call)

    @staticmethod
    def _unreadable(error: DecodeError, call: _Call[Any]) -> DecodeError:
        return DecodeError(
            error.problem,
            status=error.status,
            excerpt=error.excerpt,
            method=call.request.method,
            path=call.request.path,
        )

    # --- tokens -----------------------------------------------------------------------------------------------------

    @property
    def renewing(self) -> bool:
        """Whether the source is being told of a refused token just now."""
        return self._renewal is not None

    async def renewed(self) -> None:
        """Wait until it is not. Whether it went well is for those to hear whose token was refused."""
        if self._renewal is not None:
            await asyncio.wait([self._renewal])

    async def _renew(self, call: _Call[Any], token: str, error: CCActivityError) -> None:
        """See to it that another token is there than the refused one; else raise."""
        if await self.source.access_token() != token:
            return
        if call.renewed:
            raise error
        call.renewed = True
        if self._renewal is None:
            # In a fresh context: a refresh belongs to the session, not to the request that happened to notice.
            self._renewal = asyncio.get_running_loop().create_task(
                _tell(self.source, token), context=contextvars.Context()
            )
            self._renewal.add_done_callback(self._renewal_done)
        await asyncio.shield(self._renewal)
        if await self.source.access_token() == token:
            raise error

    def _renewal_done(self, renewal: asyncio.Future[None]) -> None:
        self._renewal = None
        if not renewal.cancelled():
            renewal.exception()

    # --- retries ----------------------------------------------------------------------------------------------------

    def _waits(self) -> Generator[float, _Retryable, None]:
        """The delays of one question, for backoff: primed once, then told of each failure; ending gives up."""
        failure = yield 0.0
        while (delay := self._delay(failure)) is not None:
            failure = yield delay

    def _delay(self, failure: _Retryable) -> float | None:
        call = failure.call
        count = call.troubles[failure.trouble] = call.troubles.get(failure.trouble, 0) + 1
        now = asyncio.get_running_loop().time()
        return self._patience.delay(
            failure.trouble, count, began=call.began, now=now, after=failure.after, chance=random.random()
        )


class _Scope:
    """What happens inside ends with SessionClosedError when the exchange is closed, before or meanwhile."""

    def __init__(self, scopes: set[asyncio.Timeout]) -> None:
        self._scopes = scopes
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._scopes.add(self._timeout)

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        self._scopes.discard(self._timeout)
        with suppress(TimeoutError):
            await self._timeout.__aexit__(kind, error, traceback)  # type: ignore[arg-type]  # handed on as it came
            return
        raise SessionClosedError("the session was closed meanwhile")


async def _tell(source: TokenSource, token: str) -> None:
    await source.refused(token)
