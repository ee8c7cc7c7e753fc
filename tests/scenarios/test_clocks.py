"""Clocks that are set, and machines that sleep: no burst, and ends are known as soon."""

from __future__ import annotations

import asyncio

import pytest
from support.vendor import VendorFactory, most_in_a_second, seconds_since_end
from support.virtual_time import virtual_loop

from ccactivity import sandbox as sb
from ccactivity.testing import VirtualTimeLoop

HOUR = 3600.0


@pytest.mark.parametrize("step", [HOUR, -HOUR, 8 * HOUR, -8 * HOUR, 13 * HOUR])
async def test_a_clock_that_is_set_changes_nothing(vendor: VendorFactory, step: float) -> None:
    """Nor does it cause a burst: a watch asks as often as before, and sees the end as soon."""
    loop = virtual_loop()
    async with vendor() as (sandbox, session):
        job = sandbox.submit(sb.Life(duration=600))
        loop.call_later(200, loop.step_utc, step)
        await session.wait(job, max_staleness=30)

        assert seconds_since_end(sandbox, job) < 31
        times = [line.time for line in sandbox.log]
        assert len([when for when in times if 199 < when < 202]) <= 1
        assert len(times) < 60


class Suspended(VirtualTimeLoop):
    """A loop whose clock has gone on when the machine wakes up."""

    slept = 0.0

    def time(self) -> float:
        return super().time() + self.slept

    def suspend(self, seconds: float) -> None:
        self.slept += seconds


def test_no_burst_follows_a_suspension(vendor: VendorFactory) -> None:
    """After eight hours of sleep a handful of requests tells how everything stands; the limits hold all the while."""

    async def night() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Suspended)
        async with vendor() as (sandbox, session):
            ids = [sandbox.submit(sb.Life(duration=600 if number % 2 else 40_000)) for number in range(6)]
            watching = [asyncio.create_task(session.wait(some, max_staleness=60)) for some in ids]
            await asyncio.sleep(300)
            woken = sandbox.now + 8 * HOUR
            loop.suspend(8 * HOUR)
            await asyncio.sleep(10)
            late = [line.time for line in sandbox.log if line.time >= woken]

            assert 1 <= len(late) <= 10
            assert 3 == sum(task.done() for task in watching)
            assert all([(await task).succeeded for task in watching])
            assert most_in_a_second(sandbox) <= 4

    with asyncio.Runner(loop_factory=Suspended) as runner:
        runner.run(night())
