"""The membership: what a session needs of a fleet that it is part of. `ccactivity.fleet` has the fleet itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs

from ._emitter import Emitter
from .api.decoding import Decoder
from .polling.hub import Hub
from .polling.poller import Poller
from .ratelimit.limiter import Limiter
from .ratelimit.quota import Quota

__all__ = ["Fleet", "FleetStats", "Membership"]


@attrs.frozen(kw_only=True)
class FleetStats:
    """The fleet as this process knows it, a second old at most while it is connected."""

    connected: bool
    """Whether the engine answers. While it does not, nobody sends anything."""
    members: int
    """Processes that are alive, this one included."""
    polling: bool
    """Whether this process is the one that asks for what is watched."""
    poller: str
    """The name of the process that does; empty if none does at the moment."""
    watching: int
    """Activities that this process watches."""
    spent: float
    """Requests of this UTC day, of all that use the key."""
    outage: float
    """Seconds for which the engine has given no answer; 0 while it does."""


class Membership(Protocol):
    """One session's part in a fleet. `limiter`, `hub`: for the session."""

    limiter: Limiter
    hub: Hub

    @property
    def finished(self) -> int:
        """Activities whose end was told to this process."""

    @property
    def stats(self) -> FleetStats:
        """The fleet as this process knows it."""

    @property
    def price(self) -> float:
        """Seconds of lag that a request is worth to this process, if it polls."""

    def start(self) -> None:
        """Belong to the running loop, and connect; called at each use."""

    async def aclose(self) -> None:
        """Leave the fleet."""


class Fleet(Protocol):
    """Many processes that share one API key."""

    def join(
        self, quota: Quota, decoder: Decoder, make_poller: Callable[[Hub], Poller], emitter: Emitter
    ) -> Membership:
        """Make the part of one session, which connects when it is first used.

        `quota`: its limits. `make_poller`: makes what polls for a hub, each time that this process takes over.
        `emitter`: is told of pauses.
        """
