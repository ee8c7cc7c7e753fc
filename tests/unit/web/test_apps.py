"""The two adapters: each row of the tables is asked of an aiohttp application and of an ASGI application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support.pages import PREFIX, serve
from support.vendor import VendorFactory

from ccactivity import Activity
from ccactivity.sandbox import Life
from ccactivity.web import Board, aiohttp_app, asgi_app

both = pytest.mark.parametrize("adapter", ["aiohttp", "asgi"])


@both
@pytest.mark.parametrize(
    ("asked", "status", "content_type"),
    [
        ("GET /", 200, "text/html; charset=utf-8"),
        ("HEAD /", 200, "text/html; charset=utf-8"),
        ("GET /page.js", 200, "text/javascript; charset=utf-8"),
        ("GET /page.css", 200, "text/css; charset=utf-8"),
        ("GET /activities.json", 200, "application/json; charset=utf-8"),
        ("HEAD /events", 200, "text/event-stream"),
        ("GET ", 308, "text/plain; charset=utf-8"),
        ("GET /page.html", 404, "text/plain; charset=utf-8"),
        ("GET /..%2fsite.py", 404, "text/plain; charset=utf-8"),
        ("GET /static/page.js", 404, "text/plain; charset=utf-8"),
        ("POST /", 405, "text/plain; charset=utf-8"),
        ("DELETE /events", 405, "text/plain; charset=utf-8"),
    ],
)
async def test_answers(vendor: VendorFactory, adapter: str, asked: str, status: int, content_type: str) -> None:
    """Each answer has the headers that keep a browser from running, sending or framing anything else."""
    method, path = asked.split(" ")
    async with vendor() as (_, session):
        async with serve(adapter, board := Board(session)) as page:
            answer = await page.ask(f"{PREFIX}{path}", method=method)
        await board.aclose()

    assert (status, content_type) == (answer.status, answer.headers["content-type"])
    assert "nosniff" == answer.headers["x-content-type-options"]
    assert "no-referrer" == answer.headers["referrer-policy"]
    assert "no-store" == answer.headers["cache-control"]
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; ")
    assert "unsafe" not in policy
    assert "set-cookie" not in answer.headers
    assert (answer.body == b"") == (method == "HEAD")
    assert ("GET, HEAD" if status == 405 else None) == answer.headers.get("allow")
    assert ("imports/" if status == 308 else None) == answer.headers.get("location")


@both
async def test_the_title_cannot_become_markup(vendor: VendorFactory, adapter: str) -> None:
    """It is text, whatever is in it."""
    async with vendor() as (_, session), serve(adapter, Board(session, title="<b>&\"'")) as page:
        body = (await page.ask(f"{PREFIX}/")).body.decode()

    assert body.count("&lt;b&gt;&amp;&quot;&#x27;") == 2
    assert "<b>&" not in body


@both
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8080", "LOCALHOST", "[::1]:8080", "127.1.2.3:1"])
async def test_names_of_this_machine(vendor: VendorFactory, adapter: str, host: str) -> None:
    """Without `allow` a browser on this machine is answered, by any name of it."""
    async with vendor() as (_, session), serve(adapter, Board(session)) as page:
        assert 200 == (await page.ask(f"{PREFIX}/", host=host)).status


@both
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "192.168.0.1", "", "[::1", "localhost."])
async def test_other_names(vendor: VendorFactory, adapter: str, host: str) -> None:
    """Another name that leads here is that of a site that would read the page through the browser."""
    async with vendor() as (_, session), serve(adapter, Board(session)) as page:
        for path in ("/", "/events", "/activities.json", "/page.js", ""):
            answer = await page.ask(f"{PREFIX}{path}", host=host)
            assert 403 == answer.status
            assert b"allow=" in answer.body


@both
@pytest.mark.parametrize("name", ["Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via"])
async def test_a_proxy_on_this_machine(vendor: VendorFactory, adapter: str, name: str) -> None:
    """It makes everybody local, and may put any name in the place of Host; so without `allow` it is refused."""
    async with vendor() as (_, session), serve(adapter, Board(session)) as page:
        answer = await page.ask(f"{PREFIX}/", headers={name: "127.0.0.1"})

    assert 403 == answer.status
    assert b"not through a proxy" in answer.body


@pytest.mark.parametrize(
    ("peer", "status"), [("127.0.0.1", 200), ("::1", 200), ("::ffff:127.0.0.1", 200), ("10.0.0.7", 403)]
)
async def test_other_machines(vendor: VendorFactory, peer: str, status: int) -> None:
    """Without `allow` another machine is refused, wherever the server listens."""
    async with vendor() as (_, session), serve("asgi", Board(session), peer=peer) as page:
        assert status == (await page.ask(f"{PREFIX}/")).status


async def test_a_socket_of_the_file_system(vendor: VendorFactory, tmp_path: Path) -> None:
    """Nobody knows who is on the other side of it: a proxy, mostly. So without `allow` it is refused."""
    async with vendor() as (_, session):
        runner = web.AppRunner(aiohttp_app(Board(session), allow=None))
        await runner.setup()
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        connector = aiohttp.UnixConnector(str(tmp_path / "s"))
        async with aiohttp.ClientSession(connector=connector) as http, http.get("http://localhost/") as answer:
            assert 403 == answer.status
        await runner.cleanup()


@both
@pytest.mark.parametrize(("cookie", "status"), [("who=ada", 200), ("who=eve", 403)])
async def test_allow(vendor: VendorFactory, adapter: str, cookie: str, status: int) -> None:
    """With `allow` it alone decides, from what the framework knows of the request."""

    async def allow(request: Any) -> bool:
        headers = dict(request["headers"]) if isinstance(request, dict) else request.headers
        return "ada" in str(headers.get(b"cookie" if isinstance(request, dict) else "Cookie"))

    async with vendor() as (_, session), serve(adapter, Board(session), allow, peer="10.0.0.7") as page:
        for path in ("/", "/page.js", "/activities.json"):
            answer = await page.ask(f"{PREFIX}{path}", host="app.example", headers={"Cookie": cookie})
            assert status == answer.status


@pytest.mark.parametrize("make", [aiohttp_app, asgi_app])
async def test_wrong_arguments(vendor: VendorFactory, make: Callable[..., object]) -> None:
    """What is no board, or cannot be asked, is said when the app is made."""
    async with vendor() as (_, session):
        with pytest.raises(TypeError, match="board must be a Board, not ActivitySession"):
            make(session, allow=None)
        with pytest.raises(TypeError, match="allow must be an async function"):
            make(Board(session), allow=True)
        with pytest.raises(TypeError, match="allow"):
            make(Board(session))


@both
async def test_the_stream_tells_an_import_to_its_end(vendor: VendorFactory, adapter: str) -> None:
    """All rows first, then each change, with ids; how often a browser shall come again; what the day has left."""
    async with vendor() as (sandbox, session):
        board = Board(session)
        board.follow(activity_id := sandbox.submit(Life(duration=20, end="failed", errors=("Line 3: bad",))))
        async with serve(adapter, board) as page, page.stream() as stream:
            first = await stream.next()
            second = await stream.next()
            states = []
            while not (row := (await stream.rows())[0])["over"]:
                states.append(row["state"])
            answer = await page.ask(f"{PREFIX}/activities.json")
        await board.aclose()

    assert first
    assert ("snapshot", "not seen yet") == (first.name, first.data["rows"][0]["state"])
    assert first.id
    assert "2000" == stream.retry
    assert second
    assert ("quota", 0, 10_000) == (second.name, second.data["spent"], second.data["left"])
    assert second.data["resets_at"]
    assert "running" in states
    assert ("failed", ["Line 3: bad"]) == (row["state"], row["errors"])
    assert [activity_id] == row["ids"]
    body = json.loads(answer.body)
    assert ("Activities", [row]) == (body["title"], body["rows"])
    assert body["quota"]["per_finished"] >= 1


@both
async def test_the_headers_of_the_stream(vendor: VendorFactory, adapter: str) -> None:
    """No proxy may keep it, and it says that it is a stream."""
    async with vendor() as (_, session), serve(adapter, Board(session)) as page:
        headers = (await page.ask(f"{PREFIX}/events", method="HEAD")).headers

    assert ("text/event-stream", "no-store") == (headers["content-type"], headers["cache-control"])
    assert "no" == headers["x-accel-buffering"]


@both
async def test_a_quiet_stream_has_a_comment_each_15_seconds(vendor: VendorFactory, adapter: str) -> None:
    """Proxies close what is silent for a minute."""
    async with vendor() as (_, session), serve(adapter, Board(session)) as page, page.stream() as stream:
        assert await stream.next()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(62):
                while await stream.next():
                    pass

    assert 4 == len(stream.comments)


@both
async def test_who_comes_back_gets_what_they_missed(vendor: VendorFactory, adapter: str) -> None:
    """By the header of a browser that reconnects, or by the query of a page that was hidden; else everything."""
    async with vendor() as (_, session), serve(adapter, board := Board(session)) as page:
        board.follow(Activity(activity_id="one", state="completed"))
        async with page.stream() as stream:
            first = await stream.next()
            assert first
            assert first.id
        board.follow(Activity(activity_id="two", state="completed"))
        for headers, name, keys in (
            ({"Last-Event-ID": first.id}, "change", ["two"]),
            ({"Last-Event-ID": "another-7"}, "snapshot", ["one", "two"]),
            ({"Last-Event-ID": "rubbish"}, "snapshot", ["one", "two"]),
        ):
            async with page.stream(**headers) as stream:
                event = await stream.next()
            assert event
            assert (name, keys) == (event.name, [row["key"] for row in event.data["rows"]])
        await board.aclose()


@both
async def test_the_201st_viewer_is_told_to_come_again(vendor: VendorFactory, adapter: str) -> None:
    """Two hundred look at once; who comes later gets a place when one of them has left."""
    async with vendor() as (_, session), serve(adapter, Board(session)) as page, AsyncExitStack() as stack:
        for _ in range(199):
            assert await (await stack.enter_async_context(page.stream())).next()
        async with page.stream() as last:
            assert await last.next()
            answer = await page.ask(f"{PREFIX}/events")
            assert (503, "10") == (answer.status, answer.headers["retry-after"])
        await asyncio.sleep(3)
        async with page.stream() as last:
            assert await last.next()


@both
async def test_a_closed_session_ends_the_streams(vendor: VendorFactory, adapter: str) -> None:
    """Without the event `end`, so that browsers come again; until there is a new server they are told to wait."""
    async with vendor() as (sandbox, session):
        board = Board(session)
        board.follow(sandbox.submit(Life(duration=600)))
        async with serve(adapter, board) as page, page.stream() as stream:
            await asyncio.sleep(10)
            await session.aclose()
            events = await stream.rest()
            assert 503 == (await page.ask(f"{PREFIX}/events")).status

    assert {"snapshot", "change", "quota"} == {event.name for event in events}


@both
async def test_a_closed_board_says_that_this_is_the_end(vendor: VendorFactory, adapter: str) -> None:
    """The last event is `end`, on which a page asks no more."""
    async with vendor() as (sandbox, session):
        board = Board(session)
        board.follow(sandbox.submit(Life(duration=5)))
        async with serve(adapter, board) as page, page.stream() as stream:
            await asyncio.sleep(60)
            await board.aclose()
            await board.aclose()
            events = await stream.rest()

    assert "end" == events[-1].name
    assert ["ended"] == [row["section"] for event in events[-3:] for row in event.data.get("rows", [])]


async def test_a_stopping_server_does_not_wait_for_viewers(vendor: VendorFactory) -> None:
    """The application ends its streams when it is shut down: the server would wait for them."""
    loop = asyncio.get_running_loop()
    async with vendor() as (_, session), AsyncExitStack() as stack:
        page = await stack.enter_async_context(serve("aiohttp", Board(session)))
        stream = await stack.enter_async_context(page.stream())
        assert await stream.next()
        began = loop.time()
        stack.push_async_callback(asyncio.sleep, 0)
        await stack.aclose()

    assert loop.time() - began < 1


# --- those who do not read ----------------------------------------------------------------------------------------


ROWS = 4_000


def large_board(session: Any) -> Board:
    """A board whose rows fill every buffer on the way to a viewer."""
    board = Board(session)
    long = tuple(f"Line {number}: {'x' * 280}" for number in range(20))
    board.follow(Activity(activity_id=f"a{n}", state="failed", activity_errors=long) for n in range(ROWS))
    return board


async def test_a_viewer_who_does_not_read_is_dropped(vendor: VendorFactory) -> None:
    """After half a minute their connection is cut; what was kept for them is what the system keeps, not the page."""
    async with vendor() as (_, session), serve("aiohttp", large_board(session)) as page:
        reader, writer = await asyncio.open_connection("127.0.0.1", page.port, limit=1024)
        writer.write(f"GET {PREFIX}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"HTTP/1.1 200 OK\r\n" == await reader.readline()
        await asyncio.sleep(1)
        tasks = asyncio.all_tasks()
        await asyncio.sleep(28)
        assert tasks == asyncio.all_tasks()
        await asyncio.sleep(2)
        assert tasks - asyncio.all_tasks(), "nobody serves them any more"
        received = 0
        while piece := await reader.read(1 << 16):
            received += len(piece)
        writer.close()
        await writer.wait_closed()

    assert received < ROWS * 20 * 280 / 2, "the stream ends in the middle"


async def test_a_viewer_of_an_asgi_server_who_does_not_read_is_dropped(vendor: VendorFactory) -> None:
    """The answer is left without its end, so that the server closes the connection."""
    loop = asyncio.get_running_loop()
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)
        if len(sent) > 3:
            await asyncio.Event().wait()

    async def receive() -> Any:
        await asyncio.Event().wait()

    scope = {"type": "http", "method": "GET", "path": "/events", "client": ("127.0.0.1", 1)}
    async with vendor() as (_, session):
        app = asgi_app(large_board(session), allow=None)
        began = loop.time()
        await app({**scope, "headers": [(b"host", b"localhost")]}, receive, send)

    assert 30 == loop.time() - began
    assert all(message["more_body"] for message in sent[1:])
    assert max(len(message["body"]) for message in sent[1:]) <= 32_768


async def test_what_a_server_raises_is_not_hidden(vendor: VendorFactory) -> None:
    """Only that a viewer has left is no error; anything else is the server's to log."""

    async def receive() -> Any:
        await asyncio.Event().wait()

    async with vendor() as (_, session):
        app = asgi_app(Board(session), allow=None)
        for error in (KeyError, ConnectionResetError):

            async def send(message: Any, error: type[Exception] = error) -> None:
                if message["type"] == "http.response.body":
                    raise error

            scope = {"type": "http", "method": "GET", "path": "/events", "client": ("127.0.0.1", 1)}
            with pytest.raises(KeyError) if error is KeyError else nullcontext():
                await app({**scope, "headers": [(b"host", b"localhost")]}, receive, send)


# --- what else ASGI servers say -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
async def test_nothing_but_http_is_served(vendor: VendorFactory, kind: str) -> None:
    """A server that asks for something else is told so in the way of ASGI."""

    async def unused(*_: Any) -> Any:
        raise AssertionError

    async with vendor() as (_, session):
        with pytest.raises(NotImplementedError, match=f"not by {kind}"):
            await asgi_app(Board(session), allow=None)({"type": kind}, unused, unused)


@pytest.mark.parametrize(
    ("place", "location"),
    [("/\u0438", "%D0%B8/"), ("/https:evil.example", "https%3Aevil.example/"), ("/a\r\nb: c", "a%0D%0Ab%3A%20c/")],
)
async def test_a_place_of_any_name(vendor: VendorFactory, place: str, location: str) -> None:
    """The redirect to it is a path below the same place, whatever is in its name."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": place, "root_path": place, "headers": [(b"host", b"localhost")]}
    async with vendor() as (_, session):
        await asgi_app(Board(session), allow=None)({**scope, "client": ("127.0.0.1", 1)}, receive, send)

    assert location == dict(sent[0]["headers"])[b"location"].decode()


@pytest.mark.parametrize(
    ("path", "root_path"), [("/page.js", ""), ("/page.js", "/imports"), ("/imports/page.js", "/imports/")]
)
async def test_frameworks_name_the_path_in_two_ways(vendor: VendorFactory, path: str, root_path: str) -> None:
    """With the place of the app, as ASGI says, or without it."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "root_path": root_path,
        "headers": [(b"Host", b"localhost")],
    }
    async with vendor() as (_, session):
        await asgi_app(Board(session), allow=None)({**scope, "client": ("127.0.0.1", 1)}, receive, send)
        assert 200 == sent[0]["status"]
        await asgi_app(Board(session), allow=None)({**scope, "client": None}, receive, send)
        assert 403 == sent[2]["status"], "a socket that nobody knows the other side of"
