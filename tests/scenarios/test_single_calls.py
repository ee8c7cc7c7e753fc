"""Single calls and what they answer: one activity, send histories, lists; refusals and unusable answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import pickle
import sys
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from support.vendor import CAMPAIGN_ID, UNKNOWN_ID, VendorFactory

import ccactivity as cc
from ccactivity import sandbox as sb

SAMPLE = {
    "activity_id": UNKNOWN_ID,
    "state": "initialized",
    "started_at": "completed",
    "completed_at": "2016-01-23T13:48:44.108Z",
    "percent_done": 75,
    "activity_errors": ["Message describing the error condition."],
    "status": {"items_total_count": 2200, "person_count": 8750, "list_count": 3},
    "_links": {"self": {"href": "/v3/activities/{actvity_id}"}},
}
SEND = '{"send_id": 1, "contact_lists_ids": ["f4ab"], "send_status": "COMPLETED", "reason_code": 0}'
Effect = sb.Answer | sb.Effect
WRONG_IDS = ["", "../../x", "a/b", "a?b", "a#b", "a%2fb", "a\nb", "a\0b", "a b", "x" * 10_000, 5, None, b"x"]


def page(*ids: str, **links: object) -> sb.Answer:
    return sb.ok({"activities": [{**SAMPLE, "activity_id": some} for some in ids], "_links": links})


def script(sandbox: sb.Sandbox, *effects: Effect, **when: Any) -> None:
    """Have each effect act on one request, one after the other."""
    for effect in effects:
        sandbox.faults.add(effect, times=1, **when)


async def ids_of(activities: cc.ActivityList, into: list[str]) -> None:
    async for activity in activities:
        into.append(activity.activity_id)


# --- one activity, and sends --------------------------------------------------------------------------------


async def test_an_activity_is_what_the_vendor_tells(vendor: VendorFactory) -> None:
    """`get_activity` costs one request and gives state, progress, counters, dates and links."""
    async with vendor(latency=0.0) as (sandbox, session):
        export = sandbox.submit(sb.Life(duration=20), kind="contact_exports", rows=50, file_name="a.csv")
        await asyncio.sleep(10)

        activity = await session.get_activity(export)

    assert (export, "processing", 50) == (activity.activity_id, activity.state, activity.percent_done)
    assert cc.ActivityState.PROCESSING is activity.state
    assert cc.ActivityStatus(items_total_count=50, items_completed_count=25) == activity.status
    assert datetime(2026, 1, 1, 12, tzinfo=UTC) == activity.created_at == activity.started_at
    assert "a.csv" == activity.source_file_name
    assert activity.results_url is not None
    assert not activity.done
    assert export == json.loads(json.dumps(activity.as_dict()))["activity_id"] == activity.raw["activity_id"]
    assert {"get": 1} == dict(sandbox.requests)


async def test_the_sample_of_the_vendors_page_can_be_read(vendor: VendorFactory) -> None:
    """The vendor's own sample parses, although its id is no UUID and its `started_at` no time."""
    async with vendor() as (sandbox, session):
        sandbox.faults.add(sb.ok(SAMPLE))

        activity = await session.get_activity(UNKNOWN_ID)

    assert (UNKNOWN_ID, None, 75) == (activity.activity_id, activity.started_at, activity.percent_done)
    assert datetime(2016, 1, 23, 13, 48, 44, 108_000, UTC) == activity.completed_at
    assert ("Message describing the error condition.",) == activity.activity_errors
    assert activity == pickle.loads(pickle.dumps(activity))


async def test_sends_come_with_their_reasons(vendor: VendorFactory) -> None:
    """A send history is in the vendor's order, and only code 0 is a success; code 12 reached nobody."""
    async with vendor() as (_, session):
        sends = await session.get_send_history(CAMPAIGN_ID)
        never = await session.get_send_history("2ead98be-dfa0-4e04-81f7-5f1534d42e9c")

    assert [] == never
    assert list(range(13)) == [send.reason_code for send in sends]
    assert list(range(1, 14)) == [send.send_id for send in sends]
    assert 12 == len({send.reason for send in sends})
    assert all(send.reason for send in sends)
    assert sends[9].reason == sends[10].reason
    assert [0] == [send.reason_code for send in sends if send.succeeded]
    assert cc.SendStatus.COMPLETED is sends[12].send_status
    assert sends == pickle.loads(pickle.dumps(sends))


@pytest.mark.parametrize(("body", "length"), [(f"{SEND},\n{SEND}", 2), (SEND, 1), (f"[{SEND}]", 1), ("[]", 0)])
async def test_a_send_history_without_brackets_is_one_all_the_same(
    vendor: VendorFactory, body: str, length: int
) -> None:
    """The vendor's sample without brackets, a single object and the spelling of its prose are understood."""
    async with vendor() as (sandbox, session):
        sandbox.faults.add(sb.ok(body))

        sends = await session.get_send_history(CAMPAIGN_ID)

    assert [(1, ("f4ab",))] * length == [(send.send_id, send.contact_list_ids) for send in sends]
    assert 1 == sandbox.requests["history"]


@pytest.mark.parametrize("wrong", WRONG_IDS, ids=repr)
async def test_a_wrong_id_is_refused_before_any_request(vendor: VendorFactory, wrong: Any) -> None:
    """An id that could change the path, or is no text, is a ValueError or TypeError and costs nothing."""
    async with vendor() as (sandbox, session):
        for call in (session.get_activity, session.get_send_history, session.wait):
            with pytest.raises((ValueError, TypeError)):
                await call(wrong)
        with pytest.raises((ValueError, TypeError)):
            await session.watch(wrong)

    assert [] == sandbox.log


# --- lists --------------------------------------------------------------------------------------------------


async def test_a_list_is_read_page_by_page_three_ways(vendor: VendorFactory) -> None:
    """`async for`, `await` and `pages()` agree; `page_size` is sent as `limit`, then cursors as they are."""
    async with vendor() as (sandbox, session):
        jobs = [sandbox.submit() for _ in range(7)]
        found: list[str] = []
        await ids_of(session.list_activities(page_size=3), found)
        awaited = await session.list_activities(page_size=3)
        pages = [page async for page in session.list_activities(page_size=3).pages()]

    assert sorted(jobs) == sorted(found)
    assert found == [one.activity_id for one in awaited] == [one.activity_id for page in pages for one in page]
    assert [3, 3, 1] == [len(page) for page in pages]
    assert 9 == len(sandbox.log)
    assert "limit=3" == sandbox.log[0].target.partition("?")[2]
    assert all(line.target.startswith("/v3/activities?cursor=") for line in sandbox.log[1:3])


async def test_a_list_can_be_filtered_by_state(vendor: VendorFactory) -> None:
    """`state` is sent to the vendor, as text or as `ActivityState`; a list is lazy and can be read again."""
    async with vendor() as (sandbox, session):
        [sandbox.submit(sb.Life(duration=1)) for _ in range(3)]
        running = sandbox.submit(sb.Life(duration=500))
        await asyncio.sleep(5)
        completed = session.list_activities(state=cc.ActivityState.COMPLETED)

        assert [] == sandbox.log
        assert [running] == [one.activity_id for one in await session.list_activities(state="processing")]
        assert 3 == len(await completed) == len(await completed)
    assert [1, 2] == [sum(state in line.target for line in sandbox.log) for state in ("processing", "completed")]


@pytest.mark.parametrize("start", ["", "{origin}"])
async def test_a_cursor_is_sent_exactly_as_given(vendor: VendorFactory, start: str) -> None:
    """Nothing of a next link is decoded, encoded again or added to, be it relative or of the same origin."""
    target = "/v3/activities?cursor=bGl+/%2B%7e%C3%a9=*'~;x"
    async with vendor() as (sandbox, session):
        origin = sandbox.base_url.removesuffix("/v3")
        script(sandbox, page("a", next={"href": start.format(origin=origin) + target}), page("b"))

        assert ["a", "b"] == [one.activity_id for one in await session.list_activities(state="failed")]

    assert target == sandbox.log[1].target


@pytest.mark.parametrize("links", [[1], [1, 1], [1, 2, 1], [1, 2, 3, 2]], ids=str)
async def test_links_in_a_circle_are_an_error_after_what_was_good(vendor: VendorFactory, links: list[int]) -> None:
    """A repeated link is a PagingError; all that was read before has been delivered."""
    found: list[str] = []
    async with vendor() as (sandbox, session):
        for number, link in enumerate([*links, links[-1]]):
            script(sandbox, page(str(number), next={"href": f"/v3/activities?cursor={link}"}))
        with pytest.raises(cc.PagingError):
            await ids_of(session.list_activities(), found)

    assert [str(number) for number in range(len(sandbox.log))] == found
    assert len(sandbox.log) <= len(links) + 1


async def test_a_page_repeated_under_ever_new_links_ends(vendor: VendorFactory) -> None:
    """A page that comes again and again is a PagingError, even if its links differ; its rows come once."""
    found: list[str] = []
    async with vendor() as (sandbox, session):
        for number in range(60):
            script(sandbox, page("a", "b", next={"href": f"/v3/activities?cursor={number}"}))
        script(sandbox, page("a", "b"))
        with pytest.raises(cc.PagingError):
            await ids_of(session.list_activities(), found)

    assert ["a", "b"] == found


@pytest.mark.parametrize(
    "link",
    [
        *["https://evil.example/v3/activities?cursor=x", "//evil.example/v3/activities", "javascript:alert(1)"],
        *["http://127.0.0.1:1/v3/activities", "http://me:pw@{host}/v3/activities", "https://{host}/v3/activities"],
        *["\\\\evil.example\\v3\\activities", "/v3\\activities", "/v3/activities?cursor=a\nb", "/v3/activities\r"],
        *["/v3/activities/../contacts", "/v3/activities/%2e%2e/contacts", "/v3/contacts?cursor=x", "/"],
        *["/v3/activitiesevil?cursor=x", "http://{host}@evil.example/v3/activities", "ftp://{host}/v3/activities"],
        *[{"href": 5}, {"href": True}, {"href": ["/v3/activities"]}, {"href": {"x": 1}}],
    ],
    ids=repr,
)
async def test_a_link_that_leads_away_is_never_followed(vendor: VendorFactory, link: Any) -> None:
    """A foreign or malformed next link is an UnsafeLinkError after the first page, and causes no request."""
    found: list[str] = []
    async with vendor() as (sandbox, session):
        host = sandbox.base_url.split("/")[2]
        link = {"href": link.format(host=host)} if isinstance(link, str) else link
        script(sandbox, page("a", next=link))
        with pytest.raises(cc.UnsafeLinkError) as caught:
            await ids_of(session.list_activities(), found)

    assert ["a"] == found
    assert 1 == len(sandbox.log)
    assert caught.value.link.isprintable()
    assert len(caught.value.link) < 500


async def test_the_vendors_sample_link_ends_in_an_error_not_in_data(vendor: VendorFactory) -> None:
    """The sample's next link leads to a single activity: the first page is delivered, then a DecodeError."""
    found: list[str] = []
    async with vendor() as (sandbox, session):
        script(sandbox, page("a", next={"href": "/v3/activities/{actvity_id}"}), where="list")
        sandbox.faults.add(sb.ok(SAMPLE), where="get")
        with pytest.raises(cc.DecodeError):
            await ids_of(session.list_activities(), found)

    assert ["a"] == found


@pytest.mark.parametrize("end", ["absent", None, {}, {"next": None}, {"next": {}}, {"next": {"href": ""}}], ids=str)
async def test_every_way_to_say_last_page_is_understood(vendor: VendorFactory, end: Any) -> None:
    """A list ends where there is no next link, however the vendor says so."""
    body = {"activities": [SAMPLE]} if end == "absent" else {"activities": [SAMPLE], "_links": end}
    async with vendor() as (sandbox, session):
        sandbox.faults.add(sb.ok(body))

        assert 1 == len(await session.list_activities())
    assert 1 == len(sandbox.log)


@pytest.mark.parametrize("links", [5, True, "next", [{"rel": "next", "href": "/v3/activities?cursor=x"}]], ids=repr)
async def test_links_that_are_no_object_are_no_last_page(vendor: VendorFactory, links: object) -> None:
    """What cannot be understood may lead to more pages: an UnsafeLinkError after the first, not a list cut short."""
    found: list[str] = []
    async with vendor() as (sandbox, session):
        sandbox.faults.add(sb.ok({"activities": [SAMPLE], "_links": links}))
        with pytest.raises(cc.UnsafeLinkError):
            await ids_of(session.list_activities(), found)

    assert [UNKNOWN_ID] == found
    assert 1 == len(sandbox.log)


async def test_odd_pages_lose_and_double_nothing(vendor: VendorFactory) -> None:
    """An empty middle page, rows on two pages and a 503 on page 3: every row once, only page 3 asked again."""
    links = [{"href": f"/v3/activities?cursor={number}"} for number in range(4)]
    async with vendor() as (sandbox, session):
        script(sandbox, page("a", "b", next=links[0]), page(next=links[1]), sb.server_error(503))
        script(sandbox, page("b", "c", "c", next=links[2]), page("d"))

        assert ["a", "b", "c", "d"] == [one.activity_id for one in await session.list_activities()]
    assert ["0", "1", "1", "2"] == [line.target.partition("cursor=")[2] for line in sandbox.log[1:]]


# --- answers that are none ----------------------------------------------------------------------------------

REFUSALS: list[tuple[int, object, type[cc.ResponseError], str | None, str | None]] = [
    (400, [{"error_key": "api.invalid", "error_message": "No."}], cc.BadRequestError, "api.invalid", "No."),
    (401, {"error_key": "unauthorized", "error_message": "Un"}, cc.AuthenticationError, "unauthorized", "Un"),
    (403, {"error_key": "access_denied", "error_message": "F"}, cc.PermissionDeniedError, "access_denied", "F"),
    (403, {"message": "Forbidden"}, cc.PermissionDeniedError, None, "Forbidden"),
    (404, [{"error_key": "api.not_found", "error_message": "?"}], cc.NotFoundError, "api.not_found", "?"),
    (405, {"error": "invalid", "error_description": "No."}, cc.ResponseError, "invalid", "No."),
    *[(status, [], cc.ResponseError, None, None) for status in (410, 415, 422, 451)],
]


@pytest.mark.parametrize(("status", "body", "kind", "key", "text"), REFUSALS)
async def test_a_refusal_says_what_the_vendor_said(
    vendor: VendorFactory, *, status: int, body: object, kind: type[cc.ResponseError], key: str | None, text: str | None
) -> None:
    """A refusal is raised after one request, by its status, with the vendor's words and the request's id."""
    async with vendor() as (sandbox, session):
        headers = {"x-amzn-RequestId": "req-17"}
        sandbox.faults.add(sb.Answer(sb.Reply(status=status, body=json.dumps(body).encode(), headers=headers)))
        with pytest.raises(kind) as caught:
            await session.get_activity(UNKNOWN_ID)
    error = caught.value

    assert kind is type(error)
    assert (status, key, text) == (error.status, error.error_key, error.error_message)
    assert "req-17" == error.request_id
    assert "GET" == error.method and UNKNOWN_ID in error.path
    assert 1 == len(sandbox.log)


async def test_a_missing_permission_names_what_the_call_needs(vendor: VendorFactory) -> None:
    """A 403 names the scope and the privilege that the refused call needs."""
    async with vendor() as (sandbox, session):
        sandbox.faults.add(sb.forbidden())
        with pytest.raises(cc.PermissionDeniedError) as activity:
            await session.get_activity(UNKNOWN_ID)
        with pytest.raises(cc.PermissionDeniedError) as sends:
            await session.get_send_history(CAMPAIGN_ID)

    assert all(word in f"{activity.value.hint}" for word in ("contact_data", "contacts:write"))
    assert all(word in f"{sends.value.hint}" for word in ("campaign_data", "campaign:read"))


@pytest.mark.parametrize(
    "effect",
    [
        *[sb.html(), sb.empty(), sb.Cut(0.5), sb.ok("{]"), sb.ok(b"\xff\xfe{}"), sb.wrong_id("other")],
        *[sb.ok("null"), sb.ok("[]"), sb.ok("5"), sb.ok("{}"), sb.ok(f'["{UNKNOWN_ID}"]')],
    ],
    ids=repr,
)
async def test_a_success_that_is_none_is_asked_for_three_times(vendor: VendorFactory, effect: Effect) -> None:
    """A 200 with something else than the activity asked for is a DecodeError after exactly three requests."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit()
        sandbox.faults.add(effect)
        with pytest.raises(cc.DecodeError) as caught:
            await session.get_activity(job)

        assert 3 == len(sandbox.log)
        assert 200 == caught.value.status
        assert caught.value.excerpt.isprintable()
        assert len(caught.value.excerpt) < 500
        sandbox.faults.clear()
        script(sandbox, effect, effect)
        assert job == (await session.get_activity(job)).activity_id


@pytest.mark.parametrize("status", [301, 302, 304, 307, 308])
async def test_a_redirect_is_never_followed(vendor: VendorFactory, status: int) -> None:
    """Any 3xx is a DecodeError; no request goes where it points."""
    async with sb.Sandbox() as elsewhere, vendor() as (sandbox, session):
        headers = {"Location": f"{elsewhere.base_url}/activities/{UNKNOWN_ID}"}
        sandbox.faults.add(sb.Answer(sb.Reply(status=status, headers=headers)))
        with pytest.raises(cc.DecodeError) as caught:
            await session.get_activity(UNKNOWN_ID)

    assert status == caught.value.status
    assert [] == elsewhere.log
    assert {f"/v3/activities/{UNKNOWN_ID}"} == {line.target for line in sandbox.log}


@pytest.mark.parametrize("effect", [sb.Bomb(1 << 28), sb.Endless(), sb.Endless(declared=1 << 40)], ids=repr)
async def test_a_body_without_bounds_costs_no_memory(vendor: VendorFactory, effect: Effect) -> None:
    """A gzip bomb and an endless body are a DecodeError at the cap; memory stays flat."""
    async with vendor() as (sandbox, session):
        sandbox.faults.add(effect)
        tracemalloc.start()
        try:
            with pytest.raises(cc.DecodeError):
                await session.list_activities()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        assert 1 == len(sandbox.log)  # it is not worth three downloads
    assert peak < 48 << 20


def raw(body: bytes) -> sb.Raw:
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    return sb.Raw(head.encode() + body)


@pytest.mark.parametrize("filler", [b"\0", gzip.compress(b"")], ids=["padding", "empty members"])
async def test_what_arrives_behind_a_compressed_body_counts_too(vendor: VendorFactory, filler: bytes) -> None:
    """However little comes out of it, a body is read up to the cap, once; below the cap it is an answer."""
    page = gzip.compress(b'{"activities": []}')
    async with vendor() as (sandbox, session):
        sandbox.faults.add(raw(page + filler * ((7 << 20) // len(filler))), times=1)
        assert [] == await session.list_activities()
        sandbox.faults.add(raw(page + filler * ((9 << 20) // len(filler))), times=1)
        with pytest.raises(cc.DecodeError, match="more than 8 MiB"):
            await session.list_activities()
        assert 2 == len(sandbox.log)


@pytest.mark.parametrize("piece", [None, 1, 7])
async def test_a_body_of_several_gzip_members(vendor: VendorFactory, piece: int | None) -> None:
    """It is all of them (RFC 1952), wherever it is cut on its way; a DecodeError without the end of the last one."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit()
        text = json.dumps({"activity_id": job, "state": "completed"}).encode()
        body = b"".join(gzip.compress(text[begin : begin + 9]) for begin in range(0, len(text), 9)) + gzip.compress(b"")
        headers = {"Content-Encoding": "gzip"}
        sandbox.faults.add(sb.Answer(sb.Reply(status=200, body=body, headers=headers)), times=1)
        sandbox.faults.add(sb.Answer(sb.Reply(status=200, body=body[:-4], headers=headers)))
        if piece is not None:
            sandbox.faults.add(sb.Drip(0.001, size=piece))

        assert "completed" == (await session.get_activity(job)).state
        with pytest.raises(cc.DecodeError, match="ends too early"):
            await session.get_activity(job)


@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")], ids=["arrays", "objects"])
@pytest.mark.parametrize("field", ["created_at", "state", "activity_errors", "_links", "unknown"])
async def test_values_that_are_nested_as_deep_as_can_be_decoded(
    vendor: VendorFactory, caplog: pytest.LogCaptureFixture, field: str, brackets: tuple[str, str]
) -> None:
    """At each depth a call and a watch end with an answer or a DecodeError; nothing of the value is shown."""
    limit = sys.getrecursionlimit()
    async with vendor(per_second=None, per_day=None, quota=cc.Quota.unlimited()) as (sandbox, session):
        job = sandbox.submit()
        for depth in (1, 9, *range(limit - 80, limit - 40, 3)):
            value = f"{brackets[0] * depth}1{brackets[1] * depth}"
            row = f'{{"activity_id": "{job}", "state": "completed", "{field}": {value}}}'
            for where, body in (("get", row), ("list", f'{{"activities": [{row}]}}')):
                sandbox.faults.clear()
                sandbox.faults.add(sb.ok(body), where=where)
                with suppress(cc.DecodeError):
                    await (session.get_activity(job) if where == "get" else session.list_activities())
            with suppress(cc.WatchTimeoutError):
                await session.wait(job, timeout=0.1)

    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert all(message.endswith((" of created_at: an array of 1", " of 1")) for message in messages)
    assert bool(messages) == (field in ("created_at", "state"))


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408, 425])
async def test_a_failure_that_may_pass_is_retried(vendor: VendorFactory, status: int) -> None:
    """A 5xx, 408 or 425 is asked again, at most `Retry.attempts` times in all; then it is raised as it is."""
    async with vendor(retry=cc.Retry(attempts=3)) as (sandbox, session):
        job = sandbox.submit()
        sandbox.faults.add(sb.html(status), times=2)
        assert job == (await session.get_activity(job)).activity_id
        sandbox.faults.add(sb.empty(status))
        with pytest.raises(cc.ServerError if status >= 500 else cc.ResponseError) as caught:
            await session.get_activity(job)

        assert (6, status) == (len(sandbox.log), caught.value.status)


@pytest.mark.parametrize("arguments", [{"page_size": 0}, {"page_size": 501}, {"page_size": "9"}, {"state": "done"}])
async def test_a_list_that_cannot_be_is_refused_at_the_call(vendor: VendorFactory, arguments: Any) -> None:
    """A page size out of range and a state that cannot be asked for are errors of the caller, at once."""
    async with vendor() as (sandbox, session):
        with pytest.raises((ValueError, TypeError)):
            session.list_activities(**arguments)

    assert [] == sandbox.log


async def test_stats_of_a_session_that_was_closed(vendor: VendorFactory) -> None:
    """They still tell what the session had done, for the last line of a log."""
    async with vendor() as (sandbox, session):
        await session.wait(sandbox.submit(sb.Life(duration=1)))
        before = session.stats
        await session.aclose()

        assert (before.requests, 1, 0) == (session.stats.requests, session.stats.finished, session.stats.watching)
