"""The sandbox as a server: on which clock it runs, and how it starts and stops."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import aiohttp
import pytest
from yarl import URL

from ccactivity.sandbox import Delay, Drip, Hang, Life, Sandbox, Truth
from ccactivity.testing import utc_now

from .helpers import fetch, fetch_blocking, serving, time


async def test_the_api_is_served_on_loopback() -> None:
    """With the vendor's headers and bodies, at the address and with the token that the sandbox names."""
    async with serving(history=60) as (sandbox, http):
        async with http.get(sandbox.base_url + "/activities") as response:
            page = await response.json()

            assert "application/json" == response.headers["Content-Type"]
            assert "x-amzn-RequestId" in response.headers
        origin = sandbox.base_url.removesuffix("/v3")
        async with http.get(origin + page["_links"]["next"]["href"]) as response:
            rest = await response.json()

        assert (50, 10, {}) == (len(page["activities"]), len(rest["activities"]), rest["_links"])
        assert sandbox.base_url.startswith("http://127.0.0.1:")
        assert {
            "CCACTIVITY_ACCESS_TOKEN": sandbox.token,
            "CCACTIVITY_BASE_URL": sandbox.base_url,
        } == sandbox.env
        assert {"list": 2} == sandbox.requests
        assert ["list", "list"] == [line.kind for line in sandbox.log]


async def test_the_target_arrives_as_it_was_sent() -> None:
    """Nothing is decoded or encoded on the way."""
    async with serving() as (sandbox, http):
        for path in ("/activities/a%2Fb%3Fc", "/activities?cursor=a%3Db"):
            async with http.get(URL(sandbox.base_url + path, encoded=True)):
                pass

        assert [
            "/v3/activities/a%2Fb%3Fc",
            "/v3/activities?cursor=a%3Db",
        ] == [line.target for line in sandbox.log]


async def test_jobs_can_be_created_over_http() -> None:
    """As JSON and as a file, also larger than what aiohttp accepts by default."""
    async with serving() as (sandbox, http):
        contacts = [{"email": f"{number}@example.com", "street": "x" * 200} for number in range(10_000)]
        async with http.post(
            sandbox.base_url + "/activities/contacts_json_import",
            data=io.BytesIO(json.dumps({"import_data": contacts, "list_ids": ["l"]}).encode()),
        ) as response:
            assert (201, 10_000) == (response.status, (await response.json())["status"]["person_count"])
        form = aiohttp.FormData({"list_ids": "a,b"})
        form.add_field("file", b"email\na@example.com\n", filename="people.csv", content_type="text/csv")
        async with http.post(sandbox.base_url + "/activities/contacts_file_import", data=form) as response:
            assert (201, "people.csv") == (response.status, (await response.json())["source_file_name"])

        assert {"post": 2} == sandbox.requests


# --- the clock ----------------------------------------------------------------------------------------------


async def test_jobs_live_on_the_loops_clock() -> None:
    """An hour of virtual time is an hour for jobs, dates and limits."""
    async with serving(start=datetime(2026, 3, 1, 23, 30, tzinfo=UTC), per_day=1) as (sandbox, http):
        activity_id = sandbox.submit(Life(duration=3600, end="failed"))
        first = await fetch(sandbox, http, f"/activities/{activity_id}")
        await asyncio.sleep(3600)
        async with http.get(f"{sandbox.base_url}/activities/{activity_id}") as response:
            last = await response.json()

            assert "Mon, 02 Mar 2026 00:30:00 GMT" == response.headers["Date"]
        assert ("processing", "failed") == (first["state"], last["state"])
        assert "2026-03-02T00:30:00.000Z" == last["completed_at"]
        assert (3600.0, datetime(2026, 3, 2, 0, 30, tzinfo=UTC)) == (sandbox.now, sandbox.wall)


async def test_a_sandbox_starts_at_the_loops_wall_time() -> None:
    """A loop with virtual time has a wall time of its own."""
    await asyncio.sleep(100)
    async with serving() as (sandbox, _):
        assert (utc_now(), 0.0) == (sandbox.wall, sandbox.now)


def test_a_sandbox_starts_at_the_real_time_by_default() -> None:
    """Activities are then as old as they look."""
    before = datetime.now(UTC)

    assert before <= Sandbox().wall <= datetime.now(UTC)


async def test_the_truth_is_told_in_the_loops_time() -> None:
    """Only after the end; before it there is none."""
    await asyncio.sleep(50)
    async with serving() as (sandbox, _):
        activity_id = sandbox.submit(Life(duration=10, end="timed_out"))
        await asyncio.sleep(9.9)
        early = sandbox.truth(activity_id)
        await asyncio.sleep(1.0)

        assert (None, Truth("timed_out", 60.0)) == (early, sandbox.truth(activity_id))
        with pytest.raises(KeyError):
            sandbox.truth("x")


async def test_latency_is_shared_by_the_way_there_and_back() -> None:
    """A request counts when it has arrived; its answer is that of the middle, and comes at the end."""
    async with serving(latency=2.0) as (sandbox, http):
        activity_id = sandbox.submit(Life(duration=10.5))
        await asyncio.sleep(9.0)
        looking = asyncio.create_task(fetch(sandbox, http, f"/activities/{activity_id}"))
        await asyncio.sleep(0.5)
        arrived = [line.time for line in sandbox.log]
        activity = await looking

        assert ([9.0], 11.0) == (arrived, time())
        assert ("processing", 90) == (activity["state"], activity["percent_done"] // 10 * 10)


async def test_the_limit_per_second_is_the_loops() -> None:
    """Four at once are answered, a fifth is not."""
    async with serving(per_second=4) as (sandbox, http):
        for status in (200, 200, 200, 200, 429):
            async with http.get(sandbox.base_url + "/activities") as response:
                assert status == response.status
        await asyncio.sleep(1.0)
        await fetch(sandbox, http)

        assert 1 == sandbox.violations.over_per_second


async def test_tokens_come_and_go_while_it_runs() -> None:
    """The newest is the one it names."""
    async with serving() as (sandbox, http):
        sandbox.expire_token()
        async with http.get(sandbox.base_url + "/activities") as response:
            assert 401 == response.status
        new = sandbox.issue_token()
        async with http.get(sandbox.base_url + "/activities", headers={"Authorization": f"Bearer {new}"}) as response:
            assert 200 == response.status

        assert new == sandbox.token


async def test_histories_can_be_added_while_it_runs() -> None:
    """For a campaign of one's own."""
    async with serving() as (sandbox, http):
        sandbox.add_history("mine", {"count": 3})
        (record,) = await fetch(sandbox, http, "/emails/activities/mine/send_history")

        assert 3 == record["count"]


# --- starting and stopping ----------------------------------------------------------------------------------


async def test_it_stops_at_once_whatever_hangs() -> None:
    """No task and no connection is left, and nothing is logged."""
    async with aiohttp.ClientSession() as http:
        async with Sandbox() as sandbox:
            sandbox.faults.add(Hang(), times=1)
            sandbox.faults.add(Delay(1000.0), times=1)
            sandbox.faults.add(Drip(1000.0), times=1)
            calls = [asyncio.create_task(http.post(sandbox.base_url + "/activities/contact_exports")) for _ in range(3)]
            await asyncio.sleep(10.0)
        results = await asyncio.gather(*calls, return_exceptions=True)

        assert 10.0 == time()
        assert all(isinstance(result, aiohttp.ClientError | aiohttp.ClientResponse) for result in results)
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(sandbox.base_url)


async def test_a_connection_that_comes_while_it_stops_does_no_harm() -> None:
    """It is served or refused, and nothing is reported to the loop."""
    async with Sandbox() as sandbox:
        port = int(sandbox.base_url.split(":")[2][:-3])
        coming = asyncio.create_task(asyncio.open_connection("127.0.0.1", port))
        await asyncio.sleep(0)
    try:
        _, writer = await coming
    except ConnectionError:
        return
    writer.close()


async def test_an_error_in_the_block_gets_out() -> None:
    """And the sandbox has stopped then."""
    with pytest.raises(ZeroDivisionError):
        async with Sandbox() as sandbox:
            _ = 1 / 0
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", int(sandbox.base_url.split(":")[2][:-3]))


async def test_a_sandbox_runs_once() -> None:
    """Its clock cannot begin anew."""
    async with Sandbox() as sandbox:
        with pytest.raises(RuntimeError, match="once"):
            await sandbox.__aenter__()
    with pytest.raises(RuntimeError, match="once"):
        await sandbox.__aenter__()


def test_a_sandbox_has_no_address_before_it_runs() -> None:
    """But a token and jobs, so that a script can be prepared."""
    sandbox = Sandbox()
    activity_id = sandbox.submit(Life())
    with pytest.raises(RuntimeError, match="not started"):
        _ = sandbox.base_url

    assert sandbox.token
    assert sandbox.truth(activity_id) is None


@pytest.fixture
def busy_port() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


async def test_a_port_in_use_is_an_error_of_the_system(busy_port: int) -> None:
    """Nothing is left behind by the attempt."""
    with pytest.raises(OSError, match=str(busy_port)):
        async with Sandbox(port=busy_port):
            pass


# --- in a thread --------------------------------------------------------------------------------------------


def test_a_sandbox_can_run_in_a_thread() -> None:
    """For any client; its methods may be called from outside, and it stops with the block."""
    threads = threading.active_count()
    with Sandbox(speed=1e6) as sandbox:
        activity_id = sandbox.submit(Life(duration=1, end="failed"))
        sandbox.add_history("mine", {})
        old = sandbox.token
        sandbox.expire_token()

        assert old != sandbox.issue_token()
        assert "failed" == fetch_blocking(sandbox, f"/activities/{activity_id}")["state"]
        assert 1 == len(fetch_blocking(sandbox, "/emails/activities/mine/send_history"))
        truth = sandbox.truth(activity_id)
        assert truth is not None
        assert "failed" == truth.state
        assert threading.active_count() > 1
    assert threads == threading.active_count()
    gc.collect()


def test_a_thread_that_cannot_start_says_why(busy_port: int) -> None:
    """The error comes out where the block begins."""
    threads = threading.active_count()
    with pytest.raises(OSError, match=str(busy_port)), Sandbox(port=busy_port):
        pass

    assert threads == threading.active_count()
