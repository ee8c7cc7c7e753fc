"""The engine: what all processes of a fleet share, as a protocol, and the values that it answers with.

Every call tells the engine what this process knows of the key's day (`Ledger.seen`), so that an engine which has lost
its memory gets it back, and every answer brings the day's numbers up to date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final, Protocol

import attrs

from ..ratelimit.limiter import PermitResult
from .lease import BeatReply
from .ledger import Ledger

__all__ = [
    "MAX_IDS_A_CALL",
    "AcquireReply",
    "AcquireStatus",
    "Engine",
    "EngineError",
    "FleetStatus",
    "Look",
    "NewsItem",
    "PermitRequest",
    "Place",
    "Taken",
]

MAX_IDS_A_CALL: Final = 500  # of a script, which keeps everyone else waiting


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


@attrs.frozen
class Place:
    """A place in the news: the number of the last that was read, and what the engine calls it."""

    number: int
    mark: str


@attrs.frozen
class NewsItem:
    """One piece of news. `number`: they are counted by 1. `kind`, `member`, `data`: see `registry`."""

    place: Place
    kind: str
    member: str
    data: str


@attrs.frozen
class Taken:
    """All that a new poller needs: the `watches` of each member by id, the planner's `memo`, and where to read on."""

    place: Place
    memo: str
    watches: dict[str, dict[str, str]]


@attrs.frozen
class Look:
    """One thing that was seen. `kind`: "a" a snapshot, "t" a terminal one, "l" an error, "r" nobody watches it now."""

    kind: str
    activity_id: str
    text: str = ""


@attrs.frozen(kw_only=True)
class FleetStatus:
    """A fleet as its server knows it."""

    members: Mapping[str, int]
    """The processes that are alive, and how many activities each of them watches."""
    poller: str
    """The name of the process that asks for them; empty if none does at the moment."""
    spent: float
    """Requests of this UTC day, of all that use the key."""
    per_day: float
    """Requests that the vendor allows a day, as the process that polls was told; 0 if none ever did."""
    shut: bool
    """Whether the vendor has called the day spent."""


class Engine(Protocol):
    """Shared memory with rules. Every method raises EngineError; none is called in a task that a user can cancel.

    `ledger`: the key's day, as of the last answer. `member`: the name of this process, made when it is first asked for.
    """

    ledger: Ledger

    @property
    def member(self) -> str:
        """The name of this process in the fleet."""

    # --- the quota and the lease ------------------------------------------------------------------------------------

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

    async def release(self, token: int, *, leave: bool) -> None:
        """Give up the lease at once, if it is held; leave the fleet, too."""

    # --- what is watched, and what was seen -------------------------------------------------------------------------

    async def begin(self) -> tuple[Place, list[str]]:
        """Return where the news ends, and the ids that the engine knows this process to watch."""

    async def watch(self, wanted: Mapping[str, str]) -> dict[str, str]:
        """Register ids. Returns the snapshots that there are by id."""

    async def drop(self, ids: Sequence[str], *, ended: bool) -> None:
        """Watch ids no more. `ended`: the poller knows that already."""

    async def post(self, kind: str, data: str) -> None:
        """Tell everyone something that need not be kept."""

    async def news(self, after: Place) -> list[NewsItem]:
        """Wait for a second, or until there is news after a place."""

    async def publish(self, token: int, memo: str, looks: Sequence[Look]) -> bool:
        """Tell what was seen. False if something was refused, because another process polls now."""

    async def snapshots(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the snapshots that there are by id."""

    async def take(self, token: int) -> Taken | None:
        """Return all that a new poller needs; None if another process polls by now."""

    async def reap(self, token: int, gone: Sequence[str]) -> None:
        """Let go of what dead members watched."""

    async def aclose(self) -> None:
        """Free the connections."""
