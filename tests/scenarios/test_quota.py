"""What a session keeps to: the key's quota, connections that break, borrowed and own things, secrets."""

from __future__ import annotations

import asyncio
import pickle
import re
import socket
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import aiohttp
import pytest

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.testing import run, utc_now

Misdeed = sb.Answer | sb.Effect
MIDNIGHT = datetime(2026, 1, 2, tzinfo=UTC)  # the virtual loop starts at noon of the day before
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: theirs=1\r\nContent-Length: 2\r\n\r\n[]"
ID = "04fe9a-a579-43c5-bb1a-58ed29bf0a6a"


def connect(sandbox: sb.Sandbox, **options: Any) -> cc.ActivitySession:
    return cc.ActivitySession(sandbox.token, **{"base_url": sandbox.base_url, "now": utc_now, **options})


@asynccontextmanager
async def vendor(
    latency: float = 0.06, sandbox: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[tuple[sb.Sandbox, cc.ActivitySession]]:
    async with sb.Sandbox(latency=latency, **(sandbox or {})) as served, connect(served, **options) as session:
        yield served, session
    assert served.violations.total == 0, served.violations


@asynccontextmanager
async def raw_server() -> AsyncIterator[tuple[str, list[str]]]:
    """Answer every request with an empty list and a cookie; collect the heads of the requests."""
    heads: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                heads.append(head.decode())
                writer.write(REPLY)
                await writer.drain()
        heads.append("closed")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://localhost:{server.sockets[0].getsockname()[1]}/v3", heads
    await asyncio.sleep(0.01)


async def test_two_hundred_calls_at_once_queue_without_timing_out() -> None:
    """Any number of concurrent calls keep to the limit; waiting for one's turn is not counted as `timeout`."""
    async with vendor(timeout=3.0) as (sandbox, session):
        job = sandbox.submit()
        activities = await asyncio.gather(*[session.get_activity(job) for _ in range(200)])

        assert {job} == {activity.activity_id for activity in activities}
        assert 200 == len(sandbox.log) == session.quota.spent
        assert 200 / 4 - 1 <= sandbox.now <= 200 / 4 * 1.15


async def test_sessions_that_share_a_quota_keep_it_together() -> None:
    """Two sessions with one `Quota` send no more together than one key may, and see the same ledger."""
    quota = cc.Quota()
    async with vendor(quota=quota) as (sandbox, first), connect(sandbox, quota=quota) as second:
        job = sandbox.submit()
        await asyncio.gather(*[one.get_activity(job) for one in (first, second) * 40])

        assert quota is first.quota is second.quota
        assert (80, 10_000 - 80) == (quota.spent, quota.remaining)


@pytest.mark.parametrize(("per_second", "per_day", "least", "most"), [(10, 250_000, 7, 9.5), (None, None, 0, 0.5)])
async def test_limits_are_parameters(per_second: Any, per_day: Any, least: float, most: float) -> None:
    """A partner's key with ten a second does 90 calls in about nine seconds; without limits nothing waits."""
    quota = cc.Quota(per_second, per_day) if per_day else cc.Quota.unlimited()
    async with vendor(sandbox={"per_second": per_second, "per_day": per_day}, quota=quota) as (sandbox, session):
        job = sandbox.submit()
        await asyncio.gather(*[session.get_activity(job) for _ in range(90)])

        assert least <= sandbox.now <= most
        assert quota.spent == 90
        assert not per_day or quota.remaining == per_day - 90


async def test_a_person_goes_before_the_background() -> None:
    """A single call is sent within a second or so, while watches have more to ask than the limit allows."""
    async with vendor(sandbox={"workload": sb.Workload(lanes=200)}) as (sandbox, session):
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


async def test_a_cancelled_call_pays_only_if_it_was_sent() -> None:
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


async def test_throttled_pauses_everyone() -> None:
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
async def test_being_throttled_for_ever_is_an_error_in_the_end(effect: Misdeed, attempts: int, least: float) -> None:
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


async def test_a_spent_day_says_when_it_ends() -> None:
    """After `quota_exceeded` single calls fail at once, without a request, until the vendor's midnight."""
    async with vendor(sandbox={"spent_today": 9_999}) as (sandbox, session):
        job = sandbox.submit()
        await session.get_activity(job)
        for _ in range(3):
            with pytest.raises(cc.QuotaExceededError) as caught:
                await session.get_activity(job)
            assert MIDNIGHT == caught.value.resets_at
        assert 2 == len(sandbox.log)
        sandbox.violations.over_per_day -= 1  # nobody could know

        await asyncio.sleep(12 * 3600 + 60)
        assert job == (await session.get_activity(job)).activity_id


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Thu, 01 Jan 1970 00:00:07 GMT", "soon", ""])
async def test_a_spent_day_ends_by_our_own_clock_where_the_vendors_makes_no_sense(date: str) -> None:
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


async def test_the_own_ledger_keeps_the_day() -> None:
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


async def test_watches_leave_a_reserve_to_single_calls() -> None:
    """Watches stop before the last tenth of a day at the latest, go on after midnight, and lose nothing."""
    quota = cc.Quota(per_day=100, reserve=10)
    async with vendor(sandbox={"per_day": 100}, quota=quota) as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=13 * 3600, update_every=60))
        watch = asyncio.create_task(session.wait(job, max_staleness=1.0))
        await asyncio.sleep(11 * 3600)
        assert len(sandbox.log) <= 90
        for _ in range(100 - len(sandbox.log)):
            await session.get_activity(job)
        assert cc.ActivityState.COMPLETED is (await watch).state


@pytest.mark.parametrize("lists", [True, False])
async def test_who_wants_to_look_often_starves_nobody(lists: bool) -> None:
    """With a day all but spent, the others that are watched are looked at as well, and their ends are known in time."""
    quota = cc.Quota(per_day=1000, spent=930)
    async with vendor(sandbox={"per_day": 1000, "spent_today": 930}, quota=quota) as (sandbox, session):
        if not lists:
            sandbox.faults.add(sb.forbidden(), where="list")
        shown = sandbox.submit(sb.Life(duration=9e9))
        looking = asyncio.create_task(session.wait(shown, max_staleness=5))
        others = [sandbox.submit(sb.Life(duration=2000 + 100 * number)) for number in range(3)]
        async with asyncio.timeout(2 * 3600):
            result = await session.wait_many(others)
        ends = [truth.ended_at for other in others if (truth := sandbox.truth(other)) is not None]
        looking.cancel()
        await asyncio.wait([looking])

        assert set(others) == set(result.completed)
        assert sandbox.now - max(ends) < 1800


async def test_a_request_at_midnight_counts_for_both_days() -> None:
    """Nobody knows which day the vendor charges for a request in flight at midnight: we charge both."""
    async with vendor(latency=2.0) as (sandbox, session):
        await asyncio.sleep(12 * 3600 - 1)
        call = asyncio.create_task(session.get_activity(sandbox.submit()))
        await asyncio.sleep(0.5)
        assert 1 == session.quota.spent
        await call
        assert 1 == session.quota.spent
        assert datetime(2026, 1, 3, tzinfo=UTC) == session.quota.resets_at


async def test_a_hidden_second_send_is_charged() -> None:
    """A keep-alive connection closed as we send makes aiohttp send again: that one is paid for, too."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit()
        await session.get_activity(job)
        sandbox.faults.add(sb.Disconnect(), times=3)
        await asyncio.gather(*[session.get_activity(job) for _ in range(20)])

        assert 24 == len(sandbox.log) == session.quota.spent


@pytest.mark.parametrize(
    "effect",
    [
        *[sb.Reset(), sb.Reset(hard=False), sb.Reset(after=0.5), sb.Reset(after=0.5, hard=False, chunked=True)],
        *[sb.Hang(), sb.Hang(after=0.5), sb.Drip(pause=2.0), sb.Raw(b"HTTP/1.1 200"), sb.Raw(b"\x16\x03\x01")],
    ],
    ids=repr,
)
async def test_a_broken_connection_is_retried_then_a_transport_error(effect: sb.Effect) -> None:
    """Resets, early ends and hangs end within `timeout`, are retried, and never look like data."""
    async with vendor(timeout=5.0, retry=cc.Retry(attempts=2)) as (sandbox, session):
        job = sandbox.submit()
        sandbox.faults.add(effect, times=1)
        assert job == (await session.get_activity(job)).activity_id
        sandbox.faults.add(effect)
        with pytest.raises(cc.TransportError) as caught:
            await session.get_activity(job)

        assert "GET" == caught.value.method
        assert 4 <= len(sandbox.log) <= 6  # aiohttp repeats a request of its own on a connection found closed
        assert len(sandbox.log) == session.quota.spent
        assert sandbox.now < 60


async def test_calls_share_their_retries_with_each_other() -> None:
    """In an outage fifty calls at once are fifty requests and a few; once there are answers retries come back."""
    retry = cc.Retry(budget=8)
    async with vendor(retry=retry) as (sandbox, session):
        job = sandbox.submit()
        fault = sandbox.faults.add(sb.server_error(503))
        errors = await asyncio.gather(*[session.get_activity(job) for _ in range(50)], return_exceptions=True)

        assert {cc.ServerError} == {type(error) for error in errors}
        assert 50 + 8 <= len(sandbox.log) <= 50 + 8 + 2  # one comes back in half a minute
        sandbox.faults.remove(fault)
        for _ in range(10):
            await session.get_activity(job)
        sandbox.faults.add(sb.server_error(503), times=4)
        assert job == (await session.get_activity(job)).activity_id


async def test_waits_between_retries_double_and_are_jittered() -> None:
    """Half a second, one, two, four, and up to half as much again at random, differently for each call."""
    async with vendor() as (sandbox, session):
        job = sandbox.submit()
        seen = []
        for _ in range(2):
            sandbox.faults.add(sb.server_error(503), times=4)
            begun = len(sandbox.log)
            assert job == (await session.get_activity(job)).activity_id
            times = [line.time for line in sandbox.log[begun:]]
            seen.append([late - early - 0.06 for early, late in pairwise(times)])

        for waits in seen:
            assert all(least <= wait <= 1.6 * least for least, wait in zip((0.5, 1, 2, 4), waits, strict=True))
        assert seen[0] != seen[1]


async def test_no_answer_is_a_transport_error() -> None:
    """An attempt that hangs ends after thirty seconds by default; nobody listening is said to be so."""
    async with vendor(retry=cc.Retry(attempts=1)) as (sandbox, session):
        sandbox.faults.add(sb.Hang())
        with pytest.raises(cc.TransportError):
            await session.get_activity(ID)
        assert 30 <= sandbox.now < 31

    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v3"
    async with cc.ActivitySession("token", base_url=url, now=utc_now) as session:
        begun = asyncio.get_running_loop().time()
        with pytest.raises(cc.TransportError, match=r"(?i)connect"):
            await session.get_activity(ID)
        assert asyncio.get_running_loop().time() - begun > 0.5 + 1 + 2 + 4  # five attempts


async def test_a_borrowed_session_stays_its_owners() -> None:
    """It is never closed, its cookies and middlewares work, its raise_for_status and timeout do not."""
    asked = []

    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        asked.append(request.url.path)
        return await handler(request)

    async with (
        raw_server() as (url, heads),
        sb.Sandbox(latency=2.0) as sandbox,
        aiohttp.ClientSession(
            raise_for_status=True, timeout=aiohttp.ClientTimeout(total=0.5), middlewares=[middleware]
        ) as http,
    ):
        async with connect(sandbox, http=http) as session, connect(sandbox, http=http, base_url=url) as other:
            with pytest.raises(cc.NotFoundError):
                await session.get_activity(ID)
            await other.get_send_history(ID)
            await other.get_send_history(ID)

        assert not http.closed
        assert 3 == len(asked)
        assert ["theirs"] == [cookie.key for cookie in http.cookie_jar]
        assert "Cookie: theirs=1" in heads[1]
        assert "Authorization" not in http.headers


async def test_a_borrowed_session_may_be_closed_by_its_owner_at_any_time() -> None:
    """Calls and watches under way, queued, or to come end with SessionClosedError or their answer, and soon."""
    for moment in (0.0, 0.5, 1.0, 1.3, 2.0, 2.1, 2.3):
        async with sb.Sandbox(latency=1.0) as sandbox, aiohttp.ClientSession() as http:
            session = connect(sandbox, http=http)
            job = sandbox.submit(sb.Life(duration=9e9))
            tasks: list[Any] = [asyncio.create_task(session.get_activity(job)) for _ in range(12)]
            tasks.append(asyncio.create_task(session.wait(job)))
            await asyncio.sleep(moment)
            await http.close()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            errors = [outcome for outcome in outcomes if not isinstance(outcome, cc.Activity)]

            assert len(errors) >= 4
            assert {cc.SessionClosedError} == {type(error) for error in errors}
            assert sandbox.now < 10


async def test_an_own_session_is_plain_and_gets_closed() -> None:
    """Each request names the client, type and token; no cookie is kept; closing ends connections and calls."""
    async with raw_server() as (url, heads):
        session = cc.ActivitySession("a-token", base_url=f"{url}/", now=utc_now)
        await session.get_send_history(ID)
        await session.get_send_history(ID)
        await session.aclose()
        await session.aclose()
        await asyncio.sleep(0.01)
        with pytest.raises(cc.SessionClosedError):
            await session.get_send_history(ID)

    assert "closed" == heads.pop()
    for head in heads:
        assert f"GET /v3/emails/activities/{ID}/send_history HTTP/1.1" == head.splitlines()[0]
        assert all(f"\r\n{line}\r\n" in head for line in ("Authorization: Bearer a-token", "Cache-Control: no-cache"))
        assert re.search(r"\r\nAccept: [^\r]*application/json", head)
        assert re.search(r"\r\nUser-Agent: ccactivity", head)
        assert "Cookie" not in head


async def test_closing_ends_calls_under_way() -> None:
    """A call that is under way or queued when its session closes ends with SessionClosedError, at once."""
    async with sb.Sandbox(latency=10) as sandbox:
        session = connect(sandbox)
        calls = [asyncio.create_task(session.get_activity(ID)) for _ in range(9)]
        await asyncio.sleep(1)
        await session.aclose()
        errors = await asyncio.gather(*calls, return_exceptions=True)

        assert {cc.SessionClosedError} == {type(error) for error in errors}
        assert sandbox.now < 2


async def test_the_environment_can_name_token_and_vendor(monkeypatch: pytest.MonkeyPatch) -> None:
    """`from_env` reads CCACTIVITY_ACCESS_TOKEN and CCACTIVITY_BASE_URL; its error names what is missing."""
    async with sb.Sandbox() as sandbox:
        monkeypatch.delenv("CCACTIVITY_ACCESS_TOKEN", raising=False)
        with pytest.raises((ValueError, LookupError, cc.CCActivityError), match="CCACTIVITY_ACCESS_TOKEN"):
            cc.ActivitySession.from_env()
        for name, value in sandbox.env.items():
            monkeypatch.setenv(name, value)
        async with cc.ActivitySession.from_env() as session:
            assert [] == await session.list_activities()


def test_a_session_belongs_to_the_loop_of_its_first_use() -> None:
    """A session is made without a loop; its first use binds it, and use from another loop says so."""
    session: cc.ActivitySession | None = None

    async def first() -> None:
        nonlocal session
        async with sb.Sandbox() as sandbox, aiohttp.ClientSession() as http:
            session = connect(sandbox, http=http)
            assert [] == await session.list_activities()

    async def second() -> None:
        assert session is not None
        with pytest.raises(RuntimeError, match="loop"):
            await session.get_activity(ID)

    run(first())
    run(second())


GOOD_URLS = ["http://127.0.0.1:1/v3", "http://localhost:1/v3/", "http://[::1]:1/v3", "https://x.example/v3/"]
BAD_URLS = ["http://api.cc.email/v3", "api.cc.email/v3", "ftp://localhost/v3", "", 5, "https://me:pw@api.cc.email/v3"]
BAD_TOKENS = ["canary-secret-\nx", "canary-secret-\u00e9", "", None, 5, b"canary-secret-"]


@pytest.mark.parametrize(("name", "values"), [("base_url", BAD_URLS), ("token", BAD_TOKENS), ("timeout", [0, -1, "5"])])
def test_a_session_that_cannot_work_is_refused(name: str, values: list[Any]) -> None:
    """Arguments that cannot work are a ValueError or TypeError at construction, which shows no token."""
    for value in values:
        with pytest.raises((ValueError, TypeError)) as caught:
            cc.ActivitySession(**{"token": "x", name: value})
        assert "canary" not in "".join(traceback.format_exception(caught.value))
    for url in GOOD_URLS:
        assert "x-token" not in repr(cc.ActivitySession("x-token", base_url=url))


async def test_nothing_that_is_shown_or_pickled_holds_a_token() -> None:
    """Errors can be pickled with their data; neither they, nor what is behind them, nor a session show a token."""
    effects: list[Misdeed] = [sb.unauthorized(), sb.forbidden(), sb.not_found(), sb.server_error(), sb.empty(429)]
    effects += [sb.html(), sb.Reset(), sb.Hang(), sb.Raw(b"x"), sb.Bomb(1 << 25), sb.message(301, "x")]
    async with vendor(timeout=2.0, retry=cc.Retry(attempts=2)) as (sandbox, session):
        shown = [repr(session), str(session), repr(session.quota), repr(session.watch(ID))]
        for effect in effects:
            sandbox.faults.clear()
            sandbox.faults.add(effect)
            with pytest.raises(cc.CCActivityError) as caught:
                await session.get_activity(ID)
            again = pickle.loads(pickle.dumps(caught.value))
            assert (type(caught.value), str(caught.value)) == (type(again), str(again))
            assert vars(caught.value) == vars(again)
            error: BaseException | None = caught.value
            shown.append(repr(pickle.dumps(error)) + "".join(traceback.format_exception(caught.value)))
            while error is not None:
                shown.append(f"{error} {error!r} {error.args} {getattr(error, '__dict__', '')}")
                error = error.__cause__ or error.__context__

        assert sandbox.token not in "\n".join(shown)
