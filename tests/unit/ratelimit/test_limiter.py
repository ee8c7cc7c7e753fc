"""The limiter of one process: who waits for a permit, and what becomes of each."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from ccactivity._emitter import Emitter
from ccactivity.errors import QuotaExceededError
from ccactivity.events import Event, Paused, Resumed
from ccactivity.ratelimit.limiter import Permit, PermitResult, QuotaLimiter
from ccactivity.ratelimit.quota import Quota
from ccactivity.testing import VirtualTimeLoop, utc_now

HALF_A_DAY = 43_200.0  # the virtual loop starts at noon UTC
Settled = tuple[PermitResult, float, datetime | None]


def clock() -> float:
    return asyncio.get_running_loop().time()


def permit_of(settled: list[Settled], *, expires_at: float = 0.0) -> Permit:
    return Permit(lambda *told: settled.append(told), expires_at=expires_at, waited=False)


def limiter_of(quota: Quota) -> QuotaLimiter:
    return QuotaLimiter(quota, utc_now)


async def acquire(limiter: QuotaLimiter, count: int, *, background: bool = False) -> list[Permit]:
    return [await limiter.acquire(background=background) for _ in range(count)]


# --- permits --------------------------------------------------------------------------------------------------------


def test_a_permit_is_settled_with_all_that_is_known() -> None:
    """Whoever gave a permit is told what became of it, with the pause and the vendor's time where there are any."""
    settled: list[Settled] = []
    midnight = datetime.fromisoformat("2026-01-02T00:00:00Z")
    permit_of(settled).settle(PermitResult.ANSWERED)
    permit_of(settled).settle(PermitResult.THROTTLED, pause=2.0)
    permit_of(settled).settle(PermitResult.QUOTA_EXCEEDED, server_time=midnight)

    assert [
        (PermitResult.ANSWERED, 0.0, None),
        (PermitResult.THROTTLED, 2.0, None),
        (PermitResult.QUOTA_EXCEEDED, 0.0, midnight),
    ] == settled


@pytest.mark.parametrize(("sent", "result"), [(False, PermitResult.NOT_SENT), (True, PermitResult.NO_ANSWER)])
def test_closing_settles_what_nobody_has(sent: bool, result: PermitResult) -> None:
    """A permit that is closed is given back if nothing was sent with it, else it is spent; closing twice is once."""
    settled: list[Settled] = []
    permit = permit_of(settled)
    permit.sent = sent
    permit.close()
    permit.close()

    assert [(result, 0.0, None)] == settled


def test_closing_what_is_settled_changes_nothing() -> None:
    """A permit is settled once: closing it later says nothing more, settling it twice is a fault of the caller."""
    settled: list[Settled] = []
    permit = permit_of(settled)
    permit.settle(PermitResult.ANSWERED)
    permit.close()
    with pytest.raises(AssertionError, match="settled once"):
        permit.settle(PermitResult.NO_ANSWER)

    assert 1 == len(settled)


async def test_a_permit_expires() -> None:
    """A permit is good for a tenth of a second: others like it would be sent at the same moment."""
    permit = (await acquire(limiter_of(Quota()), 1))[0]
    permit.close()

    assert asyncio.get_running_loop().time() + 0.1 == permit.expires_at


# --- waiting --------------------------------------------------------------------------------------------------------


async def test_permits_are_granted_as_the_quota_says() -> None:
    """A person's burst of four goes at once, the fifth after 1.1 s; who has waited is told so."""
    permits, times = [], []
    limiter = limiter_of(Quota())
    for _ in range(5):
        permits += await acquire(limiter, 1)
        times.append(clock())

    assert [0.0, 0.0, 0.0, 0.0, pytest.approx(1.1)] == times
    assert [False] * 4 + [True] == [permit.waited for permit in permits]


async def test_a_person_goes_before_the_background() -> None:
    """Of those who wait the person goes first, and the polls after it in the order of their coming."""
    limiter = limiter_of(Quota(1))
    order: list[str] = []

    async def get(name: str, *, background: bool) -> None:
        await limiter.acquire(background=background)
        order.append(name)

    await limiter.acquire(background=False)
    async with asyncio.TaskGroup() as group:
        for name, background in (("poll", True), ("second poll", True), ("person", False)):
            group.create_task(get(name, background=background))

    assert ["person", "poll", "second poll"] == order


async def test_a_permit_that_is_given_back_wakes_the_next() -> None:
    """Who waits for the second is let in at once when a permit of it comes back."""
    limiter = limiter_of(Quota(1))
    (permit,) = await acquire(limiter, 1)
    waiting = asyncio.ensure_future(limiter.acquire(background=False))
    await asyncio.sleep(0.4)
    permit.close()
    await waiting

    assert 0.4 == clock()


@pytest.mark.parametrize("background", [False, True])
async def test_a_cancelled_wait_leaves_no_ticket(background: bool) -> None:
    """Who gives up waiting is not charged, and nobody waits behind them."""
    quota = Quota(1)
    limiter = limiter_of(quota)
    await acquire(limiter, 1)
    waiting = asyncio.ensure_future(limiter.acquire(background=background))
    await asyncio.sleep(0.5)
    waiting.cancel()
    await asyncio.wait([waiting])
    await acquire(limiter, 1)

    assert waiting.cancelled()
    assert pytest.approx((2, 1.1)) == (quota.spent, clock())


# --- what became of it ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "spent"),
    [
        (PermitResult.ANSWERED, 1),
        (PermitResult.NO_ANSWER, 1),
        (PermitResult.THROTTLED, 1),
        (PermitResult.QUOTA_EXCEEDED, 1),
        (PermitResult.NOT_SENT, 0),
    ],
)
async def test_what_is_charged(result: PermitResult, spent: int) -> None:
    """Every request that was sent is charged, whatever came of it; what was not sent is not."""
    quota = Quota()
    (permit,) = await acquire(limiter_of(quota), 1)
    permit.settle(result)

    assert spent == quota.spent


@pytest.mark.parametrize("background", [False, True])
async def test_a_throttle_pauses_everyone(background: bool) -> None:
    """After `throttled` nobody gets a permit for as long as the pause."""
    limiter = limiter_of(Quota())
    (permit,) = await acquire(limiter, 1)
    permit.settle(PermitResult.THROTTLED, pause=7.0)
    await acquire(limiter, 1, background=background)

    assert pytest.approx(7.0) == clock()


async def test_an_answer_narrows_the_spacing() -> None:
    """After a throttle the background is spaced wider, and closer again with each answer."""
    limiter, times = limiter_of(Quota()), []
    (permit,) = await acquire(limiter, 1)
    permit.settle(PermitResult.THROTTLED)
    for _ in range(3):
        (permit,) = await acquire(limiter, 1, background=True)
        permit.settle(PermitResult.ANSWERED)
        times.append(clock())

    assert pytest.approx([0.6, 0.6 + 0.57, 0.6 + 0.57 + 0.5415]) == times


async def test_a_spent_day_is_an_error_in_the_foreground() -> None:
    """Who does not wait for tomorrow is told at once when the requests come back, and leaves no ticket."""
    quota = Quota(4, 1, 0)
    limiter = limiter_of(quota)
    await acquire(limiter, 1)
    with pytest.raises(QuotaExceededError, match="can be used again at 2026-01-02 00:00 UTC") as caught:
        await limiter.acquire(background=False)

    assert (datetime.fromisoformat("2026-01-02T00:00:00Z"), 0.0) == (caught.value.resets_at, clock())
    assert [1, 0] == [quota.spent, quota.remaining]


async def test_a_spent_day_is_waited_out_in_the_background() -> None:
    """A watch sleeps until 00:00 UTC, and goes on."""
    limiter = limiter_of(Quota(4, 1, 0))
    await acquire(limiter, 2, background=True)

    assert pytest.approx(43_200.0) == clock()


@pytest.mark.parametrize(("background", "least", "most"), [(False, 43_200.0, 43_200.0), (True, 43_201.0, 43_230.0)])
async def test_after_quota_exceeded(background: bool, least: float, most: float) -> None:
    """When the vendor says that the day is spent, nobody sends before the reset, and watches a little later."""
    limiter = limiter_of(Quota())
    (permit,) = await acquire(limiter, 1)
    permit.settle(PermitResult.QUOTA_EXCEEDED)
    with pytest.raises(QuotaExceededError):
        await limiter.acquire(background=False)
    await asyncio.sleep(0 if background else 43_200.0)
    await acquire(limiter, 1, background=background)

    assert least <= clock() <= most


async def test_the_vendors_clock_decides() -> None:
    """With the time of the vendor's answer, its midnight counts, not ours."""
    limiter = limiter_of(Quota())
    (permit,) = await acquire(limiter, 1)
    permit.settle(PermitResult.QUOTA_EXCEEDED, server_time=utc_now() + timedelta(hours=11))
    await asyncio.sleep(3600.0)
    await acquire(limiter, 1)

    assert 3600.0 == clock()


async def test_who_waits_for_tomorrow_looks_at_the_clock_now_and_then() -> None:
    """Wall clocks are set, laptops sleep: within five minutes a new day is noticed."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    limiter = limiter_of(Quota(4, 1, 0))
    await acquire(limiter, 1)
    loop.call_later(100.0, loop.step_utc, 86_400.0)
    await acquire(limiter, 1, background=True)

    assert 300.0 == clock()


@pytest.mark.parametrize(("background", "cost"), [(True, 1), (False, 0)])
async def test_the_budget_is_the_quotas(background: bool, cost: int) -> None:
    """What watching may spend is paid by polls, and not by single calls."""
    limiter = limiter_of(Quota())
    before = limiter.budget()
    await acquire(limiter, 1, background=background)
    spent = before.available - limiter.budget().available

    assert (500, cost) == (before.available, spent)


async def test_giving_a_permit_back_needs_no_clock() -> None:
    """A clock of the user's that fails keeps no permit: it may be the one that all wait for."""
    works = True

    def now() -> datetime:
        if works:
            return utc_now()
        raise OSError("the clock failed")

    quota = Quota(per_day=1, reserve=0)
    permit = await QuotaLimiter(quota, now).acquire(background=False)
    works = False
    permit.close()
    works = True

    assert 0 == quota.spent


async def test_a_pause_of_the_background_is_not_ended_by_single_calls() -> None:
    """Where only the reserve is left, polls wait for the next day, and it is they whose pause is told."""
    events: list[Event] = []
    limiter = QuotaLimiter(Quota(4, 10, 1), utc_now, Emitter(events.append))
    await acquire(limiter, 9, background=True)
    spent_at = clock()
    poll = asyncio.create_task(acquire(limiter, 1, background=True))
    await asyncio.sleep(1.0)
    await acquire(limiter, 1)
    before = list(events)
    await poll

    assert [Paused(at=spent_at, cause="quota_exceeded", until=HALF_A_DAY)] == before
    assert [*before, Resumed(at=HALF_A_DAY, cause="quota_exceeded")] == events


async def test_a_pause_that_becomes_longer_is_told_again() -> None:
    """By the jitter of a reset it does not: that is the same pause."""
    events: list[Event] = []
    emitter = Emitter(events.append)
    for cause, until in (("throttled", 1.0), ("throttled", 1.5), ("throttled", 4.0), ("quota_exceeded", 900.0)):
        emitter.pause(cause, 0.0, until)
    emitter.pause("quota_exceeded", 0.0, 930.0)
    emitter.resume(899.0, background=False)
    emitter.resume(900.0, background=False)

    assert [("throttled", 1.0), ("throttled", 4.0), ("quota_exceeded", 900.0)] == [
        (event.cause, event.until) for event in events if isinstance(event, Paused)
    ]
    assert Resumed(at=900.0, cause="quota_exceeded") == events[-1]
    assert 4 == len(events)
