"""What watching costs: requests for each activity against the lag from its end to the news of it.

Everything runs over real HTTP against the sandbox, in virtual time. Beside this library, in the same run and behind the
same limiter: the polling policies of well-known clients, one loop for each activity; a blind sweep of the list that
spends as many requests as this library did; and what an oracle would need that knows every end, for the same mean lag.

    nox -s economy                      # the table, a quarter of an hour on two cores
    nox -s economy -- --quick           # one seed of the small workloads
    nox -s economy -- --ours --only N=100 --tune single_get_penalty=1.2     # another value of a fitted number
    nox -s economy -- --double all      # what doubling each fitted number does; its docstring quotes this
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import shlex
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import attrs

from ccactivity import ActivitySession, Pacing, Quota, QuotaExceededError
from ccactivity.polling.tuning import Tuning
from ccactivity.sandbox import Life, Sandbox, Workload
from ccactivity.testing import run, utc_now

LATENCY = 0.12
# Every activity completes: one that fails half-way gives no sign beforehand, which has a row of its own.
COMPLETING = Workload(failed_share=0.0, cancelled_share=0.0, timed_out_share=0.0)
FAILING = Workload(failed_share=0.1, cancelled_share=0.02, timed_out_share=0.02)
SWEEP_PAGE = 500


@attrs.frozen(kw_only=True)
class World:
    """A workload: `count` activities, `lanes` at once; all known at the start, or arriving through the day."""

    name: str
    count: int
    lanes: int = 8
    seeds: int = 10
    loops: bool = False
    left: int = 10_000
    through_the_day: bool = False
    progress: str | None = None
    tail: float = 0.0
    stale_rows: float = 0.0
    history: int = 0
    order: str = "newest"
    failing: bool = False


MAIN = (
    World(name="N=1", count=1, seeds=200, loops=True),
    World(name="N=10, k=8", count=10, seeds=400, loops=True),
    World(name="N=100, k=8", count=100, loops=True),
    World(name="N=1000, k=16", count=1000, lanes=16, seeds=5, loops=True),
    World(name="N=1000, k=100", count=1000, lanes=100, seeds=5),
    World(name="10,000 over a day, k=40", count=10_000, lanes=40, seeds=2, through_the_day=True),
    World(name="N=1000, k=16, 1,000 left", count=1000, lanes=16, seeds=5, left=1000),
)
WORSE = tuple(
    World(name=f"{world.name}, {name}", **{**attrs.asdict(world, filter=attrs.filters.exclude("name")), **change})
    for world in (
        World(name="N=100", count=100, seeds=5),
        World(name="N=1000", count=1000, lanes=16, seeds=2),
    )
    for name, change in (
        ("no progress until the end", {"progress": "none"}),
        ("95 % early, then ten minutes", {"tail": 600.0}),
        ("one in seven fails half-way", {"failing": True}),
        ("rows 30 s stale", {"stale_rows": 30.0}),
        ("20,000 older", {"history": 20_000}),
        ("20,000 older, oldest first", {"history": 20_000, "order": "oldest"}),
        ("shuffled", {"order": "shuffled"}),
        ("through the day", {"through_the_day": True}),
    )
)


@attrs.frozen(kw_only=True)
class Outcome:
    """One run: requests, lags in seconds, and what went wrong."""

    requests: int
    lags: tuple[float, ...]
    ends: tuple[float, ...] = ()
    span: float = 0.0
    refused: int = 0
    dry: bool = False
    lost: int = 0
    doubled: int = 0
    cpu: float = 0.0


def vendor(world: World, seed: int) -> Sandbox:
    """Make the sandbox of a world; its day begins at 00:00 for arrivals through the day, else it is noon."""
    return Sandbox(
        seed=seed,
        latency=LATENCY,
        workload=attrs.evolve(FAILING if world.failing else COMPLETING, lanes=world.lanes),
        start=datetime(2026, 1, 1, 0 if world.through_the_day else 12, tzinfo=UTC),
        history=world.history,
        order=world.order,
        stale_rows=world.stale_rows,
        spent_today=10_000 - world.left,
    )


def life(world: World, random: Random) -> Life | None:
    """Draw a life that differs from the sandbox's own, None where it does not."""
    drawn = COMPLETING.draw(random, rows=1000)
    if world.progress is not None:
        return attrs.evolve(drawn, progress=world.progress)
    if world.tail:
        whole = drawn.duration + world.tail
        return attrs.evolve(
            drawn, duration=whole, progress=((0.0, 0.0), (drawn.duration / whole, 0.95), (1.0, 0.95)), end="completed"
        )
    return None


async def submitted(world: World, sandbox: Sandbox, seed: int) -> AsyncIterator[str]:
    """Hand over ids: all at once, or at random times through the day."""
    random = Random(f"arrivals {seed}")
    loop = asyncio.get_running_loop()
    began = loop.time()
    times = sorted(random.uniform(0.0, 80_000.0) if world.through_the_day else 0.0 for _ in range(world.count))
    for when in times:
        if when:
            await asyncio.sleep(began + when - loop.time())
        yield sandbox.submit(life(world, random))


def session_for(
    sandbox: Sandbox, world: World, price: float = 1.0, tuning: Mapping[str, float] | None = None
) -> ActivitySession:
    with patch("ccactivity.session.Tuning", lambda: Tuning(**dict[str, Any](tuning or {}))):
        return ActivitySession(
            sandbox.token,
            base_url=sandbox.base_url,
            now=utc_now if not world.through_the_day else lambda: sandbox.wall,
            quota=Quota(spent=10_000 - world.left),
            pacing=Pacing(price=price),
        )


class Tally:
    """Collects when each end was learnt of."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.learnt: dict[str, float] = {}
        self.doubled = 0

    def learn(self, activity_id: str) -> None:
        self.doubled += activity_id in self.learnt
        self.learnt.setdefault(activity_id, asyncio.get_running_loop().time())

    def outcome(self, world: World, began: float, *, dry: bool = False) -> Outcome:
        truths = {key: self._sandbox.truth(key) for key in self.learnt}
        ends = {key: truth.ended_at for key, truth in truths.items() if truth is not None}
        requests = self._sandbox.requests
        return Outcome(
            requests=requests["get"] + requests["list"],
            lags=tuple(self.learnt[key] - end for key, end in ends.items()),
            ends=tuple(sorted(ends.values())),
            span=asyncio.get_running_loop().time() - began,
            refused=self._sandbox.violations.total,
            dry=dry or self._sandbox.violations.over_per_day > 0,
            lost=world.count - len(ends),
            doubled=self.doubled,
        )


async def ours(world: World, seed: int, price: float = 1.0, tuning: Mapping[str, float] | None = None) -> Outcome:
    """Watch with this library, with other values of fitted numbers if `tuning` has some."""
    loop = asyncio.get_running_loop()
    async with vendor(world, seed) as sandbox, session_for(sandbox, world, price, tuning) as session:
        tally, began = Tally(sandbox), loop.time()
        ids: object = submitted(world, sandbox, seed)
        if not world.through_the_day:
            ids = [key async for key in submitted(world, sandbox, seed)]
        async for snapshot in session.watch_many(ids):  # type: ignore[arg-type]  # either kind of iterable
            if snapshot.done:
                tally.learn(snapshot.activity_id)
        return tally.outcome(world, began)


def fixed(seconds: float) -> Callable[[], Iterator[float]]:
    def delays() -> Iterator[float]:
        while True:
            yield seconds

    return delays


def google() -> Iterator[float]:
    """google-api-core's polling future: 1 s, each 1.5 times the last, 20 s at most."""
    delay = 1.0
    while True:
        yield delay
        delay = min(20.0, delay * 1.5)


LOOPS: dict[str, Callable[[], Iterator[float]]] = {
    "fixed 5 s loop": fixed(5.0),
    "google-api-core (1..20 s x1.5)": google,
    "boto waiter, 15 s": fixed(15.0),
    "azure-core, 30 s": fixed(30.0),
}


async def one_loop_each(world: World, seed: int, policy: str) -> Outcome:
    """Watch each activity with a loop of its own, all behind one limiter; a spent day is slept through."""
    loop = asyncio.get_running_loop()
    dry = False
    async with vendor(world, seed) as sandbox, session_for(sandbox, world) as session:
        tally, began = Tally(sandbox), loop.time()

        async def poll(activity_id: str) -> None:
            nonlocal dry
            for delay in LOOPS[policy]():
                try:
                    if (await session.get_activity(activity_id)).done:
                        tally.learn(activity_id)
                        return
                except QuotaExceededError as error:
                    dry = True
                    await asyncio.sleep((error.resets_at - utc_now()).total_seconds() + 1)
                await asyncio.sleep(delay)

        async with asyncio.TaskGroup() as group:
            async for activity_id in submitted(world, sandbox, seed):
                group.create_task(poll(activity_id))
        return tally.outcome(world, began, dry=dry)


async def blind_sweep(world: World, seed: int, requests: int, span: float) -> Outcome:
    """Read the whole list as often as `requests` over `span` seconds allow, whatever there is to be seen."""
    loop = asyncio.get_running_loop()
    async with vendor(world, seed) as sandbox, session_for(sandbox, world) as session:
        tally, began = Tally(sandbox), loop.time()
        left: set[str] = set()
        source = asyncio.create_task(_collect(submitted(world, sandbox, seed), left))
        dry = False
        while left or not source.done():
            started, pages = loop.time(), 0
            try:
                async for page in session.list_activities(page_size=SWEEP_PAGE).pages():
                    pages += 1
                    for activity in page:
                        if activity.done and activity.activity_id in left:
                            left.remove(activity.activity_id)
                            tally.learn(activity.activity_id)
            except QuotaExceededError as error:
                dry = True
                await asyncio.sleep(max(1.0, (error.resets_at - sandbox.wall).total_seconds() + 1))
            interval = max(1.0, span * max(1, pages) / max(1, requests))
            await asyncio.sleep(max(0.0, started + interval - loop.time()))
        return tally.outcome(world, began, dry=dry)


async def _collect(source: AsyncIterator[str], into: set[str]) -> None:
    async for activity_id in source:
        into.add(activity_id)


def oracle(ends: Sequence[float], lag: float) -> int:
    """Count the requests of someone who knows every end, and looks as rarely as a mean lag of `lag` allows.

    One request shows everything that has ended. It is made as soon as the lag piled up reaches a price, the same for
    all; the price is the highest that keeps the mean.
    """

    def look(price: float) -> tuple[int, float]:
        looks, piled, waiting, total, last = 0, 0.0, 0, 0.0, ends[0]
        for end in ends:
            if waiting and piled + waiting * (end - last) >= price:
                looks, total, piled, waiting = looks + 1, total + price, 0.0, 0
            piled += waiting * (end - last)
            waiting, last = waiting + 1, end
        return looks + 1, (total + price) / len(ends)

    low, high = 0.0, 1e6
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if look(middle)[1] <= lag else (low, middle)
    return look(low)[0]


# --- running and showing --------------------------------------------------------------------------------------------


Job = tuple[World, int, str, int, float, Mapping[str, float]]


def job(arguments: Job) -> tuple[str, str, int, Outcome]:
    """Run one seed of one policy; in a process of its own."""
    world, seed, policy, requests, span, tuning = arguments
    began = time.process_time()
    if policy.startswith("ccactivity"):
        outcome = run(ours(world, seed, float(policy.rpartition(" ")[2]), tuning))
    elif policy == "blind sweep of equal spend":
        outcome = run(blind_sweep(world, seed, requests, span))
    else:
        outcome = run(one_loop_each(world, seed, policy))
    return world.name, policy, seed, attrs.evolve(outcome, cpu=time.process_time() - began)


def summary(policy: str, world: World, outcomes: Sequence[Outcome]) -> dict[str, object]:
    lags = sorted(lag for outcome in outcomes for lag in outcome.lags)
    done = sum(len(outcome.lags) for outcome in outcomes)

    def at(share: float) -> float:
        return lags[min(len(lags) - 1, int(share * len(lags)))]

    return {
        "world": world.name,
        "policy": policy,
        "each": sum(outcome.requests for outcome in outcomes) / max(1, done),
        "mean": statistics.fmean(lags),
        "p50": at(0.5),
        "p95": at(0.95),
        "p99": at(0.99),
        "max": lags[-1],
        "refused": sum(outcome.refused for outcome in outcomes),
        "dry": any(outcome.dry for outcome in outcomes),
        "lost": sum(outcome.lost for outcome in outcomes),
        "doubled": sum(outcome.doubled for outcome in outcomes),
        "cpu": sum(outcome.cpu for outcome in outcomes) / len(outcomes),
    }


def show(row: dict[str, object]) -> str:
    figures = " | ".join(_seconds(row[name]) for name in ("mean", "p50", "p95", "p99", "max"))  # type: ignore[arg-type]
    wrong = f"{row['refused']} | {'yes' if row['dry'] else 'no'} | {row['lost']}, {row['doubled']}"
    return f"| {row['world']} | {row['policy']} | {row['each']:.2f} | {figures} | {wrong} |"


def _seconds(value: float) -> str:
    return f"{value / 3600:.1f} h" if value >= 5400 else f"{value:.1f}"


HEAD = """| workload | policy | requests each | lag mean | p50 | p95 | p99 | max | refused | day dry | lost, doubled |
|---|---|--:|--:|--:|--:|--:|--:|--:|---|---|"""


def write_json(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write the command and its figures, from which `benchmarks/pictures.py` draws."""
    command = shlex.join(["nox", "-s", "economy", "--", *sys.argv[1:]])
    kept = [{name: _json_value(value) for name, value in row.items() if name != "cpu"} for row in rows]
    path.write_text(json.dumps({"command": command, "rows": kept}, indent=1) + "\n", encoding="utf-8")


def _json_value(value: object) -> object:
    if not isinstance(value, float):
        return value
    return None if math.isnan(value) else round(value, 3)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed of the small workloads")
    parser.add_argument("--only", action="append", default=[], help="workloads whose name holds this; may be repeated")
    parser.add_argument("--ours", action="store_true", help="only this library")
    parser.add_argument("--seeds", type=int, default=0, help="so many seeds instead of each workload's own number")
    parser.add_argument("--price", type=float, default=1.0, help="of this library's watches (default: 1)")
    parser.add_argument("--tune", action="append", default=[], metavar="NAME=VALUE", help="a fitted number of Tuning")
    parser.add_argument("--double", default="", metavar="NAME", help="what doubling a fitted number does, or `all` do")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    options = parser.parse_args()
    worlds = [world for world in MAIN + WORSE if any(text in world.name for text in options.only or [""])]
    if options.quick:
        worlds = [attrs.evolve(world, seeds=1) for world in worlds if world.count <= 100]
    if options.seeds:
        worlds = [attrs.evolve(world, seeds=options.seeds) for world in worlds]
    if options.double:
        return double(options.double)
    tuning = {name: float(value) for name, _, value in (change.partition("=") for change in options.tune)}
    print(f"The generator: {COMPLETING}; the vendor's latency {LATENCY} s.\n\n{HEAD}", flush=True)
    rows = []
    wrong = 0
    with ProcessPoolExecutor(2) as pool:
        for world in worlds:
            others = not options.ours
            loops = world.loops and others
            for row in measure(world, pool, price=options.price, loops=loops, blind=others, tuning=tuning):
                rows.append(row)
                print(show(row), flush=True)
                if str(row["policy"]).startswith("ccactivity"):
                    wrong += int(row["lost"]) + int(row["doubled"]) + int(row["refused"])  # type: ignore[call-overload]
    if options.json:
        write_json(rows, options.json)
    return 1 if wrong else 0


def double(name: str) -> int:
    """Print what doubling a number of Tuning does to requests and mean lag, in three workloads of ten seeds each."""
    names = [field.name for field in attrs.fields(Tuning) if name in ("all", field.name)]
    hundred = World(name="N=100", count=100)
    worlds = (World(name="N=10", count=10), hundred, attrs.evolve(hundred, progress="none"))
    with ProcessPoolExecutor(2) as pool:
        plain = [_cost(world, pool, {}) for world in worlds]
        print("| number | value | requests · mean lag, doubled: N=10, N=100, N=100 without progress |\n|---|--:|---|")
        for each in names:
            value = getattr(Tuning(), each)
            changed = [_cost(world, pool, {each: type(value)(2 * value)}) for world in worlds]
            cells = (
                f"{100 * (now[0] / before[0] - 1):+.0f} % · {100 * (now[1] / before[1] - 1):+.0f} %"
                for now, before in zip(changed, plain, strict=True)
            )
            print(f"| {each} | {value:g} | {', '.join(cells)} |", flush=True)
    return 0


def _cost(world: World, pool: ProcessPoolExecutor, tuning: Mapping[str, float]) -> tuple[float, float]:
    """Requests for each activity, and mean lag in seconds."""
    jobs = [(world, seed, "ccactivity, price 1", 0, 0.0, tuning) for seed in range(10)]
    outcomes = [outcome for *_, outcome in pool.map(job, jobs)]
    lags = [lag for outcome in outcomes for lag in outcome.lags]
    return sum(outcome.requests for outcome in outcomes) / len(lags), statistics.fmean(lags)


def measure(
    world: World,
    pool: ProcessPoolExecutor,
    *,
    price: float,
    loops: bool,
    blind: bool,
    tuning: Mapping[str, float],
) -> Iterator[dict[str, object]]:
    """Run all policies on one workload, and yield a row for each."""
    seeds = range(world.seeds)
    name = f"ccactivity, price {price:g}"
    mine = [outcome for *_, outcome in pool.map(job, [(world, seed, name, 0, 0.0, tuning) for seed in seeds])]
    yield summary(name, world, mine)
    if loops:
        few = seeds[: max(1, min(world.seeds, 200 // world.count))]
        for policy in LOOPS:
            results = pool.map(job, [(world, seed, policy, 0, 0.0, {}) for seed in few])
            yield summary(policy, world, [outcome for *_, outcome in results])
    if blind:
        policy = "blind sweep of equal spend"
        equal: list[Job] = [
            (world, seed, policy, one.requests, one.span, {}) for seed, one in zip(seeds, mine, strict=True)
        ]
        yield summary(policy, world, [outcome for *_, outcome in pool.map(job, equal)])
        bound = summary("", world, mine)
        looks = sum(oracle(one.ends, statistics.fmean(one.lags)) for one in mine)
        blank = dict.fromkeys(("p50", "p95", "p99", "max"), math.nan)
        each = looks / sum(len(one.lags) for one in mine)
        yield {**bound, **blank, "policy": "oracle at this lag (a bound)", "each": each, "refused": 0, "dry": False}


if __name__ == "__main__":
    sys.exit(main())
