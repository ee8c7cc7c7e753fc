"""One login between memory and its store; it sends nothing, and never lets the two disagree unnoticed.

1. Whatever changes the login holds two locks: one among the tasks here, and the store's own.
2. New tokens that cannot be saved serve from memory. The store's lock then stays with this process, since what is
   stored is spent and must not be shown to the vendor by anyone, and saving is tried until it works.
3. What a store says about a failure is not repeated unless it is ours: a database's error may quote the tokens.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import attrs

from .._text import escape
from ..errors import TokenError, TokenStoreError
from .models import StoredTokens
from .stores import TokenStore

__all__ = ["Vault"]

_log: Final = logging.getLogger("ccactivity")
_PAUSES: Final = (0.1, 0.5, 1.0, 2.0)
_LATER: Final = (5.0, 10.0, 30.0, 60.0)


class Vault:
    """The login of one client in one store."""

    def __init__(self, store: TokenStore, client_id: str, token_url: str) -> None:
        self._store = store
        self._owner = (client_id, token_url)
        self._turn = asyncio.Lock()
        self._held: AsyncExitStack | None = None
        # The version in the store, as far as known, and what is newer and only here.
        self._base = 0
        self._unsaved: StoredTokens | None = None
        self._dead: StoredTokens | None = None
        self._saver: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return repr(self._store)

    @asynccontextmanager
    async def locked(self) -> AsyncIterator[None]:
        """Hold both locks; TimeoutError if the store's cannot be had."""
        async with self._turn:
            if self._held is None:
                stack = AsyncExitStack()
                try:
                    await stack.enter_async_context(self._store.exclusive())
                except TimeoutError:
                    raise
                except OSError as error:
                    raise TokenStoreError(f"{self!r} cannot be locked: {_told(error)}") from None
                self._held = stack
            try:
                yield
            finally:
                if self._unsaved is None:
                    held, self._held = self._held, None
                    await held.aclose()

    async def read(self, *, anyones: bool = False) -> StoredTokens | None:
        """Return the login as it is; TokenStoreError for one of another client, unless it may be `anyones`."""
        if self._unsaved is not None:
            return self._unsaved
        try:
            stored = await self._store.load()
        except OSError as error:
            raise TokenStoreError(f"{self!r} cannot be read: {_told(error)}") from None
        if stored is None:
            return None
        if (stored.client_id, stored.token_url) != self._owner and not anyones:
            whose = f"{escape(stored.client_id, 60)} of {escape(stored.token_url, 120)}"
            raise TokenStoreError(
                f"{self!r} holds the tokens of another client or server ({whose}): each needs a store of its own"
            )
        if self._dead is not None and stored.refused is None and stored.refresh_token == self._dead.refresh_token:
            return attrs.evolve(stored, refused=self._dead.refused)
        return stored

    async def note(self, noted: StoredTokens, *, replaces: int) -> bool:
        """Store an intent before it is carried out, under the lock; False if the login has changed meanwhile."""
        if self._unsaved is not None and not await self._save_unsaved():
            # What is stored is spent already, so a note there would protect nothing.
            self._unsaved = noted
            return True
        try:
            return await self._store.save(noted, replaces=replaces)
        except TokenStoreError:
            raise
        except Exception as error:  # noqa: BLE001 -- a store may be anyone's database, and raise anything
            problem = _told(error)
        raise TokenStoreError(f"the intent to refresh cannot be saved in {self!r} ({problem}): nothing was sent")

    async def amend(self, record: StoredTokens) -> None:
        """Store what became of an intent, under the lock, if that is possible: it brought no new tokens."""
        if record.refused is not None:
            self._dead = record
        if self._unsaved is not None:
            self._unsaved = record
        else:
            await self._put(record, record.version - 1, logging.WARNING, "what became of a refresh was not saved")

    async def save(self, record: StoredTokens, *, replaces: int, spent: str | None) -> StoredTokens:
        """Store new tokens under the lock, or keep them in memory until that is possible; return what counts.

        `spent`: the refresh token that they came for; None for a new login, which replaces anything.
        """
        if self._unsaved is not None:
            replaces, self._unsaved = self._base, None
        for pause in (*_PAUSES, None):
            there = await self._put(record, replaces, logging.ERROR, _LOUD)
            if there == record:
                return record
            if there is not None:
                if spent not in (None, there.refresh_token):
                    _log.warning("somebody else stored tokens in %r, in spite of the lock: they count", self)
                    return there
                replaces = there.version
                record = attrs.evolve(record, version=replaces + 1)
            elif pause is not None:
                await asyncio.sleep(pause)
        self._unsaved, self._base = record, replaces
        if self._saver is None:
            self._saver = asyncio.get_running_loop().create_task(self._save_later(), context=contextvars.Context())
        return record

    async def delete(self) -> None:
        """Remove the login, under the lock."""
        await self._store.delete()
        self._unsaved = None

    async def aclose(self) -> None:
        """Save what is not saved yet, if that is possible, and let go of the lock."""
        async with self._turn:
            saver, self._saver = self._saver, None
            if saver is not None:
                saver.cancel()
                await asyncio.wait([saver])
            if self._unsaved is None:
                return
            if not await self._save_unsaved():
                _log.critical("new tokens are lost with this process: %r takes none; somebody must log in again", self)
            self._unsaved = None
            if self._held is not None:
                held, self._held = self._held, None
                await held.aclose()

    async def _save_later(self) -> None:
        waits = iter(_LATER)
        while self._unsaved is not None:
            await asyncio.sleep(next(waits, _LATER[-1]))
            async with self.locked():
                await self._save_unsaved()
        self._saver = None

    async def _save_unsaved(self) -> bool:
        record = self._unsaved
        if record is not None:
            there = await self._put(record, self._base, logging.ERROR, _LOUD)
            if there != record:
                if there is not None:
                    self._base = there.version
                    self._unsaved = attrs.evolve(record, version=there.version + 1)
                return False
            self._unsaved = None
            _log.warning("the tokens that could not be saved in %r are saved now", self)
        return True

    async def _put(self, record: StoredTokens, replaces: int, level: int, words: str) -> StoredTokens | None:
        """Save once, and return what the store then holds: the record, or another one; None if nobody knows."""
        try:
            if await self._store.save(record, replaces=replaces):
                return record
            # A save that seemed to fail may have worked: then the record is there already.
            there = await self._store.load()
        except Exception as error:  # noqa: BLE001 -- as in `note`
            _log.log(level, "%s (%s, in %r)", words, _told(error), self)
            return None
        if there != record:
            _log.log(level, "%s (another version is there, in %r)", words, self)
        return there


_LOUD: Final = (
    "NEW TOKENS COULD NOT BE SAVED, and serve from memory; if this process ends now, somebody must log in again"
)


def _told(error: Exception) -> str:
    """Say what failed, in words that are ours or the system's."""
    if isinstance(error, TokenError):
        return str(error)
    words = error.strerror if isinstance(error, OSError) else None
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
