"""A process that forks while it is part of a fleet: both use a session, and each says in a line what they got.

Run as `python fleet_fork.py BASE_URL FLEET_URL ID`, with CCACTIVITY_ACCESS_TOKEN in the environment.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
from multiprocessing.queues import SimpleQueue

from ccactivity import ActivitySession
from ccactivity.fleet import RedisFleet


async def use(session: ActivitySession, activity_id: str) -> str:
    try:
        async with session:
            return str((await session.get_activity(activity_id)).activity_id)
    except RuntimeError as error:
        return str(error)


def use_in_child(session: ActivitySession, activity_id: str, said: SimpleQueue[str]) -> None:
    said.put(asyncio.run(use(session, activity_id)))


async def fork(session: ActivitySession, activity_id: str) -> str:
    context = multiprocessing.get_context("fork")
    said: SimpleQueue[str] = context.SimpleQueue()
    child = context.Process(target=use_in_child, args=(session, activity_id, said))
    child.start()
    while child.is_alive():  # noqa: ASYNC110 -- it is another process
        await asyncio.sleep(0.01)
    assert child.exitcode == 0
    return said.get()


async def main(base_url: str, fleet_url: str, activity_id: str) -> None:
    unused = ActivitySession.from_env(base_url=base_url, fleet=RedisFleet(fleet_url))
    async with ActivitySession.from_env(base_url=base_url, fleet=RedisFleet(fleet_url)) as session:
        end = asyncio.create_task(session.wait(activity_id))
        await session.get_activity(activity_id)
        print("used:", await fork(session, activity_id))
        print("unused:", await fork(unused, activity_id))
        print("parent:", (await end).state)
        print("spent:", session.quota.spent)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
