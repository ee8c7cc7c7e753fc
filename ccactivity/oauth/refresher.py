"""How a login is refreshed, step by step; it decides neither when, nor who waits, nor how a record is kept.

1. **Look before asking.** What another process has stored is adopted, before the lock and again under it.
2. **The intent is noted durably before the request.** Whoever finds a note under the lock knows that a refresh was
   interrupted: its holder died, or its answer was lost.
3. **A refresh token is shown once for each note.** When it is certain that the vendor took nothing (no connection, a
   429, an error of the client's own), the note goes. When it is not, the token may have been spent, and no one can
   know: it is shown again, since not doing so would mean a new login for certain, but after a pause, which grows, and
   never again after the vendor has said `invalid_grant`. That answer is stored too; nothing stored is removed.
4. **Tokens are stored before they are used.**
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from .._secret import Secret
from .._text import escape
from ..api.outcome import NotSentError, UntrustedServerError
from ..errors import (
    CCActivityError,
    DecodeError,
    ReauthorizationRequiredError,
    ServerError,
    ThrottledError,
    TokenStoreError,
    TransportError,
)
from .client import OAuthClient, Tokens
from .durable_store import Vault
from .models import Attempt, Refusal, StoredTokens
from .token_endpoint import Refused

__all__ = ["Keeper", "NotYet"]

_log: Final = logging.getLogger("ccactivity")
_IDLE: Final = timedelta(days=179)
_CONFLICTS: Final = 5
_LONGEST_PAUSE: Final = 300.0


class NotYet(TransportError):
    """There is no access token now, but there may be one in `after` seconds. `tried`: the vendor was asked just now."""

    def __init__(self, reason: str, *, path: str, after: float, tried: bool) -> None:
        super().__init__(reason, method="POST", path=path)
        self.after = after
        self.tried = tried


class Keeper:
    """Keeps one login fresh; one caller at a time renews.

    `advice` ends each error that only a person can mend. `pause`: seconds after the first lost answer.
    """

    def __init__(
        self, client: OAuthClient, vault: Vault, now: Callable[[], datetime], *, advice: str, pause: float
    ) -> None:
        self.current: StoredTokens | None = None
        self._client = client
        self._vault = vault
        self._now = now
        self._advice = advice
        self._first_pause = pause

    async def keep(self, tokens: Tokens, access_token: Secret) -> StoredTokens:
        """Store a new login in the place of any earlier one, whoever's that was."""
        async with self._locked():
            stored = await self._vault.read(anyones=True)
            replaces = stored.version if stored else 0
            record = StoredTokens(
                client_id=self._client.client_id,
                token_url=self._client.token_url,
                access_token=access_token,
                refresh_token=tokens.refresh_token,
                scopes=tokens.scopes or self._client.scopes,
                version=replaces + 1,
                **self._dates(tokens),
            )
            self.current = await self._vault.save(record, replaces=replaces, spent=None)
        if record.refresh_token is None:
            _log.warning(
                "the vendor granted no refresh token, although offline_access was asked for: this login ends with its"
                " access token; look at the application's settings in the vendor's portal"
            )
        return record

    async def forget(self) -> bool:
        """Remove the login from the store and from memory; tell whether there was one."""
        async with self._locked():
            stored = await self._vault.read(anyones=True)
            await self._vault.delete()
        self.current = None
        return stored is not None

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        try:
            async with self._vault.locked():
                yield
        except TimeoutError as error:
            words = str(error) or f"{self._vault!r} is locked by somebody else"
        else:
            return
        raise NotYet(words, path=self._client.token_url, after=5.0, tried=True)

    # --- a refresh --------------------------------------------------------------------------------------------------

    async def renew(self, refused: str | None) -> None:
        """See to it that `current` holds an access token that is worth sending, and is not the `refused` one.

        Raises ReauthorizationRequiredError, TokenStoreError or another TokenError; NotYet and its like if it may go
        better later.
        """
        if self._adopted(await self._vault.read(), refused):
            return
        async with self._locked():
            for _ in range(_CONFLICTS):
                stored = await self._vault.read()
                if self._adopted(stored, refused):
                    return
                if await self._refreshed(self._check_refreshable(stored)):
                    return
        raise TokenStoreError(f"{self._vault!r} changes while it is locked: does its lock keep others out?")

    async def _refreshed(self, stored: StoredTokens) -> bool:
        """Refresh once; False if the login was changed meanwhile, in spite of the lock."""
        refresh_token = stored.refresh_token
        assert refresh_token is not None
        now, before = self._now(), stored.attempt
        attempt = Attempt(before.began if before else now, now, before.count + 1 if before else 1)
        noted = attrs.evolve(stored, version=stored.version + 1, attempt=attempt)
        if not await self._vault.note(noted, replaces=stored.version):
            return False
        tokens = await self._ask(refresh_token, noted, stored)
        if tokens is None:
            return False
        record = self._next(noted, tokens)
        self.current = await self._vault.save(record, replaces=noted.version, spent=refresh_token)
        if tokens.access_token is None:
            reason = "the answer to a refresh brought no access token that can be sent"
            raise NotYet(reason, path=self._client.token_url, after=self._pause(1), tried=True)
        return True

    def _adopted(self, stored: StoredTokens | None, refused: str | None) -> bool:
        """Take what is stored for current; tell whether it will do."""
        self.current = stored
        if stored is None:
            return False
        left = stored.left(self._now())
        if refused is not None:
            return stored.access_token != refused and (left is None or left > 0)
        return left is None or left > stored.margin

    def _check_refreshable(self, stored: StoredTokens | None) -> StoredTokens:
        """Return a login whose refresh token may be shown now; else raise."""
        problem = self.problem(stored)
        if problem is not None or stored is None:
            raise problem or AssertionError
        if stored.attempt is not None:
            pause = self._pause(stored.attempt.count)
            passed = (self._now() - stored.attempt.last).total_seconds()
            # A clock that was set back must not make it longer.
            if 0 <= passed < pause:
                raise self._not_yet(stored.attempt, pause - passed, tried=False)
        return stored

    def problem(self, stored: StoredTokens | None) -> ReauthorizationRequiredError | None:
        """Return why somebody must log in again, None if nobody must."""
        if stored is None:
            words, reason, since = (
                f"nobody has logged in: there are no tokens in {self._vault!r}",
                "not_logged_in",
                None,
            )
        elif stored.refused is not None:
            reason, since = stored.refused.reason, stored.refused.since
            words = _words(stored.refused)
        elif stored.refresh_token is None:
            reason, since = "no_refresh_token", stored.obtained_at
            words = "the login brought no refresh token (was offline_access granted?), so it ends with its access token"
        else:
            return None
        return ReauthorizationRequiredError(f"{words}; {self._advice}", reason=reason, since=since)

    async def _ask(self, refresh_token: Secret, noted: StoredTokens, before: StoredTokens) -> Tokens | None:
        """Show the refresh token to the vendor; None if another one has been stored meanwhile."""
        assert noted.attempt is not None
        failure: CCActivityError
        try:
            return await self._client.refresh(refresh_token, now=self._now())
        except Refused as refusal:
            if refusal.error == "invalid_grant":
                await self._end(noted, before, refusal)
                return None
            failure = refusal
        except (NotSentError, UntrustedServerError, ThrottledError) as error:
            failure = error
        except (TransportError, ServerError, DecodeError) as error:
            self.current = noted
            _log.warning(
                "a refresh of the access token got no usable answer (%s); its refresh token may be spent or not, and is"
                " shown once more in %g s",
                error,
                self._pause(noted.attempt.count),
            )
            raise self._not_yet(noted.attempt, self._pause(noted.attempt.count), tried=True) from None
        # Nothing was taken, so the note goes: it is as it was before.
        await self._vault.amend(attrs.evolve(before, version=noted.version + 1))
        raise failure

    async def _end(self, noted: StoredTokens, before: StoredTokens, refusal: Refused) -> None:
        """Store that the refresh token is dead, and raise; return if another one has been stored meanwhile."""
        stored = None
        with suppress(Exception):  # whatever keeps the store from telling, the vendor has answered
            stored = await self._vault.read()
        if stored is not None and stored.refresh_token != noted.refresh_token:
            return
        now, since = self._now(), before.obtained_at
        if before.attempt is not None:
            reason, since = "interrupted", before.attempt.began
        else:
            reason = "idle" if now - since > _IDLE else "revoked"
        said = escape(refusal.description or refusal.error, 200)
        version = (stored or noted).version + 1
        dead = attrs.evolve(noted, version=version, attempt=before.attempt, refused=Refusal(now, reason, since, said))
        self.current = dead
        await self._vault.amend(dead)
        raise self.problem(dead) or AssertionError

    def _next(self, record: StoredTokens, tokens: Tokens) -> StoredTokens:
        """Make the record of what a refresh brought; what it did not bring stays."""
        changes: dict[str, Any] = {"version": record.version + 1, "attempt": None, "refused": None}
        if tokens.refresh_token is not None:
            changes["refresh_token"] = tokens.refresh_token
        if tokens.scopes:
            changes["scopes"] = tokens.scopes
        if tokens.access_token is None:
            # The refresh token alone is worth keeping: the next refresh needs it.
            return attrs.evolve(record, **changes, expires_at=self._now())
        return attrs.evolve(record, **changes, access_token=tokens.access_token, **self._dates(tokens))

    def _dates(self, tokens: Tokens) -> dict[str, Any]:
        now = self._now()
        return {
            "obtained_at": now,
            "expires_at": None if tokens.life is None else now + timedelta(seconds=tokens.life),
        }

    def _pause(self, count: int) -> float:
        """Seconds after a lost answer until the token is shown again: the first request may still be on its way."""
        return min(_LONGEST_PAUSE, self._first_pause * 3.0 ** min(count - 1, 20))

    def _not_yet(self, attempt: Attempt, after: float, *, tried: bool) -> NotYet:
        reason = (
            f"a refresh that began at {attempt.began:%Y-%m-%d %H:%M:%S} UTC has got no answer; it is tried again in"
            f" {after:.0f} s"
        )
        return NotYet(reason, path=self._client.token_url, after=after, tried=tried)


def _words(refused: Refusal) -> str:
    when = "" if refused.since is None else f"{refused.since:%Y-%m-%d %H:%M:%S} UTC"
    if refused.reason == "interrupted":
        return (
            f"an interrupted refresh of {when} has spent the refresh token: its answer was lost on the way, or its"
            " process ended before the new tokens were saved"
        )
    if refused.reason == "idle":
        return f"the refresh token was last used at {when}: the vendor ends one that nobody uses for 180 days"
    return (
        f"the vendor accepts the refresh token no more ({refused.said}): access was withdrawn, the password or the"
        " application's secret was changed, or a copy of the token was used elsewhere"
    )
