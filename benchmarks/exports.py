"""What saving an export costs, beside aiohttp and a plain write; prints a Markdown table: `nox -s imports`.

The vendor is a sandbox in a process of its own, which sends 300 MB. Contenders take turns, and the best round of each
counts, so that what else the machine does hits them alike. Memory is that of a child process, whole and without what
the interpreter, the imports and an open session take. `--quick` sends a tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import attrs

from ccactivity import Activity, ActivitySession, Quota
from ccactivity.sandbox import Drip, Framing, Life, Sandbox, Workload
from ccactivity.sandbox.exports import csv_length
from ccactivity.testing import run, utc_now

MB = 1_000_000
ROWS = 300 * MB * 1_000 // csv_length(1_000)
ROUNDS = 9
WATCHES = 1_000
SEEDS = 5
HEARTBEAT_S = 0.005
UNLIMITED: dict[str, Any] = {"per_second": None, "per_day": None}


@attrs.frozen
class Row:
    """One line of the table. `met`: whether the target was, None without one."""

    what: str
    target: str
    measured: str
    met: bool | None = None


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


# --- the vendor, in a process of its own ------------------------------------------------------------------------------


def serve(rows: int) -> None:
    """Serve an export until stdin is closed."""
    with Sandbox(**UNLIMITED) as sandbox:
        activity_id = sandbox.submit(Life(duration=0.001), kind="contact_exports", rows=rows)
        print(json.dumps([sandbox.base_url, sandbox.token, activity_id]), flush=True)
        sys.stdin.read()


@contextmanager
def a_vendor(rows: int) -> Iterator[tuple[str, str, str]]:
    """The base URL, the token and the id of an export of a vendor in a child process."""
    command = [sys.executable, __file__, "--serve", str(rows)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        base_url, token, activity_id = json.loads(process.stdout.readline())
        yield base_url, token, activity_id


@asynccontextmanager
async def opened(vendor: tuple[str, str, str]) -> AsyncIterator[tuple[ActivitySession, Activity]]:
    base_url, token, activity_id = vendor
    async with ActivitySession(token, base_url=base_url, quota=Quota.unlimited()) as session:
        yield session, await session.wait(activity_id)


# --- speed ------------------------------------------------------------------------------------------------------------


async def plain(vendor: tuple[str, str, str], activity: Activity, path: Path, *, fsync: bool) -> None:
    """Read with aiohttp, write each chunk as it comes; know nothing of the end."""
    base_url, token, _ = vendor
    url = base_url.removesuffix("/v3") + str(activity.results_url)
    async with aiohttp.ClientSession() as http, http.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
        with path.open("wb") as file:
            async for chunk in response.content.iter_any():
                file.write(chunk)
            if fsync:
                file.flush()
                os.fsync(file.fileno())


async def measure_speed(vendor: tuple[str, str, str], folder: Path, size: int) -> list[Row]:
    """Megabytes a second of each contender, by turns."""
    path = folder / "speed.csv"
    took: dict[str, list[float]] = {}
    spent: dict[str, list[float]] = {}
    async with opened(vendor) as (session, activity):
        contenders: dict[str, Callable[[], Awaitable[Any]]] = {
            "plain": lambda: plain(vendor, activity, path, fsync=False),
            "plain, fsync": lambda: plain(vendor, activity, path, fsync=True),
            "ours": lambda: session.save_export(activity, path, overwrite=True),
        }
        for _ in range(ROUNDS):
            for name, work in contenders.items():
                began, worked = time.perf_counter(), time.process_time()
                await work()
                took.setdefault(name, []).append(time.perf_counter() - began)
                spent.setdefault(name, []).append(time.process_time() - worked)
                path.unlink()
    speed = {name: size / MB / min(times) for name, times in took.items()}
    cpu = {name: min(times) for name, times in spent.items()}
    share = speed["ours"] / speed["plain, fsync"]
    lazy = speed["ours"] / speed["plain"]
    return [
        Row(
            f"saving {size / MB:,.0f} MB against aiohttp, write and fsync",
            "≥ 0.8",
            f"{share:.2f} ({speed['ours']:,.0f} of {speed['plain, fsync']:,.0f} MB/s)",
            share >= 0.8,
        ),
        Row("the same against aiohttp and write alone", "-", f"{lazy:.2f} (of {speed['plain']:,.0f} MB/s)"),
        Row(
            "CPU of it, of which a third counts the records",
            "-",
            f"{cpu['ours']:.2f} s, plain {cpu['plain, fsync']:.2f} s",
        ),
    ]


# --- memory -----------------------------------------------------------------------------------------------------------


async def save_once(vendor: tuple[str, str, str], path: Path) -> None:
    """Print the peak memory in MB: of a session that is open, and of one that saves a file (Linux only)."""
    async with opened(vendor) as (session, activity):
        before = peak_memory(anew=True)
        await session.save_export(activity, path)
        print(json.dumps([before, peak_memory()]))


def peak_memory(*, anew: bool = False) -> float:
    """The most that this process has had in memory, in MB. `anew`: forget what was before, such as the imports."""
    if anew:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / MB


def measure_memory(vendor: tuple[str, str, str], folder: Path, size: int) -> list[Row]:
    command = [sys.executable, __file__, "--save", json.dumps(vendor), str(folder / "memory.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    before, after = json.loads(done.stdout)
    (folder / "memory.csv").unlink()
    return [
        Row(
            f"peak memory of saving {size / MB:,.0f} MB, above that of an open session",
            "< 20 MB",
            f"{after - before:.1f} MB",
            after - before < 20,
        ),
        Row("the same with the interpreter and the imports", "-", f"{after:.0f} MB"),
    ]


# --- what others feel -------------------------------------------------------------------------------------------------


async def lags(*, seed: int, saving: bool, rows: int) -> list[float]:
    """The lag of each of many watches, in virtual time, with an export that drips in all the while, or without."""
    seen: list[float] = []
    lives = Workload(median=120.0, longest=600.0, lanes=WATCHES)
    async with Sandbox(seed=seed, workload=lives, latency=0.1) as sandbox:
        session = ActivitySession(sandbox.token, base_url=sandbox.base_url, now=utc_now)
        async with session:
            export = sandbox.submit(Life(duration=1.0), kind="contact_exports", rows=rows)
            await asyncio.sleep(1.0)
            activity = await session.get_activity(export)
            ids = [sandbox.submit() for _ in range(WATCHES)]
            sandbox.faults.add(Drip(pause=2.0, size=csv_length(rows) // 400), where="export")
            with tempfile.TemporaryDirectory() as folder:
                task = asyncio.create_task(session.save_export(activity, Path(folder, "a"))) if saving else None
                async for snapshot in session.watch_many(ids):
                    if snapshot.done:
                        truth = sandbox.truth(snapshot.activity_id)
                        assert truth is not None
                        seen.append(asyncio.get_running_loop().time() - truth.ended_at)
                if task is not None:
                    await task
    assert sandbox.requests["export"] == saving
    return seen


def measure_lag(*, quick: bool) -> Row:
    rows = ROWS // 100 if quick else ROWS // 10
    alone, beside = (
        percentile([lag for seed in range(SEEDS) for lag in run(lags(seed=seed, saving=saving, rows=rows))], 0.95)
        for saving in (False, True)
    )
    change = beside / alone - 1
    return Row(
        f"p95 lag of {WATCHES:,} watches while a file drips in (virtual time, {SEEDS} runs)",
        "± 10 %",
        f"{beside:.2f} s, without it {alone:.2f} s ({change:+.1%})",
        abs(change) <= 0.1,
    )


async def stalls(work: Callable[[], Awaitable[Any]] | None, seconds: float) -> list[float]:
    """How much later than it should a timer comes, in seconds, while `work` is done again and again."""
    late: list[float] = []

    async def repeat() -> None:
        while work is not None:
            await work()

    task = asyncio.create_task(repeat())
    give_up = time.perf_counter() + seconds
    while time.perf_counter() < give_up:
        began = time.perf_counter()
        await asyncio.sleep(HEARTBEAT_S)
        late.append(time.perf_counter() - began - HEARTBEAT_S)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return late


async def measure_stalls(vendor: tuple[str, str, str], folder: Path, *, quick: bool) -> Row:
    """How long the event loop makes others wait, in real time."""
    path, seconds = folder / "stalls.csv", 2.0 if quick else 10.0
    async with opened(vendor) as (session, activity):
        ours = await stalls(lambda: session.save_export(activity, path, overwrite=True), seconds)
        raw = await stalls(lambda: plain(vendor, activity, path, fsync=True), seconds)
        idle = await stalls(None, seconds / 2)
    told = [f"{percentile(late, 0.95) * 1000:.1f} / {max(late) * 1000:.0f} ms" for late in (ours, raw, idle)]
    return Row("others wait for the event loop, p95 / most", "-", f"{told[0]}; plain {told[1]}; idle {told[2]}")


async def count_short_files(folder: Path, *, quick: bool) -> Row:
    """Save an export that is cut at each of 200 offsets, in each framing; count what is there in the end."""
    short = tried = 0
    async with Sandbox(**UNLIMITED) as sandbox:
        session = ActivitySession(sandbox.token, base_url=sandbox.base_url, quota=Quota.unlimited(), now=utc_now)
        async with session:
            export = sandbox.submit(Life(duration=1.0), kind="contact_exports", rows=400)
            activity = await session.wait(export)
            for framing in (Framing("length"), Framing("chunked"), Framing("close")):
                for place in range(0, 200, 10 if quick else 1):
                    cut = attrs.evolve(framing, cut=csv_length(400) * place // 200)
                    fault = sandbox.faults.add(cut, where="export")
                    with suppress(Exception):
                        await session.save_export(activity, folder / "cut.csv")
                    sandbox.faults.remove(fault)
                    short += (folder / "cut.csv").exists()
                    tried += 1
    return Row(f"an export cut at {tried} places: short files under the final name", "0", str(short), short == 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--save", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        serve(options.serve)
        return 0
    if options.save is not None:
        asyncio.run(save_once(json.loads(options.save[0]), Path(options.save[1])))
        return 0
    quick: bool = options.quick
    rows = ROWS // 10 if quick else ROWS
    size = csv_length(rows)
    with tempfile.TemporaryDirectory() as place, a_vendor(rows) as vendor:
        folder = Path(place)
        table = asyncio.run(measure_speed(vendor, folder, size))
        table += measure_memory(vendor, folder, size)
        table.append(measure_lag(quick=quick))
        table.append(asyncio.run(measure_stalls(vendor, folder, quick=quick)))
        table.append(run(count_short_files(folder, quick=quick)))
    print("| what | target | measured | |\n|---|---|---|---|")
    for row in table:
        print(f"| {row.what} | {row.target} | {row.measured} | {'NOT MET' if row.met is False else ''} |")
    return 0 if all(row.met is not False for row in table) else 1


if __name__ == "__main__":
    sys.exit(main())
