"""The forecast of one activity's end, from its snapshots: a probability, and the lag to be expected from it. Pure.

1. A look says "not ended yet" and, at best, how far the work has come since it began. What remains is extrapolated,
   elapsed * (1 - p) / p. The vendor's stamps say when, but only within what was observed: work began after the last
   look that showed it queued, and a new snapshot was made after the look before it. A stamp from the future says
   nothing.
2. `median_remaining`, r, is a median, not a date. The probability that the end has come t seconds after the look is
   1/2 (t / r)^2, up to 1: measured on uneven progress it is near 1/20 at a third of r and 1/4 at two thirds.
3. Without progress there is nothing to extrapolate, and expected remaining time grows with the time already stalled
   (Lindy). The probability then grows linearly, 1/2 (t / r), with an r made of the stalled time and of what is typical
   in this account. Unless those that ended had all stalled for about as long: then this one will, too.
4. The *expected lag* is the integral of that probability: the seconds by which we are late, in expectation, if we do
   not look. It is a power of t, then a straight line: summing a page's takes a few multiplications for each activity.
5. What is still queued cannot have ended before it began, and begins only when another ends. So all the queued are one
   stream, as fast as the account's completions; their expected lag is that of the few which begin and end unseen.

Finer laws were measured and brought less than the noise: other powers, recent instead of overall progress speed, time
spent in stalls taken out again, item counters, a bonus for looks that are bound to be the last.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

import attrs

from ..models import Activity, ActivityState
from .statistics import AccountStatistics
from .tuning import Tuning

__all__ = ["QUEUED", "SQRT2", "UNKNOWN", "UNSEEN", "WORKING", "Forecast", "lag_bounds"]

# Where an activity stands, for all that was seen of it. Strings, for they are dictionary keys in hot code.
UNSEEN, QUEUED, WORKING, UNKNOWN = "unseen", "queued", "working", "unknown state"

SQRT2: Final = math.sqrt(2.0)
_MAX_AGE_S: Final = 10 * 86400.0  # the vendor keeps an activity for ten days; a longer age is a broken stamp
_MAX_CLOCK_ERROR_S: Final = 60.0  # a stamp that contradicts what was observed by more is not believed
_DATE_RESOLUTION_S: Final = 2.0  # a Date header has whole seconds, and so may a stamp
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
_INITIALIZED: Final = ActivityState.INITIALIZED  # a member is slow to look up


@attrs.define(eq=False, weakref_slot=False, kw_only=True)
class Forecast:
    """What was last seen of an activity, and when it may end.

    `looked_at`: loop time of the last look; before the first, of `watch()`. `median_remaining`: seconds after the look
    by which it has ended with probability 1/2. `quadratic`: how that probability grows, rule 2 or rule 3.
    """

    looked_at: float
    median_remaining: float
    quadratic: bool = False
    phase: str = UNSEEN
    suspect_ended: bool = False  # missing where all at work are listed
    # By the vendor's clock; that of the newest snapshot.
    vendor_created_at: datetime = _LATEST
    vendor_updated_at: datetime = _EARLIEST
    # By the loop's clock: when that snapshot was made, when work began, when `percent` was first what it is.
    updated_at: float = 0.0
    started_at: float = math.inf
    progressed_at: float = 0.0
    # Work began between these looks: the last that showed it queued, and the first that showed it at work.
    last_seen_queued: float = -math.inf
    first_seen_working: float = math.inf
    percent: int | None = None

    def expected_lag(self, now: float) -> float:
        """Seconds by which we are late, in expectation, if we look now: P(ended), integrated since the last look."""
        elapsed, median = now - self.looked_at, self.median_remaining
        if self.quadratic:
            certain = SQRT2 * median  # from here on P(ended) = 1
            if elapsed < certain:
                return elapsed * elapsed * elapsed / (6.0 * median * median)
            return elapsed - SQRT2 / 1.5 * median
        return elapsed * elapsed / (4.0 * median) if elapsed < 2.0 * median else elapsed - median

    def lag_reaches(self, limit: float) -> float:
        """When the expected lag reaches `limit` seconds: the inverse of `expected_lag`."""
        median = self.median_remaining
        if self.quadratic:
            elapsed = (6.0 * limit * median * median) ** (1 / 3)
            return self.looked_at + (elapsed if elapsed < SQRT2 * median else limit + SQRT2 / 1.5 * median)
        elapsed = math.sqrt(4.0 * limit * median)
        return self.looked_at + (elapsed if elapsed < 2.0 * median else limit + median)

    # --- from snapshots ---------------------------------------------------------------------------------------------

    def observe(
        self,
        activity: Activity,
        now: float,
        server_now: datetime | None,
        statistics: AccountStatistics,
        *,
        newest: bool = False,
    ) -> bool:
        """Take in a snapshot that is not terminal; False if it is older than one seen before.

        `newest`: it cannot be older, whatever its stamps say, for it was asked for after the last one was seen.
        """
        made_at, updated = now, activity.updated_at
        age = 0.0 if updated is None or server_now is None else _seconds(server_now, updated)
        if updated is not None and age >= -_MAX_CLOCK_ERROR_S:
            if age > 0.0:
                made_at = now - min(age, _MAX_AGE_S)
            # The vendor's clock may be set back: then its stamps decrease, but not by the Date of the same answer.
            earlier = server_now is None or made_at < self.updated_at + _DATE_RESOLUTION_S
            if updated < self.vendor_updated_at and earlier and not newest:
                return False
            if updated != self.vendor_updated_at:
                self.vendor_updated_at = updated
                self.updated_at = made_at if self.phase == UNSEEN else max(made_at, self.looked_at)
            made_at = self.updated_at
        if activity.state == _INITIALIZED:
            if self.phase != QUEUED:
                self.phase, self.vendor_created_at = QUEUED, activity.created_at or _LATEST
        else:
            if self.phase not in (WORKING, UNKNOWN):
                self.last_seen_queued = self.looked_at if self.phase == QUEUED else -math.inf
                self.first_seen_working = self.progressed_at = now
                self.started_at = (self.looked_at + now) / 2 if self.phase == QUEUED else now
            self.phase = WORKING if activity.state == ActivityState.PROCESSING else UNKNOWN
            self._extrapolate(activity, now, made_at, statistics)
        self.looked_at = now
        self.suspect_ended = False
        return True

    def suspect(self, now: float, tuning: Tuning) -> None:
        """It is missing where all at work are listed: it has ended, at any time since the last look."""
        self.suspect_ended, self.quadratic = True, False
        self.median_remaining = max(tuning.min_median_s, (now - self.looked_at) / 2)

    def on_terminal(self, activity: Activity, now: float, statistics: AccountStatistics) -> None:
        """Teach the statistics what this end says."""
        if self.phase == UNSEEN:  # it may have ended long ago
            return
        statistics.on_end(now, seen_at_work=self.phase != QUEUED)
        started, ended = activity.started_at, activity.updated_at
        if started is not None and ended is not None and 0.0 < (duration := _seconds(ended, started)) < _MAX_AGE_S:
            # Whatever the stamps say, it ended since the last look, and began between two of them.
            shortest = max(0.0, self.looked_at - self.first_seen_working)
            longest = now - (self.looked_at if self.phase == QUEUED else self.last_seen_queued)
            statistics.learn_duration(min(max(duration, shortest), longest))
            if self.percent and 0.0 <= (later := _seconds(ended, self.vendor_updated_at)) < _MAX_AGE_S:
                ended_at = max(self.looked_at, min(now, self.updated_at + later))
                statistics.learn_stall(ended_at - self.progressed_at)

    def _extrapolate(self, activity: Activity, now: float, at: float, statistics: AccountStatistics) -> None:
        tuning = statistics.tuning
        self._believe_start(activity.started_at, activity.updated_at, at)
        percent = activity.percent_done if 0 <= (activity.percent_done or 0) <= 100 else None
        if percent != self.percent:
            self.percent, self.progressed_at = percent, at
        self.quadratic = False
        if self.phase == UNKNOWN:
            self.median_remaining = max(tuning.unknown_state_median_s, now - self.started_at)
        elif not percent:
            at_work = max(0.0, now - self.started_at)
            silent = tuning.silent_share * (statistics.typical_duration + at_work)
            self.median_remaining = max(tuning.min_median_s, silent)
        elif percent == 100:  # and yet at work: it idles, or its last steps are not counted
            self.median_remaining = max(tuning.unseen_median_s, now - self.progressed_at)
        else:
            # An integer hides half a step on average; and what has passed since the stamp remains no more.
            p = (percent + 0.5) / 100
            whole = tuning.remaining_bias * max(0.0, at - self.started_at) * (1 - p) / p
            self._allow_for_stall(max(tuning.min_median_s, whole - (now - at)), at, now, statistics)

    def _believe_start(self, started: datetime | None, updated: datetime | None, at: float) -> None:
        """Take the vendor's word for when work began, within what was observed."""
        if started is None or updated is None or not 0.0 <= (age := _seconds(updated, started)) < _MAX_AGE_S:
            return
        began = at - age
        error = max(self.last_seen_queued - began, began - self.first_seen_working)
        if error <= _MAX_CLOCK_ERROR_S:
            self.started_at = min(max(began, self.last_seen_queued), self.first_seen_working)

    def _allow_for_stall(self, remaining: float, at: float, now: float, statistics: AccountStatistics) -> None:
        tuning = statistics.tuning
        # Stalled for certain between two stamps, or perhaps only since the last one.
        certain, possible = at - self.progressed_at, now - self.progressed_at
        stalled = max(tuning.stalled_share * certain, tuning.unreported_share * possible)
        self.quadratic = remaining >= stalled
        if self.quadratic:
            self.median_remaining = remaining
        elif (rest := statistics.remaining_stall(possible)) is not None:
            self.quadratic, self.median_remaining = True, rest
        else:
            self.median_remaining = max(stalled, tuning.stalled_typical_share * statistics.typical_duration)


def _seconds(later: datetime, earlier: datetime) -> float:
    return (later - earlier).total_seconds()


def lag_bounds(activity: Activity, server_time: datetime | None, unseen: float) -> tuple[float, float]:
    """Seconds by which a change was seen later than it happened, at least and at most.

    `unseen`: seconds since the look before, which had not shown it. The vendor's stamp and clock narrow that down, as
    far as they do not contradict it.
    """
    stamp = activity.completed_at or activity.updated_at
    if stamp is None or server_time is None:
        return 0.0, unseen
    late, error = _seconds(server_time, stamp), _DATE_RESOLUTION_S / 2
    least, most = max(0.0, late - error), min(unseen, late + error)
    return (least, most) if least <= most else (0.0, unseen)
