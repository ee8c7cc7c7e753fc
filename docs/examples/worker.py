"""Background jobs that start imports and follow them to their end: arq.

    pip install ccactivity arq
    python worker.py --sandbox     # offline, and without Redis
    arq worker.WorkerSettings      # with CCACTIVITY_ACCESS_TOKEN and REDIS_URL in the environment

From your app: `await redis.enqueue_job("import_batch", batch)`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime
from typing import Any

from arq import Retry, func
from arq.connections import RedisSettings

from ccactivity import ActivityFailedError, ActivitySession, QuotaExceededError, WatchTimeoutError
from ccactivity.jobs import ImportFile, make_file_name
from ccactivity.sandbox import Sandbox, Workload

# Less than arq's `job_timeout` of 300 s. That is also how long the jobs of a worker that was killed are left
# alone, so do not raise it: follow a long import in slices.
SLICE_S = 240.0
LIST_ID = "f4ab800a-5adf-11e9-ba6a-fa163e6b01c1"


async def import_batch(ctx: dict[str, Any], batch: int) -> None:
    """Start an import, and enqueue the job that follows it."""
    # In your app the contacts come from its database: arq logs the arguments of a job, and keeps
    # them in Redis, so no address should be among them.
    job = ImportFile(made_up_file(batch), file_name=make_file_name("readers"), list_ids=[LIST_ID])
    try:
        activity = await ctx["session"].submit(job)
    except QuotaExceededError as error:  # again when the day's requests come back
        raise Retry(defer=error.resets_at - datetime.now(UTC)) from None
    # A job of its own: one that was interrupted runs again, and must not start another import.
    await ctx["redis"].enqueue_job("follow_import", activity.activity_id, _job_id=activity.activity_id)


def made_up_file(batch: int) -> bytes:
    rows = [f"reader-{batch}-{number}@example.com" for number in range(100)]
    return "\n".join(["email", *rows]).encode()


async def follow_import(ctx: dict[str, Any], activity_id: str) -> dict[str, object]:
    """Wait for the end of an import, and tell how it ended."""
    session: ActivitySession = ctx["session"]
    try:
        activity = await session.wait(activity_id, timeout=SLICE_S)
    except WatchTimeoutError:  # not yet: another worker may go on
        raise Retry(defer=0) from None
    except ActivityFailedError as error:
        activity = error.activity
    # In your app this goes into its database.
    return {"state": str(activity.state), "refused_rows": activity.status.refused_count}


async def startup(ctx: dict[str, Any]) -> None:
    ctx["session"] = ActivitySession.from_env()  # one for all jobs: they share its requests


async def shutdown(ctx: dict[str, Any]) -> None:
    if "session" in ctx:  # else Redis was not there, and nothing was opened
        await ctx["session"].aclose()


class WorkerSettings:
    """What the command `arq` reads."""

    functions = (
        import_batch,
        # arq would give up a job after five tries.
        func(follow_import, max_tries=10_000),
    )
    max_jobs = 1000  # not ten: a job that waits costs next to nothing
    on_startup = startup
    on_shutdown = shutdown
    redis_settings = RedisSettings.from_dsn(os.environ.get("REDIS_URL", "redis://localhost:6379"))


class NoRedis:
    """Stands in for Redis and the worker under `--sandbox`: runs each job at once."""

    def __init__(self, ctx: dict[str, Any]) -> None:
        self._ctx = ctx

    async def enqueue_job(self, name: str, argument: str, *, _job_id: str) -> None:
        print(_job_id, await globals()[name](self._ctx, argument), flush=True)


async def run_in_sandbox() -> None:
    ctx: dict[str, Any] = {}
    ctx["redis"] = NoRedis(ctx)
    await startup(ctx)
    try:
        await asyncio.gather(*(import_batch(ctx, batch) for batch in range(6)))
    finally:
        await shutdown(ctx)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run six jobs in this process.")
    parser.add_argument("--sandbox", action="store_true", required=True)
    parser.parse_args()
    quick = Workload(median=1, sigma=0.3, delay=(0, 0.5), failed_share=0.3)
    with Sandbox(workload=quick) as vendor:
        os.environ.update(vendor.env)
        try:
            asyncio.run(run_in_sandbox())
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
