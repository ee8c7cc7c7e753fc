"""A board as an aiohttp application, to be run or added below a prefix with `add_subapp`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from weakref import WeakSet

from aiohttp import web

from .board import Board
from .site import SEND_TIMEOUT_S, STREAM_HEADERS, PageRequest, Site

__all__ = ["aiohttp_app"]


def aiohttp_app(board: Board, *, allow: Callable[[web.Request], Awaitable[bool]] | None) -> web.Application:
    """Return an application with the live page of a board, the stream `events` and `activities.json`.

    `allow`: an async function that says whether a request may see them; it may raise `web.HTTPFound` to a login page,
    too. None: only browsers on this machine are answered, and only by its own names, so that no other site can read
    the page through one of them; behind a proxy, which makes everybody local, give a function. A proxy that says in a
    header that it is one is refused.

        app.add_subapp("/imports/", aiohttp_app(board, allow=logged_in))
    """
    site = Site(board, allow)
    streams: WeakSet[asyncio.Task[object]] = WeakSet()

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = PageRequest(
            method=request.method,
            path=request.match_info.get("path", ""),
            whole_path=request.path,
            query=request.query_string,
            headers=request.headers,
            peer=request.remote,
        )
        reply = site.answer(asked, allowed=allow is None or await allow(request))
        if reply is not None:
            return web.Response(status=reply.status, headers=reply.headers, body=reply.body)
        task = asyncio.current_task()
        assert task is not None
        streams.add(task)
        return await send_stream(request, asked)

    async def send_stream(request: web.Request, asked: PageRequest) -> web.StreamResponse:
        response = web.StreamResponse(headers=STREAM_HEADERS)
        with site.stream(asked) as pieces:
            await response.prepare(request)
            # The viewer has left, or does not read.
            with suppress(ConnectionError, TimeoutError):
                async with aclosing(pieces):
                    async for piece in pieces:
                        if request.transport is None:
                            break
                        async with asyncio.timeout(SEND_TIMEOUT_S):
                            await response.write(piece)
                    else:
                        return response
        if request.transport is not None:
            request.transport.abort()  # what is still to be written never will be
        return response

    async def end_streams(_: web.Application) -> None:
        for task in tuple(streams):
            task.cancel()  # the server would wait for them for a minute

    app = web.Application()
    app.router.add_route("*", "", handle)
    app.router.add_route("*", "/{path:.*}", handle)
    app.on_shutdown.append(end_streams)
    return app
