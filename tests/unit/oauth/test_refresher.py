"""One refresh: what its outcomes do to the stored login, and what the errors say."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from support.logins import DISK_FULL, FailingStore, expired, logged_in, record_of, stored_in, tokens_of, vendor

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity._secret import Secret
from ccactivity.oauth import MemoryStore
from ccactivity.oauth.models import RefreshAttempt
from ccactivity.testing import utc_now


def _without(name: str) -> Any:
    return lambda body: {key: value for key, value in body.items() if key != name}


async def test_an_answer_without_a_refresh_token_keeps_the_old_one() -> None:
    """Long-lived refresh tokens need not come back with each answer."""
    async with vendor(rotating=False, access_life=600) as sandbox:
        sandbox.faults.add(sb.Edit(lambda body: {**body, "refresh_token": ""}), where="token", times=1)
        sandbox.faults.add(sb.Edit(_without("refresh_token")), where="token")
        store = await logged_in(sandbox)
        first = (await stored_in(store)).refresh_token
        async with tokens_of(sandbox, store) as tokens:
            for _ in range(3):
                await tokens.access_token()
                await asyncio.sleep(601)
            await tokens.access_token()

    assert first == (await stored_in(store)).refresh_token
    assert 3 == sandbox.requests["token"]


async def test_a_rotated_token_is_kept_even_if_the_access_token_is_useless() -> None:
    """The refresh token of an answer that brings nothing else is what the next refresh needs."""
    async with vendor() as sandbox:
        sandbox.faults.add(sb.Edit(_without("access_token")), where="token", times=1)
        store = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, store) as tokens:
            await tokens.access_token()

    assert {0: 1, 1: 1} == sandbox.oauth.families[0].posts


@pytest.mark.parametrize("body", ['{"error": "%s"}', '{"errorCode": "%s", "errorSummary": "Invalid value."}'])
@pytest.mark.parametrize("error", ["invalid_client", "unauthorized_client", "invalid_request"])
async def test_what_is_wrong_with_the_client_is_no_lost_login(error: str, body: str) -> None:
    """Such an error is a TokenError that says so; what is stored is as it was, and serves again once that is mended."""
    async with vendor() as sandbox:
        answer = sb.Answer(sb.Reply(status=401, body=(body % error).encode()))
        fault = sandbox.faults.add(answer, where="token")
        store = await logged_in(sandbox, **expired())
        before = await stored_in(store)
        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(cc.TokenError, match=error) as caught:
                await tokens.access_token()
            assert cc.TokenError in type(caught.value).__mro__
            assert not isinstance(caught.value, cc.ReauthorizationRequiredError)
            record = await stored_in(store)
            assert (before.refresh_token, None, None) == (record.refresh_token, record.attempt, record.refused)

            for _ in range(60):
                with pytest.raises(cc.TokenError):
                    await tokens.access_token()
                await asyncio.sleep(1)
            assert sandbox.requests["token"] <= 5

            sandbox.faults.remove(fault)
            await asyncio.sleep(61)
            await tokens.access_token()


async def test_a_rejected_refresh_token_is_not_sent_again_and_a_new_login_is_noticed() -> None:
    """After `invalid_grant` nothing is sent, by any process; a login elsewhere is used without a restart."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox, **expired())
        sandbox.revoke_logins()
        for _ in range(3):
            async with tokens_of(sandbox, store) as tokens:
                for _ in range(3):
                    with pytest.raises(cc.ReauthorizationRequiredError):
                        await tokens.access_token()
                    await asyncio.sleep(2)
                if sandbox.requests["token"] != 1:
                    pytest.fail("a rejected token was sent again")

        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(cc.ReauthorizationRequiredError):
                await tokens.access_token()
            record = await stored_in(store)
            assert await store.save(record_of(sandbox, version=record.version + 1), replaces=record.version)
            await asyncio.sleep(2)
            assert (await stored_in(store)).access_token == await tokens.access_token()


async def test_an_idle_login_is_explained() -> None:
    """A refresh token that nobody used for 180 days is said to be that."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox)
        await asyncio.sleep(181 * 86_400)
        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(cc.ReauthorizationRequiredError, match=r"2026-01-01 12:00:00 UTC.*180 days") as caught:
                await tokens.access_token()

    assert "idle" == caught.value.reason


async def test_a_login_without_a_refresh_token_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """It serves until its access token ends, after a warning at the login; then the error names the scope."""
    async with vendor(access_life=3600, approve_after=1) as sandbox:
        edit = sb.Edit(lambda body: {key: value for key, value in body.items() if key != "refresh_token"})
        sandbox.faults.add(edit, where="token")
        async with tokens_of(sandbox, MemoryStore()) as tokens:
            account = await (await tokens.start_device_login())
            await tokens.access_token()
            assert "no refresh token" in caplog.text
            assert not account.refreshable

            await asyncio.sleep(3601)
            with pytest.raises(cc.ReauthorizationRequiredError, match="offline_access") as caught:
                await tokens.access_token()

    assert "no_refresh_token" == caught.value.reason


async def test_an_answer_without_an_access_token_is_no_login() -> None:
    """Nothing is stored that could not be used."""
    async with vendor(approve_after=1) as sandbox:
        sandbox.faults.add(sb.ok({"refresh_token": "canary-secret-r"}), where="token")
        store = MemoryStore()
        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(cc.LoginFailedError, match="no access token"):
                await (await tokens.start_device_login())

        assert await store.load() is None


async def test_logging_in_again_mends_what_was_lost() -> None:
    """A new login replaces a dead one, also one of another client, and the same OAuthTokens goes on with it."""
    async with vendor(approve_after=1) as sandbox:
        store = await logged_in(sandbox)
        sandbox.revoke_logins()
        async with tokens_of(sandbox, store) as tokens:
            token = await tokens.access_token()
            with pytest.raises(cc.ReauthorizationRequiredError):
                await tokens.refused(token)
            await (await tokens.start_device_login())

            assert token != await tokens.access_token()
            assert record_of(sandbox).scopes == (await stored_in(store)).scopes
            assert 4 == (await stored_in(store)).version


async def test_an_attempt_that_cannot_be_stored_prevents_the_refresh() -> None:
    """Nothing is sent before the intent is stored: the login is untouched."""
    async with vendor() as sandbox:
        store = FailingStore(
            await logged_in(sandbox, **expired()), "save 1", OSError(30, "Read-only file system"), times=9
        )
        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(cc.TokenStoreError, match=r"Read-only file system.*nothing was sent"):
                await tokens.access_token()

    assert 0 == sandbox.requests["token"]


async def test_an_attempt_that_cannot_be_removed_only_costs_a_wait() -> None:
    """After a request that the vendor did not take, what is stored may still say that one was made."""
    async with vendor() as sandbox:
        sandbox.faults.add(
            sb.Answer(sb.Reply(status=400, body=b'{"error": "invalid_request"}')), where="token", times=1
        )
        memory = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, FailingStore(memory, "save 2", DISK_FULL)) as tokens:
            with pytest.raises(cc.TokenError, match="invalid_request"):
                await tokens.access_token()
            await asyncio.sleep(6)
            await tokens.access_token()

        assert {0: 1} == sandbox.oauth.families[0].posts


async def test_a_store_that_changes_at_every_read_is_given_up() -> None:
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


async def test_a_login_stored_while_the_old_token_is_rejected_is_used() -> None:
    """With a lock that keeps nobody out, `invalid_grant` may be about a token that was replaced meanwhile."""
    async with vendor(latency=4.0) as sandbox:
        store = await logged_in(sandbox, **expired())
        sandbox.revoke_logins()
        async with tokens_of(sandbox, store) as tokens:
            caller = asyncio.ensure_future(tokens.access_token())
            await asyncio.sleep(2)
            attempted = await stored_in(store)
            login = record_of(sandbox, version=attempted.version + 1)
            assert await store.save(login, replaces=attempted.version)

            assert login.access_token == await caller
        assert login == await stored_in(store)


async def test_an_attempt_in_the_future_delays_nothing() -> None:
    """If the clock was set back since, nobody can know when the attempt was, and it must not block the login."""
    async with vendor() as sandbox:
        later = utc_now() + timedelta(days=1)
        store = await logged_in(sandbox, **expired(), attempt=RefreshAttempt(later, later, 9))
        began = asyncio.get_running_loop().time()
        async with tokens_of(sandbox, store) as tokens:
            await tokens.access_token()

    assert asyncio.get_running_loop().time() - began < 2
