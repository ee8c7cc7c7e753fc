"""A session and what it owns: the HTTP session, its loop, its end; arguments, environment, secrets."""

from __future__ import annotations

import asyncio
import gc
import math
import pickle
import re
import traceback
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from support.token_sources import RefreshingSource
from support.vendor import CAMPAIGN_ID, UNKNOWN_ID, VendorFactory, connect

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.testing import run, utc_now

HOUR = 3600.0
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nSet-Cookie: theirs=1\r\nContent-Length: 2\r\n\r\n[]"
UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def raw_server(*replies: bytes) -> AsyncIterator[tuple[str, list[str]]]:
    """Answer with these, and all other requests with an empty list and a cookie; collect the heads of the requests."""
    heads: list[str] = []
    left = list(replies)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                heads.append(head.decode())
                writer.write(left.pop(0) if left else REPLY)
                await writer.drain()
        heads.append("closed")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://localhost:{server.sockets[0].getsockname()[1]}/v3", heads
    await asyncio.sleep(0.01)


async def test_an_own_session_is_plain_and_gets_closed() -> None:
    """Each request names the client, type and token; no cookie is kept; closing ends connections and calls."""
    async with raw_server() as (url, heads):
        session = cc.ActivitySession("a-token", base_url=f"{url}/", now=utc_now)
        await session.get_send_history(UNKNOWN_ID)
        await session.get_send_history(UNKNOWN_ID)
        await session.aclose()
        await session.aclose()
        await asyncio.sleep(0.01)
        with pytest.raises(cc.SessionClosedError):
            await session.get_send_history(UNKNOWN_ID)

    assert "closed" == heads.pop()
    for head in heads:
        assert f"GET /v3/emails/activities/{UNKNOWN_ID}/send_history HTTP/1.1" == head.splitlines()[0]
        assert all(f"\r\n{line}\r\n" in head for line in ("Authorization: Bearer a-token", "Cache-Control: no-cache"))
        assert re.search(r"\r\nAccept: [^\r]*application/json", head)
        assert re.search(r"\r\nUser-Agent: ccactivity", head)
        assert "Cookie" not in head


async def test_a_borrowed_session_stays_its_owners(vendor: VendorFactory) -> None:
    """It is never closed, its cookies and middlewares work, its raise_for_status and timeout do not."""
    asked = []

    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        asked.append(request.url.path)
        return await handler(request)

    limit = aiohttp.ClientTimeout(total=0.5)
    async with (
        raw_server() as (url, heads),
        aiohttp.ClientSession(raise_for_status=True, timeout=limit, middlewares=[middleware]) as http,
    ):
        async with (
            vendor(latency=2.0, http=http) as (sandbox, session),
            connect(sandbox, http=http, base_url=url) as other,
        ):
            with pytest.raises(cc.NotFoundError):
                await session.get_activity(UNKNOWN_ID)
            await other.get_send_history(UNKNOWN_ID)
            await other.get_send_history(UNKNOWN_ID)

        assert not http.closed
        assert 3 == len(asked)
        assert ["theirs"] == [cookie.key for cookie in http.cookie_jar]
        assert "Cookie: theirs=1" in heads[1]
        assert "Authorization" not in http.headers


async def test_a_borrowed_session_may_be_closed_by_its_owner_at_any_time(vendor: VendorFactory) -> None:
    """Calls and watches under way, queued, or to come end with SessionClosedError or their answer, and soon."""
    for moment in (0.0, 0.5, 1.0, 1.3, 2.0, 2.1, 2.3):
        async with aiohttp.ClientSession() as http, vendor(latency=1.0, http=http) as (sandbox, session):
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


async def test_closing_ends_calls_under_way(vendor: VendorFactory) -> None:
    """A call that is under way or queued when its session closes ends with SessionClosedError, at once."""
    async with vendor(latency=10) as (sandbox, session):
        calls = [asyncio.create_task(session.get_activity(UNKNOWN_ID)) for _ in range(9)]
        await asyncio.sleep(1)
        await session.aclose()
        errors = await asyncio.gather(*calls, return_exceptions=True)

        assert {cc.SessionClosedError} == {type(error) for error in errors}
        assert sandbox.now < 2


async def test_closing_that_is_cancelled_closes_the_connection_all_the_same() -> None:
    """Whoever does not wait for a refresh leaves no connection open, and the refresh still has its time to end."""
    given: list[str] = []

    async def fetch() -> str:
        if given:
            await asyncio.sleep(8)
        given.append(f"a-token-{len(given)}")
        return given[-1]

    async with raw_server(UNAUTHORIZED) as (url, heads):
        session = cc.ActivitySession(fetch, base_url=url, now=utc_now)
        call = asyncio.ensure_future(session.get_send_history(UNKNOWN_ID))
        await asyncio.sleep(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await session.aclose()
        await asyncio.sleep(0.01)
        closed = list(heads)
        with pytest.raises(cc.SessionClosedError):
            await call
        await asyncio.sleep(8)

    assert (2, "closed") == (len(closed), closed[-1])
    assert ["a-token-0", "a-token-1"] == given


@pytest.mark.parametrize("patience", [1.0, 60.0])
@pytest.mark.parametrize("first", [False, True])
async def test_a_token_callable_that_hangs_ends_when_the_session_is_closed(
    vendor: VendorFactory, first: bool, patience: float
) -> None:
    """Ten seconds after the close, whoever waits for that, it is cancelled: the first call as well as a refresh."""
    calls: list[str] = []

    async def fetch() -> str:
        if not first and not calls:
            calls.append("answered")
            return sandbox.token
        try:
            await asyncio.sleep(math.inf)
        finally:
            calls.append(f"ended at {sandbox.now:.0f} s")
        return ""

    async with vendor(token=fetch, latency=0.0) as (sandbox, session):
        if not first:
            await session.get_activity(sandbox.submit())
            sandbox.expire_token()
        call = asyncio.ensure_future(session.get_activity(UNKNOWN_ID))
        await asyncio.sleep(1)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await session.aclose()
        assert isinstance(await asyncio.gather(call, return_exceptions=True), list)
        assert isinstance(call.exception(), cc.SessionClosedError)
        await asyncio.sleep(11)

    left_at = 1.0 + (patience if patience < 10.0 else 0.0)
    assert f"ended at {left_at + 10:.0f} s" == calls[-1]


def day_is_spent(sandbox: sb.Sandbox) -> None:
    sandbox.faults.add(sb.quota_exceeded(), times=1)


def nothing_works(sandbox: sb.Sandbox) -> None:
    sandbox.faults.add(sb.server_error(503))


def everyone_is_throttled(sandbox: sb.Sandbox) -> None:
    sandbox.faults.add(sb.throttled({"Retry-After": "50"}))


def nothing_answers(sandbox: sb.Sandbox) -> None:
    sandbox.faults.add(sb.Hang())


def a_refresh_is_under_way(sandbox: sb.Sandbox) -> None:
    sandbox.expire_token()


@pytest.mark.parametrize(
    "trouble",
    [day_is_spent, nothing_works, everyone_is_throttled, nothing_answers, a_refresh_is_under_way],
    ids=lambda trouble: trouble.__name__,
)
async def test_closing_ends_every_wait(vendor: VendorFactory, trouble: Callable[[sb.Sandbox], None]) -> None:
    """Whatever watches wait for when their session is closed, each ends with SessionClosedError, and soon."""
    async with vendor(token=RefreshingSource(refresh_time=10.0)) as (sandbox, session):
        ids = [sandbox.submit(sb.Life(duration=9e9)) for _ in range(4)]
        watches: list[Any] = [asyncio.create_task(session.wait(some, max_staleness=5)) for some in ids[:2]]
        await asyncio.sleep(20)
        trouble(sandbox)
        many = session.wait_many([*ids[1:], CAMPAIGN_ID])  # the last has not appeared yet
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
            await session.get_activity(UNKNOWN_ID)

    async def last() -> None:
        assert session is not None
        await session.aclose()

    run(first())
    run(second())
    run(last())


def test_a_session_that_nobody_closed_is_named() -> None:
    """A forgotten `async with` is a ResourceWarning that names the session and its loop, when the session is freed."""

    async def forget() -> str:
        async with sb.Sandbox() as sandbox, aiohttp.ClientSession() as http:
            session = connect(sandbox, http=http)
            assert [] == await session.list_activities()
            return sandbox.base_url

    with warnings.catch_warnings(record=True, action="always") as caught:
        url = run(forget())
        gc.collect()

    (warning,) = caught
    problem = f"unclosed <ActivitySession for {url}>, used on <VirtualTimeLoop "
    assert ResourceWarning is warning.category
    assert str(warning.message).startswith(problem)
    assert str(warning.message).endswith(">: use `async with`, or await its aclose()")


def test_a_session_that_has_nothing_to_close_is_not_named() -> None:
    """No warning comes of one that was closed, one that was never used, or arguments that were refused."""

    async def close() -> None:
        async with sb.Sandbox() as sandbox, connect(sandbox) as session:
            assert [] == await session.list_activities()

    with warnings.catch_warnings(record=True, action="always") as caught:
        run(close())
        cc.ActivitySession("a-token")
        with pytest.raises(TypeError):
            cc.ActivitySession()  # type: ignore[call-arg]
        with pytest.raises(ValueError, match="base_url"):
            cc.ActivitySession("a-token", base_url="")
        gc.collect()

    assert [] == caught


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


async def test_a_base_url_that_lacks_its_path_is_named(vendor: VendorFactory) -> None:
    """What the vendor denies because the path is wrong is not put down to scopes; watches say so too."""
    async with (
        vendor(allowed_violations=["unknown_path"]) as (sandbox, _),
        connect(sandbox, base_url=sandbox.base_url.removesuffix("/v3")) as session,
    ):
        for call in (session.get_activity, session.get_send_history, session.wait):
            with pytest.raises(cc.PermissionDeniedError, match="base_url does not end in /v3") as caught:
                await call(UNKNOWN_ID)
            assert "scope" not in str(caught.value)


async def test_nothing_that_is_shown_or_pickled_holds_a_token(vendor: VendorFactory) -> None:
    """Errors are public and can be pickled with their data; neither they, nor what is behind them, show a token."""
    effects: list[Any] = [
        *[sb.unauthorized(), sb.forbidden(), sb.not_found(), sb.server_error(), sb.empty(429), sb.message(301, "x")],
        *[sb.html(), sb.Reset(), sb.Hang(), sb.Raw(b"x"), sb.Bomb(1 << 25)],
    ]
    async with vendor(timeout=2.0, retry=cc.Retry(attempts=2)) as (sandbox, session):
        shown = [repr(session), str(session), repr(session.quota), repr(session.watch(UNKNOWN_ID))]
        for effect in effects:
            sandbox.faults.clear()
            sandbox.faults.add(effect)
            with pytest.raises(cc.CCActivityError) as caught:
                await session.get_activity(UNKNOWN_ID)
            assert getattr(cc, type(caught.value).__name__) is type(caught.value)
            again = pickle.loads(pickle.dumps(caught.value))
            assert (type(caught.value), str(caught.value)) == (type(again), str(again))
            assert vars(caught.value) == vars(again)
            error: BaseException | None = caught.value
            shown.append(repr(pickle.dumps(error)) + "".join(traceback.format_exception(caught.value)))
            while error is not None:
                shown.append(f"{error} {error!r} {error.args} {getattr(error, '__dict__', '')}")
                error = error.__cause__ or error.__context__

        assert sandbox.token not in "\n".join(shown)
