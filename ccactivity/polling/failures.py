"""How long to leave alone what has failed. Pure.

An id or a page that fails waits on its own account: 1, 2, 4 seconds and so on. Only when different things fail, and
nothing is answered between, is it an outage: then all wait together, and are probed one by one until something is.
"""

from __future__ import annotations

import math
from typing import Final, Protocol

import attrs

__all__ = ["Failures", "Subject", "retry_at"]

_MIN_DIFFERENT: Final = 3  # that fail in a row: then it is the vendor, and not they
# So many probes may go out a second apart, to find the one thing that is answered among many that are not.
_QUICK_PROBES: Final = 24
_MAX_OUTAGE_INTERVAL_S: Final = 60.0


class Subject(Protocol):
    """What a request is about. `failures`: in a row; `failed_at`: loop time of the last one."""

    failures: int
    failed_at: float


def retry_at(subject: Subject, longest_s: float) -> float:
    """When what has failed may be asked for again: it is left alone for `longest_s` at most.

    Worked out anew each time, for the longest wait changes with the day's budget.
    """
    return subject.failed_at + min(longest_s, 2.0 ** min(subject.failures - 1, 20))


@attrs.define(eq=False)
class Failures:
    """What has failed since the last answer: `in_a_row` requests, about so many different things.

    `next_probe`: in an outage, loop time before which nothing is asked.
    """

    in_a_row: int = 0
    next_probe: float = -math.inf
    _different: int = 0

    @property
    def outage(self) -> bool:
        """Whether the vendor answers nothing."""
        return self._different >= _MIN_DIFFERENT

    def answered(self) -> bool:
        """The vendor is there. Returns whether that ends an outage."""
        ended = self.outage
        self.in_a_row = self._different = 0
        return ended

    def failed(self, subject: Subject, now: float) -> None:
        """A request about this got no answer, or none of use."""
        self.in_a_row += 1
        self._different += not subject.failures  # what keeps failing while others do not counts once
        subject.failures += 1
        subject.failed_at = now
        self.probed(now)

    def probed(self, now: float) -> None:
        """Something was asked, or failed: the next probe is not to follow at once."""
        doublings = min(max(0, self.in_a_row - _QUICK_PROBES), 9)
        self.next_probe = now + min(_MAX_OUTAGE_INTERVAL_S, 2.0**doublings)
