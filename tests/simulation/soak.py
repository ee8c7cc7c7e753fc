"""Soak: 2,000 watches with churn, in real time, with faults on a third of the connections; what grows is a leak.

`python tests/simulation/soak.py --minutes N`. The vendor is a process of its own, because it keeps every import that
it has seen. Every ten seconds it prints memory, tasks and descriptors of the client; at the end it fails if memory
went on growing after the second minute, or if tasks or descriptors are left.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import aiohttp

import ccactivity as cc
from ccactivity import sandbox as sb

WATCHES = 2_000
WARM_UP_S = 120.0  # until everything has its size
MAX_GROWTH_MIB_PER_MINUTE = 1.0
EFFECTS = (sb.Reset(), sb.Reset(after=0.5), sb.server_error(503), sb.Cut(), sb.Disconnect(), sb.Delay(1.0))
BODY = {"import_data": [{"email": "ada@example.com"}], "list_ids": ["04fe9a00-a579-43c5-bb1a-58ed29bf0a6a"]}


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


async def serve() -> None:
    """Be the vendor, until the process is ended."""
    life = sb.Workload(lanes=WATCHES, median=120.0, sigma=0.8)
    async with sb.Sandbox(latency=0.02, per_second=None, per_day=None, workload=life) as sandbox:
        for where in ("list", "get"):
            for effect in EFFECTS:
                sandbox.faults.add(effect, where=where, probability=0.06)
        print(sandbox.base_url, sandbox.token, flush=True)
        while True:
            await asyncio.sleep(1)
            sandbox.log.clear()


@contextmanager
def vendor_process() -> Iterator[tuple[str, str]]:
    """Run a vendor, and give its base URL and its token."""
    with subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            base_url, token = process.stdout.readline().split()
            yield base_url, token
        finally:
            process.terminate()


async def submitted(http: aiohttp.ClientSession, url: str) -> str:
    """Submit an import, when the vendor's queue has a place for it, and return its id."""
    while True:
        async with http.post(url, json=BODY) as answer:
            if answer.status == 201:
                return str((await answer.json())["activity_id"])
        await asyncio.sleep(random.uniform(1, 5))


async def person(session: cc.ActivitySession, http: aiohttp.ClientSession, url: str) -> None:
    """Submit one import after the other and watch it, now and then leaving early."""
    while True:
        job, over = await submitted(http, url), False
        while not over:
            with suppress(TimeoutError):
                async with asyncio.timeout(random.choice([3, 30, 300])):
                    async for snapshot in session.watch(job, max_staleness=random.choice([None, 30])):
                        over = snapshot.done
                        if random.random() < 0.1:
                            break


async def soak(minutes: float) -> bool:
    """Run, and say whether anything grew."""
    before = descriptors()
    with vendor_process() as (base_url, token):
        samples, watching = await busy(base_url, token, minutes)
    await asyncio.sleep(0.1)
    left, more = len(asyncio.all_tasks()) - 1, descriptors() - before
    grown = slope([sample for sample in samples if sample[0] >= WARM_UP_S])
    print(f"{grown:+.2f} MiB a minute, {left} tasks, {more} descriptors, {watching} watches left")
    return grown < MAX_GROWTH_MIB_PER_MINUTE and left == 0 and more <= 1 and watching == 0


async def busy(base_url: str, token: str, minutes: float) -> tuple[list[tuple[float, float]], int]:
    """Keep 2,000 people watching; return when and how much memory there was, and how many watches are left."""
    samples: list[tuple[float, float]] = []
    began, url = time.monotonic(), f"{base_url}/activities/contacts_json_import"
    session = cc.ActivitySession(
        token,
        base_url=base_url,
        quota=cc.Quota(per_second=40, per_day=10**7),
        pacing=cc.Pacing(price=0.1),
        timeout=5.0,
    )
    async with session, aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as http:
        people = [asyncio.create_task(person(session, http, url)) for _ in range(WATCHES)]
        while (passed := time.monotonic() - began) < minutes * 60:
            await asyncio.sleep(10)
            gc.collect()
            samples.append((passed, memory()))
            finished, requests = session.stats.finished, sum(session.stats.requests.values())
            print(
                f"{passed:5.0f} s  {samples[-1][1]:6.1f} MiB  {len(asyncio.all_tasks())} tasks  "
                f"{descriptors()} descriptors  {requests} requests  {finished} ended",
                flush=True,
            )
        for task in people:
            task.cancel()
        died = [one for one in await asyncio.gather(*people, return_exceptions=True) if isinstance(one, Exception)]
        assert not died, died[0]
        return samples, session.stats.watching


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Watch 2,000 imports with churn and faults in real time.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(serve())
    return 0 if asyncio.run(soak(arguments.minutes)) else 1


if __name__ == "__main__":
    sys.exit(main())
