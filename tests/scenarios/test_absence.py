"""Activities that are not there yet, or never: what 404 means while an id may still appear."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from support.vendor import CAMPAIGN_ID, VendorFactory

import ccactivity as cc
from ccactivity import sandbox as sb


@pytest.mark.parametrize("effect", [sb.server_error(503), sb.Hang(), sb.html()], ids=["503", "hang", "html"])
async def test_an_outage_does_not_use_up_the_time_to_appear(vendor: VendorFactory, effect: Any) -> None:
    """Grace begins with the first answer that could have shown the activity, however late that comes."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=200))
        sandbox.faults.add(effect, until=60)
        absent = sandbox.faults.add(sb.not_found(), where="get", after=60, times=1)

        assert (await session.wait(job)).succeeded
        assert 1 == absent.hits


async def test_an_activity_that_never_appears_is_not_waited_for_longer_than_that(vendor: VendorFactory) -> None:
    """After an outage its grace is counted once, and costs two requests: the first that is answered, and the last."""
    async with vendor() as (sandbox, session):
        sandbox.faults.add(sb.server_error(503), until=60)
        with pytest.raises(cc.NotFoundError):
            await session.wait(CAMPAIGN_ID)
        answered = [line.time for line in sandbox.log if line.status == 404]

        assert 2 == len(answered)
        assert 10 <= answered[1] - answered[0] < 12


async def test_an_activity_that_appears_after_an_outage_is_not_left_alone(vendor: VendorFactory) -> None:
    """However long the grace, its only look after the first 404 comes within ten seconds."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=5))
        sandbox.faults.add(sb.server_error(503), until=1000)
        absent = sandbox.faults.add(sb.not_found(), where="get", after=1000, times=1)
        await session.wait(job, grace=600)

        assert 1 == absent.hits
        assert asyncio.get_running_loop().time() < 1000 + 60 + 15


async def test_whoever_leaves_in_the_grace_of_an_id_leaves_nothing_behind(vendor: VendorFactory) -> None:
    """Two leave while a 404 may yet become an activity; whoever comes then learns of its end, and of others'."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=5))
        sandbox.faults.add(sb.not_found(), where="get", times=3)

        async def leave(after: float) -> None:
            await asyncio.sleep(after)
            with pytest.raises(cc.WatchTimeoutError):
                await session.wait(job, timeout=0.9 - after)

        await asyncio.gather(leave(0.0), leave(0.45))
        await asyncio.sleep(60)

        assert len(sandbox.log) <= 3
        async with asyncio.timeout(60):
            assert (await session.wait(job)).succeeded


async def test_many_ids_that_do_not_exist_cost_few_requests(vendor: VendorFactory) -> None:
    """Those whose turn comes late, though they had been handed over before, are asked for twice."""
    async with vendor() as (sandbox, session):
        wrong = [f"wrong-{number}" for number in range(40)]
        result = await session.wait_many(wrong)

        assert set(wrong) == set(result.errors)
        assert {cc.NotFoundError} == {type(error) for error in result.errors.values()}
        assert len(sandbox.log) <= 5 * 40


async def test_resuming_an_iteration_gives_an_activity_no_more_time_to_appear(vendor: VendorFactory) -> None:
    """However often a consumer gives up and goes on, an id that does not exist is a NotFoundError after its grace."""
    async with vendor() as (sandbox, session):
        watch = session.watch(CAMPAIGN_ID)
        with pytest.raises(cc.NotFoundError):
            while sandbox.now < 60:
                try:
                    async with asyncio.timeout(3):
                        await anext(watch)
                except TimeoutError:
                    pass

        assert 10 <= sandbox.now < 15
