"""Two accounts on one key: what one day of it is worth to each."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from support.fleet_engines import VirtualFleet, VirtualServer
from support.redis_server import RedisServer
from support.vendor import connect
from support.virtual_time import virtual_loop

from ccactivity import ActivitySession, Quota, QuotaExceededError
from ccactivity.sandbox import Life, Sandbox, Violations

PER_DAY = 400
SECONDS_LEFT = 300.0  # of the day: more than enough to spend all of it, at 3.3 requests a second


@pytest.mark.long
async def test_two_accounts_share_what_their_day_has_left_and_never_exceed_it(engine: RedisServer) -> None:
    """Both want a look at each of theirs each second: few or many, they take turns, and leave the reserve alone."""
    virtual_loop().set_utc(datetime(2026, 3, 3, 23, 55, tzinfo=UTC))
    server, spent = VirtualServer(engine.url), {"small": 0, "large": 0}
    async with Sandbox(latency=0.06) as small, Sandbox(latency=0.06) as large:

        def join(sandbox: Sandbox, account: str) -> ActivitySession:
            return connect(sandbox, fleet=VirtualFleet(server, account=account), quota=Quota(4, PER_DAY, 50))

        async with join(small, "small") as few, join(large, "large") as many:
            small_ids = [small.submit(Life(duration=5_000.0)) for _ in range(5)]
            large_ids = [large.submit(Life(duration=5_000.0)) for _ in range(500)]
            watches = [asyncio.create_task(watch_all(few, small_ids)), asyncio.create_task(watch_all(many, large_ids))]
            await asyncio.sleep(SECONDS_LEFT - 60.0)
            spent = {"small": len(small.log), "large": len(large.log)}
            polled = sum(spent.values())
            with pytest.raises(QuotaExceededError):
                while True:
                    await asyncio.gather(few.get_activity(small_ids[0]), many.get_activity(large_ids[0]))
            total = len(small.log) + len(large.log)
            for watch in watches:
                watch.cancel()
            await asyncio.wait(watches)
        assert Violations() == small.violations == large.violations

    assert PER_DAY - 50 - 5 <= polled <= PER_DAY - 35, spent
    assert abs(spent["small"] - spent["large"]) <= 0.1 * polled, spent
    assert PER_DAY == total


async def watch_all(session: ActivitySession, ids: list[str]) -> None:
    async for _ in session.watch_many(ids, max_staleness=1.0):
        pass
