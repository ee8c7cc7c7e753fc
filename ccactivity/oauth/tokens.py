"""Access tokens that stay fresh, for sessions; it refreshes nothing itself and stores nothing (`renewing`, `vault`).

1. **One refresh at a time**, in a task of its own and a fresh context, however many callers wait. A caller who is
   cancelled leaves; the refresh goes on.
2. **Nobody waits for a refresh that is early.** While the access token is good, it is given out, and a failure is a
   line in the log. Only without a good one do callers wait, and hear what went wrong.
3. **The API's word counts**, not the clock: a token that it refused is not given out again. But a token that came for
   a refused one is not replaced within a minute, or any 401 would cost a refresh.
4. What may pass is a TransportError or its like, so that watches live on; what cannot pass is a TokenError.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

from .._validation import check_number
from ..errors import (
    CCActivityError,
    DecodeError,
    LoginFailedError,
    ServerError,
    SessionClosedError,
    ThrottledError,
    TokenError,
    TransportError,
)
from .client import OAuthClient, Tokens, require_access
from .device import DeviceLogin
from .durable_store import Vault
from .forms import AuthorizationRequest, read_redirect, refused
from .models import Account, StoredTokens
from .refresher import Keeper, NotYet
from .stores import TokenStore
from .token_endpoint import Refused

__all__ = ["OAuthTokens"]

_log: Final = logging.getLogger("ccactivity")
_ADVICE: Final = "log in again (OAuthTokens.start_device_login or start_code_login)"
_PATIENCE: Final = 15.0
_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 60.0
_DEAD_PAUSE: Final = 1.0
_CALM: Final = 60.0
_FAREWELL: Final = 10.0


def _utc_now() -> datetime:
    return datetime.now(UTC)


class OAuthTokens:
    """The tokens of one login, kept in a store and refreshed when it is time: a `TokenSource` for sessions.

    `client`: the application. `store`: where the login is kept, which other processes may share.
    `now`: gives the aware UTC time, for the ends of tokens. `advice`: how to log in again, in the words of the
    application: it ends the message of ReauthorizationRequiredError. `pause`: seconds after a refresh without an answer
    until its refresh token is shown once more; three times as long after each further one, five minutes at most.

    Use it as `async with OAuthTokens(client, store) as tokens`, around the sessions that use it, or call `aclose` at
    the end: a refresh under way then comes to its end. It serves one event loop.
    """

    def __init__(
        self,
        client: OAuthClient,
        store: TokenStore,
        *,
        now: Callable[[], datetime] = _utc_now,
        advice: str = _ADVICE,
        pause: float = 10.0,
    ) -> None:
        self._client = client
        self._now = now
        self._vault = Vault(store, client.client_id, client.token_url)
        self._keeper = Keeper(client, self._vault, now, advice=advice, pause=check_number("pause", pause, above=True))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self._job: asyncio.Task[None] | None = None
        self._keeping: set[asyncio.Task[StoredTokens]] = set()
        self._error: Exception | None = None
        self._not_before = 0.0
        self._failures = 0
        self._rejected: str | None = None
        self._calm_until = 0.0

    def __repr__(self) -> str:
        return f"<OAuthTokens of {self._client!r} in {self._vault!r}>"

    async def __aenter__(self) -> Self:
        self._bind()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Let a refresh under way come to its end, and save what is not saved yet."""
        self._closed = True
        work = {*self._keeping, *([self._job] if self._job else [])}
        if work:
            _, late = await asyncio.wait(work, timeout=_FAREWELL)
            for task in late:
                task.cancel()
            await asyncio.wait(work)
        await self._vault.aclose()

    # --- for sessions -----------------------------------------------------------------------------------------------

    async def access_token(self) -> str:
        """Return an access token that is good, as far as anyone here can know.

        Raises ReauthorizationRequiredError or another TokenError; TransportError and its like if it may go better
        later.
        """
        loop = self._bind()
        record = self._keeper.current
        if record is None or record.access_token == self._rejected:
            return await self._fresh()
        left = record.left(self._now())
        if left is None or left > record.margin:
            return record.access_token
        if left <= 0:
            return await self._fresh()
        if self._job is None and loop.time() >= self._not_before:
            self._start()
        return record.access_token

    async def refused(self, token: str) -> None:
        """Get another access token for one that the API has refused."""
        loop = self._bind()
        record = self._keeper.current
        if record is None or token != record.access_token:
            return
        if loop.time() < self._calm_until:
            _log.warning(
                "the API refuses an access token that has just replaced a refused one: it is not replaced again"
            )
            return
        self._rejected = token
        await self._fresh()
        self._calm_until = loop.time() + min(_CALM, record.life / 2)

    async def refresh(self) -> Account:
        """Refresh now, and tell of the login: a job that runs twice a year keeps an idle one from its end."""
        self._bind()
        if self._job is not None:
            await asyncio.wait([self._job])
        record = await self._vault.read()
        before, self._rejected = self._rejected, None if record is None else record.access_token
        self._not_before = 0.0
        try:
            await self._fresh()
        except BaseException:
            # It was not the API that refused it.
            self._rejected = before
            raise
        return self._told(self._keeper.current)

    # --- logging in and out -----------------------------------------------------------------------------------------

    async def start_device_login(self) -> DeviceLogin:
        """Begin a login on another device (RFC 8628): for terminals, and workers without a browser.

        Raises LoginFailedError; TransportError and its like.
        """
        self._bind()
        await self._vault.read(anyones=True)  # a store that is no good is to fail before anyone types a code in
        try:
            code = await self._client.device_code()
        except Refused as refusal:
            problem = refused(refusal.error, refusal.description)
        else:
            return DeviceLogin(self._client, code, self._keep, self._now)
        raise problem

    def start_code_login(self, redirect_uri: str) -> AuthorizationRequest:
        """Begin a login by redirect: for web apps. Keep what it returns in the person's own web session.

        `redirect_uri`: exactly as it is registered in the vendor's portal.
        """
        return self._client.authorization_request(redirect_uri)

    async def finish_code_login(self, request: AuthorizationRequest, redirected_to: str) -> Account:
        """Finish a login by redirect: `redirected_to` is the URL at which the person came back, or its query.

        Raises LoginFailedError if she declined, if the redirect belongs to another login, or if the answer was lost,
        for a code is good only once.
        """
        self._bind()
        code = read_redirect(redirected_to, state=request.state)
        try:
            tokens = await self._client.exchange(code, request, now=self._now())
        except Refused as refusal:
            problem = refused(refusal.error, refusal.description)
        except (TransportError, ServerError, ThrottledError, DecodeError) as error:
            problem = LoginFailedError(f"the login must begin anew: {error}", reason="lost")
        else:
            return await self._keep(tokens)
        raise problem

    async def account(self) -> Account | None:
        """Tell of the login, None if nobody has logged in. It asks nobody, and holds no secret."""
        record = await self._vault.read()
        return None if record is None else self._told(record)

    async def log_out(self) -> bool:
        """Remove the login from the store; tell whether there was one.

        The vendor documents no way to revoke it: its tokens live on there until their end.
        """
        self._bind()
        return await self._keeper.forget()

    async def _keep(self, tokens: Tokens) -> Account:
        access = require_access(tokens, self._client.token_url)
        keeping = asyncio.get_running_loop().create_task(
            self._keeper.keep(tokens, access), context=contextvars.Context()
        )
        # Not to be cancelled with its caller: these tokens exist nowhere else.
        self._keeping.add(keeping)
        keeping.add_done_callback(self._keeping.discard)
        record = await asyncio.shield(keeping)
        self._rejected, self._error, self._not_before, self._failures = None, None, 0.0, 0
        return self._told(record)

    def _told(self, record: StoredTokens | None) -> Account:
        assert record is not None
        problem = self._keeper.problem(record)
        return Account.of(record, None if problem is None else str(problem), repr(self._vault))

    # --- the one refresh --------------------------------------------------------------------------------------------

    async def _fresh(self) -> str:
        """Wait for another access token than the one that is current."""
        loop = asyncio.get_running_loop()
        while True:
            wait = self._not_before - loop.time()
            if self._job is None and self._error is not None and wait > 0:
                self._raise_unless_worth_waiting(self._error)
                await asyncio.sleep(wait)
                continue
            job = self._job or self._start()
            await asyncio.wait([job])
            if not job.cancelled():
                job.result()  # raises what no error is, such as SystemExit
            record = self._keeper.current
            if self._error is not None:
                self._raise_unless_worth_waiting(self._error)
            elif record is not None and record.access_token != self._rejected:
                return record.access_token

    def _raise_unless_worth_waiting(self, error: Exception) -> None:
        """Raise the last failure, unless a short wait may well bring a token: after one lost answer, no more."""
        if isinstance(error, NotYet) and self._failures <= 1 and error.after <= _PATIENCE:
            return
        # A copy for each caller: an error that is raised again and again grows by the trace of each.
        raise copy.copy(error) if isinstance(error, CCActivityError) else error

    def _start(self) -> asyncio.Task[None]:
        self._bind()
        # In a fresh context: a refresh belongs to the login, not to the request that happened to notice.
        self._job = asyncio.get_running_loop().create_task(self._renew(), context=contextvars.Context())
        return self._job

    async def _renew(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await self._keeper.renew(self._rejected)
        except NotYet as error:
            self._failures += error.tried
            self._error, self._not_before = error, loop.time() + error.after
        except TokenError as error:
            self._error, self._not_before = error, loop.time() + _DEAD_PAUSE
            if isinstance(
                error, Refused
            ):  # it is not the login that is wrong, and asking again each second mends nothing
                self._put_off(error)
            self._warn(error)
        except Exception as error:  # noqa: BLE001 -- a store may be anyone's database, and raise anything; callers get it
            self._put_off(error)
            self._warn(error)
        else:
            self._error, self._not_before, self._failures = None, 0.0, 0
            if (record := self._keeper.current) is not None:
                _log.debug("there is a fresh access token, good until %s", record.expires_at or "an unknown time")
        finally:
            self._job = None

    def _put_off(self, error: Exception) -> None:
        """Wait twice as long after each failure."""
        self._failures += 1
        self._error = error
        pause = min(_PAUSE * 2.0 ** min(self._failures - 1, 10), _LONGEST_PAUSE)
        self._not_before = asyncio.get_running_loop().time() + pause

    def _warn(self, error: Exception) -> None:
        record = self._keeper.current
        words = (
            str(error)
            if isinstance(error, TokenError | TransportError | ServerError | ThrottledError)
            else type(error).__name__
        )
        left = None if record is None else record.left(self._now())
        if record is not None and record.access_token != self._rejected and (left is None or left > 0):
            _log.warning("the access token is still good, but it cannot be refreshed: %s", words)
        else:
            _log.debug("no access token: %s", words)

    def _bind(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise SessionClosedError("these tokens were closed")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError("these tokens belong to another event loop; make one OAuthTokens for each loop")
        return loop
