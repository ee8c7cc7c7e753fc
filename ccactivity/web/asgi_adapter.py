"""A board as an ASGI application, to be mounted in Starlette, FastAPI, Litestar and the like, or run by itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import aclosing, suppress
from typing import Any

from .board import Board
from .site import SEND_TIMEOUT_S, STREAM_HEADERS, PageRequest, Reply, Site

__all__ = ["asgi_app"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


def asgi_app(
    board: Board, *, allow: Callable[[Scope], Awaitable[bool]] | None
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return an ASGI application with the live page of a board, the stream `events` and `activities.json`.

    `allow`: an async function that is given the scope, and says whether its request may see them. None: as for
    `aiohttp_app`.

        fastapi.mount("/imports", asgi_app(board, allow=logged_in))
    """
    site = Site(board, allow)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # as ASGI wants it: a server goes on without a lifespan, and refuses a websocket
            raise NotImplementedError(f"the page is served by http, not by {scope['type']}")
        asked = _read(scope)
        reply = site.answer(asked, allowed=allow is None or await allow(scope))
        if reply is not None:
            return await _send_reply(reply, asked, send)
        with site.stream(asked) as pieces:
            # Whichever ends first ends the other: the stream, or the viewer by leaving.
            sending = asyncio.ensure_future(_send_stream(pieces, send))
            leaving = asyncio.ensure_future(_left(receive))
            try:
                await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
            finally:
                sending.cancel()
                leaving.cancel()
                await asyncio.gather(sending, leaving, return_exceptions=True)
            if not sending.cancelled():
                sending.result()  # a bug is the server's to log
        return None

    return app


def _read(scope: Scope) -> PageRequest:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
    whole_path, prefix = scope["path"], scope.get("root_path", "").rstrip("/")
    path = (
        whole_path.removeprefix(prefix) if whole_path.startswith(f"{prefix}/") or whole_path == prefix else whole_path
    )
    return PageRequest(
        method=scope["method"],
        path=path.removeprefix("/"),
        whole_path=whole_path,
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        peer=scope["client"][0] if scope.get("client") else None,
    )


async def _send_reply(reply: Reply, asked: PageRequest, send: Send) -> None:
    length = {"Content-Length": str(len(reply.body))}
    await send(_start(reply.status, {**reply.headers, **length}))
    await send({"type": "http.response.body", "body": b"" if asked.method == "HEAD" else reply.body})


async def _send_stream(pieces: AsyncGenerator[bytes], send: Send) -> None:
    """Send the stream. One who does not read is dropped: the server closes a connection whose answer has no end."""
    await send(_start(200, STREAM_HEADERS))
    with suppress(TimeoutError, OSError):
        async with aclosing(pieces):
            async for piece in pieces:
                if piece:
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


def _start(status: int, headers: Mapping[str, str]) -> MutableMapping[str, Any]:
    pairs = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http.response.start", "status": status, "headers": pairs}


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
