"""A store that may fail without losing tokens: what cannot be saved is used from memory until it can.

1. Whatever changes the login holds two locks: one among the tasks of this process, and the store's own.
2. While tokens are only in memory, the store's lock stays with this process: the stored refresh token is spent, and
   nobody may send it to the vendor. Saving is repeated until it works.
3. The text of a store's error is not repeated unless it is ours or the system's: a database's may quote the tokens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import attrs

from .._tasks import SingleFlight
from .._text import escape
from ..errors import CCActivityError, TokenStoreError, TransportError
from .models import StoredTokens
from .stores import TokenStore

__all__ = ["DurableStore", "RefreshPendingError", "describe_error"]

_log: Final = logging.getLogger("ccactivity")
_LOCK_RETRY_DELAY_S: Final = 5.0
_SAVE_RETRY_DELAYS_S: Final = (0.1, 0.5, 1.0, 2.0)
_BACKGROUND_SAVE_DELAYS_S: Final = (5.0, 10.0, 30.0, 60.0)  # the last one again and again
_NOT_SAVED: Final = "NEW TOKENS COULD NOT BE SAVED and are only in memory: if this process ends, log in again"


class RefreshPendingError(TransportError):
    """There is no access token now, but the next attempt, in `after` seconds, may bring one.

    `tried`: whether the vendor or the store's lock was tried just now, in vain.
    """

    def __init__(self, reason: str, *, path: str, after: float, tried: bool) -> None:
        super().__init__(reason, method="POST", path=path)
        self.after = after
        self.tried = tried


class DurableStore:
    """The login of one application in a store."""

    def __init__(self, store: TokenStore, client_id: str, token_url: str) -> None:
        self._store = store
        self._owner = (client_id, token_url)
        self._task_lock = asyncio.Lock()
        self._store_lock = AsyncExitStack()  # entered while it is held: under `locked`, and while there is `_unsaved`
        self._unsaved: StoredTokens | None = None  # newer than what is stored
        self._stored_version = 0  # which the unsaved record is to replace
        self._rejected: StoredTokens | None = None  # the vendor's last rejection, even if it could not be stored
        self._background_save: SingleFlight[None] = SingleFlight()

    def __repr__(self) -> str:
        return repr(self._store)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold both locks; RefreshPendingError if the store's is not free in time."""
        async with self._task_lock:
            if self._unsaved is None:
                try:
                    await self._store_lock.enter_async_context(self._store.exclusive())
                except TimeoutError as error:
                    reason, delay = str(error) or f"{self!r} is locked by somebody else", _LOCK_RETRY_DELAY_S
                    raise RefreshPendingError(reason, path=self._owner[1], after=delay, tried=True) from None
                except OSError as error:
                    raise TokenStoreError(f"{self!r} cannot be locked: {describe_error(error)}") from None
            try:
                yield
            finally:
                if self._unsaved is None:
                    await self._store_lock.aclose()

    async def load(self, *, any_owner: bool = False) -> StoredTokens | None:
        """Return the current login, None for none.

        TokenStoreError if it cannot be read, or belongs to another application or server and not `any_owner` will do.
        """
        if self._unsaved is not None:
            return self._unsaved
        try:
            stored = await self._store.load()
        except OSError as error:
            raise TokenStoreError(f"{self!r} cannot be read: {describe_error(error)}") from None
        if stored is None:
            return None
        if (stored.client_id, stored.token_url) != self._owner and not any_owner:
            owner = f"{escape(stored.client_id, 60)} of {escape(stored.token_url, 120)}"
            raise TokenStoreError(f"{self!r} holds the login of another client or server ({owner}): use another store")
        rejected = self._rejected
        if rejected is not None and stored.refused is None and stored.refresh_token == rejected.refresh_token:
            return attrs.evolve(stored, refused=rejected.refused)
        return stored

    async def record_intent(self, record: StoredTokens, *, replaces: int) -> bool:
        """Store a refresh attempt before the token is sent; needs the locks. False if the login was changed meanwhile.

        TokenStoreError if it cannot be stored: then nothing may be sent.
        """
        if not await self._save_unsaved():
            # The stored refresh token is spent already, so a stored attempt would protect nothing.
            self._unsaved = record
            return True
        try:
            return await self._store.save(record, replaces=replaces)
        except Exception as error:  # noqa: BLE001 -- a user's store may raise anything
            problem = describe_error(error)
        raise TokenStoreError(f"the refresh attempt cannot be stored in {self!r} ({problem}): nothing was sent")

    async def record_outcome(self, record: StoredTokens) -> None:
        """Store what came of an attempt without new tokens, if that is possible; needs the locks."""
        if record.refused is not None:
            self._rejected = record
        if self._unsaved is not None:
            self._unsaved = record
        else:
            await self._try_save(record, record.version - 1, "the outcome of a refresh could not be stored")

    async def save(self, record: StoredTokens, *, replaces: int, spent: str | None) -> StoredTokens:
        """Store new tokens, or keep them in memory until that is possible; needs the locks. Return the current login.

        `spent`: the refresh token that was exchanged for them; None for a new login, which replaces any other.
        """
        if self._unsaved is not None:
            replaces = self._stored_version
        login = await self._save(record, replaces, spent, _SAVE_RETRY_DELAYS_S)
        if self._unsaved is not None:
            self._background_save.start(self._save_in_background)
        return login

    async def delete(self) -> None:
        """Remove the login; needs the locks."""
        await self._store.delete()
        self._unsaved = None

    async def aclose(self) -> None:
        """Try once more to save what is only in memory, and release the store's lock."""
        async with self._task_lock:
            await self._background_save.aclose(0.0)
            if not await self._save_unsaved():
                _log.critical("new tokens end with this process: they cannot be saved in %r; log in again", self)
            self._unsaved = None
            await self._store_lock.aclose()

    async def _save_in_background(self) -> None:
        delays = iter(_BACKGROUND_SAVE_DELAYS_S)
        while self._unsaved is not None:
            await asyncio.sleep(next(delays, _BACKGROUND_SAVE_DELAYS_S[-1]))
            async with self.locked():
                await self._save_unsaved()

    async def _save_unsaved(self) -> bool:
        """Try to save what is only in memory; tell whether everything is saved."""
        unsaved = self._unsaved
        if unsaved is not None:
            await self._save(unsaved, self._stored_version, None, ())
            if self._unsaved is None:
                _log.warning("the tokens that could not be saved in %r are saved now", self)
        return self._unsaved is None

    async def _save(
        self, record: StoredTokens, replaces: int, spent: str | None, retry_delays: Iterable[float]
    ) -> StoredTokens:
        for delay in (*retry_delays, None):
            stored = await self._try_save(record, replaces)
            if stored is not None:
                replaced = stored != record and spent not in (None, stored.refresh_token)
                if replaced:
                    _log.warning("somebody else stored tokens in %r, in spite of the lock; those are used", self)
                if replaced or stored == record:
                    self._unsaved = None
                    return stored
                replaces, record = stored.version, attrs.evolve(record, version=stored.version + 1)
            elif delay is not None:
                await asyncio.sleep(delay)
        self._unsaved, self._stored_version = record, replaces
        return record

    async def _try_save(self, record: StoredTokens, replaces: int, message: str = _NOT_SAVED) -> StoredTokens | None:
        """Save once, and return what the store then holds: this record or another one; None if that is unknown."""
        try:
            if await self._store.save(record, replaces=replaces):
                return record
            # A save that seemed to fail may have worked: then the record is there already.
            stored = await self._store.load()
        except Exception as error:  # noqa: BLE001 -- a user's store may raise anything
            _log.error("%s (%s, in %r)", message, describe_error(error), self)
            return None
        if stored != record:
            _log.error("%s (%r holds another version)", message, self)
        return stored


def describe_error(error: Exception) -> str:
    """Say what failed, in words that are ours or the system's: others may quote tokens."""
    if isinstance(error, CCActivityError):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
