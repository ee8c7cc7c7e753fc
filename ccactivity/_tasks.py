"""What asyncio lacks: tasks that belong to a session or a login, not to the caller who happened to need them first.

Threads that are waited for, and iterators that are closed, are here too.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from typing import Any, Generic, TypeVar

__all__ = ["LoopBound", "SingleFlight", "closing_iterator", "finish", "run_in_thread", "spawn", "wait_until_set"]

T = TypeVar("T")


def spawn(work: Coroutine[Any, Any, T], context: contextvars.Context | None = None) -> asyncio.Task[T]:
    """Start a task in a fresh context: not in that of the web request which happened to need it first.

    It takes its first step once the caller has got hold of it, also on a loop whose factory makes eager tasks.
    """
    return asyncio.Task(work, loop=asyncio.get_running_loop(), context=context or contextvars.Context())


async def run_in_thread(work: Callable[[], T], executor: Executor | None = None) -> T:
    """Run `work` in a thread, and wait until it ends even if cancelled: a thread cannot be stopped half-way."""
    job = asyncio.get_running_loop().run_in_executor(executor, work)
    try:
        return await asyncio.shield(job)
    finally:
        while not job.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([job])
        if not job.cancelled():
            job.exception()  # retrieved, also where nobody is left to raise it for


async def finish(tasks: Iterable[asyncio.Task[Any]], timeout: float) -> None:
    """Give tasks `timeout` seconds to end, then cancel them and give them as long again.

    A caller who is cancelled while waiting takes no time from them: what has not ended by then is cancelled later.
    """
    if pending := set(tasks):
        try:
            _, pending = await asyncio.wait(pending, timeout=timeout)
        except asyncio.CancelledError:
            for task in pending:
                asyncio.get_running_loop().call_later(timeout, task.cancel)
            raise
    for task in pending:
        task.cancel()
    if pending:
        await asyncio.wait(pending, timeout=timeout)


@asynccontextmanager
async def closing_iterator(source: AsyncIterable[T]) -> AsyncGenerator[AsyncIterator[T], None]:
    """Give the iterator of a user's source, and close it in the end; not every iterator can be closed."""
    iterator = aiter(source)
    try:
        yield iterator
    finally:
        if (close := getattr(iterator, "aclose", None)) is not None:
            await close()


async def wait_until_set(event: asyncio.Event, timeout: float) -> None:
    """Return when an event is set, or after `timeout` seconds."""
    with suppress(TimeoutError):
        # Not asyncio.wait_for: before Python 3.12 it swallows a cancellation that arrives with the result.
        async with asyncio.timeout(timeout):
            await event.wait()


class SingleFlight(Generic[T]):
    """Runs one coroutine at a time, however many callers want its result; a cancelled caller does not cancel it.

    `running`: whether one is under way. It no longer is from its last step on: whoever joined it then would not wait.
    """

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None
        self.running: bool = False

    def start(self, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """Return the run that is under way, or start one; its error, if nobody waits for it, is not reported."""
        if self._task is None or not self.running:
            self._task, self.running = spawn(self._perform(work)), True
            self._task.add_done_callback(self._done)
        return self._task

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Join the run that is under way, or start one, and return its result."""
        return await asyncio.shield(self.start(work))

    async def wait(self) -> None:
        """Wait until none is under way; its outcome is for those who ran it."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def aclose(self, timeout: float) -> None:
        """Give a run that is under way `timeout` seconds to end, then cancel it."""
        await finish([] if self._task is None else [self._task], timeout)

    async def _perform(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        try:
            return await work()
        finally:
            self.running = False

    def _done(self, task: asyncio.Task[T]) -> None:
        if self._task is task:
            self._task, self.running = None, False  # also of one that was cancelled before its first step
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not report it again


class LoopBound:
    """Belongs to the event loop that uses it first, `loop`. `what`: such as "this session belongs", for the error."""

    def __init__(self, what: str, advice: str) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._what = what
        self._advice = advice

    def bind(self) -> asyncio.AbstractEventLoop:
        """Return the running loop; RuntimeError if it is another one than before."""
        loop = asyncio.get_running_loop()
        if self.loop is None:
            self.loop = loop
        elif self.loop is not loop:
            raise RuntimeError(f"{self._what} to another event loop; {self._advice}")
        return loop
