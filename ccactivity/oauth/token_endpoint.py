"""The authorization server: POSTs one form and reads the response. It stores nothing, and knows no token.

1. **A form goes to its own origin**, by the same transport as everything else: https or loopback, no redirects, a
   capped body, one timeout for the attempt. An HTTP session of our own lives for one request: there are few.
2. **One request a second** (vendor's page on access tokens), whichever of the endpoints it is for.
3. **Only what was certainly not processed is sent again**: once if there was no connection, a few times after a 429. A
   token or a code that was sent may be spent, so the caller decides what a lost response means.
4. **Only an OAuth error is a definite answer.** A 5xx, a page of HTML and a 200 that cannot be read are lost responses.
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
from ..api.outcome import NotSentError, Outcome, OutcomeKind, classify, error_from
from ..api.transport import Transport
from ..errors import CCActivityError, DecodeError, ServerError, ThrottledError, TokenError, TransportError

if TYPE_CHECKING:
    import aiohttp

__all__ = ["OAuthError", "TokenEndpoint", "TokenResponse"]

_SPACING_S: Final = 1.1  # more than a second, for on the way to the vendor two requests may get closer together
_MAX_RETRY_DELAY_S: Final = 60.0
_MAX_JITTER_S: Final = 0.5
_MAX_THROTTLED: Final = 5  # 429 in a row
_MAX_LOST: Final = 3  # responses to an idempotent form
# OAuth errors about the state of the server, not about the request (RFC 6749, section 4.1.2.1).
_TRANSIENT_OAUTH_ERRORS: Final = frozenset({"server_error", "temporarily_unavailable"})


class OAuthError(TokenError):
    """A definite answer: an OAuth error. `error`: its code; `description`: the vendor's words, or None."""

    def __init__(self, error: str, description: str | None, *, status: int, path: str) -> None:
        hint = " (check the client id and its secret)" if error in ("invalid_client", "unauthorized_client") else ""
        super().__init__(f"POST {path}: HTTP {status}, {error}" + (f" {description}" if description else "") + hint)
        self.error = error
        self.description = description


@attrs.frozen
class TokenResponse:
    """A successful response. `server_time`: when the vendor sent it, by its own clock; None if unknown."""

    fields: Mapping[str, Any] = attrs.field(repr=False)
    server_time: datetime | None


class TokenEndpoint:
    """Sends forms to the authorization server, one a second. `agent`: the value of the User-Agent header."""

    def __init__(self, *, http: aiohttp.ClientSession | None, timeout: float | None, agent: str) -> None:
        self._http = http
        self._timeout = timeout
        self._agent = agent
        self._next_send = 0.0

    async def post(
        self, endpoint: Endpoint, form: str, *, authorization: str, secrets: Iterable[str], idempotent: bool = False
    ) -> TokenResponse:
        """POST a form.

        `authorization`: the value of the header, or empty. `secrets`: what an error must not quote. `idempotent`:
        sending the form twice does no harm, so a lost response is asked for again.

        Raises OAuthError; NotSentError, UntrustedServerError or ThrottledError if the form was not processed;
        TransportError, ServerError or DecodeError if that is unknown.
        """
        body = form.encode()
        request = Request("token", endpoint.prefix, scope=None, method="POST", body=body, idempotent=idempotent)
        hidden = {text for secret in secrets if secret for text in (secret, quote_plus(secret))}
        unconnected = throttled = lost = 0
        failure: CCActivityError
        while True:
            try:
                return await self._attempt(endpoint, request, authorization, hidden)
            except NotSentError as error:
                unconnected += 1
                failure, last = error, unconnected > (_MAX_LOST if idempotent else 1)
            except ThrottledError as error:
                throttled += 1
                failure, last = error, throttled >= _MAX_THROTTLED
                self._delay_next(2.0 ** (throttled - 1))
            except (TransportError, ServerError, DecodeError) as error:
                lost += 1
                failure, last = error, not idempotent or lost >= _MAX_LOST
                self._delay_next(2.0 ** (lost - 1))
            if last:
                break
        # Raised outside of `except`, so that it holds no trace of the retries.
        raise failure

    async def _attempt(
        self, endpoint: Endpoint, request: Request, authorization: str, secrets: Iterable[str]
    ) -> TokenResponse:
        await self._wait_for_turn()
        transport = Transport(endpoint.origin, self._http, self._timeout, self._agent)
        try:
            reply = await transport.send(request, _SendOnce(request, authorization).before_each_send)
        finally:
            await transport.aclose()
        if reply.succeeded:
            return TokenResponse(_read_fields(request, reply), classify(reply).server_time)
        outcome = classify(_redact(reply, secrets))
        if reply.status == 429:
            self._delay_next(outcome.retry_after)
        raise _error_from(request, outcome)

    async def _wait_for_turn(self) -> None:
        now = asyncio.get_running_loop().time()
        # Bounded, for one client may be used in several event loops, whose clocks differ.
        turn = min(max(now, self._next_send), now + 2 * _MAX_RETRY_DELAY_S)
        self._next_send = turn + _SPACING_S
        if turn > now:
            await asyncio.sleep(turn - now)

    def _delay_next(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        delay = min(seconds, _MAX_RETRY_DELAY_S) + random.uniform(0.0, _MAX_JITTER_S)
        self._next_send = max(self._next_send, now + delay)


class _SendOnce:
    """Lets a form be sent once: an HTTP session that re-sends by itself would use a token twice."""

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


def _redact(reply: Reply, secrets: Iterable[str]) -> Reply:
    body = reply.body
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        body = body.replace(secret.encode(), b"(secret)")
    return attrs.evolve(reply, body=body)


def _error_from(request: Request, outcome: Outcome) -> CCActivityError:
    reply, error = outcome.reply, outcome.error_key
    if reply.status == 429:
        return error_from(request, outcome)
    if outcome.kind is OutcomeKind.TRANSIENT or error in _TRANSIENT_OAUTH_ERRORS:
        return ServerError(
            status=reply.status,
            method=request.method,
            path=request.path,
            error_key=error,
            error_message=outcome.error_message,
        )
    if reply.status >= 400 and error and _is_oauth(reply.body):
        return OAuthError(error, outcome.error_message, status=reply.status, path=request.path)
    reason = f"HTTP {reply.status}, which is no response of an authorization server"
    return TransportError(reason, method=request.method, path=request.path)


def _is_oauth(body: bytes) -> bool:
    """Whether an error body is one of OAuth, or of the vendor's own software; a gateway's message is neither."""
    data = decode_json(body)
    return isinstance(data, dict) and ("error" in data or "errorCode" in data)


def _read_fields(request: Request, reply: Reply) -> Mapping[str, Any]:
    try:
        fields = decode_json(reply.body)
    except DecodeError as error:
        problem = error.problem
    else:
        if isinstance(fields, dict):
            return fields
        problem = "not a JSON object"
    # Without the excerpt that such errors have elsewhere: the body may hold a token.
    raise DecodeError(escape(problem, 80), status=reply.status, method=request.method, path=request.path)
