"""The pytest fixture of the simulated vendor. Every pytest run loads it, so it imports nothing until a test asks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .server import Sandbox

__all__ = ["ccactivity_sandbox"]


@pytest.fixture
def ccactivity_sandbox() -> Iterator[Sandbox]:
    """An offline Constant Contact, new for each test, in a thread of its own: for any client, sync or async.

    Jobs are sixty times faster than real ones, so a typical one takes a second. `env` holds the environment
    variables that point a client at it.
    """
    from .server import Sandbox  # noqa: PLC0415 -- aiohttp is not loaded for tests that never ask for a sandbox

    with Sandbox(speed=60.0) as sandbox:
        yield sandbox
