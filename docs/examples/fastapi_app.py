"""A web app that shows people the progress of their imports: FastAPI and server-sent events.

    pip install ccactivity "fastapi>=0.135" uvicorn
    python fastapi_app.py --sandbox      # offline, with simulated imports
    python fastapi_app.py                # with CCACTIVITY_ACCESS_TOKEN in the environment

Any number of people may look at any number of imports: each is asked for once for all of them.
The page itself is progress.html, beside this file.
"""

from __future__ import annotations

import argparse
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Annotated

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import FileResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from ccactivity import ActivitySession, CCActivityError, NotFoundError, SessionClosedError, Watch
from ccactivity.sandbox import Life, Sandbox

log = logging.getLogger(__name__)

PAGE = Path(__file__).with_name("progress.html")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with ActivitySession.from_env() as app.state.session:
        yield


app = FastAPI(lifespan=lifespan)


async def watch_import(request: Request, activity_id: str) -> AsyncIterator[Watch]:
    # Here your app makes sure that this person may see this import.
    session: ActivitySession = request.app.state.session
    try:
        watch = await session.watch(activity_id, grace=2, max_staleness=5)
    except (NotFoundError, ValueError):
        raise HTTPException(404, "there is no such import") from None
    except CCActivityError as error:
        log.warning("an import cannot be watched: %s", error)
        raise HTTPException(503, "try again later") from None
    async with watch:
        yield watch


@app.get("/imports/{activity_id}")
async def page(activity_id: str) -> FileResponse:
    return FileResponse(PAGE)


@app.get("/imports/{activity_id}/events", response_class=EventSourceResponse)
async def progress(
    watch: Annotated[Watch, Depends(watch_import)],
) -> AsyncIterator[ServerSentEvent]:
    try:
        async for activity in watch:
            yield ServerSentEvent(data=activity.as_dict())
        yield ServerSentEvent(event="end", data={})
    except SessionClosedError:
        pass  # the server stops
    except CCActivityError as error:
        # The browser comes again by itself, and its first look tells what is wrong.
        log.warning("a stream of events has ended early: %s", error)


class Server(uvicorn.Server):
    """Ends all streams when it is told to stop: uvicorn would wait until the last import has ended.

    Started with the command `uvicorn --timeout-graceful-shutdown 3`, the app stops after three
    seconds, and uvicorn logs a traceback for each stream that it cuts off.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await app.state.session.aclose()
        await super().shutdown(sockets)


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
        elif "CCACTIVITY_ACCESS_TOKEN" not in os.environ:
            parser.error("set CCACTIVITY_ACCESS_TOKEN, or use --sandbox")
        with suppress(KeyboardInterrupt):
            Server(uvicorn.Config(app, host="127.0.0.1", port=options.port)).run()


if __name__ == "__main__":
    main()
