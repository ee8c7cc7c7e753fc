"""An arq worker of the same API key as the web workers of fleet_app.py, over the same Redis.

Run it with CCACTIVITY_ACCESS_TOKEN and CCACTIVITY_FLEET_URL in the environment:
`arq fleet_worker.WorkerSettings`
"""

import os
from contextlib import AsyncExitStack
from typing import Any

from arq import Retry, func
from arq.connections import RedisSettings

from ccactivity import ActivityFailedError, ActivitySession, WatchTimeoutError

SLICE_S = 240.0  # less than arq's job_timeout of 300 s, which is why long imports are followed in slices


async def follow(ctx: dict[str, Any], activity_id: str) -> str:
    """Follow an import to its end."""
    try:
        activity = await ctx["session"].wait(activity_id, timeout=SLICE_S)
    except WatchTimeoutError:  # not yet: another worker may go on
        raise Retry(defer=0) from None
    except ActivityFailedError as error:
        activity = error.activity
    return str(activity.state)


async def startup(ctx: dict[str, Any]) -> None:
    ctx["stack"] = stack = AsyncExitStack()
    ctx["session"] = await stack.enter_async_context(ActivitySession.from_env())  # reads CCACTIVITY_FLEET_URL, too


async def shutdown(ctx: dict[str, Any]) -> None:
    if "stack" in ctx:  # else Redis was not there
        await ctx["stack"].aclose()


class WorkerSettings:
    functions = (func(follow, max_tries=10_000),)
    on_startup = startup
    on_shutdown = shutdown
    redis_settings = RedisSettings.from_dsn(os.environ["CCACTIVITY_FLEET_URL"])
