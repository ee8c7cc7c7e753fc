"""The refresh of one login, step by step. When one is due, and who waits for it, is decided in `tokens`.

1. **The store is read before the vendor is asked.** What another process has stored is used; the store is read before
   the lock is taken, and again under it.
2. **Each refresh attempt is written to the store before the token is sent, and sends it once.** Whoever finds an
   attempt under the lock knows that a refresh was interrupted: its process died, or its response was lost.
3. **An attempt is removed if the vendor certainly did not process it**: no connection, a 429, an error of the
   application itself. Otherwise the refresh token may be spent, and nobody can know. It is then sent again, since
   giving up would certainly mean a new login, but after a delay that grows, and never after the vendor has said
   `invalid_grant`. That answer is stored too; stored tokens are never removed.
4. **New tokens are stored before they are used.**
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import attrs

from .._text import escape
from ..errors import CCActivityError, LoginFailedError, ReauthorizationRequiredError, TokenStoreError
from .client import GrantedTokens, OAuthClient
from .durable_store import DurableStore, RefreshPendingError
from .models import RefreshAttempt, RefreshRejection, StoredTokens, usable_seconds
from .token_endpoint import NOT_PROCESSED, OUTCOME_UNKNOWN, OAuthError

__all__ = ["Refresher"]

_log: Final = logging.getLogger("ccactivity")
_IDLE_TIME: Final = timedelta(days=179)  # a rejection after it is put down to the vendor's limit of 180 idle days
_MAX_STORE_CONFLICTS: Final = 5
_MAX_RESEND_DELAY_S: Final = 300.0
_RESEND_DELAY_FACTOR: Final = 3.0
_TIME_FORMAT: Final = "%Y-%m-%d %H:%M:%S UTC"


class Refresher:
    """Refreshes one login, for one caller at a time. `current`: the login as last seen, None before that or for none.

    `advice`: how to log in again, for errors that only a person can resolve. `pause`: seconds between a lost response
    and the next attempt.
    """

    def __init__(
        self, client: OAuthClient, store: DurableStore, now: Callable[[], datetime], *, advice: str, pause: float
    ) -> None:
        self.current: StoredTokens | None = None
        self._client = client
        self._store = store
        self._now = now
        self._advice = advice
        self._first_resend_delay = pause

    async def store_login(self, granted: GrantedTokens) -> StoredTokens:
        """Store a new login, instead of any earlier one of anyone; LoginFailedError if it cannot be used."""
        if granted.access_token is None:
            reason = "the response has no access token that can be sent"
            raise LoginFailedError(f"POST {self._client.token_url}: {reason}", reason="lost")
        async with self._store.locked():
            stored, now = await self._store.load(any_owner=True), self._now()
            replaces = stored.version if stored else 0
            record = StoredTokens(
                client_id=self._client.client_id,
                token_url=self._client.token_url,
                access_token=granted.access_token,
                refresh_token=granted.refresh_token,
                scopes=granted.scopes or self._client.scopes,
                obtained_at=now,
                expires_at=granted.expires_at(now),
                version=replaces + 1,
            )
            self.current = await self._store.save(record, replaces=replaces, spent=None)
        if record.refresh_token is None:
            _log.warning(
                "no refresh token was granted: this login ends with its access token (see the vendor's portal)"
            )
        return record

    async def delete_login(self) -> bool:
        """Remove the login from the store and from memory; tell whether there was one."""
        async with self._store.locked():
            stored = await self._store.load(any_owner=True)
            await self._store.delete()
        self.current = None
        return stored is not None

    async def refresh(self, rejected: str | None) -> None:
        """Make `current` a login whose access token may be sent, and is not the one that the API has `rejected`.

        Raises ReauthorizationRequiredError, TokenStoreError or another TokenError; TransportError and its like,
        RefreshPendingError among them, if a later call may succeed.
        """
        # Early, while the current token is good, it is not enough to find that same one in the store.
        early = self.current is None or self.current.access_token != rejected
        if self._accept(await self._store.load(), rejected, early=early):
            return
        async with self._store.locked():
            for _ in range(_MAX_STORE_CONFLICTS):
                stored = await self._store.load()
                if self._accept(stored, rejected, early=early) or await self._refresh_once(stored):
                    return
        raise TokenStoreError(f"{self._store!r} changes while it is locked: does its lock keep others out?")

    def reauthorization_error(self, stored: StoredTokens | None) -> ReauthorizationRequiredError | None:
        """Return why somebody must log in again, None if nobody must."""
        since = None
        if stored is None:
            message, reason = f"nobody has logged in: there are no tokens in {self._store!r}", "not_logged_in"
        elif stored.refused is not None:
            message, reason, since = _describe_rejection(stored.refused), stored.refused.reason, stored.refused.since
        elif stored.refresh_token is None:
            message = "the login has no refresh token (was offline_access granted?), so it ends with its access token"
            reason, since = "no_refresh_token", stored.obtained_at
        else:
            return None
        return ReauthorizationRequiredError(f"{message}; {self._advice}", reason=reason, since=since)

    def _accept(self, stored: StoredTokens | None, rejected: str | None, *, early: bool) -> bool:
        """Make what is stored current; tell whether its access token will do."""
        self.current = stored
        if stored is None:
            return False
        return usable_seconds(stored, rejected, self._now()) > (stored.margin if early else 0.0)

    async def _refresh_once(self, stored: StoredTokens | None) -> bool:
        """Send the refresh token once, if it may be sent now; False if the login was changed in spite of the lock."""
        if problem := self.reauthorization_error(stored):
            raise problem
        assert stored is not None
        assert stored.refresh_token is not None
        now, attempt = self._now(), stored.attempt
        if attempt is not None:
            delay, passed = self._resend_delay(attempt.count), (now - attempt.last).total_seconds()
            if 0 <= passed < delay:  # negative: the clock was set back, which must not prolong the delay
                raise self._pending_error(attempt, delay - passed, tried=False)
        attempt = RefreshAttempt(attempt.began, now, attempt.count + 1) if attempt else RefreshAttempt(now, now, 1)
        attempted = attrs.evolve(stored, version=stored.version + 1, attempt=attempt)
        if not await self._store.record_intent(attempted, replaces=stored.version):
            return False
        failure: CCActivityError
        try:
            granted = await self._client.refresh(stored.refresh_token, now=self._now())
        except OAuthError as error:
            if error.error == "invalid_grant":
                return await self._record_rejection(stored, attempted, error)
            failure = error
        except NOT_PROCESSED as error:
            failure = error
        except OUTCOME_UNKNOWN as error:
            self.current, delay = attempted, self._resend_delay(attempt.count)
            _log.warning("a refresh got no answer (%s); the refresh token may be spent, next try in %g s", error, delay)
            raise self._pending_error(attempt, delay, tried=True) from None
        else:
            await self._store_granted(attempted, granted)
            return True
        # It was not processed, so everything is as it was before.
        await self._store.record_outcome(attrs.evolve(stored, version=attempted.version + 1))
        raise failure

    async def _store_granted(self, attempted: StoredTokens, granted: GrantedTokens) -> None:
        """Store what a refresh has brought; what it has not brought stays as it was."""
        now, access_token = self._now(), granted.access_token
        record = attrs.evolve(
            attempted,
            version=attempted.version + 1,
            access_token=access_token or attempted.access_token,
            refresh_token=granted.refresh_token or attempted.refresh_token,
            scopes=granted.scopes or attempted.scopes,
            obtained_at=now if access_token else attempted.obtained_at,
            expires_at=granted.expires_at(now) if access_token else now,
            attempt=None,
            refused=None,
        )
        self.current = await self._store.save(record, replaces=attempted.version, spent=attempted.refresh_token)
        if access_token is None:
            # What it has brought is stored all the same: the next refresh needs its refresh token.
            reason = "the response to a refresh has no access token that can be sent"
            raise RefreshPendingError(reason, path=self._client.token_url, after=self._resend_delay(1), tried=True)
        _log.debug("there is a new access token, valid until %s", record.expires_at or "an unknown time")

    async def _record_rejection(self, stored: StoredTokens, attempted: StoredTokens, error: OAuthError) -> bool:
        """Store that the refresh token was rejected, and raise; False if another one has been stored meanwhile."""
        latest = None
        with suppress(Exception):  # the vendor has answered, whether or not the store can be read
            latest = await self._store.load()
        if latest is not None and latest.refresh_token != attempted.refresh_token:
            return False
        now, since = self._now(), stored.obtained_at
        if stored.attempt is not None:
            reason, since = "interrupted", stored.attempt.began
        else:
            reason = "idle" if now - since > _IDLE_TIME else "revoked"
        rejection = RefreshRejection(now, reason, since, said=escape(error.description or error.error, 200))
        version = (latest or attempted).version + 1
        self.current = attrs.evolve(attempted, version=version, attempt=stored.attempt, refused=rejection)
        await self._store.record_outcome(self.current)
        raise self.reauthorization_error(self.current) or AssertionError

    def _resend_delay(self, count: int) -> float:
        """Seconds from the last of `count` unanswered attempts to the next: its request may still be on the way."""
        return min(_MAX_RESEND_DELAY_S, self._first_resend_delay * _RESEND_DELAY_FACTOR ** min(count - 1, 20))

    def _pending_error(self, attempt: RefreshAttempt, after: float, *, tried: bool) -> RefreshPendingError:
        began = f"{attempt.began:{_TIME_FORMAT}}"
        reason = f"a refresh that began at {began} got no answer; the next attempt is in {after:.0f} s"
        return RefreshPendingError(reason, path=self._client.token_url, after=after, tried=tried)


def _describe_rejection(rejection: RefreshRejection) -> str:
    when = "" if rejection.since is None else f"{rejection.since:{_TIME_FORMAT}}"
    if rejection.reason == "interrupted":
        return f"an interrupted refresh of {when} has spent the refresh token: its answer was lost or not saved"
    if rejection.reason == "idle":
        return f"the refresh token was last used at {when}: the vendor ends one that nobody uses for 180 days"
    return (
        f"the vendor no longer accepts the refresh token ({rejection.said}): access was withdrawn, the password or the"
        " application's secret was changed, or a copy of the token was used elsewhere"
    )
