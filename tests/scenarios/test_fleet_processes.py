"""Real processes of one key over a real server, in real time: killed, stopped, and with a server that dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
from support.redis_server import RedisServer
from support.vendor import most_in_a_second

from ccactivity.sandbox import Life, Sandbox, Violations

PROGRAM = Path(__file__).parent.parent / "support" / "fleet_process.py"

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.real_time]


@attrs.define(eq=False)
class Child:
    """A process of the fleet. `ends`: those that it told; `polls`: whether it does; `over`: it was told all."""

    process: asyncio.subprocess.Process
    ends: list[str] = attrs.field(factory=list)
    polls: bool = False
    over: bool = False

    async def listen(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            match line.decode().split():
                case ["end", activity_id]:
                    self.ends.append(activity_id)
                case ["over", _]:
                    self.over = True
                case [word]:
                    self.polls = word == "polls"

    def send(self, which: signal.Signals) -> None:
        self.process.send_signal(which)
        self.polls = False


@attrs.define
class Fleet:
    sandbox: Sandbox
    children: list[Child]

    def poller(self) -> Child | None:
        return next((child for child in self.children if child.polls), None)

    async def until_polled(self) -> Child:
        await wait_for(lambda: self.poller() is not None, 15.0)
        child = self.poller()
        assert child is not None
        return child

    async def seconds_to_a_request(self) -> float:
        """How long it takes from now until somebody asks the vendor something."""
        asked, began = len(self.sandbox.log), asyncio.get_running_loop().time()
        await wait_for(lambda: len(self.sandbox.log) > asked, 15.0)
        return asyncio.get_running_loop().time() - began


async def wait_for(holds: Callable[[], bool], timeout: float) -> None:
    async with asyncio.timeout(timeout):
        while not holds():  # noqa: ASYNC110 -- what is waited for is in other processes
            await asyncio.sleep(0.01)


@asynccontextmanager
async def fleet_of(engine: RedisServer, size: int, lives: list[Life]) -> AsyncIterator[Fleet]:
    async with Sandbox(latency=0.02) as sandbox:
        ids = [sandbox.submit(life) for life in lives]
        environment = {**os.environ, "CCACTIVITY_ACCESS_TOKEN": sandbox.token}
        command = [sys.executable, str(PROGRAM), sandbox.base_url, engine.url, *ids]
        fleet = Fleet(sandbox, [])
        listeners = []
        try:
            for _ in range(size):
                pipe = asyncio.subprocess.PIPE
                process = await asyncio.create_subprocess_exec(*command, stdout=pipe, env=environment)
                fleet.children.append(Child(process))
                listeners.append(asyncio.create_task(fleet.children[-1].listen()))
            yield fleet
        finally:
            for child in fleet.children:
                if child.process.returncode is None:
                    child.process.kill()
                await child.process.wait()
            await asyncio.gather(*listeners)
    assert Violations() == sandbox.violations


def told(fleet: Fleet) -> list[tuple[int, int]]:
    """Of each process, how many ends it told, and of how many activities."""
    return [(len(child.ends), len({*child.ends})) for child in fleet.children]


def lives(shortest: float) -> list[Life]:
    return [Life(duration=shortest + number / 4) for number in range(12)]


async def test_a_killed_poller_is_replaced(engine: RedisServer) -> None:
    """Within five seconds somebody else asks; no end is lost to those who live, and none told twice."""
    async with fleet_of(engine, 4, lives(6.0)) as fleet:
        for _ in range(2):
            poller = await fleet.until_polled()
            await asyncio.sleep(2.0)
            poller.send(signal.SIGKILL)
            fleet.children.remove(poller)
            await poller.process.wait()

            assert await fleet.seconds_to_a_request() <= 5.0
        await wait_for(lambda: all(child.over for child in fleet.children), 30.0)

        assert 4 >= most_in_a_second(fleet.sandbox)
        assert [(12, 12)] * 2 == told(fleet)


async def test_a_stopped_poller_is_replaced_and_misses_nothing(engine: RedisServer) -> None:
    """Stopped for ten seconds, it sends nothing by its old right when it goes on, and is told what it missed."""
    async with fleet_of(engine, 3, lives(6.0)) as fleet:
        poller = await fleet.until_polled()
        await asyncio.sleep(2.0)
        poller.send(signal.SIGSTOP)
        assert await fleet.seconds_to_a_request() <= 5.0
        await asyncio.sleep(6.0)
        poller.send(signal.SIGCONT)
        await wait_for(lambda: all(child.over for child in fleet.children), 30.0)

        assert 4 >= most_in_a_second(fleet.sandbox)
        assert [(12, 12)] * 3 == told(fleet)


async def test_a_server_that_dies_and_comes_back_empty_is_told_all(engine: RedisServer) -> None:
    """While it is away nobody sends; then all goes on."""
    async with fleet_of(engine, 3, lives(8.0)) as fleet:
        await fleet.until_polled()
        await asyncio.sleep(3.0)
        engine.end()
        try:
            await asyncio.sleep(0.5)
            asked = len(fleet.sandbox.log)
            await asyncio.sleep(4.0)
            assert asked == len(fleet.sandbox.log)
        finally:
            engine.start()
        assert await fleet.seconds_to_a_request() <= 4.0
        await wait_for(lambda: all(child.over for child in fleet.children), 30.0)

        assert 4 >= most_in_a_second(fleet.sandbox)
        assert [(12, 12)] * 3 == told(fleet)
