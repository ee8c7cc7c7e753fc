"""What hooks are told of a session: each request, watch, change and pause, once; and nothing that they do harms it."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextvars import ContextVar
from functools import partial
from itertools import pairwise
from types import FrameType
from typing import Any, TypeVar

import pytest
from support.canary import secrets_in
from support.token_sources import RefreshingSource
from support.vendor import CAMPAIGN_ID, UNKNOWN_ID, VendorFactory, connect

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.events import (
    ActivityChanged,
    Event,
    Paused,
    RequestEnded,
    Resumed,
    Retrying,
    Submitted,
    TokenRefreshed,
    WatchEnded,
    WatchStarted,
)
from ccactivity.jobs import ExportContacts, ImportFile
from ccactivity.testing import record

E = TypeVar("E", bound=Event)
LIST_ID = "06a8d2f6-8a3c-11ee-b9d1-0242ac120002"
HALF_A_DAY = 43_200.0  # the virtual loop starts at noon UTC


def only(kind: type[E], events: list[Event]) -> list[E]:
    return [event for event in events if type(event) is kind and isinstance(event, kind)]


def sent(events: list[Event]) -> Counter[str]:
    return Counter(event.kind for event in only(RequestEnded, events))


# --- watches --------------------------------------------------------------------------------------------------------


async def test_a_watch_from_its_start_to_its_end(vendor: VendorFactory) -> None:
    """Its start, each request with what it was for, each change with how late it was seen, its end."""
    events: list[Event] = []
    async with vendor(on_event=events.append) as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=60.0))
        snapshots = [snapshot async for snapshot in session.watch(job)]

    started, ended = events[0], events[-1]
    assert isinstance(started, WatchStarted)
    assert isinstance(ended, WatchEnded)
    assert (job, "completed", started.watch) == (ended.activity_id, ended.outcome, ended.watch)
    requests, changes = only(RequestEnded, events), only(ActivityChanged, events)
    assert (len(requests), ended.at - started.at) == (ended.looks, ended.seconds)
    assert snapshots == [change.activity for change in changes]
    assert [None, *snapshots[:-1]] == [change.previous for change in changes]
    assert {((job,), 1, 200, None, 1)} == {(e.activity_ids, e.serves, e.status, e.error, e.attempt) for e in requests}
    assert all(event.why and event.request_id and event.seconds == pytest.approx(0.06) for event in requests)
    truth = sandbox.truth(job)
    assert truth is not None
    assert changes[0].lag is None
    assert all(change.lag is not None and 0 <= change.lag[0] <= change.lag[1] for change in changes[1:])
    least, most = changes[-1].lag or (0.0, 0.0)
    assert least <= ended.at - truth.ended_at <= most
    assert sorted(events, key=lambda event: event.at) == events


async def test_each_id_of_a_batch_is_a_watch(vendor: VendorFactory) -> None:
    """Each has a number of its own, and one request may serve many: the numbers of watches are told."""
    events: list[Event] = []
    async with vendor(on_event=events.append) as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=60.0)) for _ in range(40)]
        await asyncio.gather(session.wait_many(ids), session.wait_many(ids[:10]))

    started, ended = only(WatchStarted, events), only(WatchEnded, events)
    assert 50 == len({event.watch for event in started})
    assert Counter((e.activity_id, e.watch) for e in started) == Counter((e.activity_id, e.watch) for e in ended)
    pages = [event for event in only(RequestEnded, events) if event.kind == "list"]
    assert (set(ids), 50) == (set(pages[0].activity_ids), pages[0].serves)
    assert {"/activities"} == {event.route for event in pages}
    assert {event.url for event in pages} == {f"{sandbox.base_url}/activities"}


caller: ContextVar[str] = ContextVar("caller")


async def test_a_start_is_told_in_the_context_of_the_consumer(vendor: VendorFactory) -> None:
    """What a consumer has set is seen by the hook, also where ids come from an async source; requests are nobody's."""
    starts: dict[str, str] = {}
    requests = []

    def note(event: Event) -> None:
        if isinstance(event, WatchStarted) and not isinstance(event, WatchEnded):
            starts[event.activity_id] = caller.get("nobody")
        if isinstance(event, RequestEnded):
            requests.append(caller.get("nobody"))

    async def source(*ids: str) -> AsyncIterator[str]:
        for each in ids:
            await asyncio.sleep(1)
            yield each

    async with vendor(on_event=note) as (sandbox, session):
        one, *two, three = [sandbox.submit() for _ in range(4)]

        async def consume(name: str, watch: Any) -> None:
            caller.set(name)
            async for _ in watch:
                pass

        await asyncio.gather(
            consume("first", session.watch(one)),
            consume("second", session.watch_many(source(*two))),
            consume("third", session.watch_many([three])),
        )
        assert {one: "first", **dict.fromkeys(two, "second"), three: "third"} == starts
        assert {"nobody"} == set(requests)
        caller.set("fourth")
        await session.get_activity(one)
        assert "fourth" == requests[-1]


async def test_how_a_watch_may_end(vendor: VendorFactory) -> None:
    """By the state, by an error, by the consumer's leaving; one that goes on after that is another watch."""
    events: list[Event] = []
    async with vendor(on_event=events.append) as (sandbox, session):
        failing, slow = sandbox.submit(sb.Life(duration=5.0, end="failed")), sandbox.submit(sb.Life(duration=900.0))
        await session.wait_many([failing, UNKNOWN_ID])
        with pytest.raises(cc.WatchTimeoutError):
            await session.wait(slow, timeout=30.0)
        watch = session.watch(slow)
        await anext(watch)
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await anext(watch)
        await watch.aclose()
        closing = asyncio.create_task(session.wait(slow))
        await asyncio.sleep(1)
        await session.aclose()
        with pytest.raises(cc.SessionClosedError):
            await closing

    ended = only(WatchEnded, events)
    assert {(failing, "failed"), (UNKNOWN_ID, "NotFoundError")} == {(e.activity_id, e.outcome) for e in ended[:2]}
    assert ["WatchTimeoutError", "left", "left", "SessionClosedError"] == [event.outcome for event in ended[2:]]
    assert [30.0, 0.5] == [pytest.approx(ended[place].seconds, abs=0.1) for place in (2, 4)]
    assert len(ended) == len({event.watch for event in ended}) == len(only(WatchStarted, events))


async def test_what_ends_every_watch_is_told_of_each(vendor: VendorFactory) -> None:
    """A token that nobody accepts any more ends all watches, each with that error."""
    events: list[Event] = []
    async with vendor(on_event=events.append) as (sandbox, session):
        ids = [sandbox.submit() for _ in range(3)]
        sandbox.faults.add(sb.unauthorized())
        with pytest.raises(cc.AuthenticationError):
            await session.wait_many(ids)

    assert 3 * ["AuthenticationError"] == [event.outcome for event in only(WatchEnded, events)]


# --- requests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("effect", "status", "error"),
    [
        (sb.server_error(503), 503, "ServerError"),
        (sb.throttled(), 429, "ThrottledError"),
        (sb.quota_exceeded(), 429, "QuotaExceededError"),
        (sb.unauthorized(), 401, "AuthenticationError"),
        (sb.forbidden(), 403, "PermissionDeniedError"),
        (sb.html(200), 200, "DecodeError"),
        (sb.message(302, "there"), 302, "DecodeError"),
        (sb.Hang(), None, "TransportError"),
        (sb.Reset(hard=False), None, "TransportError"),
        (sb.Bomb(size=2**24), None, "BodyTooLargeError"),
    ],
    ids=repr,
)
async def test_what_became_of_a_request(vendor: VendorFactory, effect: Any, status: int | None, error: str) -> None:
    """A failed request is told with its status and the error, and as many are told as were sent."""
    events: list[Event] = []
    retry = cc.Retry(attempts=2)
    async with vendor(on_event=events.append, retry=retry, timeout=5.0) as (sandbox, session):
        job = sandbox.submit()
        sandbox.faults.add(effect)
        with pytest.raises(cc.CCActivityError):
            await session.get_activity(job)

        requests = only(RequestEnded, events)
        assert {(status, error)} == {(event.status, event.error) for event in requests}
        assert [*range(1, len(requests) + 1)] == [event.attempt for event in requests]
        assert sent(events) == session.stats.requests
        assert len(sandbox.log) == len(requests)


async def test_retries_are_told_with_their_delay(vendor: VendorFactory) -> None:
    """Between two requests of a call, what was the matter and how long it waits."""
    events: list[Event] = []
    async with vendor(on_event=events.append) as (sandbox, session):
        sandbox.faults.add(sb.server_error(503), times=2)
        await session.get_send_history(CAMPAIGN_ID)

    retries = only(Retrying, events)
    assert [("history", "ServerError", 1), ("history", "ServerError", 2)] == [
        (event.kind, event.trouble, event.attempt) for event in retries
    ]
    times = [event.at for event in only(RequestEnded, events)]
    assert [retry.delay + 0.06 for retry in retries] == [
        pytest.approx(after - before) for before, after in pairwise(times)
    ]
    assert [type(event) for event in events] == [RequestEnded, Retrying] * 2 + [RequestEnded]


async def test_a_request_is_told_once_whatever_happens(vendor: VendorFactory) -> None:
    """Re-sent by the HTTP library, cancelled on its way, cut off by the end of the session: as many as were sent."""
    events: list[Event] = []
    async with vendor(on_event=events.append, timeout=5.0) as (sandbox, session):
        jobs = [sandbox.submit(sb.Life(duration=300.0)) for _ in range(10)]
        sandbox.faults.add(sb.Disconnect(), times=3)
        sandbox.faults.add(sb.Hang(), skip=10, times=2)
        watching = asyncio.create_task(session.wait_many(jobs))
        for delay in (0.01, 0.03, 0.2, 1.0, 7.0):
            call = asyncio.create_task(session.get_activity(jobs[0]))
            await asyncio.sleep(delay)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        for job in jobs:
            await session.get_activity(job)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        last = asyncio.create_task(session.get_activity(jobs[0]))
        await asyncio.sleep(0.3)
        sandbox.faults.add(sb.Hang())
        late = asyncio.create_task(session.get_activity(jobs[0]))
        await asyncio.sleep(0.4)
        await session.aclose()
        await asyncio.gather(last, late, return_exceptions=True)

        assert sent(events) == session.stats.requests
        errors = Counter(event.error for event in only(RequestEnded, events))
        assert errors["CancelledError"] >= 2
        assert errors["TransportError"] >= 3


async def test_a_wait_for_a_permit_is_told_apart_from_the_request(vendor: VendorFactory) -> None:
    """Of twenty calls at once the last wait for seconds, and take no longer than the first."""
    events: list[Event] = []
    async with vendor(on_event=events.append) as (sandbox, session):
        job = sandbox.submit()
        await asyncio.gather(*[session.get_activity(job) for _ in range(20)])

    requests = only(RequestEnded, events)
    assert {0.06} == {round(event.seconds, 6) for event in requests}
    assert {0.0, 4.4} == {round(event.waited, 1) for event in (requests[0], requests[-1])}


# --- pauses and tokens ----------------------------------------------------------------------------------------------


async def test_a_pause_is_told_with_its_end(vendor: VendorFactory) -> None:
    """`throttled`: until a second or more later, and that it is over with the first request after it."""
    events: list[Event] = []
    async with vendor(on_event=events.append) as (sandbox, session):
        job = sandbox.submit()
        sandbox.faults.add(sb.throttled({"Retry-After": "7"}), times=1)
        await asyncio.gather(*[session.get_activity(job) for _ in range(6)])

    (paused,), (resumed,) = only(Paused, events), only(Resumed, events)
    assert ("throttled", "throttled") == (paused.cause, resumed.cause)
    assert 7.0 <= paused.until - paused.at <= 8.0
    assert paused.until <= resumed.at <= paused.until + 0.1


@pytest.mark.parametrize("says", ["the vendor", "the ledger"])
async def test_a_spent_day_is_a_pause(vendor: VendorFactory, says: str) -> None:
    """Until 00:00 UTC, whoever counted; told once, though watches look at the clock meanwhile."""
    events: list[Event] = []
    quota = cc.Quota(spent=9_990) if says == "the ledger" else cc.Quota()
    async with vendor(on_event=events.append, quota=quota) as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=HALF_A_DAY + 600.0))
        if says == "the vendor":
            sandbox.faults.add(sb.quota_exceeded(), until=HALF_A_DAY, times=1)
        else:
            watching = asyncio.create_task(session.wait(job))
            await asyncio.sleep(10)
            with pytest.raises(cc.QuotaExceededError):
                for _ in range(11):
                    await session.get_activity(job)
            await watching
        await session.wait(job)

    (paused,), (resumed,) = only(Paused, events), only(Resumed, events)
    assert ("quota_exceeded", "quota_exceeded") == (paused.cause, resumed.cause)
    assert paused.until == pytest.approx(HALF_A_DAY, abs=31.0)
    assert HALF_A_DAY <= resumed.at <= HALF_A_DAY + 60.0


async def test_a_refresh_is_told_once(vendor: VendorFactory) -> None:
    """However many requests carried the old token; with the time that it took, and what came of it."""
    events: list[Event] = []
    source = RefreshingSource(refresh_time=2.0)
    async with vendor(on_event=events.append, token=source) as (sandbox, session):
        jobs = [sandbox.submit() for _ in range(3)]
        sandbox.expire_token()
        await asyncio.gather(*[session.get_activity(job) for job in jobs])
        source.token = sandbox.issue_token()
        await session.get_activity(jobs[0])

    told = [(round(event.seconds, 6), event.outcome) for event in only(TokenRefreshed, events)]
    assert [(2.0, "refreshed"), (0.0, "refreshed")] == told


async def test_a_token_that_nobody_can_replace(vendor: VendorFactory) -> None:
    """A plain token stays what it is, and that is told."""
    events: list[Event] = []
    async with vendor(on_event=events.append) as (sandbox, session):
        sandbox.expire_token()
        with pytest.raises(cc.AuthenticationError):
            await session.get_activity(sandbox.submit())

    assert ["unchanged"] == [event.outcome for event in only(TokenRefreshed, events)]


# --- hooks ----------------------------------------------------------------------------------------------------------


async def test_a_hook_that_fails_harms_nothing(vendor: VendorFactory, caplog: pytest.LogCaptureFixture) -> None:
    """What it raises is logged once, with its name; calls, watches and the hook after it go on."""

    def broken(event: Event) -> None:
        raise asyncio.CancelledError if isinstance(event, WatchStarted) else RuntimeError("as it is")

    events: list[Event] = []
    async with vendor(on_event=(broken, events.append)) as (sandbox, session):
        result = await session.wait_many([sandbox.submit(sb.Life(duration=30.0)) for _ in range(5)])
        await session.get_activity(next(iter(result.completed)))

    assert 5 == len(result.completed)
    assert 5 == len(only(WatchEnded, events))
    (entry,) = [one for one in caplog.records if one.levelno >= logging.WARNING]
    assert re.search(r"the hook .*broken failed at a WatchStarted", entry.getMessage())


async def answer_later(event: Event) -> None:
    raise AssertionError(event)


class Later:
    async def __call__(self, event: Event) -> None:
        raise AssertionError(event)


@pytest.mark.parametrize("hook", [answer_later, partial(answer_later), Later(), [print, answer_later]])
def test_an_async_hook_is_refused(hook: Any) -> None:
    """It would hold up every request; the error says what to do instead."""
    with pytest.raises(TypeError, match=r"asyncio\.create_task"):
        cc.ActivitySession("token", on_event=hook)


@pytest.mark.parametrize(("hook", "named"), [(3, "int"), ("print", "str"), ([print, None], "NoneType")])
def test_what_cannot_be_called_is_refused(hook: Any, named: str) -> None:
    """When the session is made, by the name of its type."""
    with pytest.raises(TypeError, match=f"on_event must be a callable or several, not {named}"):
        cc.ActivitySession("token", on_event=hook)


async def test_a_hook_may_come_later(vendor: VendorFactory) -> None:
    """It is told of what begins from then on; `record` collects that."""
    async with vendor() as (sandbox, session):
        early = asyncio.create_task(session.wait(sandbox.submit(sb.Life(duration=60.0))))
        await asyncio.sleep(5)
        events = record(session)
        job = sandbox.submit(sb.Life(duration=10.0))
        await session.wait(job)
        await early

    assert [(job, WatchStarted), (job, WatchEnded)] == [
        (event.activity_id, type(event)) for event in events if isinstance(event, WatchStarted)
    ]
    assert only(RequestEnded, events)


async def test_without_a_hook_nothing_is_made(vendor: VendorFactory) -> None:
    """No code of the events and their emitter runs for a watch, a call, a retry, a pause and a refused token."""
    called: set[str] = set()

    def profile(frame: FrameType, what: str, _: object) -> None:
        if what == "call":
            called.add(frame.f_code.co_filename)

    async with vendor(token=RefreshingSource()) as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=30.0))
        for effect in (sb.server_error(503), sb.throttled(), sb.unauthorized()):
            sandbox.faults.add(effect, times=1)
        before = sys.getprofile()
        sys.setprofile(profile)
        try:
            await session.get_activity(job)
            await session.wait(job)
        finally:
            sys.setprofile(before)

    assert any(name.endswith("hub.py") for name in called)
    assert not [name for name in called if name.endswith("_emitter.py") or "ccactivity.events" in name]


async def test_no_event_shows_a_secret(vendor: VendorFactory) -> None:
    """Neither token nor query is in any event, whatever fails and whatever the vendor sends back."""
    events: list[Event] = []
    source = RefreshingSource()
    async with vendor(on_event=events.append, token=source) as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=30.0))
        sandbox.faults.add(sb.message(503, sandbox.token), times=1)
        sandbox.faults.add(sb.message(400, sandbox.token), times=1)
        with pytest.raises(cc.BadRequestError):
            await session.get_activity(job)
        sandbox.expire_token()
        await session.list_activities(state="processing", page_size=7)
        await session.wait_many([job, UNKNOWN_ID])

    assert {RequestEnded, Retrying, TokenRefreshed, WatchEnded} <= set(map(type, events))
    assert [] == secrets_in(*map(repr, events))
    assert not any("?" in event.url or "page_size" in repr(event) for event in only(RequestEnded, events))


async def test_two_sessions_are_told_apart(vendor: VendorFactory) -> None:
    """One hook may serve two sessions: the numbers of their watches differ."""
    events: list[Event] = []
    async with vendor(on_event=events.append) as (sandbox, one), connect(sandbox, on_event=events.append) as two:
        job = sandbox.submit(sb.Life(duration=30.0))
        await asyncio.gather(one.wait(job), two.wait(job))

    assert 2 == len({event.watch for event in only(WatchEnded, events)})


async def test_log_records_say_what_they_are_about(vendor: VendorFactory, caplog: pytest.LogCaptureFixture) -> None:
    """Handlers that show fields find the id and the route in what is logged of a request."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=30.0))
        sandbox.faults.add(sb.server_error(503), times=2)
        await session.wait(job)
        await session.list_activities()

    fields = {(vars(one)["activity_id"], vars(one)["route"]) for one in caplog.records if one.name == "ccactivity"}
    assert {(job, "/activities/{activity_id}"), (None, "/activities")} == fields


# --- submissions ----------------------------------------------------------------------------------------------------


def an_import(name: str) -> ImportFile:
    return ImportFile(b"email\na@example.com\nb@example.com\n", file_name=f"{name}.csv", list_ids=[LIST_ID])


async def test_a_submission_is_told_with_its_size_and_outcome(vendor: VendorFactory) -> None:
    """Answered; found in the list, as its answer was lost; sent again, as it was not there; unknown."""
    events: list[Event] = []
    async with vendor(on_event=events.append) as (sandbox, session):
        await session.submit(an_import("answered"))
        sandbox.faults.add(sb.Hang(), where="post", times=1)
        await session.submit(an_import("reconciled"))
        sandbox.faults.add(sb.server_error(503), where="post", times=1)
        await session.submit(an_import("repeated"))
        sandbox.faults.add(sb.server_error(503), where="post", times=1)
        with pytest.raises(cc.SubmissionUnknownError):
            await session.submit(ExportContacts(status="active"))

    told = only(Submitted, events)
    assert ["answered", "reconciled", "repeated", "unknown"] == [event.outcome for event in told]
    assert [True, True, True, False] == [event.activity_id is not None for event in told]
    assert 3 * [("contacts_file_import", 2, 34)] == [(event.kind, event.rows, event.bytes) for event in told[:3]]
    posts = [event for event in only(RequestEnded, events) if event.kind == "post"]
    assert ("POST", "/activities/contacts_file_import") == (posts[0].method, posts[0].route)
    assert "example.com" not in repr(events)


async def test_a_full_queue_is_a_pause_of_submissions(vendor: VendorFactory) -> None:
    """Told once however many wait, and over with the first that gets through."""
    events: list[Event] = []
    async with vendor(on_event=events.append) as (sandbox, session):
        sandbox.faults.add(sb.message(429, "full"), where="post", times=4)
        await asyncio.gather(*[session.submit(an_import(f"number-{number}")) for number in range(3)])

    (paused,), (resumed,) = only(Paused, events), only(Resumed, events)
    assert ("queue_full", "queue_full") == (paused.cause, resumed.cause)
    assert 30.0 == paused.until - paused.at <= resumed.at - paused.at
