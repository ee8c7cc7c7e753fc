"""Deterministic simulation: the real client against the sandbox in virtual time, with everything drawn from a seed.

`simulate(seed)` draws a workload, latencies, faults with their intensities, other users of the key, a wall clock that
is set, people who leave and come back, sessions that are closed, and a time at which all faults end. Meanwhile and at
the end it checks what has to be true whatever happened:

1. What the vendor saw from us was paid for: requests <= grants, also those that the HTTP library made by itself.
2. No more than 4 of them in any second, no more than a day's, and none after `quota_exceeded` before the day is over.
   What other users of the key did is theirs, and is not counted.
3. Each watch ends once, with the true terminal state, or with an error that the script allows.
4. After the healing each watch ends, within a bound, and a single call works.
5. At the end there is no task, timer, connection or ticket left.
6. No secret is in a log record or an error.

A finding names the seed. `nox -s sim -- --seed N` replays it, with the plan; `--hours H` goes on until so
many hours were simulated. The same seed gives the same trace on the same Python and aiohttp, with PYTHONHASHSEED fixed.
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import math
import random
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import attrs

import ccactivity as cc
from ccactivity import sandbox as sb
from ccactivity.testing import VirtualTimeLoop, run, utc_now

__all__ = ["Report", "simulate"]

SECRET = "canary-secret-"  # the beginning of every token of the sandbox
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
# Seconds after its end, or after the healing, within which a watch has to have ended.
BOUND = 40 * MINUTE
MANNERS = ("unknown_path", "bad_request", "bad_cursor", "missing_headers", "token_in_url")
ACCEPT = {"Accept": "application/json", "Cache-Control": "no-cache", "User-Agent": "others/1"}
# What a single call may raise while there are faults.
PASSING = (cc.TransportError, cc.ServerError, cc.ThrottledError, cc.QuotaExceededError, cc.DecodeError)


@attrs.define
class Report:
    """What became of one seed."""

    seed: int
    findings: list[str] = attrs.field(factory=list)
    plan: list[str] = attrs.field(factory=list)
    hours: float = 0.0
    requests: int = 0
    trace: str = ""

    def __str__(self) -> str:
        return "\n".join([*self.findings, f"replay: nox -s sim -- --seed {self.seed}"])


class CountingQuota(cc.Quota):
    """Counts its grants apart from its own ledger."""

    net = 0

    def grant(self, *args: Any, **options: Any) -> Any:
        """Count a grant."""
        self.net += 1
        return super().grant(*args, **options)

    def refund(self, *args: Any, **options: Any) -> None:
        """Count it back."""
        self.net -= 1
        super().refund(*args, **options)


class Tokens:
    """A token source whose refresh takes a while."""

    def __init__(self, sandbox: sb.Sandbox, takes: float) -> None:
        self._sandbox = sandbox
        self._takes = takes
        self._token = sandbox.token
        self.refreshes = 0

    async def access_token(self) -> str:
        """Return the token of the day."""
        return self._token

    async def refused(self, token: str) -> None:
        """Get a new one."""
        self.refreshes += 1
        await asyncio.sleep(self._takes)
        self._token = self._sandbox.issue_token()


class Canary(logging.Handler):
    """Looks for secrets in what is logged."""

    def __init__(self, found: Callable[[str], None]) -> None:
        super().__init__(logging.DEBUG)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one record."""
        texts = [record.getMessage(), repr(record.args)]
        if record.exc_info:
            texts.append(logging.Formatter().formatException(record.exc_info))
        if any(SECRET in text for text in texts):
            self._found(f"a secret in a record of {record.name}")
        elif record.levelno >= logging.ERROR:
            self._found(f"logged as an error by {record.name}: {texts[0]} {texts[-1][-300:]}")


@attrs.define
class Seen:
    """One request of ours as the vendor saw it; `told_by`: when we knew of quota_exceeded, if it said so."""

    time: float
    method: str
    target: str
    status: int
    told_by: float = math.inf


@attrs.define(eq=False)
class Job:
    """One import, and what may happen to its watches beside its end."""

    activity_id: str
    life: sb.Life
    born: float
    vanishes: bool = False

    @property
    def allowed(self) -> tuple[type[BaseException], ...]:
        """The errors with which a watch of it may end."""
        return (cc.ActivityExpiredError, cc.NotFoundError) if self.vanishes else ()


class World:
    """One seed's world while it lasts."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.random = Random(f"simulation {report.seed}")
        self.sandbox: sb.Sandbox
        self.quota: CountingQuota
        self.session: cc.ActivitySession
        self.tokens: Tokens
        self.seen: list[Seen] = []
        self.jobs: list[Job] = []
        self.closing = False
        self.healed = math.inf
        self.day_spent = False
        self.stepped = False
        self.damaged = False
        self.theirs = 0
        self.horizon = 0.0
        self.bound = BOUND
        self.deaf: list[float] = []
        self._offenders: set[str] = set()

    # --- what it is told --------------------------------------------------------------------------------------------

    def finding(self, text: str) -> None:
        """Note that something is wrong, each thing once."""
        key = text[:60]
        if key not in self._offenders and len(self._offenders) < 8:
            self._offenders.add(key)
            now = self.sandbox.now if hasattr(self, "sandbox") else 0.0
            self.report.findings.append(f"seed {self.report.seed} at {now:.1f} s: {text}")

    def left(self) -> None:
        """Note that somebody leaves: what was on its way to her is not heard."""
        self.deaf.append(self.sandbox.now)

    def note(self, text: str) -> None:
        """Say what the plan is."""
        self.report.plan.append(text)

    def error(self, error: BaseException, allowed: tuple[type[BaseException], ...], where: str) -> None:
        """Judge an error that came out of the library."""
        text = "".join(traceback.format_exception(error)) + repr(error) + repr(error.args)
        if SECRET in text:
            self.finding(f"a secret in {type(error).__name__} of {where}")
        if not isinstance(error, allowed):
            self.finding(f"{where} ended with {type(error).__name__}: {str(error)[:200]}")

    # --- the vendor's side ------------------------------------------------------------------------------------------

    def listen(self) -> None:
        """Record what arrives at the vendor, and from whom."""
        vendor, handle = self.sandbox.vendor, self.sandbox.vendor.handle

        def listening(request: sb.Request, now: float, *, transit: float = 0.0) -> sb.Reply:
            reply = handle(request, now, transit=transit)
            seen = Seen(now, request.method, request.target, vendor.log[-1].status)
            if reply.status == 429 and b'"quota_exceeded"' in reply.body and reply.body.endswith(b"}"):
                mishaps = [mishap for mishap in reply.wire if not isinstance(mishap, sb.Delay)]
                if not mishaps:
                    late = sum(mishap.seconds for mishap in reply.wire if isinstance(mishap, sb.Delay))
                    seen.told_by = now + 2 * transit + late
                self.day_spent = True
            self.seen.append(seen)
            return reply

        vendor.handle = listening  # type: ignore[method-assign]
        self._handle_others = handle

    def others(self, count: int) -> None:
        """Let other users of the key send so many requests at once."""
        token = {"Authorization": f"Bearer {self.tokens._token}"}
        for _ in range(count):
            request = sb.Request(method="GET", target="/v3/activities?limit=1", headers={**ACCEPT, **token})
            self._handle_others(request, self.sandbox.now)
            self.theirs += 1

    # --- what must be true ------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Look at everything that must be true at any time."""
        if len(self.seen) > self.quota.net:
            self.finding(f"{len(self.seen)} requests, {self.quota.net} grants")
        midnight = self.sandbox.vendor.start.replace(hour=0, minute=0, second=0)
        first = (self.sandbox.vendor.start - midnight).total_seconds()
        days = [int((seen.time + first) // DAY) for seen in self.seen]
        today = days.count(int((self.sandbox.now + first) // DAY))
        if not self.stepped and today > self.quota.spent:
            self.finding(f"{today} requests today, {self.quota.spent} in the ledger")
        for day in set(days):
            if not self.stepped and days.count(day) > self.quota.per_day:
                self.finding(f"{days.count(day)} requests in a day of {self.quota.per_day}")
        times = [seen.time for seen in self.seen]
        for early, late in zip(times, times[4:], strict=False):
            if late - early < 1.0:
                self.finding(f"5 requests within {late - early:.3f} s, the last at {late:.3f} s")
                break
        for place, seen in enumerate(self.seen):
            end = (days[place] + 1) * DAY - first
            heard = not any(seen.time <= when <= seen.told_by + 1e-6 for when in self.deaf)
            if seen.told_by < end and heard:
                broken = [one.time for one in self.seen[place:] if seen.told_by + 1e-6 < one.time < end - 1e-6]
                if broken:
                    self.finding(f"a request at {broken[0]:.3f} s, quota_exceeded was known at {seen.told_by:.3f} s")
                    break
        violations = self.sandbox.violations
        for name in MANNERS:
            if getattr(violations, name):
                self.finding(f"{getattr(violations, name)} violations of {name}")

    # --- people -----------------------------------------------------------------------------------------------------

    async def follow(self, job: Job, rounds: list[tuple[str, float]], options: dict[str, Any]) -> None:
        """Watch a job to its end, leaving and coming back as the rounds say."""
        for kind, amount in [*rounds, ("stay", math.inf)]:
            while True:
                session = self.session
                over = await self._look(session, job, kind, amount, options)
                if over != "closed":
                    break
                await asyncio.sleep(1.0)
            if over == "ended":
                return
            await asyncio.sleep(self.random.choice([0.0, 0.01, 5.0, 120.0]))

    async def _look(
        self, session: cc.ActivitySession, job: Job, kind: str, amount: float, options: dict[str, Any]
    ) -> str:
        allowed = job.allowed
        if options.get("timeout"):
            allowed = (*allowed, cc.WatchTimeoutError)
        try:
            if kind == "cancel":
                return await self._cancelled(session.watch(job.activity_id, **options), job, amount)
            return await self._iterate(session.watch(job.activity_id, **options), job, kind, amount)
        except cc.SessionClosedError:
            if session is self.session and not self.closing:
                self.finding("SessionClosedError from a session that is open")
            return "closed"
        except Exception as error:  # noqa: BLE001 -- whatever comes is to be judged
            self.error(error, allowed, f"a watch ({kind})")
            return "ended"

    async def _cancelled(self, watch: cc.Watch, job: Job, after: float) -> str:
        task = asyncio.ensure_future(self._iterate(watch, job, "stay", math.inf))
        await asyncio.wait([task], timeout=after)
        if not task.done():
            self.left()
            task.cancel()
            if self.random.random() < 0.3:
                task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return "left"

    async def _iterate(self, watch: cc.Watch, job: Job, kind: str, amount: float) -> str:
        ends: list[cc.Activity] = []
        count = 0
        slow = self.random.choice([0.0, 0.0, 0.0, 90.0])
        awaited = kind == "aclose"
        if awaited:
            await watch
        async for snapshot in watch:
            count += 1
            if ends:
                self.finding("a snapshot after the terminal one")
            if snapshot.activity_id != job.activity_id:
                self.finding("a snapshot of another activity")
            if "None" in snapshot.as_dict().values():
                self.finding("None has become a word")
            if snapshot.done:
                ends.append(snapshot)
                self._judge(job, snapshot)
            elif count >= amount and kind in ("break", "aclose", "drop"):
                self.left()
                if kind == "aclose":
                    await watch.aclose()
                return "left"
            await asyncio.sleep(slow)
        if len(ends) != 1:
            self.finding(f"a watch ended with {len(ends)} terminal snapshots")
        return "ended"

    def _judge(self, job: Job, snapshot: cc.Activity) -> None:
        truth = self.sandbox.truth(job.activity_id)
        if truth is None or truth.state != snapshot.state:
            self.finding(f"a watch ended with {snapshot.state}, the truth is {truth}")
            return
        since = max(truth.ended_at, self.healed if self.healed < self.sandbox.now else truth.ended_at)
        late = self.sandbox.now - since > self.bound
        if late and self.healed <= self.sandbox.now and not self.day_spent:
            self.finding(f"an end was seen {self.sandbox.now - since:.0f} s late")

    async def batch(self, jobs: list[Job]) -> None:
        """Wait for many jobs."""
        result: cc.BatchResult | None = None
        while result is None:
            try:
                result = await self.session.wait_many([job.activity_id for job in jobs])
            except cc.SessionClosedError:
                await asyncio.sleep(1.0)
            except Exception as error:  # noqa: BLE001
                self.error(error, (), "wait_many")
                return
        for job in jobs:
            states = [
                str(found[job.activity_id].state)
                for found in (result.completed, result.failed)
                if job.activity_id in found
            ]
            truth = self.sandbox.truth(job.activity_id)
            if job.activity_id in result.errors:
                self.error(result.errors[job.activity_id], job.allowed, "wait_many")
            elif truth is None or states != [truth.state]:
                self.finding(f"wait_many says {states}, the truth is {truth}")

    async def call(self, patience: float) -> None:
        """Make single calls, as a person would."""
        job = self.random.choice(self.jobs)
        calls: list[Callable[[], Awaitable[Any]]] = [
            lambda: self.session.get_activity(job.activity_id),
            lambda: self.session.get_send_history(self.sandbox.vendor.campaign_activity_id),
            lambda: self.session.list_activities(page_size=self.random.choice([3, 50, 500]))._all(),
        ]
        chosen = self.random.choice(calls)
        try:
            async with asyncio.timeout(patience):
                await chosen()
        except TimeoutError:
            self.left()
        except Exception as error:  # noqa: BLE001
            known = (*PASSING, cc.SessionClosedError, cc.UnsafeLinkError, cc.PagingError, cc.ResponseError)
            self.error(error, known, "a single call")

    async def reopen(self) -> None:
        """Close the session and open another one, with the same key."""
        self.closing = True
        self.left()
        old, self.session = self.session, self.open()
        await old.aclose()
        self.closing = False

    def open(self) -> cc.ActivitySession:
        """Open a session."""
        return cc.ActivitySession(
            self.tokens, base_url=self.sandbox.base_url, quota=self.quota, now=utc_now, timeout=20.0
        )


# --- the plan -------------------------------------------------------------------------------------------------------


def _share(random: Random) -> float:
    return random.choice([0.03, 0.1, 0.3])


def _passing_failures(world: World, until: float) -> None:
    draw = world.random
    for _ in range(draw.randint(1, 3)):
        effect: Any = draw.choice(
            [
                *(sb.server_error(status) for status in (500, 502, 503, 504)),
                sb.message(408, "slow"),
                sb.html(502),
                sb.html(200),
                sb.empty(200),
                sb.ok("[1, 2"),
                sb.ok([]),
            ]
        )
        world.note(f"{effect} for some")
        world.sandbox.faults.add(effect, probability=_share(draw), until=until)


def _outage(world: World, until: float) -> None:
    begin = world.random.uniform(0, until / 2)
    end = min(until, begin + world.random.uniform(2, 30) * MINUTE)
    effect: Any = world.random.choice([sb.server_error(503), sb.Reset(), sb.Hang(), sb.html(200), sb.throttled()])
    world.note(f"{effect} from {begin:.0f} to {end:.0f} s")
    world.sandbox.faults.add(effect, after=begin, until=end)


def _broken_ways(world: World, until: float) -> None:
    draw = world.random
    effects: list[Any] = [
        sb.Reset(),
        sb.Reset(hard=False),
        sb.Reset(after=0.5),
        sb.Reset(after=0.5, chunked=True),
        sb.Hang(),
        sb.Hang(after=0.5),
        sb.Cut(),
        sb.Drip(pause=2.0, size=64),
        sb.Drip(pause=2.0, size=32, head=True),
        sb.Raw(b"garbage\r\n\r\n"),
        sb.Raw(b"HTTP/1.1 200 OK\r\nContent-Length: nonsense\r\n\r\n"),
    ]
    for effect in draw.sample(effects, draw.randint(1, 4)):
        world.note(f"{effect} for some")
        world.damaged = True
        world.sandbox.faults.add(effect, probability=_share(draw), until=until)


def _dead_connections(world: World, until: float) -> None:
    world.note("connections closed as we send")
    world.damaged = True
    world.sandbox.faults.add(sb.Disconnect(), probability=world.random.choice([0.2, 0.7]), until=until)


def _slowness(world: World, until: float) -> None:
    effect = sb.Delay(world.random.choice([0.5, 3.0, 15.0]))
    world.note(f"{effect} for some")
    world.sandbox.faults.add(effect, probability=_share(world.random), until=until)


def _throttles(world: World, until: float) -> None:
    effect = world.random.choice([sb.throttled(), sb.throttled({"Retry-After": "3"}), sb.message(429, "no")])
    world.note(f"{effect} for some")
    world.sandbox.faults.add(effect, probability=world.random.choice([0.02, 0.08]), until=until)


def _spent_day(world: World, until: float) -> None:
    if not world.damaged:
        begin = world.random.uniform(0, until)
        world.note(f"quota_exceeded at {begin:.0f} s")
        world.sandbox.faults.add(sb.quota_exceeded(), after=begin, until=until, times=1)


def _odd_lists(world: World, until: float) -> None:
    draw, ids = world.random, [job.activity_id for job in world.jobs]
    effect: Any = draw.choice(
        [
            sb.forbidden(),
            sb.message(400, "no"),
            sb.drop_rows(*draw.sample(ids, len(ids) // 2 or 1)),
            sb.duplicate_rows(),
            sb.next_link("https://evil.example/v3/activities?cursor=x"),
            sb.next_link("/v3/activities?limit=500"),
            sb.next_link("/v3/activities/{actvity_id}"),
        ]
    )
    world.note(f"lists: {effect}")
    world.sandbox.faults.add(effect, where="list", until=until)


def _odd_activities(world: World, until: float) -> None:
    draw = world.random
    for job in draw.sample(world.jobs, min(3, len(world.jobs))):
        effect: Any = draw.choice(
            [
                sb.Patch({"state": "paused"}),
                sb.Patch({"state": None, "percent_done": "12", "updated_at": "completed"}),
                sb.Patch({"percent_done": 140, "status": None, "activity_errors": None}),
                sb.Patch({"percent_done": None, "source_file_name": None, "updated_at": None}),
                sb.wrong_id(),
            ]
        )
        world.note(f"{job.activity_id[:8]}: {effect}")
        where = "get" if effect == sb.wrong_id() else "any"
        world.sandbox.faults.add(effect, where=where, activity_id=job.activity_id, until=until)


def _absences(world: World, until: float) -> None:
    draw = world.random
    job = draw.choice(world.jobs)
    world.note(f"{job.activity_id[:8]} is absent once")
    world.sandbox.faults.add(sb.not_found(), where="get", activity_id=job.activity_id, skip=1, times=1)
    if len(world.jobs) > 1 and draw.random() < 0.5:
        gone = draw.choice([other for other in world.jobs if other is not job])
        gone.vanishes = True
        world.note(f"{gone.activity_id[:8]} vanishes")
        after = draw.uniform(0, until)
        world.sandbox.faults.add(sb.not_found(), where="get", activity_id=gone.activity_id, after=after)
        world.sandbox.faults.add(sb.drop_rows(gone.activity_id), where="list", after=after)


THEMES = (
    _passing_failures,
    _outage,
    _broken_ways,
    _dead_connections,
    _slowness,
    _throttles,
    _spent_day,
    _odd_lists,
    _odd_activities,
    _absences,
)


def _life(draw: Random) -> sb.Life:
    return sb.Life(
        duration=math.exp(draw.uniform(math.log(15), math.log(2 * HOUR))),
        end=draw.choice(["completed", "completed", "failed", "cancelled", "timed_out"]),
        delay=draw.choice([0.0, 5.0, 300.0]),
        progress=draw.choice(["linear", "linear", "none", "late_tail", "stall"]),
        update_every=draw.choice([1.0, 15.0, math.inf]),
    )


def _options(draw: Random) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if draw.random() < 0.2:
        options["max_staleness"] = draw.choice([30.0, 120.0])
    if draw.random() < 0.15:
        options["timeout"] = draw.uniform(60, 2 * HOUR)
    if draw.random() < 0.1:
        options["every_poll"] = True
    return options


def _rounds(draw: Random) -> list[tuple[str, float]]:
    kinds = ["break", "aclose", "drop"]
    return [
        ("cancel", math.exp(draw.uniform(-5, 7))) if draw.random() < 0.5 else (draw.choice(kinds), draw.randint(1, 4))
        for _ in range(draw.choice([0, 0, 1, 2, 5]))
    ]


async def _live(world: World) -> None:
    draw = world.random
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    per_day = draw.choice([10_000, 10_000, 10_000, 600])
    order, stale = draw.choice(["newest", "oldest", "shuffled"]), draw.choice([0.0, 0.0, 20.0])
    history, latency = draw.choice([0, 10, 1200]), draw.choice([0.0, 0.06, 0.4, 3.0])
    workload = sb.Workload(lanes=draw.choice([3, 50]))
    world.note(f"{per_day} a day, {order} first, lists {stale} s late, {history} old ones, latency {latency} s")
    async with sb.Sandbox(
        seed=world.report.seed,
        latency=latency,
        per_day=per_day,
        order=order,
        stale_rows=stale,
        history=history,
        workload=workload,
    ) as sandbox:
        world.sandbox = sandbox
        world.tokens = Tokens(sandbox, draw.choice([0.0, 0.2, 6.0]))
        world.quota = CountingQuota(per_day=per_day)
        world.bound = BOUND if per_day == 10_000 else DAY  # who has little may have to wait for the next
        world.listen()
        world.session = world.open()
        world.horizon = draw.uniform(0.3, 3.0) * HOUR
        people = _people(world)
        heal = world.horizon * draw.uniform(0.2, 0.7)
        for theme in draw.sample(THEMES, draw.randint(0, 4)):
            theme(world, heal)
        events = _events(world, loop, heal)
        tasks = [asyncio.create_task(person) for person in people]
        try:
            await _happen(world, events, tasks)
            await _heal(world, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await world.session.aclose()
        world.check()
    _check_nothing_left(world, loop)


def _people(world: World) -> list[Coroutine[Any, Any, None]]:
    draw = world.random
    people: list[Coroutine[Any, Any, None]] = []

    async def later(when: float, what: Coroutine[Any, Any, None]) -> None:
        try:
            await asyncio.sleep(when)
        except asyncio.CancelledError:
            what.close()
            raise
        await what

    for _ in range(draw.choice([1, 2, 4, 8, 16])):
        life = _life(draw)
        job = Job(world.sandbox.submit(life), life, 0.0)
        world.jobs.append(job)
        for _ in range(draw.choice([1, 1, 1, 2])):
            rounds, options = _rounds(draw), _options(draw)
            world.note(f"{job.activity_id[:8]} {life.duration:.0f} s {life.end}: {rounds} {options}")
            people.append(later(draw.choice([0.0, draw.uniform(0, 600)]), world.follow(job, rounds, options)))
    if draw.random() < 0.3:
        some = draw.sample(world.jobs, draw.randint(1, len(world.jobs)))
        people.append(later(draw.uniform(0, 60), world.batch(some)))
    for _ in range(draw.choice([0, 3, 10])):
        people.append(later(draw.uniform(0, world.horizon), world.call(draw.choice([0.01, 1.0, 3000.0]))))
    if draw.random() < 0.3:
        when = draw.uniform(0, world.horizon)
        people += [later(when, world.call(3000.0)) for _ in range(draw.randint(4, 12))]
    return people


def _events(world: World, loop: VirtualTimeLoop, heal: float) -> list[tuple[float, str, Callable[[], Any]]]:
    draw = world.random
    events: list[tuple[float, str, Callable[[], Any]]] = [(heal, "heal", lambda: None)]

    def at(what: str, act: Callable[[], Any], until: float = heal) -> None:
        events.append((draw.uniform(0, until), what, act))

    if draw.random() < 0.3:
        world.stepped = True
        for _ in range(draw.randint(1, 3)):
            step = draw.choice([-HOUR, HOUR, -8 * HOUR, 8 * HOUR, 13 * HOUR, 0.5])
            at(f"clock {step:+.0f} s", partial(loop.step_utc, step))
    if draw.random() < 0.3:
        for _ in range(draw.randint(1, 3)):
            at("the token expires", world.sandbox.expire_token)
    if draw.random() < 0.3:
        for _ in range(draw.randint(1, 3)):
            at("another session", world.reopen)
    if draw.random() < 0.3:
        begin, seconds, rate = draw.uniform(0, heal), draw.choice([5, 60, 200]), draw.choice([1, 3, 4])
        end = min(heal, begin + seconds)
        world.note(f"others: {rate} a second from {begin:.0f} to {end:.0f} s")
        while begin < end:
            events.append((begin, "others", lambda: world.others(rate)))
            begin += 1.0
    return sorted(events, key=lambda event: event[0])


async def _happen(
    world: World, events: list[tuple[float, str, Callable[[], Any]]], tasks: list[asyncio.Task[None]]
) -> None:
    for when, what, act in events:
        if (wait := when - world.sandbox.now) > 0:
            await asyncio.sleep(wait)
        if what != "others":
            world.note(f"{when:.1f} s: {what}")
            world.check()
        if (done := act()) is not None:
            await done


async def _heal(world: World, tasks: list[asyncio.Task[None]]) -> None:
    sandbox = world.sandbox
    for fault in sandbox.faults:
        vanished = fault.activity_id in {job.activity_id for job in world.jobs if job.vanishes}
        if not vanished and not (isinstance(fault.effect, sb.Answer) and fault.times == 1):
            sandbox.faults.remove(fault)
    world.healed = sandbox.now
    lanes = sum(job.life.duration + job.life.delay for job in world.jobs if not world.sandbox.truth(job.activity_id))
    longest = max((sandbox.vendor.job(job.activity_id).ended for job in world.jobs), default=0.0)
    patience = (
        max(0.0, min(longest, lanes + sandbox.now) - sandbox.now)
        + world.bound
        + HOUR
        + max(0.0, world.horizon - sandbox.now)
    )
    if tasks:
        _, pending = await asyncio.wait(tasks, timeout=patience)
        if pending and (world.day_spent or world.quota.per_day < 10_000):
            _, pending = await asyncio.wait(tasks, timeout=26 * HOUR)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                world.error(error, (), "a person")
        if pending:
            world.finding(f"{len(pending)} watches have not ended {sandbox.now - world.healed:.0f} s after the healing")
    world.check()
    await _call_once_more(world)
    queued = [len(queue) for queue in world.quota._queues]
    if queued != [0, 0] and all(task.done() for task in tasks):
        world.finding(f"tickets left in the queues: {queued}")
    if world.session.stats.watching and all(task.done() for task in tasks):
        world.finding(f"{world.session.stats.watching} activities are still watched")


async def _call_once_more(world: World) -> None:
    try:
        async with asyncio.timeout(10 * MINUTE):
            await world.session.get_send_history(world.sandbox.vendor.campaign_activity_id)
    except cc.QuotaExceededError as error:
        if not world.day_spent and not world.stepped:
            world.error(error, (), "the call at the end")
    except Exception as error:  # noqa: BLE001
        world.error(error, (), "the call at the end")


def _check_nothing_left(world: World, loop: VirtualTimeLoop) -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        world.finding(f"tasks left: {[str(task.get_coro()) for task in left]}")
    if queued := [len(queue) for queue in world.quota._queues if queue]:
        world.finding(f"tickets left in the queues: {queued}")
    timers = [handle for handle in loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
    if ours := [repr(handle) for handle in timers if "aiohttp/" not in repr(handle)]:
        world.finding(f"timers left: {ours[:3]}")


def _sockets() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


def simulate(seed: int) -> Report:
    """Live through one seed."""
    report = Report(seed)
    world = World(report)
    before = random.getstate()
    random.seed(f"jitter {seed}")
    canary = Canary(world.finding)
    loggers = [logging.getLogger(name) for name in ("ccactivity", "asyncio", "aiohttp")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(canary)
        logger.setLevel(logging.DEBUG)
    sockets = _sockets()
    start = datetime(2026, 3, 7, tzinfo=UTC) + timedelta(seconds=world.random.choice([12.0, 22.5, 23.9]) * HOUR)
    clock = 0.0

    async def main() -> None:
        nonlocal clock
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: world.finding(f"{context['message']}: {context.get('exception')!r}")
        )
        try:
            await _live(world)
        finally:
            clock = loop.time()

    try:
        run(main(), debug=False, utc_start=start)
    except Exception as error:  # noqa: BLE001 -- a deadlock, or a fault of the machine: whoever runs it has to see it
        world.finding(f"the run ended with {type(error).__name__}: {str(error)[:500]}")
        report.plan.append("".join(traceback.format_exception(error)))
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(canary)
            logger.setLevel(level)
        random.setstate(before)
    if _sockets() > sockets:
        gc.collect()
    if _sockets() > sockets:
        world.finding(f"{_sockets() - sockets} connections left")
    report.hours = clock / HOUR
    report.requests = len(world.seen)
    lines = "\n".join(f"{seen.time:.6f} {seen.method} {seen.target} {seen.status}" for seen in world.seen)
    report.trace = hashlib.sha256(lines.encode()).hexdigest()[:16]
    return report
