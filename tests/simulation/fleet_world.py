"""A world of members that share one key: real scripts on a real server, a clock of our own, and faults at random.

After every step the rules are checked against what the world itself has counted, never against what the server says
that it has counted. The same seed gives the same steps.

- **Window**: in any 1.1 s at most a burst of permits, also after a server has lost its memory or its clock goes back.
- **Day**: permits of a UTC day are no more than it allows, but for those that nobody alive was told of.
- **Reserve**: the background takes none of the day's reserve, and nothing while the vendor's quota is shut.
- **Fence**: a background permit has the token of the last take-over; tokens only rise.
- **Gate**: no permit while the vendor wants a pause or calls the day spent; then one goes alone, the probe.
- **Queue**, in a calm world: single calls in the order in which they came, a background ticket after five seconds.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import attrs
from redis.asyncio import Redis
from support.fleet_engines import ClockedEngine, Spoil

from ccactivity.fleet.engine import AcquireReply, AcquireStatus, PermitRequest
from ccactivity.fleet.ledger import Limits
from ccactivity.fleet.redis_engine import Names
from ccactivity.ratelimit.limiter import PermitResult

AnyReply = TypeVar("AnyReply")

US: Final = 1_000_000
DAY: Final = 86_400 * US
WINDOW: Final = 1_100_000
NOON: Final = 20_000 * DAY + DAY // 2
LEASE: Final = 3.0
BEAT: Final = 1.0
CLOSED: Final = 1_500_000  # what a server that lost its memory waits, so that everyone alive tells what they know

FAULTS: Final = {  # how often each, of a hundred faults
    "flush": 16,
    "restore": 16,
    "restart": 4,
    "evict": 8,
    "kill": 14,
    "stop": 12,
    "join": 12,
    "back": 9,
    "stutter": 5,
    "midnight": 4,
}


class BrokenRuleError(AssertionError):
    """A rule does not hold."""


@attrs.define(eq=False)
class Ask:
    """A ticket of a member that waits: since when, and how many others waited then."""

    request: PermitRequest
    since: int
    others: int
    kills: int


@attrs.define(eq=False)
class Held:
    """A permit that is to be settled."""

    request: PermitRequest
    granted_at: int
    day: int
    true_time: int


@attrs.define(eq=False)
class SimulatedMember:
    """A process: what it believes, and what it waits for. `stopped_until`: it does nothing before."""

    name: str
    engine: ClockedEngine
    token: int = 0
    seen_token: int = 0
    alive: bool = True
    stopped_until: int = 0
    tickets: int = 0
    asks: dict[bool, Ask | None] = attrs.field(factory=lambda: {False: None, True: None})
    held: list[Held] = attrs.field(factory=list)


@attrs.define(eq=False)
class Forgetting:
    """A server lost its memory: what had been spent of the day, and what of that was told it again, by whom."""

    day: int
    spent: int
    until: int
    told: dict[SimulatedMember, int]
    healed: int = 0


def known_of(member: SimulatedMember, day: int) -> int:
    """How many permits of a day a member was told of."""
    state = member.engine.ledger.state
    if state is None:
        return 0
    days = {state.other_day: state.other_granted - state.other_refunded, state.day: state.granted - state.refunded}
    return days.get(day, 0)


class FleetWorld:
    """One run; `step` is one call of a script or one fault. `counts`: what happened."""

    def __init__(self, server: Redis, seed: int, *, spoil: Spoil = str, members: int = 5, calm: bool = False) -> None:
        self.random = random.Random(seed)
        self._calm = calm
        self.limits = Limits(4, 100_000 if calm else self.random.choice((100, 300, 5_000)), 60)
        self.counts: Counter[str] = Counter()
        self._server = server
        self._spoil = spoil
        self._key = f"world-{seed}"
        # True time, by which the members' own clocks go: noon, or shortly before 00:00.
        self._time = NOON + self.random.choice((0, 0, DAY // 2 - 20 * US))
        self._began = self._time
        self._offset = 0  # of the server's clock
        self._run = 0
        self._numbers = itertools.count(1)
        self._agenda: list[tuple[int, int, SimulatedMember, str]] = []
        self._order = itertools.count()
        self._sent: deque[int] = deque()
        self._spent: Counter[int] = Counter()
        self._allowed: Counter[int] = Counter()
        self._forgettings: list[Forgetting] = []
        self._newest_token = 0
        self._tokens: set[int] = set()
        self._shut_until = 0
        self._paused_until = 0  # by true time
        self._probe: Held | None = None
        self._forgot_at = 0
        self._dumps: list[dict[Any, Any]] = []
        self.members: list[SimulatedMember] = []
        for _ in range(members):
            self._join_one()

    @property
    def now(self) -> int:
        """The server's time."""
        return self._time + self._offset

    async def run(self, steps: int) -> None:
        """Go on for so many steps."""
        while steps > 0:
            steps -= await self.step()

    async def step(self) -> int:
        """Do what is next on the agenda; 1 if that was a step."""
        if self.random.random() < 0.008:
            await self._fault()
            return 1
        at, _, member, what = heapq.heappop(self._agenda)
        self._time = max(self._time, at)
        self._forget_old()
        if not member.alive:
            return 0
        if member.stopped_until > self._time:
            self._plan(member, what, member.stopped_until + self.random.randrange(US // 10))
            return 0
        await {"beat": self._beat, "call": self._call, "poll": self._poll, "settle": self._settle}[what](member)
        return 1

    # --- members ----------------------------------------------------------------------------------------------------

    def _join_one(self) -> SimulatedMember:
        name = f"m{next(self._numbers)}"
        engine = ClockedEngine(
            self._server,
            Names(self._key, "default"),
            self.limits,
            lambda: (self.now, f"run{self._run}"),
            spoil=self._spoil,
        )
        engine._member = name  # the same seed gives the same steps
        member = SimulatedMember(name, engine)
        self.members.append(member)
        for what in ("beat", "call", "poll"):
            self._plan(member, what, self._time + self.random.randrange(US))
        return member

    def _plan(self, member: SimulatedMember, what: str, at: int) -> None:
        heapq.heappush(self._agenda, (at, next(self._order), member, what))

    def _told(self, member: SimulatedMember) -> None:
        """A member has called, and so told what it knew."""
        for each in self._forgettings:
            each.healed = max(each.healed, each.told.pop(member, 0))

    async def _beat(self, member: SimulatedMember) -> None:
        self.counts["beats"] += 1
        reply = await self._reach(
            member, lambda: member.engine.beat(candidate=True, token=member.seen_token, lease=LEASE)
        )
        if reply.holder and reply.token != self._newest_token:
            awake = [each.seen_token for each in self.members if each.alive and each.stopped_until <= self._time]
            self._require(reply.token > max(awake), f"token {reply.token} after {max(awake)}")
            self._require(reply.token not in self._tokens, f"token {reply.token} once more")
            self._tokens.add(reply.token)
            self._newest_token = reply.token
            self.counts["take-overs"] += 1
        if self.random.random() > 0.02:  # else the answer was lost
            member.seen_token = max(member.seen_token, reply.token)
            mine = reply.holder == member.name
            if mine:
                member.token = reply.token
            elif self.random.random() < 0.9:  # else it goes on in the belief that it polls
                member.token = 0
        self._plan(member, "beat", self._time + round(BEAT * US * self.random.uniform(0.9, 1.1)))

    async def _call(self, member: SimulatedMember) -> None:
        await self._ask(member, background=False)

    async def _poll(self, member: SimulatedMember) -> None:
        if member.token:
            await self._ask(member, background=True)
        else:
            self._plan(member, "poll", self._time + self.random.randrange(US // 2))

    async def _ask(self, member: SimulatedMember, *, background: bool) -> None:
        what = "poll" if background else "call"
        ask = member.asks[background]
        if ask is None:
            member.tickets += 1
            ticket = f"{'b' if background else 'f'}:{member.name}:{member.tickets}"
            waiting = sum(each is not None for other in self.members for each in other.asks.values())
            ask = Ask(PermitRequest(ticket, background, member.token), self._time, waiting, self.counts["kill"])
        request = attrs.evolve(ask.request, waited=(self._time - ask.since) / US)
        reply = await self._reach(member, lambda: member.engine.acquire(request))
        member.asks[background] = None
        pause = self.random.expovariate(2.0 if background else 5.0 if self._calm else 0.7)
        if reply.status is AcquireStatus.GRANTED:
            self._check_queue(ask)
            await self._granted(member, request, reply)
        elif reply.status is AcquireStatus.WAIT:
            self._require(reply.wait <= 60.0, "a wait of more than a minute")
            member.asks[background] = ask
            lateness = (0.0, 0.001, 0.05) if self._calm else (0.0, 0.0, 0.001, 0.05, 0.2, 0.5)
            pause = reply.wait + self.random.choice(lateness)
        elif reply.status is AcquireStatus.FENCED:
            member.token = 0
        else:
            pause = min(reply.wait, self.random.uniform(0.5, 30.0))
        self._plan(member, what, self._time + round(pause * US))

    async def _granted(self, member: SimulatedMember, request: PermitRequest, reply: AcquireReply) -> None:
        self.counts["background" if request.background else "foreground"] += 1
        day = reply.granted_at // DAY
        self._sent.append(self._time)
        self._spent[day] += 1
        self._check_window()
        self._require(
            self._spent[day] <= self.limits.per_day + self._allowed[day],
            f"{self._spent[day]} permits of day {day}, {self._allowed[day]} of them forgotten",
        )
        self._require(reply.granted_at >= self._shut_until, "a permit while the vendor's quota is shut")
        self._require(self._time >= self._paused_until, "a permit while the vendor wants a pause")
        state = member.engine.ledger.state
        assert state is not None
        if request.background:
            self._require(request.token == self._newest_token, "a background permit of an old token")
            reserved = float(await self._server.hget(member.engine.names.quota[0], "reserved") or 0)
            left = self.limits.per_day - (state.granted - state.refunded) + 1
            self._require(left > reserved, f"a background permit out of the reserve: {left} left of {reserved}")
        held = Held(request, reply.granted_at, day, self._time)
        if state.shut:
            probe = self._probe
            self._require(probe is None or self._time - probe.true_time >= 60 * US, "two probes at a time")
            self._probe = held
            self.counts["probes"] += 1
        if self.random.random() < 0.97:  # else the answer was lost, and the permit with it
            member.held.append(held)
            self._plan(member, "settle", self._time + round(self.random.expovariate(5.0) * US))

    def _verdict(self) -> tuple[PermitResult, float]:
        """What becomes of a request, and the seconds that come with it."""
        chance = self.random.random()
        if chance < 0.12:
            return PermitResult.NOT_SENT, 0.0
        if self._calm or chance > 0.172:
            return PermitResult.ANSWERED, 0.0
        if chance < 0.15:
            return PermitResult.NO_ANSWER, 0.0
        if chance < 0.17:
            return PermitResult.THROTTLED, self.random.uniform(0.0, 5.0)
        return PermitResult.QUOTA_EXCEEDED, self.random.uniform(1.0, 20.0)

    async def _settle(self, member: SimulatedMember) -> None:
        held = member.held.pop(0)
        result, seconds = self._verdict()
        self.counts[result.name] += 1
        if result is PermitResult.NOT_SENT:
            self._spent[held.day] -= 1
            if held.true_time in self._sent:
                self._sent.remove(held.true_time)
        elif self.now // DAY != held.day and not self._forgettings and self._forgot_at < held.true_time:
            self._spent[self.now // DAY] += 1  # nobody knows on which side of 00:00 the vendor saw it
            self.counts["both days"] += 1
        await self._reach(
            member, lambda: member.engine.settle(held.request, held.granted_at, result, seconds, jitter=3.0)
        )
        state = member.engine.ledger.state
        assert state is not None
        if self._probe is held:
            self._probe = None
        if result is PermitResult.THROTTLED:
            self._paused_until = max(self._paused_until, self._time + round(seconds * US))
        elif result is PermitResult.QUOTA_EXCEEDED:
            self._require(state.shut > state.now, "the vendor's quota is spent, and the gate is open")
        if self._shut_until or result is PermitResult.QUOTA_EXCEEDED:
            self._shut_until = state.shut

    async def _reach(self, member: SimulatedMember, call: Callable[[], Awaitable[AnyReply]]) -> AnyReply:
        reply = await call()
        self._told(member)
        return reply

    # --- faults -----------------------------------------------------------------------------------------------------

    async def _fault(self) -> None:
        (fault,) = self.random.choices(list(FAULTS), list(FAULTS.values()))
        if self._calm:
            fault = "kill"
        self.counts[fault] += 1
        await getattr(self, f"_{fault}")()
        if self.random.random() < 0.5:
            await self._dump()

    @property
    def _alive(self) -> list[SimulatedMember]:
        return [member for member in self.members if member.alive]

    async def _flush(self) -> None:
        self._forgets()
        await self._server.flushall()

    async def _restore(self) -> None:
        """A fail-over to a server that lacks the last writes."""
        if self._dumps:
            self._forgets()
            self._run += 1
            await self._server.flushall()
            for key, value in self.random.choice(self._dumps).items():
                await self._server.restore(key, 0, value)
            if self.random.random() < 0.5:  # somebody who was told nothing comes first
                self._plan(self._join_one(), "call", self._time)

    async def _restart(self) -> None:
        """A restart that has lost nothing."""
        self._run += 1

    async def _evict(self) -> None:
        name = self.random.choice(("quota", "lease", "members", "tickets", "due"))
        for key in await self._server.keys(f"*{name}"):
            if name == "quota":
                self._forgets()
            await self._server.delete(key)

    async def _kill(self) -> None:
        if len(self._alive) > 3:
            self.random.choice(self._alive).alive = False
            if self._calm:
                self._join_one()

    async def _stop(self) -> None:
        self.random.choice(self._alive).stopped_until = self._time + self.random.randrange(20 * US)

    async def _join(self) -> None:
        if len(self._alive) < 8:
            self._join_one()

    async def _back(self) -> None:
        self._offset -= self.random.randrange(2 * US, 600 * US)
        self._shut_until = 0

    async def _stutter(self) -> None:
        self._offset -= self.random.randrange(US)

    async def _midnight(self) -> None:
        """The clock jumps: by it, hours have passed."""
        self._offset += DAY - self.now % DAY - self.random.randrange(5 * US)
        self._sent.clear()
        self._paused_until, self._probe = 0, None

    async def _dump(self) -> None:
        keys = await self._server.keys("*")
        self._dumps.append({key: await self._server.dump(key) for key in keys})
        del self._dumps[:-3]

    def _forgets(self) -> None:
        """Whoever is alive knows what they were told last; the others take with them what they alone knew."""
        for day, spent in self._spent.items():
            told = {member: known_of(member, day) for member in self.members if member.alive}
            self._forgettings.append(Forgetting(day, spent, self._time + CLOSED, told))
        self._shut_until = self._paused_until = 0
        self._probe, self._forgot_at = None, self._time

    def _forget_old(self) -> None:
        for each in [each for each in self._forgettings if each.until <= self._time]:
            self._allowed[each.day] += max(0, each.spent - each.healed)
            self._forgettings.remove(each)

    # --- rules ------------------------------------------------------------------------------------------------------

    def _check_window(self) -> None:
        while self._sent and self._sent[0] <= self._time - WINDOW:
            self._sent.popleft()
        self._require(len(self._sent) <= self.limits.per_second, f"{len(self._sent)} permits within 1.1 s")

    def _check_queue(self, ask: Ask) -> None:
        if not self._calm or ask.since < self._began + 2 * US:
            return
        waited = (self._time - ask.since) / US
        most = 1.6 + (5.0 if ask.request.background else ask.others * 0.275) + 0.6 * (self.counts["kill"] - ask.kills)
        self._require(waited <= most, f"{ask.request.ticket} waited {waited:.2f} s, behind {ask.others}")
        if not ask.request.background:
            for other in self.members:
                before = other.asks[False]
                if before is not None and before is not ask and other.alive:
                    self._require(before.since + 1.3 * US > ask.since, f"{ask.request.ticket} overtook")

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise BrokenRuleError(f"{what}, at {(self._time - NOON) / US:.3f} s of {self._key}; {dict(self.counts)}")
