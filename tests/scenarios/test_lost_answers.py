"""A submission whose answer was lost: it is found, or sent once more, or whoever submitted it is told."""

from __future__ import annotations

import asyncio
import logging
import pickle
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Any

import attrs
import pytest
from support.canary import SECRETS, secrets_in
from support.submissions import FILE, LATER, LIST, NAME, ONE_WORKER, fill_queue, jobs_of, posts_of, submitter_of
from support.tokens import shown
from support.vendor import VendorFactory, connect

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
)
from ccactivity.testing import utc_now

CONTACT = "ada@canary.example"
CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"
LOSSES = [
    *[sb.Reset(), sb.Reset(after=0.5), sb.Hang(), sb.Raw(b"\x16\x03")],
    *[sb.Raw(CREATED), sb.Cut(), sb.Patch({"activity_id": None}), sb.Endless()],
]
ECHO = sb.Edit(lambda _: {"import_data": [{"email": CONTACT}]})  # of what was sent, as an answer


@pytest.fixture(params=LOSSES, ids=repr)
def loss(request: pytest.FixtureRequest) -> Any:
    return request.param


# --- found, or sent again -------------------------------------------------------------------------------------------


async def test_a_file_import_whose_answer_was_lost_is_found_by_its_name(vendor: VendorFactory, loss: Any) -> None:
    """The job is there, so it is not sent again, and it can be waited for."""
    async with vendor(timeout=5.0, history=1200) as (sandbox, session):
        sandbox.faults.add(loss, where="post", times=1)
        submission = await submitter_of(session).submit(FILE)

        assert "reconciled" == submission.outcome
        assert () == submission.others
        assert 1 == len(posts_of(sandbox))
        (ended,) = (await session.wait_many([submission.activity])).completed.values()
        assert NAME == ended.source_file_name


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


@pytest.mark.parametrize(("order", "pages"), [("newest", 1), ("oldest", 3), ("shuffled", 3)])
async def test_no_more_of_the_list_is_read_than_may_show_it(vendor: VendorFactory, order: str, pages: int) -> None:
    """Whatever its order is, a job that is in it is found; the newest come first, or all pages are read."""
    async with vendor(workload=LATER, history=1200, order=order) as (sandbox, session):
        sandbox.faults.add(sb.lost_request(), where="post", times=1)
        assert "repeated" == (await submitter_of(session).submit(FILE)).outcome
        assert 4 * pages == session.stats.requests["list"]
        sandbox.faults.add(sb.Reset(), where="post", times=1)
        assert "reconciled" == (await submitter_of(session).submit(attrs.evolve(FILE, file_name="b.csv"))).outcome
        sandbox.faults.add(sb.Reset(), where="post", times=1)
        with pytest.raises(cc.SubmissionUnknownError) as caught:
            await session.submit(ExportContacts())

        assert 1 == len(caught.value.candidates)
        assert 3 == len(jobs_of(sandbox))


async def test_whole_seconds_are_no_disorder(vendor: VendorFactory) -> None:
    """Some kinds of jobs have milliseconds in their timestamps, and others none: that is an order still."""
    async with vendor(workload=LATER) as (sandbox, session):
        for number in range(600):
            sandbox.submit(kind="list_delete" if number % 2 else "contacts_json_import")
            await asyncio.sleep(0.15)
        await asyncio.sleep(60)
        sandbox.faults.add(sb.lost_request(), where="post", times=1)
        await session.submit(FILE)

        assert 4 == session.stats.requests["list"]


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


async def test_the_time_in_the_queue_is_not_searched(vendor: VendorFactory) -> None:
    """What was created while a submission waited cannot be it."""
    async with vendor(workload=ONE_WORKER) as (sandbox, session):
        fill_queue(sandbox)
        losing = asyncio.create_task(session.submit(ExportContacts()))
        await asyncio.sleep(5)
        sandbox.submit(sb.Life(delay=0.0, duration=50.0))
        sandbox.faults.add(sb.lost_request(), where="post", skip=1)
        with pytest.raises(cc.SubmissionUnknownError) as caught:
            await losing

        assert () == caught.value.candidates


async def test_an_older_import_of_that_name_is_not_taken_for_it(vendor: VendorFactory) -> None:
    """A nightly import that always has the same name: the one of yesterday is another program's, and another job."""
    async with vendor(workload=LATER) as (sandbox, session):
        async with connect(sandbox) as yesterday:
            old = await yesterday.submit(FILE)
        await asyncio.sleep(600)
        sandbox.faults.add(sb.lost_request(), where="post", times=1)
        submission = await submitter_of(session).submit(FILE)

        assert "repeated" == submission.outcome
        assert old.activity_id != submission.activity.activity_id
        assert [NAME, NAME] == jobs_of(sandbox)


@pytest.mark.parametrize("job", [FILE, ExportContacts(), DeleteLists(list_ids=[LIST])], ids=repr)
async def test_a_refresh_that_fails_has_submitted_nothing(vendor: VendorFactory, job: Job) -> None:
    """The token comes first, and a 401 is a refusal: an ordinary failure, without a look at the list."""
    lost = cc.TransportError("reset", method="POST", path="/oauth2/default/v1/token")

    class Failing:
        async def access_token(self) -> str:
            if not refused:
                raise lost
            return refused[0]

        async def refused(self, token: str) -> None:
            raise lost

    refused: list[str] = []
    async with vendor(token=Failing(), workload=LATER) as (sandbox, session):
        with pytest.raises(cc.TransportError, match="token: reset"):
            await session.submit(job)
        assert 0 == sandbox.requests.total()
        refused.append(sandbox.token)
        sandbox.faults.add(sb.unauthorized(), where="post")
        with pytest.raises(cc.TransportError, match="token: reset"):
            await session.submit(job)

        assert {"post": 1} == session.stats.requests
        assert [] == jobs_of(sandbox)


async def test_a_token_source_that_fails_does_not_hide_a_lost_answer(vendor: VendorFactory) -> None:
    """Whatever it raises: the job may be there."""

    class Unexpected:
        async def access_token(self) -> str:
            if posts_of(sandbox):
                raise KeyError("no token")
            return sandbox.token

        async def refused(self, token: str) -> None: ...

    async with vendor(token=Unexpected(), workload=LATER) as (sandbox, session):
        sandbox.faults.add(sb.Reset(), where="post", times=1)
        with pytest.raises(cc.SubmissionUnknownError) as caught:
            await session.submit(DeleteLists(list_ids=[LIST]))

        assert not caught.value.listed


async def test_a_computer_that_slept_does_not_miss_it(vendor: VendorFactory) -> None:
    """Meanwhile the clock of its loop stood still, and that on the wall went on."""

    class Slept:
        def apply(self, reply: sb.Reply, _: str | None, /) -> sb.Reply:
            return attrs.evolve(reply, headers={**reply.headers, "Date": format_datetime(now(), usegmt=True)})

    def now() -> datetime:
        return utc_now() + timedelta(hours=2 if posts_of(sandbox) else 0)

    async with vendor(workload=LATER, now=now) as (sandbox, session):
        sandbox.faults.add(Slept(), where="list")
        sandbox.faults.add(sb.Reset(), where="post")
        began = utc_now()
        with pytest.raises(cc.SubmissionUnknownError) as caught:
            await session.submit(ExportContacts())

        assert 1 == len(caught.value.candidates)
        assert abs(caught.value.since - began) < timedelta(seconds=30)


async def test_what_is_not_the_vendor_does_not_tell_the_time(vendor: VendorFactory) -> None:
    """A page of a proxy's, whose clock was never set, is no answer."""
    async with vendor(workload=LATER) as (sandbox, session):
        page = attrs.evolve(sb.html().reply, headers={"Date": "Sat, 01 Jan 2000 00:00:00 GMT"})
        sandbox.faults.add(sb.Answer(page))
        began = utc_now()
        with pytest.raises(cc.SubmissionUnknownError) as caught:
            await session.submit(ExportContacts())

        assert abs(caught.value.since - began) < timedelta(seconds=2)


# --- whoever goes ---------------------------------------------------------------------------------------------------


async def test_a_session_that_is_closed_leaves_nobody_in_the_dark(vendor: VendorFactory) -> None:
    """What was sent is unknown then; what was not is not."""
    async with vendor(latency=4.0, workload=LATER, quota=cc.Quota(per_second=1)) as (_, session):
        sent = asyncio.create_task(session.submit(ExportContacts()))
        waiting = asyncio.create_task(session.submit(ExportContacts()))
        await asyncio.sleep(1)
        await session.aclose()
        closed = asyncio.get_running_loop().time()
        results = await asyncio.gather(sent, waiting, return_exceptions=True)

        assert [cc.SubmissionUnknownError, cc.SessionClosedError] == [type(result) for result in results]
        assert asyncio.get_running_loop().time() - closed < 1
        with pytest.raises(cc.SessionClosedError):
            await session.submit(FILE)


@pytest.mark.parametrize("job", [FILE, ExportContacts(), DeleteLists(list_ids=[LIST])], ids=repr)
@pytest.mark.parametrize("seconds", [0.5, 1.5, 4.0, 9.0, 12.0])
async def test_a_close_ends_the_search(vendor: VendorFactory, job: Job, seconds: float) -> None:
    """At once, wherever it has got to."""
    async with vendor(latency=1.0, workload=LATER) as (sandbox, session):
        sandbox.faults.add(sb.lost_request(), where="post")
        losing = asyncio.create_task(session.submit(job))
        await asyncio.sleep(seconds)
        await session.aclose()
        closed = asyncio.get_running_loop().time()
        with pytest.raises(cc.SubmissionUnknownError):
            await losing

        assert asyncio.get_running_loop().time() - closed < 0.1


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


@pytest.mark.parametrize(
    "fault",
    [sb.Reset(), sb.server_error(400), sb.lost_request(), sb.Cut(), ECHO],
    ids=["reset", "error", "lost", "cut", "echo"],
)
async def test_no_contact_is_shown(vendor: VendorFactory, caplog: pytest.LogCaptureFixture, fault: Any) -> None:
    """Neither in a log nor in an error, nor in a variable of ours that an error tracker would record."""
    SECRETS.add(CONTACT)
    form = ImportFile(f"email\n{CONTACT}\n".encode(), file_name=NAME, list_ids=[LIST])
    rows = ImportContacts(import_data=[{"email": CONTACT}], list_ids=[LIST])
    async with vendor(workload=LATER) as (sandbox, session):
        sandbox.faults.add(fault, where="post")
        sandbox.faults.add(sb.drop_rows(), where="list")
        for job in (form, rows):
            with pytest.raises((cc.SubmissionUnknownError, cc.BadRequestError)) as caught:
                await session.submit(job)
            assert [] == secrets_in(shown(caught.value))
            assert CONTACT.encode() not in pickle.dumps(caught.value)
    assert [] == secrets_in(caplog.text)
