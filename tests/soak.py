"""Soak: 2,000 watches with churn, in real time, with faults on a third of the connections; what grows is a leak.

`python tests/soak.py --minutes N`. Every ten seconds it prints memory, tasks and descriptors; at the end it fails if
memory went on growing after the first third, or tasks or descriptors were left.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import sys
import time
from contextlib import suppress
from pathlib import Path

import ccactivity as cc
from ccactivity import sandbox as sb

WATCHES = 2_000
SLOPE = 8.0  # MiB a minute: the sandbox keeps every import that it has seen


def memory() -> float:
    """MiB that the process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


def descriptors() -> int:
    """How many files and sockets are open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def slope(samples: list[tuple[float, float]]) -> float:
    """MiB a minute, by least squares."""
    if len(samples) < 2:
        return 0.0
    middle = sum(when for when, _ in samples) / len(samples)
    mean = sum(size for _, size in samples) / len(samples)
    spread = sum((when - middle) ** 2 for when, _ in samples)
    return 60 * sum((when - middle) * (size - mean) for when, size in samples) / spread


async def person(session: cc.ActivitySession, sandbox: sb.Sandbox, ended: list[str]) -> None:
    """Watch one import after the other, now and then leaving early."""
    while True:
        job = sandbox.submit(sb.Life(duration=random.uniform(20, 400), update_every=5))
        over = False
        while not over:
            with suppress(TimeoutError):
                async with asyncio.timeout(random.choice([3, 30, 300])):
                    async for snapshot in session.watch(job, max_staleness=random.choice([None, 30])):
                        over = snapshot.done
                        if random.random() < 0.1:
                            break
        ended.append(job)
        del ended[:-1000]
        del sandbox.log[:-1000]


async def soak(minutes: float) -> bool:
    """Run, and say whether anything grew."""
    before = descriptors()
    samples: list[tuple[float, float]] = []
    began = time.monotonic()
    async with sb.Sandbox(latency=0.02, per_second=None, per_day=None, workload=sb.Workload(lanes=WATCHES)) as sandbox:
        for effect in (sb.Reset(), sb.Reset(after=0.5), sb.server_error(503), sb.Cut(), sb.Disconnect(), sb.Delay(1.0)):
            sandbox.faults.add(effect, probability=0.06)
        async with cc.ActivitySession(
            sandbox.token, base_url=sandbox.base_url, quota=cc.Quota(per_second=40, per_day=10**7), timeout=5.0
        ) as session:
            ended: list[str] = []
            people = [asyncio.create_task(person(session, sandbox, ended)) for _ in range(WATCHES)]
            while (passed := time.monotonic() - began) < minutes * 60:
                await asyncio.sleep(10)
                gc.collect()
                size, tasks = memory(), len(asyncio.all_tasks())
                samples.append((passed, size))
                finished, requests = session.stats.finished, sum(session.stats.requests.values())
                print(
                    f"{passed:5.0f} s  {size:6.1f} MiB  {tasks} tasks  {descriptors()} descriptors  "
                    f"{requests} requests  {finished} ended",
                    flush=True,
                )
            for task in people:
                task.cancel()
            await asyncio.gather(*people, return_exceptions=True)
            watching = session.stats.watching
    await asyncio.sleep(0.1)
    left = len(asyncio.all_tasks()) - 1
    grown = slope(samples[len(samples) // 3 :])
    print(f"{grown:+.2f} MiB a minute, {left} tasks, {descriptors() - before} descriptors, {watching} watches left")
    return grown < SLOPE and left == 0 and descriptors() <= before + 1 and watching == 0


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Watch 2,000 imports with churn and faults in real time.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    return 0 if asyncio.run(soak(parser.parse_args().minutes)) else 1


if __name__ == "__main__":
    sys.exit(main())
