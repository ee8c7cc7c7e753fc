"""Whether a failed attempt is repeated, and after how long. Pure: time and chance are arguments.

1. What may pass by itself is repeated after delays that double, with jitter added upward only, within a budget that a
   whole session shares.
2. What was throttled is repeated as soon as the limiter lets it; everyone pauses longer from one throttle to the next.
3. A refused token is worth two more attempts: one because it had been replaced meanwhile, one after a refresh.
"""

from __future__ import annotations

import math
from typing import Final

import attrs

from .._validation import positive
from ..errors import CCActivityError
from .outcome import OutcomeKind

__all__ = ["Retry", "RetryState", "RetryableError"]

# Requests for one question, the first included; Retry.attempts for the rest.
_MAX_ATTEMPTS: Final = {
    OutcomeKind.UNREADABLE: 3,
    OutcomeKind.THROTTLED: 10,
    OutcomeKind.TOO_MANY_REQUESTS: 3,
    OutcomeKind.UNAUTHORIZED: 3,
}
_FIRST_PAUSE_S: Final = {OutcomeKind.THROTTLED: 1.0, OutcomeKind.TOO_MANY_REQUESTS: 5.0}
_MAX_PAUSE_S: Final = 60.0
_BUDGET_PER_SECOND: Final = 1 / 30
_BUDGET_PER_ANSWER: Final = 0.5


@attrs.frozen(kw_only=True)
class Retry:
    """How the failed requests of a call are repeated before it raises.

    A look of a watch is one request: if it fails, the watch looks again when that is worth another. The rest is about
    transport errors, 5xx, 408 and 425. A body that cannot be understood is asked for three times in all; a request that
    was throttled waits for its turn and is sent again, ten times at most, also that of a watch.
    """

    attempts: int = attrs.field(default=5, validator=positive)
    """Requests for one question, the first included."""
    base: float = attrs.field(default=0.5, validator=positive)
    """Seconds before the first retry; doubled for each further one."""
    cap: float = attrs.field(default=20.0, validator=positive)
    """Seconds that a wait has at most, before up to half of it is added at random."""
    deadline: float = attrs.field(default=120.0, validator=positive)
    """Seconds from the first attempt after which no retry begins."""
    budget: float = attrs.field(default=10.0, validator=positive)
    """Retries that a session has in store; half a retry comes back with each answer, and one in 30 s."""


@attrs.define
class RetryableError(Exception):
    """An attempt that may be repeated; `error` is what the caller gets if it is not."""

    reason: OutcomeKind
    error: CCActivityError
    retry_after: float = 0.0  # seconds that the vendor asked for
    reading_s: float = 0.0  # spent on reading a file, which the deadline does not count


class RetryState:
    """The retries that a session has left, and how long everyone pauses after a 429."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._budget = retry.budget
        self._budget_at = -math.inf
        self._throttles = 0
        self._paused_until = -math.inf

    def answered(self) -> None:
        """Take note of an answer: the vendor is there, and the key is not throttled."""
        self._throttles = 0
        self._budget = min(self._retry.budget, self._budget + _BUDGET_PER_ANSWER)

    def delay(
        self, failure: RetryableError, count: int, *, started_at: float, now: float, chance: float
    ) -> float | None:
        """Seconds until the next attempt, None for none.

        `count`: how often this operation, which began at `started_at`, has met this reason, this time included.
        `chance`: 0 to 1.
        """
        if count >= _MAX_ATTEMPTS.get(failure.reason, self._retry.attempts):
            return None
        if failure.reason not in (OutcomeKind.TRANSIENT, OutcomeKind.UNREADABLE):
            return 0.0  # there is another token, or the limiter makes everyone wait
        delay = min(self._retry.cap, self._retry.base * 2.0 ** (count - 1))
        delay = max(delay, min(failure.retry_after, _MAX_PAUSE_S)) + chance * delay / 2
        self._budget = min(self._retry.budget, self._budget + (now - self._budget_at) * _BUDGET_PER_SECOND)
        self._budget_at = now
        if now + delay > started_at + self._retry.deadline or self._budget < 1:
            return None
        self._budget -= 1
        return delay

    def pause(self, reason: OutcomeKind, *, now: float, retry_after: float, chance: float) -> float:
        """Seconds for which everyone pauses after a 429: twice as long each time, until there is an answer.

        `retry_after`: seconds that the vendor asked for. `chance`: 0 to 1.
        """
        if now >= self._paused_until:
            # What was under way when the pause began is not a further sign.
            self._throttles += 1
        least = _FIRST_PAUSE_S[reason]
        pause = min(_MAX_PAUSE_S, least * 2.0 ** (self._throttles - 1))
        pause = max(pause, min(retry_after, _MAX_PAUSE_S)) + (0.05 + chance / 2) * least
        self._paused_until = now + pause
        return pause
