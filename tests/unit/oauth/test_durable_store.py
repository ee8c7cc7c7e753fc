"""A store that fails at the worst moment: what is kept in memory, what is said, and what is never done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
from support.canary import secrets_in
from support.logins import (
    DISK_FULL,
    DatabaseError,
    FailingStore,
    expired,
    logged_in,
    settle,
    stored_in,
    tokens_of,
    vendor,
)

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.oauth import MemoryStore


@pytest.mark.parametrize("pauses", [3, 30])
async def test_tokens_that_cannot_be_saved_serve_from_memory(pauses: int, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk is loud, costs nobody a token, keeps others out, and is made up for when there is room again."""
    async with vendor(access_life=600) as sandbox:
        memory = await logged_in(sandbox, **expired())
        store = FailingStore(memory, "save 2", DISK_FULL, times=pauses)
        async with tokens_of(sandbox, store) as tokens, tokens_of(sandbox, memory) as other:
            token = await tokens.access_token()
            waiting = asyncio.ensure_future(other.access_token())
            await asyncio.sleep(60)
            assert token == await tokens.access_token()
            await asyncio.sleep(2000)
            newest = await tokens.access_token()
            await settle()

            assert "NEW TOKENS COULD NOT BE SAVED" in caplog.text
            assert "No space left on device" in caplog.text
            assert any(record.levelno == logging.ERROR for record in caplog.records)
            assert newest == (await stored_in(memory)).access_token == await other.access_token()
            await waiting
        assert {1} == set(sandbox.oauth.families[0].posts.values())


async def test_a_save_that_worked_and_seemed_to_fail_is_recognized(caplog: pytest.LogCaptureFixture) -> None:
    """When the answer of a database is lost after the commit, the tokens are found there."""
    async with vendor() as sandbox:
        memory = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, FailingStore(memory, "after save 2", DISK_FULL)) as tokens:
            token = await tokens.access_token()

        assert token == (await stored_in(memory)).access_token
        assert 1 == caplog.text.count("NEW TOKENS COULD NOT BE SAVED")


async def test_what_a_database_says_about_tokens_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """Errors that are not the system's or ours are named, and not quoted: the canary would show it."""
    async with vendor() as sandbox:
        memory = await logged_in(sandbox, **expired())
        secret = DatabaseError(f"INSERT failed: {(await stored_in(memory)).refresh_token}")
        async with tokens_of(sandbox, FailingStore(memory, "save 2", secret)) as tokens:
            await tokens.access_token()
        assert "DatabaseError" in caplog.text

        again = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, FailingStore(again, "save 1", secret)) as tokens:
            with pytest.raises(cc.TokenStoreError, match=r"\(DatabaseError\): nothing was sent") as caught:
                await tokens.access_token()
        assert [] == secrets_in(str(caught.value))


@pytest.mark.parametrize("works_at_last", [True, False])
async def test_closing_is_the_last_chance_to_save(works_at_last: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Tokens that are only in memory are saved when their user leaves; if that fails too, it is said."""
    async with vendor() as sandbox:
        memory = await logged_in(sandbox, **expired())
        store = FailingStore(memory, "save 2", DISK_FULL, times=5 if works_at_last else 99)
        async with tokens_of(sandbox, store) as tokens:
            token = await tokens.access_token()

        assert works_at_last == (token == (await stored_in(memory)).access_token)
        assert works_at_last != ("end with this process" in caplog.text)
        async with memory.exclusive():
            pass


async def test_tokens_in_memory_are_refreshed_in_memory() -> None:
    """A disk that stays full for days costs no login while the process lives."""
    async with vendor(access_life=600) as sandbox:
        memory = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, FailingStore(memory, "save 2", DISK_FULL, times=10_000)) as tokens:
            for _ in range(20):
                await tokens.access_token()
                await asyncio.sleep(601)
            account = await tokens.account()
            assert account is not None
            assert account.problem is None

        assert {1} == set(sandbox.oauth.families[0].posts.values())
        assert 20 == sandbox.requests["token"]


async def test_a_login_while_tokens_wait_in_memory_replaces_them() -> None:
    """The new login is saved, and nothing of the old one comes after it."""
    async with vendor(approve_after=1) as sandbox:
        memory = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, FailingStore(memory, "save 2", DISK_FULL, times=5)) as tokens:
            await tokens.access_token()
            await (await tokens.start_device_login())
            token = await tokens.access_token()
            await asyncio.sleep(300)

        assert token == (await stored_in(memory)).access_token
        assert [1, 0] == [sum(family.posts.values()) for family in sandbox.oauth.families]


async def test_a_process_that_ignores_the_lock_does_not_keep_tokens_in_memory() -> None:
    """If the stored version changes while newer tokens wait, they are saved over it."""
    async with vendor() as sandbox:
        memory = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, FailingStore(memory, "save 2", DISK_FULL, times=6)) as tokens:
            token = await tokens.access_token()
            stored = await stored_in(memory)
            touched = attrs.evolve(stored, version=stored.version + 1)
            assert await memory.save(touched, replaces=stored.version)
            await asyncio.sleep(120)

            assert token == (await stored_in(memory)).access_token


async def test_a_rejection_that_cannot_be_stored_is_remembered() -> None:
    """A token that the vendor has rejected is not sent again, even if the rejection could not be stored."""
    async with vendor() as sandbox:
        memory = await logged_in(sandbox, **expired())
        sandbox.revoke_logins()
        async with tokens_of(sandbox, FailingStore(memory, "save 2", DISK_FULL, times=99)) as tokens:
            for _ in range(5):
                with pytest.raises(cc.ReauthorizationRequiredError):
                    await tokens.access_token()
                await asyncio.sleep(100)

        assert 1 == sandbox.requests["token"]


@pytest.mark.parametrize(
    ("failure", "error", "words"),
    [
        (TimeoutError("held for 60 s"), cc.TransportError, "held for 60 s"),
        (TimeoutError(), cc.TransportError, "locked by somebody else"),
        (
            OSError(13, "Permission denied"),
            cc.TokenStoreError,
            "cannot be locked: OSError: Permission denied|Permission",
        ),
    ],
)
async def test_a_lock_that_cannot_be_had_is_named(failure: OSError, error: type[Exception], words: str) -> None:
    """A lock that is held for long ends no watch: it may be free the next time. What the system denies is final."""

    class Locked(MemoryStore):
        @asynccontextmanager
        async def exclusive(self) -> AsyncIterator[None]:
            if not self.free:
                raise failure
            yield

        free = True

    async with vendor() as sandbox:
        store = await logged_in(sandbox, Locked(), **expired())
        store.free = False
        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(error, match=words):
                await tokens.access_token()

        assert 0 == sandbox.requests["token"]


async def test_tokens_in_memory_survive_a_refresh_without_new_ones() -> None:
    """What a refresh that was not processed leaves behind is in memory too, until the store works again."""
    async with vendor(access_life=600) as sandbox:
        memory = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, FailingStore(memory, "save 2", DISK_FULL, times=30)) as tokens:
            await tokens.access_token()
            invalid = sb.Answer(sb.Reply(status=400, body=b'{"error": "invalid_request"}'))
            sandbox.faults.add(invalid, where="token", times=1)
            await asyncio.sleep(601)
            with pytest.raises(cc.TokenError, match="invalid_request"):
                await tokens.access_token()
            await asyncio.sleep(6)
            began = asyncio.get_running_loop().time()
            token = await tokens.access_token()
            assert asyncio.get_running_loop().time() - began < 4  # of which saving takes 3.6
            await asyncio.sleep(2000)

        record = await stored_in(memory)
        assert (token, None) == (record.access_token, record.attempt)
        assert {1} == set(sandbox.oauth.families[0].posts.values())
