"""A world of processes that watch activities together: all of the library but HTTP, on a real server, with faults.

`fleet_world` asks what the scripts of the quota do when members err; this one asks what consumers get. After every call
of the server the rules are checked against what the world itself knows. The same seed gives the same steps, with
PYTHONHASHSEED=0.

- **Asked for**: an activity is asked for while somebody alive watches it, and no longer than a dead process is kept.
- **Told once**: no consumer is told an end twice, and each is told it while the server and its own process live. What
  the fleet knows to have ended is not asked for again.
- **Snapshots**: nothing older takes the place of something newer, and nothing that of an end.
- **Secrets**: no key and no value on the server has a token in it, though the vendor quotes it.
- **An end to all**: no key without a time to live; after the last close no task and no connection either.
- **Permits**: no request without one that was asked for a tenth of a second before at most; no more than four requests
  within a second.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

import attrs
from support.fleet_engines import Spoil, VirtualEngine, VirtualFleet, VirtualServer, with_given_clock
from support.redis_server import RedisServer
from support.virtual_time import virtual_loop

from ccactivity._emitter import Emitter
from ccactivity._tasks import spawn
from ccactivity.api.auth import Authenticator
from ccactivity.api.client import ApiClient
from ccactivity.api.decoding import Decoder
from ccactivity.api.endpoint import Endpoint
from ccactivity.api.messages import Reply, Request
from ccactivity.api.retry import Retry
from ccactivity.errors import CCActivityError, FleetUnavailableError, SessionClosedError, TransportError
from ccactivity.fleet.engine import AcquireReply, AcquireStatus, EngineError, PermitRequest
from ccactivity.fleet.ledger import Ledger
from ccactivity.fleet.member import Member
from ccactivity.fleet.scripts import read_script
from ccactivity.models import Activity
from ccactivity.polling.hub import Hub, SnapshotQueue
from ccactivity.polling.pacing import Pacing
from ccactivity.polling.planner import Planner
from ccactivity.polling.poller import Poller
from ccactivity.polling.tuning import Tuning
from ccactivity.ratelimit.limiter import PERMIT_MAX_AGE_S
from ccactivity.ratelimit.quota import Quota
from ccactivity.tokens import source_of

from .fleet_world import BrokenRuleError

TOKEN: Final = "CANARY-of-the-fleet"
KEPT_S: Final = 12.0  # a dead process is let go after ten seconds, at the next beat
PROMPT_S: Final = 15.0  # to a look, and to an end, after whatever was wrong: a lease, healing, and a turn of all ids
MAX_OPEN_JOBS: Final = 7
PROCESSES: Final = 4
WATCH_FAULTS: Final = {  # how often each, of a hundred faults
    "flush": 12,
    "restore": 12,
    "restart": 6,
    "evict": 16,
    "kill": 16,
    "stop": 14,
    "close": 8,
    "away": 8,
    "slow": 4,
    "back": 4,
}

# Looks at all that the server holds. Returns the keys with a secret in them (ARGV 1), those without a time to live, and
# all snapshots. Of the news it looks at the last entries, more than a call adds.
_LOOK: Final = """
local secret, endless, snapshots = {}, {}, {}
local function has_secret(held)
  if type(held) ~= 'table' then return string.find(held, ARGV[1], 1, true) end
  for _, each in ipairs(held) do if has_secret(each) then return true end end
end
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind, held = redis.call('TYPE', key).ok, {}
  if kind == 'hash' then held = redis.call('HGETALL', key)
  elseif kind == 'zset' then held = redis.call('ZRANGE', key, 0, -1)
  elseif kind == 'string' then held = redis.call('GET', key)
  else held = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 20) end
  if has_secret({key, held}) then secret[#secret + 1] = key end
  if redis.call('PTTL', key) < 0 then endless[#endless + 1] = key end
  if string.match(key, ':snap$') then snapshots = held end
end
return {secret, endless, snapshots}
"""


@attrs.define(eq=False)
class Job:
    """An activity of the vendor. `over_at`: its end, or when the vendor begins to refuse it; `seen_over_at`: when
    its end was told, and so is on the server. `asked_at`, `watched_at`: the last time.
    """

    activity_id: str
    began: float
    over_at: float
    refused: bool
    seen_over_at: float = math.inf
    asked_at: float = -math.inf
    watched_at: float = -math.inf

    def answer(self, now: float, authorization: str) -> Reply:
        if now >= self.over_at and self.refused:  # as gateways do, it quotes the request
            error = [{"error_key": "denied", "error_message": f"not with {authorization}"}]
            return Reply(403, {"x-amzn-requestid": "1"}, json.dumps(error).encode())
        done = now >= self.over_at
        percent = 100 if done else int(99 * (now - self.began) / (self.over_at - self.began))
        body = {"activity_id": self.activity_id, "state": "completed" if done else "processing"}
        return Reply(200, {}, json.dumps({**body, "percent_done": percent}).encode())


class Consumer(SnapshotQueue):
    """Somebody who watches, and counts what they are told of each activity's end."""

    def __init__(self, process: Process, jobs: list[Job], now: float) -> None:
        super().__init__(enter=lambda: process.member.hub, grace=10.0, max_staleness=2.0)
        self.process = process
        self.since = dict.fromkeys((job.activity_id for job in jobs), now)
        self.ends_told: Counter[str] = Counter()
        self.unfinished.update(dict.fromkeys(self.since))

    def put(self, activity: Activity) -> None:
        super().put(activity)
        if activity.done:
            self._tell(activity.activity_id)

    def fail(self, activity_id: str, error: CCActivityError) -> None:
        super().fail(activity_id, error)
        self._tell(activity_id)

    def _tell(self, activity_id: str) -> None:
        self.ends_told[activity_id] += 1
        self.process.engine.world.on_end(activity_id, self.ends_told[activity_id])


@attrs.define(eq=False)
class Process:
    """A process of the fleet: its member, what it sends with, and who watches in it. `frozen_until`: it is stopped."""

    name: str
    member: Member
    client: ApiClient
    engine: WatchingEngine
    consumers: list[Consumer] = attrs.field(factory=list)
    frozen_until: float = 0.0


class WatchingEngine(VirtualEngine):
    """An engine that may be stopped, whose calls may get lost, and after each of which the world checks its rules."""

    def __init__(self, world: WatchWorld, *arguments: Any) -> None:
        super().__init__(world.server, *arguments)
        self.world = world
        self._member = world.next_name()
        self.process: Process | None = None
        self.asked: list[float] = []  # of permits that were granted: when they were asked for

    def _read_script(self, name: str) -> str:
        return with_given_clock(self.world.spoil(read_script(name)))

    async def acquire(self, request: PermitRequest) -> AcquireReply:
        asked = virtual_loop().time()
        reply = await super().acquire(request)
        if reply.status is AcquireStatus.GRANTED:
            self.asked.append(asked)
        return reply

    async def _reach(self) -> None:
        while self.process is not None and (left := self.process.frozen_until - virtual_loop().time()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        await super()._reach()

    def _answered(self) -> None:
        self.world.check()

    async def _ask(self, question: Callable[[], Awaitable[Any]]) -> Any:
        lost = self.world.draw_loss()
        if lost == "question":
            raise EngineError("a question was lost")
        answer = await super()._ask(question)
        if lost == "answer":
            raise EngineError("an answer was lost")
        return answer


class WatchingFleet(VirtualFleet):
    """A fleet of this world."""

    def __init__(self, world: WatchWorld) -> None:
        super().__init__(world.server)
        self.world = world

    def _make_engine(self, ledger: Ledger) -> WatchingEngine:
        self.engine = engine = WatchingEngine(self.world, self._connect, self._names, ledger)
        return engine


class VendorTransport:
    """In the place of HTTP: brings the requests of one process to the vendor of the world."""

    host = "vendor"

    def __init__(self, world: WatchWorld, engine: WatchingEngine) -> None:
        self._world = world
        self._engine = engine

    async def send(self, request: Request, before_each_send: Callable[[], Awaitable[str]]) -> Reply:
        authorization = await before_each_send()
        self._world.on_sent(self._engine, request)
        await asyncio.sleep(0.06)
        if self._world.random.random() < 0.01:
            raise TransportError("the connection was reset", method=request.method, path=request.path)
        return self._world.answer(request, authorization)

    async def aclose(self) -> None:
        """There is nothing to close."""


class WatchWorld:
    """One run, on a virtual loop. `counts`: what happened; `steps`: calls of the server, each followed by a check.

    `faults`: how often each, against the others; if it is only one, more often.
    """

    def __init__(
        self, server: RedisServer, seed: int, *, spoil: Spoil = str, faults: Mapping[str, int] = WATCH_FAULTS
    ) -> None:
        self.random = random.Random(seed)
        random.seed(seed)  # the library draws its jitter there
        self.spoil = spoil
        self.server = VirtualServer(server.url)
        self.counts: Counter[str] = Counter()
        self.steps = 0
        self._seed = seed
        self._faults = faults
        kinds = list(faults)  # of which five worlds, one seed after the other, see all
        self._first_faults = [kinds[(2 * seed + place) % len(kinds)] for place in range(2) if kinds]
        self._plain = server.client()
        self._look = self._plain.register_script(_LOOK)
        self._strangers: set[str] = set()
        self._strangers = self._connections()  # our own, and those of others
        self._processes: list[Process] = []
        self._jobs: dict[str, Job] = {}
        self._names = 0
        self._quiet_since = 0.0
        self._heals_at = 0.0  # until then the server knows of processes that are gone
        self._snapshots: dict[bytes, bytes] = {}
        self._sent: deque[float] = deque()
        self._dumps: list[dict[bytes, tuple[int, bytes]]] = []
        self._broken: BrokenRuleError | None = None
        self._ending: list[asyncio.Task[None]] = []
        self._calm = False
        self._stops_at_a_request = False

    def next_name(self) -> str:
        self._names += 1
        return f"m{self._names}"

    # --- the course of things ---------------------------------------------------------------------------------------

    async def run(self, steps: int) -> None:
        """Go on for so many steps; then let all ends be told, close everything, and look at what is left."""
        try:
            for _ in range(PROCESSES):
                self._join()
            while self.steps < steps:
                await self._next()
            self._calm, self._quiet_since = True, max(self._quiet_since, self._now)
            await self._pass(3 * PROMPT_S + max(job.over_at for job in self._jobs.values()) - self._now)
        finally:
            self._calm = True
            self._come_back()
            for process in tuple(self._processes):
                await self._close(process)
            await asyncio.gather(*self._ending)
        for _ in range(5):
            await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        self.require(not left, f"tasks are left: {left}")
        give_up = time.monotonic() + 2.0  # the server notices in real time
        while self._connections() and time.monotonic() < give_up:
            time.sleep(0.01)  # noqa: ASYNC251 -- the loop has nothing left to do
        self.require(not self._connections(), "connections are left")
        self.check()
        self._plain.close()
        self._stop_if_broken()

    def _connections(self) -> set[str]:
        return {client["id"] for client in self._plain.client_list()} - self._strangers

    @property
    def _now(self) -> float:
        return virtual_loop().time()

    async def _pass(self, seconds: float) -> None:
        """Let time pass, and stop at a broken rule."""
        until = self._now + seconds
        while self._now < until:
            await asyncio.sleep(min(0.5, max(until - self._now, 0.001)))
            self._stop_if_broken()

    def _stop_if_broken(self) -> None:
        if self._broken is not None:
            raise self._broken

    async def _next(self) -> None:
        await self._pass(self.random.expovariate(2.0))
        deeds = {"watch": 40, "leave": 25, "submit": 25, "call": 6, "fault": (0, 15, 5)[min(2, len(self._faults))]}
        (deed,) = self.random.choices(list(deeds), list(deeds.values()))
        await {
            "watch": self._watch,
            "leave": self._leave,
            "submit": self._submit,
            "call": self._call,
            "fault": self._fault,
        }[deed]()

    def _join(self) -> None:
        fleet, quota = WatchingFleet(self), Quota(4, 1_000_000)
        decoder, endpoint = Decoder(lambda *_: None), Endpoint.parse("https://vendor/v3")

        def make_poller(hub: Hub) -> Poller:
            return Poller(hub, Planner(Pacing(), Tuning()), client, member.limiter, endpoint, decoder)

        quota.attach(virtual_loop().utc_now)
        member = fleet.join(quota, decoder, make_poller, Emitter())
        assert isinstance(member, Member)
        engine = fleet.engine
        assert isinstance(engine, WatchingEngine)
        transport: Any = VendorTransport(self, engine)
        auth = Authenticator(source_of(TOKEN))
        client = ApiClient(transport=transport, auth=auth, limiter=member.limiter, retry=Retry())
        process = engine.process = Process(engine.member, member, client, engine)
        self._processes.append(process)
        member.start()

    def _awake(self) -> list[Process]:
        return [process for process in self._processes if process.frozen_until <= self._now]

    async def _submit(self) -> None:
        if sum(job.over_at > self._now for job in self._jobs.values()) < MAX_OPEN_JOBS:
            over_at = self._now + self.random.uniform(5.0, 90.0)
            job = Job(f"job-{len(self._jobs)}", self._now, over_at, self.random.random() < 0.15)
            self._jobs[job.activity_id] = job

    async def _watch(self) -> None:
        jobs = [job for job in self._jobs.values() if job.over_at > self._now - 30.0]
        if jobs:
            process = self.random.choice(self._awake() or self._processes)
            chosen = self.random.sample(jobs, self.random.randint(1, min(2, len(jobs))))
            consumer = Consumer(process, chosen, self._now)
            consumer.attach(first_look=self.random.random() < 0.5)
            process.consumers.append(consumer)
            self.counts["watched"] += 1

    async def _leave(self) -> None:
        process = self.random.choice(self._processes)
        if process.consumers:
            consumer = process.consumers.pop(self.random.randrange(len(process.consumers)))
            self._note_watched()
            consumer.detach()
            self.counts["left"] += 1

    async def _call(self) -> None:
        with suppress(FleetUnavailableError):  # after its patience
            permit = await self.random.choice(self._processes).member.limiter.acquire(background=False)
            permit.close()
            self.counts["calls"] += 1

    # --- faults -----------------------------------------------------------------------------------------------------

    async def _fault(self) -> None:
        (fault,) = self.random.choices(list(self._faults), list(self._faults.values()))
        if self._first_faults:
            fault = self._first_faults.pop()
        self.counts[fault] += 1
        self._dump()
        self._note_watched()
        self._quiet_since = max(self._quiet_since, self._now)
        async with self.server.turn:
            await getattr(self, f"_{fault}")()

    def _server_has_lost(self) -> None:
        self._heals_at = max(self._heals_at, self._now)
        self._snapshots.clear()
        for job in self._jobs.values():
            job.seen_over_at = math.inf

    async def _flush(self) -> None:
        self._server_has_lost()
        self._plain.flushall()

    async def _restore(self) -> None:
        """A fail-over to a server that lacks the last writes, which ends all connections."""
        self._server_has_lost()
        self.server.run += 1
        self._plain.flushall()
        for key, (ttl, value) in self.random.choice(self._dumps).items():
            self._plain.restore(key, ttl, value)
        self.server.away = True
        virtual_loop().call_later(0.5, self._come_back)
        self._quiet_since = max(self._quiet_since, self._now + 0.5)

    async def _restart(self) -> None:
        self.server.run += 1

    async def _evict(self) -> None:
        names = ("quota", "lease", "members", "snap", "ends", "memo", "news", "w:*")
        self._server_has_lost()
        for key in self._plain.keys(f"*:{self.random.choice(names)}"):
            self._plain.delete(key)

    async def _kill(self) -> None:
        process = self._victim()
        process.engine.killed = True
        self._end(process)
        self._join()

    async def _stop(self) -> None:
        if self.random.random() < 0.5:
            self._stops_at_a_request = True  # whose answer is then told too late, the last one above all
        else:
            self._freeze(self._victim())

    def _freeze(self, process: Process) -> None:
        process.frozen_until = max(process.frozen_until, self._now + self.random.choice((2.0, 5.0, 20.0)))
        self._quiet_since = max(self._quiet_since, process.frozen_until)

    def _victim(self) -> Process:
        """Half the time one that polls, or believes that it does."""
        pollers = [process for process in self._awake() if process.member.stats.polling]
        return self.random.choice(pollers if pollers and self.random.random() < 0.5 else self._processes)

    async def _close(self, process: Process | None = None) -> None:
        process = process or self.random.choice(self._processes)
        process.frozen_until = 0.0
        self._end(process)
        if not self._calm:
            self._join()

    def _end(self, process: Process) -> None:
        self._note_watched()
        self._processes.remove(process)
        process.member.hub.abort(SessionClosedError("the session was closed"))

        async def close() -> None:
            await process.client.aclose()
            await process.member.hub.settled()
            await process.member.aclose()

        self._ending.append(spawn(close()))

    async def _away(self) -> None:
        self.server.away = True
        seconds = self.random.uniform(0.5, 8.0)
        virtual_loop().call_later(seconds, self._come_back)
        self._quiet_since = max(self._quiet_since, self._now + seconds)
        self._heals_at = max(self._heals_at, self._now + seconds)

    def _come_back(self) -> None:
        self.server.away = False

    async def _slow(self) -> None:
        self.server.latency = self.random.choice((0.05, 0.15))
        seconds = self.random.uniform(1.0, 5.0)
        virtual_loop().call_later(seconds, self._speed_up)
        self._quiet_since = max(self._quiet_since, self._now + seconds)

    def _speed_up(self) -> None:
        self.server.latency = 0.0

    async def _back(self) -> None:
        self._server_has_lost()
        virtual_loop().step_utc(-self.random.uniform(2.0, 600.0))

    def _dump(self) -> None:
        keys: list[Any] = list(self._plain.keys("*"))
        self._dumps.append({key: (self._plain.pttl(key), self._plain.dump(key) or b"") for key in keys})
        del self._dumps[:-3]

    def draw_loss(self) -> str:
        """What gets lost of a call: seldom its question or its answer."""
        chance = 1.0 if self._calm else self.random.random()
        return "question" if chance < 0.001 else "answer" if chance < 0.003 else ""

    # --- the vendor -------------------------------------------------------------------------------------------------

    def on_sent(self, engine: WatchingEngine, request: Request) -> None:
        """A request leaves a process."""
        now = self._now
        fresh = [asked for asked in engine.asked if now - asked <= PERMIT_MAX_AGE_S + 1e-6]
        self.require(bool(fresh), "a request without a permit, or with one that is too old")
        engine.asked = fresh[1:]
        while self._sent and self._sent[0] <= now - 1.0:
            self._sent.popleft()
        self._sent.append(now)
        self.require(len(self._sent) <= 4, f"{len(self._sent)} requests within a second")
        self.counts["requests"] += 1
        job = self._jobs.get(request.path.rpartition("/")[2])
        if job is not None:
            job.asked_at = now
            self._note_watched()
            interesting = now >= job.over_at or self.random.random() < 0.3
            if self._stops_at_a_request and interesting and not self._calm:
                assert engine.process is not None
                self._stops_at_a_request = False
                self._freeze(engine.process)
            late = now - max(job.seen_over_at, self._quiet_since)
            self.require(late <= PROMPT_S, f"{job.activity_id} is asked for, {late:.1f} s after its end was told")
            late = now - max(job.watched_at, self._heals_at)
            self.require(late <= KEPT_S, f"{job.activity_id} is asked for, {late:.1f} s after its last watch")

    def on_end(self, activity_id: str, times: int) -> None:
        """A consumer is told of an end, for the first time as they should, or again."""
        self.require(times == 1, f"an end of {activity_id} is told twice")
        job = self._jobs[activity_id]
        if not job.refused and self._now > self._quiet_since + 1.0:  # else the server may have lost it since
            job.seen_over_at = min(job.seen_over_at, self._now)

    def answer(self, request: Request, authorization: str) -> Reply:
        job = self._jobs.get(request.path.rpartition("/")[2])
        # There are no lists: then each activity is asked for by itself.
        return Reply(404) if job is None else job.answer(self._now, authorization)

    def _note_watched(self) -> None:
        for process in self._processes:
            for consumer in process.consumers:
                for activity_id in consumer.unfinished:
                    self._jobs[activity_id].watched_at = self._now

    # --- rules ------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Look at the server and at all consumers."""
        self.steps += 1
        secret, endless, snapshots = self._look(args=[TOKEN])
        self.require(not secret, f"the token is on the server, in {secret}")
        self.require(not endless, f"no time to live: {endless}")
        self._check_snapshots(dict(zip(snapshots[::2], snapshots[1::2], strict=True)))
        for process in self._awake():
            self.require(not any(task.done() for task in process.member._tasks), f"a task of {process.name} has ended")
            for consumer in process.consumers:
                self._check_consumer(consumer)

    def _check_snapshots(self, snapshots: dict[bytes, bytes]) -> None:
        for activity_id, text in snapshots.items():
            before = self._snapshots.get(activity_id, b"")
            if before[:1] == b"t":
                self.require(text == before, f"the end of {activity_id!r} was replaced: {before!r}, {text!r}")
            elif before:
                self.require(_percent(text) >= _percent(before), f"{before!r} was replaced by {text!r}")
        self._snapshots = snapshots

    def _check_consumer(self, consumer: Consumer) -> None:
        for activity_id, since in consumer.since.items():
            job, watched_since = self._jobs[activity_id], max(since, self._quiet_since)
            if consumer.ends_told[activity_id]:
                continue
            late = self._now - max(watched_since, job.over_at)
            self.require(late <= PROMPT_S, f"the end of {activity_id} is not told for {late:.1f} s")
            late = self._now - max(watched_since, job.asked_at)
            self.require(late <= PROMPT_S, f"{activity_id} is not asked for for {late:.1f} s")

    def require(self, holds: bool, what: str) -> None:
        """Note a broken rule; it is raised by `run`, not in a task of the library that happened to be at work."""
        if not holds and self._broken is None:
            self._broken = BrokenRuleError(f"{what}, at {self._now:.3f} s of world {self._seed}; {dict(self.counts)}")


def _percent(text: bytes) -> float:
    percent: float = json.loads(text.partition(b":")[2])["percent_done"]
    return percent
