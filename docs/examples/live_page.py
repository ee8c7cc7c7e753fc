"""A live page of the account's activities in an aiohttp app, for those who are logged in."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack

from aiohttp import web

from ccactivity import ActivitySession
from ccactivity.sandbox import Sandbox
from ccactivity.web import Board, aiohttp_app


async def logged_in(request: web.Request) -> bool:
    """Ask your own login here; it may raise web.HTTPFound("/login"), too."""
    return request.remote in ("127.0.0.1", "::1")


async def make_app() -> web.Application:
    session = ActivitySession.from_env()
    board = Board(session, title="Tonight's imports")
    board.follow_all()

    async def close(app: web.Application) -> AsyncIterator[None]:
        yield
        await board.aclose()
        await session.aclose()

    app = web.Application()
    app.add_subapp("/imports/", aiohttp_app(board, allow=logged_in))
    app.cleanup_ctx.append(close)
    return app


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
        try:
            web.run_app(make_app(), host="127.0.0.1", port=options.port)
        except ValueError as error:  # no token
            parser.error(str(error))


if __name__ == "__main__":
    main()
