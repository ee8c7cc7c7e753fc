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
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar

import attrs
import backoff

from .._secret import Secret
from ..errors import CCActivityError, DecodeError, SessionClosedError, TransportError
from ..ratelimit.limiter import Limiter, Permit, PermitResult
from .auth import Authenticator
from .messages import Reply, Request
from .outcome import (
    BodyTooLargeError,
    NotSentError,
    Outcome,
    OutcomeKind,
    UntrustedServerError,
    classify,
    error_from,
)
from .retry import Retry, RetryReason, RetryState
from .transport import Transport

__all__ = ["ApiClient"]

T = TypeVar("T")
_log: Final = logging.getLogger("ccactivity")
_THROTTLES: Final = {
    OutcomeKind.THROTTLED: RetryReason.THROTTLED,
    OutcomeKind.TOO_MANY_REQUESTS: RetryReason.TOO_MANY_REQUESTS,
}


class _RetryableError(Exception):
    """An attempt that may be repeated; `error` is what the caller gets if it is not."""

    def __init__(
        self, reason: RetryReason, error: CCActivityError, operation: _Operation[Any], retry_after: float = 0.0
    ) -> None:
        super().__init__()
        self.reason = reason
        self.error = error
        self.operation = operation
        self.retry_after = retry_after


@attrs.define(eq=False)
class _Operation(Generic[T]):
    """One question through all of its attempts."""

    request: Request
    decode: Callable[[Outcome], T]
    background: bool
    started_at: float
    permit: Permit | None
    failures: Counter[RetryReason] = attrs.field(factory=Counter)
    reported_token: bool = False

    def may_repeat(self, failure: _RetryableError) -> bool:
        """Whether sending it again is safe: it is idempotent, or the vendor has certainly done nothing."""
        if self.request.idempotent or isinstance(failure.error, NotSentError):
            return True
        return failure.reason not in (RetryReason.FAILED, RetryReason.UNREADABLE)

    def unreadable(self, error: DecodeError) -> DecodeError:
        """The error with the request that it is about."""
        return DecodeError(
            error.problem,
            status=error.status,
            excerpt=error.excerpt,
            method=self.request.method,
            path=self.request.path,
        )


@attrs.define(eq=False)
class _Attempt:
    """The permit and the token of one attempt; each real send passes through `before_each_send`."""

    client: ApiClient
    operation: _Operation[Any]
    permit: Permit
    token: Secret = attrs.field(repr=False)

    async def before_each_send(self) -> str:
        """Return the value of the Authorization header for a request that is about to leave."""
        auth = self.client.auth
        ask_again = self.permit.waited
        if self.permit.sent:
            # The HTTP library sends again by itself, on a connection that turned out to be dead.
            self.permit.settle(PermitResult.NO_ANSWER)
            await self._acquire_again()
            ask_again = True
        while auth.refreshing:
            # Not with a token that is on its way out, and not with a permit that gets old meanwhile.
            self.permit.settle(PermitResult.NOT_SENT)
            await self._acquire_again()
            ask_again = True
        if ask_again:
            self.token = await auth.token()
        self.permit.sent = True
        self.client.sent[self.operation.request.kind] += 1
        return Secret(f"Bearer {self.token}")

    async def _acquire_again(self) -> None:
        await self.client.auth.wait()
        self.permit = await self.client.limiter.acquire(background=self.operation.background)

    def without_token(self, reply: Reply) -> Reply:
        """Take the token out of a body that quotes it, before anyone reads or shows it."""
        token = self.token.encode()
        return attrs.evolve(reply, body=reply.body.replace(token, b"(token)")) if token in reply.body else reply


class ApiClient:
    """Asks questions of the vendor. `sent`: requests by their kind, with those that the HTTP library made by itself."""

    def __init__(self, *, transport: Transport, auth: Authenticator, limiter: Limiter, retry: Retry) -> None:
        self.auth = auth
        self.limiter = limiter
        self.closed: bool = False
        self.sent: Counter[str] = Counter()
        self._transport = transport
        self._retry_state = RetryState(retry)
        self._scopes: set[asyncio.Timeout] = set()
        # backoff's annotation does not know that a generator of delays is sent the exception.
        delays: Callable[..., Generator[float, Any, None]] = self._backoff_delays
        self._with_retries = backoff.on_exception(delays, _RetryableError, jitter=None, logger=None)(self._attempt)

    async def aclose(self) -> None:
        """End every question under way with SessionClosedError and close the transport."""
        self.closed = True
        for scope in tuple(self._scopes):
            scope.reschedule(asyncio.get_running_loop().time())
        await self.auth.aclose()
        await self._transport.aclose()

    async def ask(
        self,
        request: Request,
        decode: Callable[[Outcome], T],
        *,
        background: bool = False,
        permit: Permit | None = None,
    ) -> T:
        """Ask until there is an answer that `decode` understands, or no sense in asking again.

        `permit`: one that was acquired before; it is used for the first attempt, or given back.
        """
        operation = _Operation(request, decode, background, asyncio.get_running_loop().time(), permit)
        error: CCActivityError
        try:
            async with _ClosableScope(self):
                return await self._with_retries(operation)
        except _RetryableError as last:
            error = last.error
        finally:
            if operation.permit is not None:
                operation.permit.close()
        # Raised out here, so that it carries no trace of the retries.
        raise error

    # --- one attempt ------------------------------------------------------------------------------------------------

    async def _attempt(self, operation: _Operation[T]) -> T:
        token = await self.auth.token()
        permit, operation.permit = operation.permit, None
        if permit is not None and permit.expired:
            # Others like it have waited for the token too, and would now be sent all at once.
            permit.close()
            permit = None
        attempt = _Attempt(
            self, operation, permit or await self.limiter.acquire(background=operation.background), token
        )
        try:
            outcome = classify(attempt.without_token(await self._send(attempt)))
            if outcome.kind is OutcomeKind.ANSWER:
                return self._decode(attempt, operation, outcome)
            raise await self._error_of(attempt, outcome)
        finally:
            attempt.permit.close()

    async def _send(self, attempt: _Attempt) -> Reply:
        loop, operation = asyncio.get_running_loop(), attempt.operation
        request, began = operation.request, loop.time()
        failed: TransportError | DecodeError
        try:
            reply = await self._transport.send(request, attempt.before_each_send)
        except (UntrustedServerError, BodyTooLargeError):
            raise
        except TransportError as error:
            reason, failed = RetryReason.FAILED, error
        except DecodeError as error:
            reason, failed = RetryReason.UNREADABLE, operation.unreadable(error)
        else:
            _log.debug("%s %s: HTTP %d in %.3f s", request.method, request.path, reply.status, loop.time() - began)
            return reply
        _log.debug("%s", failed)
        raise _RetryableError(reason, failed, operation)

    def _decode(self, attempt: _Attempt, operation: _Operation[T], outcome: Outcome) -> T:
        self._answered(attempt)
        try:
            return operation.decode(outcome)
        except DecodeError as problem:
            failed = operation.unreadable(problem)
        raise _RetryableError(RetryReason.UNREADABLE, failed, operation)

    async def _error_of(self, attempt: _Attempt, outcome: Outcome) -> Exception:
        """Settle the permit, and return what to raise for a reply that is not an answer."""
        operation = attempt.operation
        error = error_from(operation.request, outcome)
        if outcome.kind is OutcomeKind.TRANSIENT:
            return _RetryableError(RetryReason.FAILED, error, operation, outcome.retry_after)
        if (reason := _THROTTLES.get(outcome.kind)) is not None:
            now, chance = asyncio.get_running_loop().time(), random.random()
            pause = self._retry_state.pause(reason, now=now, retry_after=outcome.retry_after, chance=chance)
            attempt.permit.settle(PermitResult.THROTTLED, pause=pause)
            return _RetryableError(reason, error, operation)
        if outcome.kind is OutcomeKind.QUOTA_EXCEEDED:
            attempt.permit.settle(PermitResult.QUOTA_EXCEEDED, server_time=outcome.server_time)
            return self.limiter.quota_exceeded_error()
        self._answered(attempt)
        if outcome.kind is OutcomeKind.UNAUTHORIZED and await self._replace_token(attempt):
            return _RetryableError(RetryReason.TOKEN, error, operation)
        if outcome.kind is OutcomeKind.UNEXPECTED:
            problem = DecodeError("a redirect, which the API has none of", status=outcome.reply.status)
            return operation.unreadable(problem)
        return error

    def _answered(self, attempt: _Attempt) -> None:
        self._retry_state.answered()
        attempt.permit.settle(PermitResult.ANSWERED)

    async def _replace_token(self, attempt: _Attempt) -> bool:
        """See to it that there is another token than the refused one, once an operation; False if there is none."""
        operation = attempt.operation
        if not await self.auth.is_current(attempt.token):
            return True
        if operation.reported_token:
            return False
        operation.reported_token = True
        return await self.auth.replace(attempt.token)

    # --- retries ----------------------------------------------------------------------------------------------------

    def _backoff_delays(self) -> Generator[float, _RetryableError, None]:
        """The delays of one operation, for backoff: primed once, then told of each failure; ending gives up."""
        failure = yield 0.0
        while (delay := self._delay(failure)) is not None:
            failure = yield delay

    def _delay(self, failure: _RetryableError) -> float | None:
        operation = failure.operation
        operation.failures[failure.reason] += 1
        if not operation.may_repeat(failure):
            return None
        return self._retry_state.delay(
            failure.reason,
            operation.failures[failure.reason],
            started_at=operation.started_at,
            now=asyncio.get_running_loop().time(),
            retry_after=failure.retry_after,
            chance=random.random(),
        )


class _ClosableScope:
    """What happens inside ends with SessionClosedError when the client is closed, before or meanwhile."""

    def __init__(self, client: ApiClient) -> None:
        if client.closed:
            raise SessionClosedError("the session is closed")
        self._scopes = client._scopes
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
