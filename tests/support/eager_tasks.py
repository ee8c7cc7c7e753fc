"""Loops whose tasks start eagerly, which Python has since 3.12: a task may end before whoever starts it has got it."""

from __future__ import annotations

import asyncio
import os

_plain_init = asyncio.BaseEventLoop.__init__


def install_if_asked() -> None:
    """With CCACTIVITY_TEST_EAGER in the environment, have each loop of this process start its tasks eagerly."""
    if "CCACTIVITY_TEST_EAGER" in os.environ:
        asyncio.BaseEventLoop.__init__ = _eager_init  # type: ignore[assignment,method-assign]  # also of loops that tests make


def start_tasks_eagerly() -> None:
    """Have the running loop start its tasks eagerly; as usual on Python 3.11."""
    asyncio.get_running_loop().set_task_factory(getattr(asyncio, "eager_task_factory", None))


def _eager_init(loop: asyncio.BaseEventLoop) -> None:
    _plain_init(loop)
    loop.set_task_factory(getattr(asyncio, "eager_task_factory"))  # noqa: B009 -- unknown to the types of Python 3.11
