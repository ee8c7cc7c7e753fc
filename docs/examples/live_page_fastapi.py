"""A live page of the account's activities in a FastAPI app; in Starlette it is the same."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator, MutableMapping
from contextlib import ExitStack, asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from ccactivity import ActivitySession
from ccactivity.sandbox import Sandbox
from ccactivity.web import Board, asgi_app


async def logged_in(scope: MutableMapping[str, Any]) -> bool:
    """Ask your own login here, for instance scope["session"] of Starlette's SessionMiddleware."""
    return bool(scope["client"][0] == "127.0.0.1")


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with ActivitySession.from_env() as session:
        board = Board(session, title="Tonight's imports")
        board.follow_all()
        app.mount("/imports", asgi_app(board, allow=logged_in))
        yield
        await board.aclose()


app = FastAPI(lifespan=lifespan)


def main() -> None:
    parser = argparse.ArgumentParser(description="Show the account's activities on a live page.")
    parser.add_argument("--sandbox", action="store_true", help="offline, with simulated imports")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    with ExitStack() as stack:
        if options.sandbox:
            vendor = stack.enter_context(Sandbox())
            os.environ.update(vendor.env)
            for _ in range(20):
                vendor.submit()
            print(f"http://127.0.0.1:{options.port}/imports/", flush=True)
        elif "CCACTIVITY_ACCESS_TOKEN" not in os.environ:
            parser.error("set CCACTIVITY_ACCESS_TOKEN, or use --sandbox")
        # Without a limit uvicorn waits for viewers until the last of them has left.
        uvicorn.run(app, host="127.0.0.1", port=options.port, timeout_graceful_shutdown=3)


if __name__ == "__main__":
    main()
