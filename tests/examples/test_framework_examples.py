"""The examples of docs/examples that need a framework run as they stand, and keep the vendor's rules.

Run by `nox -s examples`, in an environment of its own; the suite does not know this folder.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import arq
import arq.worker
import fakeredis
import pytest
import uvicorn
from arq.connections import ArqRedis, RedisSettings
from support.examples import Example, Viewer, free_port, get, started
from support.redis_server import RedisServer
from support.vendor import UNKNOWN_ID

from ccactivity import ActivitySession
from ccactivity.sandbox import Life, Sandbox, quota_exceeded

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"


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


def test_live_page_fastapi() -> None:
    """A viewer sees the page, and each activity of the account."""
    port = free_port()
    with started("live_page_fastapi.py", "--sandbox", "--port", str(port)) as example:
        page = example.read_until("http://.*/imports/")[0]
        wait_until_served(port)
        viewer = Viewer(f"{page}events")
        rows: set[str] = set()
        while len(rows) < 20:
            rows.update(row["key"] for row in (viewer.next() or {}).get("rows", ()))
        viewer.leave()

        assert "Tonight&#x27;s imports" in get(page)[1]
        example.stop()
        assert_quiet(example)


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


@asynccontextmanager
async def served(module: Any) -> AsyncIterator[str]:
    port = free_port()
    server = module.Server(uvicorn.Config(module.app, host="127.0.0.1", port=port, log_config=None))
    serving = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 -- it tells nobody
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
            await asyncio.sleep(120)

            assert asked == vendor.requests.total()
    assert 0 == vendor.violations.total


# --- workers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> ArqRedis:
    async def no_info(*_: object) -> None:
        """The Redis in memory has no command INFO, from which arq has the first line of its log."""

    monkeypatch.setattr(arq.worker, "log_redis_info", no_info)
    return ArqRedis(pool_or_conn=fakeredis.FakeAsyncRedis().connection_pool)


@pytest.mark.parametrize("example", ["worker"], indirect=True)
@pytest.mark.filterwarnings("ignore:Call to deprecated close:DeprecationWarning")  # arq's own
@pytest.mark.real_time
async def test_arq_runs_the_jobs(
    example: Any, vendor: Sandbox, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Arq itself reads the settings, and runs both jobs of each import; no address comes into Redis."""
    for name, value in vendor.env.items():
        monkeypatch.setenv(name, value)
    for batch in range(3):
        await redis.enqueue_job("import_batch", batch)
    worker = arq.worker.create_worker(
        example.WorkerSettings, redis_pool=redis, burst=True, handle_signals=False, poll_delay=0.05
    )
    try:
        await worker.main()
        results = await redis.all_job_results()
        everything = [await redis.dump(key) for key in await redis.keys()]
    finally:
        await worker.close()

    assert all(result.success for result in results)
    assert 3 == sum(result.function == "import_batch" for result in results)
    followed = [result for result in results if result.function == "follow_import"]
    assert 3 == len({result.args[0] for result in followed})
    assert all({"state", "refused_rows"} == set(result.result) for result in followed)
    assert b"example.com" not in b"".join(everything)


@pytest.mark.parametrize("example", ["worker"], indirect=True)
async def test_a_job_waits_for_the_next_day(example: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that finds the day's requests spent runs again when they come back."""
    async with Sandbox() as vendor:
        for name, value in vendor.env.items():
            monkeypatch.setenv(name, value)
        vendor.faults.add(quota_exceeded(), where="post", times=1)
        async with ActivitySession.from_env() as session:
            with pytest.raises(arq.Retry) as retry:
                await example.import_batch({"session": session}, 0)

        assert retry.value.defer_score
        assert 3600 * 1000 < retry.value.defer_score
        assert {"post": 1} == vendor.requests


def test_celery_finds_the_app() -> None:
    """The command of the example finds the task, and its schedule."""
    with started("-m", "celery", "-A", "django_celery", "report") as example:
        assert 0 == example.end()

    assert "django_celery.follow_imports" in "\n".join(example.lines)


def test_the_view_of_django() -> None:
    """The view tells what the database has, and 404 for what it has not."""
    program = """
import django_celery
from django.db import connection
from django.test import Client
from django.conf import settings
settings.ALLOWED_HOSTS = ["testserver"]
with connection.schema_editor() as editor:
    editor.create_model(django_celery.Import)
django_celery.Import.objects.create(activity_id="a1", state="processing", percent_done=40)
for path in ("/imports/a1", "/imports/a2"):
    answer = Client().get(path)
    print(answer.status_code, answer.content.decode()[:80])
"""
    with started("-c", program) as example:
        assert 0 == example.end()

    assert '200 {"state": "processing", "percent": 40, "ended": false}' == example.lines[0]
    assert example.lines[1].startswith("404 ")


# --- many processes, one key ------------------------------------------------------------------------------------------


def test_web_workers_and_a_task_worker_on_one_key(vendor: Sandbox, engine: RedisServer) -> None:
    """fleet_app.py with two workers and fleet_worker.py: all are told of each end, and one of them asks."""
    port, env = free_port(), {**vendor.env, "CCACTIVITY_FLEET_URL": engine.url}
    ids = [vendor.submit(Life(duration=4.0)) for _ in range(4)]
    failing = vendor.submit(Life(duration=4.0, end="failed"))
    web = ("-m", "uvicorn", "fleet_app:app", "--workers", "2", "--port", str(port))
    with started(*web, env=env) as app, started("-m", "arq", "fleet_worker.WorkerSettings", env=env) as worker:
        try:
            ask = f"http://127.0.0.1:{port}"
            give_up = time.monotonic() + 30.0
            while not listening(port) or '"members":3' not in get(f"{ask}/health")[1]:
                assert time.monotonic() < give_up
                time.sleep(0.1)

            async def follow() -> object:
                pool = await arq.create_pool(RedisSettings.from_dsn(engine.url))
                job = await pool.enqueue_job("follow", ids[0])
                assert job is not None
                try:
                    return await job.result(timeout=20.0, poll_delay=0.1)
                finally:
                    await pool.aclose()

            assert "completed" == asyncio.run(follow())
            assert ["completed"] * 4 == [json.loads(get(f"{ask}/imports/{each}")[1])["state"] for each in ids]
            assert "failed" == json.loads(get(f"{ask}/imports/{failing}")[1])["state"]
            assert (404, 200) == (get(f"{ask}/imports/{UNKNOWN_ID}")[0], get(f"{ask}/health")[0])
            assert 404 == get(f"{ask}/imports/no%20id")[0]
        finally:  # killed, it would leave its workers behind
            app.stop()
            worker.stop()
    assert len(vendor.log) <= 20  # with the looks at the id that there is not, for ten seconds


def listening(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
