"""An outage does not multiply the load: few requests while it lasts, no herd when it is over."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.testing import utc_now

HOUR = 3600.0
MOST = 300  # requests in an hour without a single answer


async def outage(effect: Any, watches: int, most: int = MOST) -> None:
    """Watch so many imports through an hour in which every answer is this one, and to their ends."""
    workload = sb.Workload(lanes=watches, median=1200, sigma=0.3, shortest=600)
    async with (
        sb.Sandbox(latency=0.06, workload=workload) as sandbox,
        cc.ActivitySession(sandbox.token, base_url=sandbox.base_url, now=utc_now) as session,
    ):
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
        times = [line.time for line in sandbox.log]
        assert all(late - early >= 1.0 for early, late in zip(times, times[4:], strict=False))
        assert 4 >= max(Counter(int(when) for when in times if when >= healed).values())
        assert 0 == sandbox.violations.total


@pytest.mark.timeout(120)
@pytest.mark.slow
async def test_an_hour_without_answers_costs_few_requests() -> None:
    """A thousand watches, and 503 for an hour: at most 300 requests, then at most 4 a second until all is known."""
    await outage(sb.server_error(503), 1000)


@pytest.mark.parametrize("effect", [sb.html(200), sb.message(408, "slow")], ids=["html", "408"])
@pytest.mark.slow
async def test_other_outages_cost_no_more(effect: Any) -> None:
    """The same for pages that are none, and a 408."""
    await outage(effect, 50)


@pytest.mark.slow
async def test_what_the_http_library_sends_again_is_bounded_too() -> None:
    """It repeats each request whose connection broke, once, by itself: that is twice as many at most."""
    await outage(sb.Reset(), 50, 2 * MOST)
