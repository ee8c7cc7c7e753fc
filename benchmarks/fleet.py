"""Measures the fleet against its targets, and prints a table: `nox -s fleet`, six minutes; `--quick` for one.

Real processes for what happens in real time, sessions on one virtual loop for hours of economy. Both use a real server,
which is found as the tests find theirs.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from redis.asyncio import Redis  # noqa: E402 -- as are all below: they are found there
from support.fleet_engines import VirtualFleet, VirtualServer  # noqa: E402
from support.redis_server import RedisServer, find_server, run_server  # noqa: E402
from support.vendor import connect, most_in_a_second, seconds_since_end  # noqa: E402

from ccactivity import ActivitySession  # noqa: E402
from ccactivity.fleet import RedisFleet  # noqa: E402
from ccactivity.sandbox import Life, Sandbox, Workload  # noqa: E402
from ccactivity.testing import run  # noqa: E402

PROGRAM = ROOT / "tests" / "support" / "fleet_process.py"


@attrs.frozen
class Row:
    """One line of the table. `met`: whether the target was."""

    what: str
    target: str
    measured: str
    met: bool


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


# --- economy: sessions on one virtual loop ----------------------------------------------------------------------------


@attrs.frozen
class Economy:
    requests: int
    lag_of_poller: float
    lag_of_others: float
    lost: int
    twice: int
    kills: int


async def economy(
    server: RedisServer, members: int, ids: int, *, kill_every: float = 0.0, all_anew: bool = True
) -> Economy:
    """Members that all watch the same ids, 16 at a time; now and then one that polls is killed, and another joins.

    `all_anew`: the other one watches all again, also what has ended and is looked for once more; else what has not.
    """
    with server.client() as client:
        client.flushall()
    async with Sandbox(latency=0.06, workload=Workload(lanes=16)) as sandbox, AsyncExitStack() as stack:
        world = VirtualServer(server.url)
        jobs = [sandbox.submit() for _ in range(ids)]
        lags: dict[bool, list[float]] = {True: [], False: []}
        told: dict[ActivitySession, list[str]] = {}
        fleets: dict[ActivitySession, VirtualFleet] = {}
        tasks: dict[ActivitySession, asyncio.Task[None]] = {}
        kills = 0

        async def follow(session: ActivitySession) -> None:
            async for snapshot in session.watch_many([job for job in jobs if all_anew or sandbox.truth(job) is None]):
                if snapshot.done:
                    stats = session.stats.fleet
                    assert stats is not None
                    told[session].append(snapshot.activity_id)
                    lags[stats.polling].append(seconds_since_end(sandbox, snapshot.activity_id))

        async def join() -> None:
            fleet = VirtualFleet(world)
            session = await stack.enter_async_context(connect(sandbox, fleet=fleet))
            fleets[session], told[session] = fleet, []
            tasks[session] = asyncio.create_task(follow(session))

        for _ in range(members):
            await join()
        loop, killed_at = asyncio.get_running_loop(), 0.0
        while not all(task.done() for task in tasks.values()):
            await asyncio.sleep(5.0)
            if kill_every and loop.time() - killed_at >= kill_every:
                killed_at = loop.time()
                for session in [each for each in tasks if each.stats.fleet and each.stats.fleet.polling]:
                    engine = fleets[session].engine
                    assert engine is not None
                    engine.killed, kills = True, kills + 1
                    tasks.pop(session).cancel()
                    await session.aclose()
                    await join()
        requests = len(sandbox.log)
        for task in tasks.values():
            await task
        survivors, told_to_all = [told[session] for session in tasks], list(told.values())
        return Economy(
            requests,
            percentile(lags[True], 0.95),
            percentile(lags[False] or [0.0], 0.95),
            max(ids - len(set(ends)) for ends in survivors),
            max(len(ends) - len(set(ends)) for ends in told_to_all),
            kills,
        )


def measure_economy(server: RedisServer, *, quick: bool) -> list[Row]:
    ids = 200 if quick else 1_000
    one = run(economy(server, 1, ids))
    eight = run(economy(server, 8, ids))
    killed = run(economy(server, 8, ids, kill_every=600.0))
    replaced = run(economy(server, 8, ids, kill_every=600.0, all_anew=False))
    often = run(economy(server, 4, ids, kill_every=60.0))
    more, most = eight.requests / one.requests - 1, killed.requests / one.requests - 1
    handed_over = replaced.requests / one.requests - 1
    late = eight.lag_of_others - eight.lag_of_poller
    return [
        Row(f"requests of 8 for {ids} ids against 1 ({one.requests})", "+5 %", f"{more:+.1%}", more <= 0.05),
        Row(
            f"with a kill each 10 min ({killed.kills}), and a restart that watches all",
            "+10 %",
            f"{most:+.1%}",
            most <= 0.10,
        ),
        Row(
            "the same, and a restart that watches what has not ended",
            "+10 %",
            f"{handed_over:+.1%}",
            handed_over <= 0.10,
        ),
        Row("lag p95 of those who do not poll", "+0.1 s", f"{late:+.2f} s", late <= 0.1),
        Row(
            f"ends lost; told twice, over {often.kills} kills",
            "0; 0",
            f"{often.lost}; {often.twice}",
            not (often.lost or often.twice),
        ),
    ]


# --- real time --------------------------------------------------------------------------------------------------------


async def measure_start(server: RedisServer) -> list[Row]:
    """How long 10,000 ids take to be registered, and to be taken over by a new poller."""
    with server.client() as client:
        client.flushall()
    async with Sandbox() as sandbox:
        ids = [sandbox.submit(Life(duration=10_000.0)) for _ in range(10_000)]
        async with connect_real(sandbox, server, candidate=False) as session:
            await asyncio.sleep(2.0)
            began = time.perf_counter()
            watch = asyncio.create_task(anext(session.watch_many(ids)))
            with server.client() as client:
                await until(lambda: sum(client.hlen(key) for key in client.scan_iter("*:w:*")) == 10_000)
            registered = time.perf_counter() - began
            async with connect_real(sandbox, server) as poller:
                await until(lambda: poller.stats.fleet is not None and poller.stats.fleet.polling)
                began = time.perf_counter()
                await until(lambda: bool(sandbox.log))
                taken = time.perf_counter() - began
            watch.cancel()
            await asyncio.wait([watch])
    return [
        Row("watch_many(10,000) registered", "1 s", f"{registered:.2f} s", registered <= 1.0),
        Row("first request of a new poller of 10,000", "1 s", f"{taken:.2f} s", taken <= 1.0),
    ]


@asynccontextmanager
async def connect_real(sandbox: Sandbox, server: RedisServer | None, **options: Any) -> AsyncIterator[ActivitySession]:
    fleet = None if server is None else RedisFleet(server.url, **options)
    async with ActivitySession(sandbox.token, base_url=sandbox.base_url, fleet=fleet) as session:
        yield session


async def measure_call(server: RedisServer) -> list[Row]:
    """A single call with an empty queue, beside one with the local limiter."""
    p95: list[float] = []
    async with Sandbox() as sandbox:
        activity_id = sandbox.submit()
        for each in (None, server):
            async with connect_real(sandbox, each) as session:
                await session.get_activity(activity_id)
                times = []
                for _ in range(60):
                    await asyncio.sleep(0.3)
                    began = time.perf_counter()
                    await session.get_activity(activity_id)
                    times.append(time.perf_counter() - began)
                p95.append(percentile(times, 0.95))
    more = (p95[1] - p95[0]) * 1_000
    return [Row("a single call, p95 over the local limiter", "+20 ms", f"{more:+.1f} ms", more <= 20.0)]


async def measure_idle(server: RedisServer) -> list[Row]:
    """Commands a second of 50 idle members, and their connections."""
    async with AsyncExitStack() as stack:
        for _ in range(50):
            fleet = RedisFleet(server.url)
            await stack.enter_async_context(ActivitySession("token", base_url="http://127.0.0.1:9", fleet=fleet))
        await asyncio.sleep(4.0)
        async with Redis.from_url(server.url) as client:
            before, began = (await client.info("commandstats"), time.perf_counter())
            await asyncio.sleep(10.0)
            after, seconds = (await client.info("commandstats"), time.perf_counter() - began)
            names = ("cmdstat_evalsha", "cmdstat_xread")  # of the others, scripts call each themselves
            calls = sum(
                after.get(name, {"calls": 0})["calls"] - before.get(name, {"calls": 0})["calls"] for name in names
            )
            connections = (len(await client.client_list()) - 1) / 50
    rate = calls / seconds
    return [
        Row("commands a second of 50 idle members", "110", f"{rate:.0f}", rate <= 110),
        Row("connections a session", "2", f"{connections:g}", connections <= 2),
    ]


async def measure_rate(server: RedisServer, *, seconds: float) -> list[Row]:
    """Eight processes that call as fast as they may."""
    with server.client() as client:
        client.flushall()
    async with Sandbox(latency=0.02) as sandbox:
        activity_id = sandbox.submit(Life(duration=1_000.0))
        code = (
            "import asyncio, sys\n"
            "from ccactivity import ActivitySession\n"
            "from ccactivity.fleet import RedisFleet\n"
            "async def main():\n"
            "  async with ActivitySession.from_env(base_url=sys.argv[1], fleet=RedisFleet(sys.argv[2])) as s:\n"
            "    async def ask():\n"
            "      while True: await s.get_activity(sys.argv[3])\n"
            "    watch = asyncio.create_task(s.wait(sys.argv[3], max_staleness=1.0))\n"
            "    await asyncio.gather(*[ask() for _ in range(3)])\n"
            "asyncio.run(main())\n"
        )
        environment = {**os.environ, "CCACTIVITY_ACCESS_TOKEN": sandbox.token, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", code, sandbox.base_url, server.url, activity_id]
        children = [await asyncio.create_subprocess_exec(*command, env=environment) for _ in range(8)]
        await asyncio.sleep(seconds)
        for child in children:
            child.send_signal(signal.SIGKILL)
            await child.wait()
        most, sent, refused = most_in_a_second(sandbox), len(sandbox.log), sandbox.violations.total
    return [
        Row(f"requests in any second, 8 processes, {seconds:g} s ({sent} in all)", "4", str(most), most <= 4),
        Row("refused by the vendor", "0", str(refused), refused == 0),
    ]


async def measure_replacement(server: RedisServer, *, rounds: int) -> list[Row]:
    """From a signal to the poller to the next request of anyone, whose every watch wants a look each second."""
    found: dict[str, list[float]] = {"kill -9": [], "close": [], "SIGSTOP": []}
    with server.client() as client:
        client.flushall()
    async with Sandbox(latency=0.02) as sandbox:
        ids = [sandbox.submit(Life(duration=10_000.0)) for _ in range(8)]
        environment = {**os.environ, "CCACTIVITY_ACCESS_TOKEN": sandbox.token, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, str(PROGRAM), sandbox.base_url, server.url, *ids]
        polls: dict[asyncio.subprocess.Process, bool] = {}

        async def listen(process: asyncio.subprocess.Process) -> None:
            assert process.stdout is not None
            async for line in process.stdout:
                polls[process] = line.strip() == b"polls"

        async def join() -> None:
            pipe = asyncio.subprocess.PIPE
            process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=-3, env=environment)
            polls[process] = False
            listeners.append(asyncio.create_task(listen(process)))

        listeners: list[asyncio.Task[None]] = []
        for _ in range(3):
            await join()
        for how, which in [("kill -9", signal.SIGKILL), ("close", signal.SIGINT), ("SIGSTOP", signal.SIGSTOP)] * rounds:
            await until(lambda: any(polls.values()))
            await asyncio.sleep(3.0)
            poller = next(process for process, does in polls.items() if does)
            asked, began = len(sandbox.log), time.perf_counter()
            poller.send_signal(which)
            await until(lambda: len(sandbox.log) > asked)  # noqa: B023 -- it is over before the next round
            found[how].append(time.perf_counter() - began)
            if which is signal.SIGSTOP:
                poller.kill()
            await poller.wait()
            del polls[poller]
            await join()
        for process in polls:
            process.kill()
            await process.wait()
        await asyncio.gather(*listeners)
    limits = {"kill -9": 5.0, "close": 0.3, "SIGSTOP": 5.0}
    return [
        Row(
            f"next request after {how} of the poller ({rounds} times)",
            f"{limits[how]:g} s",
            f"{max(times):.2f} s, median {statistics.median(times):.2f} s",
            max(times) <= limits[how],
        )
        for how, times in found.items()
    ]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20.0):
        while not holds():  # noqa: ASYNC110 -- what is waited for is in other processes
            await asyncio.sleep(0.002)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    quick: bool = parser.parse_args().quick
    program = find_server()
    if program is None:
        print("no server for the fleet was found")
        return 1
    logging.getLogger("ccactivity").setLevel(logging.ERROR)  # who is killed warns that its engine is away
    rows: list[Row] = []
    with run_server(program) as server:
        rows += asyncio.run(measure_rate(server, seconds=15.0 if quick else 60.0))
        rows += measure_economy(server, quick=quick)
        rows += asyncio.run(measure_replacement(server, rounds=1 if quick else 5))
        rows += asyncio.run(measure_call(server))
        rows += asyncio.run(measure_idle(server))
        rows += asyncio.run(measure_start(server))
    print("| what | target | measured | |\n|---|---|---|---|")
    for row in rows:
        print(f"| {row.what} | {row.target} | {row.measured} | {'' if row.met else 'NOT MET'} |")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
