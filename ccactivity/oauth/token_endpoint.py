"""One question to the authorization server and its answer; it knows no tokens by meaning, and stores none.

1. **A question goes to its own origin**, by the same transport as everything else: https or loopback, no redirects, a
   capped body, one clock for the attempt. The HTTP session of our own lives for one question: there are few.
2. **One request a second** (vendor's page on access tokens), whichever of the endpoints it is for.
3. **What was not taken may be sent again**: a connection that did not come to be, once; a 429, a few times. Nothing
   else is, for a token or a code that was shown once may be spent. Who asked decides what a lost answer means.
4. **Only an OAuth error is a definite answer.** A 5xx, a page of HTML and a 200 that cannot be read are lost answers.
5. **Nothing that was sent or received is quoted** but the vendor's words on an error, without the secrets sent.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus

import attrs

from .._text import escape
from ..api.decoding import decode_json
from ..api.endpoint import Endpoint
from ..api.messages import Reply, Request
from ..api.outcome import NotSentError, OutcomeKind, classify
from ..api.transport import Transport
from ..errors import CCActivityError, DecodeError, ServerError, ThrottledError, TokenError, TransportError

if TYPE_CHECKING:
    import aiohttp

__all__ = ["Answer", "Asker", "Refused"]

# The vendor counts arrivals in a second, and hops between us may bring two closer together.
_SPACING: Final = 1.1
_LONGEST_PAUSE: Final = 60.0
_THROTTLED_ATTEMPTS: Final = 5
_REPEATS: Final = 3
# OAuth errors that speak of the server's state and not of the request (RFC 6749, section 4.1.2.1).
_PASSING: Final = frozenset({"server_error", "temporarily_unavailable"})


class Refused(TokenError):
    """A definite answer: an OAuth error. `error`: its code; `description`: the vendor's words, or None."""

    def __init__(self, error: str, description: str | None, *, status: int, path: str) -> None:
        hint = " (check the client id and its secret)" if error in ("invalid_client", "unauthorized_client") else ""
        super().__init__(f"POST {path}: HTTP {status}, {error}" + (f" {description}" if description else "") + hint)
        self.error = error
        self.description = description


@attrs.frozen
class Answer:
    """A success. `server`: the instant at which the vendor gave it, None if it did not say."""

    fields: Mapping[str, Any] = attrs.field(repr=False)
    server: datetime | None


class Asker:
    """Asks the authorization server, one question a second."""

    def __init__(self, *, http: aiohttp.ClientSession | None, timeout: float | None, agent: str) -> None:
        self._http = http
        self._timeout = timeout
        self._agent = agent
        self._next = 0.0

    async def ask(
        self, endpoint: Endpoint, form: str, *, authorization: str, secrets: Iterable[str], repeatable: bool = False
    ) -> Answer:
        """POST a form.

        `authorization`: the header's value, or empty. `secrets`: what must not be quoted. `repeatable`: a lost answer
        costs nothing, so ask again a few times.

        Raises Refused; NotSentError, UntrustedServerError and ThrottledError if nothing was taken; TransportError,
        ServerError and DecodeError if that is unknown.
        """
        request = Request("token", endpoint.prefix, scope=None, method="POST", body=form.encode(), idempotent=False)
        hidden = sorted({word for secret in secrets if secret for word in (secret, quote_plus(secret))}, key=len)
        unsent = throttles = lost = 0
        failure: CCActivityError
        while True:
            try:
                reply = await self._post(endpoint, request, authorization)
                return _judge(request, reply, hidden[::-1])
            except NotSentError as error:
                unsent += 1
                failure, last = error, unsent > (_REPEATS if repeatable else 1)
            except _Throttled as throttled:
                throttles += 1
                failure, last = throttled.error, throttles >= _THROTTLED_ATTEMPTS
                self._pause(max(throttled.after, 2.0 ** (throttles - 1)))
            except (TransportError, ServerError, DecodeError) as error:
                lost += 1
                failure, last = error, not repeatable or lost >= _REPEATS
                self._pause(2.0 ** (lost - 1))
            if last:
                break
        # Raised out here, so that it carries no trace of the retries.
        raise failure

    async def _post(self, endpoint: Endpoint, request: Request, authorization: str) -> Reply:
        await self._turn()
        transport = Transport(endpoint.origin, self._http, self._timeout, self._agent)
        sending = _Once(request, authorization)
        try:
            return await transport.send(request, sending.before_each_send)
        finally:
            await transport.aclose()

    async def _turn(self) -> None:
        now = asyncio.get_running_loop().time()
        # Bounded, for a loop's clock may start anew: questions may be asked in one loop after another.
        turn = min(max(now, self._next), now + 2 * _LONGEST_PAUSE)
        self._next = turn + _SPACING
        if turn > now:
            await asyncio.sleep(turn - now)

    def _pause(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        self._next = max(self._next, now + min(seconds, _LONGEST_PAUSE) + random.random() / 2)


class _Once:
    """Lets a form pass to the wire once: whatever re-sends by itself would show a token twice."""

    def __init__(self, request: Request, authorization: str) -> None:
        self._request = request
        self._authorization = authorization
        self._sent = False

    async def before_each_send(self) -> str:
        if self._sent:
            reason = "the HTTP session would have sent it twice"
            raise TransportError(reason, method=self._request.method, path=self._request.path)
        self._sent = True
        return self._authorization


class _Throttled(Exception):
    def __init__(self, error: ThrottledError, after: float) -> None:
        super().__init__()
        self.error = error
        self.after = after


def _judge(request: Request, reply: Reply, secrets: Iterable[str]) -> Answer:
    outcome = classify(reply)
    if outcome.kind is OutcomeKind.ANSWER:
        return Answer(_fields(request, reply), outcome.server_time)
    for secret in secrets:
        reply = attrs.evolve(reply, body=reply.body.replace(secret.encode(), b"(secret)"))
    outcome = classify(reply)
    error = outcome.error_key
    where: dict[str, Any] = {
        "status": reply.status,
        "method": request.method,
        "path": request.path,
        "error_key": error,
        "error_message": outcome.error_message,
    }
    if reply.status == 429:
        raise _Throttled(ThrottledError(**where), outcome.retry_after)
    if outcome.kind is OutcomeKind.TRANSIENT or error in _PASSING:
        raise ServerError(**where)
    if reply.status >= 400 and error and _is_oauth(reply.body):
        raise Refused(error, outcome.error_message, status=reply.status, path=request.path)
    reason = f"HTTP {reply.status}, and no answer of an authorization server"
    raise TransportError(reason, method=request.method, path=request.path)


def _is_oauth(body: bytes) -> bool:
    """Whether an error body is one of OAuth's, or of the vendor's own software; a gateway's message is neither."""
    data = decode_json(body)
    return isinstance(data, dict) and ("error" in data or "errorCode" in data)


def _fields(request: Request, reply: Reply) -> Mapping[str, Any]:
    try:
        fields = decode_json(reply.body)
    except DecodeError as error:
        problem = error.problem
    else:
        if isinstance(fields, dict):
            return fields
        problem = "no JSON object"
    # Without the excerpt that such an error has elsewhere: what came may hold a token.
    raise DecodeError(escape(problem, 80), status=reply.status, method=request.method, path=request.path)
