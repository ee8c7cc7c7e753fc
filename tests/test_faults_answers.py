"""Answers that are wrong in ways of their own, and clocks that are set: what a watch makes of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.testing import VirtualTimeLoop, utc_now

HOUR = 3600.0
UNSAFE = sb.next_link("https://evil.example/v3/activities?cursor=x")


@asynccontextmanager
async def vendor(token: Any = None, **options: Any) -> AsyncIterator[tuple[sb.Sandbox, cc.ActivitySession]]:
    async with (
        sb.Sandbox(**{"latency": 0.06, "workload": sb.Workload(lanes=100), **options}) as sandbox,
        cc.ActivitySession(token or sandbox.token, base_url=sandbox.base_url, now=utc_now) as session,
    ):
        yield sandbox, session
    assert sandbox.violations.total == 0, sandbox.violations


@pytest.mark.parametrize("status", [408, 425])
@pytest.mark.parametrize("jobs", [1, 5])
async def test_watches_outlive_what_may_pass(status: int, jobs: int) -> None:
    """Half an hour of 408 or 425, to single looks and to lists, ends no watch."""
    async with vendor() as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=600)) for _ in range(jobs)]
        sandbox.faults.add(sb.message(status, "slow"), after=5, until=1800)
        result = await session.wait_many(ids)

        assert set(ids) == set(result.completed)


@pytest.mark.parametrize(
    "effect",
    [
        UNSAFE,
        sb.next_link("/v3/activities?limit=500"),
        sb.next_link({"href": 5}),
        sb.forbidden(),
    ],
    ids=["unsafe link", "circle", "no text", "403"],
)
async def test_lists_of_no_use_cost_no_watch(effect: Any) -> None:
    """What a list showed before it was of no use is asked for by its id from then on, like all the others."""
    async with vendor(history=600) as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=100 + 50 * number)) for number in range(6)]
        sandbox.faults.add(effect, where="list")
        async with asyncio.timeout(HOUR):
            result = await session.wait_many(ids)

        assert set(ids) == set(result.completed)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 410, 415, 418, 422, 451])
async def test_a_list_that_is_refused_is_not_asked_for_again(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the status of the refusal: one request, one warning, and single activities are followed as before."""
    async with vendor() as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=60)) for _ in range(6)]
        sandbox.faults.add(sb.message(status, "no lists for you"), where="list")
        result = await session.wait_many(ids)

        assert set(ids) == set(result.completed)
        assert 1 == sandbox.requests["list"]
        assert ["WARNING"] == [record.levelname for record in caplog.records if "no lists for you" in record.message]


async def test_a_link_that_is_refused_again_and_again_is_not_followed_for_ever(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A link may age, and the list brings a new one; when that is refused too, single activities are asked for."""
    async with vendor(history=600, order="oldest") as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=300)) for _ in range(10)]
        sandbox.faults.add(sb.next_link("/v3/activities?cursor=of-no-use"), where="list")
        result = await session.wait_many(ids)

        assert set(ids) == set(result.completed)
        assert 1 < sandbox.requests["list"] <= 6
        assert 1 == sum(record.levelname == "WARNING" for record in caplog.records)
        sandbox.violations.bad_cursor = 0  # the link was none of its own


async def test_a_link_that_has_aged_costs_no_more_than_its_page() -> None:
    """Refused once, it is replaced by that which the list now gives, and lists stay in use."""
    async with vendor(history=600, order="oldest") as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=300)) for _ in range(40)]
        sandbox.faults.add(sb.message(400, "The cursor is invalid."), where="list", skip=4, times=1)
        result = await session.wait_many(ids)

        assert set(ids) == set(result.completed)
        assert len(sandbox.log) < 2 * len(ids)


@pytest.mark.parametrize("status", [400, 405, 410, 415, 422, 451])
async def test_what_is_refused_is_asked_once(status: int) -> None:
    """No retry and no refresh for a refusal; a call and a watch say what the vendor said."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit()
        sandbox.faults.add(sb.message(status, "these were the words"))
        for call in (session.get_activity(job), session.wait(job)):
            asked = len(sandbox.log)
            with pytest.raises(cc.ResponseError, match="these were the words") as caught:
                await call

            assert status == caught.value.status
            assert asked + 1 == len(sandbox.log)


async def test_a_malformed_stamp_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Not at each look, and not for each activity; the watch goes by the state alone."""
    async with vendor() as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=300)) for _ in range(4)]
        sandbox.faults.add(sb.Patch({"updated_at": "completed"}))
        result = await session.wait_many(ids, max_staleness=10)

        assert set(ids) == set(result.completed)
        assert all(activity.updated_at is None for activity in result.completed.values())
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert 1 == len(warnings) == sum("updated_at" in record.getMessage() for record in warnings)


class Renewed:
    """A source whose refresh takes ten seconds."""

    def __init__(self) -> None:
        self.sandbox: sb.Sandbox | None = None
        self.token = ""
        self.told = 0

    async def access_token(self) -> str:
        return self.token

    async def refused(self, token: str) -> None:
        assert self.sandbox is not None
        self.told += 1
        await asyncio.sleep(10)
        self.token = self.sandbox.issue_token()


async def test_no_burst_follows_a_refresh() -> None:
    """What queued up while a token was renewed keeps to the limit too, and the source is told once."""
    source = Renewed()
    async with vendor(source) as (sandbox, session):
        source.sandbox, source.token = sandbox, sandbox.token
        ids = [sandbox.submit(sb.Life(duration=100 + number)) for number in range(40)]
        sandbox.faults.add(sb.forbidden(), where="list")
        watching = asyncio.create_task(session.wait_many(ids, max_staleness=10))
        await asyncio.sleep(30)
        sandbox.expire_token()
        calls = [session.get_activity(some) for some in ids[:10]]
        await asyncio.gather(*calls)
        result = await watching

        assert set(ids) == set(result.completed)
        assert 1 == source.told
        times = [line.time for line in sandbox.log]
        assert all(late - early >= 1.0 for early, late in zip(times, times[4:], strict=False))


@pytest.mark.parametrize("step", [HOUR, -HOUR, 8 * HOUR, -8 * HOUR, 13 * HOUR])
async def test_a_clock_that_is_set_changes_nothing(step: float) -> None:
    """Nor does it cause a burst: a watch asks as often as before, and sees the end as soon."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=600))
        loop.call_later(200, loop.step_utc, step)
        await session.wait(job, max_staleness=30)
        truth = sandbox.truth(job)

        assert truth is not None
        assert sandbox.now - truth.ended_at < 31
        times = [line.time for line in sandbox.log]
        assert len([when for when in times if 199 < when < 202]) <= 1
        assert len(times) < 60


async def test_only_the_page_that_failed_is_asked_for_again() -> None:
    """503 for page 3 of a list: each other page is read once, and nothing is lost."""
    async with vendor(history=50) as (sandbox, session):
        sandbox.faults.add(sb.server_error(503), where="list", skip=2, times=1)
        activities = await session.list_activities(page_size=10)

        assert 50 == len({activity.activity_id for activity in activities}) == len(activities)
        targets = [line.target for line in sandbox.log]
        assert len(targets) == len(set(targets)) + 1
        assert targets[2] == targets[3]
