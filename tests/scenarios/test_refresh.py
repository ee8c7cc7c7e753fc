"""Tokens that run out: one refresh serves all, and no burst follows it."""

from __future__ import annotations

import asyncio

import pytest
from support.token_sources import RefreshingSource
from support.vendor import VendorFactory, most_in_a_second

import ccactivity as cc
from ccactivity import sandbox as sb

HOUR = 3600.0


@pytest.mark.parametrize("kind", ["callable", "source"])
async def test_one_refresh_serves_all(vendor: VendorFactory, kind: str) -> None:
    """A token that runs out under many watches and calls is renewed once; none is sent after its refusal."""
    source, fetched = RefreshingSource(refresh_time=1.0), 0

    async def fetch() -> str:
        nonlocal fetched
        fetched += 1
        await asyncio.sleep(1)
        return sandbox.issue_token()

    async with vendor(latency=0.5, token=source if kind == "source" else fetch) as (sandbox, session):
        old = sandbox.token
        jobs = [sandbox.submit(sb.Life(duration=200)) for _ in range(20)]
        tasks = [asyncio.create_task(session.wait(job)) for job in jobs]
        await asyncio.sleep(60)
        sandbox.expire_token()
        await asyncio.gather(*[session.get_activity(job) for job in jobs])

        assert all([(await task).succeeded for task in tasks])
    assert (([old], 0) if kind == "source" else ([], 2)) == (source.refused_tokens, fetched)


@pytest.mark.slow
async def test_no_burst_follows_a_refresh(vendor: VendorFactory) -> None:
    """What queued up while a token was renewed keeps to the limit too, and the source is told once."""
    source = RefreshingSource(refresh_time=10.0)
    async with vendor(token=source, workload=sb.Workload(lanes=100)) as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=100 + number)) for number in range(40)]
        sandbox.faults.add(sb.forbidden(), where="list")
        watching = asyncio.create_task(session.wait_many(ids, max_staleness=10))
        await asyncio.sleep(30)
        sandbox.expire_token()
        calls = [session.get_activity(some) for some in ids[:10]]
        await asyncio.gather(*calls)
        result = await watching

        assert set(ids) == set(result.completed)
        assert 1 == len(source.refused_tokens)
        assert most_in_a_second(sandbox) <= 4


async def test_a_token_that_was_replaced_meanwhile_is_no_reason_for_a_refresh(vendor: VendorFactory) -> None:
    """A request that was sent with the former token is sent again with the current one, and nobody is told."""
    source = RefreshingSource()
    async with vendor(token=source) as (sandbox, session):
        job = sandbox.submit()
        call = asyncio.create_task(session.get_activity(job))
        await asyncio.sleep(0.01)  # it is on its way
        sandbox.faults.add(sb.unauthorized(), times=1)
        other = asyncio.create_task(session.get_activity(job))
        await asyncio.sleep(0.02)
        source.token = sandbox.issue_token()

        assert job == (await call).activity_id == (await other).activity_id
        assert [] == source.refused_tokens
        assert 3 == len(sandbox.log)


async def test_an_api_that_refuses_every_token_is_believed_after_one_refresh(vendor: VendorFactory) -> None:
    """Two requests and one refresh for a call; twenty watches and as many calls do not each want one of their own."""
    source = RefreshingSource()
    async with vendor(token=source) as (sandbox, session):
        jobs = [sandbox.submit(sb.Life(duration=300)) for _ in range(20)]
        sandbox.faults.add(sb.unauthorized())
        with pytest.raises(cc.AuthenticationError):
            await session.get_activity(jobs[0])
        assert (2, 1) == (len(sandbox.log), len(source.refused_tokens))

        sandbox.faults.clear()
        watches = [asyncio.create_task(session.wait(job)) for job in jobs]
        await asyncio.sleep(20)
        sandbox.faults.add(sb.unauthorized())
        asked, told = len(sandbox.log), len(source.refused_tokens)
        errors = await asyncio.gather(*watches, return_exceptions=True)
        await asyncio.sleep(HOUR)

        assert {cc.AuthenticationError} == {type(error) for error in errors}
        assert told + 1 == len(source.refused_tokens)
        assert len(sandbox.log) - asked <= 4
