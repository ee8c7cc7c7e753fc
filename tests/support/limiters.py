"""A limiter that grants what it is asked for, and remembers what became of it."""

from __future__ import annotations

import asyncio

from ccactivity.errors import QuotaExceededError
from ccactivity.ratelimit.limiter import Permit, PermitResult, QuotaLimiter
from ccactivity.ratelimit.quota import Budget, Quota
from ccactivity.testing import utc_now


class RecordingLimiter:
    """Grants after `waits` seconds; in the foreground raises, if the day is `spent`. `asked`: whether each was for the
    background. `results`, `pauses`: what became of each permit.
    """

    def __init__(self, *, waits: float = 0.0, spent: bool = False) -> None:
        self.waits = waits
        self.spent = spent
        self.asked: list[bool] = []
        self.results: list[PermitResult] = []
        self.pauses: list[float] = []

    def permit(self, *, expires_in: float = 1.0, waited: bool = False) -> Permit:
        def settled(result: PermitResult, pause: float, _server_time: object) -> None:
            self.results.append(result)
            self.pauses.append(pause)

        return Permit(settled, expires_at=asyncio.get_running_loop().time() + expires_in, waited=waited)

    async def acquire(self, *, background: bool) -> Permit:
        self.asked.append(background)
        if self.spent and not background:
            raise self.quota_exceeded_error()
        if self.waits:
            await asyncio.sleep(self.waits)
        return self.permit(waited=self.waits > 0)

    def budget(self) -> Budget:
        return Budget(500.0, 0.0)

    def quota_exceeded_error(self) -> QuotaExceededError:
        return QuotaLimiter(Quota(), utc_now).quota_exceeded_error()
