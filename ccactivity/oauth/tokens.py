"""The token source of a login: hands out its access token, and has it refreshed when that is due.

1. **One refresh at a time**, however many callers wait, in a task of its own: a cancelled caller does not cancel it.
2. **Nobody waits for an early refresh.** While the access token is valid it is returned, and a failed refresh is only
   logged. Callers wait, and get the error, only once there is no valid token.
3. **The API's answer counts, not the clock**: a token that it rejected is not returned again. But the token that
   replaced a rejected one is not replaced within a minute, or an API that always answers 401 would cost a refresh each.
4. What may pass by itself is a TransportError or its like, so that watches go on; what cannot pass is a TokenError.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final, Self

from .._clock import utc_now
from .._secret import hide
from .._tasks import LoopBound, SingleFlight, finish, spawn
from .._validation import check_number
from ..errors import CCActivityError, LoginFailedError, SessionClosedError, TokenError
from .client import GrantedTokens, OAuthClient
from .device import DeviceLogin
from .durable_store import DurableStore, RefreshPendingError, describe_error
from .forms import AuthorizationRequest, login_error, read_redirect
from .models import Account, StoredTokens, usable_seconds
from .refresher import Refresher
from .stores import TokenStore
from .token_endpoint import REQUEST_FAILURES, OAuthError

__all__ = ["OAuthTokens"]

_log: Final = logging.getLogger("ccactivity")
_ADVICE: Final = "log in again (OAuthTokens.start_device_login or start_code_login)"
_CLOSE_TIMEOUT_S: Final = 10.0
_MAX_WAIT_FOR_RETRY_S: Final = 15.0  # of a caller, for the attempt after a first lost answer
_FIRST_RETRY_DELAY_S: Final = 5.0  # doubled by each failure
_MAX_REFRESH_DELAY_S: Final = 60.0
_LOGIN_CHECK_INTERVAL_S: Final = 1.0  # how often the store is read while only a new login helps
_MIN_REPLACEMENT_INTERVAL_S: Final = 60.0


class OAuthTokens:
    """The tokens of one login, kept in a store and refreshed when that is due: a `TokenSource` for sessions.

    `client`: the application. `store`: where the login is kept; other processes may share it.
    `now`: returns the aware UTC time, against which tokens expire. `advice`: how to log in again, in the words of your
    application: the message of ReauthorizationRequiredError ends with it. `pause`: seconds after a refresh without an
    answer until its refresh token is sent again; three times as long after each further one, five minutes at most.

    Use it as `async with OAuthTokens(client, store) as tokens`, around the sessions that use it, or call `aclose` at
    the end: a refresh under way is then finished. It belongs to one event loop.
    """

    def __init__(
        self,
        client: OAuthClient,
        store: TokenStore,
        *,
        now: Callable[[], datetime] = utc_now,
        advice: str = _ADVICE,
        pause: float = 10.0,
    ) -> None:
        check_number("pause", pause, above=True)
        self._client = client
        self._now = now
        self._store = DurableStore(store, client.client_id, client.token_url)
        self._refresher = Refresher(client, self._store, now, advice=advice, pause=pause)
        self._loop = LoopBound("these tokens belong", "make one OAuthTokens for each loop")
        self._closed = False
        self._refresh: SingleFlight[None] = SingleFlight()
        self._logins: set[asyncio.Task[Account]] = set()  # that are being stored
        # The last refresh: its error, and since the last success the number of failures.
        self._error: Exception | None = None
        self._failures = 0
        self._retry_at = 0.0
        # The API's last 401, and until when the token that replaced it is kept in any case.
        self._rejected: str | None = None
        self._keep_until = 0.0

    def __repr__(self) -> str:
        return f"<OAuthTokens of {self._client!r} in {self._store!r}>"

    async def __aenter__(self) -> Self:
        self._bind()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Finish a refresh that is under way, and save what is not saved yet."""
        self._closed = True
        await asyncio.gather(self._refresh.aclose(_CLOSE_TIMEOUT_S), finish(self._logins, _CLOSE_TIMEOUT_S))
        await self._store.aclose()

    # --- for sessions -----------------------------------------------------------------------------------------------

    async def access_token(self) -> str:
        """Return an access token that is valid, as far as can be known here.

        Raises ReauthorizationRequiredError or another TokenError; TransportError and its like if a later call may
        succeed.
        """
        loop = self._bind()
        record = self._refresher.current
        usable = usable_seconds(record, self._rejected, self._now())
        if record is None or usable <= 0:
            return await self._new_token()
        if usable <= record.margin and loop.time() >= self._retry_at:
            self._start_refresh()
        return record.access_token

    async def refused(self, token: str) -> None:
        """Replace an access token that the API has rejected."""
        loop = self._bind()
        record = self._refresher.current
        if record is None or token != record.access_token:
            return
        if loop.time() < self._keep_until:
            _log.warning("the API rejects an access token that has just replaced a rejected one: it is kept for now")
            return
        self._rejected = token
        await self._new_token()
        self._keep_until = loop.time() + min(_MIN_REPLACEMENT_INTERVAL_S, record.life / 2)

    async def refresh(self) -> Account:
        """Refresh now, and return the account: called twice a year, it keeps an unused login alive."""
        self._bind()
        await self._refresh.wait()
        record = await self._store.load()
        rejected, self._rejected = self._rejected, None if record is None else record.access_token
        self._retry_at = 0.0
        try:
            await self._new_token()
        except BaseException:
            self._rejected = rejected  # the API has not rejected this one
            raise
        return self._account_of(self._refresher.current)

    # --- logging in and out -----------------------------------------------------------------------------------------

    async def start_device_login(self) -> DeviceLogin:
        """Start a login on another device (RFC 8628): for terminals, and workers without a browser.

        Raises LoginFailedError; TransportError and its like; TokenStoreError for a store that cannot be used.
        """
        self._bind()
        await self._check_store()  # before anyone types in a code
        try:
            code = await self._client.device_code()
        except OAuthError as error:
            failure = login_error(error.error, error.description)
        else:
            return DeviceLogin(self._client, code, self._store_login, self._now)
        raise failure

    def start_code_login(self, redirect_uri: str) -> AuthorizationRequest:
        """Start a login by redirect: for web apps. Keep what it returns in the person's own web session.

        `redirect_uri`: exactly as it is registered in the vendor's portal.
        """
        return self._client.authorization_request(redirect_uri)

    async def finish_code_login(self, request: AuthorizationRequest, redirected_to: str) -> Account:
        """Finish a login by redirect: `redirected_to` is the URL at which the person came back, or its query.

        Raises LoginFailedError if they declined, if the redirect belongs to another login, or if the answer was lost:
        a code can be used once. TokenStoreError, or TransportError for a lock that is not free, if the store cannot be
        used: the code has then not been sent.
        """
        redirected_to = hide(redirected_to)
        self._bind()
        code = read_redirect(redirected_to, state=request.state)
        await self._check_store()
        try:
            granted = await self._client.exchange(code, request, now=self._now())
        except OAuthError as error:
            failure = login_error(error.error, error.description)
        except REQUEST_FAILURES as error:
            failure = LoginFailedError(f"the login was not completed, begin a new one: {error}", reason="lost")
        else:
            return await self._store_login(granted)
        raise failure

    async def account(self) -> Account | None:
        """Return what may be shown of the login, None for none. It asks only the store, and holds no secret."""
        record = await self._store.load()
        return None if record is None else self._account_of(record)

    async def log_out(self) -> bool:
        """Remove the login from the store; tell whether there was one.

        The vendor documents no way to revoke it: its tokens remain valid there until they expire.
        """
        self._bind()
        return await self._refresher.delete_login()

    async def _check_store(self) -> None:
        """Raise what a store that cannot be used raises, before anything is spent for it."""
        async with self._store.locked():
            await self._store.load(any_owner=True)

    async def _store_login(self, granted: GrantedTokens) -> Account:
        # In a task that no caller can cancel: these tokens exist nowhere else.
        login = spawn(self._finish_login(granted))
        self._logins.add(login)
        login.add_done_callback(self._logins.discard)
        return await asyncio.shield(login)

    async def _finish_login(self, granted: GrantedTokens) -> Account:
        record = await self._refresher.store_login(granted)
        self._rejected = None
        self._forget_failures()
        return self._account_of(record)

    def _account_of(self, record: StoredTokens | None) -> Account:
        assert record is not None
        problem = self._refresher.reauthorization_error(record)
        return Account.of(record, None if problem is None else str(problem), repr(self._store))

    # --- the one refresh --------------------------------------------------------------------------------------------

    async def _new_token(self) -> str:
        """Wait for an access token other than the current one."""
        loop = asyncio.get_running_loop()
        while True:
            error, delay = self._error, self._retry_at - loop.time()
            if error is not None and delay > 0 and not self._refresh.running:
                # Worth waiting for: the attempt after the first lost answer, if it is near.
                pending = isinstance(error, RefreshPendingError) and error.after <= _MAX_WAIT_FOR_RETRY_S
                if not pending or self._failures > 1:
                    # A copy for each caller: each raise adds to the traceback of an error.
                    raise copy.copy(error) if isinstance(error, CCActivityError) else error
                await asyncio.sleep(delay)
                continue
            refresh = self._start_refresh()
            await asyncio.wait([refresh])
            if refresh.cancelled():
                continue  # by `aclose`: the next step raises
            refresh.result()  # re-raises BaseException
            record = self._refresher.current
            if self._error is None and record is not None and record.access_token != self._rejected:
                return record.access_token

    def _start_refresh(self) -> asyncio.Task[None]:
        self._bind()
        return self._refresh.start(self._run_refresh)

    async def _run_refresh(self) -> None:
        try:
            await self._refresher.refresh(self._rejected)
        except RefreshPendingError as error:
            self._failures += error.tried
            self._retry_after(error, error.after)
        except Exception as error:  # noqa: BLE001 -- a user's store may raise anything; callers get it
            if isinstance(error, TokenError) and not isinstance(error, OAuthError):
                # Only a person can help. Their login is noticed soon, for reading the store costs no request.
                self._retry_after(error, _LOGIN_CHECK_INTERVAL_S)
            else:
                self._failures += 1
                delay = _FIRST_RETRY_DELAY_S * 2.0 ** min(self._failures - 1, 10)
                self._retry_after(error, min(delay, _MAX_REFRESH_DELAY_S))
            if usable_seconds(self._refresher.current, self._rejected, self._now()) > 0:
                _log.warning("the access token is still good, but it cannot be refreshed: %s", describe_error(error))
            else:
                _log.debug("no access token: %s", describe_error(error))
        else:
            self._forget_failures()

    def _retry_after(self, error: Exception, delay: float) -> None:
        self._error, self._retry_at = error, asyncio.get_running_loop().time() + delay

    def _forget_failures(self) -> None:
        self._error, self._failures, self._retry_at = None, 0, 0.0

    def _bind(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise SessionClosedError("these tokens were closed")
        return self._loop.bind()
