"""A simulated vendor and a session against it, for most tests; what tests often ask of the vendor afterwards."""

from __future__ import annotations

import inspect
from bisect import bisect_left
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs

from ccactivity import ActivitySession, TokenSource
from ccactivity.sandbox import Sandbox, Violations
from ccactivity.testing import utc_now

from .token_sources import RefreshingSource

UNKNOWN_ID = "04fe9a-a579-43c5-bb1a-58ed29bf0a6a"  # the one of the vendor's own sample: no sandbox has it
CAMPAIGN_ID = "1ead98be-dfa0-4e04-81f7-5f1534d42e9c"  # every sandbox has its send history

VendorFactory = Callable[..., AbstractAsyncContextManager[tuple[Sandbox, ActivitySession]]]
Token = str | Callable[[], Awaitable[str]] | TokenSource


def connect(sandbox: Sandbox, token: Token | None = None, **options: Any) -> ActivitySession:
    """Return a session against the sandbox, with its token and the virtual wall clock, and these options."""
    if isinstance(token, RefreshingSource):
        token.attach(sandbox)
    return ActivitySession(token or sandbox.token, **{"base_url": sandbox.base_url, "now": utc_now, **options})


@asynccontextmanager
async def vendor(
    *, token: Token | None = None, allowed_violations: Iterable[str] = (), **options: Any
) -> AsyncIterator[tuple[Sandbox, ActivitySession]]:
    """Give a sandbox and a session against it, and fail at the end on any violation of the vendor's rules.

    `token`: the session's; by default that of the sandbox. `allowed_violations`: names of those that the test
    provokes on purpose. `options`: those of `ActivitySession` and of `Sandbox`; a request takes 60 ms.
    """
    names = inspect.signature(ActivitySession).parameters
    ours = {name: options.pop(name) for name in list(options) if name in names}
    async with Sandbox(**{"latency": 0.06, **options}) as sandbox, connect(sandbox, token, **ours) as session:
        yield sandbox, session
    assert Violations() == attrs.evolve(sandbox.violations, **dict.fromkeys(allowed_violations, 0)), sandbox.violations


def most_in_a_second(sandbox: Sandbox) -> int:
    """Return how many requests the sandbox saw within a second at most."""
    times = [line.time for line in sandbox.log]
    return max(bisect_left(times, begin + 1.0) - place for place, begin in enumerate(times))


def seconds_since_end(sandbox: Sandbox, activity_id: str) -> float:
    """Return how long ago an activity has ended."""
    truth = sandbox.truth(activity_id)
    assert truth is not None, f"{activity_id} has not ended"
    return sandbox.now - truth.ended_at
