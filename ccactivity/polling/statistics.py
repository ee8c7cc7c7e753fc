"""The statistics of one account, learned from ends that were seen: how fast they come, and what is typical. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .tuning import Tuning

__all__ = ["AccountStatistics"]


class AccountStatistics:
    """Typical duration, stalls and completion rate.

    `last_change`: the loop time at which something was last watched or began. `typical_duration`: seconds of work, a
    geometric mean. `unseen_share`: of the ends, those that nobody had seen at work.
    """

    def __init__(self, tuning: Tuning) -> None:
        self.last_change: float = -math.inf
        self.typical_duration: float = tuning.first_duration_s
        self.unseen_share: float = tuning.first_unseen_share
        self.tuning = tuning
        self._ends: list[float] = []
        self._durations = 0
        self._stalls = 0
        self._stall_mean = 0.0
        self._stall_deviation = 0.0

    def on_end(self, now: float, *, seen_at_work: bool) -> None:
        """One more has ended, of which something had been seen before."""
        self._ends.append(now)
        del self._ends[: -self.tuning.recent_ends]
        self.unseen_share += self.tuning.unseen_share_weight * ((not seen_at_work) - self.unseen_share)

    def learn_duration(self, seconds: float) -> None:
        """It was at work for so long."""
        if seconds <= 0.0:
            return
        self._durations = min(self._durations + 1, self.tuning.max_learned_ends)
        self.typical_duration *= (seconds / self.typical_duration) ** (1.0 / (1 + self._durations))

    def learn_stall(self, seconds: float) -> None:
        """It had made no progress for so long when it ended."""
        self._stalls = min(self._stalls + 1, self.tuning.max_learned_ends)
        if self._stalls > 1:
            self._stall_deviation += (abs(seconds - self._stall_mean) - self._stall_deviation) / self._stalls
        self._stall_mean += (seconds - self._stall_mean) / self._stalls

    def remaining_stall(self, stalled: float) -> float | None:
        """Seconds until one ends that has stalled for so long; None unless most had stalled for about as long."""
        mean, deviation, tuning = self._stall_mean, self._stall_deviation, self.tuning
        alike = self._stalls >= tuning.min_stalls and deviation <= tuning.max_stall_spread * mean
        if not alike or stalled > mean + 2 * deviation:
            return None
        return max(tuning.min_median_s, deviation / 2, mean + deviation - stalled)

    def completion_rate(self, now: float) -> float:
        """Ends a second among the queued. Soon after a change more is expected: their turn may have come."""
        tuning = self.tuning
        rate = 1.0 / (tuning.first_interval_s + tuning.interval_growth * max(0.0, now - self.last_change))
        if len(self._ends) > 1:
            rate = max(rate, (len(self._ends) - 1) / max(now - self._ends[0], tuning.min_rate_window_s))
        return rate * self.unseen_share

    def to_memo(self, now: float) -> dict[str, Any]:
        """Return what was learned as data of JSON, with ages in place of times, for whoever goes on."""
        return {
            "last_change": now - self.last_change if self.last_change > -math.inf else None,
            "typical_duration": self.typical_duration,
            "unseen_share": self.unseen_share,
            "ends": [round(now - end, 3) for end in self._ends],
            "durations": self._durations,
            "stalls": [self._stalls, self._stall_mean, self._stall_deviation],
        }

    def resume(self, memo: Mapping[str, Any], now: float) -> None:
        """Go on from what somebody else has learned."""
        if memo["last_change"] is not None:
            self.last_change = max(self.last_change, now - memo["last_change"])
        self.typical_duration, self.unseen_share = memo["typical_duration"], memo["unseen_share"]
        self._ends = [now - age for age in memo["ends"]]
        self._durations = memo["durations"]
        self._stalls, self._stall_mean, self._stall_deviation = memo["stalls"]
