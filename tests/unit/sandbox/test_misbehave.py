"""What scripted faults do to a connection."""

from __future__ import annotations

import asyncio
import json
import math
import zlib

import aiohttp
import pytest

from ccactivity.sandbox import (
    Bomb,
    Cut,
    Delay,
    Disconnect,
    Drip,
    Effect,
    Endless,
    Hang,
    Raw,
    Reset,
    html,
    lost_request,
    throttled,
)

from .helpers import fetch, serving, time


async def test_an_answer_can_be_late() -> None:
    """All delays add up."""
    async with serving() as (sandbox, http):
        sandbox.faults.add(Delay(60.0), times=1)
        sandbox.faults.add(Delay(5.0))
        await fetch(sandbox, http)

        assert 65.0 == time()


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        (Reset(), aiohttp.ClientOSError),
        (Reset(hard=False), aiohttp.ServerDisconnectedError),
        (Reset(after=0.5), aiohttp.ClientPayloadError),
        (Reset(after=0.5, hard=False), aiohttp.ClientPayloadError),
        (Reset(after=0.5, chunked=True, hard=False), aiohttp.ClientPayloadError),
        (Reset(after=1.0, chunked=True, hard=False), aiohttp.ClientPayloadError),
        (Raw(b"SMTP ready\r\n\r\n"), aiohttp.ClientResponseError),
        (Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"), aiohttp.ClientPayloadError),
    ],
)
async def test_a_connection_can_break(effect: Effect, error: type[Exception]) -> None:
    """Before the answer or in its midst, with a reset or in order."""
    async with serving(history=5) as (sandbox, http):
        fault = sandbox.faults.add(effect)
        with pytest.raises(error):
            await fetch(sandbox, http)
        sandbox.faults.remove(fault)

        assert await fetch(sandbox, http)


async def test_a_kept_connection_can_be_closed_under_the_next_request() -> None:
    """The client of aiohttp then sends once more by itself; both arrive and are counted."""
    async with serving() as (sandbox, http):
        await fetch(sandbox, http)
        fault = sandbox.faults.add(Disconnect(), times=1)
        await fetch(sandbox, http)

        assert ([200, 0, 200], 1) == ([line.status for line in sandbox.log], fault.hits)


@pytest.mark.parametrize("effect", [Hang(), Hang(after=0.5)])
async def test_an_answer_may_never_come(effect: Effect) -> None:
    """The caller has to give up; the next request is answered."""
    async with serving(history=5) as (sandbox, http):
        sandbox.faults.add(effect, times=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(100):
                await fetch(sandbox, http)

        assert await fetch(sandbox, http)


@pytest.mark.parametrize("fault", [Reset(), Reset(hard=False), Hang()])
async def test_a_lost_request_looks_like_a_lost_answer(fault: Reset | Hang) -> None:
    """The caller sees the same error of both; a job there is only after the second."""
    async with serving() as (sandbox, http):
        sandbox.faults.add(lost_request(fault), where="post", times=1)
        sandbox.faults.add(fault, where="post", skip=1, times=1)
        seen, jobs = [], []
        for _ in range(2):
            with pytest.raises((aiohttp.ClientConnectionError, TimeoutError)) as caught:
                async with asyncio.timeout(30):
                    await http.post(sandbox.base_url + "/activities/contact_exports", data=b"{}")
            seen.append((type(caught.value), str(caught.value)))
            jobs.append(len(sandbox.vendor.jobs))

        assert seen[0] == seen[1]
        assert [0, 1] == jobs
        assert [0, 0] == [line.status for line in sandbox.log]


async def test_a_body_can_drip() -> None:
    """A byte at a time; a caller who leaves is not followed."""
    async with serving() as (sandbox, http):
        sandbox.faults.add(Drip(pause=2.0, size=4), times=1)
        page = await fetch(sandbox, http)
        took = time()
        sandbox.faults.add(Drip(pause=2.0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await fetch(sandbox, http)

        assert {"activities": [], "_links": {}} == page
        assert 2.0 * math.ceil(len('{"activities":[],"_links":{}}') / 4) == took


async def test_headers_can_drip_too() -> None:
    """A caller who waits long enough gets a sound answer."""
    async with serving() as (sandbox, http):
        sandbox.faults.add(Drip(pause=1.0, size=10, head=True), times=1)
        page = await fetch(sandbox, http)
        took = time()
        sandbox.faults.add(Drip(pause=1.0, head=True))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await fetch(sandbox, http)

        assert {"activities": [], "_links": {}} == page
        assert took > 15.0


async def test_a_small_body_can_inflate_without_bound() -> None:
    """It is a sound gzip stream of a page, a thousandth of what comes out of it."""
    async with serving() as (sandbox, http):
        size = 8 << 20
        sandbox.faults.add(Bomb(size))
        async with http.get(sandbox.base_url + "/activities") as response:
            page = await response.read()
        async with (
            aiohttp.ClientSession(auto_decompress=False, headers=http.headers) as raw,
            raw.get(sandbox.base_url + "/activities") as response,
        ):
            packed = await response.read()

        assert size < len(page) < size + 100
        assert {"activities": [], "_links": {}} == json.loads(page)
        assert len(packed) < len(page) / 900
        assert page == zlib.decompress(packed, wbits=31)


@pytest.mark.parametrize("declared", [None, 1 << 40])
async def test_a_body_may_never_end(declared: int | None) -> None:
    """Declared or not; it stops when the caller leaves."""
    async with serving() as (sandbox, http):
        sandbox.faults.add(Endless(declared), times=1)
        async with http.get(sandbox.base_url + "/activities") as response:
            assert declared == response.content_length
            assert 1 << 20 == len(await response.content.readexactly(1 << 20))
            response.close()

        assert await fetch(sandbox, http)


async def test_the_last_fault_of_an_answer_counts() -> None:
    """An answer breaks in one way only, after all its delays."""
    async with serving() as (sandbox, http):
        sandbox.faults.add(Hang())
        sandbox.faults.add(Raw(b"HTTP/1.1 204 No Content\r\n\r\n"))
        sandbox.faults.add(Delay(3.0))
        async with http.get(sandbox.base_url + "/activities") as response:
            assert (204, 3.0) == (response.status, time())


async def test_scripted_answers_go_out_as_they_are() -> None:
    """With their own type, headers and length."""
    async with serving(history=5) as (sandbox, http):
        for effect in (html(503), throttled({"Retry-After": "3"}), Cut(0.1)):
            sandbox.faults.add(effect, times=1)
        seen = []
        for _ in range(3):
            async with http.get(sandbox.base_url + "/activities") as response:
                seen.append((response.status, response.content_type, response.headers.get("Retry-After")))
                await response.read()

        assert (503, "text/html", None) == seen[0]
        assert [(429, "application/json", "3"), (200, "application/json", None)] == seen[1:]


async def test_a_caller_who_left_in_the_middle_does_no_harm() -> None:
    """What was still to be sent is dropped, and nothing is logged."""
    async with serving() as (sandbox, http):
        for effect in (Delay(5.0), Drip(0.0), Endless(), Raw(b"x" * 10**7), Reset(after=0.5), Reset()):
            sandbox.faults.clear()
            sandbox.faults.add(effect)
            _, writer = await asyncio.open_connection("127.0.0.1", int(sandbox.base_url.split(":")[2][:-3]))
            writer.write(b"GET /v3/activities HTTP/1.1\r\nHost: x\r\n\r\n")
            await writer.drain()
            writer.transport.abort()
            await asyncio.sleep(10)
        sandbox.faults.clear()

        assert await fetch(sandbox, http)
