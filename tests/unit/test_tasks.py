"""Tasks that belong to nobody's request: fresh contexts, one run for many callers, waits that end, one loop."""

from __future__ import annotations

import asyncio
import contextvars
import math
import threading
from collections.abc import Callable, Coroutine

import pytest
from support.eager_tasks import start_tasks_eagerly

from ccactivity import testing
from ccactivity._tasks import LoopBound, SingleFlight, run_in_thread, spawn, wait_until_set

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="none")


def clock() -> float:
    return asyncio.get_running_loop().time()


# --- spawn ----------------------------------------------------------------------------------------------------------


async def test_a_spawned_task_has_a_context_of_its_own() -> None:
    """What a web request has set is not seen by a task that outlives it, and what the task sets is not seen there."""

    async def work() -> str:
        seen = request_id.get()
        request_id.set("task")
        return seen

    request_id.set("web request 7")

    assert "none" == await spawn(work())
    assert "web request 7" == request_id.get()


async def test_a_spawned_task_begins_when_its_caller_has_got_hold_of_it() -> None:
    """Also on a loop whose factory makes eager tasks, nothing of it runs before `spawn` has returned."""
    start_tasks_eagerly()
    steps = ["spawning"]

    async def work() -> None:
        steps.append("working")

    task = spawn(work())
    steps.append("spawned")
    await task

    assert ["spawning", "spawned", "working"] == steps


async def test_work_in_a_thread_ends_before_whoever_was_cancelled_goes_on() -> None:
    """However often they are: a thread cannot be stopped half-way, and what it uses must not be closed meanwhile."""
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(10)
        ended.set()

    task = asyncio.create_task(run_in_thread(work))
    assert await asyncio.to_thread(begun.wait, 10)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ended.is_set()


async def test_a_spawned_task_may_be_in_the_context_of_its_caller() -> None:
    """What it is given as context is what it sees."""

    async def work() -> str:
        return request_id.get()

    request_id.set("web request 7")

    assert "web request 7" == await spawn(work(), contextvars.copy_context())


# --- wait_until_set -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("set_at", "timeout", "returns_at"),
    [(2.0, 5.0, 2.0), (9.0, 5.0, 5.0), (9.0, math.inf, 9.0), (0.0, 5.0, 0.0), (9.0, 0.0, 0.0), (9.0, -1.0, 0.0)],
)
async def test_wait_until_set(set_at: float, timeout: float, returns_at: float) -> None:
    """It returns when the event is set or the time is over, whichever is first; infinity is no time-out."""
    event = asyncio.Event()
    asyncio.get_running_loop().call_later(set_at, event.set)
    await wait_until_set(event, timeout)

    assert returns_at == clock()


async def test_a_cancellation_that_comes_with_the_event_is_heard() -> None:
    """A task that is cancelled in the moment in which the event is set ends cancelled."""
    event = asyncio.Event()
    waiting = asyncio.ensure_future(wait_until_set(event, 5.0))
    await asyncio.sleep(1)
    event.set()
    waiting.cancel()
    await asyncio.wait([waiting])

    assert waiting.cancelled()


# --- SingleFlight ---------------------------------------------------------------------------------------------------


def counted(
    seconds: float = 5.0, error: Exception | None = None
) -> tuple[Callable[[], Coroutine[None, None, int]], list[int]]:
    """A coroutine function that takes so long and returns how often it was called; and its calls."""
    calls: list[int] = []

    async def work() -> int:
        calls.append(len(calls) + 1)
        number = calls[-1]
        await asyncio.sleep(seconds)
        if error is not None:
            raise error
        return number

    return work, calls


async def test_callers_share_a_run() -> None:
    """However many want the result, one run gives it; when it is over, the next caller starts another."""
    flight: SingleFlight[int] = SingleFlight()
    work, calls = counted()
    results = await asyncio.gather(*(flight.run(work) for _ in range(10)))
    again = await flight.run(work)

    assert ([1] * 10, 2, [1, 2]) == (results, again, calls)
    assert 10.0 == clock()


async def test_callers_share_an_error() -> None:
    """The error of a run reaches each who waits for it, and none of them twice."""
    flight: SingleFlight[int] = SingleFlight()
    work, calls = counted(error=OSError("no disk"))
    outcomes = await asyncio.gather(*(flight.run(work) for _ in range(3)), return_exceptions=True)

    assert [OSError] * 3 == [type(outcome) for outcome in outcomes]
    assert [1] == calls
    assert not flight.running


async def test_an_error_that_nobody_waits_for_is_not_reported() -> None:
    """A run that was started and left alone may fail: the loop does not complain."""
    flight: SingleFlight[int] = SingleFlight()
    flight.start(counted(error=OSError("no disk"))[0])
    await asyncio.sleep(6)

    assert not flight.running


async def test_start_joins_what_is_under_way() -> None:
    """Starting twice is one run."""
    flight: SingleFlight[int] = SingleFlight()
    work, calls = counted()
    tasks = [flight.start(work) for _ in range(2)]
    running = flight.running
    await asyncio.wait(tasks)

    assert tasks[0] is tasks[1]
    assert (True, False, [1]) == (running, flight.running, calls)


@pytest.mark.parametrize("seconds", [0.0, 5.0])
async def test_a_run_that_has_ended_is_not_joined(seconds: float) -> None:
    """From its last step on it is not under way: what is started then is another run, also with eager tasks."""
    start_tasks_eagerly()
    flight: SingleFlight[None] = SingleFlight()
    calls: list[bool] = []

    async def work() -> None:
        calls.append(flight.running)
        if seconds:
            await asyncio.sleep(seconds)
        asyncio.get_running_loop().call_soon(ask_again)  # runs after the last step, before anything hears of the end

    def ask_again() -> None:
        calls.append(flight.running)
        if len(calls) < 4:
            flight.start(work)

    await flight.run(work)
    await asyncio.sleep(2 * seconds + 1)

    assert [True, False, True, False] == calls
    assert not flight.running


async def test_a_cancelled_caller_does_not_cancel_the_run() -> None:
    """Who gives up leaves the others waiting for the same run, even when they had started it."""
    flight: SingleFlight[int] = SingleFlight()
    work, calls = counted()
    first = asyncio.ensure_future(flight.run(work))
    await asyncio.sleep(1)
    first.cancel()

    assert 1 == await flight.run(work)
    assert ([1], 5.0) == (calls, clock())


@pytest.mark.parametrize("error", [None, OSError("no disk")])
async def test_wait(error: Exception | None) -> None:
    """Waiting takes as long as what is under way, or no time; its outcome is for those who ran it."""
    flight: SingleFlight[int] = SingleFlight()
    await flight.wait()
    before = clock()
    flight.start(counted(error=error)[0])
    await flight.wait()

    assert (0.0, 5.0) == (before, clock())


@pytest.mark.parametrize(("seconds", "closed_at", "cancelled"), [(5.0, 5.0, False), (60.0, 10.0, True)])
async def test_closing_gives_a_run_some_time(seconds: float, closed_at: float, cancelled: bool) -> None:
    """A run that is under way may end within ten seconds here; then it is cancelled."""
    flight: SingleFlight[int] = SingleFlight()
    task = flight.start(counted(seconds)[0])
    await flight.aclose(10.0)
    when = clock()
    await asyncio.wait([task])

    assert (closed_at, cancelled) == (when, task.cancelled())
    assert not flight.running


async def test_closing_what_does_not_run() -> None:
    """Where nothing runs, closing takes no time."""
    await SingleFlight[int]().aclose(10.0)

    assert 0.0 == clock()


# --- LoopBound ------------------------------------------------------------------------------------------------------


def test_the_first_loop_is_the_only_one() -> None:
    """What was used on one event loop cannot be used on another; the error says what to do instead."""
    bound = LoopBound("this session belongs", "make a session for each loop")

    async def use() -> bool:
        return bound.bind() is bound.bind() is asyncio.get_running_loop()

    first = testing.run(use())
    with pytest.raises(RuntimeError, match="this session belongs to another event loop; make a session for each loop"):
        testing.run(use())

    assert first


def test_without_a_loop() -> None:
    """Nothing can be bound where no event loop runs."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        LoopBound("this session belongs", "").bind()


async def test_the_error_of_a_thread_is_retrieved_where_its_caller_was_cancelled() -> None:
    """The caller waits for the thread all the same, and ends as cancelled; asyncio has nothing to report."""
    cancelled = threading.Event()

    def work() -> None:
        assert cancelled.wait(10)
        raise ValueError("of the thread")

    task = spawn(run_in_thread(work))
    await asyncio.sleep(0)
    task.cancel()
    asyncio.get_running_loop().call_soon(cancelled.set)
    with pytest.raises(asyncio.CancelledError):
        await task
