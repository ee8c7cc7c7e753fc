"""Virtual time for asyncio tests: an hour of schedule in milliseconds. Patches nothing.

    from ccactivity.testing import run

    async def main():
        await asyncio.sleep(3600)          # returns at once
        return asyncio.get_running_loop().time()

    assert run(main()) == 3600.0

The loop is a real selector loop: aiohttp clients and servers run on it unmodified, over real loopback sockets. Only
waiting is different. The rules:

1. Time moves only when nothing else can happen: no callback is ready, no socket has data, no executor job is running.
   Then it jumps to the next timer, and never backward. Running code takes no time.
2. Both ends of every connection have to be in this loop. What happens outside it (another thread, a child process, a
   server elsewhere) needs `VirtualTimeLoop.hold`; for executor jobs the loop holds by itself.
3. No timer, nothing ready and nothing held is a deadlock: `DeadlockError` instead of a test that hangs. So are ten
   years of virtual time: only `asyncio.sleep(math.inf)` or a periodic timer that is never stopped gets there.

Why not patch `time` or wrap `asyncio.sleep`: `asyncio.timeout` and aiohttp's time-outs all read the loop's clock, so
replacing that one clock is enough, and no other code has to change.
"""

from __future__ import annotations

import asyncio
import math
import os
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack

if TYPE_CHECKING:  # this module needs nothing of the library, so that it may judge it
    from .events import Event
    from .session import ActivitySession

__all__ = ["DeadlockError", "VirtualTimeLoop", "record", "run", "utc_now"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

UTC_START = datetime(2026, 1, 1, 12, tzinfo=UTC)

# Real seconds in which the kernel may still deliver data, before a jump and before a deadlock is reported.
_JUMP_WAIT_S = 50e-6
_DEADLOCK_WAIT_S = 0.05

_MAX_VIRTUAL_TIME_S = 10 * 365 * 86_400.0  # asyncio waits for an infinite timer one day at a time, for ever
_CLOCK_RESOLUTION_S = 1e-7


class DeadlockError(RuntimeError):
    """Every task waits for something that cannot happen any more; the message lists them."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose idle time jumps to its next timer.

    `time()` starts at 0.0 seconds, so runs are reproducible; `utc_start` (aware) is what `utc_now()` returns then. Use
    it as a loop factory: `asyncio.Runner(loop_factory=VirtualTimeLoop)`.
    """

    def __init__(self, *, utc_start: datetime = UTC_START) -> None:
        self._waiter = _JumpingSelector(self._deadlock)
        self.set_utc(utc_start)
        super().__init__(self._waiter)
        # asyncio runs a timer when `when < time() + resolution`. Its own nanosecond is lost in rounding once time() is
        # past half a year, and then no timer runs any more; this one is enough for ten years, and more.
        self._clock_resolution = _CLOCK_RESOLUTION_S

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._waiter.now

    def utc_now(self) -> datetime:
        """Aware UTC wall-clock time; follows `time()`, `set_utc` and `step_utc`."""
        return self._utc_epoch + timedelta(seconds=self.time())

    def set_utc(self, now: datetime) -> None:
        """Set the wall clock, forward or back; `time()` and all timers go on as before."""
        if now.utcoffset() is None:
            raise ValueError("the wall clock needs an aware datetime")
        self._utc_epoch = now.astimezone(UTC) - timedelta(seconds=self.time())

    def step_utc(self, seconds: float) -> None:
        """Move the wall clock by `seconds`, negative for back, as NTP does when it corrects a clock."""
        self._utc_epoch += timedelta(seconds=seconds)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Stop virtual time, and wait in real time, while something outside the loop is at work."""
        self._waiter.holds += 1
        try:
            yield
        finally:
            self._waiter.holds -= 1

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run `func` in a thread; time stops until the returned future is done or cancelled."""
        future = super().run_in_executor(executor, func, *args)
        held = ExitStack()
        held.enter_context(self.hold())
        future.add_done_callback(lambda _: held.close())
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Join the default executor's threads; time stops, so `timeout` (3.12+) cannot pass."""
        with self.hold():
            await super().shutdown_default_executor()

    def _deadlock(self) -> DeadlockError:
        stuck = sorted(f"  {task.get_name()}: {_await_chain(task)}" for task in asyncio.all_tasks(self))
        return DeadlockError(
            f"deadlock at {self.time():g} virtual seconds: no timer, socket event or executor job is left to"
            " wake these tasks (what is outside the loop needs VirtualTimeLoop.hold)\n" + "\n".join(stuck)
        )


def run(main: Coroutine[Any, Any, T], *, debug: bool | None = None, utc_start: datetime = UTC_START) -> T:
    """Run `main` to its end like `asyncio.run`, on a new `VirtualTimeLoop`.

    Raises what `main` raises, and `DeadlockError` when it can never end.
    """
    with asyncio.Runner(debug=debug, loop_factory=lambda: VirtualTimeLoop(utc_start=utc_start)) as runner:
        return runner.run(main)


def utc_now() -> datetime:
    """Aware UTC wall-clock time of the running `VirtualTimeLoop`: a `now=` to pass before there is a loop.

    Raises `RuntimeError` when no loop, or another kind of loop, is running.
    """
    loop = asyncio.get_running_loop()
    if isinstance(loop, VirtualTimeLoop):
        return loop.utc_now()
    raise RuntimeError(f"utc_now() needs a running VirtualTimeLoop, not {type(loop).__name__}")


def record(session: ActivitySession) -> list[Event]:
    """Return a list that each event of a session is added to, from now on; see `ccactivity.events`."""
    events: list[Event] = []
    session.add_event_hook(events.append)
    return events


class _JumpingSelector(selectors.DefaultSelector):
    """The real selector, but it never waits for a timeout to pass: it moves `now` (virtual seconds) instead."""

    def __init__(self, deadlock: Callable[[], DeadlockError]) -> None:
        super().__init__()
        self.now = 0.0
        self.holds = 0
        self._make_deadlock = deadlock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(0)
        if self.holds:
            return super().select(None)
        if events := self._poll():
            return events
        if timeout is not None and self.now < _MAX_VIRTUAL_TIME_S:
            self.now = _add_delay(self.now, timeout)
            return []
        if events := super().select(_DEADLOCK_WAIT_S):
            return events
        raise self._make_deadlock()

    def _poll(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Poll until the kernel has delivered what is still between two sockets.

        Linux delivers on loopback within send(), unless its softirq thread is behind; other systems may not. A callback
        writes without any event on our side, so every open socket counts as busy.
        """
        events = super().select(0)
        if events or len(self.get_map()) <= 1:  # one is the loop's own wake-up socket
            return events
        if hasattr(os, "sched_yield"):
            os.sched_yield()
            if events := super().select(0):
                return events
        time.sleep(_JUMP_WAIT_S)
        return super().select(0)


def _add_delay(now: float, delay: float) -> float:
    """Return `now + delay` in seconds, rounded so that the clock neither stops nor is early for a timer."""
    then = now + delay
    return then if then > now and then - now >= delay else math.nextafter(then, math.inf)


def _await_chain(task: asyncio.Task[Any]) -> str:
    """Return the names of the coroutines that `task` is in, outermost first, and the line at which it waits."""
    names: list[str] = []
    line = "not started"
    step: Any = task.get_coro()
    while step is not None and (frame := getattr(step, "cr_frame", None)) is not None:
        names.append(step.__qualname__)
        line = f"{frame.f_code.co_filename}:{frame.f_lineno}"
        step = step.cr_await
    return f"{' > '.join(names) or repr(step)} at {line}"
