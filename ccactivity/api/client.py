"""The client of the API: asks one question through all of its attempts, with token, permit and retries.

1. **Every attempt pays.** The token is waited for first, then a permit, and only then is the HTTP library entered,
   whose clock runs at once. A permit is charged for each real send, also one that the library makes by itself; a permit
   with which nothing was sent goes back.
2. **There is one retry layer**, this one, and each reply is classified once (`outcome.classify`). Nothing above it asks
   again because an attempt failed. "Not done yet" is an answer like any other.
3. **Retries share a budget.** Each takes one of a few, which come back slowly and with every answer: an outage must not
   multiply the load on a vendor who is down.
4. **`throttled` is not a failure**: it pauses everyone, at the limiter.

Why `backoff` is used like this: its decorator drives the loop, with our own generator of delays. Its `max_time` and
`max_tries` are not used, for the first reads the wall clock; nor its jitter, which goes below the delay that was asked
for; nor its logger, which prints arguments.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping
from contextlib import aclosing
from typing import Any, Final, Generic, TypeVar, cast

import attrs
import backoff

from .._emitter import Emitter
from .._secret import Secret
from ..errors import (
    BodyTooLargeError,
    CCActivityError,
    DecodeError,
    NotSentError,
    QuotaExceededError,
    SessionClosedError,
    TransportError,
    UntrustedServerError,
)
from ..events import RequestEnded, Retrying
from ..ratelimit.limiter import Limiter, Permit, PermitResult
from .auth import Authenticator
from .messages import Reply, Request
from .outcome import Outcome, OutcomeKind, classify, error_from
from .retry import Retry, RetryableError, RetryState
from .streams import BodyStream, StreamedReply
from .transport import Transport

__all__ = ["ApiClient"]

T = TypeVar("T")
_log: Final = logging.getLogger("ccactivity")
_connection_log: Final = logging.getLogger("ccactivity.connection")
# What takes the place of the error that a reply itself makes.
_LATER_ERRORS: Final[Mapping[OutcomeKind, type[CCActivityError]]] = {
    OutcomeKind.QUOTA_EXCEEDED: QuotaExceededError,
    OutcomeKind.UNEXPECTED: DecodeError,
}


@attrs.define(eq=False)
class _Operation(Generic[T]):
    """One question through all of its attempts, with the token and the permit of the attempt under way.

    `why`, `served`: those of `ApiClient.ask`. `attempt`, `sent_at`: of the request that the hooks are yet to hear of.
    """

    client: ApiClient
    request: Request
    decode: Callable[[Outcome], T]
    background: bool
    permit: Permit | None
    token: Secret = attrs.field(default=Secret(), repr=False)
    reported_token: bool = False
    interrupted: bool = False  # after it was sent, and it may not be sent twice
    why: str = ""
    served: Callable[[T | None], tuple[tuple[str, ...], int]] | None = None
    attempt: int = 0
    sent_at: float | None = None

    async def before_each_send(self) -> str:
        """Return the value of the Authorization header for a request that is about to leave."""
        auth, permit = self.client.auth, self.permit
        assert permit is not None
        if permit.sent:
            if not self.request.idempotent:
                reason = "the aiohttp session would have sent it twice"
                raise TransportError(reason, method=self.request.method, path=self.request.path)
            self.ended(None, TransportError)
        ask_again = permit.waited
        # Sent: the HTTP library sends again by itself, on a connection that turned out to be dead. During a refresh:
        # not with a token that is on its way out, and not with a permit that is or gets old meanwhile.
        now = asyncio.get_running_loop().time()
        while permit.sent or auth.refresh.running or now > permit.expires_at:
            permit.close()
            await auth.refresh.wait()
            self.permit = permit = await self.client.limiter.acquire(background=self.background)
            now, ask_again = asyncio.get_running_loop().time(), True
        if ask_again:
            self.token = await auth.token()
            now = asyncio.get_running_loop().time()
        permit.sent = True
        self.client.sent[self.request.kind] += 1
        if self.client.emitter.hooks:
            self.attempt, self.sent_at = self.attempt + 1, now
        return Secret(f"Bearer {self.token}")

    def given_up(self) -> None:
        """Take note, and say, that nobody will know what came of what must not be sent twice, if it was sent."""
        if self.permit is not None and self.permit.sent and not self.request.idempotent:
            self.interrupted = True
            _log.warning("%s was given up before it was answered, and may have been carried out", self.request)

    def failed(self, reason: OutcomeKind, error: CCActivityError, retry_after: float = 0.0) -> Exception:
        """What to raise when no usable answer came: sending it again is safe if it is idempotent, or was never sent.

        A background request is not repeated here: whoever polls knows when it is worth another.
        """
        safe = self.request.idempotent or isinstance(error, NotSentError)
        return RetryableError(reason, error, retry_after) if safe and not self.background else error

    def ended(
        self,
        reply: Reply | None,
        error: type[BaseException] | None,
        answer: T | None = None,
        at: float | None = None,
    ) -> None:
        """Close the permit, and tell the hooks what became of a request, once. `at`: when; None: now."""
        request, permit, sent_at = self.request, self.permit, self.sent_at
        assert permit is not None
        if not permit.settled:
            permit.close()
        if sent_at is None:
            return
        self.sent_at = None
        if at is None:
            at = asyncio.get_running_loop().time()
        activity_ids, serves = ((), 0) if self.served is None else self.served(answer)
        self.client.emitter.emit(
            RequestEnded(
                at=at,
                kind=request.kind,
                method=request.method,
                route=request.route,
                url=self.client.origin + request.path,
                status=None if reply is None else reply.status,
                error=None if error is None else error.__name__,
                seconds=at - sent_at,
                waited=permit.queued,
                attempt=self.attempt,
                request_id=None if reply is None else reply.request_id,
                why=self.why,
                activity_ids=activity_ids,
                serves=serves,
            )
        )


class ApiClient:
    """Asks questions of the vendor.

    `sent`: requests by their kind, with those that the HTTP library made by itself. `origin`: for events, such as
    `https://api.cc.email`.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        auth: Authenticator,
        limiter: Limiter,
        retry: Retry,
        origin: str = "",
        emitter: Emitter | None = None,
    ) -> None:
        self.auth = auth
        self.limiter = limiter
        self.origin: str = origin
        self.emitter: Emitter = emitter or Emitter()
        self.closed: bool = False
        self.sent: Counter[str] = Counter()
        self._transport = transport
        self._connects = True  # as far as the last attempt has shown
        self._retry_state = RetryState(retry)
        self._scopes: set[asyncio.Timeout] = set()
        self._streams: set[BodyStream] = set()
        # backoff's annotation does not know that a generator of delays is sent the exception.
        delays: Callable[..., Generator[float, Any, None]] = self._backoff_delays
        retrying = backoff.on_exception(delays, RetryableError, jitter=None, logger=None, on_backoff=self._report_retry)
        self._with_retries = retrying(self._attempt)
        self._receive_with_retries = retrying(self._receive)

    async def aclose(self) -> None:
        """End every question under way with SessionClosedError and close the transport."""
        self.closed = True
        for scope in tuple(self._scopes):
            scope.reschedule(asyncio.get_running_loop().time())
        for stream in tuple(self._streams):
            stream.close()
        try:
            await self.auth.aclose()
        finally:  # also for whoever does not wait for a refresh
            await self._transport.aclose()

    async def ask(
        self,
        request: Request,
        decode: Callable[[Outcome], T],
        *,
        background: bool = False,
        permit: Permit | None = None,
        why: str = "",
        served: Callable[[T | None], tuple[tuple[str, ...], int]] | None = None,
    ) -> T:
        """Ask until there is an answer that `decode` understands, or no sense in asking again.

        `permit`: one that was acquired before, for the first attempt. Whoever acquired it closes it. `why`, `served`:
        for `RequestEnded`: the reason, and what gives its `activity_ids` and `serves` for an answer, or for none.
        """
        operation = _Operation(self, request, decode, background, permit, why=why, served=served)
        error: CCActivityError
        try:
            return await self.until_closed(self._with_retries(operation))
        except RetryableError as last:
            error = last.error
        except SessionClosedError as closed:
            error = closed
            if operation.interrupted:
                reason = "the session was closed before it was answered"
                error = TransportError(reason, method=request.method, path=request.path)
        # Raised out here, so that it carries no trace of the retries.
        raise error

    async def download(self, request: Request, receive: Callable[[BodyStream], Awaitable[T]]) -> T:
        """Ask for a file until `receive`, whose the stream is then, has understood it, or there is no sense in it.

        A file that breaks off, or is none, is asked for three times in all, from its beginning and with a permit each
        time. The permit is settled once the answer begins: a stream keeps nobody waiting.
        """
        if self.closed:
            raise SessionClosedError("the session is closed")
        operation = _Operation(self, request, _stream_of, background=False, permit=None)
        try:
            return await self.until_closed(self._receive_with_retries(operation, receive))
        except RetryableError as last:
            error = last.error
        raise error

    async def pieces(self, stream: BodyStream) -> AsyncGenerator[bytes, None]:
        """Yield a body piece by piece; SessionClosedError once the client is closed."""
        self._streams.add(stream)
        try:
            async with aclosing(stream.pieces()) as pieces:
                async for piece in pieces:
                    if self.closed:
                        break
                    yield piece
        except TransportError:
            if not self.closed:
                raise
        finally:
            self._streams.discard(stream)
        if self.closed:
            raise SessionClosedError("the session was closed")

    async def acquire(self) -> Permit:
        """Wait for permission for a request of somebody else's, as a single call does; it counts as sent."""
        permit = await self.until_closed(self.limiter.acquire(background=False))
        permit.sent = True
        return permit

    def settle(self, permit: Permit, outcome: Outcome) -> None:
        """Tell the limiter what a reply says of the key, and pause everyone if it was throttled."""
        kind = outcome.kind
        if kind is OutcomeKind.TRANSIENT:
            permit.settle(PermitResult.NO_ANSWER)
        elif kind in (OutcomeKind.THROTTLED, OutcomeKind.TOO_MANY_REQUESTS):
            now, chance = asyncio.get_running_loop().time(), random.random()
            pause = self._retry_state.pause(kind, now=now, retry_after=outcome.retry_after, chance=chance)
            permit.settle(PermitResult.THROTTLED, pause=pause)
            if self.emitter.hooks:
                self.emitter.pause("throttled", now, now + pause)
        elif kind is OutcomeKind.QUOTA_EXCEEDED:
            permit.settle(PermitResult.QUOTA_EXCEEDED, server_time=outcome.server_time)
        else:
            self._retry_state.answered()
            permit.settle(PermitResult.ANSWERED)

    async def until_closed(self, work: Coroutine[Any, Any, T]) -> T:
        """Await something, unless the client is closed, before or meanwhile: SessionClosedError."""
        if self.closed:
            work.close()
            raise SessionClosedError("the session is closed")
        scope = asyncio.timeout(None)
        self._scopes.add(scope)
        try:
            async with scope:
                return await work
        except TimeoutError:
            if not scope.expired():
                raise  # of a user's token source
        finally:
            self._scopes.discard(scope)
        raise SessionClosedError("the session was closed during the call")

    async def _attempt(self, operation: _Operation[T]) -> T:
        loop, request = asyncio.get_running_loop(), operation.request
        reply: Reply | None = None
        answer: T | None = None
        replied_at: float | None = None
        failed: TransportError | DecodeError | None = None
        extra = {"activity_id": request.item_id, "route": request.route}
        operation.token = await self.auth.token()
        if operation.permit is not None and loop.time() > operation.permit.expires_at:
            # Others like it have waited for the token too, and would now be sent all at once.
            operation.permit.close()
        if operation.permit is None or operation.permit.settled:
            operation.permit = await self.limiter.acquire(background=operation.background)
        began = loop.time()
        try:
            reply = await self._transport.send(request, operation.before_each_send)
            replied_at, self._connects = loop.time(), True
            _log.debug("%s: HTTP %d in %.3f s", request, reply.status, replied_at - began, extra=extra)
            # A body that quotes the token loses it before anyone reads or shows it. No variable holds it in plain.
            if operation.token.encode() in reply.body:
                reply = attrs.evolve(reply, body=reply.body.replace(operation.token.encode(), b"(token)"))
            outcome = classify(reply, submission=request.kind == "post")
            self.settle(operation.permit, outcome)
            if outcome.kind is OutcomeKind.ANSWER:
                answer = operation.decode(outcome)
                return answer
        except (UntrustedServerError, BodyTooLargeError):
            raise
        except (asyncio.CancelledError, SessionClosedError):
            operation.given_up()
            raise
        except TransportError as error:
            reason, failed = OutcomeKind.TRANSIENT, error
        except DecodeError as error:
            reason, failed = OutcomeKind.UNREADABLE, _located(error, request)
        else:
            raise await self._error_of(operation, outcome)
        finally:
            if operation.sent_at is not None or not operation.permit.settled:
                operation.ended(reply, sys.exc_info()[0] if failed is None else type(failed), answer, replied_at)
        _log.debug("%s", failed, extra=extra)
        if operation.background:
            self._on_retry(failed)  # by whoever polls
        raise operation.failed(reason, failed)

    async def _receive(self, operation: _Operation[BodyStream], receive: Callable[[BodyStream], Awaitable[T]]) -> T:
        stream, loop = await self._attempt(operation), asyncio.get_running_loop()
        began = loop.time()
        failed: TransportError | DecodeError
        try:
            return await receive(stream)
        except (BodyTooLargeError, SessionClosedError, OSError) as error:
            # Without a traceback, here and below: the frames that it shows to error trackers hold pieces of the file.
            raise error.with_traceback(None) from None
        except TransportError as error:
            failed = error
        except DecodeError as error:
            failed = _located(error, operation.request)
        _log.debug("%s", failed)
        raise RetryableError(OutcomeKind.UNREADABLE, failed.with_traceback(None), reading_s=loop.time() - began)

    async def _error_of(self, operation: _Operation[Any], outcome: Outcome) -> Exception:
        """Return what to raise for a reply that is not an answer."""
        kind, error = outcome.kind, error_from(operation.request, outcome)
        if operation.sent_at is not None:
            operation.ended(outcome.reply, _LATER_ERRORS.get(kind, type(error)))
        if kind is OutcomeKind.TRANSIENT:
            return operation.failed(kind, error, outcome.retry_after)
        if kind in (OutcomeKind.THROTTLED, OutcomeKind.TOO_MANY_REQUESTS):
            return RetryableError(kind, error)
        if kind is OutcomeKind.QUOTA_EXCEEDED:
            return self.limiter.quota_exceeded_error()
        if kind is OutcomeKind.UNAUTHORIZED and await self._replace_token(operation):
            return RetryableError(kind, error)
        if kind is OutcomeKind.UNEXPECTED:
            problem, status = "a redirect, which this API never answers", outcome.reply.status
            return DecodeError(problem, status=status, method=error.method, path=error.path)
        return error

    async def _replace_token(self, operation: _Operation[Any]) -> bool:
        """See to it that there is another token than the refused one, once an operation; False if there is none."""
        if not await self.auth.is_current(operation.token):
            return True
        if operation.reported_token:
            return False
        operation.reported_token = True
        return await self.auth.replace(operation.token)

    def _backoff_delays(self) -> Generator[float, RetryableError, None]:
        """The delays of one operation, for backoff: primed once, then sent each failure; ending gives up."""
        loop, failures = asyncio.get_running_loop(), Counter[OutcomeKind]()
        started_at = loop.time()
        delay: float | None = 0.0
        while delay is not None:
            failure = yield delay
            failures[failure.reason] += 1
            started_at += failure.reading_s
            count, now, chance = failures[failure.reason], loop.time(), random.random()
            delay = self._retry_state.delay(failure, count, started_at=started_at, now=now, chance=chance)
            if delay is not None:
                self._on_retry(failure.error)

    def _report_retry(self, details: Any) -> None:
        """Tell the hooks of a retry; backoff gives its delay, and the arguments of `_attempt`."""
        if self.emitter.hooks:
            operation, now = details["args"][0], asyncio.get_running_loop().time()
            trouble, attempt = type(details["exception"].error).__name__, operation.attempt
            self.emitter.emit(
                Retrying(at=now, kind=operation.request.kind, trouble=trouble, delay=details["wait"], attempt=attempt)
            )

    def _on_retry(self, error: CCActivityError) -> None:
        """Say once an outage that there is no connection: until the retries end, nothing else would be heard of it."""
        if self._connects and isinstance(error, NotSentError):
            self._connects = False
            _connection_log.warning("cannot connect to %s, trying again", self._transport.host)


def _located(error: DecodeError, request: Request) -> DecodeError:
    """Say in an error of a decoder what was asked for."""
    where = {"method": request.method, "path": request.path}
    # An answer to a submission may repeat it, with the contacts that it holds.
    excerpt = error.excerpt if request.idempotent else ""
    return DecodeError(error.problem, status=error.status, excerpt=excerpt, **where)


def _stream_of(outcome: Outcome) -> BodyStream:
    return cast("StreamedReply", outcome.reply).stream
