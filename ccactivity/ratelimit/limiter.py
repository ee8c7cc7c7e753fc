"""Where whoever wants to send waits for permission; it sends nothing, and `quota` decides what may be sent when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Final

from ..errors import QuotaExceededError
from .quota import Grant, Quota, Ticket

__all__ = ["Gate"]

# A gate that is shut until tomorrow is looked at now and then: wall clocks are set, laptops sleep.
_GLANCE: Final = 300.0


class Gate:
    """The way past a quota."""

    def __init__(self, quota: Quota, now: Callable[[], datetime]) -> None:
        self._quota = quota
        self._now = now

    async def grant(self, *, background: bool) -> Grant:
        """Wait for permission to send one request; in the foreground, QuotaExceededError rather than until tomorrow."""
        loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        ticket = Ticket(woken.set, background)
        self._quota.enter(ticket, loop.time())
        try:
            while True:
                now, wall = loop.time(), self._now()
                delay = self._quota.delay(ticket, now, wall)
                if delay <= 0:
                    return self._quota.grant(ticket, now, wall)
                if not background and self._quota.shut_for(now, wall, background=False):
                    raise self.exceeded(now, wall)
                woken.clear()
                await _sleep_unless(woken, min(delay, _GLANCE))
        finally:
            self._quota.leave(ticket)

    def exceeded(self, now: float, wall: datetime) -> QuotaExceededError:
        """The error for whoever does not wait until the day's requests come back."""
        resets_at = self._quota.opens_at(now, wall)
        return QuotaExceededError(
            f"the API key's requests for this day are spent; they come back at {resets_at:%Y-%m-%d %H:%M} UTC",
            resets_at=resets_at,
        )


async def _sleep_unless(woken: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await woken.wait()
