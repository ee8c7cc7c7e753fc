"""Every public operation, cancelled at each of its steps: nothing is left, and the next call works."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest
from support.token_sources import RefreshingSource
from support.vendor import CAMPAIGN_ID, VendorFactory
from support.virtual_time import tasks_left

import ccactivity as cc
from ccactivity import _tasks
from ccactivity import sandbox as sb

MOST_STEPS = 2000  # more than any operation here needs
Operation = Callable[[cc.ActivitySession, str], Awaitable[Any]]


class Stepped:
    """A coroutine whose task is cancelled when it has been suspended for the `at`th time, before it goes on.

    Most of the work of a watch is done by the poller, in tasks of its own: with `turns`, turns of the loop are counted.
    """

    def __init__(self, work: Coroutine[Any, Any, Any], at: int, *, twice: bool, turns: bool) -> None:
        self._work = work
        self._turns = turns
        self._at = at
        self._twice = twice
        self.steps = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._work.__await__()
        value: Any = None
        failure: BaseException | None = None
        task = asyncio.current_task()
        assert task is not None
        if self._turns:
            self._turn(task)
        while True:
            try:
                waits_for = inner.throw(failure) if failure is not None else inner.send(value)
            except StopIteration as stop:
                return stop.value
            if not self._turns:
                self._count(task)
            value, failure = None, None
            try:
                value = yield waits_for
            except BaseException as error:  # noqa: BLE001 -- it belongs to the work
                failure = error

    def _count(self, task: asyncio.Task[Any]) -> None:
        self.steps += 1
        if self.steps == self._at:
            asyncio.get_running_loop().call_soon(task.cancel)
            if self._twice:
                asyncio.get_running_loop().call_soon(task.cancel)

    def _turn(self, task: asyncio.Task[Any]) -> None:
        loop: Any = asyncio.get_running_loop()
        once = loop._run_once

        def counted() -> None:
            if not task.done():
                self._count(task)
            once()

        loop._run_once = counted


async def get(session: cc.ActivitySession, job: str) -> Any:
    return await session.get_activity(job)


async def history(session: cc.ActivitySession, job: str) -> Any:
    return await session.get_send_history(CAMPAIGN_ID)


async def listing(session: cc.ActivitySession, job: str) -> Any:
    return await session.list_activities(page_size=2)


async def pages(session: cc.ActivitySession, job: str) -> Any:
    return [page async for page in session.list_activities(page_size=2).pages()]


async def watch(session: cc.ActivitySession, job: str) -> Any:
    async with session.watch(job) as watch:
        return [snapshot async for snapshot in watch]


async def first_look(session: cc.ActivitySession, job: str) -> Any:
    async with await session.watch(job) as watch:
        return await anext(watch)


async def wait(session: cc.ActivitySession, job: str) -> Any:
    return await session.wait(job)


async def watch_many(session: cc.ActivitySession, job: str) -> Any:
    async with session.watch_many([job]) as batch:
        return [snapshot async for snapshot in batch]


async def wait_many(session: cc.ActivitySession, job: str) -> Any:
    async def source() -> Any:
        await asyncio.sleep(1)
        yield job

    return await session.wait_many(source())


WATCHING: list[Operation] = [watch, first_look, wait, watch_many, wait_many]
OPERATIONS: list[Operation] = [get, history, listing, pages, *WATCHING]
FAULTS: dict[str, list[Any]] = {
    "none": [],
    "503": [sb.server_error(503)],
    "throttled": [sb.throttled()],
    "401": [sb.unauthorized()],
    "dead connections": [sb.Reset(), sb.Disconnect()],
    "half an answer": [sb.Hang(after=0.5)],
}


async def cancelled_at(vendor: VendorFactory, operation: Operation, at: int, faults: list[Any], *, twice: bool) -> bool:
    """Cancel an operation at one step, and look at what is left; False when it has no such step."""
    source, quota = RefreshingSource(refresh_time=0.5, access_time=0.0), cc.Quota()
    async with vendor(token=source, quota=quota, timeout=5.0, history=3) as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=3))
        await session.get_activity(job)  # so that connections are kept
        for effect in faults:
            sandbox.faults.add(effect, times=1)
        turns = operation in WATCHING
        stepped = Stepped(operation(session, job), at, twice=twice, turns=turns)  # type: ignore[arg-type]  # coroutines they are

        async def work() -> Any:
            return await stepped

        task = asyncio.create_task(work())
        await asyncio.wait([task])
        reached = stepped.steps >= at
        if task.cancelled():
            pass
        elif (error := task.exception()) is not None:
            raise error

        sandbox.faults.clear()
        await asyncio.sleep(30)  # whatever was paused is over
        assert [0, 0] == [len(queue) for queue in quota._queues], "tickets left"
        assert 0 == session.stats.watching
        assert len(sandbox.log) <= quota.spent <= len(sandbox.log) + 1, "a permit was lost, or a request not paid for"
        asked, began = quota.spent, asyncio.get_running_loop().time()
        assert job == (await session.get_activity(job)).activity_id
        assert asyncio.get_running_loop().time() - began < 0.1, "the next call had to wait"
        assert asked + 1 == quota.spent
        assert [] == tasks_left()
    return reached


CASES = [
    *[(operation, fault, False) for operation in OPERATIONS for fault in FAULTS],
    *[(operation, fault, True) for operation in (get, listing, watch, wait_many) for fault in ("none", "401")],
]


@pytest.mark.parametrize(
    ("operation", "fault", "twice"), CASES, ids=lambda value: str(getattr(value, "__name__", value))
)
@pytest.mark.timeout(180)
@pytest.mark.slow
async def test_an_operation_can_be_cancelled_at_any_step(
    vendor: VendorFactory, operation: Operation, fault: str, twice: bool
) -> None:
    """No task, ticket or connection stays, no permit is lost, and the next call works at once."""
    # A watch has hundreds of turns: a share of them that has no rhythm of its own.
    stride = 1 if operation not in WATCHING else 3 if fault == "none" else 13
    at = 1
    while at < MOST_STEPS and await cancelled_at(vendor, operation, at, FAULTS[fault], twice=twice):
        at += stride

    assert 2 < at < MOST_STEPS


@pytest.mark.parametrize("later", range(6))
async def test_one_cancellation_after_the_wake_up_is_heard(later: int) -> None:
    """A cancellation that comes some turns of the loop after what was waited for is not swallowed."""
    woken = asyncio.Event()

    async def waiting() -> None:
        await _tasks.wait_until_set(woken, 60)
        await asyncio.sleep(60)

    task = asyncio.create_task(waiting())
    await asyncio.sleep(1)
    woken.set()
    for _ in range(later):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=10)

    assert task.cancelled()


async def test_a_cancellation_that_meets_the_wake_up_is_heard() -> None:
    """All of these, as one check."""
    for later in range(6):
        await test_one_cancellation_after_the_wake_up_is_heard(later)


async def test_what_arrived_with_a_cancellation_is_not_lost(vendor: VendorFactory) -> None:
    """A snapshot that comes just as the iteration is cancelled is the next one, and the end still comes last."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=40))
        other, watch = session.watch(job), session.watch(job)

        async def cancel_at_the_first_snapshot() -> cc.Activity:
            snapshot = await anext(other)  # subscribed first, so its task has its turn first
            waiting.cancel()
            await other.aclose()  # nobody else watches
            return snapshot

        cancelling = asyncio.create_task(cancel_at_the_first_snapshot())
        waiting = asyncio.ensure_future(anext(watch))
        arrived = await cancelling
        await asyncio.wait([waiting])
        asked = len(sandbox.log)
        first = await anext(watch)
        assert waiting.cancelled()
        assert (arrived, "processing", asked) == (first, first.state, len(sandbox.log))
        rest = [snapshot async for snapshot in watch]

        assert ["processing"] * (len(rest) - 1) + ["completed"] == [snapshot.state for snapshot in rest]
        assert all(snapshot.changed_from(first) for snapshot in rest)


async def test_a_resumed_watch_gets_nothing_twice_though_another_left(vendor: VendorFactory) -> None:
    """What one watch has handed over is known to it even if another one, which went on meanwhile, has left."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=300))
        one, other = session.watch(job), session.watch(job)
        first = await anext(one)
        await anext(other)
        waiting = asyncio.create_task(anext(one))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.wait([waiting])
        await other.aclose()

        assert (await anext(one)).changed_from(first)
        await one.aclose()


async def test_a_permit_that_was_not_used_comes_back(vendor: VendorFactory) -> None:
    """A call that is cancelled between its permit and its send costs nothing."""
    source, quota = RefreshingSource(access_time=1.0), cc.Quota(per_second=1)
    async with vendor(latency=0.0, token=source, quota=quota) as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=3))
        await session.get_activity(job)
        call = asyncio.create_task(session.get_activity(job))
        await asyncio.sleep(1.5)  # it has waited for the token, then for its permit, and asks for the token once more
        assert (2, 1) == (quota.spent, len(sandbox.log))
        call.cancel()
        await asyncio.wait([call])

        assert 1 == quota.spent == len(sandbox.log)
        assert [] == source.refused_tokens
