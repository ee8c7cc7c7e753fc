"""The limiter of a fleet: who waits where, what becomes of a permit that nobody wants, and an engine that is away."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import attrs
import pytest

from ccactivity._emitter import Emitter
from ccactivity.errors import FleetUnavailableError, QuotaExceededError
from ccactivity.events import Event, Paused, Resumed
from ccactivity.fleet.engine import AcquireReply, AcquireStatus, EngineError, PermitRequest
from ccactivity.fleet.ledger import KeyState, Ledger, Limits
from ccactivity.fleet.limiter import FleetLimiter
from ccactivity.fleet.link import Link
from ccactivity.ratelimit.limiter import PermitResult

NOON = 20_000 * 86_400_000_000 + 43_200_000_000
GRANT = AcquireReply(AcquireStatus.GRANTED, 0.0, NOON)


def state(**changes: float) -> KeyState:
    full = KeyState(NOON, 20_000, 5, 0, 0, -1, 0, 0, NOON, 400.0, 0.1)
    return attrs.evolve(full, **changes)  # type: ignore[arg-type]


class FakeEngine:
    """Answers with `replies`, then grants; each takes `latency` seconds. `asked`, `settled`: what it was told."""

    member = "m"

    def __init__(self, *replies: AcquireReply | EngineError, latency: float = 0.0) -> None:
        self.ledger = Ledger(Limits(4, 10_000, 500))
        self.ledger.learn(state(), 0.0)
        self.replies = deque(replies)
        self.latency = latency
        self.before_reply: Callable[[], object] = lambda: None
        self.asked: list[PermitRequest] = []
        self.settled: list[tuple[str, PermitResult, float]] = []

    async def acquire(self, request: PermitRequest) -> AcquireReply:
        self.asked.append(request)
        await asyncio.sleep(self.latency)
        self.before_reply()
        reply = self.replies.popleft() if self.replies else GRANT
        if isinstance(reply, EngineError):
            raise reply
        return reply

    async def settle(
        self, request: PermitRequest, granted_at: int, result: PermitResult, seconds: float, jitter: float
    ) -> None:
        assert granted_at == NOON
        assert 1.0 <= jitter <= 30.0
        self.settled.append((request.ticket, result, seconds))


@attrs.define
class Made:
    limiter: FleetLimiter
    link: Link
    engine: FakeEngine
    fenced: list[bool]
    events: list[Event]


def make(engine: FakeEngine, *, up: bool = True) -> Made:
    link, fenced, events = Link("redis://cache", 10.0), list[bool](), list[Event]()
    link.start()
    if up:
        link.found()
    emitter = Emitter(events.append)
    limiter = FleetLimiter(engine, link, lambda: fenced.append(True), emitter)  # type: ignore[arg-type]
    return Made(limiter, link, engine, fenced, events)


async def settled(made: Made, *results: PermitResult) -> None:
    await asyncio.sleep(0.01)
    assert list(results) == [result for _, result, _ in made.engine.settled]


async def test_a_permit_is_granted_and_its_outcome_told() -> None:
    made = make(FakeEngine())

    permit = await made.limiter.acquire(background=False)
    permit.settle(PermitResult.THROTTLED, pause=2.0)
    await asyncio.sleep(0.01)

    assert not permit.waited
    assert 0.1 == permit.expires_at
    assert [("f:m:1", PermitResult.THROTTLED, 2.0)] == made.engine.settled


async def test_a_process_has_one_ticket_for_all_that_wait_in_it() -> None:
    """They are served in their order, and all but the first know that they waited."""
    made = make(FakeEngine(AcquireReply(AcquireStatus.WAIT, 0.3, NOON), latency=0.01))
    order: list[int] = []

    async def call(number: int) -> None:
        permit = await made.limiter.acquire(background=False)
        order.append(number)
        assert permit.waited
        permit.sent = True
        permit.close()

    await asyncio.gather(*map(call, range(5)))

    assert list(range(5)) == order
    assert ["f:m:1", "f:m:1", "f:m:2", "f:m:3", "f:m:4", "f:m:5"] == [each.ticket for each in made.engine.asked]
    assert [0.0, pytest.approx(0.31)] == [each.waited for each in made.engine.asked[:2]]
    await settled(made, *5 * [PermitResult.NO_ANSWER])


async def test_a_cancelled_caller_gives_their_permit_to_the_next_or_back() -> None:
    made = make(FakeEngine(latency=0.05))
    first = asyncio.create_task(made.limiter.acquire(background=False))
    second = asyncio.create_task(made.limiter.acquire(background=False))
    await asyncio.sleep(0.02)
    first.cancel()
    await asyncio.sleep(0.05)

    assert second.done()
    third = asyncio.create_task(made.limiter.acquire(background=False))
    await asyncio.sleep(0.02)
    third.cancel()
    await settled(made)
    await asyncio.sleep(0.05)

    assert ["f:m:1", "f:m:2"] == [each.ticket for each in made.engine.asked]
    await settled(made, PermitResult.NOT_SENT)


async def test_a_caller_cancelled_in_the_moment_of_the_grant_gives_it_back() -> None:
    made = make(FakeEngine(latency=0.05))
    task = asyncio.create_task(made.limiter.acquire(background=False))
    made.engine.before_reply = lambda: asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.wait([task])

    assert task.cancelled()
    await settled(made, PermitResult.NOT_SENT)


async def test_a_permit_that_comes_too_late_is_refunded_and_asked_for_again() -> None:
    """A tenth of a second after the engine was asked, however long the way of the answer was."""
    made = make(FakeEngine(latency=0.11))

    task = asyncio.create_task(made.limiter.acquire(background=False))
    await asyncio.sleep(0.12)
    made.engine.latency = 0.02
    await asyncio.sleep(0.12)
    permit = await task

    assert permit.waited
    assert ["f:m:1", "f:m:2", "f:m:3"][: len(made.engine.asked)] == [each.ticket for each in made.engine.asked]
    assert PermitResult.NOT_SENT is made.engine.settled[0][1]


async def test_a_ticket_without_an_answer_is_never_used_again() -> None:
    """It may have been granted. What waits goes on once the engine answers, and keeps its place."""
    made = make(FakeEngine(EngineError("reset"), latency=0.01))
    task = asyncio.create_task(made.limiter.acquire(background=True))
    await asyncio.sleep(5.0)

    assert not task.done()
    assert made.link.away_since == 0.01
    made.link.found()
    await task
    assert ["b:m:1", "b:m:2"] == [each.ticket for each in made.engine.asked]
    assert 5.0 == made.engine.asked[1].waited


async def test_single_calls_wait_as_long_as_their_patience_for_an_engine_that_is_away() -> None:
    """Counted from their own beginning, or from that of the outage; the background waits on."""
    loop = asyncio.get_running_loop()
    made = make(FakeEngine(AcquireReply(AcquireStatus.WAIT, 3.0, NOON), EngineError("reset")))
    background = asyncio.create_task(made.limiter.acquire(background=True))
    before = asyncio.create_task(made.limiter.acquire(background=False))
    await asyncio.sleep(4.0)

    assert 0.0 == made.link.away_since
    later = asyncio.create_task(made.limiter.acquire(background=False))
    with pytest.raises(FleetUnavailableError, match="redis://cache cannot be used: reset"):
        await before
    assert 10.0 == loop.time()
    with pytest.raises(FleetUnavailableError):
        await later
    assert 14.0 == loop.time()
    assert not background.done()
    background.cancel()
    await made.limiter.aclose()


async def test_an_error_that_lasts_is_raised_at_once() -> None:
    made = make(FakeEngine(EngineError("it refuses the login", lasting=True)))

    for _ in range(2):
        with pytest.raises(FleetUnavailableError, match="it refuses the login"):
            await made.limiter.acquire(background=False)
    assert 0.0 == asyncio.get_running_loop().time()
    await made.limiter.aclose()


async def test_a_fenced_process_is_told_and_asks_no_more() -> None:
    made = make(FakeEngine(AcquireReply(AcquireStatus.FENCED, 0.0, NOON)))
    made.limiter.token = 7
    task = asyncio.create_task(made.limiter.acquire(background=True))
    await asyncio.sleep(60.0)

    assert [True] == made.fenced
    assert [7] == [each.token for each in made.engine.asked]
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def test_a_spent_day_is_an_error_in_the_foreground_and_a_wait_in_the_background() -> None:
    spent = AcquireReply(AcquireStatus.SPENT, 43_200.0, NOON)
    made = make(FakeEngine(spent, spent))
    background = asyncio.create_task(made.limiter.acquire(background=True))

    with pytest.raises(QuotaExceededError) as caught:
        await made.limiter.acquire(background=False)
    assert datetime(2024, 10, 5, tzinfo=UTC) == caught.value.resets_at
    await asyncio.sleep(299.0)
    assert not background.done()
    await asyncio.sleep(2.0)
    assert background.result().waited


async def test_a_day_that_the_vendor_calls_spent_is_told_with_its_own_midnight() -> None:
    made = make(FakeEngine())
    for server_time in (datetime(2024, 10, 4, 23, 0, tzinfo=UTC), None):
        permit = await made.limiter.acquire(background=False)
        permit.settle(PermitResult.QUOTA_EXCEEDED, server_time=server_time)
    await asyncio.sleep(0.01)

    assert [3600.0, -1.0] == [seconds for _, _, seconds in made.engine.settled]
    assert datetime(2024, 10, 5, tzinfo=UTC) == made.limiter.quota_exceeded_error().resets_at


async def test_the_budget_flows_in_between_two_answers() -> None:
    made = make(FakeEngine())
    await asyncio.sleep(100.0)

    budget = made.limiter.budget()

    assert (410.0, 0.1) == (budget.available, budget.refill_rate)


async def test_a_pause_is_told_with_its_end() -> None:
    """That the day is spent, by the engine's word or the vendor's, and the first permit after it."""
    made = make(FakeEngine(GRANT, AcquireReply(AcquireStatus.SPENT, 100.0, NOON)))
    permit = await made.limiter.acquire(background=True)
    permit.settle(PermitResult.QUOTA_EXCEEDED, server_time=datetime(2026, 1, 1, 23, 59, 0, tzinfo=UTC))
    waited = await made.limiter.acquire(background=True)

    assert (100.0, True) == (waited.queued, waited.waited)
    paused, resumed = made.events
    assert Paused(at=0.0, cause="quota_exceeded", until=60.0) == paused
    assert Resumed(at=100.0, cause="quota_exceeded") == resumed
