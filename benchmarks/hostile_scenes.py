"""The scenes of `hostile`: what happens in one seed of a world, and what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import attrs
from economy import COMPLETING, LATENCY
from support.wrong_vendor import (
    STAMPS,
    Offset,
    WrongDate,
    WrongStamps,
    ignore_case_of_ids,
    make_list_endless,
)

from ccactivity import ActivitySession, BatchError, CCActivityError, Quota
from ccactivity import sandbox as sb

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
NEVER = float("inf")


@attrs.frozen(kw_only=True)
class Run:
    """What became of one seed. `ends`: of the healthy; `lags`: of those that were told, in seconds.

    `measure`: a number that some worlds are about. `note`: how the watches ended, if not well.
    """

    ends: int
    lags: tuple[float, ...] = ()
    requests: int = 0
    measure: float = 0.0
    note: str = ""


# --- what all scenes need -------------------------------------------------------------------------------------------


class Client:
    """A session that watches, and when it told each end."""

    def __init__(self, sandbox: sb.Sandbox, session: ActivitySession) -> None:
        self.sandbox = sandbox
        self.session = session
        self.told: dict[str, float] = {}
        self.doubled = 0
        self.note = ""
        self.until = NEVER

    async def watch(self, ids: Sequence[str], seconds: float) -> None:
        """Watch all of these together, for so many seconds at most."""
        self.until = self.sandbox.now + seconds
        try:
            async with asyncio.timeout(seconds):
                async for snapshot in self.session.watch_many(ids):
                    if snapshot.done:
                        self.doubled += snapshot.activity_id in self.told
                        self.told.setdefault(snapshot.activity_id, asyncio.get_running_loop().time())
        except TimeoutError:
            pass
        except BatchError as error:
            self.note = " ".join(sorted({type(one).__name__ for one in error.exceptions}))
        except CCActivityError as error:
            self.note = f"ended with {type(error).__name__}"

    def result(self, healthy: Iterable[str], *, not_before: float = 0.0, measure: float = 0.0) -> Run:
        """Say what became of the healthy ones. `not_before`: loop time before which nobody could know an end."""
        origin = asyncio.get_running_loop().time() - self.sandbox.now
        ends = {key: origin + self.sandbox.vendor.job(key).ended for key in healthy}
        ends = {key: end for key, end in ends.items() if end <= origin + self.until}
        note = f"{self.note} {self.doubled} doubled".strip() if self.doubled else self.note
        return Run(
            ends=len(ends),
            lags=tuple(self.told[key] - max(end, not_before) for key, end in ends.items() if key in self.told),
            requests=self.sandbox.requests["get"] + self.sandbox.requests["list"],
            measure=measure,
            note=note,
        )


def vendor(seed: int, *, start: datetime | None = None, **options: Any) -> sb.Sandbox:
    """Make a sandbox of which everybody is worked on at once."""
    return sb.Sandbox(
        seed=seed,
        latency=LATENCY,
        workload=attrs.evolve(COMPLETING, lanes=1000),
        start=start or datetime(2026, 1, 1, 12, tzinfo=UTC),
        **options,
    )


def session_for(sandbox: sb.Sandbox, *, clock_error: float = 0.0, **options: Any) -> ActivitySession:
    """Make a session; `clock_error`: by how many seconds our own clock is ahead."""
    return ActivitySession(
        sandbox.token,
        base_url=sandbox.base_url,
        now=lambda: sandbox.wall + timedelta(seconds=clock_error),
        **options,
    )


# --- the scenes -----------------------------------------------------------------------------------------------------

FAILING: dict[str, Callable[[], Any]] = {
    "503": lambda: sb.server_error(503),
    "HTML": sb.html,
    "another id": sb.wrong_id,
    "hang": sb.Hang,
}


async def failing_ids(
    seed: int, *, kind: str = "", failing: int = 0, healthy: int, lists: str, seconds: float = 3000.0
) -> Run:
    """Ids whose GET keeps failing, beside healthy ones whose ends come one after the other.

    `lists`: "lists" that show all, "without the failing" ids, or "no lists".
    """
    draw = Random(f"failing {seed}")
    async with vendor(seed) as sandbox, session_for(sandbox) as session:
        client = Client(sandbox, session)
        good = [sandbox.submit(sb.Life(duration=draw.uniform(60, 600))) for _ in range(healthy)]
        bad = [sandbox.submit(sb.Life(duration=2 * HOUR)) for _ in range(failing)]
        for activity_id in bad:
            sandbox.faults.add(FAILING[kind](), where="get", activity_id=activity_id)
        if lists == "without the failing" and bad:
            sandbox.faults.add(sb.drop_rows(*bad), where="list")
        elif lists == "no lists":
            sandbox.faults.add(sb.forbidden(), where="list")
        both = good + bad
        draw.shuffle(both)
        await client.watch(both, seconds)
        return client.result(good)


async def outage(seed: int, *, watches: int, fault: str = "") -> Run:
    """An hour in which everything is answered alike, from the beginning or while all are watched."""
    async with vendor(seed) as sandbox, session_for(sandbox) as session:
        client, begin = Client(sandbox, session), seed % 2 * 120.0
        ids = [sandbox.submit(sb.Life(duration=2 * HOUR)) for _ in range(watches)]
        if fault:
            sandbox.faults.add(FAILING[fault](), after=begin, until=begin + HOUR)
        await client.watch(ids, begin + HOUR)
        spent = [line for line in sandbox.log if line.time >= begin]
        return attrs.evolve(client.result(ids), requests=len(spent))


STAMP_WORLDS: dict[str, tuple[tuple[str, ...], Offset, dict[str, Any]]] = {
    "started_at 1 h early": (("started_at",), Offset(-HOUR), {}),
    "started_at 5 h early": (("started_at",), Offset(-5 * HOUR), {}),
    "started_at 5 days early": (("started_at",), Offset(-5 * DAY), {}),
    "updated_at 5 h ahead": (("updated_at",), Offset(5 * HOUR), {}),
    "updated_at 9 days ahead, first minute": (("updated_at",), Offset(9 * DAY), {"until": MINUTE}),
    "updated_at +-1 h in turns": (("updated_at",), Offset(HOUR, jumping=True), {}),
    "all stamps 5 h early": (STAMPS, Offset(-5 * HOUR), {}),
    "all stamps 5 h ahead": (STAMPS, Offset(5 * HOUR), {}),
    "all stamps +-1 h in turns": (STAMPS, Offset(HOUR, jumping=True), {}),
}
DATE_WORLDS: dict[str, Offset] = {
    "Date 60 s ahead": Offset(60.0),
    "Date 1 h ahead": Offset(HOUR),
    "Date 6 h ahead": Offset(6 * HOUR),
    "Date 5 days ahead": Offset(5 * DAY),
    "Date 1 h behind": Offset(-HOUR),
    "Date +-1 h in turns": Offset(HOUR, jumping=True),
}


def add_clock_fault(sandbox: sb.Sandbox, name: str, seed: int) -> None:
    """Make the vendor's clocks wrong as that world has them."""
    if name in STAMP_WORLDS:
        fields, offset, when = STAMP_WORLDS[name]
        sandbox.faults.add(WrongStamps(fields, _begun_anew(offset, seed)), **when)
    elif name in DATE_WORLDS:
        sandbox.faults.add(WrongDate(_begun_anew(DATE_WORLDS[name], seed), lambda: sandbox.wall))
    elif name == "updated_at in 2199 once":
        stamps = WrongStamps(("updated_at",), Offset(0.0), "2199-01-01T00:00:00.000Z")
        # Of the first looks, which some watches make before work has begun.
        sandbox.faults.add(stamps, skip=seed % 3, times=1)
    elif name:
        raise KeyError(name)


def _begun_anew(offset: Offset, seed: int) -> Offset:
    """Jumps begin ahead or behind, with as many seeds each."""
    return Offset(-offset.seconds if offset.jumping and seed % 2 else offset.seconds, offset.jumping)


async def clocks(seed: int, *, watches: int, name: str = "") -> Run:
    """A job of about 290 s that the client sees `initialized` for 20 s before it begins."""
    draw = Random(f"clocks {seed}")
    async with vendor(seed) as sandbox, session_for(sandbox) as session:
        client = Client(sandbox, session)
        add_clock_fault(sandbox, name, seed)
        spread = 5.0 if watches == 1 else 60.0
        ids = [sandbox.submit(sb.Life(duration=290 + draw.uniform(-spread, spread), delay=20)) for _ in range(watches)]
        await client.watch(ids, 3 * DAY)
        return client.result(ids)


async def progress(seed: int, *, watches: int, name: str = "", max_staleness: float | None = None) -> Run:
    """Jobs of an hour: the longest time from a change at the vendor to the snapshot that tells it, or a later one."""
    duration, begin = HOUR, 600.0 + 60.0 * seed
    longest = 0.0
    async with vendor(seed) as sandbox, session_for(sandbox) as session:
        client, loop = Client(sandbox, session), asyncio.get_running_loop()
        if name == "one updated_at 1 h ahead":
            sandbox.faults.add(WrongStamps(("updated_at",), Offset(HOUR)), after=begin, times=1)
        elif name == "one updated_at in 2199":
            stamps = WrongStamps(("updated_at",), Offset(0.0), "2199-01-01T00:00:00.000Z")
            sandbox.faults.add(stamps, after=begin, times=1)
        elif name:  # the vendor's clock goes back
            sandbox.faults.add(WrongStamps(("updated_at",), Offset(-HOUR)), after=begin)
            sandbox.faults.add(WrongDate(Offset(-HOUR), lambda: sandbox.wall), after=begin)
        ids = [sandbox.submit(sb.Life(duration=duration)) for _ in range(watches)]
        shown = dict.fromkeys(ids, 0)

        def untold_since(activity_id: str) -> float:
            """When the first change came that has not been told."""
            job = sandbox.vendor.job(activity_id)
            return job.started + job.life.duration * min(100, shown[activity_id] + 1) / 100

        async def follow() -> None:
            nonlocal longest
            async for snapshot in session.watch_many(ids, max_staleness=max_staleness):
                key, percent = snapshot.activity_id, 100 if snapshot.done else snapshot.percent_done or 0
                if percent > shown[key]:
                    longest = max(longest, loop.time() - untold_since(key))
                    shown[key] = percent
                if snapshot.done:
                    client.told.setdefault(key, loop.time())

        try:
            async with asyncio.timeout(4 * duration):
                await follow()
        except TimeoutError:
            longest = NEVER
        return client.result(ids, measure=longest)


async def forbidden_ids(seed: int, *, good: int, forbidden: int = 0, lists: bool = True) -> Run:
    """Good jobs, and ids that the vendor answers with a 403."""
    draw = Random(f"forbidden {seed}")
    async with vendor(seed) as sandbox, session_for(sandbox) as session:
        client = Client(sandbox, session)
        healthy = [sandbox.submit(sb.Life(duration=draw.uniform(60, 600))) for _ in range(good)]
        # Which no list shows: nobody may read them.
        denied = [sandbox.submit(sb.Life(duration=HOUR)) for _ in range(forbidden)]
        for activity_id in denied:
            sandbox.faults.add(sb.forbidden(), where="get", activity_id=activity_id)
        if denied:
            sandbox.faults.add(sb.drop_rows(*denied), where="list")
        if not lists:
            sandbox.faults.add(sb.forbidden(), where="list")
        both = healthy + denied
        draw.shuffle(both)
        await client.watch(both, 3000)
        return client.result(healthy)


async def spent_day(
    seed: int, *, begin: str = "23:30", date: float = 0.0, clock_error: float = 0.0, watches: int = 1
) -> Run:
    """The day is spent a minute after the start; how long after midnight, or the later end, each end is learnt."""
    hour, minute = map(int, begin.split(":"))
    start = datetime(2026, 1, 1, hour, minute, tzinfo=UTC)
    midnight = (datetime(2026, 1, 2, tzinfo=UTC) - start).total_seconds()
    draw = Random(f"spent {seed}")
    async with vendor(seed, start=start) as sandbox, session_for(sandbox, clock_error=clock_error) as session:
        client = Client(sandbox, session)
        sandbox.faults.add(WrongDate(Offset(date), lambda: sandbox.wall))
        sandbox.faults.add(sb.quota_exceeded(), after=MINUTE, until=midnight)
        ids = [sandbox.submit(sb.Life(duration=draw.uniform(200, midnight + 300))) for _ in range(watches)]
        began = asyncio.get_running_loop().time()
        await client.watch(ids, 3 * DAY)
        refused = sandbox.violations.after_quota_exceeded
        return client.result(ids, not_before=began + midnight, measure=refused)


async def endless_list(seed: int, *, watches: int, hidden: int, endless: bool = False) -> Run:
    """A list whose next links never repeat, with some watched ids on none of its pages; pages held, and asked for."""
    draw = Random(f"endless {seed}")
    async with vendor(seed) as sandbox, session_for(sandbox) as session:
        client = Client(sandbox, session)
        ids = [sandbox.submit(sb.Life(duration=draw.uniform(300, 1500))) for _ in range(watches)]
        missing = draw.sample(ids, hidden)
        if endless:
            make_list_endless(sandbox, hidden=missing)
        else:
            sandbox.faults.add(sb.drop_rows(*missing), where="list")
        most = 0

        async def count_pages() -> None:
            nonlocal most
            while True:
                most = max(most, _pages_held(session))
                await asyncio.sleep(1.0)

        counting = asyncio.create_task(count_pages())
        await client.watch(ids, 3000)
        counting.cancel()
        return attrs.evolve(client.result(ids, measure=most), note=f"{sandbox.requests['list']} of the list")


def _pages_held(session: ActivitySession) -> int:
    poller: Any = session._poller
    return len(poller._planner._placement.pages)


async def read_endless_list(seed: int, *, endless: bool = False) -> Run:
    """`await list_activities()` of a list that never ends; pages read, at most 12,000."""
    async with (
        vendor(seed, per_second=None, per_day=None) as sandbox,
        session_for(sandbox, quota=Quota.unlimited()) as session,
    ):
        sandbox.submit()
        if endless:
            make_list_endless(sandbox)
        note, pages = "", 0
        try:
            async for _ in session.list_activities(page_size=1).pages():
                pages += 1
                if pages >= 12_000:
                    note = "never ends"
                    break
        except CCActivityError as error:
            note = f"ended with {type(error).__name__}"
        return Run(ends=0, requests=sandbox.requests["list"], measure=pages, note=note)


async def upper_case(seed: int, *, watches: int, upper: bool = False, lists: bool = True) -> Run:
    """Ids asked for in upper case, and answered in lower case; `measure`: snapshots with another id than asked for."""
    draw = Random(f"case {seed}")
    async with vendor(seed) as sandbox, session_for(sandbox) as session:
        client = Client(sandbox, session)
        ids = [sandbox.submit(sb.Life(duration=draw.uniform(60, 600))) for _ in range(watches)]
        ignore_case_of_ids(sandbox)
        if not lists:
            sandbox.faults.add(sb.forbidden(), where="list")
        asked = [activity_id.upper() if upper else activity_id for activity_id in ids]
        await client.watch(asked, 3000)
        other = len(client.told.keys() - set(asked))
        client.told = {key.lower(): when for key, when in client.told.items()}
        return client.result(ids, measure=other)
