"""Requests that a program sends itself, through the same limit: a worker's POSTs and the watches share the key."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from support.vendor import VendorFactory, most_in_a_second

import ccactivity as cc
from ccactivity import sandbox as sb

MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)  # the virtual loop starts at noon of the day before
BODY = {"import_data": [{"email": "ada@example.com"}], "list_ids": ["04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"]}


async def post(sandbox: sb.Sandbox, http: aiohttp.ClientSession) -> aiohttp.ClientResponse:
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    return await http.post(f"{sandbox.base_url}/activities/contacts_json_import", json=BODY, headers=headers)


async def submit(sandbox: sb.Sandbox, session: cc.ActivitySession, http: aiohttp.ClientSession) -> str:
    """Submit an import as the docstring of `request_permit` says, and return its id."""
    for _ in range(10):
        async with session.request_permit() as permit, await post(sandbox, http) as answer:
            content = await answer.read()
            permit.answered(answer.status, answer.headers, content)
        if answer.status != 429:
            created: dict[str, Any] = json.loads(content)
            return str(created["activity_id"])
    raise AssertionError("429 ten times in a row")


async def use(session: cc.ActivitySession, *answer: Any) -> None:
    """Use a permit without a request; `answer`: what is said of it, if anything."""
    async with session.request_permit() as permit:
        if answer:
            permit.answered(*answer)


async def seconds_until_permit(session: cc.ActivitySession) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await use(session)
    return loop.time() - began


async def test_a_workers_posts_and_the_watches_share_the_limit(vendor: VendorFactory) -> None:
    """Forty imports are submitted while they are watched: never more than four requests a second, and each is seen."""
    async with vendor(workload=sb.Workload(lanes=50)) as (sandbox, session), aiohttp.ClientSession() as http:

        async def submitted() -> AsyncIterator[str]:
            for job in asyncio.as_completed([submit(sandbox, session, http) for _ in range(40)]):
                yield await job

        result = await session.wait_many(submitted())

        assert 40 == len(result.completed) + len(result.failed)
        assert most_in_a_second(sandbox) <= 4
        assert len(sandbox.log) == session.quota.spent
        assert 40 == sandbox.requests["post"]
        assert "post" not in session.stats.requests  # which are those of the session


async def test_a_post_that_is_throttled_pauses_everyone_and_is_sent_again(vendor: VendorFactory) -> None:
    """A 429 that the program was answered holds back watches and calls as one of the library's own does."""
    async with vendor() as (sandbox, session), aiohttp.ClientSession() as http:
        looking = asyncio.create_task(session.wait(sandbox.submit(sb.Life(duration=300)), max_staleness=1.0))
        await asyncio.sleep(10)
        sandbox.faults.add(sb.throttled({"Retry-After": "30"}), where="post", times=1)
        job = await submit(sandbox, session, http)
        throttled, again = (line.time for line in sandbox.log if line.kind == "post")
        between = [line for line in sandbox.log if throttled + 0.1 < line.time < throttled + 30]

        assert [] == between
        assert 30 <= again - throttled < 35
        assert (await session.get_activity(job)).activity_id == job
        assert (await looking).succeeded


@pytest.mark.parametrize(
    ("answer", "least", "most"),
    [
        ((201, {"Location": "/"}, b"{}"), 0.0, 0.0),
        ((503, {}, b""), 0.0, 0.0),
        ((429, {}, b'[{"error_key": "throttled"}]'), 1.0, 2.0),
        ((429, {"RETRY-AFTER": "7"}, b'[{"error_key": "throttled"}]'), 7.0, 8.0),
        ((429,), 5.0, 8.0),
        ((), 0.0, 0.0),
    ],
)
async def test_what_is_said_of_an_answer(vendor: VendorFactory, answer: Any, least: float, most: float) -> None:
    """A 429 pauses everyone for as long as it says, longer if it does not say why; all else pauses nobody."""
    async with vendor() as (_, session):
        await use(session, *answer)

        assert least <= await seconds_until_permit(session) <= most
        assert 2 == session.quota.spent


async def test_a_spent_day_is_raised_by_the_next_block(vendor: VendorFactory) -> None:
    """After `quota_exceeded` a block raises at once until 00:00 UTC, as single calls do; so does our own ledger."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit()
        await use(session, 429, {}, b'{"error_key": "quota_exceeded"}')
        for use_key in (use(session), session.get_activity(job)):
            with pytest.raises(cc.QuotaExceededError) as caught:
                await use_key
            assert MIDNIGHT == caught.value.resets_at
        await asyncio.sleep(12 * 3600)
        await use(session, 200)
        assert (await session.get_activity(job)).activity_id == job

    async with vendor(quota=cc.Quota(per_day=2, reserve=0, spent=1)) as (_, session):
        await use(session, 200)
        with pytest.raises(cc.QuotaExceededError):
            await use(session)


async def test_what_may_have_been_sent_is_charged(vendor: VendorFactory) -> None:
    """A block that raises or is cancelled is charged, as nobody knows; waiting that is cancelled is not."""
    async with vendor() as (_, session):
        with pytest.raises(ZeroDivisionError):
            async with session.request_permit():
                raise ZeroDivisionError
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1), session.request_permit():
                await asyncio.sleep(2)
        assert 2 == session.quota.spent

        for _ in range(4):
            await use(session)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5), session.request_permit():
                raise AssertionError("five within a second")
        assert 6 == session.quota.spent
        assert await seconds_until_permit(session) < 1.1


async def test_a_permit_is_for_one_answer(vendor: VendorFactory) -> None:
    """A second answer, and one that comes after the block, is a mistake of the program: a retry needs its own block."""
    async with vendor() as (_, session):
        async with session.request_permit() as permit:
            permit.answered(200)
            with pytest.raises(RuntimeError, match="is called once, inside the block of its permit"):
                permit.answered(200)
        async with session.request_permit() as permit:
            pass
        with pytest.raises(RuntimeError, match="inside the block"):
            permit.answered(200)


async def test_closing_the_session_ends_the_wait_for_a_permit(vendor: VendorFactory) -> None:
    """Who waits for a permit, or asks for one later, gets SessionClosedError; a block under way goes on."""
    async with vendor(quota=cc.Quota(1)) as (sandbox, session):
        async with session.request_permit() as permit:
            waiting = asyncio.create_task(use(session))
            await asyncio.sleep(0.5)
            await session.aclose()
            outcome = (await asyncio.gather(waiting, return_exceptions=True))[0]
            permit.answered(200)
        with pytest.raises(cc.SessionClosedError, match="the session is closed"):
            await use(session)

        assert isinstance(outcome, cc.SessionClosedError)
        assert sandbox.now < 1
        assert 1 == session.quota.spent
