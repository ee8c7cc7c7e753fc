"""A process of a fleet, for tests with real processes: watches what it is given, and says each end in a line.

Run as `python fleet_process.py BASE_URL FLEET_URL ID...`, with CCACTIVITY_ACCESS_TOKEN in the environment.
"""

from __future__ import annotations

import asyncio
import sys

from ccactivity import ActivitySession
from ccactivity.fleet import RedisFleet


def say(*words: object) -> None:
    print(*words, flush=True)


async def say_who_polls(session: ActivitySession) -> None:
    polled = False
    while True:
        stats = session.stats.fleet
        assert stats is not None
        if stats.polling != polled:
            polled = stats.polling
            say("polls" if polled else "rests")
        await asyncio.sleep(0.02)


async def main(base_url: str, fleet_url: str, *ids: str) -> None:
    async with ActivitySession.from_env(base_url=base_url, fleet=RedisFleet(fleet_url)) as session:
        watcher = asyncio.create_task(say_who_polls(session))
        async for snapshot in session.watch_many(ids, max_staleness=1.0):
            if snapshot.done:
                say("end", snapshot.activity_id)
        say("over", session.quota.spent)
        await asyncio.sleep(3600.0)
        watcher.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
