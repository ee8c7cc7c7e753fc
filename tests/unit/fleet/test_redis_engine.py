"""When a server that has lost something gives permits again, each cause by itself: real scripts, a clock of our own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
from redis.asyncio import Redis
from support.fleet_engines import ClockedEngine
from support.redis_server import RedisServer

from ccactivity.fleet.engine import AcquireStatus, PermitRequest
from ccactivity.fleet.ledger import Limits
from ccactivity.fleet.redis_engine import Names

SECOND = 1_000_000
NOON = 20_000 * 86_400 * SECOND + 43_200 * SECOND

pytestmark = pytest.mark.real_time


@attrs.define
class Server:
    """A server with a clock and a run of its own."""

    client: Redis
    now: int = NOON
    run: int = 0
    tickets: itertools.count[int] = attrs.field(factory=itertools.count)

    def member(self) -> ClockedEngine:
        """Return an engine of a member that has seen nothing yet."""
        limits = Limits(4, 10_000, 500)
        return ClockedEngine(self.client, Names("k", "a"), limits, lambda: (self.now, f"run{self.run}"))

    async def grants(self, member: ClockedEngine) -> bool:
        """Whether a member gets a permit at once."""
        reply = await member.acquire(PermitRequest(f"f:{next(self.tickets)}", False, 0))
        return reply.status is AcquireStatus.GRANTED

    async def first_grant(self, member: ClockedEngine) -> float:
        """In how many seconds a member gets its first permit, to the hundredth, if it asks in each."""
        began, request = self.now, PermitRequest(f"f:{next(self.tickets)}", False, 0)
        while (await member.acquire(request)).status is not AcquireStatus.GRANTED:
            self.now += SECOND // 100
        return (self.now - began) / SECOND


@asynccontextmanager
async def server_of(engine: RedisServer) -> AsyncIterator[tuple[Server, ClockedEngine]]:
    """Give a server that has been open for long, and a member of it that has had four permits just now."""
    async with Redis.from_url(engine.url) as client:
        await client.flushall()
        server = Server(client)
        member = server.member()
        await member.beat(candidate=False, token=0, lease=3.0)
        server.now += 60 * SECOND
        for _ in range(4):
            assert await server.grants(member)
        yield server, member


async def test_permits_that_are_known_bar_others_for_as_long_as_the_window(engine: RedisServer) -> None:
    async with server_of(engine) as (server, _):
        assert 1.1 == await server.first_grant(server.member())


async def test_after_a_flush_nobody_gets_a_permit_for_a_second_and_a_half(engine: RedisServer) -> None:
    """Whoever comes first has seen nothing, and those who know of the permits say nothing before the gate opens."""
    async with server_of(engine) as (server, _):
        await server.client.flushall()

        assert 1.5 == await server.first_grant(server.member())


async def test_who_knows_more_of_the_day_shuts_the_gate_for_as_long_as_the_window(engine: RedisServer) -> None:
    """A server that has lost its last writes, and nothing else: its log has none of the permits that it gave."""
    async with server_of(engine) as (server, member):
        server.now += 60 * SECOND
        (key, *_) = Names("k", "a").quota
        before = await server.client.dump(key)
        assert before is not None
        for _ in range(4):
            assert await server.grants(member)
        await server.client.restore(key, 0, before, replace=True)
        await member.beat(candidate=False, token=0, lease=3.0)

        fresh = server.member()
        assert 1.1 == await server.first_grant(fresh)
        assert fresh.ledger.spent == 9  # with the one that it just got


async def test_another_run_of_the_server_shuts_the_gate_for_a_second_and_a_half(engine: RedisServer) -> None:
    """Its last writes may be missing, and nobody is there who knows."""
    async with server_of(engine) as (server, _):
        server.now += 60 * SECOND
        server.run += 1

        assert 1.5 == await server.first_grant(server.member())


async def test_a_clock_that_goes_back_shuts_the_gate_for_a_second_and_a_half(engine: RedisServer) -> None:
    """By less than a second, it stands still meanwhile, and the permits of the window are known."""
    async with server_of(engine) as (server, _):
        server.now -= 60 * SECOND
        assert 1.5 == await server.first_grant(server.member())

    async with server_of(engine) as (server, _):
        server.now -= SECOND // 2
        assert 1.6 == await server.first_grant(server.member())
