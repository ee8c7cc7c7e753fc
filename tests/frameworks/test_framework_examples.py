"""The examples of docs/examples that need a framework run as they stand, and keep the vendor's rules.

Run by `nox -s examples`, in an environment of its own; the suite does not know this folder.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from support.examples import EXAMPLES, Example, Viewer, free_port, get, started

from ccactivity.sandbox import Life, Sandbox, Workload

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture
def vendor() -> Iterator[Sandbox]:
    with Sandbox(workload=Workload(median=0.2, sigma=0.1, shortest=0.1, delay=(0, 0.1))) as sandbox:
        yield sandbox
        assert sandbox.violations.total == 0, sandbox.violations


@pytest.mark.parametrize("name", ["django_celery.py", "taskiq_worker.py", "worker.py"])
def test_six_imports(name: str) -> None:
    """Six imports are followed to their end, in one process and without a broker."""
    with started(name, "--sandbox") as example:
        assert (0, "") == (example.end(), example.stderr)

    assert 6 == len({line.split()[0] for line in example.lines})
    assert all(re.match(rf"{UUID} .*(completed|failed)", line) for line in example.lines)


# --- FastAPI ----------------------------------------------------------------------------------------------------------


def assert_quiet(example: Example) -> None:
    """Uvicorn tells of its start and its end, and of nothing else."""
    assert all(line.startswith("INFO: ") for line in example.stderr.splitlines()), example.stderr


def test_fastapi_app() -> None:
    """A viewer sees the page and the events; a server that is told to stop ends the stream at once."""
    port = free_port()
    with started("fastapi_app.py", "--sandbox", "--port", str(port)) as example:
        page = example.read_until("http://.*/imports/.*")[0]
        wait_until_served(port)

        assert "new EventSource" in get(page)[1]
        assert (404, '{"detail":"there is no such import"}') == get(f"http://127.0.0.1:{port}/imports/none/events")
        viewer = Viewer(f"{page}/events")
        first = viewer.next()

        assert viewer.content_type.startswith("text/event-stream")
        assert first is not None
        assert "processing" == first["state"]
        example.stop()
        assert_quiet(example)
        while viewer.next() is not None:
            pass
        viewer.leave()


def test_viewers_of_fastapi_who_leave(vendor: Sandbox) -> None:
    """A viewer who leaves causes no traceback, at the next change or later."""
    job = vendor.submit(Life(duration=3600, update_every=0.2))
    port = free_port()
    with started("fastapi_app.py", "--port", str(port), env=vendor.env) as example:
        wait_until_served(port)
        for _ in range(3):
            viewer = Viewer(f"http://127.0.0.1:{port}/imports/{job}/events")
            viewer.next()
            viewer.leave()
        ended = Viewer(f"http://127.0.0.1:{port}/imports/{vendor.submit(Life(duration=0.1))}/events")
        last: object = None
        while (event := ended.next()) is not None:
            last = event

        assert {} == last
        example.stop()
        assert_quiet(example)


def wait_until_served(port: int) -> None:
    for _ in range(100):
        with suppress(OSError):
            get(f"http://127.0.0.1:{port}/")
            return
        threading.Event().wait(0.1)
    raise AssertionError("nobody listens")


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module(request.param)


@asynccontextmanager
async def served(module: Any) -> AsyncIterator[str]:
    import uvicorn

    port = free_port()
    server = module.Server(uvicorn.Config(module.app, host="127.0.0.1", port=port, log_config=None))
    serving = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.1)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@pytest.mark.parametrize("example", ["fastapi_app"], indirect=True)
async def test_the_watch_of_a_viewer_who_leaves(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch of a viewer ends when they leave, at once; until then a comment comes every 15 s."""
    async with Sandbox() as vendor:
        for name, value in vendor.env.items():
            monkeypatch.setenv(name, value)
        job = vendor.submit(Life(duration=36_000, update_every=36_000))
        async with served(example) as url, aiohttp.ClientSession() as http:
            session = example.app.state.session
            async with http.get(f"{url}/imports/{job}/events") as response:
                began = vendor.now
                lines = [(await response.content.readline()).strip()[:5] for _ in range(6)]

                assert [b"data:", b"", b": pin", b"", b": pin", b""] == lines
                assert 30 == round(vendor.now - began)
                assert 1 == session.stats.watching
                response.close()
            await asyncio.sleep(0.01)

            assert 0 == session.stats.watching
            asked = vendor.requests.total()
            await asyncio.sleep(3600)

            assert asked == vendor.requests.total()
    assert 0 == vendor.violations.total
