"""Background tasks that start imports and follow them to their end: taskiq.

    pip install ccactivity taskiq
    python taskiq_worker.py --sandbox         # offline, with the broker in memory
    taskiq worker taskiq_worker:broker        # once the broker is one that has a server

From your app: `await import_batch.kiq(batch)`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from taskiq import AsyncBroker, InMemoryBroker, TaskiqEvents, TaskiqState

from ccactivity import ActivityFailedError, ActivitySession
from ccactivity.jobs import ImportFile, make_file_name
from ccactivity.sandbox import Sandbox, Workload

LIST_ID = "f4ab800a-5adf-11e9-ba6a-fa163e6b01c1"

# With Redis: `ListQueueBroker(os.environ["REDIS_URL"])` of the package taskiq-redis.
broker: AsyncBroker = InMemoryBroker()


@broker.on_event(TaskiqEvents.WORKER_STARTUP)
async def startup(state: TaskiqState) -> None:
    state.session = ActivitySession.from_env()  # one for all tasks: they share its requests


@broker.on_event(TaskiqEvents.WORKER_SHUTDOWN)
async def shutdown(state: TaskiqState) -> None:
    await state.session.aclose()


@broker.task
async def import_batch(batch: int) -> str:
    """Start an import, and the task that follows it; return its activity id.

    Raises QuotaExceededError when the day's requests are spent: `resets_at` says until when.
    """
    # In your app the contacts come from its database: the arguments of a task are kept by its
    # broker, so no address should be among them.
    session: ActivitySession = broker.state.session
    job = ImportFile(made_up_file(batch), file_name=make_file_name("readers"), list_ids=[LIST_ID])
    activity = await session.submit(job)
    # A task of its own: one that was interrupted runs again, and must not start another import.
    await follow_import.kiq(activity.activity_id)
    return activity.activity_id


def made_up_file(batch: int) -> bytes:
    rows = [f"reader-{batch}-{number}@example.com" for number in range(100)]
    return "\n".join(["email", *rows]).encode()


@broker.task
async def follow_import(activity_id: str) -> str:
    """Wait for the end of an import, and tell how it ended."""
    session: ActivitySession = broker.state.session
    try:
        activity = await session.wait(activity_id)
    except ActivityFailedError as error:
        activity = error.activity
    # In your app this goes into its database.
    print(activity.activity_id, activity.state, activity.status.refused_count, flush=True)
    return str(activity.state)


async def run_in_sandbox() -> None:
    await broker.startup()
    try:
        tasks = [await import_batch.kiq(batch) for batch in range(6)]
        for task in tasks:
            (await task.wait_result(timeout=60)).raise_for_error()
        assert isinstance(broker, InMemoryBroker)
        await broker.wait_all()
    finally:
        await broker.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description="Run six tasks in this process.")
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
