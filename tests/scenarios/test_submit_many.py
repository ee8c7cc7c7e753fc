"""Submitting many jobs: in step with the quota and the queue, each of them once, and single refusals apart."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.fleet_engines import VirtualFleet, VirtualServer
from support.redis_server import RedisServer
from support.vendor import VendorFactory, connect, most_in_a_second
from support.virtual_time import tasks_left

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.jobs import DeleteContacts, DeleteLists, ExportContacts, ImportFile, Job
from ccactivity.testing import utc_now

LIST = "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"
BUSY_ACCOUNT = sb.Workload(median=60, sigma=0.5, shortest=25, longest=180, lanes=50)


def imports(count: int) -> list[ImportFile]:
    return [
        ImportFile(b"email\nada@example.com\n", file_name=f"part-{number}.csv", list_ids=[LIST])
        for number in range(count)
    ]


def names_of(sandbox: sb.Sandbox) -> list[str | None]:
    jobs = sandbox.vendor.jobs.listed(sandbox.now, oldest=0.0, state=None, after=None)
    return [job.file_name for job in jobs]


async def one_by_one(jobs: list[Any]) -> AsyncIterator[Any]:
    for job in jobs:
        await asyncio.sleep(1)
        yield job


@pytest.mark.parametrize("form", [list, iter, one_by_one])
async def test_jobs_are_submitted_and_waited_for(vendor: VendorFactory, form: Any) -> None:
    """Of any iterable: each is queued once, and followed to its end, within four requests a second."""
    async with vendor(workload=BUSY_ACCOUNT) as (sandbox, session):
        result = await session.wait_many(session.submit_many(form(imports(40))))

        assert 40 == len(result.completed) + len(result.failed)
        assert sorted(job.file_name for job in imports(40)) == sorted(filter(None, names_of(sandbox)))
        assert most_in_a_second(sandbox) <= 4
        assert len(sandbox.log) == session.quota.spent
        assert 40 == session.stats.requests["post"]


async def test_what_was_submitted_needs_no_first_look(vendor: VendorFactory) -> None:
    """The answers are the first snapshots, also of a watch that was made before anything was submitted."""
    async with vendor(workload=sb.Workload(median=3600, sigma=0.0, lanes=50)) as (sandbox, session):
        changes: list[tuple[str, int]] = []

        def on_change(change: cc.Activity) -> None:
            changes.append((change.activity_id, sum(line.kind != "post" for line in sandbox.log)))

        await session.wait_many(session.submit_many(imports(8)), on_change=on_change)

        assert 8 == len({activity_id for activity_id, _ in changes[:8]})
        assert {0} == {looks for _, looks in changes[:8]}


async def test_a_thousand_deletes_are_a_split(vendor: VendorFactory) -> None:
    """Ids over the limit: the parts together."""
    job = DeleteContacts(contact_ids=[f"id-{number}" for number in range(1200)])
    async with vendor(workload=BUSY_ACCOUNT) as (_, session):
        activities = [activity async for activity in session.submit_many(job.split())]

        assert [200, 500, 500] == sorted(activity.status.items_total_count or 0 for activity in activities)


@pytest.mark.parametrize(("at_once", "seconds"), [(1, 20), (4, 5), (20, 2)])
async def test_at_once(vendor: VendorFactory, at_once: int, seconds: float) -> None:
    """So many are under way at the same time."""
    async with vendor(latency=1.0, quota=cc.Quota(100), per_second=None) as (sandbox, session):
        assert 20 == len([activity async for activity in session.submit_many(imports(20), at_once=at_once)])
        assert seconds - 1 <= sandbox.now <= seconds + 1


async def test_a_job_is_taken_when_it_can_be_sent(vendor: VendorFactory) -> None:
    """There may be any number of them, and they may be large; a slow consumer holds back what is sent."""
    taken = []

    def endless() -> Iterator[Job]:
        for number in range(10**9):
            taken.append(number)
            yield from imports(1)

    async with vendor() as (_, session):
        async for _ in session.submit_many(endless(), at_once=2):
            await asyncio.sleep(60)
            if len(taken) > 9:
                break

        assert len(taken) < 14
    assert [] == tasks_left()


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (sb.server_error(400), cc.BadRequestError),
        (sb.not_found(), cc.NotFoundError),
        (sb.message(413, "Request Too Long"), cc.ResponseError),
        (sb.Reset(), cc.SubmissionUnknownError),
    ],
)
async def test_a_single_refusal_does_not_disturb_the_others(vendor: VendorFactory, fault: Any, error: Any) -> None:
    """It is in the result, by the place of its job."""
    jobs: list[Job] = [*imports(3), ExportContacts(), *imports(3)]
    async with vendor(workload=BUSY_ACCOUNT) as (sandbox, session):
        sandbox.faults.add(fault, where="post", activity_id="contact_exports")
        result = await session.wait_many(session.submit_many(jobs))

        assert {"jobs[3]": error} == {place: type(one) for place, one in result.errors.items()}
        assert 6 == len(result.completed) + len(result.failed)
        with pytest.raises(cc.BatchError) as caught:
            async for _ in session.submit_many(jobs[3:4]):
                raise AssertionError
        assert ["jobs[0]"] == list(caught.value.errors)


async def test_what_cannot_be_followed_is_told_beside_what_was_refused(vendor: VendorFactory) -> None:
    """Both in one result."""
    async with vendor(workload=BUSY_ACCOUNT) as (sandbox, session):
        sandbox.faults.add(sb.server_error(400), where="post", activity_id="contact_exports")
        result = await session.wait_many(session.submit_many([ExportContacts(), *imports(1)]), timeout=0.5)

        assert {cc.BadRequestError, cc.WatchTimeoutError} == {type(error) for error in result.errors.values()}
        assert 2 == len(result.errors)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (sb.forbidden(), cc.PermissionDeniedError),
        (sb.unauthorized(), cc.AuthenticationError),
    ],
)
async def test_what_concerns_the_session_ends_it(vendor: VendorFactory, fault: Any, error: Any) -> None:
    """After what was under way: its activities come first, and no further job is sent."""
    async with vendor(workload=BUSY_ACCOUNT) as (sandbox, session):
        sandbox.faults.add(sb.Delay(5.0), where="post", times=3)
        sandbox.faults.add(fault, where="post", skip=3)
        activities = []
        with pytest.raises(error):
            async for activity in session.submit_many(imports(50)):
                activities.append(activity)

        assert 3 == len(activities)
        assert len(names_of(sandbox)) == 3


async def test_in_an_outage_no_job_after_the_other_becomes_unknown(vendor: VendorFactory) -> None:
    """Where not even the list can be read, the first unknown one is the end; the refusal before it is its cause."""
    async with vendor(workload=BUSY_ACCOUNT) as (sandbox, session):
        sandbox.faults.add(sb.server_error(400), where="post", times=1)
        sandbox.faults.add(sb.server_error(503))
        with pytest.raises(cc.SubmissionUnknownError) as caught:
            async for _ in session.submit_many(imports(50), at_once=1):
                raise AssertionError

        assert not caught.value.listed
        assert isinstance(caught.value.__cause__, cc.BatchError)
        assert sandbox.requests["post"] == 2


async def test_when_the_day_is_spent_it_goes_on_tomorrow(vendor: VendorFactory) -> None:
    """At 00:00 UTC; nothing is asked before."""
    start = datetime(2026, 1, 1, 22, 0, tzinfo=UTC)
    async with vendor(start=start, per_day=10_000, spent_today=9_990, quota=cc.Quota(spent=9_990)) as (
        sandbox,
        session,
    ):
        activities = [activity async for activity in session.submit_many(imports(20))]

        assert 20 == len(activities)
        assert 20 == len(set(names_of(sandbox)))
        created = sorted(activity.created_at for activity in activities if activity.created_at)
        assert (1, 2) == (created[0].day, created[-1].day)
        assert len(sandbox.log) == 20


async def test_a_clock_that_is_fast_does_not_spin_at_the_end_of_the_day(vendor: VendorFactory) -> None:
    """The day ends by the vendor's clock, which our own has passed long before."""

    readings = itertools.count()

    def fast() -> datetime:
        assert next(readings) < 10_000, "it spins"
        return utc_now() + timedelta(hours=3)

    start = datetime(2026, 1, 1, 22, 0, tzinfo=UTC)
    async with vendor(
        start=start, per_day=10_000, spent_today=9_990, now=fast, allowed_violations=["over_per_day"]
    ) as (sandbox, session):
        activities = [activity async for activity in session.submit_many(imports(20))]

        assert 20 == len(activities)
        assert sandbox.now >= 2 * 3600


async def test_a_queue_that_was_full_once_slows_nothing_down_for_long(vendor: VendorFactory) -> None:
    """There is room again: as many as before are under way at the same time."""
    async with vendor(latency=1.0, quota=cc.Quota(100), per_second=None) as (sandbox, session):
        sandbox.faults.add(sb.message(429, "too many activities"), where="post", times=1)
        assert 41 == len([activity async for activity in session.submit_many(imports(41))])
        assert sandbox.now < 46


async def test_a_source_that_was_cancelled_itself_ends_it(vendor: VendorFactory) -> None:
    """It awaits a task that somebody else has cancelled: that is what its consumer gets, and nobody waits for ever."""
    cancelled = asyncio.get_running_loop().create_future()
    cancelled.cancel()

    async def source() -> AsyncIterator[Job]:
        for job in imports(2):
            yield job
        await cancelled

    async with vendor() as (_, session):
        activities = []
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(600):
                async for activity in session.submit_many(source()):
                    activities.append(activity)

        assert 2 == len(activities)


async def test_a_source_that_fails_ends_it(vendor: VendorFactory) -> None:
    """With its own error, after what was under way; and an async source is closed."""
    closed = []

    async def failing() -> AsyncIterator[Job]:
        try:
            for job in imports(5):
                yield job
            raise KeyError("no more")
        finally:
            closed.append(True)

    async with vendor() as (_, session):
        activities = []
        with pytest.raises(KeyError):
            async for activity in session.submit_many(failing()):
                activities.append(activity)

        assert 5 == len(activities)
        assert [True] == closed


async def test_leaving_the_loop_closes_everything(vendor: VendorFactory) -> None:
    """The source, and whoever works."""
    closed = []

    async def endless() -> AsyncIterator[Job]:
        try:
            while True:
                for job in imports(1):
                    yield job
        finally:
            closed.append(True)

    async with vendor() as (_, session):
        submissions = session.submit_many(endless())
        await anext(submissions)
        await submissions.aclose()

        assert [True] == closed
        assert [] == tasks_left()


@pytest.mark.parametrize(
    ("jobs", "options", "error"),
    [
        (DeleteLists(list_ids=[LIST]), {}, TypeError),
        ([DeleteLists(list_ids=[LIST]), LIST], {}, TypeError),
        ([DeleteLists(list_ids=[LIST] * 101)], {}, ValueError),
        ([], {"at_once": 0}, ValueError),
        ([], {"at_once": "4"}, TypeError),
        ([], {"at_once": 2.5}, TypeError),
    ],
)
async def test_wrong_arguments(vendor: VendorFactory, jobs: Any, options: Any, error: Any) -> None:
    """As for a single one."""
    async with vendor() as (_, session):
        with pytest.raises(error):
            async for _ in session.submit_many(jobs, **options):
                pass
        assert [] == [activity async for activity in session.submit_many([])]


async def test_a_fleet_shares_the_quota_of_submissions(engine: RedisServer) -> None:
    """Two processes submit and wait: four requests a second in all, and every end is told."""
    async with sb.Sandbox(latency=0.06, workload=BUSY_ACCOUNT) as sandbox:
        server = VirtualServer(engine.url)
        async with (
            connect(sandbox, fleet=VirtualFleet(server)) as first,
            connect(sandbox, fleet=VirtualFleet(server)) as second,
        ):
            jobs = imports(24)
            results = await asyncio.gather(
                first.wait_many(first.submit_many(jobs[:12])), second.wait_many(second.submit_many(jobs[12:]))
            )

            assert [12, 12] == [len(result.completed) + len(result.failed) for result in results]
            assert 0 == sandbox.violations.total
            assert most_in_a_second(sandbox) <= 4
