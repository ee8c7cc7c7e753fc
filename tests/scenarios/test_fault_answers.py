"""Answers that are wrong in ways of their own, and clocks that are set: what a watch makes of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.testing import VirtualTimeLoop, utc_now

HOUR = 3600.0
CAMPAIGN = "1ead98be-dfa0-4e04-81f7-5f1534d42e9c"
Call = Callable[[], Coroutine[Any, Any, Any]]
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


@pytest.mark.parametrize("status", [400, 403, 405, 410, 422, 451])
async def test_a_list_that_is_refused_is_not_asked_for_again(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the status of the refusal: one request, one warning, and single activities are followed as before."""
    async with vendor() as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=20)) for _ in range(6)]
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
        ids = [sandbox.submit(sb.Life(duration=100)) for _ in range(10)]
        sandbox.faults.add(sb.next_link("/v3/activities?cursor=of-no-use"), where="list")
        result = await session.wait_many(ids)

        assert set(ids) == set(result.completed)
        assert 1 < sandbox.requests["list"] <= 6
        assert 1 == sum(record.levelname == "WARNING" for record in caplog.records)
        sandbox.violations.bad_cursor = 0  # the link was none of its own


async def test_a_link_that_has_aged_costs_no_more_than_its_page(caplog: pytest.LogCaptureFixture) -> None:
    """Refused once, it is replaced by that which the list now gives, and lists stay in use, without a warning."""
    async with vendor(history=600, order="oldest") as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=300)) for _ in range(40)]
        sandbox.faults.add(sb.message(400, "The cursor is invalid."), where="list", skip=4, times=1)
        result = await session.wait_many(ids)

        assert set(ids) == set(result.completed)
        assert len(sandbox.log) < 2 * len(ids)
        assert not [record for record in caplog.records if record.levelname == "WARNING"]


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


@pytest.mark.slow
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


class Counting:
    """A source that has another token each time one is refused."""

    def __init__(self, sandbox: sb.Sandbox) -> None:
        self._sandbox = sandbox
        self.token = sandbox.token
        self.told: list[str] = []

    async def access_token(self) -> str:
        return self.token

    async def refused(self, token: str) -> None:
        self.told.append(token)
        await asyncio.sleep(0.1)
        self.token = self._sandbox.issue_token()


@asynccontextmanager
async def counting(**options: Any) -> AsyncIterator[tuple[sb.Sandbox, cc.ActivitySession, Counting]]:
    async with sb.Sandbox(latency=0.06) as sandbox:
        source = Counting(sandbox)
        async with cc.ActivitySession(source, base_url=sandbox.base_url, now=utc_now, **options) as session:
            yield sandbox, session, source


def calls_of(session: cc.ActivitySession, job: str) -> list[Call]:
    async def listed() -> list[cc.Activity]:
        return await session.list_activities()

    return [lambda: session.get_activity(job), lambda: session.get_send_history(CAMPAIGN), listed]


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
async def test_any_refusal_is_raised_after_one_request(status: int, answer: tuple[str, bytes], encoding: str) -> None:
    """No retry and no refresh, the vendor's words in the error; its status counts even if its body has no sense."""
    if status in (401, 408, 425, 429):
        status = 400
    text, body = answer
    headers = {"Content-Encoding": encoding} if encoding else {}
    async with counting() as (sandbox, session, source):
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
        assert [] == source.told


@pytest.mark.parametrize(
    ("headers", "body"),
    [({"Content-Encoding": "br"}, b"\x0b\x02\x80"), ({"Content-Encoding": "gzip"}, b"no gzip"), ({}, b"x" * (9 << 20))],
    ids=["unknown encoding", "no gzip", "too long"],
)
async def test_a_status_counts_though_its_body_cannot_be_read(headers: dict[str, str], body: bytes) -> None:
    """Such a 401 brings a refresh, a 429 a pause, a 503 a retry, all of them an answer in the end."""
    async with counting() as (sandbox, session, source):
        job = sandbox.submit()
        for status in (401, 429, 503):
            reply = sb.Reply(status=status, body=body, headers=headers)
            sandbox.faults.add(sb.Answer(reply), times=1)
            asked = len(sandbox.log)

            assert job == (await session.get_activity(job)).activity_id
            assert asked + 2 == len(sandbox.log)
        assert 1 == len(source.told)


async def test_a_token_that_was_replaced_meanwhile_is_no_reason_for_a_refresh() -> None:
    """A request that was sent with the former token is sent again with the current one, and nobody is told."""
    async with counting() as (sandbox, session, source):
        job = sandbox.submit()
        call = asyncio.create_task(session.get_activity(job))
        await asyncio.sleep(0.01)  # it is on its way
        sandbox.faults.add(sb.unauthorized(), times=1)
        other = asyncio.create_task(session.get_activity(job))
        await asyncio.sleep(0.02)
        source.token = sandbox.issue_token()

        assert job == (await call).activity_id == (await other).activity_id
        assert [] == source.told
        assert 3 == len(sandbox.log)


async def test_an_api_that_refuses_every_token_is_believed_after_one_refresh() -> None:
    """Two requests and one refresh for a call; twenty watches and as many calls do not each want one of their own."""
    async with counting() as (sandbox, session, source):
        jobs = [sandbox.submit(sb.Life(duration=300)) for _ in range(20)]
        sandbox.faults.add(sb.unauthorized())
        with pytest.raises(cc.AuthenticationError):
            await session.get_activity(jobs[0])
        assert (2, 1) == (len(sandbox.log), len(source.told))

        sandbox.faults.clear()
        watches = [asyncio.create_task(session.wait(job)) for job in jobs]
        await asyncio.sleep(20)
        sandbox.faults.add(sb.unauthorized())
        asked, told = len(sandbox.log), len(source.told)
        errors = await asyncio.gather(*watches, return_exceptions=True)
        await asyncio.sleep(HOUR)

        assert {cc.AuthenticationError} == {type(error) for error in errors}
        assert told + 1 == len(source.told)
        assert len(sandbox.log) - asked <= 4


PAGE = json.dumps({"activities": [{"activity_id": "a", "state": "completed"}], "_links": {}}).encode()
ROW = json.dumps({"activity_id": CAMPAIGN, "state": "completed", "percent_done": 100}).encode()
nonsense = st.one_of(
    st.binary(max_size=60),
    st.sampled_from([b"", b"null", b"[null]", b"5", b'"x"', b"true", b'{"activities": {}}', b'{"activity_id": null}']),
    st.text(max_size=30).map(lambda text: f"<!DOCTYPE html><p>{text}".encode()),
    st.tuples(st.sampled_from([PAGE, ROW]), st.integers(1, 40)).map(lambda cut: cut[0][: -cut[1]]),
)


@given(body=nonsense, compressed=st.booleans())
@settings(max_examples=10)
async def test_any_success_is_an_answer_or_asked_for_three_times(body: bytes, compressed: bool) -> None:
    """What is no JSON, or other JSON, is a DecodeError after three requests, in each kind of call; None never is."""
    headers = {"Content-Encoding": "gzip"} if compressed else {}  # which it is not
    async with counting() as (sandbox, session, _):
        sandbox.faults.add(sb.Answer(sb.Reply(status=200, body=body, headers=headers)))
        for call in calls_of(session, CAMPAIGN):
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
async def test_the_last_good_snapshot_rides_on_the_error(effect: Any) -> None:
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
    rows: list[tuple[Any, Any]], end: str, after: list[tuple[Any, Any]]
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


# --- clocks and closing -------------------------------------------------------------------------------------


class Suspended(VirtualTimeLoop):
    """A loop whose clock has gone on when the machine wakes up."""

    slept = 0.0

    def time(self) -> float:
        return super().time() + self.slept

    def suspend(self, seconds: float) -> None:
        self.slept += seconds


def test_no_burst_follows_a_suspension() -> None:
    """After eight hours of sleep a handful of requests tells how everything stands; the limits hold all the while."""

    async def night() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Suspended)
        async with vendor() as (sandbox, session):
            ids = [sandbox.submit(sb.Life(duration=600 if number % 2 else 40_000)) for number in range(6)]
            watching = [asyncio.create_task(session.wait(some, max_staleness=60)) for some in ids]
            await asyncio.sleep(300)
            woken = sandbox.now + 8 * HOUR
            loop.suspend(8 * HOUR)
            await asyncio.sleep(10)
            late = [line.time for line in sandbox.log if line.time >= woken]

            assert 1 <= len(late) <= 10
            assert 3 == sum(task.done() for task in watching)
            assert all([(await task).succeeded for task in watching])
            times = [line.time for line in sandbox.log]
            assert all(later - early >= 1.0 for early, later in zip(times, times[4:], strict=False))

    with asyncio.Runner(loop_factory=Suspended) as runner:
        runner.run(night())


async def day_is_spent(sandbox: sb.Sandbox) -> None:
    sandbox.faults.add(sb.quota_exceeded(), times=1)


async def nothing_works(sandbox: sb.Sandbox) -> None:
    sandbox.faults.add(sb.server_error(503))


async def everyone_is_throttled(sandbox: sb.Sandbox) -> None:
    sandbox.faults.add(sb.throttled({"Retry-After": "50"}))


async def nothing_answers(sandbox: sb.Sandbox) -> None:
    sandbox.faults.add(sb.Hang())


async def a_refresh_is_under_way(sandbox: sb.Sandbox) -> None:
    sandbox.expire_token()


@pytest.mark.parametrize(
    "trouble",
    [day_is_spent, nothing_works, everyone_is_throttled, nothing_answers, a_refresh_is_under_way],
    ids=lambda trouble: trouble.__name__,
)
async def test_closing_ends_every_wait(trouble: Callable[[sb.Sandbox], Coroutine[Any, Any, None]]) -> None:
    """Whatever watches wait for when their session is closed, each ends with SessionClosedError, and soon."""
    source = Renewed()
    async with sb.Sandbox(latency=0.06) as sandbox:
        source.sandbox, source.token = sandbox, sandbox.token
        session = cc.ActivitySession(source, base_url=sandbox.base_url, now=utc_now)
        ids = [sandbox.submit(sb.Life(duration=9e9)) for _ in range(4)]
        watches: list[Any] = [asyncio.create_task(session.wait(some, max_staleness=5)) for some in ids[:2]]
        await asyncio.sleep(20)
        await trouble(sandbox)
        many = session.wait_many([*ids[1:], CAMPAIGN])  # the last has not appeared yet
        watches += [asyncio.create_task(many), asyncio.ensure_future(session.watch(ids[3]))]
        await asyncio.sleep(8)
        asked, began = len(sandbox.log), sandbox.now
        await session.aclose()
        errors = await asyncio.gather(*watches, return_exceptions=True)

        assert sandbox.now - began <= 10  # a refresh gets its time
        closed = [error for error in errors if not isinstance(error, cc.Watch)]
        assert {cc.SessionClosedError} == {type(error) for error in closed}
        assert len(closed) >= 3
        await asyncio.sleep(HOUR)
        assert asked == len(sandbox.log)


# --- what is not there yet ----------------------------------------------------------------------------------


@pytest.mark.parametrize("effect", [sb.server_error(503), sb.Hang(), sb.html()], ids=["503", "hang", "html"])
async def test_an_outage_does_not_use_up_the_time_to_appear(effect: Any) -> None:
    """Grace begins with the first answer that could have shown the activity, however late that comes."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=200))
        sandbox.faults.add(effect, until=60)
        absent = sandbox.faults.add(sb.not_found(), where="get", after=60, times=1)

        assert (await session.wait(job)).succeeded
        assert 1 == absent.hits


async def test_an_activity_that_never_appears_is_not_waited_for_longer_than_that() -> None:
    """After an outage its grace is counted once, and costs two requests: the first that is answered, and the last."""
    async with vendor() as (sandbox, session):
        sandbox.faults.add(sb.server_error(503), until=60)
        with pytest.raises(cc.NotFoundError):
            await session.wait(CAMPAIGN)
        answered = [line.time for line in sandbox.log if line.status == 404]

        assert 2 == len(answered)
        assert 10 <= answered[1] - answered[0] < 12


async def test_an_activity_that_appears_after_an_outage_is_not_left_alone() -> None:
    """However long the grace, its only look after the first 404 comes within ten seconds."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=5))
        sandbox.faults.add(sb.server_error(503), until=1000)
        absent = sandbox.faults.add(sb.not_found(), where="get", after=1000, times=1)
        await session.wait(job, grace=600)

        assert 1 == absent.hits
        assert asyncio.get_running_loop().time() < 1000 + 60 + 15


async def test_whoever_leaves_in_the_grace_of_an_id_leaves_nothing_behind() -> None:
    """Two leave while a 404 may yet become an activity; whoever comes then learns of its end, and of others'."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=5))
        sandbox.faults.add(sb.not_found(), where="get", times=3)

        async def leave(after: float) -> None:
            await asyncio.sleep(after)
            with pytest.raises(cc.WatchTimeoutError):
                await session.wait(job, timeout=0.9 - after)

        await asyncio.gather(leave(0.0), leave(0.45))
        await asyncio.sleep(60)

        assert len(sandbox.log) <= 3
        async with asyncio.timeout(60):
            assert (await session.wait(job)).succeeded


async def test_a_heartbeat_does_not_hurry_an_outage() -> None:
    """An iteration that is cancelled each second and resumed asks no more often than one that waits."""
    requests = []
    for beat in (1.0, 1000.0):
        async with vendor() as (sandbox, session), session.watch(sandbox.submit(sb.Life(duration=900))) as watch:
            await anext(watch)
            sandbox.faults.add(sb.server_error(503))
            before, until = len(sandbox.log), asyncio.get_running_loop().time() + 600
            while asyncio.get_running_loop().time() < until:
                with suppress(TimeoutError):
                    async with asyncio.timeout(beat):
                        await anext(watch)
            requests.append((len(sandbox.log) - before) / (asyncio.get_running_loop().time() - until + 600))

    assert requests[0] < 1.5 * requests[1]


async def test_many_ids_that_do_not_exist_cost_few_requests() -> None:
    """Those whose turn comes late, though they had been handed over before, are asked for twice."""
    async with vendor() as (sandbox, session):
        wrong = [f"wrong-{number}" for number in range(40)]
        result = await session.wait_many(wrong)

        assert set(wrong) == set(result.errors)
        assert {cc.NotFoundError} == {type(error) for error in result.errors.values()}
        assert len(sandbox.log) <= 5 * 40


async def test_resuming_an_iteration_gives_an_activity_no_more_time_to_appear() -> None:
    """However often a consumer gives up and goes on, an id that does not exist is a NotFoundError after its grace."""
    async with vendor() as (sandbox, session):
        watch = session.watch(CAMPAIGN)
        with pytest.raises(cc.NotFoundError):
            while sandbox.now < 60:
                try:
                    async with asyncio.timeout(3):
                        await anext(watch)
                except TimeoutError:
                    pass

        assert 10 <= sandbox.now < 15
