"""How long to leave alone what has failed. Pure.

A vendor who answers nothing is probed after 1, 2, 4 ... 60 seconds, for all watches together, and any answer ends that.
An id whose request fails while others succeed waits by itself, so that it keeps nobody else waiting.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

__all__ = ["MAX_PROBE_INTERVAL_S", "Failures", "delay_after"]

MAX_PROBE_INTERVAL_S: Final = 60.0


def delay_after(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(MAX_PROBE_INTERVAL_S, 2.0 ** min(failures, 9))


@attrs.define(eq=False)
class Failures:
    """What has failed of late, and until when it is left alone.

    `count`: requests without an answer since the last one. `next_probe`: loop time before which nothing is asked.
    `held`: by id, how often it failed in a row, and the loop time until which it waits.
    """

    count: int = 0
    next_probe: float = -math.inf
    held: dict[str, tuple[int, float]] = attrs.field(factory=dict)

    def answered(self) -> None:
        """The vendor is there."""
        self.count, self.next_probe = 0, -math.inf

    def unanswered(self, now: float) -> None:
        """A request got no answer."""
        self.next_probe = now + delay_after(self.count)
        self.count += 1

    def hold(self, activity_id: str, now: float) -> None:
        """What got no answer was about this id."""
        count = self.held.get(activity_id, (0, 0.0))[0] + 1
        self.held[activity_id] = (count, now + delay_after(count))

    def not_before(self, activity_id: str, due: float) -> float:
        """When this id may be asked for that is due then."""
        return max(due, self.held[activity_id][1]) if activity_id in self.held else due
