"""A store that may fail without losing tokens: what cannot be saved is used from memory until it can.

1. Whatever changes the login holds two locks: one among the tasks of this process, and the store's own.
2. While tokens are only in memory, the store's lock stays with this process: the stored refresh token is spent, and
   nobody may send it to the vendor. Saving is repeated until it works.
3. The text of a store's error is not repeated unless it is ours or the system's: a database's may quote the tokens.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import attrs

from .._tasks import SingleFlight
from .._text import escape
from ..errors import CCActivityError, TokenStoreError
from .models import StoredTokens
from .stores import TokenStore

__all__ = ["DurableStore", "describe_error"]

_log: Final = logging.getLogger("ccactivity")
_SAVE_RETRY_DELAYS_S: Final = (0.1, 0.5, 1.0, 2.0)
_BACKGROUND_SAVE_DELAYS_S: Final = (5.0, 10.0, 30.0, 60.0)  # the last one again and again
_NOT_SAVED: Final = (
    "NEW TOKENS COULD NOT BE SAVED, and are used from memory; if this process ends now, somebody must log in again"
)


class DurableStore:
    """The login of one application in a store."""

    def __init__(self, store: TokenStore, client_id: str, token_url: str) -> None:
        self._store = store
        self._owner = (client_id, token_url)
        self._task_lock = asyncio.Lock()
        self._store_lock: AsyncExitStack | None = None  # while it is held
        self._unsaved: StoredTokens | None = None  # newer than what is stored
        self._stored_version = 0  # which the unsaved record is to replace
        self._rejected: StoredTokens | None = None  # the vendor's last rejection, even if it could not be stored
        self._background_save: SingleFlight[None] = SingleFlight()

    def __repr__(self) -> str:
        return repr(self._store)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold both locks; TimeoutError if the store's is not free in time."""
        async with self._task_lock:
            if self._store_lock is None:
                lock = AsyncExitStack()
                try:
                    await lock.enter_async_context(self._store.exclusive())
                except TimeoutError:
                    raise
                except OSError as error:
                    raise TokenStoreError(f"{self!r} cannot be locked: {describe_error(error)}") from None
                self._store_lock = lock
            try:
                yield
            finally:
                if self._unsaved is None:
                    await self._unlock_store()

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
            raise TokenStoreError(
                f"{self!r} holds the login of another client or server ({owner}): each needs a store of its own"
            )
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
        except TokenStoreError:
            raise
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
            await self._try_save(record, record.version - 1, logging.WARNING, "the outcome of a refresh was not stored")

    async def save(self, record: StoredTokens, *, replaces: int, spent: str | None) -> StoredTokens:
        """Store new tokens, or keep them in memory until that is possible; needs the locks. Return the current login.

        `spent`: the refresh token that was exchanged for them; None for a new login, which replaces any other.
        """
        if self._unsaved is not None:
            replaces, self._unsaved = self._stored_version, None
        for delay in (*_SAVE_RETRY_DELAYS_S, None):
            stored = await self._try_save(record, replaces)
            if stored == record:
                return record
            if stored is not None:
                if spent not in (None, stored.refresh_token):
                    _log.warning("somebody else stored tokens in %r, in spite of the lock; those are used", self)
                    return stored
                replaces = stored.version
                record = attrs.evolve(record, version=replaces + 1)
            elif delay is not None:
                await asyncio.sleep(delay)
        self._unsaved, self._stored_version = record, replaces
        self._background_save.start(self._save_in_background)
        return record

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
            await self._unlock_store()

    async def _unlock_store(self) -> None:
        lock, self._store_lock = self._store_lock, None
        if lock is not None:
            await lock.aclose()

    async def _save_in_background(self) -> None:
        delays = iter(_BACKGROUND_SAVE_DELAYS_S)
        while self._unsaved is not None:
            await asyncio.sleep(next(delays, _BACKGROUND_SAVE_DELAYS_S[-1]))
            async with self.locked():
                await self._save_unsaved()

    async def _save_unsaved(self) -> bool:
        """Try to save what is only in memory; tell whether everything is saved."""
        record = self._unsaved
        if record is None:
            return True
        stored = await self._try_save(record, self._stored_version)
        if stored == record:
            self._unsaved = None
            _log.warning("the tokens that could not be saved in %r are saved now", self)
            return True
        if stored is not None:
            self._stored_version = stored.version
            self._unsaved = attrs.evolve(record, version=stored.version + 1)
        return False

    async def _try_save(
        self, record: StoredTokens, replaces: int, level: int = logging.ERROR, message: str = _NOT_SAVED
    ) -> StoredTokens | None:
        """Save once, and return what the store then holds: this record or another one; None if that is unknown."""
        try:
            if await self._store.save(record, replaces=replaces):
                return record
            # A save that seemed to fail may have worked: then the record is there already.
            stored = await self._store.load()
        except Exception as error:  # noqa: BLE001 -- a user's store may raise anything
            _log.log(level, "%s (%s, in %r)", message, describe_error(error), self)
            return None
        if stored != record:
            _log.log(level, "%s (%r holds another version)", message, self)
        return stored


def describe_error(error: Exception) -> str:
    """Say what failed, in words that are ours or the system's: others may quote tokens."""
    if isinstance(error, CCActivityError):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__
