"""Virtual time: real sockets and threads, no real waiting."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from datetime import UTC, datetime, timedelta, timezone
from typing import Self

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from ccactivity.testing import DeadlockError, VirtualTimeLoop, run, utc_now


def virtual_loop() -> VirtualTimeLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop


class SlowServer:
    """A real aiohttp server on loopback that takes 0.12 virtual seconds to say anything."""

    def __init__(self, body: bytes = b"hello") -> None:
        self.body = body
        self.url = ""

    async def answer(self, _request: web.Request) -> web.Response:
        await asyncio.sleep(0.12)
        return web.Response(body=self.body)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/", self.answer)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        host, port = self.runner.addresses[0]
        self.url = f"http://{host}:{port}/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()


async def fetch(http: aiohttp.ClientSession, server: SlowServer) -> None:
    async with http.get(server.url) as response:
        assert server.body == await response.read()


async def test_an_hour_of_sleeps_takes_no_time() -> None:
    """Sleeping is free: 600 sleeps of six seconds end at 3600.0 s, sooner than two of them really would."""
    before = time.perf_counter()
    for _ in range(600):
        await asyncio.sleep(6)

    assert 3600.0 == virtual_loop().time()
    assert time.perf_counter() - before < 12


async def test_concurrent_sleeps_wake_in_the_order_of_their_timers() -> None:
    """Tasks wake at their own times, in order, however they were started."""
    woken: list[tuple[float, float]] = []

    async def sleeper(seconds: float) -> None:
        await asyncio.sleep(seconds)
        woken.append((seconds, virtual_loop().time()))

    delays = [30.0, 0.5, 7.25, 86_400.0 * 3, 0.125]
    await asyncio.gather(*map(sleeper, delays))

    assert [(delay, delay) for delay in sorted(delays)] == woken


@given(st.lists(st.floats(1e-6, 1e7), min_size=1, max_size=30))
@pytest.mark.slow
async def test_a_timer_never_rings_early_and_time_never_goes_back(delays: list[float]) -> None:
    """After sleeping d seconds the clock shows d more, as exactly as floats can; up to ten years of it."""
    loop = virtual_loop()
    for delay in delays:
        before = loop.time()
        await asyncio.sleep(delay)

        assert loop.time() > before
        assert abs(loop.time() - (before + delay)) <= 2 * math.ulp(loop.time())


async def test_timers_ring_after_years() -> None:
    """Floats grow coarse with age; a loop of nine years still serves timers of a millisecond."""
    await asyncio.sleep(9 * 365 * 86_400)
    for _ in range(100):
        await asyncio.sleep(0.001)


async def test_a_deadline_loop_ends() -> None:
    """Code that sleeps the rest of its deadline again and again gets there: time is never short of a timer."""
    loop = virtual_loop()
    deadline = loop.time() + 0.1 + 0.2
    rounds = 0
    while loop.time() < deadline:
        await asyncio.sleep((deadline - loop.time()) * 0.9999 if rounds < 5 else deadline - loop.time())
        rounds += 1

    assert rounds < 10


async def test_a_timeout_passes_in_virtual_time() -> None:
    """`asyncio.timeout` works, and costs nothing."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(600):
            await asyncio.Event().wait()

    assert 600.0 == virtual_loop().time()


def test_debug_mode_sees_no_slow_callbacks(caplog: pytest.LogCaptureFixture) -> None:
    """A jump over an hour is not a callback that took an hour."""

    async def main() -> None:
        asyncio.get_running_loop().call_later(3600, lambda: None)
        await asyncio.sleep(7200)

    with caplog.at_level(logging.WARNING):
        run(main(), debug=True)

    assert [] == caplog.records


async def test_sequential_requests_take_exactly_their_virtual_time() -> None:
    """200 requests of 0.12 s, one after the other: each takes 0.12 s, none meets the 0.2 s limit."""
    loop = virtual_loop()
    async with (
        SlowServer() as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as http,
    ):
        for _ in range(200):
            before = loop.time()
            await fetch(http, server)
            assert pytest.approx(0.12, abs=1e-9) == loop.time() - before


@pytest.mark.parametrize("body", [b"hello", bytes(1_000_000)], ids=["small", "megabyte"])
async def test_concurrent_requests_take_exactly_their_virtual_time(body: bytes) -> None:
    """50 requests at once take 0.12 s together, new connections, refused ones and large bodies included."""
    loop = virtual_loop()
    async with (
        SlowServer(body) as server,
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.2)) as http,
    ):
        for _ in range(3):
            before = loop.time()
            await asyncio.gather(*(fetch(http, server) for _ in range(50)))
            assert pytest.approx(0.12, abs=1e-9) == loop.time() - before


async def test_a_server_that_never_answers_is_timed_out_in_virtual_time() -> None:
    """The client's own time-out is virtual too, and so is the closing of the idle connection behind it."""

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(silence, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=300)) as http:
            with pytest.raises(TimeoutError):
                await http.get(f"http://{host}:{port}/")
        await asyncio.sleep(1)

    assert pytest.approx(301, abs=1) == virtual_loop().time()


async def test_time_stands_still_while_a_thread_works() -> None:
    """Executor jobs, name look-ups among them, are really waited for, whatever timers there are."""
    async with asyncio.timeout(0.001):
        for _ in range(3):
            await asyncio.to_thread(time.sleep, 0.01)
        await virtual_loop().getaddrinfo("localhost", 80)

    assert 0.0 == virtual_loop().time()


async def test_a_cancelled_executor_job_is_not_waited_for() -> None:
    """Time goes on once nobody wants the result."""
    done = threading.Event()
    job = asyncio.create_task(asyncio.to_thread(done.wait, 5))
    await asyncio.sleep(0)
    job.cancel()
    await asyncio.sleep(60)
    done.set()

    assert job.cancelled()
    assert 60.0 == virtual_loop().time()


async def test_hold_waits_for_what_the_loop_cannot_see() -> None:
    """A thread of one's own, or a child process, has real time inside `hold()`."""
    loop = virtual_loop()
    event = asyncio.Event()
    thread = threading.Timer(0.01, loop.call_soon_threadsafe, [event.set])
    thread.start()
    with loop.hold():
        async with asyncio.timeout(0.001):
            await event.wait()
    thread.join()
    await asyncio.sleep(1)

    assert 1.0 == loop.time()


async def test_a_signal_handler_runs() -> None:
    """A signal that has come is handled before time moves."""
    loop = virtual_loop()
    heard: list[float] = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: heard.append(loop.time()))
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.sleep(60)
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)

    assert [0.0] == heard


@pytest.mark.parametrize(
    "waiting",
    ["asyncio.sleep(1e-3)", "asyncio.to_thread(time.sleep, 0.05)"],
    ids=["while time jumps", "while a thread is waited for"],
)
def test_ctrl_c_ends_a_run(waiting: str) -> None:
    """Ctrl-C cancels the main task, which can tidy up, and comes out as KeyboardInterrupt."""
    program = f"""
import asyncio, time
from ccactivity.testing import run
async def main():
    print("ready", flush=True)
    try:
        while True:
            await {waiting}
    finally:
        print("tidy", flush=True)
run(main())
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout
    assert b"ready\n" == child.stdout.readline()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=30)

    assert b"tidy\n" == out
    assert err.rstrip().endswith(b"KeyboardInterrupt")


def test_a_deadlock_is_reported_with_its_tasks() -> None:
    """Nothing left to wake anybody: an error naming each task and its line, not a test that hangs."""

    async def lost() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.sleep(5)
        await asyncio.create_task(lost(), name="the lost one")

    with pytest.raises(DeadlockError, match=r"(?s)deadlock at 5 .*main at .*the lost one: .*Event.wait at"):
        run(main())


def test_an_open_server_does_not_hide_a_deadlock() -> None:
    """Open sockets on which nothing can come any more keep nobody waiting."""

    async def main() -> None:
        async with SlowServer() as server, aiohttp.ClientSession() as http:
            await fetch(http, server)
            await asyncio.Event().wait()

    with pytest.raises(DeadlockError):
        run(main())


def test_waiting_for_ever_is_a_deadlock() -> None:
    """So is a timer that never rings."""
    with pytest.raises(DeadlockError):
        run(asyncio.sleep(math.inf))


def test_a_deadlock_lets_tasks_tidy_up() -> None:
    """The tasks are cancelled, as by `asyncio.run`, so that `finally` blocks run."""
    tidied: list[str] = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            tidied.append("main")

    with pytest.raises(DeadlockError):
        run(main())

    assert ["main"] == tidied


async def test_the_wall_clock_follows_virtual_time() -> None:
    """`utc_now()` starts at noon of 2026-01-01 and moves with the loop."""
    start = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert start == utc_now() == virtual_loop().utc_now()
    await asyncio.sleep(3600)

    assert start + timedelta(hours=1) == utc_now()


def test_the_wall_clock_starts_where_it_is_told() -> None:
    """Any aware time will do; what comes back is in UTC."""

    async def main() -> datetime:
        return utc_now()

    start = datetime(2026, 3, 29, 1, 59, tzinfo=timezone(timedelta(hours=1)))

    assert start == run(main(), utc_start=start)
    assert timedelta(0) == run(main(), utc_start=start).utcoffset()


async def test_the_wall_clock_can_jump_without_the_timers() -> None:
    """A correction of the wall clock changes no timer and no `time()`."""
    loop = virtual_loop()
    sleep = asyncio.create_task(asyncio.sleep(10))
    await asyncio.sleep(1)
    loop.step_utc(-3600)
    assert datetime(2026, 1, 1, 11, 0, 1, tzinfo=UTC) == loop.utc_now()
    loop.set_utc(datetime(2027, 1, 1, tzinfo=UTC))
    await sleep

    assert datetime(2027, 1, 1, 0, 0, 9, tzinfo=UTC) == loop.utc_now()
    assert 10.0 == loop.time()


async def test_the_wall_clock_must_be_aware() -> None:
    """A naive time has no UTC."""
    with pytest.raises(ValueError, match="aware"):
        virtual_loop().set_utc(datetime(2027, 1, 1))  # noqa: DTZ001 -- that is the point


@pytest.mark.real_time
async def test_the_wall_clock_needs_a_virtual_loop() -> None:
    """On a real loop there is no virtual wall clock, and the error says so."""
    with pytest.raises(RuntimeError, match="VirtualTimeLoop"):
        utc_now()


def test_run_returns_and_raises_like_asyncio_run() -> None:
    """The result or the error of `main` comes out; a default executor is shut down."""

    async def good() -> int:
        return await asyncio.to_thread(int, "7")

    async def bad() -> None:
        raise LookupError("no such thing")

    assert 7 == run(good())
    with pytest.raises(LookupError, match="no such thing"):
        run(bad())


def test_a_loop_is_freed_after_its_run() -> None:
    """Thousands of tests leave no loops, selectors or sockets behind."""

    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        return weakref.ref(asyncio.get_running_loop())

    loop = run(main())
    gc.collect()

    assert loop() is None
