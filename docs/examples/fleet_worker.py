"""An arq worker of the same API key as the web workers of fleet_app.py, over the same Redis.

Run it with CCACTIVITY_ACCESS_TOKEN and CCACTIVITY_FLEET_URL in the environment:
`arq fleet_worker.WorkerSettings`
"""

import os
from typing import Any

from arq.connections import RedisSettings

from ccactivity import ActivitySession


async def follow(context: dict[str, Any], activity_id: str) -> str:
    """Follow an import to its end."""
    activity = await context["session"].wait(activity_id)
    return str(activity.state)


async def startup(context: dict[str, Any]) -> None:
    context["session"] = await ActivitySession.from_env().__aenter__()


async def shutdown(context: dict[str, Any]) -> None:
    await context["session"].aclose()


class WorkerSettings:
    functions = (follow,)
    on_startup = startup
    on_shutdown = shutdown
    redis_settings = RedisSettings.from_dsn(os.environ["CCACTIVITY_FLEET_URL"])
