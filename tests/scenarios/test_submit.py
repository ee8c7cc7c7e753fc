"""Submitting a job: it is queued once, when there is room for it, and watched from the answer on."""

from __future__ import annotations

import asyncio
import pickle
import socket
from contextlib import ExitStack
from typing import Any

import aiohttp
import pytest
from support.submissions import FILE, LATER, LIST, NAME, ONE_WORKER, fill_queue, jobs_of, posts_of, submitter_of
from support.vendor import VendorFactory

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.jobs import DeleteContacts, DeleteLists, ExportContacts, ImportFile, make_file_name
from ccactivity.testing import utc_now

# --- a plain submission ---------------------------------------------------------------------------------------------


async def test_what_was_submitted_is_waited_for_without_another_first_look(vendor: VendorFactory) -> None:
    """The answer to the submission is the first snapshot, and so the first GET comes when there may be news."""
    async with vendor(workload=LATER) as (sandbox, session):
        activity = await session.submit(FILE)
        snapshots = [snapshot async for snapshot in session.watch(activity)]

        assert activity == snapshots[0]
        assert snapshots[-1].done
        assert NAME == activity.source_file_name
        first = next(line.time for line in sandbox.log if line.kind != "post")
        assert first - posts_of(sandbox)[0] > 5
        assert 1 == session.stats.requests["post"]
        assert len(sandbox.log) == session.quota.spent


async def test_watch_of_a_submission_answers_at_once(vendor: VendorFactory) -> None:
    """Its first look has been made."""
    async with vendor(workload=LATER) as (sandbox, session):
        activity = await session.submit(DeleteLists(list_ids=[LIST]))
        async with await session.watch(activity) as watch:
            assert activity == await anext(watch)
        assert 1 == len(sandbox.log)
        async with session.watch_many([activity]) as batch:
            assert activity == await anext(batch)
        assert 1 == len(sandbox.log)


@pytest.mark.parametrize("lag", [3.0, 8.0])
async def test_what_was_submitted_may_take_a_moment_to_appear(vendor: VendorFactory, lag: float) -> None:
    """The answer to a submission is no look: until the first one, 404 has the grace of a new id."""
    async with vendor() as (sandbox, session):
        activity = await session.submit(FILE)
        sandbox.faults.add(sb.not_found(), where="get", until=sandbox.now + 20 + lag)
        await asyncio.sleep(20)

        assert (await session.wait(activity)).done


async def test_what_was_submitted_and_never_appears_is_gone(vendor: VendorFactory) -> None:
    """After its grace."""
    async with vendor() as (sandbox, session):
        activity = await session.submit(FILE)
        sandbox.faults.add(sb.not_found(), where="get")
        sandbox.faults.add(sb.drop_rows(), where="list")
        with pytest.raises(cc.ActivityExpiredError):
            await session.wait(activity, grace=5.0)

        gets = [line.time for line in sandbox.log if line.kind == "get"]
        assert 5 == pytest.approx(gets[-1] - gets[0], abs=0.5)


async def test_an_activity_that_has_ended_is_not_asked_for(vendor: VendorFactory) -> None:
    """A terminal snapshot is the last that there is, wherever it came from; and it comes once."""
    async with vendor() as (sandbox, session):
        ended = await session.wait(sandbox.submit(sb.Life(duration=5)))
        failed = await session.wait_many([sandbox.submit(sb.Life(duration=5, end="failed"))])
        (bad,) = failed.failed.values()
        seen = len(sandbox.log)

        assert ended == await session.wait(ended)
        assert [ended] == [snapshot async for snapshot in session.watch_many([ended, ended.activity_id, ended])]
        with pytest.raises(cc.ActivityFailedError):
            await session.wait(bad)
        result = await session.wait_many([ended, bad])
        assert {ended.activity_id: ended} == result.completed
        assert {bad.activity_id: bad} == result.failed
        assert seen == len(sandbox.log)


async def test_any_other_activity_is_watched_by_its_id(vendor: VendorFactory) -> None:
    """Nobody knows when its snapshot was taken, so a look is made."""
    async with vendor() as (sandbox, session):
        activity = await session.get_activity(sandbox.submit())
        later = pickle.loads(pickle.dumps(activity))
        await asyncio.sleep(3600)

        assert (await session.wait(later, timeout=60)).done


@pytest.mark.parametrize("size", [1_100_000, 3_900_000])
async def test_a_large_file_is_sent_as_it_is(vendor: VendorFactory, size: int) -> None:
    """Of more than a MiB the HTTP library would warn, which fails a test here; and its retry is the same again."""
    content = b"email,cf:note\n" + b"".join(b"%d@example.com,%d\n" % (row, 10**100) for row in range(size // 125))
    job = ImportFile(content, file_name=NAME, list_ids=[LIST, LIST[::-1]])
    async with vendor(workload=LATER) as (sandbox, session):
        sandbox.faults.add(sb.throttled(), where="post", times=1)
        activity = await session.submit(job)

        assert len(content.splitlines()) == activity.status.items_total_count
        assert 2 == len(posts_of(sandbox))


async def test_an_upload_has_time_by_its_size(vendor: VendorFactory) -> None:
    """`timeout` is for the answer; 50 kB a second are granted beside it."""
    job = ImportFile(b"email\n" + b"a@example.com\n" * 35_000, file_name=NAME, list_ids=[LIST])
    async with vendor(timeout=5.0, workload=LATER) as (sandbox, session):
        sandbox.faults.add(sb.Delay(14.0), where="post", times=1)
        assert "answered" == (await submitter_of(session).submit(job)).outcome
        sandbox.faults.add(sb.Delay(14.0), where="post", times=1)
        assert "reconciled" == (await submitter_of(session).submit(FILE)).outcome


async def test_a_connection_that_was_kept_alive_is_not_used(vendor: VendorFactory) -> None:
    """A server that closes kept-alive connections just as they are used again disturbs GETs, and no submission."""
    async with vendor(workload=LATER) as (sandbox, session):
        sandbox.faults.add(sb.Disconnect())
        for _ in range(3):
            await session.get_activity(sandbox.submit())
            await session.submit(ExportContacts())

        assert 3 == len(posts_of(sandbox))


async def test_a_borrowed_session_that_would_send_it_twice_does_not(vendor: VendorFactory) -> None:
    """A retrying middleware of the owner's gets an error for its second send; the list shows what came of the first."""

    async def twice(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        try:
            return await handler(request)
        except aiohttp.ClientError:
            return await handler(request)

    connector = aiohttp.TCPConnector(force_close=True)
    async with (
        aiohttp.ClientSession(middlewares=[twice], connector=connector) as http,
        vendor(http=http, workload=LATER) as (sandbox, session),
    ):
        sandbox.faults.add(sb.Reset(), where="post", times=1)
        submission = await submitter_of(session).submit(FILE)

        assert "reconciled" == submission.outcome
        assert [NAME] == jobs_of(sandbox)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (sb.server_error(400), cc.BadRequestError),
        (sb.forbidden(), cc.PermissionDeniedError),
        (sb.not_found(), cc.NotFoundError),
        *[(sb.message(status, "no"), cc.ResponseError) for status in (405, 409, 413, 415)],
        (sb.unauthorized(), cc.AuthenticationError),
        (sb.quota_exceeded(), cc.QuotaExceededError),
    ],
)
async def test_what_was_refused_is_not_sent_again(vendor: VendorFactory, answer: sb.Answer, error: Any) -> None:
    """The vendor has said that there is no job: nothing is looked for either."""
    async with vendor() as (sandbox, session):
        sandbox.faults.add(answer, where="post")
        with pytest.raises(error):
            await session.submit(FILE)

        assert {"post": 1} == session.stats.requests


async def test_a_new_token_is_worth_another_attempt(vendor: VendorFactory) -> None:
    """The one that was refused is reported, and the job is sent with the next."""
    tokens: list[str] = []

    async def give() -> str:
        return tokens[-1]

    async with vendor(token=give, workload=LATER, allowed_violations=["bad_token"]) as (sandbox, session):
        tokens.append(sandbox.token)
        sandbox.expire_token()
        tokens.append("sandbox-token-" + "0" * 64)

        async def renew() -> None:
            await asyncio.sleep(0.05)
            tokens.append(sandbox.issue_token())

        await asyncio.gather(session.submit(FILE), renew())
        assert [NAME] == jobs_of(sandbox)


async def test_a_connection_that_is_not_made_in_time_has_sent_nothing() -> None:
    """A host that does not answer: every attempt is a safe one, and half of the time of each is for the connection."""
    with socket.socket() as server, ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):  # who came first has all the room
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(server.getsockname())
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v3"
        async with cc.ActivitySession("token", base_url=url, now=utc_now, timeout=8.0) as session:
            began = asyncio.get_running_loop().time()
            with pytest.raises(cc.NotSentError, match="no connection in time"):
                await session.submit(ExportContacts())

            assert 5 * 4 <= asyncio.get_running_loop().time() - began < 60
            assert {"post": 5} == session.stats.requests


async def test_without_a_connection_nothing_is_looked_for(vendor: VendorFactory) -> None:
    """It was not sent, so it is an ordinary failure."""
    async with vendor() as (_, session):
        async with cc.ActivitySession("token", base_url="http://127.0.0.1:9/v3", now=utc_now) as other:
            with pytest.raises(cc.NotSentError):
                await other.submit(ExportContacts())
            assert {"post": 5} == other.stats.requests
        assert {} == session.stats.requests


# --- the queue ------------------------------------------------------------------------------------------------------


async def test_a_full_queue_is_waited_for(vendor: VendorFactory) -> None:
    """Half a minute, a minute, two: until there is room; watches go on meanwhile, for it is no throttle."""
    async with vendor(workload=ONE_WORKER) as (sandbox, session):
        fill_queue(sandbox)
        watched = asyncio.create_task(session.wait_many([sandbox.submit(sb.Life(duration=100))]))
        activity = await session.submit(FILE)
        first, *others = posts_of(sandbox)

        assert NAME == activity.source_file_name
        assert 30 <= others[0] - first < 40
        assert any(first < line.time < others[0] for line in sandbox.log if line.kind in ("get", "list"))
        watched.cancel()


async def test_queue_false_does_not_wait(vendor: VendorFactory) -> None:
    """QueueFullError at once, also while others wait."""
    async with vendor(workload=ONE_WORKER) as (sandbox, session):
        fill_queue(sandbox)
        waiting = asyncio.create_task(session.submit(FILE))
        await asyncio.sleep(5)
        with pytest.raises(cc.QueueFullError) as caught:
            await session.submit(FILE, queue=False)

        assert 429 == caught.value.status
        assert "1,000" in str(caught.value)
        assert 2 == len(posts_of(sandbox))
        waiting.cancel()


async def test_one_submission_asks_for_all_that_wait(vendor: VendorFactory) -> None:
    """Ten that wait cost a request in each half minute or longer, not ten."""
    async with vendor(workload=ONE_WORKER) as (sandbox, session):
        fill_queue(sandbox)
        await session.wait_many([])
        names = [make_file_name() for _ in range(10)]
        jobs = [ImportFile(FILE.content, file_name=name, list_ids=[LIST]) for name in names]
        activities = await asyncio.gather(*map(session.submit, jobs))

        assert names == [activity.source_file_name for activity in activities]
        assert len(posts_of(sandbox)) <= 20 + sandbox.now / 30


async def test_a_close_ends_the_wait_for_the_queue(vendor: VendorFactory) -> None:
    """Nothing was queued."""
    async with vendor(workload=ONE_WORKER) as (sandbox, session):
        fill_queue(sandbox)
        waiting = [asyncio.create_task(session.submit(FILE)) for _ in range(2)]
        await asyncio.sleep(5)
        await session.aclose()
        results = await asyncio.gather(*waiting, return_exceptions=True)

        assert [cc.SessionClosedError] * 2 == [type(result) for result in results]


async def test_only_a_job_can_be_submitted(vendor: VendorFactory) -> None:
    """And only one that one request takes."""
    async with vendor() as (sandbox, session):
        with pytest.raises(TypeError, match="one of ccactivity"):
            await session.submit({"list_ids": [LIST]})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"contact_ids holds 501 ids, and one request takes 500.*split"):
            await session.submit(DeleteContacts(contact_ids=[LIST] * 501))
        assert [] == sandbox.log
