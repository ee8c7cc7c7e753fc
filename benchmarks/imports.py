"""Measures imports of files against their targets, and prints a table: a part of `nox -s imports`; `--quick` for less.

Requests and deaths are counted on a virtual loop, against the sandbox. For memory and for SIGKILL there are real
processes; those that are measured send to a server that takes everything and keeps nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import attrs
from aiohttp import web

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support import import_process  # noqa: E402 -- as are all below: they are found there
from support.imports import LISTS, ROWS_OF_A_PART, STEADY, contacts, imported  # noqa: E402
from support.vendor import connect  # noqa: E402

from ccactivity._clock import utc_now  # noqa: E402
from ccactivity.sandbox import Fault, Logged, Sandbox, Workload, lost_request  # noqa: E402
from ccactivity.testing import run  # noqa: E402

QUICK = Workload(
    median=0.5,
    sigma=0.2,
    delay=(0.0, 0.1),
    failed_share=0.0,
    cancelled_share=0.0,
    timed_out_share=0.0,
)
ROW = b"reader%08d@example.com,Ada,Lovelace,Analytical Engines Limited,12 St James's Square,London\n"
HEADER = b"email,first_name,last_name,company_name,street,city\n"
THREE_PARTS = 3 * ROWS_OF_A_PART


@attrs.frozen
class Row:
    """One line of the table. `met`: whether the target was."""

    what: str
    target: str
    measured: str
    met: bool


# --- requests ---------------------------------------------------------------------------------------------------------


async def count_requests(seed: int, job_s: float) -> tuple[int, int]:
    """Import 400,000 rows, with jobs that take about so long; return the parts, and how many requests watched them."""
    source = b"email\n" + b"".join(b"%d@a.io\n" % number for number in range(400_000))
    async with (
        Sandbox(latency=0.06, workload=attrs.evolve(STEADY, median=job_s), seed=seed) as sandbox,
        connect(sandbox) as session,
    ):
        result = await session.import_file(source, list_ids=LISTS)
        parts = len(result.activities)
        return parts, sandbox.requests.total() - parts


def measure_requests(*, quick: bool) -> list[Row]:
    rows = []
    for job_s, words in ((20.0, "20 s"), (300.0, "5 minutes")):
        counts = [run(count_requests(seed, job_s)) for seed in range(1 if quick else 5)]
        parts, most = counts[0][0], max(others for _, others in counts)
        what = f"requests for 400,000 rows in {parts} parts, jobs of {words}"
        rows.append(Row(what, "parts + 25", f"parts + {most}", most <= 25))
    return rows


# --- deaths -----------------------------------------------------------------------------------------------------------


async def die_and_go_on(folder: Path, at: int, *, lost: bool, torn: bytes) -> Counter[int] | None:
    """Die at a request and go on; return how many rows were imported how often. None if the import had ended before.

    `lost`: the POSTs of the first life do not arrive. `torn`: what was written of the next line of the journal.
    """
    journal = folder / f"{at}-{lost}-{len(torn)}.journal"
    task: asyncio.Task[object] | None = None
    seen = 0

    def on_request(_: Logged) -> None:
        nonlocal seen
        seen += 1
        if seen == at and task is not None:
            task.cancel()

    async with Sandbox(latency=0.06, workload=STEADY, on_request=on_request) as sandbox:
        if lost:
            sandbox.faults.add(Fault(lost_request(), where="post"))
        async with connect(sandbox) as session:
            importing = session.import_file(contacts(THREE_PARTS), list_ids=LISTS, parts_at_once=2, journal=journal)
            task = asyncio.ensure_future(importing)
            await asyncio.wait([task])
        if not task.cancelled():
            return None
        sandbox.faults.clear()
        with journal.open("ab") as file:
            file.write(torn)
        async with connect(sandbox) as session:
            await session.import_file(contacts(THREE_PARTS), list_ids=LISTS, parts_at_once=2, journal=journal)
            times = await imported(sandbox, session)
    return Counter({0: THREE_PARTS - len(times)}) + Counter(times.values())


def measure_deaths(folder: Path, *, quick: bool) -> list[Row]:
    times: Counter[int] = Counter()
    deaths = 0
    line = b'{"part": 3, "activity_id": "04fe9a97-a579-43c5-bb1a-58ed29bf0a6a"}\n'
    for lost in (False, True):
        for length in (0, 40) if quick else range(0, len(line), 5):
            at = 1
            while (found := run(die_and_go_on(folder, at, lost=lost, torn=line[:length]))) is not None:
                times += found
                deaths += 1
                at += 1
                if lost and at > 2:  # of the first life nothing arrives, so that its later requests are all the same
                    break
    twice, never = sum(count for often, count in times.items() if often > 1), times[0]
    return [Row(f"rows imported twice; never, over {deaths} deaths", "0; 0", f"{twice}; {never}", not (twice or never))]


@attrs.define
class Killer:
    """Kills a process when the vendor has got so many requests."""

    left: int
    process: asyncio.subprocess.Process | None = None

    def __call__(self, _: Logged) -> None:
        self.left -= 1
        if self.left == 0 and self.process is not None:
            self.process.kill()


async def kill_processes(folder: Path, points: int) -> list[Row]:
    """Kill a real process at its first, second... request, and let another one go on."""
    path = folder / "contacts.csv"
    path.write_bytes(contacts(THREE_PARTS))
    wrong = 0
    for at in range(1, points + 1):
        killer = Killer(at)

        async with Sandbox(workload=QUICK, on_request=killer, per_second=None) as sandbox:
            words = [import_process.__file__, str(path), LISTS[0], str(folder / f"{at}.kill")]
            env = {**os.environ, **sandbox.env, "PYTHONPATH": str(ROOT)}
            killer.process = await asyncio.create_subprocess_exec(sys.executable, *words, env=env)
            assert await killer.process.wait() < 0
            process = await asyncio.create_subprocess_exec(sys.executable, *words, env=env, stdout=-1)
            out, _ = await process.communicate()
            async with connect(sandbox, now=utc_now) as session:
                times = await imported(sandbox, session)
            wrong += not out.startswith(b"%d 0 0 " % THREE_PARTS)
            wrong += sum(often != 1 for often in times.values()) + THREE_PARTS - len(times)
    return [Row(f"rows wrong after SIGKILL of {points} processes", "0", str(wrong), not wrong)]


# --- memory -----------------------------------------------------------------------------------------------------------


class Swallowing:
    """A vendor that takes every file and keeps none; each import has ended when its POST is answered."""

    def __init__(self) -> None:
        self.received = 0
        self._imports = 0

    async def create(self, request: web.Request) -> web.Response:
        async for chunk in request.content.iter_chunked(1 << 16):
            self.received += len(chunk)
        self._imports += 1
        return web.json_response({"activity_id": str(uuid.UUID(int=self._imports)), "state": "completed"}, status=201)


async def measure_memory(folder: Path, *, megabytes: int) -> list[Row]:
    path = folder / "large.csv"
    block = 10_000
    with path.open("wb") as file:
        file.write(HEADER)
        number = 0
        while file.tell() < megabytes * 1_000_000:
            file.write(b"".join(ROW % each for each in range(number, number + block)))
            number += block
    vendor = Swallowing()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/v3/activities/contacts_file_import", vendor.create)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        env = {
            **os.environ,
            "CCACTIVITY_ACCESS_TOKEN": "token",
            "CCACTIVITY_BASE_URL": f"http://127.0.0.1:{runner.addresses[0][1]}/v3",
            "PYTHONPATH": str(ROOT),
        }
        began = time.monotonic()
        words = [import_process.__file__, str(path), LISTS[0], str(folder / "large.journal")]
        process = await asyncio.create_subprocess_exec(sys.executable, *words, env=env, stdout=-1)
        out, _ = await process.communicate()
        seconds = time.monotonic() - began
    finally:
        await runner.cleanup()
    rows, _, lost, peak = out.split()[:4]
    assert (int(rows), int(lost)) == (number, 0)
    assert vendor.received > path.stat().st_size
    what = f"peak memory of importing {megabytes:,} MB ({number:,} rows, {seconds:.0f} s)"
    return [Row(what, "60 MB", f"{float(peak):.0f} MB", float(peak) < 60)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the work")
    parser.add_argument("--only", choices=["requests", "deaths", "kills", "memory"])
    options = parser.parse_args()
    quick = options.quick
    logging.disable(logging.WARNING)  # which tell of each death
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measures: dict[str, Callable[[], list[Row]]] = {
            "memory": lambda: asyncio.run(measure_memory(folder, megabytes=100 if quick else 1_000)),
            "requests": lambda: measure_requests(quick=quick),
            "deaths": lambda: measure_deaths(folder, quick=quick),
            "kills": lambda: asyncio.run(kill_processes(folder, 2 if quick else 7)),
        }
        rows = [row for part, measure in measures.items() if options.only in (None, part) for row in measure()]
    width = max(len(row.what) for row in rows)
    print(f"{'':{width}}  {'target':>12}  {'measured':>14}")
    for row in rows:
        print(f"{row.what:{width}}  {row.target:>12}  {row.measured:>14}  {'' if row.met else 'MISSED'}".rstrip())
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
