"""Tests of code that watches imports: offline, and in virtual time; an hour takes milliseconds.

    pip install ccactivity pytest
    pytest test_my_import.py

The package brings pytest the fixture `ccactivity_sandbox`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ccactivity import ActivityFailedError, ActivitySession, Pacing
from ccactivity.sandbox import Fault, Life, Sandbox, quota_exceeded, server_error
from ccactivity.testing import run, utc_now


async def import_is_good(session: ActivitySession, activity_id: str) -> bool:
    """The code under test: whether an import has completed, with every row."""
    try:
        activity = await session.wait(activity_id)
    except ActivityFailedError:
        return False
    return not activity.partial


@asynccontextmanager
async def simulated_vendor() -> AsyncIterator[tuple[Sandbox, ActivitySession]]:
    """A sandbox, and a session that talks to it; at the end no rule of the vendor's was broken."""
    async with (
        Sandbox() as vendor,
        # `now`: the time of day is virtual, too.
        ActivitySession(vendor.token, base_url=vendor.base_url, now=utc_now) as session,
    ):
        yield vendor, session
        assert vendor.violations.total == 0, vendor.violations


def test_an_import_that_fails_after_two_hours() -> None:
    async def main() -> None:
        async with simulated_vendor() as (vendor, session):
            activity_id = vendor.submit(Life(duration=7200, end="failed"))

            assert not await import_is_good(session, activity_id)
            assert asyncio.get_running_loop().time() > 7200

    run(main())  # as asyncio.run, but on a clock that jumps to whatever happens next


def test_an_import_with_refused_rows() -> None:
    async def main() -> None:
        async with simulated_vendor() as (vendor, session):
            activity_id = vendor.submit(Life(error_count=3), rows=100)

            assert not await import_is_good(session, activity_id)

    run(main())


def test_an_outage_of_half_an_hour() -> None:
    async def main() -> None:
        async with simulated_vendor() as (vendor, session):
            outage = vendor.faults.add(Fault(server_error(503), after=60, until=1860))
            activity_id = vendor.submit(Life(duration=600))

            assert await import_is_good(session, activity_id)
            assert outage.hits > 0

    run(main())


def test_the_requests_of_the_day_are_spent() -> None:
    async def main() -> None:
        async with simulated_vendor() as (vendor, session):
            vendor.faults.add(quota_exceeded(), where="get", times=1)
            activity_id = vendor.submit(Life(duration=600))

            assert await import_is_good(session, activity_id)
            assert vendor.wall.day == vendor.vendor.start.day + 1

    run(main())


def test_in_real_time(ccactivity_sandbox: Sandbox) -> None:
    """The fixture is a sandbox in a thread, for code of any kind."""

    async def main() -> None:
        url, token = ccactivity_sandbox.base_url, ccactivity_sandbox.token
        eager = Pacing(price=0.01)  # a look each second, however many requests that costs
        async with ActivitySession(token, base_url=url, pacing=eager) as session:
            assert await import_is_good(session, ccactivity_sandbox.submit(Life(duration=0.5)))

    asyncio.run(main())
