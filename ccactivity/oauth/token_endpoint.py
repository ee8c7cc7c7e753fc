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
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus

import attrs

from .._secret import hide
from .._text import escape
from .._version import __version__
from ..api.decoding import decode_json
from ..api.endpoint import Endpoint
from ..api.messages import SUCCESSES, Reply, Request
from ..api.outcome import Outcome, OutcomeKind, classify, error_from
from ..api.transport import Transport
from ..errors import (
    CCActivityError,
    DecodeError,
    NotSentError,
    ServerError,
    ThrottledError,
    TokenError,
    TransportError,
    UntrustedServerError,
)

if TYPE_CHECKING:
    import aiohttp

__all__ = ["NOT_PROCESSED", "OUTCOME_UNKNOWN", "REQUEST_FAILURES", "OAuthError", "TokenEndpoint", "TokenResponse"]

_SPACING_S: Final = 1.1  # more than a second, for on the way to the vendor two requests may get closer together
_MAX_RETRY_DELAY_S: Final = 60.0
_MAX_JITTER_S: Final = 0.5
# How many failures of a kind end a request: of any form, of an idempotent one. The first kind that fits counts.
_FAILURE_LIMITS: Final[Mapping[type[CCActivityError], tuple[int, int]]] = {
    NotSentError: (2, 4),
    UntrustedServerError: (1, 1),
    ThrottledError: (5, 5),
    CCActivityError: (1, 3),
}
# What a request may fail with when there is no definite answer: the form was not processed, or that is unknown.
NOT_PROCESSED: Final = (NotSentError, UntrustedServerError, ThrottledError)
OUTCOME_UNKNOWN: Final = (TransportError, ServerError, DecodeError)
REQUEST_FAILURES: Final = (*NOT_PROCESSED, *OUTCOME_UNKNOWN)
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


@attrs.define(kw_only=True, eq=False, repr=False)
class TokenEndpoint:
    """Sends the forms of one application, one a second.

    `authorization`: the value of the header, or empty. `secret`: the application's, or empty.
    """

    _http: aiohttp.ClientSession | None
    _timeout: float | None
    _authorization: str
    _secret: str
    _next_send: float = attrs.field(default=0.0, init=False)

    async def post(
        self, endpoint: Endpoint, form: str, *, secrets: Iterable[str | None] = (), idempotent: bool = False
    ) -> TokenResponse:
        """POST a form.

        `secrets`: those in the form, which no error may quote. `idempotent`: sending the form twice does no harm, so a
        lost response is asked for again.

        Raises OAuthError; else one of NOT_PROCESSED, or of OUTCOME_UNKNOWN. Look for the former first.
        """
        request = Request(
            "token", endpoint.prefix, scope=None, method="POST", body=form.encode(), idempotent=idempotent
        )
        known = filter(None, (*secrets, self._secret, self._authorization))
        hidden = {hide(text) for secret in known for text in (secret, quote_plus(secret))}
        failures: Counter[type[CCActivityError]] = Counter()
        failure: CCActivityError
        while True:
            try:
                return await self._attempt(endpoint, request, hidden)
            except REQUEST_FAILURES as error:
                failure = error
            kind = next(kind for kind in _FAILURE_LIMITS if isinstance(failure, kind))
            failures[kind] += 1
            if kind is not NotSentError:
                self._delay_next(2.0 ** (failures[kind] - 1))
            if failures[kind] >= _FAILURE_LIMITS[kind][idempotent]:
                break
        # Raised outside of `except`, so that it holds no trace of the retries.
        raise failure

    async def _attempt(self, endpoint: Endpoint, request: Request, secrets: Iterable[str]) -> TokenResponse:
        await self._wait_for_turn()
        transport = Transport(endpoint.origin, self._http, self._timeout, agent=f"ccactivity/{__version__}")
        try:
            reply = await transport.send(request, _SendOnce(request, self._authorization).before_each_send)
        finally:
            await transport.aclose()
        if reply.status in SUCCESSES:
            return TokenResponse(_read_fields(request, reply), classify(reply).server_time)
        body = reply.body
        for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
            body = body.replace(secret.encode(), b"(secret)")
        outcome = classify(attrs.evolve(reply, body=body))
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


@attrs.define
class _SendOnce:
    """Lets a form be sent once: an HTTP session that re-sends by itself would use a token twice."""

    request: Request
    authorization: str
    sent: bool = False

    async def before_each_send(self) -> str:
        if self.sent:
            reason = "the HTTP session would have sent it twice"
            raise TransportError(reason, method=self.request.method, path=self.request.path)
        self.sent = True
        return self.authorization


def _error_from(request: Request, outcome: Outcome) -> CCActivityError:
    reply, error = outcome.reply, outcome.error_key
    if reply.status == 429 or reply.status >= 500:
        return error_from(request, outcome)
    definite = outcome.kind in (OutcomeKind.REJECTED, OutcomeKind.UNAUTHORIZED) and error not in _TRANSIENT_OAUTH_ERRORS
    if error and definite:
        body = decode_json(reply.body)
        # An error body of OAuth, or of the vendor's own software; a gateway's has neither key.
        if isinstance(body, dict) and ("error" in body or "errorCode" in body):
            return OAuthError(error, outcome.error_message, status=reply.status, path=request.path)
    reason = f"HTTP {reply.status}, {error or 'which is no response of an authorization server'}"
    return TransportError(reason, method=request.method, path=request.path)


def _read_fields(request: Request, reply: Reply) -> Mapping[str, Any]:
    try:
        fields, problem = decode_json(reply.body), "not a JSON object"
    except DecodeError as error:
        fields, problem = None, error.problem
    if isinstance(fields, dict):
        return fields
    del fields
    # Without the excerpt that such errors have elsewhere: the body may hold a token.
    raise DecodeError(escape(problem, 80), status=reply.status, method=request.method, path=request.path)
