"""The limiter: where whoever wants to send waits for a permit, and says what became of it.

`Limiter` is what the rest of the library knows; `QuotaLimiter` is the one of a single process, over a `Quota`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import datetime
from enum import Enum, auto
from functools import partial
from typing import Final, Protocol

import attrs

from .._emitter import Emitter
from .._tasks import wait_until_set
from ..errors import QuotaExceededError
from .quota import Budget, Grant, Quota, Ticket

__all__ = [
    "PERMIT_MAX_AGE_S",
    "Limiter",
    "Permit",
    "PermitResult",
    "QuotaLimiter",
    "quota_exceeded_error",
    "reset_jitter",
]

# Whoever waits until tomorrow looks again now and then: wall clocks are set, laptops sleep.
_CLOCK_RECHECK_S: Final = 300.0
# A permit is good for this long: the quota's window is a tenth of a second longer than the vendor's.
PERMIT_MAX_AGE_S: Final = 0.1
# Clients of one key that wait for the same reset come back one after the other.
_MIN_RESET_JITTER_S: Final = 1.0
_MAX_RESET_JITTER_S: Final = 30.0


class PermitResult(Enum):
    """What became of a request."""

    ANSWERED = auto()  # by anything but a 429: the key works
    NO_ANSWER = auto()  # it is spent all the same
    THROTTLED = auto()  # the vendor wants fewer requests a second
    QUOTA_EXCEEDED = auto()  # the vendor says that the day is spent
    NOT_SENT = auto()  # it is given back


class Limiter(Protocol):
    """Decides when a request may be sent."""

    async def acquire(self, *, background: bool) -> Permit:
        """Wait for permission to send one request; in the foreground, QuotaExceededError rather than until tomorrow."""

    def budget(self) -> Budget:
        """What watching may spend at this moment."""

    def quota_exceeded_error(self) -> QuotaExceededError:
        """Make the error for whoever does not wait until the day's requests come back."""


@attrs.define(eq=False)
class Permit:
    """Permission for one request. Settle it once; closing it unsettled refunds it, or charges it if it was sent.

    `expires_at`: loop time after which it is of no use, since others like it would be sent at the same moment.
    `waited`: whether it came later than it was asked for, so that what was decided before may be out of date. `queued`:
    seconds by which it did. `sent`: to be set when the request leaves. `settle_with` is the limiter's: told once what
    became of the request.
    """

    settle_with: Callable[[PermitResult, float, datetime | None], None]
    expires_at: float
    waited: bool
    queued: float = 0.0
    sent: bool = False
    settled: bool = False

    def settle(self, result: PermitResult, *, pause: float = 0.0, server_time: datetime | None = None) -> None:
        """Say what became of the request.

        `pause`: seconds for which nobody is to send, after a throttle. `server_time`: the vendor's clock, whose 00:00
        UTC it is that a spent day waits for.
        """
        assert not self.settled, "a permit is settled once"
        self.settled = True
        self.settle_with(result, pause, server_time)

    def close(self) -> None:
        """Settle it by what is known, if nobody has."""
        if not self.settled:
            self.settle(PermitResult.NO_ANSWER if self.sent else PermitResult.NOT_SENT)


class QuotaLimiter(Limiter):
    """The limiter of one process. `now` gives the aware UTC time, for the day; delays use the loop's clock."""

    def __init__(self, quota: Quota, now: Callable[[], datetime], emitter: Emitter | None = None) -> None:
        self._quota = quota
        self._now = now
        self._emitter = emitter or Emitter()
        quota.attach(now)

    async def acquire(self, *, background: bool) -> Permit:
        loop, quota = asyncio.get_running_loop(), self._quota
        woken = asyncio.Event()
        ticket = Ticket(woken.set, background)
        entered = loop.time()
        quota.enter(ticket, entered)
        waited = False
        try:
            while True:
                now, wall = loop.time(), self._now()
                delay = quota.delay(ticket, now, wall)
                if delay <= 0:
                    settle = partial(self._settle, quota.grant(ticket, now, wall))
                    if self._emitter.cause:
                        self._emitter.resume(now, background=background)
                    return Permit(settle, now + PERMIT_MAX_AGE_S, waited, now - entered)
                if not background or self._emitter.hooks:
                    closed_for = quota.seconds_until_open(now, wall, background=background)
                    if closed_for and self._emitter.hooks:
                        self._emitter.pause("quota_exceeded", now, now + closed_for)
                    if closed_for and not background:
                        raise self.quota_exceeded_error()
                waited = True
                woken.clear()
                await wait_until_set(woken, min(delay, _CLOCK_RECHECK_S))
        except BaseException:
            quota.leave(ticket)
            raise

    def budget(self) -> Budget:
        return self._quota.budget(asyncio.get_running_loop().time(), self._now())

    def quota_exceeded_error(self) -> QuotaExceededError:
        return quota_exceeded_error(self._quota.reopens_at(asyncio.get_running_loop().time(), self._now()))

    def _settle(self, grant: Grant, result: PermitResult, pause: float, server_time: datetime | None) -> None:
        quota = self._quota
        if result is PermitResult.NOT_SENT:
            quota.refund(grant)  # needs no clock: one of the user's may fail
            return
        now, wall = asyncio.get_running_loop().time(), self._now()
        if result is PermitResult.ANSWERED:
            quota.answered(grant, wall)
        elif result is PermitResult.NO_ANSWER:
            quota.unanswered(grant, wall)
        elif result is PermitResult.THROTTLED:
            quota.throttled(grant, now, wall, pause)
        else:
            quota.exceeded(grant, now, wall, server=server_time, jitter=reset_jitter())
            if self._emitter.hooks:
                closed_for = quota.seconds_until_open(now, wall, background=False)
                self._emitter.pause("quota_exceeded", now, now + closed_for)


def quota_exceeded_error(resets_at: datetime) -> QuotaExceededError:
    """Make the error of a day that is spent."""
    return QuotaExceededError(
        f"the API key has no requests left today; it can be used again at {resets_at:%Y-%m-%d %H:%M} UTC",
        resets_at=resets_at,
    )


def reset_jitter() -> float:
    """Draw the seconds for which the background waits longer than until the reset."""
    return random.uniform(_MIN_RESET_JITTER_S, _MAX_RESET_JITTER_S)
