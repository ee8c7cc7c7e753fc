"""What a consumer iterates, over a hub without a poller: what is told once, and where a cancelled iteration goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from support.hub_source import connected, publish

from ccactivity.errors import BatchError, NotFoundError, SessionClosedError, WatchTimeoutError
from ccactivity.models import Activity
from ccactivity.polling.hub import Hub, SnapshotQueue
from ccactivity.watch import BatchWatch, Watch

GONE = NotFoundError(status=404, method="GET", path="/v3/activities/a")


def watch_of(hub: Hub, activity_id: str = "a", *, timeout: float | None = None) -> Watch:
    return Watch(activity_id, SnapshotQueue(enter=lambda: hub, timeout=timeout, grace=10.0, max_staleness=None))


def batch_of(hub: Hub, ids: Iterable[str] | AsyncIterator[str], *, timeout: float | None = None) -> BatchWatch:
    return BatchWatch(ids, SnapshotQueue(enter=lambda: hub, timeout=timeout, grace=10.0, max_staleness=None))


def at(percent: int, activity_id: str = "a") -> Activity:
    return Activity(activity_id=activity_id, state="processing", percent_done=percent)


def ended(activity_id: str = "a") -> Activity:
    return Activity(activity_id=activity_id, state="completed")


async def cancelled_next(watch: Watch | BatchWatch) -> None:
    """Ask for the next snapshot, and give up before there is one."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await anext(watch)


async def test_nothing_is_polled_before_the_first_iteration() -> None:
    """A watch that was made is polled when it is iterated, and not before; it ends with the terminal snapshot."""
    hub, source = connected()
    watch = watch_of(hub)
    before = dict(source.polled)
    asyncio.get_running_loop().call_later(1, publish, hub, ended())

    assert {} == before
    assert [ended()] == [snapshot async for snapshot in watch]


async def test_a_resumed_iteration_goes_on_where_it_was() -> None:
    """Cancelling stops the polling; going on tells what polls what was known, so that nothing is asked twice."""
    hub, source = connected()
    watch = watch_of(hub)
    await cancelled_next(watch)
    stopped = dict(source.polled)
    asyncio.get_running_loop().call_later(1, publish, hub, ended())
    snapshots = [snapshot async for snapshot in watch]
    (_, resumed) = source.resumed

    assert ({}, [ended()]) == (stopped, snapshots)
    assert (7.0, 17.0) == (resumed.looked_at, resumed.gives_up_at)


async def test_what_had_arrived_is_handed_over_first() -> None:
    """A snapshot that came as the iteration was cancelled is the next one, without anything being polled for it."""
    hub, source = connected()
    watch = watch_of(hub)
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(1)
    publish(hub, at(10))
    waiting.cancel()
    await asyncio.wait([waiting])
    snapshot = await anext(watch)
    polled = dict(source.polled)
    await cancelled_next(watch)

    assert waiting.cancelled()
    assert (at(10), {}) == (snapshot, polled)
    assert 2 == len(source.resumed)


async def test_closing_ends_an_iteration_that_waits() -> None:
    """A task that waits for the next snapshot goes on when another one closes the watch: the iteration ends."""
    hub, source = connected()
    watch = watch_of(hub)
    waiting = asyncio.ensure_future(anext(watch, None))
    await asyncio.sleep(1)
    await watch.aclose()
    async with asyncio.timeout(1):
        ending = await waiting

    assert (None, {}) == (ending, source.polled)


async def test_what_failed_is_not_followed_again() -> None:
    """Of a batch that was cancelled and goes on, an id that could not be followed stays so; the others are polled."""
    hub, source = connected()
    batch = batch_of(hub, ["a", "b"])
    first = asyncio.ensure_future(cancelled_next(batch))
    await asyncio.sleep(0.5)
    source.remove("a")
    hub.fail("a", GONE)
    await first
    going_on = asyncio.ensure_future(anext(batch))
    await asyncio.sleep(0.5)
    polled = set(source.polled)
    publish(hub, ended("b"))

    assert ended("b") == await going_on
    assert ({"a": GONE}, {"b"}) == (batch.errors, polled)
    with pytest.raises(BatchError):
        await anext(batch)


async def test_each_id_has_its_time() -> None:
    """An id that has not ended in time is an error, which has its last snapshot if there was one."""
    hub, _ = connected()
    batch = batch_of(hub, ["a", "b"], timeout=5.0)
    asyncio.get_running_loop().call_later(4, publish, hub, at(10))
    with pytest.raises(BatchError) as caught:
        _ = [snapshot async for snapshot in batch]

    assert 5.0 == asyncio.get_running_loop().time()
    assert [("a", at(10)), ("b", None)] == [
        (key, error.activity) for key, error in caught.value.errors.items() if isinstance(error, WatchTimeoutError)
    ]


async def test_what_has_ended_is_not_timed_out() -> None:
    """An id that ended in time is no error, then or later."""
    hub, _ = connected()
    batch = batch_of(hub, ["a", "b"], timeout=5.0)
    for key in "ab":
        asyncio.get_running_loop().call_later(1, publish, hub, ended(key))
    seen = [snapshot async for snapshot in batch]
    await asyncio.sleep(10)

    assert ([ended("a"), ended("b")], {}) == (seen, batch.errors)


async def test_leaving_early_takes_the_timeout_along() -> None:
    """A watch that was left is not timed out later."""
    hub, source = connected()
    batch = batch_of(hub, ["a", "b"], timeout=5.0)
    asyncio.get_running_loop().call_later(1, publish, hub, at(10))
    async for _ in batch:
        break
    await batch.aclose()
    await asyncio.sleep(10)

    assert ({}, {}) == (dict(batch.errors), source.polled)
    assert [] == [snapshot async for snapshot in batch]


async def test_an_abort_is_raised_once() -> None:
    """What ends all watches is raised after what had arrived; then the watch is over."""
    hub, _ = connected()
    watch = watch_of(hub)
    asyncio.get_running_loop().call_later(1, publish, hub, at(10))
    asyncio.get_running_loop().call_later(1, hub.abort, SessionClosedError("closed"))
    seen = []
    with pytest.raises(SessionClosedError):
        async for snapshot in watch:
            seen.append(snapshot)

    assert [at(10)] == seen
    assert [] == [snapshot async for snapshot in watch]


async def endless(ids: str) -> AsyncIterator[str]:
    """Ids from somebody who may always submit another one."""
    for activity_id in ids:
        yield activity_id
    await asyncio.Event().wait()


async def test_a_batch_from_a_source_cannot_be_resumed() -> None:
    """A source of ids is closed with the iteration that was cancelled, and another iteration says so."""
    hub, source = connected()
    batch = batch_of(hub, endless("ab"))
    await cancelled_next(batch)
    with pytest.raises(RuntimeError, match="this watch was cancelled, and its source of ids with it; make a new one"):
        await anext(batch)

    assert {} == source.polled


async def test_a_watch_says_what_it_watches() -> None:
    """The repr of a watch has its id, that of a batch the number of ids that have not ended."""
    hub, _ = connected()
    batch = batch_of(hub, ["a", "b", "a"])
    shown = [repr(watch_of(hub)), repr(batch)]
    asyncio.get_running_loop().call_later(1, publish, hub, ended())
    await anext(batch)

    assert ["<Watch of a>", "<BatchWatch, 2 under way>"] == shown
    assert "<BatchWatch, 1 under way>" == repr(batch)
    await batch.aclose()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"grace": -1}, "grace must be at least 0"),
        ({"timeout": -1}, "timeout must be at least 0"),
        ({"max_staleness": 0}, "max_staleness must be above 0"),
        ({"grace": None}, "grace must be a number"),
    ],
)
def test_numbers_that_make_no_sense(arguments: dict[str, Any], problem: str) -> None:
    """Numbers of a watch are checked before anything is asked."""
    with pytest.raises((TypeError, ValueError), match=problem):
        SnapshotQueue(enter=Hub, **{"timeout": None, "grace": 10.0, "max_staleness": None, **arguments})


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        ("abc", "ids must be an iterable of ids, not one id"),
        (b"abc", "ids must be an iterable of ids, not one id"),
        (["a", "b/c", "d e"], "malformed activity_id 'b/c'.*; malformed activity_id 'd e'"),
        (["/"] * 9, "malformed .* and 4 more"),
        (["a", 5], "activity_id must be a str, not int"),
    ],
)
async def test_ids_that_make_no_sense(ids: Any, problem: str) -> None:
    """Malformed ids are named at the call, a few of them at least."""
    hub, _ = connected()

    with pytest.raises((TypeError, ValueError), match=problem):
        batch_of(hub, ids)
