"""A live page as its viewers meet it, by each of its two adapters: answers, and the stream of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, Protocol

import aiohttp
from aiohttp import web

from ccactivity.web import Board, aiohttp_app, asgi_app

PREFIX = "/imports"
_HOST = "127.0.0.1:8080"

Allow = Callable[[Any], Awaitable[bool]] | None


class Answer(NamedTuple):
    """An answer; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Event(NamedTuple):
    """An event of the stream."""

    name: str
    data: dict[str, Any]
    id: str | None


class Stream:
    """The stream of events, read by a viewer."""

    def __init__(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._read = read
        self._buffer = b""
        self.comments: list[str] = []
        self.retry: str | None = None

    async def next(self) -> Event | None:
        """Return the next event, None after the last."""
        while True:
            block, end, rest = self._buffer.partition(b"\n\n")
            if not end:
                piece = await self._read()
                if not piece:
                    return None
                self._buffer += piece
                continue
            self._buffer = rest
            fields = dict(line.split(": ", 1) for line in block.decode().split("\n"))
            if "event" in fields:
                return Event(fields["event"], json.loads(fields["data"]), fields.get("id"))
            self.retry = fields.get("retry", self.retry)
            self.comments += [fields[""]] if "" in fields else []

    async def rest(self) -> list[Event]:
        """Return the events until the stream ends."""
        events = []
        while event := await self.next():
            events.append(event)
        return events

    async def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the next event that has some."""
        while event := await self.next():
            if "rows" in event.data:
                rows: list[dict[str, Any]] = event.data["rows"]
                return rows
        raise AssertionError("the stream has ended")


class Page(Protocol):
    """A page that is served. `port`: of the server, 0 if there is none."""

    port: int

    async def ask(
        self, path: str, *, method: str = "GET", host: str = _HOST, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Return the answer to a request; `path`: the whole one."""

    def stream(self, **headers: str) -> AbstractAsyncContextManager[Stream]:
        """Look at the stream while the block lasts."""


class _AiohttpPage:
    def __init__(self, http: aiohttp.ClientSession, port: int) -> None:
        self.port = port
        self._http = http
        self._origin = f"http://127.0.0.1:{port}"

    async def ask(
        self, path: str, *, method: str = "GET", host: str = _HOST, headers: Mapping[str, str] | None = None
    ) -> Answer:
        sent = {"Host": host, **(headers or {})}
        async with self._http.request(method, self._origin + path, headers=sent, allow_redirects=False) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, found, await answer.read())

    @asynccontextmanager
    async def stream(self, **headers: str) -> AsyncIterator[Stream]:
        async with self._http.get(f"{self._origin}{PREFIX}/events", headers=headers) as answer:
            assert answer.status == 200, await answer.text()
            yield Stream(answer.content.readany)


class _AsgiPage:
    def __init__(self, app: Callable[..., Awaitable[None]], peer: str) -> None:
        self.port = 0
        self._app = app
        self._peer = peer

    def _scope(self, path: str, method: str, headers: Mapping[str, str]) -> dict[str, Any]:
        path, _, query = path.partition("?")
        return {
            "type": "http",
            "method": method,
            "path": path,
            "root_path": PREFIX,
            "query_string": query.encode(),
            "client": (self._peer, 50_000),
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }

    async def ask(
        self, path: str, *, method: str = "GET", host: str = _HOST, headers: Mapping[str, str] | None = None
    ) -> Answer:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        await self._app(self._scope(path, method, {"Host": host, **(headers or {})}), receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], found, b"".join(message["body"] for message in sent[1:]))

    @asynccontextmanager
    async def stream(self, **headers: str) -> AsyncIterator[Stream]:
        sent: asyncio.Queue[bytes] = asyncio.Queue()
        left = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                assert message["status"] == 200, message
            elif message["body"] or not message.get("more_body"):
                sent.put_nowait(message["body"])

        async def receive() -> Any:
            await left.wait()
            return {"type": "http.disconnect"}

        scope = self._scope(f"{PREFIX}/events", "GET", {"Host": _HOST, **headers})
        running = asyncio.ensure_future(self._app(scope, receive, send))
        running.add_done_callback(lambda _: sent.put_nowait(b""))
        try:
            yield Stream(sent.get)
        finally:
            left.set()
            await running


@asynccontextmanager
async def serve(adapter: str, board: Board, allow: Allow = None, *, peer: str = "127.0.0.1") -> AsyncIterator[Page]:
    """Serve a board below `PREFIX` by one of the adapters, "aiohttp" or "asgi".

    `peer`: the address that viewers come from; that of another machine is only possible by ASGI.
    """
    if adapter == "asgi":
        yield _AsgiPage(asgi_app(board, allow=allow), peer)
        return
    app = web.Application()
    app.add_subapp(f"{PREFIX}/", aiohttp_app(board, allow=allow))
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(), connector=connector) as http:
            yield _AiohttpPage(http, runner.addresses[0][1])
    finally:
        await runner.cleanup()
