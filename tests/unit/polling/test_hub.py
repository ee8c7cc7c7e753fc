"""Who subscribes to which activity, and what is waiting for each consumer."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest
from support.hub_source import connected, publish

from ccactivity.errors import NotFoundError, SessionClosedError
from ccactivity.models import Activity
from ccactivity.polling.hub import Hub, ResumePoint, SnapshotQueue

GONE = NotFoundError(status=404, method="GET", path="/v3/activities/a")
CLOSED = SessionClosedError("the session is closed")


def queue_of(
    hub: Hub, *ids: str, grace: float = 10.0, max_staleness: float | None = None, every_poll: bool = False
) -> SnapshotQueue:
    """A consumer that subscribes to these."""
    queue = SnapshotQueue(enter=lambda: hub, grace=grace, max_staleness=max_staleness, every_poll=every_poll)
    for activity_id in ids:
        hub.subscribe(queue, activity_id)
    return queue


def at(percent: int, activity_id: str = "a") -> Activity:
    return Activity(activity_id=activity_id, state="processing", percent_done=percent)


def ended(activity_id: str = "a") -> Activity:
    return Activity(activity_id=activity_id, state="completed")


def taken(queue: SnapshotQueue) -> list[Activity]:
    """All that is waiting, in the order in which the consumer gets it."""
    return [queue.take() for _ in range(len(queue.pending))]


# --- subscribers ----------------------------------------------------------------------------------------------------


async def test_fifty_subscribers_are_one_topic() -> None:
    """Each consumer of an activity gets its snapshots; it is watched once, and polled until the last one leaves."""
    hub, source = connected()
    queues = [queue_of(hub, "a") for _ in range(50)]
    publish(hub, at(10))
    for queue in queues[:-1]:
        hub.unsubscribe(queue, "a")
    before = set(source.polled)
    hub.unsubscribe(queues[-1], "a")

    assert [[at(10)]] * 50 == [taken(queue) for queue in queues]
    assert ({"a"}, set()) == (before, set(source.polled))


async def test_what_has_ended_is_not_remembered() -> None:
    """A consumer of ids without end holds memory for what is watched, not for what ever was, timeout or not."""
    hub, source = connected()
    queue = SnapshotQueue(enter=lambda: hub, grace=10.0, timeout=1e6, open=True)
    queue.attach(first_look=False)
    tracemalloc.start()
    sizes = []
    for number in range(4000):
        if number % 2000 == 1000:
            sizes.append(tracemalloc.get_traced_memory()[0])
        queue.add(f"id-{number}")
        publish(hub, ended(f"id-{number}"))
        queue.take()
        source.polled.clear()
        source.resumed.clear()
    tracemalloc.stop()
    queue.detach()

    assert sizes[1] - sizes[0] < 20_000


async def test_leaving_is_as_quick_among_ten_thousand() -> None:
    """Whoever leaves an activity is not looked for among all others who watch it."""
    compared = 0

    class Counted(SnapshotQueue):
        __hash__ = object.__hash__

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return self is other

    hub, source = connected()
    queues = [Counted(enter=lambda: hub, grace=10.0) for _ in range(10_000)]
    for queue in queues:
        hub.subscribe(queue, "a")
    for queue in reversed(queues[1:]):
        hub.unsubscribe(queue, "a")
    publish(hub, at(10))

    assert compared < len(queues)
    assert [at(10)] == taken(queues[0])
    assert [] == taken(queues[1])
    hub.unsubscribe(queues[0], "a")
    assert {} == source.polled


async def test_each_activity_is_counted_once() -> None:
    """`watching` is the number of activities, whoever subscribes to them."""
    hub, _ = connected()
    counts = [hub.watching]
    queues = [queue_of(hub, "a", "b"), queue_of(hub, "b")]
    counts.append(hub.watching)
    publish(hub, ended("a"))
    counts.append(hub.watching)
    hub.unsubscribe(queues[0], "b")
    hub.unsubscribe(queues[1], "b")

    assert [0, 2, 1, 0] == [*counts, hub.watching]


async def test_what_a_subscriber_wants_is_passed_on() -> None:
    """Each subscriber's grace and max_staleness reach what polls."""
    hub, source = connected()
    queue_of(hub, "a", grace=5.0)
    queue_of(hub, "a", grace=1.0, max_staleness=3.0)

    assert {"a": [(5.0, None), (1.0, 3.0)]} == source.polled


async def test_the_strictest_max_staleness_of_those_who_stay_counts() -> None:
    """Who leaves takes theirs along, unless somebody else wants the same; the last one leaves nothing to be told."""
    hub, source = connected()
    queues = {name: queue_of(hub, "a", max_staleness=limit) for name, limit in enumerate((None, 30.0, 5.0, 5.0, 60.0))}
    told = []
    for name in (2, 3, 0, 1, 4):
        hub.unsubscribe(queues[name], "a")
        told.append(source.strictest.copy())
        source.strictest.clear()

    assert [[], [("a", 30.0)], [("a", 30.0)], [("a", 60.0)], []] == told
    assert {} == source.polled


async def test_a_watch_that_runs_out_of_time_takes_its_max_staleness_along() -> None:
    """It leaves as any other does."""
    hub, source = connected()
    queue_of(hub, "a")
    queue = SnapshotQueue(enter=lambda: hub, grace=10.0, max_staleness=5.0, timeout=20.0)
    queue.unfinished["a"] = None
    queue.attach(first_look=False)
    await asyncio.sleep(21)

    assert [("a", None)] == source.strictest


async def test_a_later_subscriber_gets_the_last_snapshot_at_once() -> None:
    """Who comes later need not wait for the next look."""
    hub, source = connected()
    first = queue_of(hub, "a")
    source.last["a"] = at(10)

    assert [[], [at(10)]] == [taken(first), taken(queue_of(hub, "a"))]


@pytest.mark.parametrize(("got", "expected"), [(at(10), []), (at(5), [at(10)]), (None, [at(10)])])
async def test_who_comes_back_gets_only_what_changed(got: Activity | None, expected: list[Activity]) -> None:
    """A consumer that has the last snapshot already does not get it twice."""
    hub, source = connected()
    queue_of(hub, "a")
    source.last["a"] = at(10)
    queue = queue_of(hub)
    queue.unfinished["a"] = got
    hub.subscribe(queue, "a")

    assert expected == taken(queue)


async def test_what_was_handed_over_is_remembered() -> None:
    """The last snapshot that a consumer has taken is known of each activity that has not ended."""
    hub, _ = connected()
    queue = queue_of(hub, "a", "b", "c")
    before = dict(queue.unfinished)
    publish(hub, at(10))
    publish(hub, ended("b"))
    taken(queue)

    assert ({"a": None, "b": None, "c": None}, {"a": at(10), "c": None}) == (before, queue.unfinished)


async def test_a_resumed_subscription_goes_on_where_it_was() -> None:
    """What was known when the last subscriber left is known again to what polls, and handed over if it is news."""
    hub, source = connected()
    queue, again = queue_of(hub), ResumePoint(at(10), 3.0)
    queue.unfinished["a"], queue.resume_points["a"] = at(5), again
    hub.subscribe(queue, "a")
    publish(hub, at(10), changed=False)

    assert [again] == source.resumed
    assert [at(10)] == taken(queue)


async def test_a_resume_point_does_not_replace_what_is_newer() -> None:
    """Where others have watched on meanwhile, their last snapshot counts."""
    hub, source = connected()
    queue_of(hub, "a")
    source.last["a"] = at(50)
    queue = queue_of(hub)
    queue.unfinished["a"], queue.resume_points["a"] = at(10), ResumePoint(at(10), 3.0)
    hub.subscribe(queue, "a")

    assert [at(50)] == taken(queue)


async def test_who_leaves_is_told_where_to_go_on() -> None:
    """Whoever leaves gets what is known by then, the last one as well as one who leaves others behind."""
    hub, source = connected()
    first, last = queue_of(hub, "a"), queue_of(hub, "a")
    source.last["a"] = at(10)
    for queue in (first, last):
        hub.unsubscribe(queue, "a")

    assert {"a": ResumePoint(at(10), 7.0, gives_up_at=17.0)} == first.resume_points == last.resume_points
    assert {} == source.polled


async def test_leaving_twice_is_no_error() -> None:
    """A consumer that has left, or has not come yet, may leave; the others stay."""
    hub, source = connected()
    stranger, queue = queue_of(hub), SnapshotQueue(enter=lambda: hub, grace=10.0, unfinished={"a": None})
    stranger.detach()
    queue.attach(first_look=False)
    queue_of(hub, "b")
    queue.detach()
    queue.detach()

    assert {"b"} == set(source.polled)


@pytest.mark.parametrize(
    ("ids", "first_look", "prioritized"), [("a", True, ["a"]), ("a", False, []), ("ab", True, []), ("", True, [])]
)
async def test_one_awaited_look_is_prioritized(ids: str, first_look: bool, prioritized: list[str]) -> None:
    """Where somebody awaits the first look at one activity it is made at once, but not one of many."""
    hub, source = connected()
    queue = SnapshotQueue(enter=lambda: hub, grace=10.0, unfinished=dict.fromkeys(ids))
    queue.attach(first_look=first_look)

    assert (set(ids), prioritized) == (set(source.polled), source.prioritized)


async def test_settling_is_waited_for() -> None:
    """The hub is settled when what polls is."""
    hub, source = connected()
    await hub.settled()

    assert 1 == source.settled_count


# --- snapshots ------------------------------------------------------------------------------------------------------


async def test_only_changes_are_delivered() -> None:
    """A look that shows no change is no news."""
    hub, _ = connected()
    queue = queue_of(hub, "a")
    got = []
    for snapshot, changed in ((at(10), True), (at(10), False), (at(11), True)):
        publish(hub, snapshot, changed=changed)
        got.append(taken(queue))

    assert [[at(10)], [], [at(11)]] == got


async def test_every_poll_is_delivered_to_who_wants_it() -> None:
    """With `every_poll` each look is a snapshot, for this consumer only."""
    hub, _ = connected()
    every, usual = queue_of(hub, "a", every_poll=True), queue_of(hub, "a")
    counts = []
    for changed in (True, False, False):
        publish(hub, at(10), changed=changed)
        counts.append((len(taken(every)), len(taken(usual))))

    assert [(1, 1), (1, 0), (1, 0)] == counts


async def test_newer_progress_replaces_older() -> None:
    """A slow consumer gets the newest snapshot of each activity, in the order in which they first changed."""
    hub, _ = connected()
    queue = queue_of(hub, "a", "b")
    for snapshot in (at(10), at(20, "b"), at(30), at(40)):
        publish(hub, snapshot)

    assert [at(40), at(20, "b")] == taken(queue)


async def test_a_terminal_snapshot_comes_once_to_each() -> None:
    """The end of an activity replaces its progress, and is the last that anybody hears of it."""
    hub, _ = connected()
    queues = [queue_of(hub, "a") for _ in range(2)]
    publish(hub, at(10))
    publish(hub, ended())
    unfinished = [dict(queue.unfinished) for queue in queues]

    assert [[ended()]] * 2 == [taken(queue) for queue in queues]
    assert [{}, {}] == unfinished == [queue.unfinished for queue in queues]
    assert 0 == hub.watching


async def test_an_activity_that_cannot_be_followed_is_an_error_beside_the_others() -> None:
    """Its error reaches each of its subscribers; what was pending stays, and other activities go on."""
    hub, _ = connected()
    one, other = queue_of(hub, "a", "b"), queue_of(hub, "b")
    publish(hub, at(10))
    hub.fail("a", GONE)
    publish(hub, at(20, "b"))

    assert ({"a": GONE}, {}) == (one.failures, other.failures)
    assert ({"b"}, [at(10), at(20, "b")]) == (set(one.unfinished), taken(one))


async def test_an_abort_ends_everything_once() -> None:
    """What ends all watches reaches each consumer after what it has got already, and nothing is polled any more."""
    hub, source = connected()
    queues = [queue_of(hub, "a", "b"), queue_of(hub, "b")]
    publish(hub, at(20, "b"))
    hub.abort(CLOSED)

    assert [CLOSED, CLOSED] == [queue.aborted for queue in queues]
    assert [[at(20, "b")]] * 2 == [taken(queue) for queue in queues]
    assert ({}, 0) == (source.polled, hub.watching)


# --- waiting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("what", "arguments"), [("put", (at(10),)), ("fail", ("a", GONE)), ("abort", (CLOSED,))])
async def test_a_waiting_consumer_is_woken(what: str, arguments: tuple[Any, ...]) -> None:
    """A consumer that waits looks again when something arrives."""
    hub, _ = connected()
    queue = queue_of(hub, "a")
    asyncio.get_running_loop().call_later(5, getattr(queue, what), *arguments)
    async with asyncio.timeout(6):
        await queue.changed.wait()

    assert 5.0 == asyncio.get_running_loop().time()


async def test_two_things_at_once_wake_a_consumer_once() -> None:
    """What arrives before a woken consumer has had its turn waits for it."""
    hub, _ = connected()
    queue = queue_of(hub, "a", "b")
    waiting = asyncio.ensure_future(queue.changed.wait())
    await asyncio.sleep(0)
    queue.put(at(10))
    queue.put(at(20, "b"))
    await waiting
    queue.changed.clear()
    waiting_again = asyncio.ensure_future(queue.changed.wait())
    await asyncio.sleep(60)

    assert not waiting_again.done()
    assert [at(10), at(20, "b")] == taken(queue)
    waiting_again.cancel()


async def test_a_consumer_that_was_cancelled_may_wait_again() -> None:
    """A consumer that gave up waiting leaves nothing behind, and hears of the next thing."""
    hub, _ = connected()
    queue = queue_of(hub, "a")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await queue.changed.wait()
    queue.put(at(10))
    queue.changed.clear()
    waiting = asyncio.ensure_future(queue.changed.wait())
    await asyncio.sleep(0)
    queue.put(at(20))
    await waiting

    assert [at(20)] == taken(queue)
