"""A live page on a server of its own thread, for browsers: by aiohttp, or by uvicorn below a mount of Starlette."""

from __future__ import annotations

import asyncio
import importlib
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Self

from aiohttp import web

from ccactivity import ActivitySession, Quota
from ccactivity.sandbox import Sandbox
from ccactivity.web import Board, aiohttp_app, asgi_app

from .examples import free_port

WHERE = "chromium, chromium-browser or google-chrome on the PATH"
_TIMEOUT_S = 20.0


def find_chromium() -> str | None:
    """Return the program of a browser, None if there is none."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class PageServer:
    """Serves a board in a thread, below `/imports/`. `url`: of the page; `streams`: how many are open by aiohttp.

    `follow`: called with each new board, in its loop. `quota`: of the session.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        follow: Callable[[Board], object],
        *,
        adapter: str = "aiohttp",
        title: str = "Tonight's imports",
        quota: Quota | None = None,
    ) -> None:
        self._sandbox = sandbox
        self._follow = follow
        self._adapter = adapter
        self._title = title
        self._quota = quota
        self._port = free_port()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopped: asyncio.Event
        self._error: BaseException | None = None
        self.url = f"http://127.0.0.1:{self._port}/imports/"
        self.streams = 0
        self.board: Board
        self.session: ActivitySession

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Serve, with a new session and a new board; at the address of before."""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,))
        self._thread.start()
        assert ready.wait(_TIMEOUT_S)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """Stop as a server does that is told to."""
        if self._thread is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join(_TIMEOUT_S)
            assert not self._thread.is_alive()
        self._thread = None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function, or await a coroutine function, in the loop of the server."""
        assert self._loop is not None

        async def run() -> Any:
            result = function(*arguments)
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(_TIMEOUT_S)

    def _run(self, ready: threading.Event) -> None:
        try:
            asyncio.run(self._serve(ready))
        except BaseException as error:  # noqa: BLE001 -- the thread that waits gets it
            self._error = error
        finally:
            ready.set()

    async def _serve(self, ready: threading.Event) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        async with AsyncExitStack() as stack:
            self.session = await stack.enter_async_context(
                ActivitySession(self._sandbox.token, base_url=self._sandbox.base_url, quota=self._quota)
            )
            self.board = Board(self.session, title=self._title)
            self._follow(self.board)
            serve = self._serve_aiohttp if self._adapter == "aiohttp" else self._serve_uvicorn
            await stack.enter_async_context(serve())
            ready.set()
            await self._stopped.wait()

    @asynccontextmanager
    async def _serve_aiohttp(self) -> AsyncIterator[None]:
        @web.middleware
        async def count_streams(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            is_stream = request.path.endswith("/events")
            self.streams += is_stream
            try:
                return await handler(request)
            finally:
                self.streams -= is_stream

        app = web.Application(middlewares=[count_streams])
        app.add_subapp("/imports/", aiohttp_app(self.board, allow=None))
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self._port, reuse_address=True).start()
            yield
        finally:
            await runner.cleanup()

    @asynccontextmanager
    async def _serve_uvicorn(self) -> AsyncIterator[None]:
        # Not every environment of the tests has these two.
        uvicorn, starlette = importlib.import_module("uvicorn"), importlib.import_module("starlette.applications")
        routing = importlib.import_module("starlette.routing")
        app = starlette.Starlette(routes=[routing.Mount("/imports", asgi_app(self.board, allow=None))])
        server = uvicorn.Server(
            uvicorn.Config(app, port=self._port, lifespan="off", log_level="critical", timeout_graceful_shutdown=1)
        )
        serving = asyncio.create_task(server._serve())
        while not server.started:  # noqa: ASYNC110 -- it tells nobody
            await asyncio.sleep(0.01)
        try:
            yield
        finally:
            server.should_exit = True
            await serving


@contextmanager
def chromium(program: str, *options: str) -> Iterator[Any]:
    """Run a browser of playwright while the block lasts; without a sandbox, which root cannot have."""
    playwright = importlib.import_module("playwright.sync_api")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=program, args=["--no-sandbox", *options])
        try:
            yield browser
        finally:
            browser.close()


def follow(*what: Any) -> Callable[[Board], None]:
    """Return what follows all of these on a board."""

    def follow_all(board: Board) -> None:
        for each in what:
            board.follow(each)

    return follow_all
