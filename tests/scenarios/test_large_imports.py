"""Imports of many parts: what watching them costs, several at once, and as parts of a fleet."""

from __future__ import annotations

import asyncio

from support.fleet_engines import VirtualFleet, VirtualServer
from support.imports import LISTS, ROWS_OF_A_PART, STEADY, contacts
from support.redis_server import RedisServer
from support.vendor import VendorFactory, connect, most_in_a_second

from ccactivity import ActivitySession
from ccactivity import sandbox as sb

PARTS = 6
FILE = contacts(PARTS * ROWS_OF_A_PART)


def asked(sandbox: sb.Sandbox) -> int:
    """The requests for watching."""
    return sandbox.requests["list"] + sandbox.requests["get"]


async def import_files(*sessions: ActivitySession) -> None:
    for result in await asyncio.gather(*(session.import_file(FILE, list_ids=LISTS) for session in sessions)):
        assert (PARTS * ROWS_OF_A_PART, 0, 0) == (result.rows, result.refused, result.lost)


async def test_imports_at_the_same_time_share_what_is_asked(vendor: VendorFactory) -> None:
    """Two requests for each of six, where one alone takes twice as many."""
    async with vendor(workload=STEADY) as (sandbox, session):
        await import_files(session)
        alone = asked(sandbox)
        await import_files(*[session] * 6)

        assert 4 <= alone
        assert asked(sandbox) - alone <= 2 * 6 + 2
        assert (0, 7 * PARTS) == (session.stats.watching, session.stats.finished)


async def test_imports_in_a_fleet_are_watched_by_its_poller(engine: RedisServer) -> None:
    """Whichever process it is in, an import ends."""
    async with sb.Sandbox(latency=0.06, workload=STEADY) as sandbox:
        server = VirtualServer(engine.url)
        async with (
            connect(sandbox, fleet=VirtualFleet(server)) as first,
            connect(sandbox, fleet=VirtualFleet(server)) as second,
        ):
            async with asyncio.timeout(600.0):
                await import_files(first, second)
        assert most_in_a_second(sandbox) <= 4
        assert 0 == sandbox.violations.total
