"""How long to let be what has failed. Performs no I/O, reads no clock.

A vendor who answers nothing is probed after 1, 2, 4 ... 60 seconds, for all watches together, and any answer ends that.
An id whose request fails while others succeed waits by itself, so that it keeps nobody else waiting.
"""

from __future__ import annotations

import math

import attrs

__all__ = ["LONGEST", "Outage", "pause"]

LONGEST = 60.0  # seconds between two probes of a vendor who does not answer


def pause(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(LONGEST, 2.0 ** min(failures, 9))


@attrs.define(eq=False)
class Outage:
    """What has failed of late, and until when it is let be."""

    failures: int = 0  # since the last answer
    until: float = -math.inf  # loop time before which nothing is asked
    held: dict[str, tuple[int, float]] = attrs.field(factory=dict)  # by id: how often it failed, until when it waits

    def answered(self) -> None:
        """The vendor is there."""
        self.failures, self.until = 0, -math.inf

    def unanswered(self, now: float) -> None:
        """A request got no answer."""
        self.until = now + pause(self.failures)
        self.failures += 1

    def hold(self, activity_id: str, now: float) -> None:
        """What got no answer was about this id."""
        count = self.held.get(activity_id, (0, 0.0))[0] + 1
        self.held[activity_id] = (count, now + pause(count))

    def release(self, activity_id: str) -> None:
        """It was answered for, or nobody asks for it any more."""
        self.held.pop(activity_id, None)

    def after(self, activity_id: str, due: float) -> float:
        """When this id may be asked for that is due then."""
        return max(due, self.held.get(activity_id, (0, due))[1])
