"""What a place for tokens has to do; no place is in here but memory.

A store keeps one login. Whatever shares it (tasks, processes, machines) must share the lock as well: `exclusive`
has to keep out everyone else until it is left, and its holder's death has to free it, at once or after a while.
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
    """A place for one login. Its repr says where that is: it goes into messages.

    Keep what `StoredTokens.to_json` gives, beside the version, and read it with `StoredTokens.from_json`.
    """

    async def load(self) -> StoredTokens | None:
        """Return what is stored, None for nothing. Needs no lock."""
        ...

    async def save(self, record: StoredTokens, *, replaces: int) -> bool:
        """Store a record durably if the stored version is `replaces`, 0 for nothing; else return False.

        It is called with the lock held. What was stored stays whole until the new record is.
        """
        ...

    async def delete(self) -> None:
        """Remove what is stored: somebody logs out. It is called with the lock held."""
        ...

    def exclusive(self) -> AbstractAsyncContextManager[object]:
        """Return a lock to be entered and left; TimeoutError if it cannot be had within a minute or so."""
        ...


class MemoryStore:
    """Keeps a login as long as the process lives: for tests, and for what must not touch a disk."""

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
        if (self._record.version if self._record else 0) != replaces:
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
