"""Engines of the fleet with a clock that a test moves: the same scripts, but for the two lines that ask the server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import attrs
from redis.asyncio import Redis

from ccactivity._tasks import wait_until_set
from ccactivity.fleet import RedisFleet
from ccactivity.fleet.engine import EngineError
from ccactivity.fleet.ledger import Ledger, Limits
from ccactivity.fleet.redis_engine import Names, RedisEngine
from ccactivity.fleet.scripts import read_script

from .virtual_time import virtual_loop

_CLOCK = "local function clock() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end"
_RUN = "local function server_run() return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or '' end"
_OURS = {
    _CLOCK: "local function clock() return tonumber(ARGV[#ARGV - 1]) end",
    _RUN: "local function server_run() return ARGV[#ARGV] end",
}

Spoil = Callable[[str], str]


def with_given_clock(text: str) -> str:
    """Return a script that reads clock and run from its last two arguments."""
    for theirs, ours in _OURS.items():
        assert text.count(theirs) <= 1
        text = text.replace(theirs, ours)
    return text


class ClockedEngine(RedisEngine):
    """An engine whose server has the clock and the run that `clock` returns; `spoil` changes its scripts."""

    def __init__(
        self,
        server: Redis,
        names: Names,
        limits: Limits,
        clock: Callable[[], tuple[int, str]],
        *,
        spent: float = 0,
        spoil: Spoil = str,
    ) -> None:
        super().__init__(lambda: server, names, Ledger(limits, spent=spent), own=False)
        self._clock = clock
        self._spoil = spoil
        self._known_server = True

    def _read_script(self, name: str) -> str:
        return with_given_clock(self._spoil(read_script(name)))

    def _arguments(self, arguments: Sequence[Any]) -> list[Any]:
        return [*arguments, *self._clock()]


class VirtualFleet(RedisFleet):
    """A fleet of sessions in one virtual loop: its server has the loop's wall clock, and time stands while it works."""

    def __init__(self, world: VirtualServer, **options: Any) -> None:
        super().__init__(world.url, **options)
        self._world = world
        self.engine: VirtualEngine | None = None

    def _make_engine(self, ledger: Ledger) -> VirtualEngine:
        self.engine = VirtualEngine(self._world, self._connect, self._names, ledger)
        return self.engine


@attrs.define(eq=False)
class VirtualServer:
    """What the engines of one virtual loop share.

    `away`: it gives no answer. `latency`: seconds to one. `run`: to be changed as by a restart. `commands`: how many it
    has answered. `turn`: one answer at a time, or their order would be the kernel's.
    """

    url: str
    away: bool = False
    run: int = 0
    latency: float = 0.0
    commands: int = 0
    written: asyncio.Event = attrs.field(factory=asyncio.Event)
    turn: asyncio.Lock = attrs.field(factory=asyncio.Lock)


class VirtualEngine(RedisEngine):
    """An engine on a virtual loop: the time that its server takes does not pass. `killed`: it is asked no more."""

    def __init__(self, world: VirtualServer, connect: Callable[[], Redis], names: Names, ledger: Ledger) -> None:
        super().__init__(connect, names, ledger)
        self._world = world
        self.killed = False

    def _read_script(self, name: str) -> str:
        return with_given_clock(read_script(name))

    def _arguments(self, arguments: Sequence[Any]) -> list[Any]:
        return [*arguments, round(virtual_loop().utc_now().timestamp() * 1e6), f"run{self._world.run}"]

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        await self._reach()
        await asyncio.sleep(self._world.latency)
        async with self._world.turn:
            with virtual_loop().hold():
                answer = await super()._ask(question)
            self._answered()
        self._world.commands += 1
        self._world.written.set()
        self._world.written = asyncio.Event()
        return answer

    def _answered(self) -> None:
        """The server has answered, and the next call has not begun."""

    async def _read_news(self, mark: str) -> Any:
        written = self._world.written
        await self._reach()
        (key,) = self.names.of_account("news")
        for _ in range(2):
            async with self._world.turn:
                with virtual_loop().hold():
                    reply = await self._server.xread({key: mark}, count=500)
            if reply:
                return reply
            await wait_until_set(written, 1.0)
            await self._reach()
        return []

    async def _reach(self) -> None:
        if self._world.away or self.killed:
            await asyncio.sleep(0.001)
            raise EngineError("the server is away")
