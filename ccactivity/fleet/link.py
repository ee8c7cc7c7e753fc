"""The link: whether the engine answers, who waits for that, and what the log says of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from ..errors import FleetUnavailableError
from .engine import EngineError

__all__ = ["Link"]

_log: Final = logging.getLogger("ccactivity")
_WARN_AFTER_S: Final = 1.0  # what is over sooner is nobody's business


class Link:
    """Whether the engine answers. Away from `start` to the first answer.

    `name`: of the engine, for people, without its password. `patience`: seconds that a single call waits for an engine
    that is away. `up`: set while it answers. `error`: why it does not, `away_since`: the loop time since which; both
    None while it does. `on_change`: called after each change.
    """

    def __init__(self, name: str, patience: float) -> None:
        self.name = name
        self.patience = patience
        self.up: asyncio.Event = asyncio.Event()
        self.error: EngineError | None = None
        self.on_change: list[Callable[[], None]] = []
        self.away_since: float | None = 0.0
        self._warned = False
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Belong to the running loop."""
        self.away_since = asyncio.get_running_loop().time()

    def lost(self, error: EngineError) -> None:
        """It did not answer."""
        news = self.away_since is None or (error.lasting and self.error is None)
        self.error = error
        if self.away_since is None:
            self.away_since = asyncio.get_running_loop().time()
            self.up.clear()
        if error.lasting:
            self._warn()
        elif self._timer is None and not self._warned:
            self._timer = asyncio.get_running_loop().call_later(_WARN_AFTER_S, self._warn)
        if news:
            self._changed()

    def found(self) -> None:
        """It answered."""
        if self.away_since is None:
            return
        seconds = asyncio.get_running_loop().time() - self.away_since
        self.error = self.away_since = None
        self.close()
        if self._warned:
            _log.info("the fleet's engine at %s answers again, after %.1f s", self.name, seconds)
        self._warned = False
        self.up.set()
        self._changed()

    def gives_up_at(self, since: float) -> float:
        """Loop time at which whoever has waited since then waits no longer; at once if waiting does not help."""
        if self.error is not None and self.error.lasting:
            return since
        return since + self.patience if self.away_since is None else max(since, self.away_since) + self.patience

    def unavailable_error(self) -> FleetUnavailableError:
        """Make the error for whoever waits no longer."""
        reason = "no answer yet" if self.error is None else self.error.reason
        return FleetUnavailableError(f"the fleet's engine at {self.name} cannot be used: {reason}", reason=reason)

    def close(self) -> None:
        """Say nothing any more of an outage that goes on."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()

    def _warn(self) -> None:
        self.close()
        if not self._warned and self.error is not None:
            self._warned = True
            reason = self.error.reason
            _log.warning("the fleet's engine at %s is away, so nothing is sent: %s", self.name, reason)
