"""A web app that shows people the progress of their imports: aiohttp and server-sent events.

    pip install ccactivity
    python web_app.py --sandbox          # offline, with simulated imports
    python web_app.py                    # with CCACTIVITY_ACCESS_TOKEN in the environment

Any number of people may look at any number of imports: each is asked for once for all of them.
The page itself is progress.html, beside this file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

from aiohttp import web

from ccactivity import ActivitySession, CCActivityError, NotFoundError, SessionClosedError
from ccactivity.sandbox import Life, Sandbox

log = logging.getLogger(__name__)

SESSION = web.AppKey("session", ActivitySession)
PAGE = Path(__file__).with_name("progress.html")
HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would hold the events back
}


async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE)


async def progress(request: web.Request) -> web.StreamResponse:
    # Here your app makes sure that this person may see this import.
    session = request.app[SESSION]
    try:
        # The first look, before the response begins: a wrong id is a 404, not a broken stream.
        watch = await session.watch(request.match_info["id"], grace=2, max_staleness=5)
    except (NotFoundError, ValueError):
        raise web.HTTPNotFound(text="there is no such import") from None
    except CCActivityError as error:
        log.warning("an import cannot be watched: %s", error)
        raise web.HTTPServiceUnavailable(text="try again later") from None

    response = web.StreamResponse(headers=HEADERS)
    try:
        async with watch, asyncio.TaskGroup() as group:
            await response.prepare(request)
            heartbeat = group.create_task(keep_alive(response))
            async for activity in watch:
                await response.write(f"data: {json.dumps(activity.as_dict())}\n\n".encode())
            await response.write(b"event: end\ndata: {}\n\n")
            heartbeat.cancel()
    except* (ConnectionResetError, SessionClosedError):
        pass  # the viewer has left, or the server stops
    except* CCActivityError as errors:
        # The browser comes again by itself, and its first look tells what is wrong.
        log.warning("a stream of events has ended early: %s", errors.exceptions[0])
    return response


async def keep_alive(response: web.StreamResponse) -> None:
    """Write a comment every 15 s, because proxies close a connection that is silent for a minute."""
    while True:
        await asyncio.sleep(15)
        await response.write(b": keep-alive\n\n")


async def open_session(app: web.Application) -> AsyncIterator[None]:
    async with ActivitySession.from_env() as app[SESSION]:
        yield


async def end_streams(app: web.Application) -> None:
    """End all streams when the server is told to stop: it would wait a minute for them."""
    await app[SESSION].aclose()


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/imports/{id}", page), web.get("/imports/{id}/events", progress)])
    app.cleanup_ctx.append(open_session)
    app.on_shutdown.append(end_streams)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description="Show the progress of imports in the browser.")
    parser.add_argument("--sandbox", action="store_true", help="offline, with simulated imports")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()

    with ExitStack() as stack:
        if options.sandbox:
            vendor = stack.enter_context(Sandbox())
            os.environ.update(vendor.env)
            activity_id = vendor.submit(Life(duration=120))
            print(f"http://127.0.0.1:{options.port}/imports/{activity_id}", flush=True)
        try:
            # handler_cancellation: when a viewer leaves, `progress` is cancelled, and their watch
            # ends. Other handlers are, too: `asyncio.shield` what must not stop half-way.
            web.run_app(make_app(), host="127.0.0.1", port=options.port, handler_cancellation=True)
        except ValueError as error:  # no token
            parser.error(str(error))


if __name__ == "__main__":
    main()
