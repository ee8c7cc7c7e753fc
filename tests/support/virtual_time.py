"""Runs `async def` tests, on virtual or real time, and fails those that leave something behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

from coverage import Coverage

from ccactivity.testing import VirtualTimeLoop

_LAST_TURNS = 5  # of the loop, for what was cancelled or closed at the end of a test


def as_plain_function(test: Callable[..., Coroutine[Any, Any, None]], run: Callable[..., None]) -> Callable[..., None]:
    """Return a test that runs `test` by `run`, and then fails if a task or an unretrieved error is left."""

    async def tidy(unretrieved: list[str], arguments: dict[str, Any]) -> None:
        def note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            unretrieved.append(f"{context['message']}: {context.get('exception')!r}")
            loop.default_exception_handler(context)

        asyncio.get_running_loop().set_exception_handler(note)
        await test(**arguments)
        for _ in range(_LAST_TURNS):
            await asyncio.sleep(0)
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left, f"tasks left pending: {left}"

    def plain(**arguments: Any) -> None:
        unretrieved: list[str] = []
        run(tidy(unretrieved, arguments), debug=Coverage.current() is None)
        gc.collect()  # what was not closed or retrieved complains now, not in a later test
        assert not unretrieved, f"reported to the event loop: {unretrieved}"

    return plain


def virtual_loop() -> VirtualTimeLoop:
    """Return the loop that runs the test, whose wall clock can be set."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    return loop


def tasks_left() -> list[str]:
    """Return all tasks but the running one, and but the sandbox's ends of pooled connections."""
    texts = map(repr, asyncio.all_tasks() - {asyncio.current_task()})
    return [text for text in texts if "RequestHandler" not in text]
