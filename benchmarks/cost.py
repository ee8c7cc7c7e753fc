"""What the client itself costs, beside the vendor's SDK and the bare libraries; prints a Markdown table.

Every comparison is interleaved: each round measures all contenders one after the other, and the best round of each
counts, so that what else the machine does hits them alike. The figures are to be read as ratios; whether a target is
met is shown, and no reason to fail.

nox -s bench
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice

import aiohttp
import msgspec
from constant_contact_api_client import ApiClient, BulkActivitiesApi, Configuration
from constant_contact_api_client.models.get_all_activities200_response import GetAllActivities200Response

from ccactivity import ActivitySession, Quota
from ccactivity.api.decoding import Decoder
from ccactivity.cli.batch.render import Viewport, render_frame
from ccactivity.cli.batch.state import BatchState
from ccactivity.events import Event
from ccactivity.models import Activity as Snapshot
from ccactivity.polling.pacing import Pacing
from ccactivity.polling.pages import ShownPage
from ccactivity.polling.planner import FetchPage, Planner, SleepUntil
from ccactivity.ratelimit.quota import Budget
from ccactivity.sandbox import Life, Request, Vendor

ROWS, WATCHED = 500, 20
WAYS = 32
WATCHES = 10_000
PLANNED = 100_000
START = datetime(2026, 1, 5, tzinfo=UTC)
ID = "a128970a-cc52-11ea-9dad-fa163e3d9194"

Row = tuple[str, str, str, bool | None]
"""What, the figure, the target, whether it is met."""


def best(rounds: int, contenders: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the seconds of the best round of each contender, the rounds interleaved.

    Each pays for the collection of its own garbage, and not for that of the one before or of what was imported.
    """
    least = dict.fromkeys(contenders, float("inf"))
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, contender in contenders.items():
            gc.collect()
            began = time.perf_counter()
            contender()
            least[name] = min(least[name], time.perf_counter() - began)
    return least


# --- reading --------------------------------------------------------------------------------------------------------


class Status(msgspec.Struct):
    items_total_count: int | None = None
    items_completed_count: int | None = None
    person_count: int | None = None
    error_count: int | None = None
    correctable_count: int | None = None
    cannot_add_to_list_count: int | None = None
    list_count: int | None = None


class Link(msgspec.Struct):
    href: str | None = None


class Links(msgspec.Struct):
    self: Link | None = None
    results: Link | None = None


class Activity(msgspec.Struct):
    activity_id: str
    state: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    updated_at: datetime | None = None
    completed_at: datetime | None = None
    source_file_name: str | None = None
    percent_done: int | None = None
    activity_errors: list[str] = []
    status: Status | None = None
    links: Links | None = msgspec.field(default=None, name="_links")


class Page(msgspec.Struct):
    activities: list[Activity]


def page(seed: int = 0) -> bytes:
    """Return a page of the sandbox: the watched rows, under way, and otherwise ended imports, exports and taggings."""
    start = START + timedelta(seconds=10_007.123 * seed)
    vendor = Vendor(start=start, seed=seed, history=ROWS - WATCHED, per_second=None, per_day=None)
    for _ in range(WATCHED):
        vendor.submit(0.0, Life(duration=600))
    headers = {"Authorization": f"Bearer {vendor.token}"}
    return vendor.handle(Request(method="GET", target=f"/v3/activities?limit={ROWS}", headers=headers), 60.0).body


def measure_reading() -> Iterator[Row]:
    same = page()
    rounds = 40
    others = cycle([page(seed) for seed in range(1, 9)])
    # What is new to one reader must not crowd out what the other has seen.
    reader, another = (Decoder(lambda _field, _value: None) for _ in range(2))
    activities = {activity.activity_id: activity for activity in reader.decode_page(same).activities}
    wanted = dict.fromkeys(islice(activities, WATCHED)).keys()
    seconds = best(
        rounds,
        {
            "json": lambda: json.loads(same),
            "again": lambda: reader.decode_page(same),
            "first": lambda: another.decode_page(next(others)),
            "sdk": lambda: GetAllActivities200Response.from_json(same.decode()),
            "msgspec": lambda: msgspec.json.decode(same, type=Page),
            "sweep": lambda: reader.decode_page(same, wanted),
            "unchanged": lambda: reader.decode_page(same, wanted, activities.get),
        },
    )

    def show(what: str, name: str, most: float | None) -> Row:
        ratio = seconds[name] / seconds["json"]
        figure = f"{ratio:.2f} times json.loads ({seconds[name] / ROWS * 1e6:.1f} us a row)"
        return what, figure, f"<= {most}" if most else "", ratio <= most if most else None

    yield "a page of 500 rows: json.loads alone", f"{seconds['json'] / ROWS * 1e6:.1f} us a row", "", None
    yield show("all of it read, its timestamps seen before", "again", 2.2)
    yield show("all of it read, nothing seen before", "first", None)
    yield show("all of it, the vendor's SDK", "sdk", None)
    yield show("all of it, msgspec", "msgspec", None)
    yield show("a sweep: 20 of its rows watched", "sweep", 1.3)
    yield show("the same, nothing changed", "unchanged", 1.3)


# --- requests -------------------------------------------------------------------------------------------------------


class Answering(asyncio.Protocol):
    """Answers every GET with the same activity, as fast as can be: what is measured is the client."""

    body = json.dumps(json.loads(page())["activities"][0]).encode()
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.pending = b""

    def data_received(self, data: bytes) -> None:
        *whole, self.pending = (self.pending + data).split(b"\r\n\r\n")
        self.transport.write(self.answer * len(whole))


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def serving(*command: str) -> Iterator[str]:
    """Run a server in a process of its own; it prints its port first."""
    with subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v3"
        finally:
            process.kill()


async def many(ask: Callable[[], Awaitable[object]], count: int) -> None:
    async def some() -> None:
        for _ in range(count // WAYS):
            await ask()

    await asyncio.gather(*(some() for _ in range(WAYS)))


def with_aiohttp(base_url: str, count: int) -> None:
    async def main() -> None:
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, headers={"Authorization": "Bearer token"}) as http:

            async def ask() -> object:
                async with http.get(f"{base_url}/activities/{ID}") as response:
                    return json.loads(await response.read())

            await many(ask, count)

    asyncio.run(main())


def with_session(base_url: str, count: int, on_event: Callable[[Event], object] | None = None) -> None:
    async def main() -> None:
        quota = Quota.unlimited()
        async with ActivitySession("token", base_url=base_url, quota=quota, on_event=on_event) as session:
            await many(lambda: session.get_activity(ID), count)

    asyncio.run(main())


def with_hook(base_url: str, count: int) -> None:
    counted: Counter[type[Event]] = Counter()
    with_session(base_url, count, lambda event: counted.update((type(event),)))
    assert counted.total() == count


def with_sdk(base_url: str, count: int, threads: int) -> None:
    configuration = Configuration(host=base_url, access_token="token")
    configuration.connection_pool_maxsize = threads
    with ApiClient(configuration) as client:
        api = BulkActivitiesApi(client)
        if threads == 1:
            for _ in range(count):
                api.get_activity_by_id(ID)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(api.get_activity_by_id, [ID] * count))


def measure_requests() -> Iterator[Row]:
    with serving(__file__, "serve") as base_url:
        contenders: dict[str, tuple[int, Callable[[int], None]]] = {
            "aiohttp": (3200, lambda count: with_aiohttp(base_url, count)),
            "ours": (3200, lambda count: with_session(base_url, count)),
            "hook": (3200, lambda count: with_hook(base_url, count)),
            "sdk": (640, lambda count: with_sdk(base_url, count, 1)),
            "sdk, threads": (640, lambda count: with_sdk(base_url, count, WAYS)),
        }
        rates, cpu = dict.fromkeys(contenders, 0.0), dict.fromkeys(contenders, float("inf"))
        for _ in range(6):
            for name, (count, run) in contenders.items():
                began, spent = time.perf_counter(), time.process_time()
                run(count)
                rates[name] = max(rates[name], count / (time.perf_counter() - began))
                cpu[name] = min(cpu[name], (time.process_time() - spent) / count * 1000)

    def show(what: str, name: str, least: float | None = None) -> Row:
        ratio = rates[name] / rates["aiohttp"]
        figure = f"{rates[name]:,.0f} a second ({ratio:.2f}), {cpu[name]:.2f} s of CPU for 1,000"
        return what, figure, f">= {least}" if least else "", ratio >= least if least else None

    yield show("requests, 32 at a time: raw aiohttp", "aiohttp")
    yield show("requests, 32 at a time: get_activity", "ours", 0.8)
    more = cpu["hook"] / cpu["ours"] - 1
    yield "the same with a hook that counts events", f"{more:+.1%} of CPU", "<= +2.0%", more <= 0.02
    yield show("requests, 32 threads: the vendor's SDK", "sdk, threads")
    yield show("requests, one at a time: the vendor's SDK", "sdk")


# --- watches --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def mute() -> AsyncIterator[str]:
    """A vendor who never answers, so that there are watches and no snapshots."""
    server = await asyncio.start_server(lambda _reader, _writer: asyncio.sleep(0), "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v3"
    finally:
        server.close()


async def until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110 -- nothing says when
        await asyncio.sleep(0)


async def watch(ids: Sequence[str], note: Callable[[str], None]) -> None:
    async with mute() as base_url, ActivitySession("token", base_url=base_url) as session:
        note("before")
        follower = session.watch_many(ids)
        first = asyncio.ensure_future(anext(follower))
        await until(lambda: session.stats.watching == len(ids))
        note("watching")
        first.cancel()
        await asyncio.wait([first])
        await follower.aclose()
        note("cancelled")


async def sleep(ids: Sequence[str], note: Callable[[str], None]) -> None:
    """Do as everyone does: a task for each, in an async generator that sleeps."""

    async def snapshots(activity_id: str) -> AsyncIterator[str]:
        while True:
            await asyncio.sleep(3600)
            yield activity_id

    async def follow(activity_id: str) -> None:
        async for _ in snapshots(activity_id):
            pass

    note("before")
    tasks = [asyncio.create_task(follow(activity_id)) for activity_id in ids]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    note("watching")
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    note("cancelled")


def measure_watches() -> Iterator[Row]:
    ids = [f"{number:08x}-cc52-11ea-9dad-fa163e3d9194" for number in range(WATCHES)]
    for what, scenario, limited in (("10,000 watches", watch, True), ("10,000 tasks that sleep", sleep, False)):
        times: dict[str, float] = {}
        asyncio.run(scenario(ids, lambda name: times.update({name: time.perf_counter()})))  # noqa: B023 -- run at once
        sizes: dict[str, int] = {}
        tracemalloc.start()
        asyncio.run(scenario(ids, lambda name: sizes.update({name: tracemalloc.get_traced_memory()[0]})))  # noqa: B023
        tracemalloc.stop()
        memory = (sizes["watching"] - sizes["before"]) / WATCHES / 1024
        start, cancel = times["watching"] - times["before"], times["cancelled"] - times["watching"]
        yield f"{what}: memory of each", f"{memory:.2f} KB", "<= 1" * limited, memory <= 1 if limited else None
        yield f"{what}: started in", f"{start:.2f} s", "< 1" * limited, start < 1 if limited else None
        yield f"{what}: cancelled in", f"{cancel:.2f} s", "< 1" * limited, cancel < 1 if limited else None


async def serve_sandbox() -> None:
    from ccactivity.sandbox import Sandbox  # noqa: PLC0415 -- only this process needs it

    async with Sandbox() as sandbox:
        for _ in range(2000):
            sandbox.submit(Life(duration=3600, update_every=5), rows=1000)
        print(sandbox.base_url.rsplit(":", 1)[1].removesuffix("/v3"), flush=True)
        print(sandbox.token, flush=True)
        await asyncio.sleep(3600)


def measure_scheduler(seconds: float = 15.0) -> Iterator[Row]:
    async def main(base_url: str, token: str) -> tuple[float, int]:
        async with ActivitySession(token, base_url=base_url) as session:
            ids = [row.activity_id for row in await session.list_activities() if not row.done]

            async def follow() -> None:
                async for _ in session.watch_many(ids, max_staleness=0.5):
                    pass

            follower = asyncio.create_task(follow())
            await asyncio.sleep(3)
            began, spent, sent = time.perf_counter(), time.process_time(), sum(session.stats.requests.values())
            await asyncio.sleep(seconds)
            spent = (time.process_time() - spent) / (time.perf_counter() - began)
            sent = sum(session.stats.requests.values()) - sent
            follower.cancel()
            await asyncio.wait([follower])
            return spent, sent

    with subprocess.Popen([sys.executable, __file__, "sandbox"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port, token = (process.stdout.readline().strip() for _ in range(2))
        try:
            spent, sent = asyncio.run(main(f"http://127.0.0.1:{port}/v3", token))
        finally:
            process.kill()
    what = f"2,000 watches at {sent / seconds:.1f} requests a second, most of them pages of 500"
    yield what, f"{spent * 100:.0f} % of a core", "", None


# --- the planner ----------------------------------------------------------------------------------------------------


def plan(rows: Sequence[Snapshot], until: float) -> tuple[Planner, int, float]:
    """Watch these queued activities, walk the list of them, and wait on for their turn, until that loop time.

    There is no network, and none of them begins. Returns the planner, the requests that it made, and its seconds of
    CPU for them: all decisions, also those to sleep, and the taking in of each row, by GET or on a page. Rows that are
    as they were are left out, as the poller does.
    """
    planner = Planner(Pacing())
    for row in rows:
        planner.watch(row.activity_id, 0.0)
    budget, now, requests, seconds, walked = Budget(500.0, 0.2), 0.0, 0, 0.0, 0
    while now < until:
        began = time.process_time()
        action = planner.next(now, budget)
        seconds += time.process_time() - began
        if isinstance(action, SleepUntil):
            now = action.when
            continue
        if isinstance(action, FetchPage):
            first = int(action.start or 0)
            after = first + action.limit
            news = rows[max(first, walked) : after]
            walked = max(walked, after)
        else:
            first = int(action.activity_id[:8], 16)
            after = first + 1
            news = rows[first:after]
        shown = ShownPage([row.activity_id for row in rows[first:after]], str(after) if after < len(rows) else None)
        date = START + timedelta(seconds=now)
        began = time.process_time()
        planner.started(action, now)
        for row in news:
            planner.on_activity(row, now, date, listed=isinstance(action, FetchPage))
        if isinstance(action, FetchPage):
            planner.on_page(action, shown, now)
        seconds += time.process_time() - began
        requests, now = requests + 1, now + 0.3
    return planner, requests, seconds


def measure_planner() -> Iterator[Row]:
    ids = [f"{number:08x}{ID[8:]}" for number in range(PLANNED)]
    rows = [Snapshot(activity_id=key, state="initialized", created_at=START, updated_at=START) for key in ids]
    costs = []
    for _ in range(3):
        gc.collect()
        gc.freeze()
        _, requests, seconds = plan(rows, 600.0)
        costs.append(seconds / requests * 1000)
    tracemalloc.start()
    planner, *_ = plan(rows, 60.0)
    memory = tracemalloc.get_traced_memory()[0] / PLANNED / 1024
    tracemalloc.stop()
    del planner
    what = f"{PLANNED:,} ids, their list walked:"
    yield f"{what} the planner's CPU a request", f"{min(costs):.2f} ms", "<= 1", min(costs) <= 1
    yield f"{what} the planner's memory of each", f"{memory:.2f} KB", "<= 0.75", memory <= 0.75


# --- the live view --------------------------------------------------------------------------------------------------


def measure_frame() -> Iterator[Row]:
    reader = Decoder(lambda _field, _value: None)
    vendor = Vendor(start=START, history=5000, per_second=None, per_day=None)
    for _ in range(WATCHES - 5000):
        vendor.submit(0.0, Life(duration=600))
    token = {"Authorization": f"Bearer {vendor.token}"}
    batch, target = BatchState(0.0), f"/v3/activities?limit={ROWS}"
    while target:
        answer = reader.decode_page(vendor.handle(Request(method="GET", target=target, headers=token), 60.0).body)
        for activity in answer.activities:
            batch.update(activity, 60.0)
        target = str(answer.next or "")
    seconds = []
    for number in range(100):
        for activity in answer.activities:
            batch.update(activity, 61.0 + number)
        began = time.perf_counter()
        render_frame(batch, Viewport(120, 50), spent=100, remaining=9900, now=61.0 + number)
        seconds.append(time.perf_counter() - began)
    worst = sorted(seconds)[95] * 1000
    yield f"a frame of the live view, {batch.seen:,} activities (p95)", f"{worst:.1f} ms", "< 20", worst < 20


def main() -> None:
    print(f"Python {sys.version.split()[0]}, aiohttp {aiohttp.__version__}\n\n| what | figure | target | met |")
    print("|---|---|---|---|", flush=True)
    for measure in (
        measure_reading,
        measure_requests,
        measure_watches,
        measure_scheduler,
        measure_planner,
        measure_frame,
    ):
        for what, figure, target, met in measure():
            print(f"| {what} | {figure} | {target} | {'' if met is None else 'yes' if met else 'NO'} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["serve"]:
        asyncio.run(serve())
    elif sys.argv[1:] == ["sandbox"]:
        asyncio.run(serve_sandbox())
    else:
        main()
