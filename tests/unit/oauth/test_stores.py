"""What every store does alike."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.logins import NEXT_RECORD, RECORD, save

from ccactivity.oauth import FileStore, MemoryStore, TokenStore


@pytest.mark.parametrize("make", [FileStore, lambda _: MemoryStore()], ids=["file", "memory"])
async def test_a_record_replaces_only_the_version_it_knows(path: Path, make: Callable[[Path], TokenStore]) -> None:
    """Who has not seen the newest version changes nothing."""
    store = make(path)
    assert isinstance(store, TokenStore)

    assert [False, True, False, True] == [
        await save(store, *what) for what in [(NEXT_RECORD, 1), (RECORD, 0), (NEXT_RECORD, 0), (NEXT_RECORD, 1)]
    ]
    assert await store.load() == NEXT_RECORD
    async with store.exclusive():
        await store.delete()
        await store.delete()
    assert await store.load() is None
