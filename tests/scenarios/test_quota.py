"""The key's quota: limits of a second and of a day, who goes first, and what is charged."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from support.vendor import VendorFactory, connect, seconds_since_end

import ccactivity as cc
from ccactivity import sandbox as sb

MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)  # the virtual loop starts at noon of the day before


async def test_two_hundred_calls_at_once_queue_without_timing_out(vendor: VendorFactory) -> None:
    """Any number of concurrent calls keep to the limit; waiting for one's turn is not counted as `timeout`."""
    async with vendor(timeout=3.0) as (sandbox, session):
        job = sandbox.submit()
        activities = await asyncio.gather(*[session.get_activity(job) for _ in range(200)])

        assert {job} == {activity.activity_id for activity in activities}
        assert 200 == len(sandbox.log) == session.quota.spent
        assert 200 / 4 - 1 <= sandbox.now <= 200 / 4 * 1.15


async def test_sessions_that_share_a_quota_keep_it_together(vendor: VendorFactory) -> None:
    """Two sessions with one `Quota` send no more together than one key may, and see the same ledger."""
    quota = cc.Quota()
    async with vendor(quota=quota) as (sandbox, first), connect(sandbox, quota=quota) as second:
        job = sandbox.submit()
        await asyncio.gather(*[one.get_activity(job) for one in (first, second) * 40])

        assert quota is first.quota is second.quota
        assert (80, 10_000 - 80) == (quota.spent, quota.remaining)


@pytest.mark.parametrize(("per_second", "per_day", "least", "most"), [(10, 250_000, 7, 9.5), (None, None, 0, 0.5)])
async def test_limits_are_parameters(
    vendor: VendorFactory, per_second: Any, per_day: Any, least: float, most: float
) -> None:
    """A partner's key with ten a second does 90 calls in about nine seconds; without limits nothing waits."""
    quota = cc.Quota(per_second, per_day) if per_day else cc.Quota.unlimited()
    async with vendor(per_second=per_second, per_day=per_day, quota=quota) as (sandbox, session):
        job = sandbox.submit()
        await asyncio.gather(*[session.get_activity(job) for _ in range(90)])

        assert least <= sandbox.now <= most
        assert quota.spent == 90
        assert not per_day or quota.remaining == per_day - 90


async def test_a_person_goes_before_the_background(vendor: VendorFactory) -> None:
    """A single call is sent within a second or so, while watches have more to ask than the limit allows."""
    async with vendor(workload=sb.Workload(lanes=200)) as (sandbox, session):
        jobs = [sandbox.submit(sb.Life(duration=600)) for _ in range(100)]
        sandbox.faults.add(sb.forbidden(), where="list")  # so that each has to be asked for alone
        watches = [asyncio.create_task(session.wait(job, max_staleness=1.0)) for job in jobs]
        waits = []
        for _ in range(20):
            await asyncio.sleep(4.9)
            asked = sandbox.now
            await session.get_activity(jobs[0])
            waits.append(sandbox.now - asked)
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)

        assert len(sandbox.log) > 200
        assert max(waits) < 1.5


async def test_a_cancelled_call_pays_only_if_it_was_sent(vendor: VendorFactory) -> None:
    """Calls cancelled while they queue cost nothing; the next call works, and the ledger is what was sent."""
    async with vendor(latency=0.5) as (sandbox, session):
        job = sandbox.submit()
        calls = [asyncio.create_task(session.get_activity(job)) for _ in range(40)]
        await asyncio.sleep(2.2)
        for call in calls:
            call.cancel()
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await session.get_activity(job)

        assert len(sandbox.log) == session.quota.spent < 15


async def test_throttled_pauses_everyone(vendor: VendorFactory) -> None:
    """`throttled` stops all for a second or more, or as Retry-After says, and is not a failure."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit()
        for headers, pause in ((None, 1.0), ({"Retry-After": "7"}, 7.0)):
            sandbox.faults.add(sb.throttled(headers), times=1)
            told = len(sandbox.log)
            await asyncio.gather(*[session.get_activity(job) for _ in range(6)])
            times = [line.time for line in sandbox.log[told:]]

            assert 7 == len(times)
            assert min(time for time in times if time > times[0] + 0.4) - times[0] >= pause  # 0.4: not yet told
            await asyncio.sleep(5)


NEITHER = [sb.message(429, "?"), sb.html(429), sb.empty(429), sb.Answer(sb.Reply(status=429, body=b"[{}]"))]


@pytest.mark.parametrize(
    ("effect", "attempts", "least"), [*[(effect, 3, 5.0) for effect in NEITHER], (sb.throttled(), 10, 1.0)]
)
async def test_being_throttled_for_ever_is_an_error_in_the_end(
    vendor: VendorFactory, effect: sb.Answer | sb.Effect, attempts: int, least: float
) -> None:
    """A 429 of neither kind is waited out longer than `throttled`, three times at most; then ThrottledError."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit()
        sandbox.faults.add(effect, times=2)
        assert job == (await session.get_activity(job)).activity_id
        sandbox.faults.add(effect)
        with pytest.raises(cc.ThrottledError) as caught:
            await session.get_activity(job)

        assert 429 == caught.value.status
        assert 3 + attempts == len(sandbox.log)
        pauses = [late.time - early.time for early, late in pairwise(sandbox.log)]
        assert all(pause > least for pause in (*pauses[:2], *pauses[3:]))  # with jitter, so never just that
        assert all(early < late for early, late in pairwise(pauses[3:8]))  # the longest is a minute


async def test_a_spent_day_says_when_it_ends(vendor: VendorFactory) -> None:
    """After `quota_exceeded` single calls fail at once, without a request, until the vendor's midnight."""
    async with vendor(spent_today=9_999, allowed_violations=["over_per_day"]) as (sandbox, session):
        job = sandbox.submit()
        await session.get_activity(job)
        for _ in range(3):
            with pytest.raises(cc.QuotaExceededError) as caught:
                await session.get_activity(job)
            assert MIDNIGHT == caught.value.resets_at
        assert 2 == len(sandbox.log)
        assert 1 == sandbox.violations.over_per_day  # nobody could know

        await asyncio.sleep(12 * 3600 + 60)
        assert job == (await session.get_activity(job)).activity_id


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:07 GMT", "soon", ""])
async def test_a_spent_day_ends_by_our_own_clock_where_the_vendors_makes_no_sense(
    vendor: VendorFactory, date: str
) -> None:
    """The Date of an answer is the better clock, but not one of a machine that does not know the year."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=60))
        body = sb.quota_exceeded().reply.body
        sandbox.faults.add(sb.Answer(sb.Reply(status=429, body=body, headers={"Date": date})), times=1)
        with pytest.raises(cc.QuotaExceededError) as caught:
            await session.get_activity(job)

        assert MIDNIGHT == caught.value.resets_at
        assert (await session.wait(job)).succeeded
        assert 12 * 3600 <= sandbox.now < 12 * 3600 + 60


async def test_the_own_ledger_keeps_the_day(vendor: VendorFactory) -> None:
    """Our own count refuses what the vendor would refuse, and begins anew at 00:00 UTC."""
    quota = cc.Quota(per_day=20, reserve=0, spent=15)
    async with vendor(quota=quota) as (sandbox, session):
        job = sandbox.submit()
        for _ in range(5):
            await session.get_activity(job)
        with pytest.raises(cc.QuotaExceededError) as caught:
            await session.get_activity(job)

        assert (5, 20, 0) == (len(sandbox.log), quota.spent, quota.remaining)
        assert MIDNIGHT == caught.value.resets_at == quota.resets_at
        await asyncio.sleep(12 * 3600)
        await session.get_activity(job)
        assert (6, 1, 19) == (len(sandbox.log), quota.spent, quota.remaining)


async def test_watches_leave_a_reserve_to_single_calls(vendor: VendorFactory) -> None:
    """Watches stop before the last tenth of a day at the latest, go on after midnight, and lose nothing."""
    quota = cc.Quota(per_day=100, reserve=10)
    async with vendor(per_day=100, quota=quota) as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=13 * 3600, update_every=60))
        watch = asyncio.create_task(session.wait(job, max_staleness=1.0))
        await asyncio.sleep(11 * 3600)
        assert len(sandbox.log) <= 90
        for _ in range(100 - len(sandbox.log)):
            await session.get_activity(job)
        assert cc.ActivityState.COMPLETED is (await watch).state


@pytest.mark.parametrize("lists", [True, False])
async def test_a_watch_that_looks_often_starves_no_other(vendor: VendorFactory, lists: bool) -> None:
    """With a day all but spent, the others that are watched are looked at as well, and their ends are known in time."""
    quota = cc.Quota(per_day=1000, spent=930)
    async with vendor(per_day=1000, spent_today=930, quota=quota) as (sandbox, session):
        if not lists:
            sandbox.faults.add(sb.forbidden(), where="list")
        shown = sandbox.submit(sb.Life(duration=9e9))
        looking = asyncio.create_task(session.wait(shown, max_staleness=5))
        others = [sandbox.submit(sb.Life(duration=2000 + 100 * number)) for number in range(3)]
        async with asyncio.timeout(2 * 3600):
            result = await session.wait_many(others)
        lags = [seconds_since_end(sandbox, other) for other in others]
        looking.cancel()
        await asyncio.wait([looking])

        assert set(others) == set(result.completed)
        assert min(lags) < 1800


async def test_a_request_at_midnight_counts_for_both_days(vendor: VendorFactory) -> None:
    """Nobody knows which day the vendor charges for a request in flight at midnight: we charge both."""
    async with vendor(latency=2.0) as (sandbox, session):
        await asyncio.sleep(12 * 3600 - 1)
        call = asyncio.create_task(session.get_activity(sandbox.submit()))
        await asyncio.sleep(0.5)
        assert 1 == session.quota.spent
        await call
        assert 1 == session.quota.spent
        assert datetime(2026, 1, 3, tzinfo=UTC) == session.quota.resets_at


async def test_a_hidden_second_send_is_charged(vendor: VendorFactory) -> None:
    """A keep-alive connection closed as we send makes aiohttp send again: that one is paid for, too."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit()
        await session.get_activity(job)
        sandbox.faults.add(sb.Disconnect(), times=3)
        await asyncio.gather(*[session.get_activity(job) for _ in range(20)])

        assert 24 == len(sandbox.log) == session.quota.spent
