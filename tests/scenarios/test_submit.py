"""Submitting a job: it is queued once, or whoever submitted it is told that nobody knows."""

from __future__ import annotations

import asyncio
import logging
import pickle
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import pytest
from support.canary import SECRETS, secrets_in
from support.tokens import shown
from support.vendor import VendorFactory

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.jobs import (
    AddTags,
    DeleteContacts,
    DeleteLists,
    ExportContacts,
    ImportContacts,
    ImportFile,
    Job,
    Source,
    make_file_name,
)
from ccactivity.jobs.submit import Submitter
from ccactivity.testing import utc_now

LIST = "04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"
NAME = "contacts-1of1-3f9c0a17.csv"
FILE = ImportFile(b"email\nada@example.com\n", file_name=NAME, list_ids=[LIST])
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
LOSSES = [
    *[sb.Reset(), sb.Reset(after=0.5), sb.Hang(), sb.Raw(b"\x16\x03")],
    *[sb.Raw(CREATED), sb.Cut(), sb.Edit(lambda _: {}), sb.Endless()],
]
LATER = sb.Workload(median=3600, sigma=0.0)


def submitter_of(session: cc.ActivitySession) -> Submitter:
    """What the session's own calls go by, which also says how a submission went."""
    return session._submitter


def jobs_of(sandbox: sb.Sandbox) -> list[str]:
    """The names, or else the kinds, of the jobs that were created since the sandbox has started."""
    jobs = sandbox.vendor.jobs.listed(sandbox.now, oldest=0.0, state=None, after=None)
    return [job.file_name or job.kind for job in jobs]


def posts_of(sandbox: sb.Sandbox) -> list[float]:
    return [line.time for line in sandbox.log if line.kind == "post"]


@pytest.fixture(params=LOSSES, ids=repr)
def loss(request: pytest.FixtureRequest) -> Any:
    return request.param


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


# --- a lost answer --------------------------------------------------------------------------------------------------


async def test_a_file_import_whose_answer_was_lost_is_found_by_its_name(vendor: VendorFactory, loss: Any) -> None:
    """The job is there, so it is not sent again, and it can be waited for."""
    async with vendor(timeout=5.0, history=1200) as (sandbox, session):
        sandbox.faults.add(loss, where="post", times=1)
        submission = await submitter_of(session).submit(FILE)

        assert "reconciled" == submission.outcome
        assert () == submission.others
        assert 1 == len(posts_of(sandbox))
        assert (
            NAME
            == (await session.wait_many([submission.activity]))
            .completed[submission.activity.activity_id]
            .source_file_name
        )


@pytest.mark.parametrize("fault", [sb.Reset(), sb.Reset(hard=False), sb.Hang()], ids=repr)
async def test_a_file_import_that_was_lost_is_sent_once_more(vendor: VendorFactory, fault: Any) -> None:
    """After 40 seconds without a trace of it."""
    async with vendor(timeout=5.0, workload=LATER, history=20) as (sandbox, session):
        sandbox.faults.add(sb.lost_request(fault), where="post", times=1)
        submission = await submitter_of(session).submit(FILE)

        first, second = posts_of(sandbox)
        assert "repeated" == submission.outcome
        assert second - first >= 40
        assert 1 == jobs_of(sandbox).count(NAME)
        looks = [line.time for line in sandbox.log if line.kind == "list"]
        began = looks[0] - 2
        assert [2.0, 5.0, 15.0, 40.0] == pytest.approx([look - began for look in looks], abs=0.2)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
async def test_a_status_that_says_nothing_is_looked_into(vendor: VendorFactory, status: int) -> None:
    """A gateway may have passed it on."""
    async with vendor(workload=LATER) as (sandbox, session):
        sandbox.faults.add(sb.Edit(lambda body: body), where="post", times=1)
        sandbox.faults.add(sb.message(status, "Endpoint request timed out"), where="post", times=1)
        submission = await submitter_of(session).submit(FILE)

        assert "repeated" == submission.outcome
        assert [NAME] == jobs_of(sandbox)


async def test_a_list_that_lags_shows_it_later(vendor: VendorFactory) -> None:
    """Ten seconds are waited out."""
    async with vendor(workload=LATER, stale_rows=10.0) as (sandbox, session):
        sandbox.faults.add(sb.Reset(), where="post", times=1)
        assert "reconciled" == (await submitter_of(session).submit(FILE)).outcome
        assert [NAME] == jobs_of(sandbox)


async def test_a_file_import_that_is_there_twice_says_so(
    vendor: VendorFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """A list that lags too long: both are told, and both are accounted for."""
    async with vendor(workload=LATER) as (sandbox, session):
        sandbox.faults.add(sb.drop_rows(), where="list", times=4)
        sandbox.faults.add(sb.Reset(), where="post", times=2)
        submission = await submitter_of(session).submit(FILE)

        ids = {submission.activity.activity_id, *(other.activity_id for other in submission.others)}
        assert 2 == len(ids)
        assert "reconciled" == submission.outcome
        assert any("more than once" in record.message for record in caplog.records)
        assert 2 == len(await submitter_of(session).find(NAME))


async def test_a_name_that_the_vendor_does_not_show_costs_a_repetition(vendor: VendorFactory) -> None:
    """Which is harmless: an import sets the same properties again."""
    async with vendor(workload=LATER) as (sandbox, session):
        sandbox.faults.add(sb.Patch({"source_file_name": None}), where="list")
        sandbox.faults.add(sb.Reset(), where="post", times=1)
        assert "repeated" == (await submitter_of(session).submit(FILE)).outcome
        assert [NAME, NAME] == jobs_of(sandbox)


async def test_an_import_of_the_same_name_before_is_not_taken_for_it(vendor: VendorFactory) -> None:
    """A job that was submitted twice on purpose is one that is accounted for, and another one."""
    async with vendor(workload=LATER) as (sandbox, session):
        first = await session.submit(FILE)
        sandbox.faults.add(sb.lost_request(), where="post", times=1)
        second = await session.submit(FILE)

        assert first.activity_id != second.activity_id
        assert [NAME, NAME] == jobs_of(sandbox)


@pytest.mark.parametrize(
    "job",
    [
        ImportContacts(import_data=[{"email": "ada@example.com"}], list_ids=[LIST]),
        DeleteContacts(contact_ids=[LIST]),
        DeleteLists(list_ids=[LIST]),
        AddTags(source=Source(contact_ids=[LIST]), tag_ids=[LIST]),
    ],
    ids=repr,
)
async def test_what_has_the_same_effect_twice_is_sent_once_more(
    vendor: VendorFactory, caplog: pytest.LogCaptureFixture, job: Job
) -> None:
    """And the log says so. Lost a second time, it is unknown."""
    async with vendor(workload=LATER) as (sandbox, session):
        sandbox.faults.add(sb.lost_request(), where="post", times=1)
        assert "repeated" == (await submitter_of(session).submit(job)).outcome
        assert [job.kind] == jobs_of(sandbox)
        assert any("once more" in record.message for record in caplog.records if record.levelno == logging.WARNING)
        sandbox.faults.add(sb.Reset(), where="post", times=2)
        with pytest.raises(cc.SubmissionUnknownError) as caught:
            await session.submit(job)

        assert 2 == len(caught.value.candidates)
        assert 3 == len(jobs_of(sandbox))


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    "job",
    [
        ExportContacts(list_ids=[LIST]),
        DeleteContacts(list_ids=[LIST]),
        AddTags(source=Source(all_active_contacts=True), tag_ids=[LIST]),
    ],
    ids=repr,
)
async def test_whoever_submitted_what_may_have_another_effect_decides(
    vendor: VendorFactory, job: Job, before: bool
) -> None:
    """With the activities that it may be: created since, and by none of this session's submissions."""
    async with vendor(workload=LATER, history=700) as (sandbox, session):
        sandbox.submit()  # a stranger's, before
        await asyncio.sleep(60)
        sandbox.faults.add(sb.lost_request() if before else sb.Reset(), where="post", times=1)
        began = utc_now()
        losing = asyncio.create_task(session.submit(job))
        await asyncio.sleep(5)
        ours = await session.submit(FILE)
        stranger = sandbox.submit()
        with pytest.raises(cc.SubmissionUnknownError) as caught:
            await losing

        error = caught.value
        assert job is error.job
        assert error.listed
        assert abs(error.since - began) < timedelta(seconds=2)
        names = {candidate.activity_id for candidate in error.candidates}
        assert stranger in names
        assert ours.activity_id not in names
        assert (1 if before else 2) == len(names)
        assert 2 == len(posts_of(sandbox))
        assert repr(job) in str(error)


async def test_candidates_are_those_since_then_by_the_vendors_clock(vendor: VendorFactory) -> None:
    """Our own is ten minutes fast."""

    def fast() -> datetime:
        return utc_now() + timedelta(minutes=10)

    async with vendor(workload=LATER, now=fast) as (sandbox, session):
        sandbox.submit()
        await asyncio.sleep(60)
        sandbox.faults.add(sb.Reset(), where="post", times=1)
        began = utc_now()
        with pytest.raises(cc.SubmissionUnknownError) as caught:
            await session.submit(ExportContacts())

        assert 1 == len(caught.value.candidates)
        assert abs(caught.value.since - began) < timedelta(seconds=2)


@pytest.mark.parametrize("job", [FILE, ExportContacts(), DeleteLists(list_ids=[LIST])], ids=repr)
async def test_if_the_list_cannot_be_read_nothing_is_known(vendor: VendorFactory, job: Job) -> None:
    """In an outage that outlives the retries, nothing is repeated blindly but what has the same effect."""
    async with vendor(workload=LATER) as (sandbox, session):
        sandbox.faults.add(sb.Reset(), where="post", times=1)
        sandbox.faults.add(sb.server_error(503), after=0.1)
        with pytest.raises(cc.SubmissionUnknownError) as caught:
            await session.submit(job)

        assert not caught.value.listed
        assert () == caught.value.candidates
        assert "could not be read" in str(caught.value)
        assert 1 == len(jobs_of(sandbox))


async def test_a_refusal_of_the_repetition_does_not_hide_the_first(vendor: VendorFactory) -> None:
    """Of a file the list has said that there is none; of another job nobody has said anything."""
    async with vendor(workload=LATER) as (sandbox, session):
        sandbox.faults.add(sb.lost_request(), where="post", times=1)
        sandbox.faults.add(sb.server_error(400), where="post", times=1)
        with pytest.raises(cc.BadRequestError):
            await session.submit(FILE)
        sandbox.faults.clear()
        sandbox.faults.add(sb.lost_request(), where="post", times=1)
        sandbox.faults.add(sb.server_error(400), where="post", times=1)
        with pytest.raises(cc.SubmissionUnknownError):
            await session.submit(DeleteLists(list_ids=[LIST]))


async def test_a_file_import_that_is_lost_twice_is_unknown(vendor: VendorFactory) -> None:
    """It is sent twice at most."""
    async with vendor(workload=LATER) as (sandbox, session):
        sandbox.faults.add(sb.lost_request(), where="post")
        with pytest.raises(cc.SubmissionUnknownError) as caught:
            await session.submit(FILE)

        assert () == caught.value.candidates
        assert caught.value.listed
        assert 2 == len(posts_of(sandbox))


# --- whoever goes ---------------------------------------------------------------------------------------------------


async def test_a_session_that_is_closed_leaves_nobody_in_the_dark(vendor: VendorFactory) -> None:
    """What was sent is unknown then; what was not is not."""
    async with vendor(latency=4.0, workload=LATER, quota=cc.Quota(per_second=1)) as (_, session):
        sent = asyncio.create_task(session.submit(ExportContacts()))
        waiting = asyncio.create_task(session.submit(ExportContacts()))
        await asyncio.sleep(1)
        await session.aclose()
        results = await asyncio.gather(sent, waiting, return_exceptions=True)

        assert [cc.SubmissionUnknownError, cc.SessionClosedError] == [type(result) for result in results]
        with pytest.raises(cc.SessionClosedError):
            await session.submit(FILE)


async def test_a_cancelled_submission_says_that_it_may_have_been_sent(
    vendor: VendorFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, for an exception of the caller's own is all that they get."""
    async with vendor(latency=4.0, workload=LATER) as (sandbox, session):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await session.submit(FILE)

        assert any("may have been carried out" in record.message for record in caplog.records)
        assert [NAME] == jobs_of(sandbox)
        assert 1 == len(await submitter_of(session).find(NAME))


# --- what is shown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [sb.Reset(), sb.server_error(400), sb.lost_request(), sb.Cut()], ids=repr)
async def test_no_contact_is_shown(vendor: VendorFactory, caplog: pytest.LogCaptureFixture, fault: Any) -> None:
    """Neither in a log nor in an error, nor in a variable of ours that an error tracker would record."""
    contact = "ada@canary.example"
    SECRETS.add(contact)
    form = ImportFile(f"email\n{contact}\n".encode(), file_name=NAME, list_ids=[LIST])
    rows = ImportContacts(import_data=[{"email": contact}], list_ids=[LIST])
    async with vendor(workload=LATER) as (sandbox, session):
        sandbox.faults.add(fault, where="post")
        sandbox.faults.add(sb.drop_rows(), where="list")
        for job in (form, rows):
            with pytest.raises((cc.SubmissionUnknownError, cc.BadRequestError)) as caught:
                await session.submit(job)
            assert [] == secrets_in(shown(caught.value))
    assert [] == secrets_in(caplog.text)


# --- the queue ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def full(vendor: VendorFactory, *, lanes: int = 1) -> AsyncIterator[tuple[sb.Sandbox, cc.ActivitySession]]:
    """An account whose queue is full; one of its jobs begins each 50 seconds."""
    async with vendor(workload=sb.Workload(lanes=lanes)) as (sandbox, session):
        while sandbox.vendor.jobs.queued(sandbox.now + 40) < 1000:
            sandbox.submit(sb.Life(delay=0.0, duration=50.0))
        yield sandbox, session


async def test_a_full_queue_is_waited_for(vendor: VendorFactory) -> None:
    """Half a minute, a minute, two: until there is room; watches go on meanwhile, for it is no throttle."""
    async with full(vendor) as (sandbox, session):
        watched = asyncio.create_task(session.wait_many([sandbox.submit(sb.Life(duration=100))]))
        activity = await session.submit(FILE)
        first, *others = posts_of(sandbox)

        assert NAME == activity.source_file_name
        assert 30 <= others[0] - first < 40
        assert any(first < line.time < others[0] for line in sandbox.log if line.kind in ("get", "list"))
        watched.cancel()


async def test_queue_false_does_not_wait(vendor: VendorFactory) -> None:
    """QueueFullError at once, also while others wait."""
    async with full(vendor) as (sandbox, session):
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
    async with full(vendor, lanes=1) as (sandbox, session):
        await session.wait_many([])
        names = [make_file_name() for _ in range(10)]
        jobs = [ImportFile(FILE.content, file_name=name, list_ids=[LIST]) for name in names]
        activities = await asyncio.gather(*map(session.submit, jobs))

        assert names == [activity.source_file_name for activity in activities]
        assert len(posts_of(sandbox)) <= 20 + sandbox.now / 30


async def test_a_close_ends_the_wait_for_the_queue(vendor: VendorFactory) -> None:
    """Nothing was queued."""
    async with full(vendor) as (_, session):
        waiting = [asyncio.create_task(session.submit(FILE)) for _ in range(2)]
        await asyncio.sleep(5)
        await session.aclose()
        results = await asyncio.gather(*waiting, return_exceptions=True)

        assert [cc.SessionClosedError] * 2 == [type(result) for result in results]


async def test_the_time_in_the_queue_is_not_searched(vendor: VendorFactory) -> None:
    """What was created while a submission waited cannot be it."""
    async with full(vendor) as (sandbox, session):
        losing = asyncio.create_task(session.submit(ExportContacts()))
        await asyncio.sleep(5)
        sandbox.submit(sb.Life(delay=0.0, duration=50.0))
        sandbox.faults.add(sb.lost_request(), where="post", skip=1)
        with pytest.raises(cc.SubmissionUnknownError) as caught:
            await losing

        assert () == caught.value.candidates


async def test_only_a_job_can_be_submitted(vendor: VendorFactory) -> None:
    """And only one that one request takes."""
    async with vendor() as (sandbox, session):
        with pytest.raises(TypeError, match="one of ccactivity"):
            await session.submit({"list_ids": [LIST]})  # type: ignore[arg-type]
        with pytest.raises(ValueError, match=r"contact_ids holds 501 ids, and one request takes 500.*split"):
            await session.submit(DeleteContacts(contact_ids=[LIST] * 501))
        assert [] == sandbox.log
