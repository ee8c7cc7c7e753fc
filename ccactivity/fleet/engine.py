"""The engine: what all processes of a fleet share, as a protocol, and the values that it answers with.

Every call tells the engine what this process knows of the key's day (`Ledger.seen`), so that an engine which has lost
its memory gets it back, and every answer brings the day's numbers up to date.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

import attrs

from ..ratelimit.limiter import PermitResult
from .lease import BeatReply
from .ledger import Ledger

__all__ = ["AcquireReply", "AcquireStatus", "Engine", "EngineError", "PermitRequest"]


class EngineError(Exception):
    """The engine gave no answer: what was asked of it may have been done or not.

    `reason`: a few words without secrets. `lasting`: waiting does not help (wrong password, role or version).
    """

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lasting = lasting


class AcquireStatus(IntEnum):
    """What became of asking for a permit."""

    GRANTED = 1
    WAIT = 0  # ask again, with the same ticket, after the wait
    FENCED = -1  # another process polls now
    SPENT = -2  # the day has no requests, for as long as the wait


@attrs.frozen
class PermitRequest:
    """A request for a permit. `ticket`: unique. `token`: of the lease, for the background. `waited`: seconds so far."""

    ticket: str
    background: bool
    token: int
    waited: float = 0.0


@attrs.frozen
class AcquireReply:
    """`wait`: seconds. `granted_at`: the engine's time, in microseconds."""

    status: AcquireStatus
    wait: float
    granted_at: int


class Engine(Protocol):
    """Shared memory with rules. Every method raises EngineError; none is called in a task that a user can cancel.

    `ledger`: the key's day, as of the last answer.
    """

    ledger: Ledger

    async def acquire(self, request: PermitRequest) -> AcquireReply:
        """Ask for one permit."""

    async def settle(
        self, request: PermitRequest, granted_at: int, result: PermitResult, seconds: float, jitter: float
    ) -> None:
        """Say what became of a permit.

        `seconds`: of the pause after a throttle, or until the vendor's 00:00 UTC, negative if it did not say.
        `jitter`: seconds for which the background waits longer.
        """

    async def beat(self, *, candidate: bool, token: int, lease: float) -> BeatReply:
        """Give a sign of life; become or stay the holder of the lease, in seconds, if a candidate and if it is free."""

    async def release(self, token: int) -> None:
        """Give up the lease at once."""

    async def aclose(self) -> None:
        """Free the connections."""
