"""What a new poller knows of what others have seen: it looks at all by the page, and tells only what is new."""

from __future__ import annotations

import asyncio

from support.redis_server import RedisServer

from ccactivity import ActivityExpiredError
from ccactivity.sandbox import Life, not_found

from .test_fleet import ends_of, fleet_of, states_of


async def test_a_new_poller_tells_only_what_has_changed(engine: RedisServer) -> None:
    async with fleet_of(engine, 2) as fleet:
        jobs = [fleet.sandbox.submit(Life(duration=3_000.0, progress="none", update_every=1_000)) for _ in range(60)]
        await asyncio.sleep(3.0)
        (poller,) = fleet.pollers()
        (other,) = [session for session in fleet.sessions if session is not poller]
        told = asyncio.create_task(ends_of(other, jobs))
        await asyncio.sleep(120.0)
        with engine.client() as client:
            before = client.hget("ccactivity:1:{default}:default:lease", "news")
            await fleet.kill(poller)
            await asyncio.sleep(9.0)  # what the dead process watched is let go later
            after = client.hget("ccactivity:1:{default}:default:lease", "news")

        assert other.stats.requests["list"] >= 1
        assert before == after
        told.cancel()
        await asyncio.wait([told])


async def test_what_a_former_poller_has_seen_is_expired_and_not_unknown(engine: RedisServer) -> None:
    async with fleet_of(engine, 2) as fleet:
        job = fleet.sandbox.submit(Life(duration=100_000.0))
        await asyncio.sleep(3.0)
        (poller,) = fleet.pollers()
        (other,) = [session for session in fleet.sessions if session is not poller]
        told = asyncio.create_task(states_of(other, job))
        await asyncio.sleep(30.0)
        fleet.sandbox.faults.add(not_found(), where="get", activity_id=job)
        fleet.sandbox.faults.add(not_found(), where="list")
        await fleet.kill(poller)
        (result,) = await asyncio.gather(told, return_exceptions=True)

        assert isinstance(result, ActivityExpiredError), result
        assert job == result.activity.activity_id
