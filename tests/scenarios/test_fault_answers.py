"""Answers that are wrong in ways of their own: what calls and watches make of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.token_sources import RefreshingSource
from support.vendor import CAMPAIGN_ID, VendorFactory

import ccactivity as cc
from ccactivity import sandbox as sb

HOUR = 3600.0
Call = Callable[[], Coroutine[Any, Any, Any]]
MANY_OLD: dict[str, Any] = {"history": 600, "order": "oldest", "workload": sb.Workload(lanes=100)}
UNSAFE = sb.next_link("https://evil.example/v3/activities?cursor=x")


@pytest.mark.parametrize("status", [408, 425])
@pytest.mark.parametrize("jobs", [1, 5])
async def test_watches_outlive_what_may_pass(vendor: VendorFactory, status: int, jobs: int) -> None:
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
async def test_lists_of_no_use_cost_no_watch(vendor: VendorFactory, effect: Any) -> None:
    """What a list showed before it was of no use is asked for by its id from then on, like all the others."""
    async with vendor(history=600) as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=100 + 50 * number)) for number in range(6)]
        sandbox.faults.add(effect, where="list")
        async with asyncio.timeout(HOUR):
            result = await session.wait_many(ids)

        assert set(ids) == set(result.completed)


@pytest.mark.parametrize("status", [400, 403, 405, 410, 422, 451])
async def test_a_list_that_is_refused_is_not_asked_for_again(
    vendor: VendorFactory, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the status of the refusal: one request, one warning, and single activities are followed as before."""
    async with vendor() as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=20)) for _ in range(6)]
        sandbox.faults.add(sb.message(status, "no lists for you"), where="list")
        result = await session.wait_many(ids)

        assert set(ids) == set(result.completed)
        assert 1 == sandbox.requests["list"]
        assert ["WARNING"] == [record.levelname for record in caplog.records if "no lists for you" in record.message]


async def test_a_link_that_is_refused_again_and_again_is_not_followed_for_ever(
    vendor: VendorFactory,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A link may age, and the list brings a new one; when that is refused too, single activities are asked for."""
    async with vendor(**MANY_OLD, allowed_violations=["bad_cursor"]) as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=100)) for _ in range(10)]
        sandbox.faults.add(sb.next_link("/v3/activities?cursor=of-no-use"), where="list")
        result = await session.wait_many(ids)

        assert set(ids) == set(result.completed)
        assert 1 < sandbox.requests["list"] <= 6
        assert 1 == sum(record.levelname == "WARNING" for record in caplog.records)


async def test_a_link_that_has_aged_costs_no_more_than_its_page(
    vendor: VendorFactory, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused once, it is replaced by that which the list now gives, and lists stay in use, without a warning."""
    async with vendor(**MANY_OLD) as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=300)) for _ in range(40)]
        sandbox.faults.add(sb.message(400, "The cursor is invalid."), where="list", skip=4, times=1)
        result = await session.wait_many(ids)

        assert set(ids) == set(result.completed)
        assert len(sandbox.log) < 2 * len(ids)
        assert not [record for record in caplog.records if record.levelname == "WARNING"]


@pytest.mark.parametrize("status", [400, 405, 410, 415, 422, 451])
async def test_what_is_refused_is_asked_once(vendor: VendorFactory, status: int) -> None:
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


async def test_a_malformed_stamp_is_warned_of_once(vendor: VendorFactory, caplog: pytest.LogCaptureFixture) -> None:
    """Not at each look, and not for each activity; the watch goes by the state alone."""
    async with vendor() as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=300)) for _ in range(4)]
        sandbox.faults.add(sb.Patch({"updated_at": "completed"}))
        result = await session.wait_many(ids, max_staleness=10)

        assert set(ids) == set(result.completed)
        assert all(activity.updated_at is None for activity in result.completed.values())
        warnings = [record for record in caplog.records if record.levelname == "WARNING"]
        assert 1 == len(warnings) == sum("updated_at" in record.getMessage() for record in warnings)


@pytest.mark.slow
async def test_only_the_page_that_failed_is_asked_for_again(vendor: VendorFactory) -> None:
    """503 for page 3 of a list: each other page is read once, and nothing is lost."""
    async with vendor(history=50) as (sandbox, session):
        sandbox.faults.add(sb.server_error(503), where="list", skip=2, times=1)
        activities = await session.list_activities(page_size=10)

        assert 50 == len({activity.activity_id for activity in activities}) == len(activities)
        targets = [line.target for line in sandbox.log]
        assert len(targets) == len(set(targets)) + 1
        assert targets[2] == targets[3]


def calls_of(session: cc.ActivitySession, job: str) -> list[Call]:
    async def listed() -> list[cc.Activity]:
        return await session.list_activities()

    return [lambda: session.get_activity(job), lambda: session.get_send_history(CAMPAIGN_ID), listed]


KINDS = {400: cc.BadRequestError, 403: cc.PermissionDeniedError, 404: cc.NotFoundError}
words = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20)
said = st.one_of(
    words.map(lambda text: (text, json.dumps([{"error_key": "key", "error_message": text}]))),
    words.map(lambda text: (text, json.dumps({"error_key": "key", "error_message": text}))),
    words.map(lambda text: (text, json.dumps({"message": text}))),
    words.map(lambda text: (text, json.dumps({"error": "invalid", "error_description": text}))),
    st.text(max_size=50).map(lambda text: ("", f"<html>{text}</html>")),
).map(lambda pair: (pair[0], pair[1].encode())) | st.binary(max_size=50).map(lambda body: ("", body))


@given(
    status=st.sampled_from([400, 403, 404, 405, 410, 415, 422, 451]) | st.integers(400, 499),
    answer=said,
    encoding=st.sampled_from(["", "", "gzip", "br"]),
)
@settings(max_examples=10)
async def test_any_refusal_is_raised_after_one_request(
    vendor: VendorFactory, status: int, answer: tuple[str, bytes], encoding: str
) -> None:
    """No retry and no refresh, the vendor's words in the error; its status counts even if its body has no sense."""
    if status in (401, 408, 425, 429):
        status = 400
    text, body = answer
    headers = {"Content-Encoding": encoding} if encoding else {}
    source = RefreshingSource()
    async with vendor(token=source) as (sandbox, session):
        job = sandbox.submit()
        sandbox.faults.add(sb.Answer(sb.Reply(status=status, body=body, headers=headers)))
        calls: list[Call] = [*calls_of(session, job), partial(session.wait, job, grace=0)]
        for call in calls:
            asked = len(sandbox.log)
            with pytest.raises(cc.ResponseError) as caught:
                await call()

            assert KINDS.get(status, cc.ResponseError) is type(caught.value)
            assert status == caught.value.status
            assert asked + 1 == len(sandbox.log)
            assert str(caught.value).isprintable()
            assert encoding or not text or text == caught.value.error_message
        assert [] == source.refused_tokens


@pytest.mark.parametrize(
    ("headers", "body"),
    [({"Content-Encoding": "br"}, b"\x0b\x02\x80"), ({"Content-Encoding": "gzip"}, b"no gzip"), ({}, b"x" * (9 << 20))],
    ids=["unknown encoding", "no gzip", "too long"],
)
async def test_a_status_counts_though_its_body_cannot_be_read(
    vendor: VendorFactory, headers: dict[str, str], body: bytes
) -> None:
    """Such a 401 brings a refresh, a 429 a pause, a 503 a retry, all of them an answer in the end."""
    source = RefreshingSource()
    async with vendor(token=source) as (sandbox, session):
        job = sandbox.submit()
        for status in (401, 429, 503):
            reply = sb.Reply(status=status, body=body, headers=headers)
            sandbox.faults.add(sb.Answer(reply), times=1)
            asked = len(sandbox.log)

            assert job == (await session.get_activity(job)).activity_id
            assert asked + 2 == len(sandbox.log)
        assert 1 == len(source.refused_tokens)


PAGE = json.dumps({"activities": [{"activity_id": "a", "state": "completed"}], "_links": {}}).encode()
ROW = json.dumps({"activity_id": CAMPAIGN_ID, "state": "completed", "percent_done": 100}).encode()
nonsense = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"", b"null", b"[null]", b"5", b'"x"', b"true", b'{"activities": {}}', b'{"activity_id": null}']),
    st.text(max_size=30).map(lambda text: f"<!DOCTYPE html><p>{text}".encode()),
    st.tuples(st.sampled_from([PAGE, ROW]), st.integers(1, 40)).map(lambda cut: cut[0][: -cut[1]]),
)


@given(body=nonsense, compressed=st.booleans())
@settings(max_examples=10)
async def test_any_success_is_an_answer_or_asked_for_three_times(
    vendor: VendorFactory, body: bytes, compressed: bool
) -> None:
    """What is no JSON, or other JSON, is a DecodeError after three requests, in each kind of call; None never is."""
    headers = {"Content-Encoding": "gzip"} if compressed else {}  # which it is not
    async with vendor() as (sandbox, session):
        sandbox.faults.add(sb.Answer(sb.Reply(status=200, body=body, headers=headers)))
        for call in calls_of(session, CAMPAIGN_ID):
            asked = len(sandbox.log)
            result: Any = (await asyncio.gather(call(), return_exceptions=True))[0]
            if isinstance(result, list):  # an empty history is one
                assert asked + 1 == len(sandbox.log)
                continue

            assert isinstance(result, cc.DecodeError)
            assert asked + 3 == len(sandbox.log)
            assert result.excerpt.isprintable()
            assert len(result.excerpt) < 500


@pytest.mark.parametrize(
    "effect",
    [sb.html(), sb.server_error(503), sb.empty(429), sb.Patch({"state": "paused"})],
    ids=["html", "503", "429", "unknown state"],
)
async def test_the_last_good_snapshot_rides_on_the_error(vendor: VendorFactory, effect: Any) -> None:
    """What may pass and does not ends a watch by its own deadline alone, and loses nothing of what was seen."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=9e9, progress=[(0.0, 0.0), (1e-8, 0.5), (1.0, 1.0)]))
        sandbox.faults.add(effect, after=50)
        seen = []
        with pytest.raises(cc.WatchTimeoutError) as caught:
            async for snapshot in session.watch(job, timeout=450):
                seen.append(snapshot)

        assert 450 == pytest.approx(sandbox.now, abs=0.1)
        assert seen[-1] == caught.value.activity
        assert not seen[-1].done
        assert sum(line.time > 50 for line in sandbox.log) < 80


states = st.sampled_from(["initialized", "processing", "paused", "TIMED_OUT", "completed ", "", None])
percents = st.integers(-200, 300) | st.none() | st.sampled_from(["missing", "75", 5.0, True, {}])


@given(
    rows=st.lists(st.tuples(states, percents), min_size=1, max_size=5),
    end=st.sampled_from(["completed", "failed", "cancelled", "timed_out", "time_out"]),
    after=st.lists(st.tuples(states, percents), max_size=3),
)
@settings(max_examples=10)
async def test_only_the_state_ends_a_watch_and_its_first_end_counts(
    vendor: VendorFactory, rows: list[tuple[Any, Any]], end: str, after: list[tuple[Any, Any]]
) -> None:
    """Progress is told as it was sent, whatever it is; an unknown state ends nothing; nothing follows the first end."""
    script = [*rows, (end, 7), *after]

    def play(row: dict[str, Any]) -> dict[str, Any]:
        state, percent = script[min(len(sandbox.log), len(script) - 1)]
        row = {**row, "state": state, "percent_done": percent}
        return {key: value for key, value in row.items() if value != "missing"}

    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=9e9))
        sandbox.faults.add(sb.Patch(play))
        async with asyncio.timeout(HOUR):
            seen = [snapshot async for snapshot in session.watch(job, every_poll=True)]
        await asyncio.sleep(70)  # longer than anything goes unseen

        numbers = {"missing": None, "75": 75}
        percent = [None if isinstance(one, bool | dict) else numbers.get(one, one) for _, one in rows]
        assert [*(state for state, _ in rows), "timed_out" if end == "time_out" else end] == [one.state for one in seen]
        assert [*percent, 7] == [one.percent_done for one in seen]
        assert [False] * len(rows) + [True] == [one.done for one in seen]
        assert len(rows) + 1 == len(sandbox.log)
