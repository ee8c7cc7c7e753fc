"""Watching one activity: what is yielded, when it ends, what leaving costs, and what it survives."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from support.eager_tasks import start_tasks_eagerly
from support.vendor import UNKNOWN_ID, VendorFactory
from support.virtual_time import tasks_left, virtual_loop

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.testing import run

Leave = Callable[[cc.ActivitySession, str], Awaitable[None]]


async def all_of(watch: cc.Watch | cc.BatchWatch, into: list[cc.Activity] | None = None) -> list[cc.Activity]:
    snapshots = [] if into is None else into
    async for snapshot in watch:
        snapshots.append(snapshot)
    return snapshots


def shown(snapshots: list[cc.Activity]) -> list[tuple[object, object]]:
    return [(one.state, one.percent_done) for one in snapshots]


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("end", ["completed", "failed", "cancelled", "timed_out"])
async def test_a_watch_yields_changes_and_ends_with_the_end(vendor: VendorFactory, end: Any, awaited: bool) -> None:
    """First what is, then each change, the terminal snapshot last and once; a failed activity is data."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=40, end=end, errors=["no"]))
        watch = session.watch(job)
        await asyncio.sleep(1)
        assert [] == sandbox.log
        if awaited:
            assert watch is await watch
            assert 1 == len(sandbox.log)
        snapshots = await all_of(watch)
        truth = sandbox.truth(job)

        assert truth is not None
        assert end == truth.state == snapshots[-1].state
        assert ["processing"] * (len(snapshots) - 1) == [one.state for one in snapshots[:-1]]
        assert len(snapshots) == len(set(shown(snapshots))) > 2
        assert sorted(percents := [one.percent_done or 0 for one in snapshots]) == percents
        assert sandbox.now - truth.ended_at < 30
        assert [] == await all_of(watch)
        asked = len(sandbox.log)
        await asyncio.sleep(600)
        assert asked == len(sandbox.log)


async def test_every_poll_yields_one_snapshot_per_look(vendor: VendorFactory) -> None:
    """With `every_poll` unchanged looks are yielded too; without it they are not."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=100, progress="none", update_every=1000))
        looks = await all_of(session.watch(job, every_poll=True))
        asked = len(sandbox.log)
        job = sandbox.submit(sb.Life(duration=100, progress="none", update_every=1000))
        changes = await all_of(session.watch(job))

    assert asked == len(looks) > 3
    assert [("processing", 0), ("completed", 100)] == shown(changes)


async def test_the_first_look_tells_of_a_wrong_id(vendor: VendorFactory) -> None:
    """`await session.watch(...)` raises NotFoundError: after the grace, or at once without."""
    async with vendor() as (sandbox, session):
        with pytest.raises(cc.NotFoundError):
            await session.watch(UNKNOWN_ID, grace=0)
        assert 1 == len(sandbox.log)
        begun = sandbox.now
        with pytest.raises(cc.NotFoundError):
            await session.watch(UNKNOWN_ID)

        assert 10 <= sandbox.now - begun < 20


async def test_a_job_may_appear_late(vendor: VendorFactory) -> None:
    """A 404 within the grace is not believed yet; the same 404 in `get_activity` is."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=20))
        sandbox.faults.add(sb.not_found(), where="get", until=6)
        sandbox.faults.add(sb.drop_rows(job), where="list", until=6)
        with pytest.raises(cc.NotFoundError):
            await session.get_activity(job)

        assert (await session.wait(job)).succeeded


async def test_an_activity_that_vanishes_has_expired(vendor: VendorFactory) -> None:
    """404 for an activity that was seen is confirmed once: then ActivityExpiredError with its last snapshot."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=3600))
        sandbox.faults.add(sb.not_found(), where="get", times=1, skip=2)
        gone = sandbox.faults.add(sb.not_found(), where="get", after=100)
        sandbox.faults.add(sb.drop_rows(), where="list", after=100)
        snapshots: list[cc.Activity] = []
        with pytest.raises(cc.ActivityExpiredError) as caught:
            await all_of(session.watch(job, max_staleness=5), snapshots)

    assert 100 < sandbox.vendor.log[-1].time
    assert shown(snapshots)[-1:] == shown([caught.value.activity])
    assert 2 == gone.hits


async def test_waiting_gives_the_end_or_raises(vendor: VendorFactory) -> None:
    """`wait` returns the completed activity, and raises ActivityFailedError with any other end."""
    async with vendor() as (sandbox, session):
        good = sandbox.submit(sb.Life(duration=5, correctable_count=2))
        bad = [sandbox.submit(sb.Life(duration=5, end=end)) for end in sb.lifecycle.ENDINGS if end != "completed"]

        assert (await session.wait(good)).partial
        for job in bad:
            with pytest.raises(cc.ActivityFailedError) as caught:
                await session.wait(job)
            assert job == caught.value.activity.activity_id
            assert caught.value.activity.done


async def test_a_watch_has_a_time_limit_of_its_own(vendor: VendorFactory) -> None:
    """`timeout` bounds the whole watch, however the wall clock jumps; the error holds the last snapshot."""
    loop = virtual_loop()
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=600))
        snapshots: list[cc.Activity] = []
        loop.call_later(10, loop.step_utc, 3600)
        loop.call_later(20, loop.step_utc, -7200)
        with pytest.raises(TimeoutError) as caught:
            await all_of(session.watch(job, timeout=50), snapshots)
        assert isinstance(caught.value, cc.WatchTimeoutError)
        assert (50, job, snapshots[-1]) == (caught.value.timeout, caught.value.activity_id, caught.value.activity)
        assert 50 == pytest.approx(sandbox.now, abs=0.1)
        sandbox.faults.add(sb.server_error(503))
        with pytest.raises(cc.WatchTimeoutError) as unseen:
            await session.wait(UNKNOWN_ID, timeout=20)
        assert unseen.value.activity is None
        assert 70 == pytest.approx(sandbox.now, abs=0.2)


async def leave_by_break(session: cc.ActivitySession, job: str) -> None:
    async for _ in session.watch(job):
        break


async def leave_by_aclose(session: cc.ActivitySession, job: str) -> None:
    async with session.watch(job) as watch:
        assert job == (await anext(watch)).activity_id
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def leave_by_cancelling(session: cc.ActivitySession, job: str) -> None:
    task = asyncio.create_task(all_of(session.watch(job)))
    await asyncio.sleep(10.03)  # half a request later, or between two
    task.cancel()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def leave_by_dropping(session: cc.ActivitySession, job: str) -> None:
    watch = await session.watch(job)
    assert job == (await anext(watch)).activity_id
    del watch
    gc.collect()


async def leave_by_closing_the_session(session: cc.ActivitySession, job: str) -> None:
    tasks = [asyncio.create_task(all_of(session.watch(job))) for _ in range(3)]
    await asyncio.sleep(10)
    await session.aclose()

    assert [cc.SessionClosedError] * 3 == [type(e) for e in await asyncio.gather(*tasks, return_exceptions=True)]


@pytest.mark.parametrize(
    "leave", [leave_by_break, leave_by_aclose, leave_by_cancelling, leave_by_dropping, leave_by_closing_the_session]
)
@pytest.mark.parametrize("latency", [0.06, 5.0])
async def test_leaving_early_frees_everything(vendor: VendorFactory, leave: Leave, latency: float) -> None:
    """However a watch is left, no task and no connection stays, and nothing more is asked."""
    async with vendor(latency=latency) as (sandbox, session):
        await leave(session, sandbox.submit(sb.Life(duration=3600)))
        await asyncio.sleep(latency)
        asked = len(sandbox.log)
        await asyncio.sleep(900)

        assert asked == len(sandbox.log)
        assert [] == tasks_left()


async def test_two_tasks_cannot_iterate_one_watch(vendor: VendorFactory) -> None:
    """The second task gets a clear error; the first goes on."""
    async with vendor() as (sandbox, session):
        watch = session.watch(sandbox.submit(sb.Life(duration=60)))
        first = asyncio.create_task(all_of(watch))
        await asyncio.sleep(3)
        with pytest.raises(RuntimeError):
            await anext(watch)

        assert (await first)[-1].succeeded


async def test_an_iteration_that_was_cancelled_can_be_resumed(vendor: VendorFactory) -> None:
    """`asyncio.timeout` around `anext` loses nothing: the same snapshots come as to one who just waits."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=60))
        other = asyncio.create_task(all_of(session.watch(job)))
        watch, snapshots, over = session.watch(job), [], False
        while not over:
            try:
                async with asyncio.timeout(0.37):
                    snapshots.append(await anext(watch))
            except TimeoutError:
                pass
            except StopAsyncIteration:
                over = True

        assert await other == snapshots


@pytest.mark.parametrize("options", [{}, {"max_staleness": 5}])
def test_fifty_watches_of_one_activity_cost_as_much_as_one(vendor: VendorFactory, options: dict[str, Any]) -> None:
    """An activity that many watch is asked for once, and all get the same snapshots."""

    async def requests(watchers: int) -> int:
        async with vendor() as (sandbox, session):
            job = sandbox.submit(sb.Life(duration=90))
            everything = await asyncio.gather(*[all_of(session.watch(job, **options)) for _ in range(watchers)])
            assert all(everything[0] == one for one in everything)
            return len(sandbox.log)

    # Each on a loop of its own: when one looks depends on the fraction of the second in which the activity began.
    assert run(requests(1)) == run(requests(50))


async def test_a_late_subscriber_gets_the_last_snapshot_at_once(vendor: VendorFactory) -> None:
    """What somebody saw already is given to the next one without a request."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=600))
        async with session.watch(job) as early:
            last = await anext(early)
            await asyncio.sleep(0.5)
            asked, when = len(sandbox.log), sandbox.now
            late = await session.watch(job)
            first = await anext(late)

            assert last == first
            assert (asked, when) == (len(sandbox.log), sandbox.now)
            await late.aclose()


async def test_a_slow_consumer_gets_the_newest_and_never_misses_the_end(vendor: VendorFactory) -> None:
    """While a consumer is busy newer progress replaces older; the terminal snapshot is kept."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=100))
        watch = session.watch(job, max_staleness=2)
        first = await anext(watch)
        await asyncio.sleep(60)
        second = await anext(watch)
        await asyncio.sleep(3600)
        rest = await all_of(watch)

    assert 0 == first.percent_done
    assert 57 <= (second.percent_done or 0) <= 60
    assert [("completed", 100)] == shown(rest)


async def test_max_staleness_bounds_how_long_a_job_goes_unseen(vendor: VendorFactory) -> None:
    """With `max_staleness` the next look comes in time; without it a silent job costs little."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=1200, progress="none", update_every=5000))
        await session.wait(job, max_staleness=4)
        times = [line.time for line in sandbox.log]
        silent = sandbox.submit(sb.Life(duration=1200, progress="none", update_every=5000))
        await session.wait(silent)

    assert max(late - early for early, late in pairwise(times)) <= 4.5
    assert len(sandbox.log) - len(times) < len(times) / 2


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("delay", [0.0, 9e9])
async def test_max_staleness_lasts_as_long_as_who_wanted_it(
    vendor: VendorFactory, jobs: int, delay: float, lists: bool
) -> None:
    """When they have left, the watches that go on cost what they would have cost."""
    async with vendor() as (sandbox, session):
        if not lists:
            sandbox.faults.add(sb.forbidden(), where="list")
        ids = [sandbox.submit(sb.Life(duration=9e9, delay=delay, progress="none")) for _ in range(jobs)]
        watching = asyncio.create_task(session.wait_many(ids))
        costs = []
        for limits in ([], [5.0, 3.0, 5.0], [20.0]):
            looking = [asyncio.create_task(session.wait_many(ids, max_staleness=limit)) for limit in limits]
            await asyncio.sleep(300)
            for task in looking:
                task.cancel()
            before = len(sandbox.log)
            await asyncio.sleep(300)
            costs.append(len(sandbox.log) - before)
        watching.cancel()

    assert costs[0] <= 12 * jobs
    assert max(costs[1:]) <= costs[0] + jobs


async def test_of_two_who_look_the_stricter_counts_while_they_stay(vendor: VendorFactory) -> None:
    """Then the other one's `max_staleness` holds."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=9e9, progress="none"))
        tasks = [asyncio.create_task(session.wait(job, max_staleness=limit)) for limit in (20.0, 4.0, 4.0)]
        costs = []
        for task in reversed(tasks):
            before = len(sandbox.log)
            await asyncio.sleep(200)
            costs.append(len(sandbox.log) - before)
            task.cancel()

    assert [50, 50, 10] == pytest.approx(costs, abs=2)


async def test_a_row_older_than_the_last_is_ignored_unless_terminal(vendor: VendorFactory) -> None:
    """A cache's older answer goes unseen; an end is believed whatever its date."""
    old = {"updated_at": "2020-01-01T00:00:00Z", "percent_done": 55}
    async with vendor() as (sandbox, session):
        job, other = sandbox.submit(sb.Life(duration=60)), sandbox.submit(sb.Life(duration=90))
        stale = sandbox.faults.add(sb.Patch(old), where="list", skip=3, times=3, until=30)
        snapshots = await all_of(session.watch_many([job, other], max_staleness=2))
        percents = [one.percent_done or 0 for one in snapshots if one.activity_id == job]

        assert 3 == stale.hits
        assert sorted(percents) == percents
        endless = sandbox.submit(sb.Life(duration=9e9))
        sandbox.faults.add(sb.Patch({**old, "state": "failed"}), skip=4)
        assert ("failed", 55) == shown(await all_of(session.watch(endless, max_staleness=2)))[-1]


@pytest.mark.parametrize("state", ["paused", "TIMED_OUT", "", None])
async def test_an_unknown_state_is_no_end(
    vendor: VendorFactory, state: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """A state that nobody documents is passed on as it is, asked about slowly, and warned of once."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=60))
        sandbox.faults.add(sb.Patch({"state": state}), until=3600)
        with caplog.at_level(logging.WARNING, "ccactivity"):
            snapshots = await all_of(session.watch(job))

    assert "completed" == snapshots[-1].state
    assert {state} == {one.state for one in snapshots[:-1]}
    assert not any(one.done for one in snapshots[:-1])
    assert sum(line.time < 3600 for line in sandbox.log) < 150
    assert len([record for record in caplog.records if repr(state) in record.getMessage()]) == (state is not None)


async def test_progress_is_reported_as_sent(vendor: VendorFactory) -> None:
    """A percentage that falls, leaves 0 to 100 or is 100 too early is passed on, and ends nothing."""
    curve = [(0.0, 0.0), (0.2, 1.0), (0.4, 1.0), (0.5, 1.4), (0.7, -0.3), (1.0, 0.6)]
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=120, progress=curve, update_every=4))
        snapshots = await all_of(session.watch(job, max_staleness=2))
        percents = [one.percent_done or 0 for one in snapshots]

    assert {100, 0} < set(percents[:-1])
    assert (-20, 130) == pytest.approx((min(percents), max(percents)), abs=15)
    assert all(0.0 <= (one.progress or 0.0) <= 1.0 for one in snapshots)
    assert 1 == sum(one.done for one in snapshots)


async def test_the_first_terminal_snapshot_ends_the_watch(vendor: VendorFactory) -> None:
    """Terminal, then in work again: the watch has ended; `time_out`, as the vendor's prose has it, is `timed_out`."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=600))
        sandbox.faults.add(sb.Patch({"state": "time_out"}), skip=3, times=1)
        snapshots = await all_of(session.watch(job, max_staleness=5))

        assert [False] * (len(snapshots) - 1) + [True] == [one.done for one in snapshots]
        assert cc.ActivityState.TIMED_OUT is snapshots[-1].state
        await asyncio.sleep(900)
        assert 4 == len(sandbox.log)


@pytest.mark.parametrize("effect", [sb.server_error(503), sb.Reset(), sb.Hang(), sb.html(), sb.message(429, "?")])
@pytest.mark.slow
async def test_half_an_hour_of_failures_is_survived(vendor: VendorFactory, effect: Any) -> None:
    """Failures that may pass end a look, never the watch, and are not answered with more load."""
    async with vendor() as (sandbox, session):
        jobs = [sandbox.submit(sb.Life(duration=120)) for _ in range(3)]
        sandbox.faults.add(effect, after=10, until=1810)
        ends = await asyncio.gather(*map(session.wait, jobs))

        assert all(end.succeeded for end in ends)
        assert sandbox.now < 1810 + 150
        assert 5 < sum(10 < line.time < 1810 for line in sandbox.log) < 500


async def test_a_night_without_quota_is_slept_through(vendor: VendorFactory) -> None:
    """After `quota_exceeded` nothing is asked until 00:00 UTC; then one probe goes first, then all go on."""
    options = {"spent_today": 9_990, "latency": 1.0, "workload": sb.Workload(lanes=20)}
    async with vendor(**options, allowed_violations=["over_per_day"]) as (sandbox, session):  # it cannot know at first
        jobs = [sandbox.submit(sb.Life(duration=43_000 + 20 * number)) for number in range(20)]
        sandbox.faults.add(sb.forbidden(), where="list")  # so that many want to ask at midnight
        ends = await asyncio.gather(*[session.wait(job, max_staleness=10) for job in jobs])
        later = [line.time for line in sandbox.log if line.time > 300]

        assert all(end.succeeded for end in ends)
        assert 12 * 3600 + 1 <= later[0] < 12 * 3600 + 900
        assert later[1] >= later[0] + 1.0


async def test_a_dead_token_ends_every_watch_once(vendor: VendorFactory) -> None:
    """401 to a token that nobody can renew is an AuthenticationError of each watch; nothing is asked again."""
    async with vendor() as (sandbox, session):
        jobs = [sandbox.submit(sb.Life(duration=300)) for _ in range(10)]
        tasks = [asyncio.create_task(session.wait(job)) for job in jobs]
        await asyncio.sleep(30)
        sandbox.expire_token()
        errors = await asyncio.gather(*tasks, return_exceptions=True)
        asked = len(sandbox.log)
        await asyncio.sleep(300)

        assert {cc.AuthenticationError} == {type(error) for error in errors}
        assert asked == len(sandbox.log)


async def test_a_token_that_cannot_be_had_ends_a_watch_on_a_loop_with_eager_tasks(vendor: VendorFactory) -> None:
    """An error that a source raises without a wait reaches the consumer, and is asked for once."""
    start_tasks_eagerly()
    calls = []

    async def fail() -> str:
        calls.append(1)
        if len(calls) > 9:
            raise asyncio.CancelledError
        raise cc.TokenError("nobody is logged in")

    async with vendor(token=fail) as (sandbox, session):
        with pytest.raises(cc.TokenError, match="nobody is logged in"):
            await session.wait(sandbox.submit())

    assert 1 == len(calls)
