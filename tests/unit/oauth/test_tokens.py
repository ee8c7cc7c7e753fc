"""The token source: when a token is refreshed, how often, what callers notice; logging in by redirect, and out."""

from __future__ import annotations

import asyncio
import contextvars
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from support.canary import SECRETS, secrets_in
from support.eager_tasks import start_tasks_eagerly
from support.logins import (
    CLIENT,
    DISK_FULL,
    REDIRECT,
    SCOPES,
    DatabaseError,
    FailingStore,
    client_of,
    expired,
    logged_in,
    record_of,
    session_of,
    stored_in,
    tokens_of,
    vendor,
)

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.oauth import Account, AuthorizationRequest, MemoryStore, OAuthTokens
from ccactivity.testing import VirtualTimeLoop, utc_now

SECRET = "canary-secret-client"


async def visit(request: AuthorizationRequest) -> str:
    """Be the browser: go where the login begins, and return where the vendor sends it back to."""
    if request.code_verifier:
        SECRETS.add(request.code_verifier)
    async with aiohttp.ClientSession() as http, http.get(request.url, allow_redirects=False) as response:
        SECRETS.update(re.findall("code=([0-9a-f]+)", response.headers["Location"]))
        return response.headers["Location"]


# --- one refresh for all ----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_thousand_watches_at_expiry_cost_one_refresh_each_time_and_notice_nothing() -> None:
    """However many watches wait, a token that ends is renewed by one request; no watch sees an error."""
    async with vendor(access_life=20, latency=0.1, lanes=1000) as sandbox:
        jobs = [sandbox.submit(sb.Life(duration=60 + number / 50)) for number in range(1000)]
        async with tokens_of(sandbox, await logged_in(sandbox)) as tokens, session_of(sandbox, tokens) as session:
            ended = await asyncio.gather(*(session.wait(job) for job in jobs))
        (family,) = sandbox.oauth.families

    assert {"completed"} == {activity.state for activity in ended}
    assert {1} == set(family.posts.values())
    assert family.generation >= 3
    assert 0 == sandbox.violations.total


async def test_a_thousand_callers_without_a_token_share_one_refresh() -> None:
    """Callers who find the access token at its end wait for the same refresh, and get the same token."""
    async with vendor(latency=1.0) as sandbox:
        store = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, store) as tokens:
            given = await asyncio.gather(*(tokens.access_token() for _ in range(1000)))

    assert 1 == len(set(given)) == sandbox.requests["token"]
    assert (await stored_in(store)).access_token == given[0]


async def test_a_refresh_in_the_background_leaves_the_old_token_in_use() -> None:
    """Between the margin and the end callers get what they had, without a wait."""
    async with vendor(latency=5.0, access_life=3600) as sandbox:
        store = await logged_in(sandbox)
        async with tokens_of(sandbox, store) as tokens:
            before = await tokens.access_token()
            await asyncio.sleep(3600 - 299)
            began = asyncio.get_running_loop().time()

            assert before == await tokens.access_token()
            assert began == asyncio.get_running_loop().time()
            await asyncio.sleep(10)
            assert before != await tokens.access_token()


async def test_logins_of_another_process_on_a_loop_with_eager_tasks() -> None:
    """What a store gives without a wait is used at once, near the end of a token and when it is refused, each time."""
    start_tasks_eagerly()
    async with vendor(access_life=1000) as sandbox:
        store, newest = await logged_in(sandbox), ""

        async def log_in_elsewhere() -> str:
            version = (await stored_in(store)).version
            record = record_of(sandbox, sandbox.log_in(CLIENT), version=version + 1)
            assert await store.save(record, replaces=version)
            return record.access_token

        async with tokens_of(sandbox, store) as tokens:
            for _ in range(3):
                await tokens.access_token()
                await asyncio.sleep(950)
                newer = await log_in_elsewhere()
                await tokens.access_token()
                await asyncio.sleep(0.1)
                assert newer == await tokens.access_token()
                newest = await log_in_elsewhere()
                await tokens.refused(newer)
                assert newest == await tokens.access_token()
            await asyncio.sleep(950)
            await tokens.access_token()
            await asyncio.sleep(1)

            assert newest != await tokens.access_token()
    assert 1 == sandbox.requests["token"]


async def test_a_login_that_must_be_renewed_on_a_loop_with_eager_tasks() -> None:
    """Whatever is asked, and however often, each call ends with the error, and the store alone is asked again."""
    start_tasks_eagerly()
    async with vendor() as sandbox:
        store = await logged_in(sandbox, refresh_token=None)
        async with tokens_of(sandbox, store) as tokens:
            token = await tokens.access_token()
            for _ in range(3):
                with pytest.raises(cc.ReauthorizationRequiredError):
                    await tokens.refused(token)
                with pytest.raises(cc.ReauthorizationRequiredError):
                    await tokens.access_token()
                await asyncio.sleep(10)

    assert 0 == sandbox.requests["token"]


async def test_the_token_after_a_refused_one_is_refreshed_early_too() -> None:
    """What the API has refused before does not matter: near its end a token is replaced, and nobody waits for that."""
    async with (
        vendor(latency=5.0, access_life=1000) as sandbox,
        tokens_of(sandbox, await logged_in(sandbox)) as tokens,
    ):
        await tokens.refused(await tokens.access_token())
        before = await tokens.access_token()
        await asyncio.sleep(950)
        began = asyncio.get_running_loop().time()

        assert before == await tokens.access_token()
        assert began == asyncio.get_running_loop().time()
        await asyncio.sleep(10)
        assert before != await tokens.access_token()


async def test_a_refused_token_is_refreshed_at_once_for_all() -> None:
    """A 401 for the current token brings one refresh; calls that were under way are sent again and succeed."""
    async with vendor(latency=0.2) as sandbox:
        job = sandbox.submit(sb.Life(duration=500))
        async with tokens_of(sandbox, await logged_in(sandbox)) as tokens, session_of(sandbox, tokens) as session:
            await session.get_activity(job)
            sandbox.vendor.tokens.expire(sandbox.now)

            seen = await asyncio.gather(*(session.get_activity(job) for _ in range(50)))

    assert {"processing"} == {activity.state for activity in seen}
    assert 1 == sandbox.requests["token"]


async def test_an_api_that_refuses_every_token_costs_one_refresh() -> None:
    """A token that replaced a refused one is not replaced within a minute: the caller hears AuthenticationError."""
    async with vendor() as sandbox:
        sandbox.faults.add(sb.unauthorized(), where="get")
        job = sandbox.submit()
        async with tokens_of(sandbox, await logged_in(sandbox)) as tokens, session_of(sandbox, tokens) as session:
            for _ in range(5):
                with pytest.raises(cc.AuthenticationError):
                    await session.get_activity(job)

            assert 1 == sandbox.requests["token"]
            await asyncio.sleep(61)
            with pytest.raises(cc.AuthenticationError):
                await session.get_activity(job)

    assert 2 == sandbox.requests["token"]


@pytest.mark.parametrize("step", [-3600, 3600, -86_400, 86_400])
@pytest.mark.slow
async def test_a_clock_that_jumps_recovers_by_itself(step: float) -> None:
    """The wall clock may be set by an hour or a day, either way: no watch ends, no storm of refreshes begins."""
    async with vendor(access_life=7200, latency=0.1) as sandbox:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        async with tokens_of(sandbox, await logged_in(sandbox)) as tokens, session_of(sandbox, tokens) as session:
            job = sandbox.submit(sb.Life(duration=20_000))
            loop.call_later(1800, loop.step_utc, step)
            final = await session.wait(job)

    assert "completed" == final.state
    assert sandbox.requests["token"] <= 5
    assert sandbox.violations.bad_token <= 1


@pytest.mark.parametrize("off", [-3600, 3600])
@pytest.mark.slow
async def test_a_machine_whose_clock_is_off_can_share_a_store(off: float) -> None:
    """What another machine stored by its own clock is used, and refreshed when the API says so."""
    async with vendor(access_life=3600, latency=0.1) as sandbox:
        store = await logged_in(sandbox)
        here = tokens_of(sandbox, store)
        there = tokens_of(sandbox, store, now=lambda: utc_now() + timedelta(seconds=off))
        async with here, there, session_of(sandbox, here) as one, session_of(sandbox, there) as other:
            jobs = [sandbox.submit(sb.Life(duration=9000)) for _ in range(2)]
            ended = await asyncio.gather(one.wait(jobs[0]), other.wait(jobs[1]))

    assert ["completed", "completed"] == [activity.state for activity in ended]
    assert {1} == set(sandbox.oauth.families[0].posts.values())
    assert sandbox.requests["token"] <= 8


async def test_a_cancelled_caller_does_not_cancel_the_refresh() -> None:
    """The refresh goes on in a task of its own, and its tokens are stored."""
    async with vendor(latency=2.0) as sandbox:
        store = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, store) as tokens:
            callers = [asyncio.ensure_future(tokens.access_token()) for _ in range(3)]
            await asyncio.sleep(1)
            for caller in callers:
                caller.cancel()
            await asyncio.wait(callers)

            assert all(caller.cancelled() for caller in callers)
            assert (await stored_in(store)).attempt is not None
            token = await tokens.access_token()

        record = await stored_in(store)
        assert (token, None, {0: 1}) == (record.access_token, record.attempt, sandbox.oauth.families[0].posts)


async def test_closing_lets_a_refresh_come_to_its_end() -> None:
    """Leaving the block while a refresh is under way stores what it brings."""
    async with vendor(latency=3.0) as sandbox:
        store = await logged_in(sandbox, **expired())
        async with tokens_of(sandbox, store) as tokens:
            caller = asyncio.ensure_future(tokens.access_token())
            await asyncio.sleep(1)
            caller.cancel()
        with pytest.raises(cc.SessionClosedError):
            await tokens.access_token()

        assert 3 == (await stored_in(store)).version


async def test_a_refresh_runs_in_a_context_of_its_own() -> None:
    """What a request carries in its context variables does not get into a refresh that it happened to notice."""
    seen: list[str] = []
    variable = contextvars.ContextVar("variable", default="nobody's")

    class Spy(MemoryStore):
        async def save(self, record: Any, *, replaces: int) -> bool:
            seen.append(variable.get())
            return await super().save(record, replaces=replaces)

    async with vendor() as sandbox:
        store = await logged_in(sandbox, Spy(), **expired())
        variable.set("a request's")
        async with tokens_of(sandbox, store) as tokens:
            await tokens.access_token()

    assert ["nobody's"] * 3 == seen


async def test_an_outage_of_the_token_endpoint_ends_no_watch() -> None:
    """While there is no token, watches wait; once the endpoint is back they go on."""
    async with vendor(access_life=600, latency=0.1) as sandbox:
        sandbox.faults.add(sb.server_error(503), where="token", after=100, until=2000)
        async with tokens_of(sandbox, await logged_in(sandbox)) as tokens, session_of(sandbox, tokens) as session:
            job = sandbox.submit(sb.Life(duration=3000))
            final = await session.wait(job)

    assert "completed" == final.state
    assert sandbox.requests["token"] < 20
    assert 0 == sandbox.violations.total


async def test_a_refused_refresh_is_heard_of_while_the_access_token_is_still_good(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A warning comes while there is time to log in again; callers get the old token until its end."""
    async with vendor(access_life=3600) as sandbox:
        store = await logged_in(sandbox)
        async with tokens_of(sandbox, store, advice="press the button") as tokens:
            await tokens.access_token()
            sandbox.oauth.families[0].revoked = 0.0
            await asyncio.sleep(3400)
            await tokens.access_token()
            await asyncio.sleep(1)
            await tokens.access_token()

            assert "still good" in caplog.text
            await asyncio.sleep(200)
            with pytest.raises(cc.ReauthorizationRequiredError, match="press the button") as caught:
                await tokens.access_token()
            assert "revoked" == caught.value.reason
        assert 1 == sandbox.requests["token"]


async def test_a_store_that_cannot_be_read_does_no_harm_while_there_is_a_token(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A good token is given out all the same; without one the error says what failed."""
    async with vendor(access_life=3600) as sandbox:
        memory = await logged_in(sandbox)
        async with tokens_of(
            sandbox, FailingStore(memory, "load 2", OSError(5, "Input/output error"), times=9)
        ) as tokens:
            token = await tokens.access_token()
            await asyncio.sleep(3400)
            assert token == await tokens.access_token()
            await asyncio.sleep(1)
            assert "cannot be read: OSError: Input/output error" in caplog.text
            await asyncio.sleep(200)
            with pytest.raises(cc.TokenStoreError, match="Input/output error"):
                await tokens.access_token()


async def test_the_error_of_a_database_reaches_the_caller() -> None:
    """A store of the user's own may raise anything: callers get it, and the next attempt comes later."""
    async with vendor() as sandbox:
        memory = await logged_in(sandbox)
        store = FailingStore(memory, "load 1", DatabaseError("no route to the database"))
        async with tokens_of(sandbox, store) as tokens:
            for _ in range(3):
                with pytest.raises(DatabaseError):
                    await tokens.access_token()
            assert 1 == len(store.calls)
            await asyncio.sleep(6)

            assert (await stored_in(memory)).access_token == await tokens.access_token()


async def test_refreshing_by_hand_keeps_an_idle_login_alive() -> None:
    """`refresh` renews a token that is still good; a job that does so twice a year is enough."""
    async with vendor(access_life=86_400) as sandbox:
        store = await logged_in(sandbox)
        for _ in range(4):
            await asyncio.sleep(170 * 86_400)
            async with tokens_of(sandbox, store) as tokens:
                account = await tokens.refresh()
                assert utc_now() == account.obtained_at

    assert {0: 1, 1: 1, 2: 1, 3: 1} == sandbox.oauth.families[0].posts


async def test_tokens_belong_to_one_loop_and_one_client() -> None:
    """A store that holds another client's tokens is refused, and so is another event loop."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox, client_id="somebody-else")
        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(cc.TokenStoreError, match="somebody-else"):
                await tokens.access_token()
            with pytest.raises(RuntimeError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, tokens.access_token())
        lonely = OAuthTokens(client_of(sandbox), MemoryStore(), now=utc_now)
        with pytest.raises(cc.ReauthorizationRequiredError, match=r"nobody has logged in.*memory") as caught:
            await lonely.access_token()

    assert "not_logged_in" == caught.value.reason


# --- logging in by redirect, and out ----------------------------------------------------------------------------------


@pytest.mark.parametrize("secret", [None, SECRET])
@pytest.mark.parametrize("pkce", [True, False])
async def test_a_login_by_redirect_ends_with_stored_tokens(secret: str | None, pkce: bool) -> None:
    """Public and confidential clients, with PKCE or without."""
    async with vendor() as sandbox:
        sandbox.register_client(secret=secret, redirect_uris=[REDIRECT])
        store = MemoryStore()
        client = client_of(sandbox, client_secret=secret, pkce=pkce)
        async with OAuthTokens(client, store, now=utc_now) as tokens:
            request = tokens.start_code_login(REDIRECT)
            account = await tokens.finish_code_login(request, await visit(request))
            refreshed = await tokens.refresh()

    assert (account.user, True) == ("person@example.com", refreshed.refreshable)
    assert {"authorize": 1, "token": 2} == sandbox.requests
    assert 0 == sandbox.violations.total


async def test_a_person_who_declines_is_no_lost_login() -> None:
    """The vendor sends them back with an error; nothing is asked for, nothing stored."""
    async with vendor() as sandbox:
        sandbox.oauth.deny = True
        async with tokens_of(sandbox, MemoryStore()) as tokens:
            request = tokens.start_code_login(REDIRECT)
            with pytest.raises(cc.LoginFailedError, match="declined") as caught:
                await tokens.finish_code_login(request, await visit(request))
            assert await tokens.account() is None

    assert "denied" == caught.value.reason
    assert 0 == sandbox.requests["token"]


async def test_a_redirect_of_another_login_is_refused() -> None:
    """A code that came with another state, or for another verifier, brings no tokens."""
    async with vendor() as sandbox, tokens_of(sandbox, MemoryStore()) as tokens:
        mine, others = tokens.start_code_login(REDIRECT), tokens.start_code_login(REDIRECT)
        with pytest.raises(cc.LoginFailedError, match="another login"):
            await tokens.finish_code_login(mine, await visit(others))
        assert 0 == sandbox.requests["token"]

        back = (await visit(others)).replace(others.state, mine.state)
        with pytest.raises(cc.LoginFailedError, match="invalid_grant"):
            await tokens.finish_code_login(mine, back)


async def test_a_code_whose_answer_was_lost_is_not_sent_again() -> None:
    """A code can be used once (RFC 6749, section 4.1.2): the person has to log in again, and is told so."""
    async with vendor() as sandbox:
        sandbox.faults.add(sb.Reset(), where="token")
        async with tokens_of(sandbox, MemoryStore()) as tokens:
            request = tokens.start_code_login(REDIRECT)
            with pytest.raises(cc.LoginFailedError, match="begin a new one") as caught:
                await tokens.finish_code_login(request, await visit(request))

    assert ("lost", 1) == (caught.value.reason, sandbox.requests["token"])


class Unlockable(MemoryStore):
    """Its lock cannot be had while there is an `error`."""

    error: Exception | None = None

    @asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        if self.error is not None:
            raise self.error
        async with super().exclusive():
            yield


@pytest.mark.parametrize(
    ("error", "at", "kind"),
    [
        (DISK_FULL, "load 1", cc.TokenStoreError),
        (cc.TokenStoreError("no readable tokens"), "load 1", cc.TokenStoreError),
        (DISK_FULL, "lock", cc.TokenStoreError),
        (TimeoutError("another process has held the lock for 60 s"), "lock", cc.TransportError),
    ],
)
async def test_a_store_that_cannot_be_used_costs_no_code(error: Exception, at: str, kind: type[Exception]) -> None:
    """It is said before the code is sent; once the store works, the same code brings the login."""
    lockable = Unlockable()
    store = FailingStore(lockable, at if at != "lock" else "", error)
    async with vendor() as sandbox, tokens_of(sandbox, store) as tokens:
        request = tokens.start_code_login(REDIRECT)
        back = await visit(request)
        lockable.error = error if at == "lock" else None
        with pytest.raises(kind):
            await tokens.finish_code_login(request, back)
        posts = sandbox.requests["token"]
        lockable.error = None
        account = await tokens.finish_code_login(request, back)

    assert (0, True) == (posts, account.refreshable)
    assert 0 == sandbox.violations.total


@pytest.mark.parametrize("error", [DISK_FULL, TimeoutError("another process has held the lock for 60 s")])
async def test_a_store_that_cannot_be_locked_fails_before_anyone_types_in_a_code(error: Exception) -> None:
    """No login on another device begins that could not be stored."""
    store = Unlockable()
    store.error = error
    async with vendor() as sandbox, tokens_of(sandbox, store) as tokens:
        with pytest.raises((cc.TokenStoreError, cc.TransportError)):
            await tokens.start_device_login()
        store.error = None

    assert {} == sandbox.requests


async def test_a_caller_who_is_cancelled_while_tokens_are_stored_has_logged_in() -> None:
    """The tokens of a login exist nowhere else, so they are stored whoever leaves."""

    class Slow(MemoryStore):
        async def save(self, record: Any, *, replaces: int) -> bool:
            await asyncio.sleep(5)
            return await super().save(record, replaces=replaces)

    async with vendor() as sandbox:
        store = Slow()
        async with tokens_of(sandbox, store) as tokens:
            request = tokens.start_code_login(REDIRECT)
            caller = asyncio.ensure_future(tokens.finish_code_login(request, await visit(request)))
            await asyncio.sleep(2)
            caller.cancel()
            with pytest.raises(asyncio.CancelledError):
                await caller

        assert await store.load() is not None


async def test_a_login_tells_of_itself_without_a_secret() -> None:
    """Who, which scopes, until when, where it is: all but the tokens."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox)
        async with tokens_of(sandbox, store) as tokens:
            account = await tokens.account()
            shown = repr(tokens) + repr(account)

    assert isinstance(account, Account)
    assert ("person@example.com", SCOPES, "memory") == (account.user, account.scopes, account.stored_in)
    assert (True, None, None) == (account.refreshable, account.interrupted_at, account.problem)
    assert [] == secrets_in(shown)
    assert 0 == sandbox.requests["token"]


async def test_logging_out_removes_the_login() -> None:
    """Nothing is left in the store, and the next request says that nobody has logged in."""
    async with vendor() as sandbox:
        store = await logged_in(sandbox)
        async with tokens_of(sandbox, store) as tokens:
            await tokens.access_token()

            assert [True, False] == [await tokens.log_out(), await tokens.log_out()]
            assert await store.load() is None
            with pytest.raises(cc.ReauthorizationRequiredError, match="nobody has logged in"):
                await tokens.access_token()


async def test_a_refusal_of_an_earlier_token_costs_nothing() -> None:
    """A 401 that was late, or is for a token that nobody gave out, is not about the current one."""
    async with vendor() as sandbox, tokens_of(sandbox, await logged_in(sandbox)) as tokens:
        await tokens.refused("canary-secret-early")
        token = await tokens.access_token()
        await tokens.refused("canary-secret-late")
        assert 0 == sandbox.requests["token"]

        await tokens.refused(token)
        assert token != await tokens.access_token()


async def test_a_refresh_by_hand_that_fails_leaves_the_token_in_use() -> None:
    """The API has not rejected it, so it is given out until its end."""
    async with vendor(access_life=3600) as sandbox, tokens_of(sandbox, await logged_in(sandbox)) as tokens:
        token = await tokens.access_token()
        sandbox.revoke_logins()
        with pytest.raises(cc.ReauthorizationRequiredError):
            await tokens.refresh()

        assert token == await tokens.access_token()


async def test_a_refresh_that_hangs_does_not_hold_up_closing() -> None:
    """It gets ten seconds; then it is cancelled, and its callers hear that the tokens were closed."""
    async with vendor(latency=100.0) as sandbox:
        async with tokens_of(sandbox, await logged_in(sandbox, **expired())) as tokens:
            caller = asyncio.ensure_future(tokens.access_token())
            await asyncio.sleep(1)
            began = asyncio.get_running_loop().time()
        took = asyncio.get_running_loop().time() - began
        with pytest.raises(cc.SessionClosedError):
            await caller

    assert 10 <= took < 10.5


async def test_a_new_login_starts_without_the_failures_of_the_old_one() -> None:
    """The pause after them would keep a rejected token of the new login in use."""
    async with vendor(approve_after=1) as sandbox:
        answer = sb.Answer(sb.Reply(status=401, body=b'{"error": "invalid_client"}'))
        fault = sandbox.faults.add(answer, where="token")
        async with tokens_of(sandbox, await logged_in(sandbox, **expired())) as tokens:
            for _ in range(60):
                with pytest.raises(cc.TokenError):
                    await tokens.access_token()
                await asyncio.sleep(1)
            sandbox.faults.remove(fault)
            await (await tokens.start_device_login())

            token = await tokens.access_token()
            await tokens.refused(token)
            assert token != await tokens.access_token()
