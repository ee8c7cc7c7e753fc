"""Retries: how long they wait, what bounds them, and that an outage does not multiply the load."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from support.vendor import UNKNOWN_ID, VendorFactory, most_in_a_second

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.testing import utc_now

HOUR = 3600.0
MOST_REQUESTS = 300  # in an hour without a single answer


@pytest.mark.parametrize(
    "effect",
    [
        *[sb.Reset(), sb.Reset(hard=False), sb.Reset(after=0.5), sb.Reset(after=0.5, hard=False, chunked=True)],
        *[sb.Hang(), sb.Hang(after=0.5), sb.Drip(pause=2.0), sb.Raw(b"HTTP/1.1 200"), sb.Raw(b"\x16\x03\x01")],
    ],
    ids=repr,
)
async def test_a_broken_connection_is_retried_then_a_transport_error(vendor: VendorFactory, effect: sb.Effect) -> None:
    """Resets, early ends and hangs end within `timeout`, are retried, and never look like data."""
    async with vendor(timeout=5.0, retry=cc.Retry(attempts=2)) as (sandbox, session):
        job = sandbox.submit()
        sandbox.faults.add(effect, times=1)
        assert job == (await session.get_activity(job)).activity_id
        sandbox.faults.add(effect)
        with pytest.raises(cc.TransportError) as caught:
            await session.get_activity(job)

        assert "GET" == caught.value.method
        assert 4 <= len(sandbox.log) <= 6  # aiohttp repeats a request of its own on a connection found closed
        assert len(sandbox.log) == session.quota.spent
        assert sandbox.now < 60


async def test_waits_between_retries_double_and_are_jittered(vendor: VendorFactory) -> None:
    """Half a second, one, two, four, and up to half as much again at random, differently for each call."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit()
        seen = []
        for _ in range(2):
            sandbox.faults.add(sb.server_error(503), times=4)
            begun = len(sandbox.log)
            assert job == (await session.get_activity(job)).activity_id
            times = [line.time for line in sandbox.log[begun:]]
            seen.append([late - early - 0.06 for early, late in pairwise(times)])

        for waits in seen:
            assert all(least <= wait <= 1.6 * least for least, wait in zip((0.5, 1, 2, 4), waits, strict=True))
        assert seen[0] != seen[1]


async def test_calls_share_their_retries_with_each_other(vendor: VendorFactory) -> None:
    """In an outage fifty calls at once are fifty requests and a few; once there are answers retries come back."""
    retry = cc.Retry(budget=8)
    async with vendor(retry=retry) as (sandbox, session):
        job = sandbox.submit()
        fault = sandbox.faults.add(sb.server_error(503))
        errors = await asyncio.gather(*[session.get_activity(job) for _ in range(50)], return_exceptions=True)

        assert {cc.ServerError} == {type(error) for error in errors}
        assert 50 + 8 <= len(sandbox.log) <= 50 + 8 + 2  # one comes back in half a minute
        sandbox.faults.remove(fault)
        for _ in range(10):
            await session.get_activity(job)
        sandbox.faults.add(sb.server_error(503), times=4)
        assert job == (await session.get_activity(job)).activity_id


async def test_no_answer_is_a_transport_error(vendor: VendorFactory) -> None:
    """An attempt that hangs ends after thirty seconds by default; nobody listening is said to be so."""
    async with vendor(retry=cc.Retry(attempts=1)) as (sandbox, session):
        sandbox.faults.add(sb.Hang())
        with pytest.raises(cc.TransportError):
            await session.get_activity(UNKNOWN_ID)
        assert 30 <= sandbox.now < 31

    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v3"
    async with cc.ActivitySession("token", base_url=url, now=utc_now) as session:
        begun = asyncio.get_running_loop().time()
        with pytest.raises(cc.TransportError, match=r"(?i)connect"):
            await session.get_activity(UNKNOWN_ID)
        assert asyncio.get_running_loop().time() - begun > 0.5 + 1 + 2 + 4  # five attempts


async def outage(vendor: VendorFactory, effect: Any, watches: int, most: int = MOST_REQUESTS) -> None:
    """Watch so many imports through an hour in which every answer is this one, and to their ends."""
    workload = sb.Workload(lanes=watches, median=1200, sigma=0.3, shortest=600)
    async with vendor(workload=workload) as (sandbox, session):
        ids = [sandbox.submit() for _ in range(watches)]
        watching = asyncio.ensure_future(session.wait_many(ids))
        await asyncio.sleep(60)
        began = sandbox.now
        fault = sandbox.faults.add(effect)
        await asyncio.sleep(HOUR)
        asked = [line for line in sandbox.log if line.time >= began]

        assert len(asked) <= most
        assert fault.hits == len(asked)
        sandbox.faults.remove(fault)
        healed = sandbox.now
        result = await asyncio.wait_for(watching, HOUR)
        truths = {some: truth.state for some in ids if (truth := sandbox.truth(some)) is not None}

        assert not result.errors
        assert truths == {some: one.state for some, one in [*result.completed.items(), *result.failed.items()]}
        assert sandbox.now - healed < HOUR
        assert most_in_a_second(sandbox) <= 4


@pytest.mark.timeout(120)
@pytest.mark.slow
async def test_an_hour_without_answers_costs_few_requests(vendor: VendorFactory) -> None:
    """A thousand watches, and 503 for an hour: at most 300 requests, then at most 4 a second until all is known."""
    await outage(vendor, sb.server_error(503), 1000)


@pytest.mark.parametrize("effect", [sb.html(200), sb.message(408, "slow")], ids=["html", "408"])
@pytest.mark.slow
async def test_other_outages_cost_no_more(vendor: VendorFactory, effect: Any) -> None:
    """The same for pages that are none, and a 408."""
    await outage(vendor, effect, 50)


@pytest.mark.slow
async def test_what_the_http_library_sends_again_is_bounded_too(vendor: VendorFactory) -> None:
    """It repeats each request whose connection broke, once, by itself: that is twice as many at most."""
    await outage(vendor, sb.Reset(), 50, 2 * MOST_REQUESTS)


async def test_a_heartbeat_does_not_hurry_an_outage(vendor: VendorFactory) -> None:
    """An iteration that is cancelled each second and resumed asks no more often than one that waits."""
    requests = []
    for beat in (1.0, 1000.0):
        async with vendor() as (sandbox, session), session.watch(sandbox.submit(sb.Life(duration=900))) as watch:
            await anext(watch)
            sandbox.faults.add(sb.server_error(503))
            before, until = len(sandbox.log), asyncio.get_running_loop().time() + 600
            while asyncio.get_running_loop().time() < until:
                with suppress(TimeoutError):
                    async with asyncio.timeout(beat):
                        await anext(watch)
            requests.append((len(sandbox.log) - before) / (asyncio.get_running_loop().time() - until + 600))

    assert requests[0] < 1.5 * requests[1]
