"""What a store of tokens has to do, and the store in memory.

A store keeps one login. All that share it (tasks, processes, machines) share its lock too: `exclusive` excludes all
others until it is left, and the death of its holder frees it, at once or after a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, runtime_checkable

from .models import StoredTokens

__all__ = ["MemoryStore", "TokenStore"]


@runtime_checkable
class TokenStore(Protocol):
    """A place for one login. Its repr says where that is, for messages.

    Store the text of `StoredTokens.to_json` and, beside it, the version; read the text with `StoredTokens.from_json`.
    """

    async def load(self) -> StoredTokens | None:
        """Return what is stored, None for nothing. Needs no lock."""
        ...

    async def save(self, record: StoredTokens, *, replaces: int) -> bool:
        """Store a record durably if the stored version is `replaces` (0: nothing is stored), else return False.

        Called with the lock held. If it fails half-way, what was stored must still be there.
        """
        ...

    async def delete(self) -> None:
        """Remove what is stored: somebody logs out. Called with the lock held."""
        ...

    def exclusive(self) -> AbstractAsyncContextManager[object]:
        """Return the lock as a context manager; TimeoutError if it is not free within a minute or so."""
        ...


class MemoryStore:
    """Keeps a login as long as the process lives: for tests, and where nothing may be written to a disk."""

    def __init__(self) -> None:
        self._record: StoredTokens | None = None
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return "memory"

    async def load(self) -> StoredTokens | None:
        """Return what is stored, None for nothing."""
        return self._record

    async def save(self, record: StoredTokens, *, replaces: int) -> bool:
        """Store a record if the stored version is `replaces`."""
        if replaces != (self._record.version if self._record else 0):
            return False
        self._record = record
        return True

    async def delete(self) -> None:
        """Remove what is stored."""
        self._record = None

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Hold the lock."""
        async with self._lock:
            yield
