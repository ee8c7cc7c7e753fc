"""A store that fails at the worst moment: what is kept in memory, what is said, and what is never done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
from support.logins import Brittle, expired, logged_in, record_of, stored_in, tokens_of, vendor

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity._secret import Secret
from ccactivity.oauth import MemoryStore

FULL = OSError(28, "No space left on device")


class DatabaseError(Exception):
    """As databases raise them: with what was to be saved in the text."""


async def test_a_save_that_worked_and_seemed_to_fail_is_recognized(caplog: pytest.LogCaptureFixture) -> None:
    """When the answer of a database is lost after the commit, the tokens are found there."""
    async with vendor() as sandbox:
        memory = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, Brittle(memory, "after save 2", FULL)) as tokens:
            token = await tokens.access_token()

        assert token == (await stored_in(memory)).access_token
        assert 1 == caplog.text.count("NEW TOKENS COULD NOT BE SAVED")


async def test_what_a_database_says_about_tokens_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """Errors that are not the system's or ours are named, and not quoted: the canary would show it."""
    async with vendor() as sandbox:
        memory = await logged_in(sandbox, **expired())
        secret = DatabaseError(f"INSERT failed: {(await stored_in(memory)).refresh_token}")
        async with tokens_of(sandbox, Brittle(memory, "save 2", secret)) as tokens:
            await tokens.access_token()
        assert "DatabaseError" in caplog.text

        again = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, Brittle(again, "save 1", secret)) as tokens:
            with pytest.raises(cc.TokenStoreError, match=r"\(DatabaseError\): nothing was sent") as caught:
                await tokens.access_token()
        assert "canary" not in str(caught.value)


@pytest.mark.parametrize("works_at_last", [True, False])
async def test_closing_is_the_last_chance_to_save(works_at_last: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Tokens that are only in memory are saved when their user leaves; if that fails too, it is said."""
    async with vendor() as sandbox:
        memory = await logged_in(sandbox, **expired())
        store = Brittle(memory, "save 2", FULL, times=5 if works_at_last else 99)
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
        async with tokens_of(sandbox, Brittle(memory, "save 2", FULL, times=10_000)) as tokens:
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
        async with tokens_of(sandbox, Brittle(memory, "save 2", FULL, times=5)) as tokens:
            await tokens.access_token()
            await (await tokens.start_device_login())
            token = await tokens.access_token()
            await asyncio.sleep(300)

        assert token == (await stored_in(memory)).access_token
        assert [1, 0] == [sum(family.posts.values()) for family in sandbox.oauth.families]


async def test_somebody_who_ignores_the_lock_does_not_keep_tokens_in_memory_for_ever() -> None:
    """If the stored version changes while newer tokens wait, they are saved over it."""
    async with vendor() as sandbox:
        memory = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, Brittle(memory, "save 2", FULL, times=6)) as tokens:
            token = await tokens.access_token()
            stored = await stored_in(memory)
            touched = attrs.evolve(stored, version=stored.version + 1)
            assert await memory.save(touched, replaces=stored.version)
            await asyncio.sleep(120)

            assert token == (await stored_in(memory)).access_token


async def test_a_verdict_that_cannot_be_stored_is_remembered() -> None:
    """A token that the vendor refused for good is not shown again, even if nobody could write that down."""
    async with vendor() as sandbox:
        memory = await logged_in(sandbox, **expired())
        sandbox.revoke_logins()
        async with tokens_of(sandbox, Brittle(memory, "save 2", FULL, times=99)) as tokens:
            for _ in range(5):
                with pytest.raises(cc.ReauthorizationRequiredError):
                    await tokens.access_token()
                await asyncio.sleep(100)

        assert 1 == sandbox.requests["token"]


async def test_a_note_that_cannot_be_taken_back_only_costs_a_wait() -> None:
    """After a request that the vendor did not take, what is stored may still say that one was made."""
    async with vendor() as sandbox:
        sandbox.faults.add(
            sb.Answer(sb.Reply(status=400, body=b'{"error": "invalid_request"}')), where="token", times=1
        )
        memory = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, Brittle(memory, "save 2", FULL)) as tokens:
            with pytest.raises(cc.TokenError, match="invalid_request"):
                await tokens.access_token()
            await asyncio.sleep(6)
            await tokens.access_token()

        assert {0: 1} == sandbox.oauth.families[0].posts


async def test_a_store_that_cannot_be_read_harms_nobody_who_has_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """A good token is given out all the same; without one the error says what failed."""
    async with vendor(access_life=3600) as sandbox:
        memory = await logged_in(sandbox)
        async with tokens_of(sandbox, Brittle(memory, "load 2", OSError(5, "Input/output error"), times=9)) as tokens:
            token = await tokens.access_token()
            await asyncio.sleep(3400)
            assert token == await tokens.access_token()
            await asyncio.sleep(1)
            assert "cannot be read: OSError: Input/output error" in caplog.text
            await asyncio.sleep(200)
            with pytest.raises(cc.TokenStoreError, match="Input/output error"):
                await tokens.access_token()


async def test_a_database_that_is_down_is_heard_of_as_it_is() -> None:
    """A store of the user's own may raise anything: callers get it, and the next attempt comes later."""
    async with vendor() as sandbox:
        memory = await logged_in(sandbox)
        store = Brittle(memory, "load 1", DatabaseError("no route to the database"))
        async with tokens_of(sandbox, store) as tokens:
            for _ in range(3):
                with pytest.raises(DatabaseError):
                    await tokens.access_token()
            assert 1 == len(store.calls)
            await asyncio.sleep(6)

            assert (await stored_in(memory)).access_token == await tokens.access_token()


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
    """Somebody who keeps it for long ends no watch: it may be free the next time. What the system denies is final."""

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


async def test_a_store_that_changes_at_every_look_is_given_up() -> None:
    """Compare-and-set that always fails means that the lock keeps nobody out; nothing is sent."""

    class Restless(MemoryStore):
        async def save(self, record: object, *, replaces: int) -> bool:
            return False

    async with vendor() as sandbox:
        store = Restless()
        store._record = record_of(sandbox, **expired(), access_token=Secret("canary-secret-old"))
        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(cc.TokenStoreError, match="keep others out"):
                await tokens.access_token()

        assert 0 == sandbox.requests["token"]
