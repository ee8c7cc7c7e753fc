"""Staying logged in: when an access token is refreshed, how often, and what the callers notice."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from datetime import timedelta
from typing import Any

import pytest
from support.logins import (
    Brittle,
    client_of,
    expired,
    logged_in,
    record_of,
    session_of,
    settle,
    stored_in,
    tokens_of,
    vendor,
)

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.oauth import MemoryStore, OAuthTokens
from ccactivity.testing import VirtualTimeLoop, utc_now


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


async def test_a_cancelled_caller_does_not_take_the_refresh_with_her() -> None:
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


@pytest.mark.parametrize("fault", [sb.throttled(), sb.throttled({"Retry-After": "7"})])
async def test_a_throttled_refresh_is_sent_again(fault: sb.Answer) -> None:
    """A 429 took nothing: the same refresh token is shown again after a pause, and nobody hears of it."""
    async with vendor() as sandbox:
        sandbox.faults.add(fault, where="token", times=3)
        async with tokens_of(sandbox, await logged_in(sandbox, **expired())) as tokens:
            await tokens.access_token()

    assert {0: 1} == sandbox.oauth.families[0].posts
    assert 4 == sandbox.requests["token"]
    assert 0 == sandbox.violations.oauth_over_per_second


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


async def test_a_dead_login_is_not_shown_to_the_vendor_again_and_a_new_one_is_noticed() -> None:
    """After `invalid_grant` nothing is sent, by any process; a login elsewhere is adopted without a restart."""
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
                    pytest.fail("a dead token was shown again")

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


@pytest.mark.parametrize("pauses", [3, 30])
async def test_tokens_that_cannot_be_saved_serve_from_memory(pauses: int, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk is loud, costs nobody a token, keeps others out, and is made up for when there is room again."""
    async with vendor(access_life=600) as sandbox:
        memory = await logged_in(sandbox, **expired())
        store = Brittle(memory, "save 2", OSError(28, "No space left on device"), times=pauses)
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


async def test_a_store_that_takes_no_note_prevents_the_refresh() -> None:
    """Nothing is sent before the intent is stored: the login is untouched."""
    async with vendor() as sandbox:
        store = Brittle(await logged_in(sandbox, **expired()), "save 1", OSError(30, "Read-only file system"), times=9)
        async with tokens_of(sandbox, store) as tokens:
            with pytest.raises(cc.TokenStoreError, match=r"Read-only file system.*nothing was sent"):
                await tokens.access_token()

    assert 0 == sandbox.requests["token"]


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


def _without(name: str) -> Any:
    return lambda body: {key: value for key, value in body.items() if key != name}
