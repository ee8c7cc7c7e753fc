"""Absence: what 404 means for an id, by what was seen of it before and by how long somebody waits for it. Pure.

404 is not yet an end. An activity that was seen is asked for once more, and a new one may take a moment to appear: that
moment, the grace, is counted from the first 404. An outage shows nothing, and a list that lacks an id says nothing.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

__all__ = ["Absence"]

# Seconds after a 404 until the same id is asked for again, one after the other.
_RETRY_DELAYS_S: Final = (1.0, 1.0, 2.0, 4.0)
# An id that had its grace before anything was answered: one more look is all that is worth it.
_LAST_RETRY_DELAY_S: Final = 10.0
_MIN_RETRY_DELAY_S: Final = 0.1


@attrs.define
class Absence:
    """The 404s of one id: `count` since it was last seen. `since`: loop time at which it was first asked for.

    `gives_up_at`: loop time at which it has had its grace, if it is never seen; minus infinity before a first 404.
    """

    since: float
    _new_grace: float = -math.inf
    count: int = 0
    gives_up_at: float = -math.inf

    def wait_for(self, grace: float) -> None:
        """Somebody gives it so many seconds to appear, from the next 404 on."""
        self._new_grace = max(grace, self._new_grace)

    def not_found(self, now: float, *, seen_before: bool) -> float | None:
        """After one more 404: the seconds until it is asked for again, or None if it is gone, or has expired."""
        self.count += 1
        delay = _RETRY_DELAYS_S[min(self.count, len(_RETRY_DELAYS_S)) - 1]
        if seen_before:
            return None if self.count > 1 else delay
        self.gives_up_at = max(self.gives_up_at, now + self._new_grace)
        self._new_grace = -math.inf
        left = self.gives_up_at - now
        if left <= 0:
            return None
        if self.count == 1 and now - self.since >= left:
            delay = _LAST_RETRY_DELAY_S
        return max(_MIN_RETRY_DELAY_S, min(delay, left))
